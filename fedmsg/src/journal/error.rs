//! What goes wrong with a journal.

use std::io;
use std::path::PathBuf;

use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::limits;

/// Why a journal could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk failed. Nothing of what was asked counts.
    #[error("{what} {path}: {error}", path = path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The folder holds the journal of another stream.
    #[error("{path} belongs to stream {found}, not to {expected}", path = path.display())]
    OtherStream {
        /// A segment of it.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: StreamName,
    },
    /// A segment of a later version of the format: use a program of that version.
    #[error("{path} has format version {version}; this program knows version 1", path = path.display())]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// More segments than one journal may have.
    #[error("{path} has {count} segments; at most {} are allowed: let retention keep less",
        limits::JOURNAL_SEGMENTS_MAX, path = path.display())]
    TooManySegments {
        /// The folder.
        path: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// A setting that makes no sense.
    #[error("`{name}` is {value}; from {least} to {most} is allowed")]
    Setting {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// A record does not follow the one before: the caller's mistake.
    #[error("record {found} of epoch {epoch} cannot follow: {expected} is next")]
    NotDense {
        /// The epoch.
        epoch: Epoch,
        /// What should come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Nothing can be appended before a new epoch begins: see [`Continuity`](super::Continuity).
    #[error("a new epoch must begin first: {why}")]
    NewEpochNeeded {
        /// Why the one before cannot go on.
        why: String,
    },
    /// An epoch that is not above the newest one.
    #[error("epoch {found} is not above {newest}, the newest of this journal")]
    EpochOrder {
        /// The newest one.
        newest: Epoch,
        /// What was given.
        found: Epoch,
    },
    /// An append failed after these numbers may have reached the disk, and maybe a reader. They cannot get
    /// another content: append the same records again, or begin a new epoch.
    #[error(
        "numbers {from} to {to} of epoch {epoch} may be on disk already, with another content: \
        append the same records again, or begin a new epoch"
    )]
    Indeterminate {
        /// The epoch.
        epoch: Epoch,
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// An append of no records, or of too many.
    #[error(
        "{records} records in one append; from 1 to {} are allowed",
        limits::JOURNAL_BATCH_RECORDS_MAX
    )]
    BatchCount {
        /// How many.
        records: usize,
    },
    /// An append of too many bytes.
    #[error("{bytes} bytes in one append; at most {most} are allowed")]
    BatchBytes {
        /// How many.
        bytes: usize,
        /// How many may be.
        most: usize,
    },
    /// A record that cannot be kept.
    #[error("record {i}: {why}")]
    Record {
        /// Its number.
        i: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Retention has passed what was asked for.
    #[error("numbers before {first} of epoch {epoch} were trimmed")]
    Trimmed {
        /// The epoch.
        epoch: Epoch,
        /// The first number that is still there.
        first: u64,
    },
    /// There is something where a journal is to be put.
    #[error("{path} is not empty: nothing is mixed with what is there", path = path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// An epoch that the journal does not have, or no longer.
    #[error("no epoch {0} in this journal")]
    UnknownEpoch(Epoch),
}

impl JournalError {
    /// Whether there was no room, on the disk or in a quota.
    pub fn is_full(&self) -> bool {
        matches!(self, JournalError::Io { error, .. } if is_full(error))
    }
}

/// Whether a call failed because there was no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Says what was done with which file when it failed.
pub(super) fn io_error(
    what: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.into();
    move |error| JournalError::Io { what, path, error }
}
