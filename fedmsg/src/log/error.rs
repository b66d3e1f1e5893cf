//! What goes wrong with the log of a relay.

use std::io;
use std::path::PathBuf;

use crate::identity::StreamName;
use crate::journal::is_full;
use crate::limits;

/// Why a log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
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
    /// A segment of a later version of the format: use a program of that version.
    #[error("{path} has format version {version}; this program knows version 1", path = path.display())]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// More segments than a log may have.
    #[error("{path} has {count} segments; at most {} are allowed: keep less, or make `segment_bytes` larger",
        limits::LOG_SEGMENTS_MAX, path = path.display())]
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
    /// An append of too many records.
    #[error(
        "{records} records in one append; at most {} are allowed",
        limits::LOG_BATCH_RECORDS_MAX
    )]
    BatchCount {
        /// How many.
        records: usize,
    },
    /// An append of too many bytes.
    #[error("{bytes} bytes in one append; at most {} are allowed", limits::LOG_BATCH_BYTES_MAX)]
    BatchBytes {
        /// How many.
        bytes: usize,
    },
    /// An item that cannot be kept: the caller's mistake.
    #[error("number {i} of stream {stream}: {why}")]
    Item {
        /// Its stream.
        stream: StreamName,
        /// Its number.
        i: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl LogError {
    /// Whether there was no room, on the disk or in a quota.
    pub fn is_full(&self) -> bool {
        matches!(self, LogError::Io { error, .. } if is_full(error))
    }
}

/// Says what was done with which file when it failed.
pub(super) fn io_error(
    what: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> LogError {
    let path = path.into();
    move |error| LogError::Io { what, path, error }
}
