//! A stream that says how far it is, for a process that sends other people's messages: a relay.

use std::sync::Arc;
use std::time::Duration;

use super::BuildError;
use super::opening::random_bytes;
use super::slot::{SlotError, SlotLock};
use crate::clock::Clock;
use crate::config::Config;
use crate::envelope::{Epoch, Wire};
use crate::identity::{Identity, Slot, StreamName};
use crate::keys::SecretKey;
use crate::pacing::{Due, Pacer};
use crate::record::{Level, State};
use crate::seal::{Sealed, Sealer};

/// The own stream of a relay: a slot, an epoch, and heartbeats on time. It publishes no messages.
#[derive(Debug)]
pub struct OwnStream {
    slot: SlotLock,
    sealer: Sealer,
    pacer: Pacer,
    clock: Clock,
    genesis: Sealed,
    announcing: bool,
}

impl OwnStream {
    /// Takes this slot of the identity, if nobody holds it (`Ok(Err(holder))`), and opens an epoch.
    pub fn open(
        config: &Config,
        identity: &Identity,
        key: Arc<SecretKey>,
        index: u16,
    ) -> Result<Result<OwnStream, String>, BuildError> {
        let slot = match SlotLock::take(&config.state_dir, identity, Slot::Index(index)) {
            Ok(slot) => slot,
            Err(SlotError::Held(pid)) => return Ok(Err(pid)),
            Err(SlotError::Io(path, error)) => {
                return Err(BuildError::Io { what: path.display().to_string(), error });
            }
            Err(SlotError::TooMany) => return Err(BuildError::TooManySlots(identity.clone())),
        };
        let stream = StreamName::new(identity.clone(), Slot::Index(index));
        let (after, prev, before) = slot.before();
        let now = Clock::wall();
        let epoch = Epoch::next(now, random_bytes(), before);
        let (sealer, genesis) =
            Sealer::open_epoch(key, stream, epoch, (after, prev), Level::Memory, now);
        let io = |error| BuildError::Io { what: "saving the epoch".into(), error };
        slot.begin(epoch).map_err(io)?;
        let clock = Clock::start();
        let pacer = Pacer::new(0, Arc::default(), clock.micros());
        Ok(Ok(OwnStream { slot, sealer, pacer, clock, genesis, announcing: true }))
    }

    /// The stream.
    pub fn stream(&self) -> &StreamName {
        self.sealer.stream()
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.sealer.epoch()
    }

    /// The record that opened its epoch.
    pub fn genesis(&self) -> &Sealed {
        &self.genesis
    }

    /// A new reader is there: heartbeat and genesis record are due at once.
    pub fn announce(&mut self) {
        self.announcing = true;
        self.pacer.announce();
    }

    /// What is to be sent now, in this order; `config` is the digest of the configuration in force.
    pub fn due(&mut self, config: &str) -> Vec<Wire> {
        let now = self.clock.micros();
        if self.pacer.heartbeat_due(now) != Due::Now {
            return Vec::new();
        }
        self.pacer.beaten(now);
        let mut due = vec![self.sealer.heartbeat(State::Open, config, Clock::wall()).wire];
        if std::mem::take(&mut self.announcing) {
            due.push(self.genesis.wire.clone());
        }
        due
    }

    /// How long nothing is due.
    pub fn pause(&self) -> Duration {
        let now = self.clock.micros();
        match self.pacer.heartbeat_due(now) {
            Due::Now => Duration::ZERO,
            Due::At(time) => Duration::from_micros(time.saturating_sub(now)),
        }
    }

    /// Ends the epoch; the last heartbeat, which is to be sent.
    pub fn close(mut self, config: &str) -> Sealed {
        let (last, leaf) = self.sealer.last();
        if let Err(error) = self.slot.end(self.sealer.epoch(), last, leaf) {
            tracing::warn!(%error, stream = %self.stream(), "saving how the epoch ended");
        }
        self.sealer.heartbeat(State::Closed, config, Clock::wall())
    }
}
