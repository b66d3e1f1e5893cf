//! The order in which messages leave a publisher: stored, then shown, then answered. Pure, except for the
//! journal, whose disk is an argument.

use std::sync::Arc;

use super::keeping::{Keeping, Opening};
use crate::envelope::{Epoch, Wire};
use crate::identity::StreamName;
use crate::journal::{Journal, JournalError, JournalMetrics, Mark};
use crate::keys::SecretKey;
use crate::merkle::Leaf;
use crate::planted::bug;
use crate::record::{After, Level, State};
use crate::seal::{Sealed, Sealer};
use crate::timestamp::Timestamp;

/// What a publisher keeps, and the genesis record of its epoch.
#[derive(Debug)]
pub struct Core {
    /// Nothing at level `memory`.
    keeping: Option<Keeping>,
    genesis: Wire,
}

/// Everybody who waits for messages: readers, and those who published them.
pub trait Outside {
    /// Records were given to the journal, successfully or not.
    fn stored(&mut self, metrics: JournalMetrics);
    /// Shows one message to readers.
    fn show(&mut self, wire: &Wire);
    /// Tells those who published this batch what became of it.
    fn answer(&mut self, published: Result<(), &JournalError>);
}

/// A stream that can be written.
pub struct Opened {
    /// Its writer.
    pub sealer: Sealer,
    /// What it keeps.
    pub core: Core,
}

impl Core {
    /// The stream as its journal has it: in the same epoch where that is safe, in a new one otherwise. `before`
    /// is what the slot knows of the epoch before, `random` makes the name of a new one unique.
    pub fn open(
        journal: Journal,
        before: (After, Leaf, Option<Epoch>),
        key: Arc<SecretKey>,
        level: Level,
        now: Timestamp,
        random: [u8; 10],
    ) -> Result<Opened, JournalError> {
        let (stream, id): (StreamName, _) = (journal.stream().clone(), key.public().id());
        let (mut keeping, opening) = Keeping::new(journal, before, &id, level);
        let (mut sealer, genesis) = match opening {
            Opening::Resume(resumed, genesis) => {
                (Sealer::resume(key, stream, resumed, level, now), genesis)
            }
            Opening::New(after, prev) => {
                let above = before.2.max(keeping.newest_epoch());
                let epoch = Epoch::next(now, random, above);
                let opened = Sealer::open_epoch(key, stream, epoch, (after, prev), level, now);
                let (sealer, genesis) = opened;
                keeping.begin(epoch, &genesis.wire, now)?;
                (sealer, genesis.wire)
            }
        };
        sealer.keeps_from(keeping.first());
        Ok(Opened { sealer, core: Core { keeping: Some(keeping), genesis } })
    }

    /// Of a stream that is not kept.
    pub(super) fn unkept(genesis: Wire) -> Core {
        Core { keeping: None, genesis }
    }

    /// The record that opened the epoch.
    pub fn genesis(&self) -> &Wire {
        &self.genesis
    }

    /// Whether there is a journal.
    pub fn is_kept(&self) -> bool {
        self.keeping.is_some()
    }

    /// How far the journal is on disk, for those who read it in this process.
    pub fn mark(&self) -> Option<Mark> {
        self.keeping.as_ref().map(Keeping::mark)
    }

    /// What the journal did.
    pub fn metrics(&self) -> Option<JournalMetrics> {
        self.keeping.as_ref().map(Keeping::metrics)
    }

    /// Stores what was sealed, and only then shows it to anybody.
    pub fn publish(
        &mut self,
        records: Vec<Sealed>,
        wall: Timestamp,
        now: u64,
        outside: &mut impl Outside,
    ) {
        if bug("answer-before-sync") {
            outside.answer(Ok(()));
        }
        if bug("show-before-sync") {
            records.iter().for_each(|sealed| outside.show(&sealed.wire));
        }
        let stored = match &mut self.keeping {
            Some(keeping) => {
                let stored = keeping.store(records, wall, now);
                outside.stored(keeping.metrics());
                stored
            }
            None => Ok(records),
        };
        match stored {
            Ok(records) => {
                records.iter().for_each(|sealed| outside.show(&sealed.wire));
                outside.answer(Ok(()));
            }
            Err(error) => outside.answer(Err(&error)),
        }
    }

    /// When the disk is tried again, in milliseconds, while it owes an answer: until then nothing can be
    /// published.
    pub fn retry_at(&self) -> Option<u64> {
        self.keeping.as_ref().and_then(Keeping::retry_at)
    }

    /// Tries a disk that failed again, if it is time, and shows what it owed once it has taken it.
    pub fn recover(
        &mut self,
        wall: Timestamp,
        now: u64,
        outside: &mut impl Outside,
    ) -> Option<Result<(), JournalError>> {
        let keeping = self.keeping.as_mut()?;
        let retried = keeping.retry(wall, now)?;
        outside.stored(keeping.metrics());
        Some(retried.map(|records| records.iter().for_each(|sealed| outside.show(&sealed.wire))))
    }

    /// Where the stream ends as far as anybody may know, and how it is: what the disk does not have yet must
    /// not be known.
    pub fn stand(&self, sealer: &Sealer) -> ((u64, Leaf), State) {
        let degraded = self.keeping.as_ref().filter(|keeping| keeping.is_degraded());
        match degraded.map(Keeping::end) {
            Some(Some(end)) if !bug("heartbeat-beyond-the-disk") => (end, State::Degraded),
            _ => (sealer.last(), State::Open),
        }
    }

    /// Applies retention, if it is time.
    pub fn trim(&mut self, sealer: &mut Sealer, wall: Timestamp, now: u64) {
        if let Some(keeping) = &mut self.keeping
            && keeping.trim(wall, now)
        {
            sealer.keeps_from(keeping.first());
        }
    }

    /// Ends the journal cleanly.
    pub fn close(self) -> Result<(), JournalError> {
        self.keeping.map_or(Ok(()), Keeping::close)
    }
}
