//! How a stream that has a journal goes on: in the same epoch where that is safe, in a new one otherwise.

use std::sync::Arc;

use uuid::Uuid;

use super::keeping::{Keeping, Opening};
use super::slot::SlotLock;
use crate::clock::Clock;
use crate::envelope::{Epoch, Wire};
use crate::identity::StreamName;
use crate::journal::{Disk, Journal, JournalError, Settings};
use crate::keys::SecretKey;
use crate::merkle::Leaf;
use crate::record::{After, Level};
use crate::seal::Sealer;

/// A stream, ready to go on, and its journal.
pub(super) struct Opened {
    pub(super) sealer: Sealer,
    pub(super) genesis: Wire,
    pub(super) keeping: Keeping,
}

/// The stream as its journal has it. A new epoch begins also where the operator wants one.
pub(super) fn open_journal(
    disk: Arc<dyn Disk>,
    slot: &SlotLock,
    (stream, settings): (StreamName, Settings),
    key: Arc<SecretKey>,
    level: Level,
) -> Result<Opened, JournalError> {
    let (id, now) = (key.public().id(), Clock::wall());
    let journal = Journal::open(disk, &slot.journal(), &stream, settings)?;
    let (mut keeping, mut opening) = Keeping::new(journal, slot.before(), &id, level);
    if slot.is_renewal_wanted() {
        // Readers that know another end of the old epoch must not be told that this is it.
        opening = Opening::New(After::Unknown, Leaf::NONE);
    }
    let (mut sealer, genesis) = match opening {
        Opening::Resume(resumed, genesis) => {
            (Sealer::resume(key, stream, resumed, level, now), genesis)
        }
        Opening::New(after, prev) => {
            let before = slot.before().2.max(keeping.newest_epoch());
            let epoch = Epoch::next(now, random_bytes(), before);
            let opened = Sealer::open_epoch(key, stream, epoch, (after, prev), level, now);
            let (sealer, genesis) = opened;
            keeping.begin(epoch, &genesis.wire, now)?;
            (sealer, genesis.wire)
        }
    };
    sealer.keeps_from(keeping.first());
    Ok(Opened { sealer, genesis, keeping })
}

/// For an epoch's name, which must be unique, not secret.
pub(super) fn random_bytes() -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&Uuid::new_v4().as_bytes()[..10]);
    bytes
}
