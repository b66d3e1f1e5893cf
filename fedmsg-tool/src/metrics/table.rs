//! What the table of an outbox in somebody's database counts.

use fedmsg::outbox_table::OutboxTableMetrics;

use super::{Metrics, Source};

impl Source for OutboxTableMetrics {
    fn put(&self, to: &mut Metrics) {
        to.counter(
            "fedmsg_outbox_table_published",
            "Rows for which there is a receipt",
            self.published,
        );
        to.counter(
            "fedmsg_outbox_table_found",
            "Rows that a process which has ended had published already",
            self.found,
        );
        to.counter(
            "fedmsg_outbox_table_doubtful",
            "Rows that readers may see twice, by the same msg_id",
            self.doubtful,
        );
        to.counter("fedmsg_outbox_table_refused", "Rows that were set aside", self.refused);
        to.counter(
            "fedmsg_outbox_table_failures",
            "Times that the database or the publisher failed",
            self.failures,
        );
        to.flag(
            "fedmsg_outbox_table_failing",
            "1 when the database or the publisher fails now",
            self.failing.is_some(),
        );
        to.flag(
            "fedmsg_outbox_table_owner",
            "1 when this process publishes what is in the table",
            self.is_owner,
        );
        to.gauge(
            "fedmsg_outbox_table_waiting",
            "Rows that wait, counted up to 100,000",
            self.waiting,
        );
        let oldest = self.oldest.map_or(0.0, |oldest| oldest.as_millis() as f64 / 1e3);
        to.seconds(
            "fedmsg_outbox_table_oldest_timestamp_seconds",
            "When the first of them was put there, since 1970; 0 when none waits",
            oldest,
        );
        to.gauge("fedmsg_outbox_table_set_aside", "Rows that are set aside now", self.set_aside);
    }
}
