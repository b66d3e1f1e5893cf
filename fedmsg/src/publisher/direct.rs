//! Publishing on an own endpoint.

use std::sync::PoisonError;
use std::time::Duration;

use super::core::{Core, Outside};
use super::serving::Serving;
use super::slot::SlotLock;
use super::writer::{Outgoing, Retry, Writer};
use super::{Answer, PublishError};
use crate::clock::Clock;
use crate::envelope::Wire;
use crate::journal::{JournalError, JournalMetrics};
use crate::limits::{JOURNAL_BATCH_RECORDS_MAX, TREE_LEAVES_MAX};
use crate::record::State;
use crate::transport::Outlet;

/// The writer thread of a publisher that has an endpoint.
pub(super) struct Direct {
    pub(super) writer: Writer,
    pub(super) outlet: Box<dyn Outlet>,
    pub(super) slot: SlotLock,
    pub(super) core: Core,
    pub(super) serving: Option<Serving>,
}

impl Direct {
    /// Ends when the publisher is closed and everything was sent.
    pub(super) fn run(mut self) {
        self.send_genesis();
        self.writer.announce();
        while !self.writer.fill() {
            match self.core.retry_at() {
                None => self.publish(),
                Some(_) => self.recover(),
            }
            self.beat();
            self.core.trim(&mut self.writer.sealer, Clock::wall(), self.writer.clock.millis());
            let pause = self.pause();
            let subscribers = self.outlet.wait(pause);
            if subscribers.joined + subscribers.left > 0 {
                self.writer.shared.subscribers_changed(subscribers.joined, subscribers.left);
            }
            if subscribers.joined > 0 {
                self.writer.announce();
            }
        }
        self.end();
    }

    /// Seals what is due, and has it stored, shown and answered.
    fn publish(&mut self) {
        let most = if self.core.is_kept() { JOURNAL_BATCH_RECORDS_MAX } else { TREE_LEAVES_MAX };
        let (outgoing, retries) = self.writer.seal_due(most);
        let (mut records, mut waiting) = (Vec::new(), Vec::new());
        for Outgoing { sealed, msg_id, answer } in outgoing {
            waiting.push((sealed.i, msg_id, answer));
            records.push(sealed);
        }
        let (wall, now) = (Clock::wall(), self.writer.clock.millis());
        let (writer, outlet) = (&self.writer, &mut *self.outlet);
        let mut everybody = Everybody { outlet, writer, waiting, retries };
        if records.is_empty() {
            everybody.answer(Ok(()));
        } else {
            self.core.publish(records, wall, now, &mut everybody);
        }
    }

    /// The disk failed: until it takes what it owes, whoever publishes is told.
    fn recover(&mut self) {
        let now = self.writer.clock.millis();
        let stream = self.writer.sealer.stream().clone();
        match self.show_owed(now) {
            None => self.writer.refuse_waiting(&degraded()),
            Some(Err(error)) => {
                tracing::debug!(%stream, %error, "the journal still takes nothing");
                self.writer.refuse_waiting(&degraded());
            }
            Some(Ok(())) => {
                tracing::info!(%stream, "the journal takes messages again");
                self.writer.announce();
            }
        }
    }

    fn show_owed(&mut self, now: u64) -> Option<Result<(), JournalError>> {
        let (writer, outlet) = (&self.writer, &mut *self.outlet);
        let (waiting, retries) = (Vec::new(), Vec::new());
        let mut everybody = Everybody { outlet, writer, waiting, retries };
        self.core.recover(Clock::wall(), now, &mut everybody)
    }

    fn beat(&mut self) {
        if !self.writer.is_heartbeat_due() {
            return;
        }
        let (end, state) = self.core.stand(&self.writer.sealer);
        let beat = self.writer.heartbeat_at(end, state);
        if let Some(serving) = &self.serving {
            serving.beaten(&beat.wire);
        }
        // The heartbeat first: a new reader's base is the last message, not the first.
        self.send(&beat.wire);
        if self.writer.announcing() {
            self.send_genesis();
        }
    }

    fn pause(&self) -> Duration {
        let pause = self.writer.pause();
        self.core.retry_at().map_or(pause, |at| {
            let left = at.saturating_sub(self.writer.clock.millis()).max(1);
            // Those who publish meanwhile are told at once: each of them wakes the writer.
            Duration::from_millis(left)
        })
    }

    fn end(mut self) {
        // The disk gets one more chance before the last words.
        self.show_owed(u64::MAX);
        let (end, _) = self.core.stand(&self.writer.sealer);
        let beat = self.writer.heartbeat_at(end, State::Closed);
        self.send(&beat.wire);
        if let Some(serving) = &self.serving {
            serving.end(&beat.wire);
        }
        let stream = self.writer.sealer.stream();
        if let Err(error) = self.slot.end(self.writer.sealer.epoch(), end.0, end.1) {
            tracing::warn!(%error, %stream, "saving how the epoch ended");
        }
        if let Err(error) = self.core.close() {
            tracing::warn!(%error, %stream, "closing the journal");
        }
    }

    fn send_genesis(&mut self) {
        let genesis = self.core.genesis().clone();
        self.send(&genesis);
    }

    fn send(&mut self, wire: &Wire) {
        send(&mut *self.outlet, &self.writer, wire);
    }
}

/// Subscribers, and the callers who wait for their receipts.
struct Everybody<'a> {
    outlet: &'a mut dyn Outlet,
    writer: &'a Writer,
    waiting: Vec<(u64, String, Answer)>,
    retries: Vec<Retry>,
}

impl Outside for Everybody<'_> {
    fn stored(&mut self, metrics: JournalMetrics) {
        let journal = &self.writer.shared.journal;
        *journal.lock().unwrap_or_else(PoisonError::into_inner) = Some(metrics);
    }

    fn show(&mut self, wire: &Wire) {
        send(self.outlet, self.writer, wire);
        self.writer.count_published(1);
    }

    /// A retry is answered like the message that it repeats, which was stored before or beside it.
    fn answer(&mut self, published: Result<(), &JournalError>) {
        let (writer, epoch) = (self.writer, self.writer.sealer.epoch());
        if let Err(error) = published {
            let stream = writer.sealer.stream();
            tracing::error!(%stream, %error, "the journal takes nothing: messages are refused until it does");
        }
        let retries = self.retries.drain(..).map(|Retry { i, msg_id, answer }| (i, msg_id, answer));
        for (i, msg_id, answer) in self.waiting.drain(..).chain(retries) {
            let result = match published {
                Ok(()) => Ok(writer.shared.receipt(epoch, i, msg_id, None)),
                Err(error) => Err(PublishError::NotStored(error.to_string())),
            };
            writer.shared.answer(answer, result);
        }
    }
}

fn send(outlet: &mut dyn Outlet, writer: &Writer, wire: &Wire) {
    if !outlet.send(wire) {
        let left_out = &writer.shared.counts.left_out;
        if left_out.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            tracing::warn!(
                stream = %writer.sealer.stream(),
                "a subscriber is too slow: messages are sent without it, and it will see a gap"
            );
        }
    }
}

fn degraded() -> PublishError {
    PublishError::NotStored("the journal's disk has failed, and is tried again every second".into())
}
