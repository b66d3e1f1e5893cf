//! How a publisher comes to its identity, key, slot, endpoint or relays.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::core::{Core, Opened};
use super::direct::Direct;
use super::opening::{open_journal, trusted};
use super::retention::Retention;
use super::serving::{Served, Serving};
use super::slot::{SlotError, SlotLock};
#[cfg(feature = "net")]
use super::through_relays::Copies;
#[cfg(not(feature = "net"))]
use super::ways::Copies;
use super::ways::Started;
use super::{InForce, Publisher};
use crate::config::{Config, ConfigError, EndpointEntry, KeyFileError, LoadOptions, OnUnreachable};
use crate::identity::{Identity, Slot, StreamName};
use crate::journal::{Disk, JournalError, Mark, OsDisk};
use crate::keys::SecretKey;
use crate::record::Level;
use crate::transport::{NetError, Outlet, OutletSettings, Transport, Wake};

/// What a call does when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// Waits for room.
    #[default]
    Block,
    /// Fails with [`PublishError::Full`](super::PublishError::Full).
    Fail,
}

/// Why there is no publisher.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The private key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The private key is not one that the configuration trusts for this identity: nobody would believe.
    #[error(
        "the private key of {identity} is {found}, which is not trusted for it here: put its public half into keys.d/{identity}.toml"
    )]
    UntrustedKey {
        /// Who wants to publish.
        identity: Identity,
        /// The key's id.
        found: crate::keys::KeyId,
    },
    /// The identity has no free slot (or no entry), and there is no relay to publish through.
    #[error("{identity} cannot publish: {tried}, and `[publisher] relays` names no relay")]
    NoWay {
        /// Who wants to publish.
        identity: Identity,
        /// What was tried, and who holds the slots.
        tried: String,
    },
    /// Too few holders could have the copies that receipts are to promise.
    #[error("level `{level}` of {identity} needs {wanted} holders of copies, and the configuration has {}{}", named(.counting), too_near(.here))]
    TooFewHolders {
        /// Who wants to publish.
        identity: Identity,
        /// The level.
        level: Level,
        /// How many it needs.
        wanted: u8,
        /// Who could have one.
        counting: Vec<Identity>,
        /// Who does not count, because a copy there would be on the same host.
        here: Vec<Identity>,
    },
    /// Too many processes of the identity without an endpoint run on this host.
    #[error(
        "{0} has too many processes without an endpoint on this host: each holds a slot of its own"
    )]
    TooManySlots(Identity),
    /// Sockets cannot be made.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The journal cannot be opened. Level `memory` needs none.
    #[error("the journal: {0}")]
    Journal(#[from] JournalError),
    /// A thread cannot be started, or a file cannot be written.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        error: std::io::Error,
    },
}

fn named(holders: &[Identity]) -> String {
    let names: Vec<&str> = holders.iter().map(Identity::as_str).collect();
    match names.is_empty() {
        true => "none: name relays in `copies` of [publisher], or have an endpoint with `archive = true`".into(),
        false => format!("{}: {}", names.len(), names.join(", ")),
    }
}

fn too_near(here: &[Identity]) -> String {
    let names: Vec<&str> = here.iter().map(Identity::as_str).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; not counted, because on the same host: {}", names.join(", ")),
    }
}

/// Settings of a publisher; what is not set comes from the configuration.
#[derive(Default)]
#[must_use]
pub struct PublisherBuilder {
    options: Option<LoadOptions>,
    config: Option<Arc<Config>>,
    identity: Option<Identity>,
    key: Option<SecretKey>,
    transport: Option<Arc<dyn Transport>>,
    level: Option<Level>,
    disk: Option<Arc<dyn Disk>>,
    on_full: OnFull,
    on_unreachable: Option<OnUnreachable>,
    relays_only: bool,
}

impl PublisherBuilder {
    /// Reads the configuration with these options, and follows it while the publisher lives.
    pub fn load(mut self, options: LoadOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// Uses this configuration, which does not change.
    pub fn config(mut self, config: Arc<Config>) -> Self {
        self.config = Some(config);
        self
    }

    /// Publishes as this identity.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Signs with this key instead of the one in the private folder.
    pub fn key(mut self, key: SecretKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Sends by this transport instead of ZeroMQ.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// What receipts promise, instead of what the configuration says. [`Level::Replicated`] and [`Level::Stored`] need
    /// so many holders in the configuration; at [`Level::Stored`] a publisher goes through relays, also when it has an
    /// endpoint.
    pub fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// Keeps the journal on this disk instead of the system's: for tests, with
    /// [`MemoryDisk`](crate::testing::MemoryDisk). The lock on the slot stays a file of the state folder.
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// What to do when the queue is full.
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = on_full;
        self
    }

    /// What whoever publishes is told when there are too few copies in time, instead of what the configuration says.
    pub fn on_unreachable(mut self, on_unreachable: OnUnreachable) -> Self {
        self.on_unreachable = Some(on_unreachable);
        self
    }

    /// Publishes through relays although there might be a free slot: for commands that live for a moment.
    pub fn relays_only(mut self) -> Self {
        self.relays_only = true;
        self
    }

    /// Takes a slot or finds relays, and starts the writer thread.
    pub fn build(self) -> Result<Publisher, BuildError> {
        let (config, options) = match (self.config, self.options) {
            (Some(config), _) => (config, None),
            (None, options) => {
                let options = options.unwrap_or_else(LoadOptions::from_process_environment);
                (Arc::new(Config::load(&options)?), Some(options))
            }
        };
        let identity = match self.identity {
            Some(identity) => identity,
            None => config.identity()?,
        };
        let key = match self.key {
            Some(key) => key,
            None => config.secret_key(&identity)?,
        };
        let key = trusted(&config, &identity, key)?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => default_transport()?,
        };
        let disk = self.disk.unwrap_or_else(|| Arc::new(OsDisk));
        let on_full = self.on_full;
        let level = self.level.unwrap_or_else(|| config.publisher.level_of(&identity));
        let on_unreachable = self.on_unreachable.unwrap_or(config.publisher.on_unreachable);
        let making = Making {
            config,
            identity,
            key,
            level,
            disk,
            transport,
            on_full,
            on_unreachable,
            options,
        };
        let tried = if self.relays_only {
            "it was told to use relays only".into()
        } else if let Level::Stored(_) = level {
            "at this level everything goes through relays".into()
        } else {
            match making.take_slot()? {
                Ok((slot, index, outlet)) => return making.direct(slot, index, outlet),
                Err(tried) => tried,
            }
        };
        making.relayed(tried)
    }
}

#[cfg(feature = "net")]
fn default_transport() -> Result<Arc<dyn Transport>, BuildError> {
    Ok(Arc::new(crate::net::Zmq::new()))
}

#[cfg(not(feature = "net"))]
fn default_transport() -> Result<Arc<dyn Transport>, BuildError> {
    Err(NetError::Socket("built without the feature `net`: give a transport".into()).into())
}

pub(super) struct Making {
    pub(super) config: Arc<Config>,
    pub(super) identity: Identity,
    pub(super) key: Arc<SecretKey>,
    pub(super) level: Level,
    pub(super) disk: Arc<dyn Disk>,
    transport: Arc<dyn Transport>,
    pub(super) on_full: OnFull,
    pub(super) on_unreachable: OnUnreachable,
    pub(super) options: Option<LoadOptions>,
}

type Taken = (SlotLock, usize, Box<dyn Outlet>);

impl Making {
    /// The first slot whose lock and whose address are free; or in words what was tried.
    fn take_slot(&self) -> Result<Result<Taken, String>, BuildError> {
        let entry: Option<&EndpointEntry> = self.config.endpoints.get(&self.identity);
        let Some(entry) = entry.filter(|entry| !entry.publish.is_empty()) else {
            return Ok(Err("it has no entry in [endpoints]".into()));
        };
        let slow_subscriber_wait = match self.level {
            // What a slow one misses it fetches: nobody else waits for it.
            level if level != Level::Memory && !entry.replay.is_empty() => Duration::ZERO,
            _ => Duration::from_millis(self.config.publisher.slow_subscriber_wait_ms),
        };
        let settings = OutletSettings { slow_subscriber_wait, ..OutletSettings::default() };
        let mut tried = Vec::new();
        for (index, address) in entry.publish.iter().enumerate() {
            let slot = match self.slot(Slot::Index(u16::try_from(index).unwrap_or(u16::MAX))) {
                Ok(slot) => slot,
                Err(SlotError::Held(pid)) => {
                    tracing::warn!(identity = %self.identity, slot = index, pid, "the slot is taken, trying the next one");
                    tried.push(format!("slot {index} is held by process {pid}"));
                    continue;
                }
                Err(error) => return Err(self.no_slot(error)),
            };
            match self.transport.outlet(address, settings) {
                Ok(outlet) => return Ok(Ok((slot, index, outlet))),
                Err(NetError::InUse { address }) => {
                    tracing::warn!(identity = %self.identity, slot = index, address, "the address is in use, trying the next slot");
                    tried.push(format!("{address} of slot {index} is in use"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Err(tried.join(", ")))
    }

    fn slot(&self, slot: Slot) -> Result<SlotLock, SlotError> {
        SlotLock::take(&self.config.state_dir, &self.identity, slot)
    }

    pub(super) fn no_slot(&self, error: SlotError) -> BuildError {
        match error {
            SlotError::Io(path, error) => {
                BuildError::Io { what: path.display().to_string(), error }
            }
            _ => BuildError::TooManySlots(self.identity.clone()),
        }
    }

    fn direct(
        self,
        slot: SlotLock,
        index: usize,
        outlet: Box<dyn Outlet>,
    ) -> Result<Publisher, BuildError> {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        let stream = StreamName::new(self.identity.clone(), Slot::Index(index));
        let Opened { sealer, mut core } = match self.level {
            Level::Memory => {
                let (after, prev, before) = slot.before();
                let (sealer, genesis) = self.open_epoch(stream, (after, prev), before);
                Opened { sealer, core: Core::unkept(Arc::clone(&self.key), genesis.wire) }
            }
            level => {
                let settings = self.config.journal.settings();
                let (disk, key) = (Arc::clone(&self.disk), Arc::clone(&self.key));
                open_journal(disk, &slot, (stream, settings), key, level)?
            }
        };
        let io = |error| BuildError::Io { what: "saving the epoch".into(), error };
        slot.begin(sealer.epoch()).map_err(io)?;
        if let Err(error) = slot.renewal_done() {
            tracing::warn!(stream = %sealer.stream(), %error, "removing the wish for a new epoch, which has begun");
        }
        let (waker, level) = (outlet.waker(), sealer.level());
        let config: InForce = Arc::new(RwLock::new(Arc::clone(&self.config)));
        let serving = match core.mark() {
            Some(mark) => {
                let of = (sealer.stream(), mark);
                Some(self.serve(&slot, index, of, &config, Arc::clone(&waker))?)
            }
            None => None,
        };
        if let Some(serving) = &serving {
            let (stream, shelf) = (sealer.stream().clone(), Arc::clone(serving.shelf()));
            let state_dir = &self.config.state_dir;
            core.set_retention(Retention::new(&self.config.journal, stream, shelf, state_dir));
        }
        let copies = self.copies(&slot, &core, sealer.epoch())?;
        let (posted, copier) = (None, copies.as_ref().map(Copies::waker));
        let started = Started { sealer, waker, level, relayed: false, config, posted, copier };
        self.start(started, |writer| {
            let copier = copies.map(|copies| copies.start(&writer, core.mark())).transpose()?;
            Ok(move || Direct::new(writer, outlet, slot, core, serving, copier).run())
        })
    }

    /// Answers for the journals of this host, where the entry says at which address.
    fn serve(
        &self,
        slot: &SlotLock,
        index: u16,
        (stream, mark): (&StreamName, Mark),
        config: &InForce,
        waker: Arc<dyn Wake>,
    ) -> Result<Serving, BuildError> {
        let entry = self.config.endpoints.get(&self.identity);
        let address = entry.and_then(|entry| entry.replay.get(usize::from(index)));
        let (disk, state_dir, slot) = (&self.disk, &self.config.state_dir, slot.folder());
        let config = Arc::clone(config);
        let served = Served { disk, state_dir, slot, stream, mark, config, waker };
        Ok(Serving::start(served, &*self.transport, address)?)
    }
}
