//! Hosts and the processes on them.

use std::sync::Arc;

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::frames::{Ask, Request};
use fedmsg::seal::{Draft, Sealed, check};
use fedmsg::testing::MemoryDisk;

use super::{Happening, World};
use crate::cast::{Cast, Known, WORKERS, host_of, is_producer, nodes_of, relay_of};
use crate::worker::{Deed, Place, Worker};

/// A machine.
#[derive(Default)]
pub(super) struct Host {
    pub(super) disk: MemoryDisk,
    pub(super) is_down: bool,
    /// How wrong its clock is, in milliseconds.
    pub(super) clock: i64,
    /// It was set back once: what was said before then looks newer than what is said now.
    pub(super) clock_was_set_back: bool,
    pub(super) saved: Option<MemoryDisk>,
    /// How long it will be down after a power cut that waits for a call of the disk.
    pub(super) doom: Option<u64>,
}

impl Host {
    /// The disk is well again; a power cut that waits for it is still to come.
    pub(super) fn mend(&mut self) {
        self.disk.set_capacity(None);
        if self.doom.is_none() {
            self.disk.fail(None);
        }
    }
}

impl World {
    pub(super) fn start_worker(&mut self, worker: usize) {
        let host = host_of(worker);
        if self.is_running(worker) || self.processes[worker].retired || self.hosts[host].is_down {
            return;
        }
        if let Some(relay) = relay_of(worker) {
            return self.start_relay(relay);
        }
        let process = &self.processes[worker];
        let cast = Cast::get();
        let place = Place {
            disk: self.hosts[host].disk.clone(),
            stream: cast.stream(worker).clone(),
            key: Arc::clone(&cast.services[host].keys[usize::from(process.rotated)]),
            journal: self.plan.journal,
            relays: self.relays_of(worker),
            clock: Arc::clone(&self.clock),
        };
        let wall = self.wall(self.hosts[host].clock);
        match Worker::start(place, wall, self.now, &mut self.random) {
            Ok(started) => {
                let epoch = started.epoch();
                let number = World::epoch_number(epoch);
                self.trace.note(self.now, &[1, worker as u64, number], || {
                    format!("{} starts in epoch {epoch}", cast.stream(worker))
                });
                let genesis = started.genesis().clone();
                let process = &mut self.processes[worker];
                process.life += 1;
                process.worker = Some(started);
                self.send(worker, &genesis);
                self.reconnect_all(worker);
                self.work_at(worker, self.now);
            }
            Err(why) => {
                self.counts.failed_starts += 1;
                self.trace.note(self.now, &[2, worker as u64], || {
                    format!("{} does not start: {why}", cast.stream(worker))
                });
                self.schedule(self.now + 1_000, Happening::StartWorker(worker));
            }
        }
        self.look_at_power(host);
    }

    /// A process is given messages to publish.
    pub(super) fn give(&mut self, worker: usize, count: usize) {
        let service = &Cast::get().services[host_of(worker)];
        let two_topics = self.plan.has_two_topics();
        let trust = Cast::get().trust(&[Known::ALL; crate::cast::HOSTS]);
        let process = &mut self.processes[worker];
        let Some(running) = &mut process.worker else { return };
        for _ in 0..count {
            process.made += 1;
            let body = serde_json::json!({ "n": process.made });
            let thing =
                if two_topics && process.made.is_multiple_of(3) { "other" } else { "thing" };
            let topic = format!("{}.{thing}.event", service.identity.service());
            let id = format!("2026-{worker}-{}", process.made);
            let checked = check(Draft::new(topic).body(&body), &service.identity, &trust, || id);
            running.give(checked.ok());
        }
        self.work_at(worker, self.now);
    }

    pub(super) fn work_at(&mut self, worker: usize, at: u64) {
        let process = &mut self.processes[worker];
        process.work_at = at.max(self.now);
        let (at, life) = (process.work_at, process.life);
        self.schedule(at, Happening::Work(worker, life));
    }

    pub(super) fn work(&mut self, worker: usize, life: u64) {
        let host = host_of(worker);
        let wall = self.wall(self.hosts[host].clock);
        let process = &mut self.processes[worker];
        if process.life != life || process.work_at != self.now {
            return;
        }
        if let Some(relay) = relay_of(worker) {
            return self.work_of_relay(relay);
        }
        let Some(running) = &mut process.worker else { return };
        let shows = process.doom.map(|(shows, _)| shows);
        let mut deeds = Vec::new();
        let lives = running.step(wall, self.now, shows, &mut self.random, &mut deeds);
        let next = running.pause_until(self.now);
        self.do_all(worker, deeds);
        self.look_at_power(host);
        let doom = self.processes[worker].doom;
        match doom {
            Some((_, down)) if !lives && !self.hosts[host].is_down => self.kill(worker, down),
            _ => self.work_at(worker, next.max(self.now + 1)),
        }
    }

    /// What a process did becomes known.
    pub(super) fn do_all(&mut self, worker: usize, deeds: Vec<Deed>) {
        let Some(epoch) = self.processes[worker].worker.as_ref().map(Worker::epoch) else { return };
        self.do_of(worker, epoch, deeds);
    }

    pub(super) fn do_of(&mut self, worker: usize, epoch: Epoch, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Sealed(sealed) => {
                    let position = (worker, epoch, sealed.i);
                    self.checker.sealed(position, &sealed.wire, sealed.leaf);
                }
                Deed::Shown(sealed) => self.shown(worker, epoch, &sealed),
                Deed::Said { last, head } => {
                    let numbers = [4, worker as u64, last];
                    self.trace.note(self.now, &numbers, || {
                        format!("{} says that it is at {last}", Cast::get().stream(worker))
                    });
                    // What a producer says goes where its messages go.
                    if last > 0 && !is_producer(worker) {
                        let verdict = self.checker.shown((worker, epoch, last), head);
                        self.wrong(verdict);
                    }
                }
                Deed::Sent(wire) => {
                    self.checker.said(&wire);
                    self.send(worker, &wire);
                }
                Deed::Put { relay, frames } => {
                    if let Some((shows, _)) = &mut self.processes[worker].doom {
                        *shows = shows.saturating_sub(1);
                    }
                    self.put_shows(&frames);
                    self.put_to(worker, relay, frames);
                }
                Deed::Acknowledged(sealed) => {
                    let position = (worker, epoch, sealed.i);
                    let verdict = self.checker.acknowledged(position, sealed.leaf);
                    self.wrong(verdict);
                    self.trace.note(self.now, &[5, worker as u64, sealed.i], || {
                        format!("{} acknowledges {}", Cast::get().stream(worker), sealed.i)
                    });
                }
                Deed::Refused(count) => self.counts.refused += count,
                Deed::Renews => {
                    self.counts.renewals += 1;
                    let verdict = self.checker.renews(worker);
                    self.wrong(verdict);
                    self.trace.note(self.now, &[9, worker as u64], || {
                        format!("{} will begin a new epoch", Cast::get().stream(worker))
                    });
                }
            }
        }
    }

    /// What is put to a relay has left its process.
    fn put_shows(&mut self, frames: &[bytes::Bytes]) {
        let Ok(Request { ask: Ask::Put { messages }, .. }) = Request::parse(frames) else { return };
        for wire in messages {
            let verdict = self.checker.put(&wire);
            self.wrong(verdict);
        }
    }

    fn shown(&mut self, worker: usize, epoch: Epoch, sealed: &Sealed) {
        if let Some((shows, _)) = &mut self.processes[worker].doom {
            *shows = shows.saturating_sub(1);
        }
        let verdict = self.checker.shown((worker, epoch, sealed.i), sealed.leaf);
        self.wrong(verdict);
        let numbers = [3, worker as u64, sealed.i, World::leaf_number(&sealed.leaf)];
        self.trace.note(self.now, &numbers, || {
            format!("{} shows {}", Cast::get().stream(worker), sealed.i)
        });
        self.send(worker, &sealed.wire);
    }

    /// Sends frames to every reader that is connected.
    pub(super) fn send(&mut self, worker: usize, wire: &Wire) {
        let endpoint = Cast::get().identity(worker);
        for reader in 0..self.peers() {
            if !self.network.is_connected(worker, reader) {
                continue;
            }
            let times = self.network.send(worker, reader, self.now, &mut self.random);
            self.counts.dropped += u64::from(times.is_empty());
            let life = self.life_of(reader);
            for at in times {
                let (endpoint, wire) = (endpoint.clone(), wire.clone());
                self.schedule(at, Happening::Arrive { reader, life, endpoint, wire });
            }
        }
        if worker >= WORKERS {
            return;
        }
        if self.overheard.len() == 16 {
            self.overheard.pop_front();
        }
        self.overheard.push_back((worker, wire.clone()));
    }

    /// A process is gone at once.
    pub(super) fn kill(&mut self, worker: usize, down: u64) {
        if !self.is_running(worker) {
            return;
        }
        self.forget(worker);
        self.trace.note(self.now, &[6, worker as u64], || {
            format!("{} is gone", Cast::get().stream(worker))
        });
        self.schedule(self.now + down, Happening::StartWorker(worker));
    }

    pub(super) fn is_running(&self, node: usize) -> bool {
        match relay_of(node) {
            Some(relay) => self.relays[relay].is_some(),
            None => self.processes[node].worker.is_some(),
        }
    }

    /// A process is there no more, and its connections are gone.
    pub(super) fn forget(&mut self, node: usize) {
        let process = &mut self.processes[node];
        (process.worker, process.doom) = (None, None);
        process.life += 1;
        for peer in 0..self.peers() {
            self.network.disconnect(node, peer);
        }
        if let Some(relay) = relay_of(node) {
            self.relays[relay] = None;
            let peer = self.follower(relay);
            for other in self.nodes() {
                self.network.disconnect(other, peer);
            }
        }
    }

    /// The relays that a process is handed to.
    fn relays_of(&self, worker: usize) -> Vec<fedmsg::Identity> {
        if !is_producer(worker) {
            return Vec::new();
        }
        let relays = &Cast::get().relays;
        self.plan.carriers().map(|relay| relays[relay].identity.clone()).collect()
    }

    /// Sees whether a call of the disk was the last one.
    pub(super) fn look_at_power(&mut self, host: usize) {
        if self.hosts[host].disk.is_down() && !self.hosts[host].is_down {
            let down = self.hosts[host].doom.take().unwrap_or(1_000);
            self.power_cut(host, down);
        }
    }

    pub(super) fn power_cut(&mut self, host: usize, down: u64) {
        if std::mem::replace(&mut self.hosts[host].is_down, true) {
            return;
        }
        self.counts.power_cuts += 1;
        self.hosts[host].doom = None;
        self.trace.note(self.now, &[7, host as u64], || format!("host {host} loses its power"));
        for worker in nodes_of(host) {
            self.kill(worker, down + 1);
        }
        self.schedule(self.now + down, Happening::HostUp(host));
    }

    pub(super) fn host_up(&mut self, host: usize) {
        if !std::mem::replace(&mut self.hosts[host].is_down, false) {
            return;
        }
        let seed = self.random.u64(..);
        self.hosts[host].disk.restart(seed);
        self.trace.note(self.now, &[8, host as u64], || format!("host {host} is up again"));
        for worker in self.nodes().into_iter().filter(|worker| host_of(*worker) == host) {
            let at = self.now + self.random.u64(1..500);
            self.schedule(at, Happening::StartWorker(worker));
        }
    }
}
