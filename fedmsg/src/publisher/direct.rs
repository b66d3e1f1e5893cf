//! Publishing on an own endpoint.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::PublishError;
use super::keeping::{Keeping, RETRY_MS};
use super::opening::random_bytes;
use super::past::Past;
use super::serving::Serving;
use super::slot::SlotLock;
use super::witness::{Renewals, Shown};
use super::writer::{Outgoing, Retry, Writer};
use crate::clock::Clock;
use crate::envelope::{Epoch, Wire};
use crate::journal::JournalError;
use crate::keys::SecretKey;
use crate::limits::{JOURNAL_BATCH_RECORDS_MAX, TREE_LEAVES_MAX};
use crate::merkle::Leaf;
use crate::record::{After, State};
use crate::seal::{Sealed, Sealer};
use crate::transport::Outlet;

/// The writer thread of a publisher that has an endpoint.
pub(super) struct Direct {
    writer: Writer,
    outlet: Box<dyn Outlet>,
    slot: SlotLock,
    key: Arc<SecretKey>,
    genesis: Wire,
    /// Nothing at level `memory`.
    keeping: Option<Keeping>,
    serving: Option<Serving>,
    renewing: Option<Renewing>,
    renewals: Renewals,
    /// When it is looked again, in milliseconds, whether the operator wants a new epoch; never where that wish
    /// cannot be taken away.
    wish_at: u64,
}

/// How often it is looked whether the operator wants a new epoch, in milliseconds.
const WISH_MS: u64 = 1_000;

/// A new epoch is to begin before anything else is published.
struct Renewing {
    /// Above this one, and above that which goes on now.
    above: Option<Epoch>,
    /// Not before this time, in milliseconds: the disk has failed.
    at: u64,
}

impl Direct {
    pub(super) fn new(
        mut writer: Writer,
        outlet: Box<dyn Outlet>,
        slot: SlotLock,
        (key, genesis): (Arc<SecretKey>, Wire),
        keeping: Option<Keeping>,
        serving: Option<Serving>,
    ) -> Direct {
        if let Some(keeping) = &keeping {
            writer.remembers(Past(keeping.reader()));
        }
        let renewals = Renewals::default();
        let (renewing, wish_at) = (None, 0);
        Direct { writer, outlet, slot, key, genesis, keeping, serving, renewing, renewals, wish_at }
    }

    /// Ends when the publisher is closed and everything was sent.
    pub(super) fn run(mut self) {
        let genesis = self.genesis.clone();
        self.send(&genesis);
        self.writer.announce();
        while !self.writer.fill() {
            self.look_at_what_was_shown();
            self.look_for_a_wish();
            match (&self.renewing, self.keeping.as_ref().and_then(Keeping::retry_at)) {
                (Some(_), _) => self.renew(),
                (None, Some(_)) => self.recover(),
                (None, None) => self.publish(),
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

    /// Somebody may have shown that this publisher was set back, or that somebody else writes the stream.
    fn look_at_what_was_shown(&mut self) {
        let Some(Shown { epoch, i, leaf }) = self.serving.as_ref().and_then(Serving::shown) else {
            return;
        };
        let current = self.writer.sealer.epoch();
        let owed = self.keeping.as_ref().is_some_and(|keeping| keeping.owes(i, leaf));
        if self.renewing.is_some() || owed && epoch == current {
            return;
        }
        let (stream, last) = (self.writer.sealer.stream(), self.writer.sealer.last().0);
        if !self.renewals.is_allowed(self.writer.clock.millis()) {
            if self.renewals.is_to_be_said() {
                tracing::error!(%stream, shown = %epoch, i,
                    "it is shown again and again that somebody else writes this stream: look who else has its \
                     key; a new epoch begins when there was none for a minute");
            }
            return;
        }
        tracing::error!(%stream, epoch = %current, last, shown = %epoch, shown_i = i,
            "somebody has shown a signed record of this stream that is not known here: this publisher was set \
             back (a restored snapshot or backup), or somebody else has its key; a new epoch begins");
        self.renewing = Some(Renewing { above: Some(epoch), at: 0 });
    }

    /// The operator may want a new epoch: `fedmsg stream renew`.
    fn look_for_a_wish(&mut self) {
        let now = self.writer.clock.millis();
        if now < self.wish_at || self.renewing.is_some() {
            return;
        }
        self.wish_at = now.saturating_add(WISH_MS);
        if self.slot.is_renewal_wanted() {
            tracing::warn!(stream = %self.writer.sealer.stream(), "a new epoch is wanted, and begins");
            self.renewing = Some(Renewing { above: None, at: 0 });
        }
    }

    /// Begins a new epoch. What waits to be published gets its numbers there; while the disk does not take
    /// the epoch, nothing can be published.
    fn renew(&mut self) {
        let now = self.writer.clock.millis();
        let Some(Renewing { above, .. }) = self.renewing.take_if(|renewing| now >= renewing.at)
        else {
            return self.writer.refuse_waiting(&degraded());
        };
        if let Err(error) = self.begin_epoch(above) {
            let stream = self.writer.sealer.stream();
            tracing::error!(%stream, %error, "the journal does not take a new epoch: messages are refused until it does");
            self.writer.refuse_waiting(&PublishError::NotStored(error.to_string()));
            self.renewing = Some(Renewing { above, at: now + RETRY_MS });
        }
        self.count();
    }

    fn begin_epoch(&mut self, above: Option<Epoch>) -> Result<(), JournalError> {
        let (wall, sealer) = (Clock::wall(), &self.writer.sealer);
        let (before, stream, level) = (sealer.epoch(), sealer.stream().clone(), sealer.level());
        let newest = self.keeping.as_ref().and_then(Keeping::newest_epoch);
        let epoch = Epoch::next(wall, random_bytes(), Some(before).max(newest).max(above));
        let (key, unknown) = (Arc::clone(&self.key), (After::Unknown, Leaf::NONE));
        let opened = Sealer::open_epoch(key, stream.clone(), epoch, unknown, level, wall);
        let (mut sealer, Sealed { wire, .. }) = opened;
        // What the disk did not take was published nowhere.
        let mut kept = self.writer.sealer.last().0;
        if let Some(keeping) = &mut self.keeping {
            kept = keeping.end().map_or(0, |end| end.0);
            keeping.begin(epoch, &wire, wall)?;
            sealer.keeps_from(keeping.first());
        }
        if let Err(error) = self.slot.begin(epoch) {
            tracing::warn!(%stream, %error, "saving the epoch");
        }
        if let Err(error) = self.slot.renewal_done() {
            tracing::warn!(%stream, %error, "no wish for a new epoch can be followed any more");
            self.wish_at = u64::MAX;
        }
        self.writer.go_on_in(sealer, kept);
        self.genesis = wire.clone();
        self.send(&wire);
        self.renewals.done(self.writer.clock.millis());
        self.writer.shared.counts.renewed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%stream, %before, %epoch, "a new epoch has begun");
        Ok(())
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
        for Retry { epoch, i, msg_id, answer } in retries {
            let receipt = self.writer.shared.receipt(epoch, i, msg_id, None);
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
        let renewing = self.renewing.is_some();
        let stands = |keeping: &Keeping| (renewing || keeping.is_degraded(), keeping.end());
        let beat = match self.keeping.as_ref().map(stands) {
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
        let retry = match &self.renewing {
            Some(renewing) => Some(renewing.at),
            None => self.keeping.as_ref().and_then(Keeping::retry_at),
        };
        retry.map_or(pause, |at| {
            let left = at.saturating_sub(self.writer.clock.millis()).max(1);
            // Those who publish meanwhile are told at once: each of them wakes the writer.
            Duration::from_millis(left)
        })
    }

    fn count(&self) {
        let metrics = self.keeping.as_ref().map(|keeping| keeping.metrics(Clock::wall()));
        *self.writer.shared.journal.lock().unwrap_or_else(PoisonError::into_inner) = metrics;
    }

    fn end(mut self) {
        // The disk gets one more chance before the last words. Where a new epoch is due, what it owes is given up.
        let keeping = self.keeping.as_mut().filter(|_| self.renewing.is_none());
        let last_chance = keeping.and_then(|keeping| keeping.retry(Clock::wall(), u64::MAX));
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
            if left_out.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    stream = %self.writer.sealer.stream(),
                    "a subscriber is too slow: messages are sent without it, and it has to fetch them"
                );
            }
        }
    }
}

fn degraded() -> PublishError {
    PublishError::NotStored("the journal's disk has failed, and is tried again every second".into())
}
