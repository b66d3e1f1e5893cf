//! The ways in which a publisher's messages go, and its start.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex};

#[cfg(not(feature = "net"))]
use {
    super::core::Core, super::slot::SlotLock, crate::transport::NetError, std::thread::JoinHandle,
};

use super::build::{BuildError, Making};
use super::copying::Handover;
use super::opening::random_bytes;
use super::writer::Writer;
use super::{Counts, Handle, InForce, Publisher, Shared};
use crate::clock::Clock;
use crate::config::{ConfigUpdate, Watch};
use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::journal::Mark;
use crate::merkle::Leaf;
use crate::queue::Queue;
use crate::record::{After, Level};
use crate::seal::{Sealed, Sealer};
use crate::transport::Wake;

/// A stream that is open, and how it is published.
pub(super) struct Started {
    pub(super) sealer: Sealer,
    pub(super) waker: Arc<dyn Wake>,
    pub(super) level: Level,
    pub(super) relayed: bool,
    pub(super) config: InForce,
    /// How far the journal is from which relays are given what it has.
    pub(super) posted: Option<Mark>,
    /// What wakes the thread that follows copies, where there is one.
    pub(super) copier: Option<Arc<dyn Wake>>,
}

#[cfg(not(feature = "net"))]
impl Making {
    pub(super) fn relayed(self, tried: String) -> Result<Publisher, BuildError> {
        Err(BuildError::NoWay { identity: self.identity, tried })
    }

    /// Nobody can be given a copy.
    pub(super) fn copies(
        &self,
        _: &SlotLock,
        _: &Core,
        _: Epoch,
    ) -> Result<Option<Copies>, BuildError> {
        match self.level {
            Level::Replicated(_) => {
                Err(NetError::Socket("built without the feature `net`".into()).into())
            }
            _ => Ok(None),
        }
    }
}

/// What would hand records to the holders of copies.
#[cfg(not(feature = "net"))]
pub(super) enum Copies {}

#[cfg(not(feature = "net"))]
impl Copies {
    pub(super) fn waker(&self) -> Arc<dyn Wake> {
        match *self {}
    }

    pub(super) fn start(self, _: &Writer, _: Option<Mark>) -> std::io::Result<JoinHandle<()>> {
        match self {}
    }
}

impl Making {
    pub(super) fn open_epoch(
        &self,
        stream: StreamName,
        after: (After, Leaf),
        before: Option<Epoch>,
    ) -> (Sealer, Sealed) {
        let now = Clock::wall();
        let epoch = Epoch::next(now, random_bytes(), before);
        Sealer::open_epoch(Arc::clone(&self.key), stream, epoch, after, self.level, now)
    }

    pub(super) fn start<F: FnOnce() + Send + 'static>(
        self,
        started: Started,
        thread: impl FnOnce(Writer) -> std::io::Result<F>,
    ) -> Result<Publisher, BuildError> {
        let Started { sealer, waker, level, relayed, config, posted, copier } = started;
        let section = &self.config.publisher;
        let waits = matches!(level, Level::Replicated(_) | Level::Stored(_));
        let copying = waits.then(|| Handover::new(section.queue_messages, copier));
        let shared = Arc::new(Shared {
            queue: Queue::new(section.queue_messages, section.queue_bytes),
            waker,
            position: Mutex::new((sealer.stream().clone(), sealer.epoch())),
            subscribers: Mutex::new(0),
            subscribers_changed: Condvar::new(),
            counts: Counts { published: AtomicU64::new(0), ..Counts::default() },
            level,
            relayed,
            copying,
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
        let thread = thread(writer).and_then(|run| name.spawn(run));
        if thread.is_err() {
            shared.copying.iter().for_each(Handover::close);
        }
        let handle = Handle {
            shared,
            on_full: self.on_full,
            thread: Mutex::new(Some(thread.map_err(io)?)),
            _watch: watch,
        };
        Ok(Publisher { handle: Arc::new(handle) })
    }
}
