//! What a log is told, and what it counts.

use std::time::Duration;

use super::error::LogError;
use crate::limits::{JOURNAL_SEGMENT_BYTES_MAX, JOURNAL_SEGMENT_BYTES_MIN};

/// When segments are sealed, and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A segment of so many bytes is sealed. From 4,096 to 1 GiB; one append may exceed it.
    ///
    /// A stream costs 16 bytes of memory for each segment that it is in, so a large `keep_bytes` needs large
    /// segments: see [`Settings::keeping`].
    pub segment_bytes: u64,
    /// A segment of this age, in milliseconds, is sealed by the next append.
    pub segment_ms: u64,
    /// Whole segments are given up, the oldest first, while there are more bytes than these.
    pub keep_bytes: u64,
    /// Whole segments are given up when all of their records are older than this, in milliseconds.
    pub keep_ms: u64,
}

impl Default for Settings {
    /// 64 MiB or an hour for a segment; 10 GiB or seven days are kept.
    fn default() -> Settings {
        Settings {
            segment_bytes: 64 << 20,
            segment_ms: 3_600_000,
            keep_bytes: 10 << 30,
            keep_ms: 7 * 24 * 3_600_000,
        }
    }
}

impl Settings {
    /// So many bytes and milliseconds are kept, in about 160 segments of each kind or fewer, so that the
    /// memory which streams need does not grow with what is kept.
    pub fn keeping(keep_bytes: u64, keep_ms: u64) -> Settings {
        let usual = Settings::default();
        let segment_bytes =
            (keep_bytes / 160).clamp(usual.segment_bytes, JOURNAL_SEGMENT_BYTES_MAX);
        let segment_ms = (keep_ms / 168).max(usual.segment_ms);
        Settings { segment_bytes, segment_ms, keep_bytes, keep_ms }
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        let (least, most) = (JOURNAL_SEGMENT_BYTES_MIN, JOURNAL_SEGMENT_BYTES_MAX);
        if (least..=most).contains(&self.segment_bytes) {
            return Ok(());
        }
        let (name, value) = ("segment_bytes", self.segment_bytes);
        Err(LogError::Setting { name, value, least, most })
    }
}

/// What a log did since it was opened, and how it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMetrics {
    /// Bytes of all segments.
    pub bytes: u64,
    /// How many segments there are.
    pub segments: u64,
    /// Streams of which something is known, maybe no more than how far they were.
    pub streams: u64,
    /// Runs of numbers that are known, see [`LOG_RUNS_MAX`](crate::limits::LOG_RUNS_MAX).
    pub runs: u64,
    /// About how many bytes of memory are taken by what is known of streams and segments.
    pub memory_bytes: u64,
    /// Records that were appended, heartbeats included.
    pub records: u64,
    /// Items of appends that were there already, and were not written again.
    pub duplicates: u64,
    /// Appends that were written.
    pub appends: u64,
    /// Syncs of a segment.
    pub syncs: u64,
    /// How long they took together, in microseconds.
    pub sync_us_total: u64,
    /// How long the longest one took, in microseconds.
    pub sync_us_max: u64,
    /// Writes and syncs that failed.
    pub failures: u64,
    /// Appends that went to a new segment because the one before failed.
    pub moved: u64,
    /// Damaged places that were found, when the log was opened or when something was read.
    pub damage: u64,
    /// Indexes that were made again because they were missing or wrong.
    pub indexes_made: u64,
    /// Segments that retention gave up.
    pub trimmed_segments: u64,
    /// Bytes that retention gave up.
    pub trimmed_bytes: u64,
    /// Streams that were forgotten because there were too many.
    pub forgotten: u64,
    /// How far back the log goes, in milliseconds.
    pub covers_ms: u64,
    /// Whether the last append failed.
    pub degraded: bool,
}

impl LogMetrics {
    pub(super) fn synced(&mut self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.syncs += 1;
        self.sync_us_total = self.sync_us_total.saturating_add(took);
        self.sync_us_max = self.sync_us_max.max(took);
    }
}
