//! Readers, their connections, and what they ask.

use bytes::Bytes;
use fedmsg::config::EndpointEntry;
use fedmsg::endpoint::Endpoint;
use fedmsg::event::Event;
use fedmsg::frames::{Answer, ErrorCode, Reply, Request};

use super::sight::Sight;
use super::{Happening, World};
use crate::cast::{Cast, HOSTS, Known, WORKERS, host_of, is_producer, node_of, relay_of};
use crate::plan::Lie;
use crate::reader::Turn;

impl World {
    pub(super) fn start_reader(&mut self, reader: usize) {
        if self.readers[reader].is_up() {
            return;
        }
        let cursors = self.readers[reader].cursors();
        self.checker.started(reader, cursors);
        let (entries, seed) = (self.entries_for(reader), self.random.u64(..));
        let wall = self.wall(self.reader_clocks[reader]);
        self.readers[reader].start(entries, seed, self.now, wall);
        self.trace.note(self.now, &[20, reader as u64], || format!("reader {reader} starts"));
        for node in self.every_node() {
            self.reconnect(node, reader);
        }
        self.soon(reader);
    }

    pub(super) fn kill_reader(&mut self, reader: usize, down: u64) {
        if !self.readers[reader].is_up() {
            return;
        }
        self.counts.reader_kills += 1;
        self.readers[reader].kill();
        self.trace.note(self.now, &[21, reader as u64], || format!("reader {reader} is gone"));
        for node in self.every_node() {
            self.network.disconnect(node, reader);
        }
        self.schedule(self.now + down, Happening::StartReader(reader));
    }

    /// A reader's configuration is complete.
    pub(super) fn configure(&mut self, reader: usize) {
        self.readers[reader].known = [Known::ALL; HOSTS];
        let entries = self.entries_for(reader);
        self.readers[reader].reconfigure(entries, self.now);
        self.trace.note(self.now, &[22, reader as u64], || {
            format!("reader {reader} has all of the configuration")
        });
        for node in self.every_node() {
            self.reconnect(node, reader);
        }
        self.soon(reader);
    }

    /// The endpoints that a reader knows.
    fn entries_for(&self, reader: usize) -> Vec<EndpointEntry> {
        let mut entries = self.service_entries(&self.readers[reader].known);
        entries.extend(self.relay_entries());
        entries
    }

    /// Every process that a reader can be connected to.
    fn every_node(&self) -> impl Iterator<Item = usize> + use<> {
        (0..WORKERS).chain((0..self.plan.relays.len()).map(node_of))
    }

    /// Who of each host answers, as readers are told: once everything is mended nobody who is gone for good.
    pub(super) fn replay(&self) -> [Vec<usize>; HOSTS] {
        let mut replay = self.plan.replay.clone();
        if self.healed {
            for workers in &mut replay {
                workers.retain(|worker| !self.processes[*worker].retired);
            }
        }
        replay
    }

    pub(super) fn reconnect_all(&mut self, worker: usize) {
        for reader in 0..self.peers() {
            self.reconnect(worker, reader);
        }
    }

    /// A connection will be there in a moment, if it can be.
    pub(super) fn reconnect(&mut self, worker: usize, reader: usize) {
        let at = self.now + self.random.u64(5..400);
        self.schedule(at, Happening::Connect { worker, reader });
    }

    pub(super) fn connect(&mut self, worker: usize, reader: usize) {
        // To a producer nobody can be connected.
        if is_producer(worker) {
            return;
        }
        let host = host_of(worker);
        let follows = match self.follower_of(reader) {
            Some(relay) => self.relay_hears(relay, worker),
            None => {
                // A producer puts, and hears nothing.
                let Some(reader) = self.readers.get(reader) else { return };
                let known: Option<&Known> = reader.known.get(host);
                reader.is_up() && known.is_none_or(|known| known.endpoint)
            }
        };
        let cut = self.network.is_cut(host, reader, self.now);
        if !follows || cut || self.network.is_connected(worker, reader) || !self.announce(worker) {
            return;
        }
        self.network.connect(worker, reader);
        self.trace.note(self.now, &[23, worker as u64, reader as u64], || {
            format!("reader {reader} is connected to {}", Cast::get().stream(worker))
        });
        self.work_at(worker, self.now);
    }

    /// A reader works within a moment.
    pub(super) fn soon(&mut self, reader: usize) {
        let at = self.now + self.random.u64(0..8);
        if self.readers[reader].turn_at <= self.now || self.readers[reader].turn_at > at {
            self.turn_at(reader, at);
        }
    }

    fn turn_at(&mut self, reader: usize, at: u64) {
        self.readers[reader].turn_at = at;
        let life = self.readers[reader].life;
        self.schedule(at, Happening::Turn { reader, life });
    }

    pub(super) fn turn(&mut self, reader: usize, life: u64) {
        let wall = self.wall(self.reader_clocks[reader]);
        let running = &mut self.readers[reader];
        if running.life != life || running.turn_at != self.now || !running.is_up() {
            return;
        }
        let Turn { asks, events, handled } = running.turn(self.now, wall, &mut self.random);
        let next = running.turn_at;
        for event in &events {
            self.told(reader, event);
        }
        for message in &handled {
            self.counts.handled += 1;
            self.checker.handled(reader, message);
            let worker = Cast::get().worker_of(message.stream()).map_or(0, |worker| worker as u64);
            self.trace.note(self.now, &[26, reader as u64, worker, message.i()], || {
                format!("reader {reader} has handled {} number {}", message.stream(), message.i())
            });
        }
        for (holder, frames) in asks {
            self.ask(reader, holder, frames);
        }
        self.turn_at(reader, next);
    }

    fn told(&mut self, reader: usize, event: &Event) {
        let World { checker, hosts, counts, plan, processes, .. } = self;
        let mut sight = Sight::new(hosts, plan, |relay| processes[node_of(relay)].retired);
        let verdict = checker.told(reader, event, &mut sight, counts);
        let numbers = numbers(event);
        self.trace.note(self.now, &[24, reader as u64, numbers[0], numbers[1]], || {
            format!("reader {reader}: {}", words(event))
        });
        self.wrong(verdict);
    }

    /// A reader asks a holder.
    pub(super) fn ask(&mut self, reader: usize, holder: Endpoint, frames: Vec<Bytes>) {
        let life = self.life_of(reader);
        let Some(worker) = Cast::get().node_at(&holder) else { return };
        let at = self.network.ask(worker, reader, self.now, &mut self.random);
        let is_there = self.is_running(worker);
        match at.filter(|_| is_there) {
            Some(at) => self.schedule(at, Happening::Ask { reader, life, worker, holder, frames }),
            // Either the connection is known to be gone, or nothing comes back.
            None if self.random.bool() => {
                self.schedule(self.now + 1, Happening::Unsent { reader, life, holder, frames });
            }
            None => {}
        }
    }

    /// A holder is asked.
    pub(super) fn asked(
        &mut self,
        reader: usize,
        life: u64,
        worker: usize,
        holder: Endpoint,
        frames: Vec<Bytes>,
    ) {
        let peer = Bytes::copy_from_slice(&[reader as u8, life as u8]);
        let Some(answers) = self.answers_of(worker, &peer, &frames) else { return };
        self.look_at_power(host_of(worker));
        if self.hosts[host_of(worker)].is_down {
            return;
        }
        let answers = match self.processes[worker].lie {
            Some(lie) => self.twisted(lie, answers),
            None => answers,
        };
        self.trace.note(self.now, &[25, worker as u64, answers.len() as u64], || {
            let request = Request::parse(&frames).map(|request| request.ask);
            let replies: Vec<_> = answers.iter().map(|answer| brief(&answer.reply)).collect();
            let (who, replies) = (Cast::get().stream(worker), replies.join(" "));
            format!("reader {reader} asks {who} {request:?}: {replies}")
        });
        let torn = self.network.is_torn(&mut self.random);
        let count = if torn { self.random.usize(0..=answers.len()) } else { answers.len() };
        for answer in answers.into_iter().take(count) {
            let Some(at) = self.network.answer(worker, reader, self.now, &mut self.random) else {
                return;
            };
            let (holder, frames) = (holder.clone(), answer.encode());
            self.schedule(at, Happening::Answer { reader, life, holder, frames });
        }
    }

    fn answers_of(&mut self, node: usize, peer: &Bytes, frames: &[Bytes]) -> Option<Vec<Answer>> {
        let now = self.now;
        if let Some(relay) = relay_of(node) {
            return Some(self.relays[relay].as_mut()?.answer(peer, frames, now));
        }
        let running = self.processes[node].worker.as_mut()?;
        let answers = running.answer(peer, frames, now);
        if running.pause_until(now) == 0 {
            self.work_at(node, now);
        }
        Some(answers)
    }

    /// The answers of a liar.
    fn twisted(&mut self, lie: Lie, mut answers: Vec<Answer>) -> Vec<Answer> {
        let gives = answers.iter().any(|answer| matches!(answer.reply, Reply::Msg { .. }));
        match lie {
            Lie::Silent => answers.clear(),
            Lie::Denies => {
                let deny = |answer: &mut Answer| {
                    let (code, text) = (ErrorCode::UnknownStream, "nothing is here".into());
                    answer.reply = Reply::Err { code, text };
                };
                answers.truncate(1);
                answers.iter_mut().for_each(deny);
            }
            Lie::Hides if gives => {
                answers.retain(|answer| !matches!(answer.reply, Reply::Msg { .. }))
            }
            Lie::Forges | Lie::Shuffles => {
                let other = self.overheard.front().map(|(_, wire)| wire.clone());
                for answer in &mut answers {
                    if let Reply::Msg { wire, .. } = &mut answer.reply {
                        match other.clone().filter(|_| lie == Lie::Shuffles) {
                            Some(other) => *wire = other,
                            None => wire.envelope = changed(&wire.envelope),
                        }
                    }
                }
            }
            Lie::Hides => {}
        }
        answers
    }
}

/// The same bytes, with another one in the middle.
pub(super) fn changed(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.into()
}

/// An answer for people.
fn brief(reply: &Reply) -> String {
    match reply {
        Reply::Msg { i, .. } => format!("msg {i}"),
        Reply::Gone { i, .. } => format!("gone {i}"),
        Reply::End { upto, more } => format!("end {upto} {more}"),
        Reply::Err { code, text } => format!("{}: {text}", code.name()),
        Reply::Info { epochs, heartbeat, .. } => {
            let ranges = epochs.iter().map(|r| format!(" {} {}-{}", r.epoch, r.first, r.last));
            format!("info {}{}", heartbeat.is_some(), ranges.collect::<String>())
        }
        other => format!("{other:?}"),
    }
}

/// What tells one event from another.
fn numbers(event: &Event) -> [u64; 2] {
    match event {
        Event::Message(message) => [1, message.i()],
        Event::Late(message) => [2, message.i()],
        Event::Stale(message) => [3, message.i()],
        Event::Lost(lost) => [4, lost.from << 20 | lost.to & 0xf_ffff],
        Event::Fork(fork) => [5, fork.i],
        Event::Epoch(change) => [6, change.next << 1 | u64::from(change.proven)],
        Event::Rejected(rejected) => [7, rejected.reason as u64],
        Event::Stalled(_) => [8, 0],
        Event::Unfetched(gone) => [9, gone.i],
        _ => [0, 0],
    }
}

/// An event for people.
pub(super) fn words(event: &Event) -> String {
    match event {
        Event::Message(message) => {
            let how = if message.replayed { "fetched" } else { "came" };
            format!("{} number {} {how}", message.stream(), message.i())
        }
        Event::Late(message) => format!("{} number {} came late", message.stream(), message.i()),
        Event::Stale(message) => format!("{} number {} is stale", message.stream(), message.i()),
        Event::Lost(event) => event.to_string(),
        Event::Fork(event) => event.to_string(),
        Event::Epoch(event) => event.to_string(),
        Event::Rejected(event) => event.to_string(),
        Event::Stalled(event) => event.to_string(),
        Event::Unfetched(event) => event.to_string(),
        other => format!("{other:?}"),
    }
}
