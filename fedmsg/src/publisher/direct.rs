//! Publishing on an own endpoint.

use std::sync::PoisonError;
use std::time::Duration;

use super::PublishError;
use super::keeping::Keeping;
use super::serving::Serving;
use super::slot::SlotLock;
use super::writer::{Outgoing, Retry, Writer};
use crate::clock::Clock;
use crate::envelope::Wire;
use crate::limits::{JOURNAL_BATCH_RECORDS_MAX, TREE_LEAVES_MAX};
use crate::record::State;
use crate::seal::Sealed;
use crate::transport::Outlet;

/// The writer thread of a publisher that has an endpoint.
pub(super) struct Direct {
    pub(super) writer: Writer,
    pub(super) outlet: Box<dyn Outlet>,
    pub(super) slot: SlotLock,
    pub(super) genesis: Wire,
    /// Nothing at level `memory`.
    pub(super) keeping: Option<Keeping>,
    pub(super) serving: Option<Serving>,
}

impl Direct {
    /// Ends when the publisher is closed and everything was sent.
    pub(super) fn run(mut self) {
        let genesis = self.genesis.clone();
        self.send(&genesis);
        self.writer.announce();
        while !self.writer.fill() {
            match self.keeping.as_ref().and_then(Keeping::retry_at) {
                None => self.publish(),
                Some(_) => self.recover(),
            }
            self.beat();
            self.trim();
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

    /// Seals what is due, stores it, and only then shows it to anybody.
    fn publish(&mut self) {
        let most = match self.keeping {
            Some(_) => JOURNAL_BATCH_RECORDS_MAX,
            None => TREE_LEAVES_MAX,
        };
        let (outgoing, retries) = self.writer.seal_due(most);
        if outgoing.is_empty() {
            return self.answer_retries(retries, None);
        }
        let (mut records, mut waiting) = (Vec::new(), Vec::new());
        for Outgoing { sealed, msg_id, answer } in outgoing {
            waiting.push((sealed.i, msg_id, answer));
            records.push(sealed);
        }
        match self.store(records) {
            Ok(records) => {
                self.send_all(&records);
                let epoch = self.writer.sealer.epoch();
                for (i, msg_id, answer) in waiting {
                    let receipt = self.writer.shared.receipt(epoch, i, msg_id, None);
                    self.writer.shared.answer(answer, Ok(receipt));
                }
                self.answer_retries(retries, None);
            }
            Err(error) => {
                for (_, _, answer) in waiting {
                    self.writer.shared.answer(answer, Err(error.clone()));
                }
                self.answer_retries(retries, Some(&error));
            }
        }
    }

    /// A retry is answered like the message that it repeats, which was stored before or beside it.
    fn answer_retries(&mut self, retries: Vec<Retry>, error: Option<&PublishError>) {
        for Retry { i, msg_id, answer } in retries {
            let receipt = self.writer.shared.receipt(self.writer.sealer.epoch(), i, msg_id, None);
            let result = error.map_or(Ok(receipt), |error| Err(error.clone()));
            self.writer.shared.answer(answer, result);
        }
    }

    /// Makes records durable, where they are kept at all.
    fn store(&mut self, records: Vec<Sealed>) -> Result<Vec<Sealed>, PublishError> {
        let Some(keeping) = &mut self.keeping else { return Ok(records) };
        let stored = keeping.store(records, Clock::wall(), self.writer.clock.millis());
        self.count();
        stored.map_err(|error| {
            let stream = self.writer.sealer.stream();
            tracing::error!(%stream, %error, "the journal takes nothing: messages are refused until it does");
            PublishError::NotStored(error.to_string())
        })
    }

    /// The disk failed: until it takes what it owes, whoever publishes is told.
    fn recover(&mut self) {
        let now = self.writer.clock.millis();
        let stream = self.writer.sealer.stream().clone();
        let retried = self.keeping.as_mut().and_then(|keeping| keeping.retry(Clock::wall(), now));
        match retried {
            None => self.writer.refuse_waiting(&degraded()),
            Some(Err(error)) => {
                tracing::debug!(%stream, %error, "the journal still takes nothing");
                self.writer.refuse_waiting(&degraded());
            }
            Some(Ok(records)) => {
                tracing::info!(%stream, "the journal takes messages again");
                self.send_all(&records);
                self.writer.announce();
            }
        }
        self.count();
    }

    fn beat(&mut self) {
        if !self.writer.is_heartbeat_due() {
            return;
        }
        let beat = match self.keeping.as_ref().map(|keeping| (keeping.is_degraded(), keeping.end()))
        {
            // What the disk does not have yet must not be known to anybody.
            Some((true, Some(end))) => self.writer.heartbeat_at(end, State::Degraded),
            _ => self.writer.heartbeat(State::Open),
        };
        if let Some(serving) = &self.serving {
            serving.beaten(&beat.wire);
        }
        // The heartbeat first: a new reader's base is the last message, not the first.
        self.send(&beat.wire);
        if self.writer.announcing() {
            let genesis = self.genesis.clone();
            self.send(&genesis);
        }
    }

    fn trim(&mut self) {
        let now = self.writer.clock.millis();
        if let Some(keeping) = &mut self.keeping
            && keeping.trim(Clock::wall(), now)
        {
            self.writer.sealer.keeps_from(keeping.first());
        }
    }

    fn pause(&self) -> Duration {
        let pause = self.writer.pause();
        let retry = self.keeping.as_ref().and_then(Keeping::retry_at);
        retry.map_or(pause, |at| {
            let left = at.saturating_sub(self.writer.clock.millis()).max(1);
            // Those who publish meanwhile are told at once: each of them wakes the writer.
            Duration::from_millis(left)
        })
    }

    fn count(&self) {
        let metrics = self.keeping.as_ref().map(Keeping::metrics);
        *self.writer.shared.journal.lock().unwrap_or_else(PoisonError::into_inner) = metrics;
    }

    fn end(mut self) {
        // The disk gets one more chance before the last words.
        let last_chance = self.keeping.as_mut().and_then(|k| k.retry(Clock::wall(), u64::MAX));
        self.send_all(&last_chance.and_then(Result::ok).unwrap_or_default());
        let kept = self.keeping.as_ref().filter(|keeping| keeping.is_degraded());
        let end = kept.and_then(Keeping::end).unwrap_or(self.writer.sealer.last());
        let beat = self.writer.heartbeat_at(end, State::Closed);
        self.send(&beat.wire);
        if let Some(serving) = &self.serving {
            serving.end(&beat.wire);
        }
        let stream = self.writer.sealer.stream();
        if let Err(error) = self.slot.end(self.writer.sealer.epoch(), end.0, end.1) {
            tracing::warn!(%error, %stream, "saving how the epoch ended");
        }
        if let Some(keeping) = self.keeping
            && let Err(error) = keeping.close()
        {
            tracing::warn!(%error, %stream, "closing the journal");
        }
    }

    /// Shows messages to everybody: from here on they are published.
    fn send_all(&mut self, records: &[Sealed]) {
        for sealed in records {
            self.send(&sealed.wire);
        }
        self.writer.count_published(records.len());
    }

    fn send(&mut self, wire: &Wire) {
        if !self.outlet.send(wire) {
            let left_out = &self.writer.shared.counts.left_out;
            if left_out.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                tracing::warn!(
                    stream = %self.writer.sealer.stream(),
                    "a subscriber is too slow: messages are sent without it, and it will see a gap"
                );
            }
        }
    }
}

fn degraded() -> PublishError {
    PublishError::NotStored("the journal's disk has failed, and is tried again every second".into())
}
