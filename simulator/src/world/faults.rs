//! What goes wrong, and how it is mended.

use std::sync::Arc;

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::identity::{Slot, StreamName};
use fedmsg::keys::SecretKey;
use fedmsg::merkle::Leaf;
use fedmsg::policy::{Action, Policy, Rule, Subject};
use fedmsg::record::{After, Level};
use fedmsg::seal::{Draft, Sealer, check};
use fedmsg::testing::{DiskFault, FaultKind, MemoryDisk};
use fedmsg::trust::Trust;

use super::readers::changed;
use super::{Happening, World};
use crate::cast::{
    Cast, HOSTS, Known, MACHINES, NODES, WORKERS, host_of, node_of, nodes_of, relay_of,
};
use crate::plan::{Attack, Fault, Lie};

impl World {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.trace.note(self.now, &[40], || format!("{fault:?}"));
        match fault {
            Fault::PowerCut { host, calls: 0, down } => self.power_cut(host, down),
            Fault::PowerCut { host, calls, down } => {
                self.hosts[host].doom = Some(down);
                self.fail(host, calls, FaultKind::Crash, true);
            }
            Fault::Kill { worker, shows: 0, down } => {
                self.counts.kills += 1;
                self.kill(worker, down);
            }
            Fault::Kill { worker, shows, down } => {
                self.counts.kills += 1;
                self.processes[worker].doom = Some((shows, down));
            }
            Fault::Stop { worker, down } => self.stop(worker, down),
            Fault::Rotate { worker, down } => self.rotate(worker, down),
            Fault::Retire { worker } => self.retire(worker),
            Fault::DiskError { .. } | Fault::DiskFull { .. } | Fault::Partition { .. } => {
                self.passing_fault(fault);
            }
            Fault::KillReader { reader, down } => self.kill_reader(reader, down),
            Fault::HostClock { host, by } => {
                self.counts.clock_jumps += 1;
                self.hosts[host].clock += by;
                self.hosts[host].clock_was_set_back |= by < 0;
            }
            Fault::ReaderClock { reader, by } => {
                self.counts.clock_jumps += 1;
                self.reader_clocks[reader] += by;
            }
            Fault::Damage { host } => self.damage(host),
            Fault::Wipe { host, down } => self.put_back(host, MemoryDisk::new(), down),
            Fault::Snapshot { host } => {
                self.hosts[host].saved = Some(self.hosts[host].disk.copy());
            }
            Fault::Restore { host, down } => {
                if let Some(saved) = self.hosts[host].saved.clone() {
                    self.counts.restores += 1;
                    self.put_back(host, saved.copy(), down);
                }
            }
            Fault::Lie { worker, lie, lasts } => self.lie(worker, lie, lasts),
            Fault::Attack { reader, attack } => self.attack(reader, attack),
            Fault::Rogue { relay, rogue } => self.rogue(relay, rogue),
        }
    }

    /// Something goes wrong that is over after a while.
    fn passing_fault(&mut self, fault: Fault) {
        match fault {
            Fault::DiskError { host, calls, kind, lasts } => {
                let kind = [FaultKind::Io, FaultKind::Io, FaultKind::ShortWrite][usize::from(kind)];
                self.counts.disk_errors += 1;
                self.fail(host, calls, kind, lasts > 0);
                self.schedule(self.now + lasts.max(1_000), Happening::DiskWell(host));
            }
            Fault::DiskFull { host, room, lasts } => {
                self.counts.full_disks += 1;
                let used: u64 = self.hosts[host].disk.files().iter().map(|(_, bytes)| bytes).sum();
                self.hosts[host].disk.set_capacity(Some(used + room));
                self.schedule(self.now + lasts, Happening::DiskWell(host));
            }
            Fault::Partition { host, reader, way, lasts } => {
                self.counts.partitions += 1;
                self.network.cut(host, reader, way, self.now + lasts);
                for worker in nodes_of(host) {
                    let at = self.now + lasts + self.random.u64(1..400);
                    self.schedule(at, Happening::Connect { worker, reader });
                }
            }
            _ => {}
        }
    }

    /// A holder begins to lie.
    fn lie(&mut self, worker: usize, lie: Lie, lasts: u64) {
        // One holder is honest: what all of them deny is lost, whatever the truth is.
        let mut others = nodes_of(host_of(worker)).filter(|other| *other != worker);
        if others.any(|other| self.processes[other].has_lied) {
            return;
        }
        self.processes[worker].has_lied = true;
        self.counts.liars += 1;
        self.processes[worker].lie = Some(lie);
        self.schedule(self.now + lasts, Happening::Honest(worker));
    }

    /// A call of a disk fails, counted from now on.
    fn fail(&mut self, host: usize, calls: u64, kind: FaultKind, for_ever: bool) {
        let disk = &self.hosts[host].disk;
        disk.fail(Some(DiskFault { call: disk.calls() + calls, kind, for_ever }));
    }

    /// A process ends cleanly.
    fn stop(&mut self, worker: usize, down: u64) {
        if let Some(relay) = relay_of(worker) {
            return self.stop_relay(relay, down);
        }
        let Some(running) = self.processes[worker].worker.take() else { return };
        self.counts.stops += 1;
        let (host, mut deeds) = (host_of(worker), Vec::new());
        let (epoch, wall) = (running.epoch(), self.wall(self.hosts[host].clock));
        let stopped = running.stop(wall, self.now, &mut deeds);
        let process = &mut self.processes[worker];
        (process.doom, process.life) = (None, process.life + 1);
        self.do_of(worker, epoch, deeds);
        self.trace.note(self.now, &[41, worker as u64, u64::from(stopped.is_ok())], || {
            format!("{} stops: {stopped:?}", Cast::get().stream(worker))
        });
        for reader in 0..self.peers() {
            self.network.disconnect(worker, reader);
        }
        self.schedule(self.now + down, Happening::StartWorker(worker));
        self.look_at_power(host);
    }

    fn stop_relay(&mut self, relay: usize, down: u64) {
        let Some(running) = self.relays[relay].take() else { return };
        self.counts.stops += 1;
        let (node, mut acts) = (node_of(relay), Vec::new());
        let host = host_of(node);
        running.stop(self.wall(self.hosts[host].clock), &mut acts);
        self.do_acts(relay, acts);
        self.trace.note(self.now, &[36, relay as u64], || format!("relay {relay} stops"));
        self.forget(node);
        self.schedule(self.now + down, Happening::StartWorker(node));
        self.look_at_power(host);
    }

    /// A process goes for good, where another one answers for its journal.
    fn retire(&mut self, worker: usize) {
        if let Some(relay) = relay_of(worker) {
            return self.lose_relay(relay);
        }
        let mut others = self.plan.replay[host_of(worker)].iter().filter(|other| **other != worker);
        let answered = others.any(|other| !self.processes[*other].retired);
        if answered && !self.processes[worker].retired {
            self.counts.retired += 1;
            self.stop(worker, 0);
            self.processes[worker].retired = true;
        }
    }

    /// A service goes on with another key.
    fn rotate(&mut self, worker: usize, down: u64) {
        self.counts.rotations += 1;
        for worker in nodes_of(host_of(worker)) {
            self.processes[worker].rotated = true;
            self.stop(worker, down);
        }
    }

    /// Some bits of a file change.
    fn damage(&mut self, host: usize) {
        let disk = self.hosts[host].disk.clone();
        let is_segment = |path: &std::path::Path| path.extension().is_some_and(|e| e == "seg");
        let files: Vec<_> = disk
            .files()
            .into_iter()
            .filter(|(path, length)| is_segment(path) && *length > 0)
            .collect();
        if files.is_empty() || self.hosts[host].is_down {
            return;
        }
        self.counts.damages += 1;
        let (path, length) = &files[self.random.usize(0..files.len())];
        disk.flip(path, self.random.usize(0..*length as usize), 1 << self.random.u8(0..8));
        for node in nodes_of(host) {
            match relay_of(node) {
                Some(relay) => {
                    self.checker.relay_fate(relay).destroyed = true;
                    self.producers_may_miss();
                }
                None => self.checker.fates[node].destroyed = true,
            }
        }
    }

    /// A host gets another disk.
    fn put_back(&mut self, host: usize, disk: MemoryDisk, down: u64) {
        self.counts.wipes += u64::from(disk.files().is_empty());
        self.power_cut(host, down);
        self.hosts[host].disk = disk;
        for node in nodes_of(host) {
            match relay_of(node) {
                Some(relay) => self.relays_are_set_back(relay),
                None => self.checker.fates[node].set_back = true,
            }
        }
    }

    /// A stranger sends something to a reader.
    fn attack(&mut self, reader: usize, attack: Attack) {
        if self.overheard.is_empty() || !self.readers[reader].is_up() {
            return;
        }
        let at = self.random.usize(0..self.overheard.len());
        let (worker, mut wire) = self.overheard[at].clone();
        let mut host = host_of(worker);
        match attack {
            Attack::Changed => wire.envelope = changed(&wire.envelope),
            Attack::Retopiced => {
                wire.topic = b"org.example.dev.bodhi.other.event".as_slice().into()
            }
            Attack::Misplaced => host = (host + 1) % HOSTS,
            // What is old must look old: else it cannot be told from a publisher that was set back.
            Attack::Again if self.hosts[host].clock_was_set_back => return,
            Attack::Again => {}
            Attack::Stranger => wire = self.forged(worker, Cast::get().stranger.clone()),
            Attack::Neighbour => {
                let other = &Cast::get().services[(host + 1) % HOSTS];
                wire = self.forged(worker, Arc::clone(&other.keys[0]));
            }
        }
        if !self.readers[reader].known[host].endpoint {
            return;
        }
        self.counts.attacks += 1;
        let endpoint = Cast::get().services[host].identity.clone();
        self.readers[reader].arrived(endpoint, wire);
        self.soon(reader);
    }

    /// A message of a stream that somebody else has signed.
    pub(super) fn forged(&self, worker: usize, key: Arc<SecretKey>) -> Wire {
        let (cast, wall) = (Cast::get(), self.wall(0));
        let running = self.processes[worker].worker.as_ref();
        let epoch = running.map_or(Epoch::next(wall, [1; 10], None), |running| running.epoch());
        let before = (After::Nothing, Leaf::NONE);
        let stream = cast.stream(worker).clone();
        let (mut sealer, _) = Sealer::open_epoch(key, stream, epoch, before, Level::Local, wall);
        let identity = &cast.services[host_of(worker)].identity;
        let draft = Draft::new(format!("{}.thing.event", identity.service()));
        let trust = cast.trust(&[Known::ALL; HOSTS]);
        let checked = check(draft, identity, &trust, || "2026-0".into()).expect("a draft");
        sealer.seal(&[checked], wall).remove(0).wire
    }

    /// A message with a good signature whose topic its signer may not publish.
    pub(super) fn unallowed(&self, key: Arc<SecretKey>) -> Wire {
        let (cast, wall) = (Cast::get(), self.wall(0));
        let identity = cast.identity(WORKERS);
        let stream = StreamName::new(identity.clone(), Slot::Index(7));
        let (epoch, before) = (Epoch::next(wall, [2; 10], None), (After::Nothing, Leaf::NONE));
        let (mut sealer, _) = Sealer::open_epoch(key, stream, epoch, before, Level::Local, wall);
        let mut trust = Trust::clone(&cast.trust(&[Known::ALL; HOSTS]));
        let anybody = Subject::service("*").expect("everybody");
        let rule = Rule::new(Action::Publish, anybody, &[">"], &cast.naming, "simulator");
        trust.policy = Policy::new(vec![rule.expect("a rule")]);
        let draft = Draft::new("bodhi.thing.event");
        let checked = check(draft, identity, &trust, || "2026-0".into()).expect("a draft");
        sealer.seal(&[checked], wall).remove(0).wire
    }

    /// Everything is mended: whoever is not gone for good comes back.
    pub(super) fn heal(&mut self) {
        self.trace.note(self.now, &[42], || "everything is mended".into());
        self.healed = true;
        self.network.heal();
        self.queue.retain(|_, happening| !matches!(happening, Happening::Fault(_)));
        for host in 0..MACHINES {
            self.hosts[host].clock = 0;
            self.hosts[host].doom = None;
            self.hosts[host].mend();
            self.look_at_power(host);
            self.host_up(host);
        }
        for worker in 0..NODES {
            let process = &mut self.processes[worker];
            (process.doom, process.lie) = (None, None);
        }
        for worker in self.nodes() {
            self.schedule(self.now + 600, Happening::StartWorker(worker));
        }
        self.reconfigure_relays();
        for reader in 0..self.readers.len() {
            self.reader_clocks[reader] = 0;
            self.start_reader(reader);
            self.configure(reader);
        }
    }
}
