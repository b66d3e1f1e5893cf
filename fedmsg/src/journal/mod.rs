//! The durable log of one stream: append-only segments of checksummed records, with one writer, and readable
//! by other threads and processes while it is written. `docs/journal.md` has every byte.
//!
//! [`Journal`] is the writer's side: it recovers from a crash, appends many records with one sync, begins
//! epochs and gives up what is older than its operator wants. [`Reader`] follows it, in this process or in
//! another one. [`check`](check()) looks at everything that is there. All of them reach the disk through
//! [`Disk`], so that a test can fail, tear or reorder every single call.
//!
//! The layout, from below: `disk`, `format` (the bytes), `record` (what is kept), `scan` (one segment from
//! start to end), `index`, `segment` (all of a folder, and where each ends), `batch` (one append), `writer`,
//! `recover` (opening), `retention`, `aside` (the two small files), `view` and `reader`, `check`, `survey`, and to another place: `archive` and `restore`.

mod archive;
mod aside;
mod batch;
mod check;
mod disk;
mod error;
mod format;
mod index;
mod mark;
mod reader;
mod record;
mod recover;
mod restore;
mod retention;
mod scan;
mod segment;
mod settings;
mod survey;
mod view;
mod writer;

pub use archive::{ArchiveError, ArchiveReader, ArchiveWriter, Piece};
pub use check::{BrokenLink, Report, SegmentReport, check, check_with};
pub use disk::{Access, Disk, DiskFile, OsDisk};
pub(crate) use disk::{read_full, write_all};
pub use error::JournalError;
pub(crate) use error::is_full;
pub(crate) use format::Fields;
pub use mark::Mark;
pub use reader::{Batch, Reader};
pub use record::{Body, Break, Continuity, Damage, Entry, EpochState, Numbered, Range};
pub use restore::Restore;
pub use retention::Trimmed;
pub use settings::{JournalMetrics, Settings};
pub use survey::{Survey, survey};
pub use writer::Journal;
