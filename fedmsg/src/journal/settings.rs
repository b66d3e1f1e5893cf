//! What a journal is told, and what it counts.

use std::time::Duration;

use super::error::JournalError;
use crate::limits::{JOURNAL_SEGMENT_BYTES_MAX, JOURNAL_SEGMENT_BYTES_MIN};

/// When segments are sealed, and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A segment of so many bytes is sealed. From 4,096 to 1 GiB; one append may exceed it.
    pub segment_bytes: u64,
    /// A segment of this age, in milliseconds, is sealed by the next append.
    pub segment_ms: u64,
    /// Whole segments are given up, the oldest first, while there are more bytes than these.
    pub keep_bytes: u64,
    /// Whole segments are given up when all of their records are older than this, in milliseconds.
    pub keep_ms: u64,
}

impl Default for Settings {
    /// 16 MiB or an hour for a segment; 1 GiB or seven days are kept.
    fn default() -> Settings {
        Settings {
            segment_bytes: 16 << 20,
            segment_ms: 3_600_000,
            keep_bytes: 1 << 30,
            keep_ms: 7 * 24 * 3_600_000,
        }
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), JournalError> {
        let (least, most) = (JOURNAL_SEGMENT_BYTES_MIN, JOURNAL_SEGMENT_BYTES_MAX);
        if (least..=most).contains(&self.segment_bytes) {
            return Ok(());
        }
        let (name, value) = ("segment_bytes", self.segment_bytes);
        Err(JournalError::Setting { name, value, least, most })
    }
}

/// What a journal did since it was opened, and how it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalMetrics {
    /// Bytes of all segments.
    pub bytes: u64,
    /// How many segments there are.
    pub segments: u64,
    /// Records that were appended.
    pub records: u64,
    /// Syncs of a file.
    pub syncs: u64,
    /// How long they took together, in microseconds.
    pub sync_us_total: u64,
    /// How long the longest one took, in microseconds.
    pub sync_us_max: u64,
    /// Writes and syncs that failed.
    pub failures: u64,
    /// Appends that went to a new segment because the one before failed.
    pub moved: u64,
    /// Records that retention gave up.
    pub trimmed_records: u64,
    /// Bytes that retention gave up.
    pub trimmed_bytes: u64,
    /// Damaged ranges that were found in the newest segment when it was opened.
    pub damage: u64,
    /// How far back it goes, in milliseconds.
    pub covers_ms: u64,
    /// Whether the last append failed.
    pub degraded: bool,
    /// Whether there are bytes set aside for last words.
    pub reserve: bool,
}

impl JournalMetrics {
    pub(super) fn synced(&mut self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.syncs += 1;
        self.sync_us_total = self.sync_us_total.saturating_add(took);
        self.sync_us_max = self.sync_us_max.max(took);
    }
}
