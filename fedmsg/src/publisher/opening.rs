//! How a stream that has a journal goes on: in the same epoch where that is safe, in a new one otherwise.

use std::sync::Arc;

use uuid::Uuid;

use super::BuildError;
use super::core::{Before, Core, Opened};
use super::slot::SlotLock;
use crate::clock::Clock;
use crate::config::{Config, EndpointEntry};
use crate::identity::{Identity, StreamName};
use crate::journal::{Disk, Journal, JournalError, Settings};
use crate::keys::SecretKey;
use crate::limits::OUTBOX_SEGMENT_BYTES;
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

/// The journal of a stream that goes through relays: small segments, since commands read the newest one whenever they
/// start, and what relays have goes piece by piece.
pub(crate) fn outbox_settings(config: &Config) -> Settings {
    let settings = config.journal.settings();
    Settings { segment_bytes: settings.segment_bytes.min(OUTBOX_SEGMENT_BYTES), ..settings }
}

/// The relays that the configuration names for publishers.
pub(crate) fn relays(config: &Config) -> Vec<EndpointEntry> {
    let relays = config.publisher.relays.iter();
    let entries = relays.filter_map(|relay| config.endpoints.get(relay));
    entries.filter(|entry| !entry.submit.is_empty()).cloned().collect()
}

/// The private key of an identity, if the configuration trusts it: nobody would believe another one.
pub(crate) fn trusted(
    config: &Config,
    identity: &Identity,
    key: SecretKey,
) -> Result<Arc<SecretKey>, BuildError> {
    let found = key.public().id();
    let trusted = config.trust.keys.get(&found);
    match trusted.is_some_and(|trusted| trusted.identity == *identity && !trusted.revoked) {
        true => Ok(Arc::new(key)),
        false => Err(BuildError::UntrustedKey { identity: identity.clone(), found }),
    }
}

/// For an epoch's name, which must be unique, not secret.
pub(crate) fn random_bytes() -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&Uuid::new_v4().as_bytes()[..10]);
    bytes
}
