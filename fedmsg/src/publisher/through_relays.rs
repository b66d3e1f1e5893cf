//! How a publisher comes to its relays, or to the holders of its copies.

use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;

use super::build::{BuildError, Making};
use super::copier::Copier;
use super::copying::Copying;
use super::core::{Core, Opened};
use super::entrusted::Entrusted;
use super::holders::Holders;
use super::opening::{open_journal, outbox_settings, relays};
use super::posted::Posted;
use super::retention::{Floor, Retention};
use super::slot::SlotLock;
use super::ways::Started;
use super::writer::Writer;
use super::{Publisher, relayed};
use crate::config::{EndpointEntry, OnUnreachable};
use crate::delivered::{Delivered, Point};
use crate::envelope::Epoch;
use crate::identity::{Identity, Slot, StreamName};
use crate::journal::Mark;
use crate::merkle::Leaf;
use crate::net::rpc::Lines;
use crate::outbox::exchange::Exchange;
use crate::outbox::sender::Sender;
use crate::record::{After, Level};
use crate::transport::Wake;

impl Making {
    pub(super) fn relayed(self, tried: String) -> Result<Publisher, BuildError> {
        let entries = relays(&self.config);
        if entries.is_empty() {
            return Err(BuildError::NoWay { identity: self.identity, tried });
        }
        tracing::debug!(identity = %self.identity, tried, "publishing through relays");
        match self.level {
            Level::Memory => self.unkept(&entries),
            Level::Stored(wanted) => self.entrusted(wanted),
            Level::Local | Level::Replicated(_) => self.posted(entries),
        }
    }

    /// Through relays, and in a journal until they have it.
    fn posted(self, relays: Vec<EndpointEntry>) -> Result<Publisher, BuildError> {
        let (relays, counting) = match self.level {
            Level::Replicated(wanted) => self.holders(wanted)?,
            _ => (relays, Vec::new()),
        };
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
        let lines = Lines::connect(&relays)?;
        let mut sender = Sender::new(Arc::clone(&disk), slot.folder(), reader, lines, floor);
        sender.look()?;
        let (waker, level, posted) = (sender.waker(), sealer.level(), core.mark());
        let config = Arc::new(RwLock::new(Arc::clone(&self.config)));
        let started = Started { sealer, waker, level, relayed: true, config, posted, copier: None };
        let on_unreachable = self.on_unreachable;
        self.start(started, |writer| {
            let copying = Copying::new(&writer.shared, counting, on_unreachable);
            Ok(move || Posted::new(writer, slot, core, sender, disk, copying).run())
        })
    }

    /// Through relays, and kept nowhere.
    fn unkept(self, entries: &[EndpointEntry]) -> Result<Publisher, BuildError> {
        let stream = StreamName::new(self.identity.clone(), Slot::Unique(uuid::Uuid::now_v7()));
        let (sealer, genesis) = self.open_epoch(stream, (After::Nothing, Leaf::NONE), None);
        let lines = Lines::connect(entries)?;
        let (waker, key) = (lines.waker(), Arc::clone(&self.key));
        let config = Arc::new(RwLock::new(Arc::clone(&self.config)));
        let (level, posted, copier) = (Level::Memory, None, None);
        let started = Started { sealer, waker, level, relayed: true, config, posted, copier };
        self.start(started, |writer| {
            Ok(move || relayed::run(relayed::Relayed::new(writer, lines, key, genesis)))
        })
    }

    /// Through relays, and in memory until enough of them have it.
    fn entrusted(self, wanted: u8) -> Result<Publisher, BuildError> {
        let (relays, counting) = self.holders(wanted)?;
        let stream = StreamName::new(self.identity.clone(), Slot::Unique(uuid::Uuid::now_v7()));
        let (mut sealer, genesis) = self.open_epoch(stream, (After::Nothing, Leaf::NONE), None);
        // Relays keep what was published from its beginning.
        sealer.keeps_from(1);
        let exchange = Exchange::new(Lines::connect(&relays)?, Delivered::default());
        let (waker, key, level) = (exchange.waker(), Arc::clone(&self.key), self.level);
        let config = Arc::new(RwLock::new(Arc::clone(&self.config)));
        let (posted, copier, on_unreachable) = (None, None, self.on_unreachable);
        let started = Started { sealer, waker, level, relayed: true, config, posted, copier };
        self.start(started, |writer| {
            let copying = Copying::new(&writer.shared, counting, on_unreachable);
            let copying = copying.expect("copies are counted at this level");
            Ok(move || Entrusted::new(writer, exchange, copying, key, &genesis).run())
        })
    }

    /// Who is given what goes through relays, and whose word counts.
    fn holders(&self, wanted: u8) -> Result<(Vec<EndpointEntry>, Vec<Identity>), BuildError> {
        let node = node();
        self.enough(wanted, Holders::of_relayed(&self.config, &self.identity, self.level, &node))
    }

    fn enough(
        &self,
        wanted: u8,
        Holders { lines, counting, here }: Holders,
    ) -> Result<(Vec<EndpointEntry>, Vec<Identity>), BuildError> {
        let (identity, level) = (self.identity.clone(), self.level);
        match counting.len() >= usize::from(wanted) {
            true => Ok((lines, counting)),
            false => Err(BuildError::TooFewHolders { identity, level, wanted, counting, here }),
        }
    }

    /// What a publisher with an endpoint needs to have its records copied; nothing at a level that promises no copies.
    pub(super) fn copies(
        &self,
        slot: &SlotLock,
        core: &Core,
        epoch: Epoch,
    ) -> Result<Option<Copies>, BuildError> {
        let Level::Replicated(wanted) = self.level else { return Ok(None) };
        let holders = Holders::of_direct(&self.config, &self.identity, &node());
        let (lines, counting) = self.enough(wanted, holders)?;
        let mut reader = core.reader().expect("a stream of this level is kept");
        // Holders that are new are given what receipts are about; they fetch what was before, as readers do.
        let before = reader.ranges()?.into_iter().rev().find(|range| range.epoch < epoch);
        let before = before.map(|range| Point { epoch: range.epoch, i: range.last });
        let (disk, lines) = (Arc::clone(&self.disk), Lines::connect(&lines)?);
        let mut sender = Sender::new(disk, slot.folder(), reader, lines, Floor::default());
        sender.begin_behind(before);
        Ok(Some(Copies { sender, counting, on_unreachable: self.on_unreachable }))
    }
}

/// What the thread will work with that hands records to the holders of copies.
pub(super) struct Copies {
    sender: Sender,
    counting: Vec<Identity>,
    on_unreachable: OnUnreachable,
}

impl Copies {
    /// What wakes the thread.
    pub(super) fn waker(&self) -> Arc<dyn Wake> {
        self.sender.waker()
    }

    /// Starts it.
    pub(super) fn start(
        self,
        writer: &Writer,
        mark: Option<Mark>,
    ) -> std::io::Result<JoinHandle<()>> {
        let Copies { sender, counting, on_unreachable } = self;
        let copying = Copying::new(&writer.shared, counting, on_unreachable);
        let copying = copying.expect("copies are counted at this level");
        let (mark, shared) = (mark.unwrap_or_default(), Arc::clone(&writer.shared));
        Copier { sender, copying, mark, shared, clock: writer.clock }.start()
    }
}

/// What the system calls this machine.
fn node() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
