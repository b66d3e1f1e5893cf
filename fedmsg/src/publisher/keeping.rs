//! What a publisher of level `local` keeps: its journal, and what the disk did not take.

use super::retention::Retention;
use crate::envelope::{Epoch, Wire};
use crate::journal::{
    Continuity, Journal, JournalError, JournalMetrics, Mark, Numbered, Reader, Trimmed,
};
use crate::keys::KeyId;
use crate::merkle::Leaf;
use crate::record::{After, Genesis, Level};
use crate::seal::{Resumed, Sealed};
use crate::signing::Cut;
use crate::timestamp::Timestamp;

/// How often retention is looked at, and how long a disk that failed is left alone, in milliseconds.
const TRIM_MS: u64 = 60_000;
pub(super) const RETRY_MS: u64 = 1_000;
/// How often it is written down how far the journal is, in milliseconds.
const MARK_MS: u64 = 10;

/// The journal of a publisher.
#[derive(Debug)]
pub(super) struct Keeping {
    journal: Journal,
    /// Sealed, and perhaps on disk, but not known to be: the same records must be appended again before
    /// anything else.
    owed: Vec<Sealed>,
    retry_at: u64,
    trim_at: u64,
    mark_at: u64,
    retention: Option<Retention>,
}

/// How a stream goes on.
pub(super) enum Opening {
    /// In the epoch that the journal ends with, whose genesis record this is.
    Resume(Resumed, Wire),
    /// In a new one, after this, whose last leaf is the second.
    New(After, Leaf),
}

impl Keeping {
    /// Keeps in this journal; `before` is what the slot knows of the epoch before. Says whether the stream may
    /// go on in the epoch that the journal ends with: only when no number above the last one can have been
    /// given out, and key and level are the same.
    pub(super) fn new(
        journal: Journal,
        (after, prev, before): (After, Leaf, Option<Epoch>),
        key: &KeyId,
        level: Level,
    ) -> (Keeping, Opening) {
        let stream = journal.stream();
        let newer_elsewhere = before > journal.newest_epoch();
        let opening = match (journal.state(), journal.continuity()) {
            (Some(state), Continuity::Proven)
                if !newer_elsewhere && begun_by(&state.genesis, key, level) =>
            {
                let (epoch, last, leaf) = (state.epoch, state.last, state.leaf);
                let (genesis, time) = (state.genesis_leaf, state.time);
                Opening::Resume(Resumed { epoch, last, leaf, genesis, time }, state.genesis.clone())
            }
            (Some(state), Continuity::Proven) if !newer_elsewhere => {
                Opening::New(After::Epoch { epoch: state.epoch, last: state.last }, state.leaf)
            }
            // An epoch that lived without a journal ended with what the slot says.
            _ if newer_elsewhere => Opening::New(after, prev),
            (None, Continuity::Fresh) if before.is_none() => Opening::New(after, prev),
            (_, continuity) => {
                if let Continuity::Broken(why) = continuity {
                    tracing::warn!(%stream, %why, "a new epoch begins");
                }
                Opening::New(After::Unknown, Leaf::NONE)
            }
        };
        for damage in journal.damage() {
            tracing::error!(%stream, path = %damage.path.display(), from = damage.from, to = damage.to,
                "records of the journal cannot be read; `fedmsg journal check` tells more");
        }
        let (owed, retention) = (Vec::new(), None);
        (Keeping { journal, owed, retry_at: 0, trim_at: 0, mark_at: 0, retention }, opening)
    }

    pub(super) fn newest_epoch(&self) -> Option<Epoch> {
        self.journal.newest_epoch()
    }

    /// A new epoch begins with this record. What the disk owes of the one before is given up with it.
    pub(super) fn begin(
        &mut self,
        epoch: Epoch,
        genesis: &Wire,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.journal.begin_epoch(epoch, genesis, now)?;
        self.owed.clear();
        Ok(())
    }

    /// Whether this is a record that the disk owes: nobody has seen it from here, but whoever reads the files.
    pub(super) fn owes(&self, i: u64, leaf: Leaf) -> bool {
        self.owed.iter().any(|sealed| (sealed.i, sealed.leaf) == (i, leaf))
    }

    /// Whether the disk owes an answer: until it gives one, nothing can be published.
    pub(super) fn is_degraded(&self) -> bool {
        !self.owed.is_empty()
    }

    /// When the disk is tried again, in milliseconds, while it owes an answer.
    pub(super) fn retry_at(&self) -> Option<u64> {
        self.is_degraded().then_some(self.retry_at)
    }

    /// Stores these records; when this returns well, they survive a power cut.
    pub(super) fn store(
        &mut self,
        records: Vec<Sealed>,
        time: Timestamp,
        now: u64,
    ) -> Result<Vec<Sealed>, JournalError> {
        let numbered: Vec<Numbered> = records.iter().map(Numbered::from).collect();
        match self.journal.append(&numbered, time) {
            Ok(()) => Ok(records),
            Err(error) => {
                (self.owed, self.retry_at) = (records, now.saturating_add(RETRY_MS));
                Err(error)
            }
        }
    }

    /// Tries the disk again, if it is time: what it owed, once it has taken it.
    pub(super) fn retry(
        &mut self,
        time: Timestamp,
        now: u64,
    ) -> Option<Result<Vec<Sealed>, JournalError>> {
        if !self.is_degraded() || now < self.retry_at {
            return None;
        }
        // Retention may make room; nothing else is thrown away for it.
        if let Err(error) = self.give_up(time) {
            tracing::debug!(%error, "trimming a journal");
        }
        let owed = std::mem::take(&mut self.owed);
        Some(self.store(owed, time, now))
    }

    /// The last number that is on disk, and its leaf.
    pub(super) fn end(&self) -> Option<(u64, Leaf)> {
        self.journal.state().map(|state| (state.last, state.leaf))
    }

    /// The first number of the current epoch that can be fetched.
    pub(super) fn first(&self) -> u64 {
        self.journal.state().map_or(1, |state| state.first)
    }

    /// Writes down how far the journal is and applies retention, if it is time. Says whether something went.
    pub(super) fn trim(&mut self, time: Timestamp, now: u64) -> bool {
        if now >= self.mark_at {
            self.mark_at = now + MARK_MS;
            self.journal.save_mark();
        }
        if now < self.trim_at {
            return false;
        }
        self.trim_at = now + TRIM_MS;
        match self.give_up(time) {
            Ok(trimmed) => trimmed.segments > 0,
            Err(error) => {
                tracing::warn!(%error, stream = %self.journal.stream(), "trimming the journal");
                false
            }
        }
    }

    /// Keeps what consumers wait for, and stays within the budget of the host, from now on.
    pub(super) fn set_retention(&mut self, retention: Retention) {
        self.retention = Some(retention);
    }

    fn give_up(&mut self, time: Timestamp) -> Result<Trimmed, JournalError> {
        let Keeping { journal, retention, .. } = self;
        match retention {
            None => journal.trim(time, |_, _| false),
            Some(retention) => {
                let share = retention.share(journal.bytes());
                journal.trim_to(share, time, |epoch, last| retention.holds(epoch, last))
            }
        }
    }

    /// Bytes of what lies behind this place, in whole segments.
    pub(super) fn bytes_after(&self, after: Option<(Epoch, u64)>) -> u64 {
        self.journal.bytes_after(after)
    }

    /// How far the journal is on disk, for those who read it in this process.
    pub(super) fn mark(&self) -> Mark {
        self.journal.mark()
    }

    /// A reader of what is on disk.
    pub(super) fn reader(&self) -> Reader {
        self.journal.reader()
    }

    pub(super) fn metrics(&self, time: Timestamp) -> JournalMetrics {
        JournalMetrics { covers_ms: self.journal.covers_ms(time), ..self.journal.metrics() }
    }

    /// Ends the journal cleanly.
    pub(super) fn close(self) -> Result<(), JournalError> {
        self.journal.close()
    }
}

/// Whether a genesis record is this key's, for this level.
fn begun_by(genesis: &Wire, key: &KeyId, level: Level) -> bool {
    #[derive(serde::Deserialize)]
    struct Envelope {
        msg: Genesis,
    }
    let signed_by = Cut::new(&genesis.envelope).is_ok_and(|cut| cut.key == *key);
    let of_level = serde_json::from_slice::<Envelope>(&genesis.envelope)
        .is_ok_and(|envelope| envelope.msg.level == level);
    signed_by && of_level
}
