//! A relay without its threads and sockets: the decisions, the order of storing and answering, and the log of the real
//! one, and a reader of those whom it follows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use fastrand::Rng;
use fedmsg::endpoint::Endpoint;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::event::Event;
use fedmsg::followed::Followed;
use fedmsg::frames::{Answer, Ask, Reply, Request, RequestId};
use fedmsg::holder::Holder;
use fedmsg::identity::{Identity, StreamName};
use fedmsg::journal::Disk;
use fedmsg::limits::HEARTBEAT_IDLE_MS;
use fedmsg::log::{LogReader, Settings};
use fedmsg::publisher::last_epoch;
use fedmsg::reception::Reception;
use fedmsg::record::{Level, State};
use fedmsg::replay::Shelf;
use fedmsg::seal::{Sealed, Sealer};
use fedmsg::sequence::Begin;
use fedmsg::testing::MemoryDisk;
use fedmsg::timestamp::Timestamp;
use fedmsg::trust::Trust;
use fedmsg_relay::core::{RelayCore, Taken};
use fedmsg_relay::desk::Desk;
use fedmsg_relay::keeping::Keeping;
use fedmsg_relay::records::Records;
use fedmsg_relay::waiting::{Outside, Waiting};

use crate::cast::{Cast, HOSTS, Known};
use crate::plan::RelayPlan;
use crate::worker::slot_folder;

/// After the disk failed it follows again so much later, in milliseconds.
const AGAIN_MS: u64 = 1_000;
/// New readers of one such time share their announcements, in milliseconds.
const ANNOUNCE_MS: u64 = 20;
/// How often retention is looked at, in milliseconds.
const TRIM_MS: u64 = 10_000;
/// Streams that were silent for longer are not announced, in milliseconds.
const LIVELY_MS: u64 = 300_000;
/// How often one that follows looks what is due, while it waits for something and otherwise, in milliseconds.
const TICK_MS: u64 = 100;
const IDLE_MS: u64 = 1_000;

/// Where a relay lives, and what it is told.
pub struct RelayPlace {
    pub relay: usize,
    pub disk: MemoryDisk,
    pub plan: RelayPlan,
    pub log: Settings,
    /// Whom it follows, with their entries; nobody where there are none.
    pub follows: Vec<fedmsg::config::EndpointEntry>,
    /// The virtual clock.
    pub clock: Arc<AtomicU64>,
}

/// A running relay.
pub struct Relay {
    place: RelayPlace,
    trust: Arc<Trust>,
    core: RelayCore,
    keeping: Keeping,
    waiting: Waiting<Asker>,
    /// What was put, and is not looked at yet.
    put: Vec<Asker>,
    own: Sealer,
    genesis: Sealed,
    desk: Desk,
    holder: Holder,
    following: Option<Reception>,
    records: Records,
    inbox: Vec<(Identity, Wire)>,
    begin_at: Option<u64>,
    announce_at: Option<u64>,
    beat_at: u64,
    trim_at: u64,
    tick_at: u64,
    /// What the clock of its host says, in milliseconds.
    wall: Arc<AtomicI64>,
}

/// Who has put something.
#[derive(Clone, Debug)]
pub struct Asker {
    pub peer: usize,
    pub life: u64,
    pub id: RequestId,
    pub messages: Vec<Wire>,
}

/// What a relay did that others can notice, in order.
pub enum Act {
    /// It sent these frames to its readers.
    Published(Wire),
    /// It signed these frames about itself.
    Said(Wire),
    /// It answered who has put something.
    Answered(Asker, Vec<Reply>),
    /// It asks somebody whom it follows.
    Asks(Endpoint, Vec<Bytes>),
    /// It was told something by those whom it follows.
    Told(Box<Event>),
}

/// Where the log of a relay is.
pub fn log_folder(stream: &StreamName) -> PathBuf {
    PathBuf::from("/state/relay").join(stream.identity().as_str()).join(stream.slot().to_string())
}

impl Relay {
    /// Starts a relay on what is on its disk.
    pub fn start(
        place: RelayPlace,
        wall: Timestamp,
        now: u64,
        random: &mut Rng,
    ) -> Result<Relay, String> {
        let part = &Cast::get().relays[place.relay];
        let disk: Arc<dyn Disk> = Arc::new(place.disk.clone());
        let slot = slot_folder(&part.stream);
        let (after, prev, before) = last_epoch::before(&*disk, &slot);
        let mut name = [0; 10];
        random.fill(&mut name);
        let epoch = Epoch::next(wall, name, before);
        let (key, stream) = (Arc::clone(&part.key), part.stream.clone());
        let opened = Sealer::open_epoch(key, stream, epoch, (after, prev), Level::Memory, wall);
        let (own, genesis) = opened;
        last_epoch::begin(&*disk, &slot, epoch).map_err(|error| error.to_string())?;
        let wall_of = Arc::new(AtomicI64::new(wall.as_millis()));
        let clock = Arc::clone(&wall_of);
        let clock = move || Timestamp::from_millis(clock.load(Ordering::Relaxed));
        let folder = log_folder(&part.stream);
        let say = |error: fedmsg::log::LogError| error.to_string();
        let keeping = Keeping::timed(Arc::clone(&disk), &folder, place.log, clock);
        let mut keeping = keeping.map_err(say)?;
        keeping.keep_own(&part.stream, epoch, &genesis).map_err(say)?;
        let ticks = Arc::clone(&place.clock);
        let shelf = Shelf::timed(disk, "/state".as_ref(), move || ticks.load(Ordering::Relaxed));
        let trust = Cast::get().trust(&[Known::ALL; HOSTS]);
        let (carries, is_archive) = (place.plan.carries.patterns(), place.plan.is_archive);
        let identity = part.identity.clone();
        let mut core = RelayCore::new(identity, carries, is_archive, Arc::clone(&trust));
        for (stream, head, said) in keeping.streams().filter(|(stream, ..)| *stream != part.stream)
        {
            core.remember(stream, head, said, now);
        }
        let mut life = [0; 16];
        random.fill(&mut life);
        let mut relay = Relay {
            desk: Desk::new(keeping.reader(), shelf),
            holder: Holder::new(life),
            place,
            trust,
            core,
            keeping,
            waiting: Waiting::default(),
            put: Vec::new(),
            own,
            genesis,
            following: None,
            records: Records::default(),
            inbox: Vec::new(),
            begin_at: None,
            announce_at: None,
            beat_at: now,
            trim_at: now,
            tick_at: now,
            wall: wall_of,
        };
        relay.begin(now, random.u64(..));
        Ok(relay)
    }

    pub fn genesis(&self) -> &Wire {
        &self.genesis.wire
    }

    /// Follows from where the log has each stream.
    fn begin(&mut self, now: u64, seed: u64) {
        self.begin_at = None;
        if self.place.follows.is_empty() {
            return;
        }
        let begins: BTreeMap<_, _> = self.keeping.begins(&self.trust).into_iter().collect();
        let mut reception = Reception::new(Arc::clone(&self.trust), seed);
        reception.set_internal(true);
        let beginning = move |stream: &StreamName| match begins.get(stream) {
            Some(head) => Begin::At { epoch: head.epoch, next: head.last + 1, leaf: head.leaf },
            None => Begin::Earliest,
        };
        reception.set_beginning(beginning, now);
        reception.follow(Followed::new(self.place.follows.clone()), now);
        (self.following, self.tick_at) = (Some(reception), now);
        self.records = Records::default();
    }

    /// Whether it hears this endpoint.
    pub fn hears(&self, endpoint: &Identity) -> bool {
        self.following.is_some()
            && self.place.follows.iter().any(|entry| entry.identity == *endpoint)
    }

    /// Goes on with other endpoints of those whom it follows.
    pub fn reconfigure(&mut self, follows: Vec<fedmsg::config::EndpointEntry>, now: u64) {
        if let Some(following) = &mut self.following {
            following.follow(Followed::new(follows.clone()), now);
        }
        self.place.follows = follows;
        self.look_at_once(now);
    }

    /// Something has come from those whom it follows.
    pub fn look_at_once(&mut self, now: u64) {
        self.tick_at = now;
    }

    /// A producer asks it to take messages.
    pub fn asked(&mut self, peer: usize, life: u64, frames: &[Bytes]) {
        if let Ok(Request { id, ask: Ask::Put { messages } }) = Request::parse(frames) {
            self.put.push(Asker { peer, life, id, messages });
        }
    }

    /// Something came from whom it follows.
    pub fn arrived(&mut self, endpoint: Identity, wire: Wire) {
        if self.following.is_some() {
            self.inbox.push((endpoint, wire));
        }
    }

    pub fn answered(&mut self, holder: &Endpoint, frames: &[Bytes], now: u64) {
        if let Some(following) = &mut self.following {
            following.answered(holder, frames, now);
        }
    }

    pub fn unsent(&mut self, holder: &Endpoint, frames: &[Bytes], now: u64) {
        if let Some(following) = &mut self.following {
            following.unsent(holder, frames, now);
        }
    }

    /// A reader has come.
    pub fn announce(&mut self, now: u64) {
        self.announce_at.get_or_insert(now + ANNOUNCE_MS);
    }

    /// Does what is due, like the relay's loop; it is killed when it has shown and answered so much, if that is said,
    /// or when the power goes. Says whether it lives.
    pub fn step(
        &mut self,
        wall: Timestamp,
        now: u64,
        shows_left: Option<u64>,
        random: &mut Rng,
        acts: &mut Vec<Act>,
    ) -> bool {
        self.wall.store(wall.as_millis(), Ordering::Relaxed);
        let mut is_much = false;
        for asker in std::mem::take(&mut self.put) {
            let taken = self.core.put(&asker.messages, now, &self.keeping);
            is_much |= self.waiting.add(Some(asker), taken);
        }
        debug_assert!(!is_much, "a few requests are never too much for one sync");
        self.follow(wall, now, random, acts);
        let disk = self.place.disk.clone();
        let mut crowd = Crowd { disk, shows_left, acts };
        let key = &Cast::get().relays[self.place.relay].key;
        let stored = self.waiting.store(&mut self.core, &mut self.keeping, key, &mut crowd);
        if stored.is_err() && self.following.take().is_some() {
            self.begin_at = Some(now + AGAIN_MS);
        }
        if crowd.is_alive() {
            self.on_time(wall, now, &mut crowd);
        }
        crowd.is_alive()
    }

    fn follow(&mut self, wall: Timestamp, now: u64, random: &mut Rng, acts: &mut Vec<Act>) {
        if self.begin_at.is_some_and(|at| at <= now) {
            self.begin(now, random.u64(..));
        }
        let Some(following) = &mut self.following else { return self.inbox.clear() };
        if !self.inbox.is_empty() {
            let (from, wires): (Vec<_>, Vec<_>) = self.inbox.drain(..).unzip();
            following.arrived(&from, &wires, now, wall);
        }
        following.tick(now, wall);
        self.tick_at = now + if following.is_waiting() { TICK_MS } else { IDLE_MS };
        let events: Vec<_> = following.events().collect();
        acts.extend(following.asks().map(|(holder, frames)| Act::Asks(holder, frames)));
        let mut taken = Taken::default();
        for event in events {
            acts.push(Act::Told(Box::new(event.clone())));
            for wire in self.records.take(event) {
                self.core.follow(&wire, now, &self.keeping, &mut taken);
            }
        }
        let is_much = self.waiting.add(None, taken);
        debug_assert!(!is_much, "a few records are never too much for one sync");
    }

    /// Heartbeats, announcements and retention that are due.
    fn on_time(&mut self, wall: Timestamp, now: u64, crowd: &mut Crowd<'_>) {
        let is_announced = self.announce_at.is_some_and(|at| at <= now);
        if is_announced {
            self.announce_at = None;
            let mut all: Vec<Wire> = self.core.announcements(now, LIVELY_MS).cloned().collect();
            // The same order each time, so that a run can be repeated.
            all.sort_unstable_by(|a, b| a.envelope.cmp(&b.envelope));
            all.iter().for_each(|wire| crowd.publish(wire));
        }
        if is_announced || self.beat_at <= now {
            self.beat_at = now + HEARTBEAT_IDLE_MS;
            let beat = self.own.heartbeat(State::Open, "", wall).wire;
            self.keeping.beaten(self.own.stream(), &beat);
            crowd.say(&beat);
            crowd.say(&self.genesis.wire);
        }
        if self.trim_at <= now {
            self.trim_at = now + TRIM_MS;
            self.keeping.trim();
        }
    }

    /// When there is something to do.
    pub fn pause_until(&self) -> u64 {
        if !self.put.is_empty() || !self.inbox.is_empty() {
            return 0;
        }
        let follows = if self.following.is_some() { self.tick_at } else { u64::MAX };
        let announce = self.announce_at.unwrap_or(u64::MAX);
        let begin = self.begin_at.unwrap_or(u64::MAX);
        self.beat_at.min(self.trim_at).min(follows).min(announce).min(begin)
    }

    /// The answers to a request for what it has.
    pub fn answer(&mut self, peer: &Bytes, frames: &[Bytes], now: u64) -> Vec<Answer> {
        let Ok(request) = Request::parse(frames) else { return Vec::new() };
        let replies = self.holder.answer(peer, &request, now, &mut self.desk);
        replies.into_iter().map(|reply| Answer { id: request.id.clone(), reply }).collect()
    }

    /// Ends cleanly.
    pub fn stop(mut self, wall: Timestamp, acts: &mut Vec<Act>) {
        self.wall.store(wall.as_millis(), Ordering::Relaxed);
        let part = &Cast::get().relays[self.place.relay];
        let (last, leaf) = self.own.last();
        let slot = slot_folder(&part.stream);
        // As in the relay, readers find out by themselves where this cannot be written.
        last_epoch::end(&self.place.disk, &slot, self.own.epoch(), last, leaf).ok();
        let beat = self.own.heartbeat(State::Closed, "", wall).wire;
        acts.push(Act::Said(beat.clone()));
        self.keeping.close(&part.stream, &beat);
    }

    /// A reader of its log.
    pub fn log(&self) -> LogReader {
        self.keeping.reader()
    }
}

/// Readers and producers, as long as the relay lives.
struct Crowd<'a> {
    disk: MemoryDisk,
    shows_left: Option<u64>,
    acts: &'a mut Vec<Act>,
}

impl Crowd<'_> {
    fn is_alive(&self) -> bool {
        self.shows_left != Some(0) && !self.disk.is_down()
    }

    fn act(&mut self, act: Act) {
        if self.is_alive() {
            self.shows_left = self.shows_left.map(|left| left - 1);
            self.acts.push(act);
        }
    }

    fn say(&mut self, wire: &Wire) {
        if self.is_alive() {
            self.acts.push(Act::Said(wire.clone()));
        }
    }
}

impl Outside<Asker> for Crowd<'_> {
    fn publish(&mut self, wire: &Wire) {
        self.act(Act::Published(wire.clone()));
    }

    fn answer(&mut self, to: &Asker, replies: Vec<Reply>) {
        self.act(Act::Answered(to.clone(), replies));
    }
}
