//! What can be read on disks, whatever state hosts and processes are in: the truth that readers are held against.

use std::sync::Arc;

use fedmsg::holder::Part;
use fedmsg::journal::{Body, Reader as JournalReader};
use fedmsg::log::{Log, LogReader};
use fedmsg::merkle::Leaf;

use super::hosts::Host;
use crate::cast::{Cast, RELAYS, WORKERS, host_of, is_producer, node_of};
use crate::checker::{Disks, Position};
use crate::plan::{Carries, Plan};
use crate::relay::log_folder;
use crate::worker::slot_folder;

/// All disks, at one moment.
pub(super) struct Sight<'a> {
    hosts: &'a [Host],
    plan: &'a Plan,
    /// The logs of relays, opened when they are looked at; nothing in those that are gone.
    logs: [Option<Option<LogReader>>; RELAYS],
}

impl<'a> Sight<'a> {
    pub(super) fn new(
        hosts: &'a [Host],
        plan: &'a Plan,
        is_gone: impl Fn(usize) -> bool,
    ) -> Sight<'a> {
        let logs = std::array::from_fn(|relay| is_gone(relay).then_some(None));
        Sight { hosts, plan, logs }
    }

    /// What the log of a relay has at a position.
    pub(super) fn on_relay(&mut self, relay: usize, (worker, epoch, i): Position) -> Option<Leaf> {
        let Sight { hosts, plan, .. } = self;
        let log = self.logs[relay].get_or_insert_with(|| {
            let disk = hosts[host_of(node_of(relay))].disk.copy();
            let folder = log_folder(&Cast::get().relays[relay].stream);
            Log::open(Arc::new(disk), &folder, plan.log).ok().map(|log| log.reader())
        });
        let part = Part { epoch, from: i, to: i };
        let batch = log.as_ref()?.read(Cast::get().stream(worker), part, 1, usize::MAX).ok()?;
        let entry = batch.entries.into_iter().find(|entry| entry.i == i)?;
        match entry.body {
            Body::Record(_) => entry.body.leaf(),
            Body::Gone { .. } => None,
        }
    }

    /// The processes whose streams a relay is to have, all of them.
    pub(super) fn due_at(&self, relay: usize) -> Vec<usize> {
        let plan = &self.plan.relays[relay];
        let is_whole = plan.carries == Carries::Everything || plan.is_archive;
        let is_put_to = plan.carries != Carries::Nothing && is_whole;
        let is_due = |worker: &usize| match *worker {
            // An archive gets them itself, from who answers; a relay is given them.
            worker if worker < WORKERS => {
                plan.is_archive && !self.plan.replay[host_of(worker)].is_empty()
            }
            _ => plan.is_archive || is_put_to,
        };
        self.plan.workers.iter().copied().filter(is_due).collect()
    }
}

impl Disks for Sight<'_> {
    fn readable(&mut self, position: Position) -> Option<Leaf> {
        let worker = position.0;
        let replay = self.plan.replay.get(host_of(worker));
        let in_journal = match replay {
            // As long as no relay is asked for it, a reader may take the word of whoever answered once.
            Some(replay) if !replay.is_empty() || self.plan.relays.is_empty() => self.own(position),
            _ => None,
        };
        let holds = |relay: &usize| {
            let relay = &self.plan.relays[*relay];
            relay.is_archive || is_producer(worker) && relay.carries != Carries::Nothing
        };
        let relays: Vec<_> = (0..self.plan.relays.len()).filter(holds).collect();
        in_journal.or_else(|| relays.into_iter().find_map(|relay| self.on_relay(relay, position)))
    }

    fn own(&self, (worker, epoch, i): Position) -> Option<Leaf> {
        let disk = self.hosts[host_of(worker)].disk.copy();
        let folder = slot_folder(Cast::get().stream(worker)).join("journal");
        let mut reader = JournalReader::new(Arc::new(disk), &folder);
        let batch = reader.read(epoch, i, i, 1, usize::MAX).ok()?;
        let entry = batch.entries.into_iter().find(|entry| entry.i == i)?;
        match entry.body {
            Body::Record(_) => entry.body.leaf(),
            Body::Gone { .. } => None,
        }
    }
}
