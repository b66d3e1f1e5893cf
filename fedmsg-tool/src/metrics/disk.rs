//! What is on disk: journals, the log of a relay, and what is given of both.

use fedmsg::holder::HolderCounts;
use fedmsg::journal::JournalMetrics;
use fedmsg::log::LogMetrics;

use super::{Metrics, Source};

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1e3
}

impl Source for JournalMetrics {
    fn put(&self, to: &mut Metrics) {
        to.gauge("fedmsg_journal_bytes", "Bytes of all segments", self.bytes);
        to.gauge("fedmsg_journal_segments", "Segments", self.segments);
        to.counter("fedmsg_journal_records", "Records that were appended", self.records);
        to.counter("fedmsg_journal_syncs", "Syncs of a file", self.syncs);
        to.counter_us("fedmsg_journal_sync_seconds", "Time that syncs took", self.sync_us_total);
        to.seconds(
            "fedmsg_journal_sync_longest_seconds",
            "Time that the longest sync took",
            self.sync_us_max as f64 / 1e6,
        );
        put_journal_state(self, to);
    }
}

fn put_journal_state(journal: &JournalMetrics, to: &mut Metrics) {
    to.counter("fedmsg_journal_failures", "Writes and syncs that failed", journal.failures);
    to.counter(
        "fedmsg_journal_moved",
        "Appends that went to a new segment because the one before failed",
        journal.moved,
    );
    to.counter(
        "fedmsg_journal_trimmed_records",
        "Records that retention gave up",
        journal.trimmed_records,
    );
    to.counter(
        "fedmsg_journal_trimmed_bytes",
        "Bytes that retention gave up",
        journal.trimmed_bytes,
    );
    to.gauge(
        "fedmsg_journal_damaged_ranges",
        "Damaged ranges that were found in the newest segment when it was opened",
        journal.damage,
    );
    let covers = seconds(journal.covers_ms);
    to.seconds("fedmsg_journal_covers_seconds", "How far back it goes", covers);
    to.flag(
        "fedmsg_journal_degraded",
        "1 when the last append failed: the disk takes nothing",
        journal.degraded,
    );
    to.flag("fedmsg_journal_reserve", "1 when bytes are set aside for last words", journal.reserve);
}

impl Source for LogMetrics {
    fn put(&self, to: &mut Metrics) {
        put_log_size(self, to);
        to.counter(
            "fedmsg_log_records",
            "Records that were appended, heartbeats included",
            self.records,
        );
        to.counter(
            "fedmsg_log_duplicates",
            "Items that were there already, and were not written again",
            self.duplicates,
        );
        to.counter("fedmsg_log_appends", "Appends that were written", self.appends);
        to.counter("fedmsg_log_syncs", "Syncs of a segment", self.syncs);
        to.counter_us("fedmsg_log_sync_seconds", "Time that syncs took", self.sync_us_total);
        to.seconds(
            "fedmsg_log_sync_longest_seconds",
            "Time that the longest sync took",
            self.sync_us_max as f64 / 1e6,
        );
        put_log_state(self, to);
    }
}

fn put_log_state(log: &LogMetrics, to: &mut Metrics) {
    to.counter("fedmsg_log_failures", "Writes and syncs that failed", log.failures);
    to.counter(
        "fedmsg_log_moved",
        "Appends that went to a new segment because the one before failed",
        log.moved,
    );
    to.counter("fedmsg_log_damage", "Damaged places that were found", log.damage);
    to.counter(
        "fedmsg_log_indexes_made",
        "Indexes that were made again because they were missing or wrong",
        log.indexes_made,
    );
    to.counter(
        "fedmsg_log_trimmed_segments",
        "Segments that retention gave up",
        log.trimmed_segments,
    );
    to.counter("fedmsg_log_trimmed_bytes", "Bytes that retention gave up", log.trimmed_bytes);
    to.counter(
        "fedmsg_log_forgotten",
        "Streams that were forgotten because there were too many",
        log.forgotten,
    );
    let covers = seconds(log.covers_ms);
    to.seconds("fedmsg_log_covers_seconds", "How far back the log goes", covers);
    to.flag(
        "fedmsg_log_degraded",
        "1 when the last append failed: the disk takes nothing",
        log.degraded,
    );
}

fn put_log_size(log: &LogMetrics, to: &mut Metrics) {
    to.gauge("fedmsg_log_bytes", "Bytes of all segments", log.bytes);
    to.gauge("fedmsg_log_segments", "Segments", log.segments);
    to.gauge("fedmsg_log_streams", "Streams of which something is known", log.streams);
    to.gauge("fedmsg_log_runs", "Runs of numbers that are known", log.runs);
    to.gauge(
        "fedmsg_log_memory_bytes",
        "Memory that what is known of streams and segments takes, about",
        log.memory_bytes,
    );
}

impl Source for HolderCounts {
    fn put(&self, to: &mut Metrics) {
        to.counter("fedmsg_replay_requests", "Requests that were answered", self.requests);
        to.counter("fedmsg_replay_busy", "Requests of peers that asked for too much", self.busy);
        to.counter("fedmsg_replay_malformed", "Frames that were no request", self.malformed);
        to.counter("fedmsg_replay_records", "Records that were given", self.records);
        to.counter("fedmsg_replay_sent_bytes", "Bytes of them", self.bytes);
        to.counter("fedmsg_replay_damaged", "Requests that came to a damaged record", self.damaged);
        to.counter(
            "fedmsg_replay_floors_refused",
            "Floors of consumers for which there was no room",
            self.floors_refused,
        );
    }
}
