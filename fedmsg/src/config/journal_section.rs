//! `[journal]`: when the segments of a publisher's journal are sealed, and how much is kept.

use super::document::Table;
use super::reader::{Findings, field};
use super::settings::section;
use crate::journal::Settings;
use crate::limits::{
    JOURNAL_KEEP_BYTES_MAX, JOURNAL_KEEP_MS_MAX, JOURNAL_SEGMENT_BYTES_MAX,
    JOURNAL_SEGMENT_BYTES_MIN, JOURNAL_SEGMENT_MS_MAX, JOURNAL_SEGMENT_MS_MIN,
};

/// `[journal]`: the journals of this host's publishers, each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalSection {
    /// A segment of so many bytes is sealed: 4,096 to 1 GiB.
    pub segment_bytes: u64,
    /// A segment of this age, in milliseconds, is sealed: a second to 30 days.
    pub segment_ms: u64,
    /// The oldest segments are given up while a journal has more bytes than these: 4,096 to 1 PiB.
    pub keep_bytes: u64,
    /// Segments are given up when all they hold is older than this, in milliseconds: a second to 100 years.
    pub keep_ms: u64,
}

impl Default for JournalSection {
    fn default() -> JournalSection {
        let Settings { segment_bytes, segment_ms, keep_bytes, keep_ms } = Settings::default();
        JournalSection { segment_bytes, segment_ms, keep_bytes, keep_ms }
    }
}

impl JournalSection {
    /// What a journal is opened with.
    pub fn settings(&self) -> Settings {
        let JournalSection { segment_bytes, segment_ms, keep_bytes, keep_ms } = *self;
        Settings { segment_bytes, segment_ms, keep_bytes, keep_ms }
    }

    /// The keys and their values, for `fedmsg config show`.
    pub(super) fn values(&self) -> [(&'static str, u64); 4] {
        [
            ("journal.segment_bytes", self.segment_bytes),
            ("journal.segment_ms", self.segment_ms),
            ("journal.keep_bytes", self.keep_bytes),
            ("journal.keep_ms", self.keep_ms),
        ]
    }
}

/// Reads `[journal]`.
pub(super) fn journal(root: &Table, findings: &mut Findings) -> JournalSection {
    let mut settings = JournalSection::default();
    let Some(table) = section(root, "journal", findings) else { return settings };
    let mut number = |key, min, max, into: &mut u64| {
        let read = field(table, "journal", key);
        if let Some(value) = read.and_then(|field| field.integer(min, max, findings)) {
            *into = value;
        }
    };
    let (least, most) = (JOURNAL_SEGMENT_BYTES_MIN, JOURNAL_SEGMENT_BYTES_MAX);
    number("segment_bytes", least, most, &mut settings.segment_bytes);
    let shortest = JOURNAL_SEGMENT_MS_MIN;
    number("segment_ms", shortest, JOURNAL_SEGMENT_MS_MAX, &mut settings.segment_ms);
    number("keep_bytes", least, JOURNAL_KEEP_BYTES_MAX, &mut settings.keep_bytes);
    number("keep_ms", shortest, JOURNAL_KEEP_MS_MAX, &mut settings.keep_ms);
    settings
}
