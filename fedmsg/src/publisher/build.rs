//! How a publisher comes to its identity, key, slot, endpoint or relays.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::Duration;

use super::core::{Core, Opened};
use super::direct::Direct;
use super::opening::{open_journal, random_bytes, trusted};
#[cfg(feature = "net")]
use super::opening::{outbox_settings, relays};
#[cfg(feature = "net")]
use super::posted::Posted;
#[cfg(feature = "net")]
use super::retention::Floor;
use super::retention::Retention;
use super::serving::{Served, Serving};
use super::slot::{SlotError, SlotLock};
use super::writer::Writer;
use super::{Counts, Handle, InForce, Publisher, Shared};
use crate::clock::Clock;
use crate::config::{
    Config, ConfigError, ConfigUpdate, EndpointEntry, KeyFileError, LoadOptions, Watch,
};
use crate::envelope::Epoch;
use crate::identity::{Identity, Slot, StreamName};
use crate::journal::{Disk, JournalError, Mark, OsDisk};
use crate::keys::SecretKey;
use crate::merkle::Leaf;
#[cfg(feature = "net")]
use crate::outbox::sender::Sender;
use crate::queue::Queue;
use crate::record::{After, Level};
use crate::seal::{Sealed, Sealer};
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

    /// What receipts promise, instead of what the configuration says: [`Level::Local`] or [`Level::Memory`];
    /// so far any other counts as local.
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
        let level = match self.level.unwrap_or(config.publisher.level) {
            Level::Memory => Level::Memory,
            _ => Level::Local,
        };
        let making = Making { config, identity, key, level, disk, transport, on_full, options };
        let tried = if self.relays_only {
            "it was told to use relays only".into()
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

struct Making {
    config: Arc<Config>,
    identity: Identity,
    key: Arc<SecretKey>,
    level: Level,
    disk: Arc<dyn Disk>,
    transport: Arc<dyn Transport>,
    on_full: OnFull,
    options: Option<LoadOptions>,
}

/// A stream that is open, and how it is published.
struct Started {
    sealer: Sealer,
    waker: Arc<dyn Wake>,
    level: Level,
    relayed: bool,
    config: InForce,
    /// How far the journal is from which relays are given what it has.
    posted: Option<Mark>,
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

    fn no_slot(&self, error: SlotError) -> BuildError {
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
        let started = Started { sealer, waker, level, relayed: false, config, posted: None };
        self.start(started, |writer| move || Direct::new(writer, outlet, slot, core, serving).run())
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

    #[cfg(feature = "net")]
    fn relayed(self, tried: String) -> Result<Publisher, BuildError> {
        let entries = relays(&self.config);
        if entries.is_empty() {
            return Err(BuildError::NoWay { identity: self.identity, tried });
        }
        tracing::debug!(identity = %self.identity, tried, "publishing through relays");
        match self.level {
            Level::Memory => self.unkept(&entries),
            _ => self.posted(&entries),
        }
    }

    /// Through relays, and in a journal until they have it.
    #[cfg(feature = "net")]
    fn posted(self, relays: &[EndpointEntry]) -> Result<Publisher, BuildError> {
        let state_dir = &self.config.state_dir;
        let taken = super::slot::take_unique(state_dir, &self.identity);
        let (slot, name) = taken.map_err(|error| self.no_slot(error))?;
        let stream = StreamName::new(self.identity.clone(), name);
        let settings = outbox_settings(&self.config);
        let (disk, key) = (Arc::clone(&self.disk), Arc::clone(&self.key));
        let opened = open_journal(disk, &slot, (stream.clone(), settings), key, self.level)?;
        let Opened { sealer, mut core } = opened;
        let io = |error| BuildError::Io { what: "saving the epoch".into(), error };
        slot.begin(sealer.epoch()).map_err(io)?;
        if let Err(error) = slot.renewal_done() {
            tracing::warn!(%stream, %error, "removing the wish for a new epoch, which has begun");
        }
        let (floor, journal) = (Floor::default(), &self.config.journal);
        let retention = Retention::until_delivered(journal, stream, Arc::clone(&floor), state_dir);
        core.set_retention(retention);
        let (disk, reader) = (Arc::clone(&self.disk), core.reader());
        let reader = reader.expect("a stream of this level is kept");
        let lines = crate::net::rpc::Lines::connect(relays)?;
        let mut sender = Sender::new(Arc::clone(&disk), slot.folder(), reader, lines, floor);
        sender.look()?;
        let (waker, level, posted) = (sender.waker(), sealer.level(), core.mark());
        let config = Arc::new(RwLock::new(Arc::clone(&self.config)));
        let started = Started { sealer, waker, level, relayed: true, config, posted };
        self.start(started, |writer| move || Posted::new(writer, slot, core, sender, disk).run())
    }

    /// Through relays, and kept nowhere.
    #[cfg(feature = "net")]
    fn unkept(self, entries: &[EndpointEntry]) -> Result<Publisher, BuildError> {
        use super::relayed;
        let stream = StreamName::new(self.identity.clone(), Slot::Unique(uuid::Uuid::now_v7()));
        let (sealer, genesis) = self.open_epoch(stream, (After::Nothing, Leaf::NONE), None);
        let lines = crate::net::rpc::Lines::connect(entries)?;
        let (waker, key) = (lines.waker(), Arc::clone(&self.key));
        let config = Arc::new(RwLock::new(Arc::clone(&self.config)));
        let started =
            Started { sealer, waker, level: Level::Memory, relayed: true, config, posted: None };
        self.start(started, |writer| {
            move || relayed::run(relayed::Relayed::new(writer, lines, key, genesis))
        })
    }

    #[cfg(not(feature = "net"))]
    fn relayed(self, tried: String) -> Result<Publisher, BuildError> {
        Err(BuildError::NoWay { identity: self.identity, tried })
    }

    fn open_epoch(
        &self,
        stream: StreamName,
        after: (After, Leaf),
        before: Option<Epoch>,
    ) -> (Sealer, Sealed) {
        let now = Clock::wall();
        let epoch = Epoch::next(now, random_bytes(), before);
        Sealer::open_epoch(Arc::clone(&self.key), stream, epoch, after, Level::Memory, now)
    }

    fn start<F: FnOnce() + Send + 'static>(
        self,
        started: Started,
        thread: impl FnOnce(Writer) -> F,
    ) -> Result<Publisher, BuildError> {
        let Started { sealer, waker, level, relayed, config, posted } = started;
        let section = &self.config.publisher;
        let shared = Arc::new(Shared {
            queue: Queue::new(section.queue_messages, section.queue_bytes),
            waker,
            position: Mutex::new((sealer.stream().clone(), sealer.epoch())),
            subscribers: Mutex::new(0),
            subscribers_changed: Condvar::new(),
            counts: Counts { published: AtomicU64::new(0), ..Counts::default() },
            level,
            relayed,
            journal: Mutex::new(None),
            posted,
            delivered: Mutex::default(),
            delivered_changed: Condvar::new(),
            pid: std::process::id(),
            writer_looks: AtomicBool::new(false),
            identity: self.identity,
            config,
        });
        let io = |error| BuildError::Io { what: "starting a thread".into(), error };
        let watch = self.options.map(|options| {
            let shared = Arc::clone(&shared);
            let follow = move |update: ConfigUpdate| {
                if let Some(error) = &update.error {
                    tracing::error!(%error, "the configuration is broken; the last good one stays");
                }
                shared.set_config(update.config);
            };
            Watch::start(options, self.config.clone(), Box::new(follow))
        });
        let watch = watch.transpose().map_err(io)?;
        let writer = Writer::new(Arc::clone(&shared), sealer, section.seal_interval_us);
        let name = std::thread::Builder::new().name("fedmsg-publish".into());
        let thread = name.spawn(thread(writer));
        let handle = Handle {
            shared,
            on_full: self.on_full,
            thread: Mutex::new(Some(thread.map_err(io)?)),
            _watch: watch,
        };
        Ok(Publisher { handle: Arc::new(handle) })
    }
}
