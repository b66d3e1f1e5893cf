//! Publishing through relays, kept: a message is in the journal before anybody is told of it, and stays there until
//! a relay has it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::PublishError;
use super::callers::{Callers, degraded};
use super::copying::Copying;
use super::core::{Core, Outside};
use super::opening::random_bytes;
use super::past::Past;
use super::slot::SlotLock;
use super::writer::Writer;
use crate::clock::Clock;
use crate::delivered::{Point, Refusal};
use crate::delivery::Outcome;
use crate::envelope::Wire;
use crate::identity::Identity;
use crate::journal::{Disk, JournalError, JournalMetrics};
use crate::limits::JOURNAL_BATCH_RECORDS_MAX;
use crate::outbox::sender::Sender;
use crate::record::{After, State};
use crate::rejection::Rejection;
use crate::replay::save_heartbeat;

/// A publisher that is closed waits so long for relays that answer.
const CLOSING_MS_MAX: u64 = 5_000;
/// One that was made so short a time ago, and is closed, waits until then for a first answer.
const FIRST_ANSWER_MS: u64 = 1_000;
/// How often it is looked whether the operator wants a new epoch, and what could not be done is tried again.
const AGAIN_MS: u64 = 1_000;

/// The writer thread of a publisher without an endpoint, at level `local`.
pub(super) struct Posted {
    writer: Writer,
    slot: SlotLock,
    core: Core,
    sender: Sender,
    disk: Arc<dyn Disk>,
    /// Most bytes that no relay has.
    outbox_bytes: u64,
    again_at: u64,
    /// A relay lacks what is gone.
    wants_epoch: bool,
    started: u64,
    /// Those who wait for copies, where the level promises them.
    copying: Option<Copying>,
}

impl Posted {
    pub(super) fn new(
        mut writer: Writer,
        slot: SlotLock,
        core: Core,
        sender: Sender,
        disk: Arc<dyn Disk>,
        copying: Option<Copying>,
    ) -> Posted {
        if let Some(reader) = core.reader() {
            writer.remembers(Past(reader));
        }
        let outbox_bytes = writer.shared.config().publisher.outbox_bytes;
        let started = writer.clock.millis();
        let (again_at, wants_epoch) = (0, false);
        Posted {
            writer,
            slot,
            core,
            sender,
            disk,
            outbox_bytes,
            again_at,
            wants_epoch,
            started,
            copying,
        }
    }

    /// Ends when the publisher is closed, and relays that answer have everything.
    pub(super) fn run(mut self) {
        let mut closing = None;
        self.writer.announce();
        loop {
            let done = self.writer.fill();
            self.look_again();
            match (self.core.is_renewing(), self.core.retry_at()) {
                (true, _) => self.renew(),
                (false, Some(_)) => self.recover(),
                (false, None) => self.publish(),
            }
            let now = self.writer.clock.millis();
            if done {
                let since = *closing.get_or_insert_with(|| {
                    self.last_words();
                    now
                });
                if self.is_over(since, now) {
                    break;
                }
            } else {
                self.beat();
            }
            self.core.trim(&mut self.writer.sealer, Clock::wall(), now);
            self.deliver();
        }
        self.copying.iter_mut().for_each(Copying::give_up);
        self.sender.save();
        self.tell();
        let stream = self.writer.sealer.stream();
        if let Err(error) = self.core.close() {
            tracing::warn!(%error, %stream, "closing the journal");
        }
    }

    /// Whether nobody is waited for any more.
    fn is_over(&self, since: u64, now: u64) -> bool {
        let floor = self.sender.delivered().floor();
        let (last, epoch) = (self.writer.sealer.last().0, self.writer.sealer.epoch());
        let waited = now.saturating_sub(since);
        if self.copying.as_ref().is_some_and(Copying::is_waited_for) {
            return false;
        }
        match self.sender.up() {
            _ if waited > CLOSING_MS_MAX => true,
            // There was never more than a genesis record.
            0 if last == 0 && floor.is_none() => true,
            0 => now.saturating_sub(self.started) > FIRST_ANSWER_MS,
            _ => self.sender.is_done() && floor >= Some(Point { epoch, i: last }),
        }
    }

    /// The operator may want a new epoch, or a relay needs one.
    fn look_again(&mut self) {
        let now = self.writer.clock.millis();
        if now < self.again_at || self.core.is_renewing() {
            return;
        }
        self.again_at = now.saturating_add(AGAIN_MS);
        if self.slot.is_renewal_wanted() {
            tracing::warn!(stream = %self.writer.sealer.stream(), "a new epoch is wanted, and begins");
            self.core.want_renewal(None);
        } else if self.wants_epoch && self.core.retry_at().is_none() {
            self.go_on();
        }
    }

    /// Begins a new epoch, tied to the end of this one: the only way on for a relay that lacks what is gone.
    fn go_on(&mut self) {
        let sealer = &self.writer.sealer;
        let (epoch, (last, leaf)) = (sealer.epoch(), sealer.last());
        let after = (After::Epoch { epoch, last }, leaf);
        match self.core.go_on_after(sealer, after, Clock::wall(), random_bytes()) {
            Ok((sealer, kept)) => {
                self.wants_epoch = false;
                self.begun(sealer, kept);
            }
            Err(error) => {
                tracing::error!(%error, stream = %self.writer.sealer.stream(), "beginning a new epoch");
            }
        }
    }

    fn begun(&mut self, sealer: crate::seal::Sealer, kept: u64) {
        let (stream, epoch) = (sealer.stream().clone(), sealer.epoch());
        if let Err(error) = self.slot.begin(epoch) {
            tracing::warn!(%stream, %error, "saving the epoch");
        }
        self.writer.go_on_in(sealer, kept);
        self.writer.shared.counts.renewed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%stream, %epoch, "a new epoch has begun");
        self.grown();
    }

    /// Begins the new epoch that the operator wanted, if the disk takes it.
    fn renew(&mut self) {
        let now = self.writer.clock.millis();
        match self.core.renew(&self.writer.sealer, Clock::wall(), now, random_bytes()) {
            None => self.writer.refuse_waiting(&degraded()),
            Some(Err(error)) => {
                tracing::error!(%error, stream = %self.writer.sealer.stream(), "beginning a new epoch");
                self.writer.refuse_waiting(&degraded());
            }
            Some(Ok((sealer, kept))) => {
                if let Err(error) = self.slot.renewal_done() {
                    tracing::warn!(%error, "no wish for a new epoch can be followed any more");
                    self.again_at = u64::MAX;
                }
                self.begun(sealer, kept);
            }
        }
    }

    /// Seals what is due, and has it stored and answered, unless relays lack too much already.
    fn publish(&mut self) {
        if !self.writer.shared.has_room_for_copies() {
            return;
        }
        let floor = self.sender.delivered().floor();
        let pending = self.core.bytes_after(floor.map(|floor| (floor.epoch, floor.i)));
        if pending >= self.outbox_bytes {
            let (stream, most) = (self.writer.sealer.stream().clone(), self.outbox_bytes);
            return self.writer.refuse_waiting(&PublishError::OutboxFull { stream, most });
        }
        let (outgoing, retries) = self.writer.seal_due(JOURNAL_BATCH_RECORDS_MAX);
        let (records, mut callers) = Callers::of(&self.writer, outgoing, retries);
        let (wall, now) = (Clock::wall(), self.writer.clock.millis());
        if records.is_empty() {
            callers.answer(Ok(()));
        } else {
            self.core.publish(records, wall, now, &mut Kept(callers));
            self.grown();
        }
    }

    /// The disk failed: until it takes what it owes, whoever publishes is told.
    fn recover(&mut self) {
        let now = self.writer.clock.millis();
        let mut nobody = Kept(Callers::nobody(&self.writer));
        match self.core.recover(Clock::wall(), now, &mut nobody) {
            Some(Ok(())) => {
                tracing::info!(stream = %self.writer.sealer.stream(), "the journal takes messages again");
                self.grown();
            }
            _ => self.writer.refuse_waiting(&degraded()),
        }
    }

    fn grown(&mut self) {
        let end = self.core.mark().and_then(|mark| mark.get());
        self.sender.grown(end.map(|(epoch, i)| Point { epoch, i }));
    }

    fn beat(&mut self) {
        if self.writer.is_heartbeat_due() {
            let (end, state) = self.core.stand(&self.writer.sealer);
            let state = self.writer.shared.state_with_copies(state);
            let beat = self.writer.heartbeat_at(end, state);
            self.sender.beaten(beat.wire);
        }
    }

    /// Says how the stream ends, in its folder and to relays.
    fn last_words(&mut self) {
        let (end, _) = self.core.stand(&self.writer.sealer);
        let beat = self.writer.heartbeat_at(end, State::Closed);
        let stream = self.writer.sealer.stream();
        if let Err(error) = save_heartbeat(&*self.disk, self.slot.folder(), &beat.wire) {
            tracing::warn!(%error, %stream, "readers will have to ask for the end of the stream");
        }
        if let Err(error) = self.slot.end(self.writer.sealer.epoch(), end.0, end.1) {
            tracing::warn!(%error, %stream, "saving how the epoch ended");
        }
        self.sender.beaten(beat.wire);
    }

    /// Gives relays what they need, and waits until there is something to be done.
    fn deliver(&mut self) {
        let now = self.writer.clock.millis();
        if let Some(copying) = &mut self.copying {
            copying.take(now);
            self.sender.prove(|relay, upto| copying.unproven(relay, upto, now));
        }
        if let Err(error) = self.sender.send() {
            tracing::warn!(%error, stream = %self.writer.sealer.stream(), "reading what is to be delivered");
        }
        for (relay, outcome) in self.sender.receive(self.pause(now)) {
            if let Some(copying) = &mut self.copying {
                copying.learn(&relay, &outcome, self.sender.end());
            }
            self.learn(&relay, outcome);
        }
        let now = self.writer.clock.millis();
        self.copying.iter_mut().for_each(|copying| drop(copying.answer(now)));
        self.tell();
    }

    fn pause(&self, now: u64) -> Duration {
        let next = self.copying.as_ref().and_then(Copying::next_at);
        let next = next.map_or(AGAIN_MS, |at| at.saturating_sub(now));
        let pause = match self.core.retry_at() {
            // Those who publish meanwhile are told at once: each of them wakes the writer.
            Some(at) => Duration::from_millis(at.saturating_sub(now).max(1)),
            // Only an answer helps.
            None if !self.writer.shared.has_room_for_copies() => self.writer.heartbeat_pause(),
            None => self.writer.pause(),
        };
        pause.min(Duration::from_millis(next.min(AGAIN_MS)))
    }

    fn learn(&mut self, relay: &Identity, outcome: Outcome) {
        let stream = self.writer.sealer.stream();
        match outcome {
            Outcome::Taken { .. } | Outcome::Nothing => {}
            Outcome::Back => {
                tracing::info!(%stream, %relay, "the relay lacks older messages, and gets them")
            }
            Outcome::Failed(why) => {
                tracing::warn!(%stream, %relay, why, "the relay does not take messages")
            }
            Outcome::NeedsEpoch => {
                tracing::warn!(%stream, %relay, "the relay lacks messages that are gone: a new epoch begins");
                (self.wants_epoch, self.again_at) = (true, 0);
            }
            Outcome::Refused(Refusal { from, to, reason, text, .. }) => {
                tracing::error!(%stream, %relay, first = from.i, last = to, reason, text,
                    "the relay refuses messages for good");
                let count = to - from.i + 1;
                self.writer.shared.counts.refused.fetch_add(count, Ordering::Relaxed);
                if reason == Rejection::Fork.name() && !self.core.is_renewing() {
                    self.core.want_renewal(None);
                }
            }
        }
    }

    /// Tells callers how far relays are.
    fn tell(&self) {
        let shared = &self.writer.shared;
        shared.counts.relays_up.store(self.sender.up() as u64, Ordering::Relaxed);
        let metrics = self.core.metrics(Clock::wall());
        *shared.journal.lock().unwrap_or_else(PoisonError::into_inner) = metrics;
        shared.handed_over(self.sender.delivered().clone());
    }
}

/// Readers are shown nothing here: relays are given what is read from the journal.
struct Kept<'a>(Callers<'a>);

impl Outside for Kept<'_> {
    fn stored(&mut self, metrics: JournalMetrics) {
        self.0.stored(metrics);
    }

    fn show(&mut self, _: &Wire) {
        self.0.shown();
    }

    fn answer(&mut self, published: Result<(), &JournalError>) {
        self.0.answer(published);
    }
}
