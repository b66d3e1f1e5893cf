//! The order in which a relay does things: what was put and what was followed is stored together, with one sync, and
//! only then published and answered. What comes while the disk works waits for the next sync, and stands on the one
//! before: when that fails, it fails too. Pure, except for the log, whose disk is an argument.

use fedmsg::envelope::Wire;
use fedmsg::frames::{ErrorCode, Reply};
use fedmsg::keys::SecretKey;
use fedmsg::planted::bug;

use crate::core::{Kept, RelayCore, Taken};
use crate::keeping::Keeping;

/// Records and heartbeats that are stored with one sync.
const BATCH_RECORDS: usize = 1_024;
/// Bytes of them.
const BATCH_BYTES: usize = 8 << 20;

/// What waits for the next sync, and who is to be answered then.
#[derive(Debug)]
pub struct Waiting<P> {
    collected: Batch<P>,
    records: usize,
    bytes: usize,
}

/// What is stored with one sync: what was put or followed, and by whom.
#[derive(Debug)]
pub struct Batch<P>(Vec<(Option<P>, Taken)>);

/// Everybody who waits for a relay: readers, and producers.
pub trait Outside<P> {
    /// Shows readers the original bytes of a record that is stored, or of a heartbeat.
    fn publish(&mut self, wire: &Wire);
    /// Tells who has put something what became of it.
    fn answer(&mut self, to: &P, replies: Vec<Reply>);
}

impl<P> Default for Waiting<P> {
    fn default() -> Waiting<P> {
        Waiting { collected: Batch(Vec::new()), records: 0, bytes: 0 }
    }
}

impl<P> Waiting<P> {
    /// Something is to be stored with the next sync. Says whether that is to be done at once, because it is much.
    #[must_use = "what is too much for one sync has to be stored"]
    pub fn add(&mut self, from: Option<P>, taken: Taken) -> bool {
        let (records, bytes) = taken.size();
        self.records += records;
        self.bytes += bytes;
        self.collected.0.push((from, taken));
        self.records >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }

    /// What was collected until now is to be stored: the caller does that with [`Keeping::store`], and calls
    /// [`settle`](Waiting::settle) then, before it hands over more. Nothing, when nothing waits.
    pub fn hand_over(&mut self, core: &mut RelayCore) -> Option<Batch<P>> {
        let Waiting { collected, .. } = std::mem::take(self);
        if collected.0.is_empty() {
            return None;
        }
        core.handed_over();
        Some(collected)
    }

    /// The disk took what was handed over, and it is published and answered; or it did not: then nothing of it counts,
    /// nor of what was collected since, and their producers keep all of it.
    pub fn settle(
        &mut self,
        batch: &Batch<P>,
        stored: &Result<(), String>,
        (core, kept): (&mut RelayCore, &impl Kept),
        key: &SecretKey,
        outside: &mut impl Outside<P>,
    ) {
        match stored {
            Ok(()) => {
                core.stored();
                batch.publish(outside);
                batch.answer(stored, key, outside);
            }
            Err(_) => {
                core.not_stored(kept);
                batch.answer(stored, key, outside);
                std::mem::take(self).collected.answer(stored, key, outside);
            }
        }
    }

    /// Stores what waits, publishes it, and answers, all of it at once. In words why it could not be stored.
    pub fn store(
        &mut self,
        core: &mut RelayCore,
        keeping: &mut Keeping,
        key: &SecretKey,
        outside: &mut impl Outside<P>,
    ) -> Result<(), String> {
        let Some(batch) = self.hand_over(core) else { return Ok(()) };
        if bug("relay-answers-before-sync") {
            batch.answer(&Ok(()), key, outside);
        }
        if bug("relay-publishes-before-sync") {
            batch.publish(outside);
        }
        let stored = keeping.store(batch.taken());
        self.settle(&batch, &stored, (core, keeping), key, outside);
        stored
    }
}

impl<P> Batch<P> {
    /// What is to be stored.
    pub fn taken(&self) -> impl Iterator<Item = &Taken> + Clone {
        self.0.iter().map(|(_, taken)| taken)
    }

    fn publish(&self, outside: &mut impl Outside<P>) {
        self.taken().flat_map(|taken| &taken.publish).for_each(|wire| outside.publish(wire));
    }

    fn answer(&self, stored: &Result<(), String>, key: &SecretKey, outside: &mut impl Outside<P>) {
        for (from, taken) in &self.0 {
            let Some(from) = from else { continue };
            let replies = match stored {
                Ok(()) => taken.answers(key),
                Err(text) => vec![Reply::Err { code: ErrorCode::Full, text: text.clone() }],
            };
            outside.answer(from, replies);
        }
    }
}
