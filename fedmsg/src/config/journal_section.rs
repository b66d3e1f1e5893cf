//! `[journal]`: when the segments of a publisher's journal are sealed, and how much is kept.

use super::document::Table;
use super::reader::{Findings, Text, field};
use super::settings::section;
use crate::consumer::ConsumerName;
use crate::journal::Settings;
use crate::limits::{
    HOLD_FOR_MAX, JOURNAL_HOST_BYTES, JOURNAL_KEEP_BYTES_MAX, JOURNAL_KEEP_MS_MAX,
    JOURNAL_SEGMENT_BYTES_MAX, JOURNAL_SEGMENT_BYTES_MIN, JOURNAL_SEGMENT_MS_MAX,
    JOURNAL_SEGMENT_MS_MIN,
};

/// `[journal]`: the journals of this host's publishers, each by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// What all journals of the host may have together: 4,096 to 1 PiB. Beyond it, those give segments up that
    /// have more than an equal share.
    pub host_bytes: u64,
    /// Durable consumers that retention must not pass: what one of them has not acknowledged stays.
    pub hold_for: Vec<ConsumerName>,
}

impl Default for JournalSection {
    fn default() -> JournalSection {
        let Settings { segment_bytes, segment_ms, keep_bytes, keep_ms } = Settings::default();
        let (host_bytes, hold_for) = (JOURNAL_HOST_BYTES, Vec::new());
        JournalSection { segment_bytes, segment_ms, keep_bytes, keep_ms, host_bytes, hold_for }
    }
}

impl JournalSection {
    /// What a journal is opened with.
    pub fn settings(&self) -> Settings {
        let JournalSection { segment_bytes, segment_ms, keep_bytes, keep_ms, .. } = *self;
        Settings { segment_bytes, segment_ms, keep_bytes, keep_ms }
    }

    /// The keys and their values, for `fedmsg config show`.
    pub(super) fn values(&self) -> [(&'static str, u64); 5] {
        [
            ("journal.segment_bytes", self.segment_bytes),
            ("journal.segment_ms", self.segment_ms),
            ("journal.keep_bytes", self.keep_bytes),
            ("journal.keep_ms", self.keep_ms),
            ("journal.host_bytes", self.host_bytes),
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
    number("host_bytes", least, JOURNAL_KEEP_BYTES_MAX, &mut settings.host_bytes);
    let names = field(table, "journal", "hold_for");
    let names = names.map(|names| names.texts(findings)).unwrap_or_default();
    let name =
        |text: &Text<'_>| findings.check(text.place, &text.key, ConsumerName::parse(&text.text));
    settings.hold_for = names.iter().filter_map(name).take(HOLD_FOR_MAX).collect();
    settings
}
