//! Publishing on an own endpoint.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::PublishError;
use super::callers::{Callers, degraded};
use super::copying::Handover;
use super::core::{Core, Outside, Reaction};
use super::opening::random_bytes;
use super::past::Past;
use super::serving::Serving;
use super::slot::SlotLock;
use super::writer::Writer;
use crate::clock::Clock;
use crate::envelope::Wire;
use crate::journal::{JournalError, JournalMetrics};
use crate::limits::{JOURNAL_BATCH_RECORDS_MAX, TREE_LEAVES_MAX};
use crate::record::{After, State};
use crate::seal::Sealer;
use crate::transport::Outlet;

/// The writer thread of a publisher that has an endpoint.
pub(super) struct Direct {
    writer: Writer,
    outlet: Box<dyn Outlet>,
    slot: SlotLock,
    core: Core,
    serving: Option<Serving>,
    /// When it is looked again, in milliseconds, whether the operator wants a new epoch; never where that wish
    /// cannot be taken away.
    wish_at: u64,
    /// The thread that hands records to the holders of copies, where the level promises them.
    copier: Option<JoinHandle<()>>,
    /// A holder lacks what is gone: an epoch for it is begun no earlier than this, in milliseconds.
    epoch_at: u64,
}

/// Epochs for holders that lack what is gone begin at most this often, in milliseconds.
const EPOCH_MS: u64 = 10_000;
/// How often it is looked whether the operator wants a new epoch, in milliseconds.
const WISH_MS: u64 = 1_000;

impl Direct {
    pub(super) fn new(
        mut writer: Writer,
        outlet: Box<dyn Outlet>,
        slot: SlotLock,
        core: Core,
        serving: Option<Serving>,
        copier: Option<JoinHandle<()>>,
    ) -> Direct {
        if let Some(reader) = core.reader() {
            writer.remembers(Past(reader));
        }
        Direct { writer, outlet, slot, core, serving, wish_at: 0, copier, epoch_at: 0 }
    }

    /// Ends when the publisher is closed and everything was sent.
    pub(super) fn run(mut self) {
        self.send_genesis();
        self.writer.announce();
        while !self.writer.fill() {
            self.look_at_what_was_shown();
            self.look_for_a_wish();
            self.look_at_holders();
            match (self.core.is_renewing(), self.core.retry_at()) {
                (true, _) => self.renew(),
                (false, Some(_)) => self.recover(),
                (false, None) => self.publish(),
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

    /// Somebody may have shown that this publisher was set back, or that somebody else writes the stream.
    fn look_at_what_was_shown(&mut self) {
        let Some(shown) = self.serving.as_ref().and_then(Serving::shown) else { return };
        let current = self.writer.sealer.epoch();
        let reaction = self.core.shown(shown, current, self.writer.clock.millis());
        let (stream, last) = (self.writer.sealer.stream(), self.writer.sealer.last().0);
        match reaction {
            Reaction::Nothing | Reaction::TooOften { is_new: false } => {}
            Reaction::TooOften { is_new: true } => {
                tracing::error!(%stream, shown = %shown.epoch, i = shown.i,
                    "it is shown again and again that somebody else writes this stream: look who else has its \
                     key; a new epoch begins when there was none for a minute");
            }
            Reaction::Renewal => {
                tracing::error!(%stream, epoch = %current, last, shown = %shown.epoch, shown_i = shown.i,
                    "somebody has shown a signed record of this stream that is not known here: this publisher was \
                     set back (a restored snapshot or backup), or somebody else has its key; a new epoch begins");
            }
        }
    }

    /// The operator may want a new epoch: `fedmsg stream renew`.
    fn look_for_a_wish(&mut self) {
        let now = self.writer.clock.millis();
        if now < self.wish_at || self.core.is_renewing() {
            return;
        }
        self.wish_at = now.saturating_add(WISH_MS);
        if self.slot.is_renewal_wanted() {
            tracing::warn!(stream = %self.writer.sealer.stream(), "a new epoch is wanted, and begins");
            self.core.want_renewal(None);
        }
    }

    /// A holder of copies may know more than this publisher, or lack what is gone.
    fn look_at_holders(&mut self) {
        let Some(wants) = self.writer.shared.copying.as_ref().map(Handover::wants) else { return };
        let (now, stream) = (self.writer.clock.millis(), self.writer.sealer.stream().clone());
        if self.core.is_renewing() || self.core.retry_at().is_some() {
            return;
        }
        if wants.renewal {
            tracing::error!(%stream, "a holder of copies knows another message of a number: this publisher was set \
                back, or somebody else has its key; a new epoch begins");
            self.core.want_renewal(None);
        } else if wants.epoch && now >= self.epoch_at {
            self.epoch_at = now.saturating_add(EPOCH_MS);
            self.go_on();
        }
    }

    /// Begins a new epoch, tied to the end of this one: the only way on for a holder that lacks what is gone.
    fn go_on(&mut self) {
        let sealer = &self.writer.sealer;
        let (epoch, (last, leaf)) = (sealer.epoch(), sealer.last());
        let after = (After::Epoch { epoch, last }, leaf);
        match self.core.go_on_after(sealer, after, Clock::wall(), random_bytes()) {
            Ok((sealer, kept)) => self.begun(sealer, kept),
            Err(error) => {
                tracing::error!(%error, stream = %self.writer.sealer.stream(), "beginning a new epoch");
            }
        }
    }

    fn begun(&mut self, sealer: Sealer, kept: u64) {
        let (stream, before) = (sealer.stream().clone(), self.writer.sealer.epoch());
        let epoch = sealer.epoch();
        if let Err(error) = self.slot.begin(epoch) {
            tracing::warn!(%stream, %error, "saving the epoch");
        }
        self.writer.go_on_in(sealer, kept);
        self.send_genesis();
        self.writer.shared.counts.renewed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%stream, %before, %epoch, "a new epoch has begun");
    }

    /// Begins a new epoch. What waits to be published gets its numbers there; while the disk does not take
    /// the epoch, nothing can be published.
    fn renew(&mut self) {
        let (wall, now) = (Clock::wall(), self.writer.clock.millis());
        let stream = self.writer.sealer.stream().clone();
        match self.core.renew(&self.writer.sealer, wall, now, random_bytes()) {
            None => self.writer.refuse_waiting(&degraded()),
            Some(Err(error)) => {
                tracing::error!(%stream, %error, "the journal does not take a new epoch: messages are refused until it does");
                self.writer.refuse_waiting(&PublishError::NotStored(error.to_string()));
            }
            Some(Ok((sealer, kept))) => {
                if let Err(error) = self.slot.renewal_done() {
                    tracing::warn!(%stream, %error, "no wish for a new epoch can be followed any more");
                    self.wish_at = u64::MAX;
                }
                self.begun(sealer, kept);
            }
        }
        self.count();
    }

    /// Seals what is due, and has it stored, shown and answered.
    fn publish(&mut self) {
        if !self.writer.shared.has_room_for_copies() {
            return;
        }
        let most = if self.core.is_kept() { JOURNAL_BATCH_RECORDS_MAX } else { TREE_LEAVES_MAX };
        let (outgoing, retries) = self.writer.seal_due(most);
        let (records, callers) = Callers::of(&self.writer, outgoing, retries);
        let (wall, now) = (Clock::wall(), self.writer.clock.millis());
        let mut everybody = Everybody { outlet: &mut *self.outlet, callers };
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
        let callers = Callers::nobody(&self.writer);
        let mut everybody = Everybody { outlet: &mut *self.outlet, callers };
        self.core.recover(Clock::wall(), now, &mut everybody)
    }

    fn beat(&mut self) {
        if !self.writer.is_heartbeat_due() {
            return;
        }
        let (end, state) = self.core.stand(&self.writer.sealer);
        let state = self.writer.shared.state_with_copies(state);
        let beat = self.writer.heartbeat_at(end, state);
        self.copy_beat(&beat.wire);
        if let Some(serving) = &self.serving {
            serving.beaten(&beat.wire);
        }
        // The heartbeat first: a new reader's base is the last message, not the first.
        self.send(&beat.wire);
        if self.writer.announcing() {
            self.send_genesis();
        }
    }

    fn copy_beat(&self, beat: &Wire) {
        self.writer.shared.copying.iter().for_each(|copying| copying.beaten(beat.clone()));
    }

    fn pause(&self) -> Duration {
        // While too many wait for copies, what waits to be sealed is no reason to hurry.
        let pause = match self.writer.shared.has_room_for_copies() {
            true => self.writer.pause(),
            false => self.writer.heartbeat_pause(),
        };
        self.core.retry_at().map_or(pause, |at| {
            let left = at.saturating_sub(self.writer.clock.millis()).max(1);
            // Those who publish meanwhile are told at once: each of them wakes the writer.
            Duration::from_millis(left)
        })
    }

    fn count(&self) {
        let metrics = self.core.metrics(Clock::wall());
        *self.writer.shared.journal.lock().unwrap_or_else(PoisonError::into_inner) = metrics;
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
        self.wait_for_copies(&beat.wire);
        let stream = self.writer.sealer.stream();
        if let Err(error) = self.slot.end(self.writer.sealer.epoch(), end.0, end.1) {
            tracing::warn!(%error, %stream, "saving how the epoch ended");
        }
        if let Err(error) = self.core.close() {
            tracing::warn!(%error, %stream, "closing the journal");
        }
    }

    /// Those who wait for copies are answered, and holders that answer are given the last words.
    fn wait_for_copies(&mut self, last_words: &Wire) {
        let Some(copier) = self.copier.take() else { return };
        self.copy_beat(last_words);
        self.writer.shared.copying.iter().for_each(Handover::close);
        if copier.join().is_err() {
            tracing::error!(stream = %self.writer.sealer.stream(), "the thread that follows copies has panicked");
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
    callers: Callers<'a>,
}

impl Outside for Everybody<'_> {
    fn stored(&mut self, metrics: JournalMetrics) {
        self.callers.stored(metrics);
    }

    fn show(&mut self, wire: &Wire) {
        send(self.outlet, self.callers.writer, wire);
        self.callers.shown();
    }

    fn answer(&mut self, published: Result<(), &JournalError>) {
        self.callers.answer(published);
    }
}

fn send(outlet: &mut dyn Outlet, writer: &Writer, wire: &Wire) {
    if !outlet.send(wire) {
        let left_out = &writer.shared.counts.left_out;
        if left_out.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                stream = %writer.sealer.stream(),
                "a subscriber is too slow: messages are sent without it, and it has to fetch them"
            );
        }
    }
}
