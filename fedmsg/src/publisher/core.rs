//! The order in which messages leave a publisher: stored, then shown, then answered. Pure, except for the
//! journal, whose disk is an argument.

use std::sync::Arc;

use super::keeping::{Keeping, Opening, RETRY_MS};
use super::retention::Retention;
use super::witness::{Renewals, Shown};
use crate::envelope::{Epoch, Wire};
use crate::identity::StreamName;
use crate::journal::{Journal, JournalError, JournalMetrics, Mark, Reader};
use crate::keys::SecretKey;
use crate::merkle::Leaf;
use crate::planted::bug;
use crate::record::{After, Level, State};
use crate::seal::{Sealed, Sealer};
use crate::timestamp::Timestamp;

/// What a publisher keeps, and the genesis record of its epoch.
#[derive(Debug)]
pub struct Core {
    key: Arc<SecretKey>,
    /// Nothing at level `memory`.
    keeping: Option<Keeping>,
    genesis: Wire,
    renewing: Option<Renewing>,
    renewals: Renewals,
}

/// A new epoch is to begin before anything else is published.
#[derive(Debug)]
struct Renewing {
    /// Above this one, and above that which goes on now.
    above: Option<Epoch>,
    /// Not before this time, in milliseconds: the disk has failed.
    at: u64,
}

/// What the slot knows of a stream, besides its journal.
#[derive(Debug)]
pub struct Before {
    /// The epoch before: what a new one comes after, its `prev`, and the name that the new one's must exceed.
    pub known: (After, Leaf, Option<Epoch>),
    /// The operator wants a new epoch.
    pub is_renewal_wanted: bool,
}

/// What becomes of something that was shown to a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It says nothing new now.
    Nothing,
    /// There were too many of its kind.
    TooOften {
        /// It was not said before.
        is_new: bool,
    },
    /// A new epoch will begin.
    Renewal,
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
    /// The stream as its journal has it: in the same epoch where that is safe, in a new one otherwise. `random`
    /// makes the name of a new one unique.
    pub fn open(
        journal: Journal,
        before: Before,
        key: Arc<SecretKey>,
        level: Level,
        now: Timestamp,
        random: [u8; 10],
    ) -> Result<Opened, JournalError> {
        let (stream, id): (StreamName, _) = (journal.stream().clone(), key.public().id());
        let Before { known, is_renewal_wanted } = before;
        let (mut keeping, mut opening) = Keeping::new(journal, known, &id, level);
        if is_renewal_wanted {
            // Readers that know another end of the old epoch must not be told that this is it.
            opening = Opening::New(After::Unknown, Leaf::NONE);
        }
        let (mut sealer, genesis) = match opening {
            Opening::Resume(resumed, genesis) => {
                (Sealer::resume(Arc::clone(&key), stream, resumed, level, now), genesis)
            }
            Opening::New(after, prev) => {
                let epoch = Epoch::next(now, random, known.2.max(keeping.newest_epoch()));
                let key = Arc::clone(&key);
                let opened = Sealer::open_epoch(key, stream, epoch, (after, prev), level, now);
                let (sealer, genesis) = opened;
                keeping.begin(epoch, &genesis.wire, now)?;
                (sealer, genesis.wire)
            }
        };
        sealer.keeps_from(keeping.first());
        Ok(Opened { sealer, core: Core::new(key, Some(keeping), genesis) })
    }

    /// Of a stream that is not kept.
    pub(super) fn unkept(key: Arc<SecretKey>, genesis: Wire) -> Core {
        Core::new(key, None, genesis)
    }

    fn new(key: Arc<SecretKey>, keeping: Option<Keeping>, genesis: Wire) -> Core {
        Core { key, keeping, genesis, renewing: None, renewals: Renewals::default() }
    }

    /// A reader of what is on disk.
    pub(crate) fn reader(&self) -> Option<Reader> {
        self.keeping.as_ref().map(Keeping::reader)
    }

    /// Somebody has shown a record of this stream that is not known here.
    pub fn shown(&mut self, shown: Shown, current: Epoch, now: u64) -> Reaction {
        let Shown { epoch, i, leaf } = shown;
        let owed = self.keeping.as_ref().is_some_and(|keeping| keeping.owes(i, leaf));
        if self.is_renewing() || owed && epoch == current {
            return Reaction::Nothing;
        }
        if !self.renewals.is_allowed(now) {
            return Reaction::TooOften { is_new: self.renewals.is_to_be_said() };
        }
        self.want_renewal(Some(epoch));
        Reaction::Renewal
    }

    /// A new epoch is to begin, above this one.
    pub fn want_renewal(&mut self, above: Option<Epoch>) {
        self.renewing = Some(Renewing { above, at: 0 });
    }

    /// Whether a new epoch is to begin: until it has, nothing can be published.
    pub fn is_renewing(&self) -> bool {
        self.renewing.is_some()
    }

    /// Begins the new epoch, if it is time: its writer, and the last number of the one before that was
    /// published. Where the disk does not take it, it is tried again later.
    pub fn renew(
        &mut self,
        sealer: &Sealer,
        wall: Timestamp,
        now: u64,
        random: [u8; 10],
    ) -> Option<Result<(Sealer, u64), JournalError>> {
        let Renewing { above, .. } = self.renewing.take_if(|renewing| now >= renewing.at)?;
        let unknown = (After::Unknown, Leaf::NONE);
        let begun = self.begin_epoch(sealer, (above, unknown), wall, random);
        match &begun {
            Ok(_) => self.renewals.done(now),
            Err(_) => self.renewing = Some(Renewing { above, at: now + RETRY_MS }),
        }
        Some(begun)
    }

    /// Begins a new epoch that is tied to the end of the one before: for those who cannot be given all of that.
    pub(crate) fn go_on_after(
        &mut self,
        before: &Sealer,
        (after, leaf): (After, Leaf),
        wall: Timestamp,
        random: [u8; 10],
    ) -> Result<(Sealer, u64), JournalError> {
        self.begin_epoch(before, (None, (after, leaf)), wall, random)
    }

    fn begin_epoch(
        &mut self,
        before: &Sealer,
        (above, after): (Option<Epoch>, (After, Leaf)),
        wall: Timestamp,
        random: [u8; 10],
    ) -> Result<(Sealer, u64), JournalError> {
        let newest = self.keeping.as_ref().and_then(Keeping::newest_epoch);
        let epoch = Epoch::next(wall, random, Some(before.epoch()).max(newest).max(above));
        let key = Arc::clone(&self.key);
        let (stream, level) = (before.stream().clone(), before.level());
        let opened = Sealer::open_epoch(key, stream, epoch, after, level, wall);
        let (mut sealer, Sealed { wire, .. }) = opened;
        // What the disk did not take was published nowhere.
        let mut kept = before.last().0;
        if let Some(keeping) = &mut self.keeping {
            kept = keeping.end().map_or(0, |end| end.0);
            keeping.begin(epoch, &wire, wall)?;
            sealer.keeps_from(keeping.first());
        }
        self.genesis = wire;
        Ok((sealer, kept))
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

    /// Bytes of what the journal has behind this place, in whole segments.
    pub(crate) fn bytes_after(&self, after: Option<(Epoch, u64)>) -> u64 {
        self.keeping.as_ref().map_or(0, |keeping| keeping.bytes_after(after))
    }

    /// What the journal did, as it is at this time.
    pub fn metrics(&self, wall: Timestamp) -> Option<JournalMetrics> {
        self.keeping.as_ref().map(|keeping| keeping.metrics(wall))
    }

    /// Keeps what consumers wait for, and stays within the budget of the host, from now on.
    pub(crate) fn set_retention(&mut self, retention: Retention) {
        if let Some(keeping) = &mut self.keeping {
            keeping.set_retention(retention);
        }
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
                outside.stored(keeping.metrics(wall));
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
        match &self.renewing {
            Some(renewing) => Some(renewing.at),
            None => self.keeping.as_ref().and_then(Keeping::retry_at),
        }
    }

    /// Tries a disk that failed again, if it is time, and shows what it owed once it has taken it.
    pub fn recover(
        &mut self,
        wall: Timestamp,
        now: u64,
        outside: &mut impl Outside,
    ) -> Option<Result<(), JournalError>> {
        // Where a new epoch is due, what is owed will be given up.
        let keeping = self.keeping.as_mut().filter(|_| self.renewing.is_none())?;
        let retried = keeping.retry(wall, now)?;
        outside.stored(keeping.metrics(wall));
        Some(retried.map(|records| records.iter().for_each(|sealed| outside.show(&sealed.wire))))
    }

    /// Where the stream ends as far as anybody may know, and how it is: what the disk does not have yet must
    /// not be known.
    pub fn stand(&self, sealer: &Sealer) -> ((u64, Leaf), State) {
        let renewing = self.is_renewing();
        let degraded = self.keeping.as_ref().filter(|kept| renewing || kept.is_degraded());
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
