//! Relays, what is put to them, and whom they follow.

use std::sync::Arc;

use bytes::Bytes;
use fedmsg::config::EndpointEntry;
use fedmsg::endpoint::Endpoint;
use fedmsg::envelope::Wire;
use fedmsg::event::Event;
use fedmsg::frames::{Answer, Ask, Reply, Request, RequestId};
use fedmsg::identity::Identity;

use super::sight::Sight;
use super::{Happening, World};
use crate::cast::{
    Cast, HOSTS, Known, RELAYS, WORKERS, host_of, is_producer, node_of, nodes_of, relay_of,
};
use crate::plan::Rogue;
use crate::relay::{Act, Asker, Relay, RelayPlace};

/// Who is nobody, for what is put by strangers.
const NOBODY: usize = usize::MAX;

impl World {
    /// A peer of the network that is a relay which follows others.
    pub(super) fn follower(&self, relay: usize) -> usize {
        self.readers.len() + relay
    }

    /// Which relay a peer is, if it is one.
    pub(super) fn follower_of(&self, peer: usize) -> Option<usize> {
        peer.checked_sub(self.readers.len()).filter(|relay| *relay < RELAYS)
    }

    fn producer_peer(&self, worker: usize) -> usize {
        self.readers.len() + RELAYS + worker - WORKERS
    }

    /// Everybody who hears what is published.
    pub(super) fn peers(&self) -> usize {
        self.readers.len() + self.plan.relays.len()
    }

    /// How often a peer was started.
    pub(super) fn life_of(&self, peer: usize) -> u64 {
        match self.follower_of(peer) {
            Some(relay) => self.processes[node_of(relay)].life,
            None => self.readers[peer].life,
        }
    }

    /// The entries of relays; once everything is mended without those who are gone for good.
    pub(super) fn relay_entries(&self) -> Vec<EndpointEntry> {
        let plans = self.plan.relays.iter().enumerate();
        let is_there = |relay: usize| !self.healed || !self.processes[node_of(relay)].retired;
        let entry = |(relay, plan)| Cast::get().relay_entry(relay, plan);
        plans.filter(|(relay, _)| is_there(*relay)).map(entry).collect()
    }

    /// The entries of services, as far as they are known.
    pub(super) fn service_entries(&self, known: &[Known; HOSTS]) -> Vec<EndpointEntry> {
        let replay = self.replay();
        let known = (0..HOSTS).filter(|host| known[*host].endpoint);
        known.map(|host| Cast::get().entry(host, &replay[host])).collect()
    }

    /// Whom a relay follows: everybody, as an archive, itself included; or some relays.
    fn followed_by(&self, relay: usize) -> Vec<EndpointEntry> {
        let plan = &self.plan.relays[relay];
        let mut entries = self.relay_entries();
        if plan.is_archive {
            entries.extend(self.service_entries(&[Known::ALL; HOSTS]));
            return entries;
        }
        let is_followed = |entry: &EndpointEntry| {
            let relays = &Cast::get().relays;
            plan.follows.iter().any(|other| relays[*other].identity == entry.identity)
        };
        entries.retain(is_followed);
        entries
    }

    pub(super) fn start_relay(&mut self, relay: usize) {
        let node = node_of(relay);
        let host = host_of(node);
        let place = RelayPlace {
            relay,
            disk: self.hosts[host].disk.clone(),
            plan: self.plan.relays[relay].clone(),
            log: self.plan.log,
            follows: self.followed_by(relay),
            clock: Arc::clone(&self.clock),
        };
        let wall = self.wall(self.hosts[host].clock);
        match Relay::start(place, wall, self.now, &mut self.random) {
            Ok(started) => {
                self.trace.note(self.now, &[30, relay as u64], || format!("relay {relay} starts"));
                self.checker.said(started.genesis());
                self.processes[node].life += 1;
                self.relays[relay] = Some(started);
                self.look_at_log(relay);
                self.reconnect_all(node);
                self.reconnect_follower(relay);
                for worker in self.plan.workers.clone().into_iter().filter(|w| is_producer(*w)) {
                    let Some(producer) = &mut self.processes[worker].worker else { continue };
                    producer.relay_is_back(self.now);
                    self.work_at(worker, self.now + 1);
                }
                self.work_at(node, self.now);
            }
            Err(why) => {
                self.counts.failed_starts += 1;
                self.trace.note(self.now, &[31, relay as u64], || {
                    format!("relay {relay} does not start: {why}")
                });
                self.schedule(self.now + 1_000, Happening::StartWorker(node));
            }
        }
        self.look_at_power(host);
    }

    /// What a relay has stored is there in its next life.
    fn look_at_log(&mut self, relay: usize) {
        let World { checker, hosts, plan, .. } = self;
        let mut sight = Sight::new(hosts, plan, |_| false);
        let verdict = checker.relay_began(relay, &mut |position| sight.on_relay(relay, position));
        self.wrong(verdict);
    }

    fn reconnect_follower(&mut self, relay: usize) {
        let peer = self.follower(relay);
        for node in self.nodes() {
            self.reconnect(node, peer);
        }
    }

    /// Goes on without the relays that are gone.
    pub(super) fn reconfigure_relays(&mut self) {
        for relay in 0..self.plan.relays.len() {
            let entries = self.followed_by(relay);
            if let Some(running) = &mut self.relays[relay] {
                running.reconfigure(entries, self.now);
                self.work_at(node_of(relay), self.now);
            }
            self.reconnect_follower(relay);
        }
    }

    pub(super) fn work_of_relay(&mut self, relay: usize) {
        let node = node_of(relay);
        let host = host_of(node);
        let wall = self.wall(self.hosts[host].clock);
        let shows = self.processes[node].doom.map(|(shows, _)| shows);
        let Some(running) = &mut self.relays[relay] else { return };
        let mut acts = Vec::new();
        let lives = running.step(wall, self.now, shows, &mut self.random, &mut acts);
        let next = running.pause_until();
        self.do_acts(relay, acts);
        self.look_at_power(host);
        match self.processes[node].doom {
            Some((_, down)) if !lives && !self.hosts[host].is_down => self.kill(node, down),
            _ => self.work_at(node, next.max(self.now + 1)),
        }
    }

    /// What a relay did becomes known.
    pub(super) fn do_acts(&mut self, relay: usize, acts: Vec<Act>) {
        let node = node_of(relay);
        for act in acts {
            let counts = matches!(act, Act::Published(_) | Act::Answered(..));
            if let Some((shows, _)) = self.processes[node].doom.as_mut().filter(|_| counts) {
                *shows = shows.saturating_sub(1);
            }
            match act {
                Act::Published(wire) => {
                    self.counts.relayed += 1;
                    let verdict = self.checker.published(relay, &wire);
                    self.wrong(verdict);
                    self.trace.note(self.now, &[32, relay as u64, wire.len() as u64], || {
                        format!("relay {relay} publishes {}", said(&wire))
                    });
                    self.send(node, &wire);
                }
                Act::Said(wire) => {
                    self.checker.said(&wire);
                    self.send(node, &wire);
                }
                Act::Answered(asker, replies) => self.answer_put(relay, &asker, replies),
                Act::Asks(holder, frames) => self.ask(self.follower(relay), holder, frames),
                Act::Told(event) => {
                    self.counts.followed += u64::from(matches!(event, Event::Message(_)));
                    self.trace.note(self.now, &[33, relay as u64], || {
                        format!("relay {relay} is told: {}", super::readers::words(&event))
                    });
                }
            }
        }
    }

    /// A producer asks one of its relays, which are named by their order.
    pub(super) fn put_to(&mut self, worker: usize, at: usize, frames: Vec<Bytes>) {
        self.counts.puts += 1;
        if let Ok(Request { ask: Ask::Put { messages }, .. }) = Request::parse(&frames) {
            self.trace.note(self.now, &[34, worker as u64, messages.len() as u64], || {
                let all: Vec<_> = messages.iter().map(said).collect();
                format!("{} puts {} to its relay {at}", Cast::get().stream(worker), all.join(" "))
            });
        }
        let Some(relay) = self.plan.carriers().nth(at) else { return };
        let (peer, node) = (self.producer_peer(worker), node_of(relay));
        let sent = self.network.ask(node, peer, self.now, &mut self.random);
        let life = self.processes[worker].life;
        if let Some(at) = sent.filter(|_| self.relays[relay].is_some()) {
            return self.schedule(at, Happening::Put { relay, peer: worker, life, frames });
        }
        // Either it is known that there is no connection, or nothing comes back.
        if self.random.bool()
            && !self.processes[node].retired
            && let Some(producer) = &mut self.processes[worker].worker
        {
            producer.put_unsent(at, self.now);
        }
    }

    /// A relay is asked to take messages; it takes them with what else comes within a moment.
    pub(super) fn put(&mut self, relay: usize, peer: usize, life: u64, frames: Vec<Bytes>) {
        let Some(running) = &mut self.relays[relay] else { return };
        running.asked(peer, life, &frames);
        self.hurry(relay);
    }

    /// A relay works within a moment.
    fn hurry(&mut self, relay: usize) {
        let at = self.now + self.random.u64(0..6);
        if self.processes[node_of(relay)].work_at > at {
            self.work_at(node_of(relay), at);
        }
    }

    fn answer_put(&mut self, relay: usize, asker: &Asker, replies: Vec<Reply>) {
        let torn = self.network.is_torn(&mut self.random);
        let count = if torn { self.random.usize(0..=replies.len()) } else { replies.len() };
        for (number, reply) in replies.into_iter().enumerate() {
            match &reply {
                Reply::Stored { span, .. } => self.counts.stored += span.count,
                Reply::Refused { span, .. } => self.counts.put_refused += span.count,
                Reply::Expect { .. } => self.counts.expected += 1,
                _ => {}
            }
            let verdict = self.checker.put_answered(relay, &asker.messages, &reply);
            self.wrong(verdict);
            self.trace.note(self.now, &[35, relay as u64, number as u64], || {
                format!("relay {relay} answers {}: {}", asker.peer, brief(&reply))
            });
            if asker.peer == NOBODY || number >= count {
                continue;
            }
            let (peer, node) = (self.producer_peer(asker.peer), node_of(relay));
            let Some(at) = self.network.answer(node, peer, self.now, &mut self.random) else {
                continue;
            };
            let frames = Answer { id: asker.id.clone(), reply }.encode();
            let at_own = self.plan.carriers().position(|carrier| carrier == relay).unwrap_or(0);
            let (worker, life) = (asker.peer, asker.life);
            self.schedule(at, Happening::PutAnswer { worker, life, relay: at_own, frames });
        }
    }

    pub(super) fn put_answered(
        &mut self,
        worker: usize,
        life: u64,
        relay: usize,
        frames: &[Bytes],
    ) {
        let chance = self.random.u64(..);
        let process = &mut self.processes[worker];
        let Some(running) = process.worker.as_mut().filter(|_| process.life == life) else {
            return;
        };
        running.put_answered(relay, frames, self.now, chance);
        self.look_at_power(host_of(worker));
        if self.processes[worker].worker.is_some() {
            self.work_at(worker, self.now);
        }
    }

    /// Something arrives at a reader, or at a relay that follows.
    pub(super) fn arrived(&mut self, peer: usize, life: u64, endpoint: Identity, wire: Wire) {
        if self.life_of(peer) != life {
            return;
        }
        let Some(relay) = self.follower_of(peer) else {
            if self.readers[peer].is_up() {
                self.readers[peer].arrived(endpoint, wire);
                self.soon(peer);
            }
            return;
        };
        if let Some(running) = &mut self.relays[relay] {
            running.arrived(endpoint, wire);
            self.hurry(relay);
        }
    }

    /// A holder has answered a peer, or could not be asked.
    pub(super) fn answered(
        &mut self,
        peer: usize,
        life: u64,
        holder: &Endpoint,
        frames: &[Bytes],
        is_answer: bool,
    ) {
        if self.life_of(peer) != life {
            return;
        }
        let now = self.now;
        let Some(relay) = self.follower_of(peer) else {
            match is_answer {
                true => self.readers[peer].answered(holder, frames, now),
                false => self.readers[peer].unsent(holder, frames, now),
            }
            return self.soon(peer);
        };
        if let Some(running) = &mut self.relays[relay] {
            match is_answer {
                true => running.answered(holder, frames, now),
                false => running.unsent(holder, frames, now),
            }
            running.look_at_once(now);
            self.hurry(relay);
        }
    }

    /// Somebody puts to a relay what it must not take.
    pub(super) fn rogue(&mut self, relay: usize, rogue: Rogue) {
        if self.relays[relay].is_none() {
            return;
        }
        self.counts.rogues += 1;
        let cast = Cast::get();
        let own = Arc::clone(&cast.services[HOSTS].keys[0]);
        let mut wire = match rogue {
            Rogue::Stranger => self.forged(WORKERS, cast.stranger.clone()),
            Rogue::Neighbour => self.forged(WORKERS, Arc::clone(&cast.services[0].keys[0])),
            Rogue::Changed => self.forged(WORKERS, own),
            Rogue::Unallowed => self.unallowed(own),
        };
        if rogue == Rogue::Changed {
            wire.envelope = super::readers::changed(&wire.envelope);
        }
        let id = RequestId::new(b"rogue").expect("a name");
        let frames = Request { id, ask: Ask::Put { messages: vec![wire] } }.encode();
        self.put(relay, NOBODY, 0, frames);
    }

    /// A relay goes for good, and its disk with it.
    pub(super) fn lose_relay(&mut self, relay: usize) {
        let node = node_of(relay);
        let others = (0..self.plan.relays.len()).filter(|other| *other != relay);
        let mut carriers = others.filter(|other| {
            use crate::plan::Carries;
            self.plan.relays[*other].carries == Carries::Everything
                && !self.processes[node_of(*other)].retired
        });
        if carriers.next().is_none() || self.processes[node].retired {
            return;
        }
        self.counts.relays_gone += 1;
        self.kill(node, 0);
        self.processes[node].retired = true;
        self.relays_are_set_back(relay);
        // Where nobody else answers for a stream, nobody does now.
        let stays = |relay: usize| !self.processes[node_of(relay)].retired;
        let plans = self.plan.relays.iter().enumerate();
        let is_archived = plans.filter(|(relay, _)| stays(*relay)).any(|(_, plan)| plan.is_archive);
        for host in (0..HOSTS).filter(|host| self.plan.replay[*host].is_empty() && !is_archived) {
            nodes_of(host).for_each(|worker| self.checker.fates[worker].unheld = true);
        }
    }

    /// What a relay had is there no more, and maybe nowhere but at producers, who believe that it is.
    pub(super) fn relays_are_set_back(&mut self, relay: usize) {
        self.checker.relay_fate(relay).set_back = true;
        self.producers_may_miss();
        for fate in &mut self.checker.fates {
            fate.comes_again = true;
        }
    }

    pub(super) fn producers_may_miss(&mut self) {
        for worker in self.plan.workers.clone().into_iter().filter(|worker| is_producer(*worker)) {
            self.checker.fates[worker].destroyed = true;
        }
    }

    /// Whether a peer that is a relay hears a process.
    pub(super) fn relay_hears(&self, relay: usize, node: usize) -> bool {
        let running = self.relays[relay].as_ref();
        running.is_some_and(|running| running.hears(Cast::get().identity(node)))
    }

    /// A process has a new reader.
    pub(super) fn announce(&mut self, node: usize) -> bool {
        match relay_of(node) {
            Some(relay) => match &mut self.relays[relay] {
                Some(running) => running.announce(self.now),
                None => return false,
            },
            None => match &mut self.processes[node].worker {
                Some(running) => running.announce(),
                None => return false,
            },
        }
        true
    }
}

/// A record for people.
fn said(wire: &Wire) -> String {
    let text = String::from_utf8_lossy(&wire.envelope);
    let of = |name: &str| {
        let from = text.find(name).map_or(0, |at| at + name.len());
        text[from..].split([',', '"']).next().unwrap_or("").to_owned()
    };
    let kind = if wire.topic.starts_with(b"_") { &wire.topic[..5] } else { b"" };
    let kind = String::from_utf8_lossy(kind);
    format!("{kind}{}:{}", of("\"stream\":\""), of("\"i\":"))
}

/// An answer for people.
fn brief(reply: &Reply) -> String {
    match reply {
        Reply::Stored { span, .. } => format!("stored {}+{}", span.at, span.count),
        Reply::Accepted { span } => format!("accepted {}+{}", span.at, span.count),
        Reply::Refused { span, reason, .. } => {
            format!("refused {}+{} {reason}", span.at, span.count)
        }
        Reply::Expect { span, spot } => {
            format!("expect {}+{} {} of {}", span.at, span.count, spot.i, spot.epoch)
        }
        Reply::Err { code, text } => format!("{}: {text}", code.name()),
        other => format!("{other:?}"),
    }
}
