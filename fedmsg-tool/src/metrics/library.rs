//! What publishers, subscribers and durable consumers count.

use fedmsg::durable::DurableMetrics;
use fedmsg::publisher::PublisherMetrics;
use fedmsg::rejection::Rejection;
use fedmsg::subscriber::SubscriberMetrics;

use super::{Kind, Metrics, Source};

impl Source for PublisherMetrics {
    fn put(&self, to: &mut Metrics) {
        to.counter(
            "fedmsg_publisher_published",
            "Messages that were sealed and sent",
            self.published,
        );
        to.counter("fedmsg_publisher_refused", "Messages that relays refused", self.refused);
        to.counter(
            "fedmsg_publisher_dropped_tickets",
            "Tickets that nobody waited for",
            self.dropped_tickets,
        );
        to.counter(
            "fedmsg_publisher_left_out",
            "Messages that were sent without some subscriber, because it was too slow",
            self.left_out,
        );
        to.counter(
            "fedmsg_publisher_renewed",
            "New epochs that began while it ran: it was set back, or its operator wanted it",
            self.renewed,
        );
        to.gauge("fedmsg_publisher_queued", "Messages in the queue", self.queued);
        to.gauge(
            "fedmsg_publisher_subscribers",
            "Subscribers that are connected",
            self.subscribers,
        );
        to.gauge("fedmsg_publisher_relays_up", "Relays that answer", self.relays_up);
        put_copies(self, to);
        if let Some(journal) = &self.journal {
            journal.put(to);
        }
    }
}

fn put_copies(publisher: &PublisherMetrics, to: &mut Metrics) {
    to.gauge(
        "fedmsg_publisher_waiting_for_copies",
        "Messages whose callers wait for copies at other holders",
        publisher.waiting_for_copies,
    );
    to.counter(
        "fedmsg_publisher_short_of_copies",
        "Receipts and errors that were given with fewer copies than promised",
        publisher.short_of_copies,
    );
    to.flag(
        "fedmsg_publisher_copies_missing",
        "1 when messages are known to have fewer copies than promised",
        publisher.is_short_of_copies,
    );
}

impl Source for SubscriberMetrics {
    fn put(&self, to: &mut Metrics) {
        to.counter(
            "fedmsg_subscriber_received",
            "What arrived: messages, heartbeats, genesis records, garbage",
            self.received,
        );
        to.counter("fedmsg_subscriber_verified", "What of it was verified", self.verified);
        put_rejections(self, to);
        put_order(self, to);
        to.gauge(
            "fedmsg_subscriber_repairing",
            "Streams for which something is being fetched",
            self.repairing,
        );
        to.gauge(
            "fedmsg_subscriber_stalled",
            "Streams that stand still: what they lack exists, and cannot be fetched now",
            self.stalled,
        );
        to.gauge("fedmsg_subscriber_streams", "Streams that are known", self.streams);
        to.gauge("fedmsg_subscriber_endpoints", "Endpoints that are followed", self.endpoints);
        to.gauge("fedmsg_subscriber_queued", "Events that wait to be taken", self.queued);
        to.counter("fedmsg_subscriber_turns", "Turns of its thread", self.turns);
    }
}

/// Every reason, also those for which nothing was refused: a rate needs a beginning.
fn put_rejections(subscriber: &SubscriberMetrics, to: &mut Metrics) {
    for reason in Rejection::ALL {
        let seen = subscriber.rejections.iter().find(|(other, _)| other == reason);
        let count = seen.map_or(0, |(_, count)| *count);
        to.put(
            "fedmsg_subscriber_rejected",
            Kind::Counter,
            "What of it was refused, by reason",
            &[("reason", reason.name())],
            count as f64,
        );
    }
}

fn put_order(subscriber: &SubscriberMetrics, to: &mut Metrics) {
    to.counter(
        "fedmsg_subscriber_delivered",
        "Messages in order, before patterns were applied",
        subscriber.delivered,
    );
    to.counter("fedmsg_subscriber_gaps", "Gaps that were found", subscriber.gaps);
    to.counter(
        "fedmsg_subscriber_repaired",
        "Messages that were fetched, because they had not come by themselves",
        subscriber.repaired,
    );
    to.counter(
        "fedmsg_subscriber_lost",
        "Messages that are lost: nobody who could have them has them",
        subscriber.lost,
    );
    to.counter(
        "fedmsg_subscriber_released",
        "Messages that found no room behind a gap, and are fetched later",
        subscriber.released,
    );
    to.counter(
        "fedmsg_subscriber_duplicates",
        "The same message again, by another way",
        subscriber.duplicates,
    );
    to.counter(
        "fedmsg_subscriber_late",
        "Messages that came too late for their place, or from before the base",
        subscriber.late,
    );
    to.counter("fedmsg_subscriber_forks", "Contradictions in streams", subscriber.forks);
    to.counter(
        "fedmsg_subscriber_withheld",
        "Messages of forked streams, and of streams that nobody shows to be alive",
        subscriber.withheld,
    );
}

impl Source for DurableMetrics {
    fn put(&self, to: &mut Metrics) {
        to.counter(
            "fedmsg_consumer_delivered",
            "Messages that were handed out, each try once",
            self.delivered,
        );
        to.counter(
            "fedmsg_consumer_retried",
            "Those that were handed out because they had failed before",
            self.retried,
        );
        to.counter(
            "fedmsg_consumer_late",
            "Those that were handed out because they had been refused before",
            self.late,
        );
        to.counter("fedmsg_consumer_acked", "Messages that were handled", self.acked);
        to.counter("fedmsg_consumer_failed", "Tries that failed", self.failed);
        to.counter("fedmsg_consumer_dead", "Messages that were given up", self.dead);
        put_trouble(self, to);
        to.gauge(
            "fedmsg_consumer_in_flight",
            "Messages that are handed out, or wait to be taken",
            self.in_flight,
        );
        to.gauge("fedmsg_consumer_lag", "Messages that its cursors are behind", self.lag);
        to.flag(
            "fedmsg_consumer_owner",
            "1 when this process runs the consumer, 0 when it waits",
            self.is_owner,
        );
        if let Some(reader) = &self.reader {
            reader.put(to);
        }
    }
}

fn put_trouble(consumer: &DurableMetrics, to: &mut Metrics) {
    to.counter(
        "fedmsg_consumer_repeated",
        "Messages that came again from the reader, and were not handed out again",
        consumer.repeated,
    );
    to.counter(
        "fedmsg_consumer_refused",
        "Refused messages that were written down",
        consumer.refused,
    );
    to.counter(
        "fedmsg_consumer_refusals_dropped",
        "Refused messages that found no room",
        consumer.refusals_dropped,
    );
    to.counter(
        "fedmsg_consumer_forgotten",
        "Streams that have ended, whose cursors were forgotten",
        consumer.forgotten,
    );
    to.counter(
        "fedmsg_consumer_store_failures",
        "Calls to the store that failed",
        consumer.store_failures,
    );
}
