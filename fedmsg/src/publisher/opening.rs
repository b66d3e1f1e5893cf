//! How a stream that has a journal goes on: in the same epoch where that is safe, in a new one otherwise.

use std::sync::Arc;

use uuid::Uuid;

use super::core::{Before, Core, Opened};
use super::slot::SlotLock;
use crate::clock::Clock;
use crate::identity::StreamName;
use crate::journal::{Disk, Journal, JournalError, Settings};
use crate::keys::SecretKey;
use crate::record::Level;

/// The stream as its journal has it. A new epoch begins also where the operator wants one.
pub(crate) fn open_journal(
    disk: Arc<dyn Disk>,
    slot: &SlotLock,
    (stream, settings): (StreamName, Settings),
    key: Arc<SecretKey>,
    level: Level,
) -> Result<Opened, JournalError> {
    let journal = Journal::open(disk, &slot.journal(), &stream, settings)?;
    let before = Before { known: slot.before(), is_renewal_wanted: slot.is_renewal_wanted() };
    Core::open(journal, before, key, level, Clock::wall(), random_bytes())
}

/// For an epoch's name, which must be unique, not secret.
pub(crate) fn random_bytes() -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&Uuid::new_v4().as_bytes()[..10]);
    bytes
}
