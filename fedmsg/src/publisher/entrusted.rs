//! Publishing at level `stored(n)`: a message is kept in memory until so many relays have signed to have stored it, and
//! on no disk of this host. For processes without a disk, or a name, of their own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::copying::Copying;
use super::opening::random_bytes;
use super::writer::{Outgoing, Retry, Writer};
use crate::clock::Clock;
use crate::delivered::Point;
use crate::delivery::{Backlog, Outcome};
use crate::envelope::{Epoch, Wire};
use crate::identity::Identity;
use crate::journal::{JournalError, Range};
use crate::keys::SecretKey;
use crate::limits::TREE_LEAVES_MAX;
use crate::outbox::exchange::Exchange;
use crate::record::{After, State};
use crate::seal::{Sealed, Sealer};

/// A publisher that is closed, and for which nobody waits, gives relays so long to take what they lack.
const CLOSING_MS_MAX: u64 = 5_000;
/// How often it is looked what can be let go.
const LOOK_MS: u64 = 1_000;

/// The writer thread of a publisher at level `stored(n)`.
pub(super) struct Entrusted {
    writer: Writer,
    exchange: Exchange,
    copying: Copying,
    key: Arc<SecretKey>,
    log: Log,
    messages_max: usize,
    bytes_max: usize,
    wants_epoch: bool,
}

impl Entrusted {
    pub(super) fn new(
        writer: Writer,
        exchange: Exchange,
        copying: Copying,
        key: Arc<SecretKey>,
        genesis: &Sealed,
    ) -> Entrusted {
        let section = &writer.shared.config().publisher;
        let (messages_max, bytes_max) = (section.queue_messages, section.queue_bytes);
        let (log, wants_epoch) = (Log::default(), false);
        let mut entrusted =
            Entrusted { writer, exchange, copying, key, log, messages_max, bytes_max, wants_epoch };
        entrusted.append(genesis);
        entrusted
    }

    /// Ends when the publisher is closed, and nobody waits any more.
    pub(super) fn run(mut self) {
        let mut closing = None;
        loop {
            let done = self.writer.fill();
            if std::mem::take(&mut self.wants_epoch) {
                self.renew();
            }
            self.seal();
            let now = self.writer.clock.millis();
            self.copying.take(now);
            if done {
                let since = *closing.get_or_insert_with(|| {
                    let beat = self.writer.heartbeat(State::Closed);
                    self.exchange.beaten(beat.wire);
                    now
                });
                if self.is_over(since, now) {
                    break;
                }
            } else if self.writer.is_heartbeat_due() {
                let state = self.writer.shared.state_with_copies(State::Open);
                let beat = self.writer.heartbeat(state);
                self.exchange.beaten(beat.wire);
            }
            self.deliver(now);
            self.forget();
        }
        self.end();
    }

    /// Seals what is due. Nothing is sealed while too much waits for relays: then the queue fills up, and callers wait
    /// or fail.
    fn seal(&mut self) {
        if !self.has_room() {
            return;
        }
        let (outgoing, retries) = self.writer.seal_due(TREE_LEAVES_MAX);
        self.writer.count_published(outgoing.len());
        let epoch = self.writer.sealer.epoch();
        let mut waits = Vec::with_capacity(outgoing.len() + retries.len());
        for Outgoing { sealed, msg_id, answer } in outgoing {
            self.append(&sealed);
            waits.push((false, Retry { epoch, i: sealed.i, msg_id, answer }));
        }
        for Retry { epoch, i, msg_id, answer } in retries {
            let point = Point { epoch, i };
            if self.log.has(point) {
                waits.push((true, Retry { epoch, i, msg_id, answer }));
            } else {
                // Let go only when it was where it has to be.
                let receipt = self.writer.shared.receipt(epoch, i, msg_id, None);
                self.writer.shared.answer(answer, Ok(receipt));
            }
        }
        if let Some(handover) = &self.writer.shared.copying {
            handover.wait(waits.into_iter());
        }
    }

    fn has_room(&self) -> bool {
        let is_full = self.log.len() >= self.messages_max || self.log.bytes >= self.bytes_max;
        !is_full && self.writer.shared.has_room_for_copies()
    }

    fn append(&mut self, sealed: &Sealed) {
        let point = Point { epoch: self.writer.sealer.epoch(), i: sealed.i };
        self.log.push(point, sealed.wire.clone());
        self.exchange.grown(Some(point));
    }

    fn deliver(&mut self, now: u64) {
        let copying = &mut self.copying;
        self.exchange.prove(|relay, upto| copying.unproven(relay, upto, now));
        // What is in memory can be read.
        self.exchange.send(&mut self.log).ok();
        let pause = self.pause(now);
        for (relay, outcome) in self.exchange.receive(&mut self.log, pause) {
            self.copying.learn(&relay, &outcome, self.exchange.end());
            self.learn(&relay, outcome);
        }
        for msg_id in self.copying.answer(self.writer.clock.millis()) {
            // No relay will ever answer for it: a retry is another message.
            self.writer.forget_msg_id(&msg_id);
        }
        let up = self.exchange.up() as u64;
        self.writer.shared.counts.relays_up.store(up, Ordering::Relaxed);
    }

    fn learn(&mut self, relay: &Identity, outcome: Outcome) {
        let stream = self.writer.sealer.stream();
        match outcome {
            Outcome::NeedsEpoch => {
                tracing::warn!(%stream, %relay, "the relay lacks messages that are gone: a new epoch begins");
                self.wants_epoch = true;
            }
            Outcome::Refused(refusal) => {
                tracing::error!(%stream, %relay, first = refusal.from.i, last = refusal.to, refusal.reason,
                    refusal.text, "the relay refuses messages for good");
                let count = refusal.to - refusal.from.i + 1;
                self.writer.shared.counts.refused.fetch_add(count, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Begins a new epoch, tied to the end of this one: the only way on for a relay that lacks what is gone.
    fn renew(&mut self) {
        let sealer = &self.writer.sealer;
        let (epoch, (last, leaf)) = (sealer.epoch(), sealer.last());
        let now = Clock::wall();
        let next = Epoch::next(now, random_bytes(), Some(epoch));
        let (key, stream, level) = (Arc::clone(&self.key), sealer.stream().clone(), sealer.level());
        let after = (After::Epoch { epoch, last }, leaf);
        let (mut sealer, genesis) = Sealer::open_epoch(key, stream, next, after, level, now);
        sealer.keeps_from(1);
        self.writer.go_on_in(sealer, last);
        self.writer.shared.counts.renewed.fetch_add(1, Ordering::Relaxed);
        self.append(&genesis);
    }

    /// Lets go of what is where it has to be. Relays that do not answer lose their claim to it only when memory is
    /// short.
    fn forget(&mut self) {
        let is_short =
            |log: &Log| log.len() >= self.messages_max / 2 || log.bytes >= self.bytes_max / 2;
        let (of_all, of_up) = (self.exchange.had_by_all(false), self.exchange.had_by_all(true));
        while let Some(first) = self.log.first()
            && !self.copying.lacks(first)
            && Some(first) <= if is_short(&self.log) { of_up } else { of_all }
        {
            self.log.pop();
        }
    }

    /// Whether nobody is waited for any more.
    fn is_over(&self, since: u64, now: u64) -> bool {
        if self.copying.is_waited_for() {
            return false;
        }
        let is_done = self.exchange.up() == 0 || self.exchange.is_done();
        let has_time = now.saturating_sub(since) <= CLOSING_MS_MAX;
        !has_time || is_done && self.copying.lacking() == 0
    }

    fn end(mut self) {
        self.copying.give_up();
        let lost = self.copying.lacking();
        if lost > 0 {
            tracing::error!(stream = %self.writer.sealer.stream(), messages = lost, level = %self.writer.shared.level,
                "so many messages are at fewer relays than promised, and this process, which has them in memory, ends: \
                 those that no relay has are lost. Whoever waited for their receipts has an error");
        }
        self.writer.fail_waiting();
    }

    fn pause(&self, now: u64) -> Duration {
        let next = self.copying.next_at().map_or(u64::MAX, |at| at.saturating_sub(now));
        let next = Duration::from_millis(next.min(self.exchange.pause()).min(LOOK_MS));
        // While there is no room, what waits to be sealed is no reason to hurry: only an answer helps.
        match self.has_room() {
            true => next.min(self.writer.pause()),
            false => next.min(self.writer.heartbeat_pause()),
        }
    }
}

/// Records in memory, in their order.
#[derive(Debug, Default)]
struct Log {
    records: VecDeque<(Point, Wire)>,
    ranges: VecDeque<Range>,
    bytes: usize,
}

impl Log {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn first(&self) -> Option<Point> {
        self.records.front().map(|(point, _)| *point)
    }

    fn has(&self, point: Point) -> bool {
        self.records.binary_search_by_key(&point, |(point, _)| *point).is_ok()
    }

    fn push(&mut self, point: Point, wire: Wire) {
        let Point { epoch, i } = point;
        match self.ranges.back_mut().filter(|range| range.epoch == epoch) {
            Some(range) => range.last = i,
            None => self.ranges.push_back(Range { epoch, first: i, last: i }),
        }
        self.bytes += wire.len();
        self.records.push_back((point, wire));
    }

    fn pop(&mut self) {
        let Some((_, wire)) = self.records.pop_front() else { return };
        self.bytes -= wire.len();
        if let Some(range) = self.ranges.front_mut() {
            range.first += 1;
            if range.first > range.last {
                self.ranges.pop_front();
            }
        }
    }
}

impl Backlog for Log {
    fn ranges(&mut self) -> Result<Vec<Range>, JournalError> {
        Ok(self.ranges.iter().copied().collect())
    }

    fn read(
        &mut self,
        from: Point,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<(u64, Wire)>, JournalError> {
        let start = self.records.partition_point(|(point, _)| *point < from);
        let mut size = 0;
        let fits = self.records.iter().skip(start).take(records).take_while(|(point, wire)| {
            size += wire.len();
            point.epoch == from.epoch && (size <= bytes || size == wire.len())
        });
        Ok(fits.map(|(point, wire)| (point.i, wire.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_is_gone_and_the_rest_is_read_by_epoch_and_within_bounds() {
        let epoch = |n| Epoch::new(uuid::Uuid::from_u128(n));
        let at = |n, i| Point { epoch: epoch(n), i };
        let wire = || Wire { topic: "t".into(), envelope: vec![0; 9].into() };
        let mut log = Log::default();
        (0..=4).for_each(|i| log.push(at(1, i), wire()));
        (0..=2).for_each(|i| log.push(at(2, i), wire()));
        (0..3).for_each(|_| log.pop());
        let numbers = |log: &mut Log, from, records, bytes| {
            let found = log.read(from, records, bytes).expect("in memory");
            found.into_iter().map(|(i, _)| i).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&mut log, at(1, 3), 9, 1_000), [3, 4]);
        assert_eq!(numbers(&mut log, at(2, 0), 9, 20), [0, 1]);
        assert_eq!(numbers(&mut log, at(2, 1), 1, 1), [1], "one record is always given");
        assert_eq!((log.bytes, log.first()), (50, Some(at(1, 3))));
        assert!(log.has(at(1, 4)) && !log.has(at(1, 2)));
        let range = |n, first, last| Range { epoch: epoch(n), first, last };
        assert_eq!(log.ranges().expect("in memory"), [range(1, 3, 4), range(2, 0, 2)]);
        (0..2).for_each(|_| log.pop());
        assert_eq!(log.ranges().expect("in memory"), [range(2, 0, 2)]);
    }
}
