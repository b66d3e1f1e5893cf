//! The log of a relay: everything that it carries, of all streams together, in one sequence of append-only
//! segments with one sync for each append. `docs/relay-log.md` has every byte.
//!
//! [`Log`] is the writer's side: it recovers from a crash, appends items of many streams with one sync, knows
//! how far each stream is, and gives up what is older than its operator wants. [`LogReader`]s answer from it
//! in other threads of the same process. Both reach the disk through [`Disk`](crate::journal::Disk), so that a
//! test can fail, tear or reorder every single call.
//!
//! In memory are the places of the newest segment alone, and for each stream how far it is and in which
//! segments its numbers are; where they are in a sealed segment is in its index on disk.
//!
//! The layout, from below: `format` (the bytes of a segment), `item` (what is kept), `window` and `scan` (one
//! segment from start to end), `table` (the places of one segment), `directory` (the same on disk: the index),
//! `streams` (what is known of every stream), `heads` (the same on disk), `shared` (all of that together),
//! `writer`, `retention`, `reader` with `taking`, and `open` with `tips`. `survey` looks at a log of another process.

mod directory;
mod error;
mod format;
mod heads;
mod item;
mod open;
mod reader;
mod retention;
mod scan;
mod settings;
mod shared;
mod streams;
mod survey;
mod table;
mod taking;
mod tips;
mod window;
mod writer;

pub use error::LogError;
pub use item::{Head, Item, Keep};
pub use reader::LogReader;
pub use retention::Trimmed;
pub use settings::{LogMetrics, Settings};
pub use survey::{Survey, survey};
pub use writer::Log;
