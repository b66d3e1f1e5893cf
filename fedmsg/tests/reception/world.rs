//! Writers, holders and one reader, in steps of virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fedmsg::config::EndpointEntry;
use fedmsg::endpoint::Endpoint;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::event::{Event, ForkKind};
use fedmsg::followed::Followed;
use fedmsg::frames::{Answer, Ask, Completeness, Range, Request, Spot};
use fedmsg::holder::{Absent, Holder, Holdings, Part, Stand};
use fedmsg::identity::StreamName;
use fedmsg::journal::{Batch, Body, Damage, Entry};
use fedmsg::merkle::Leaf;
use fedmsg::reception::Reception;
use fedmsg::record::{After, Level, State};
use fedmsg::seal::{Draft, Sealed, Sealer, check};
use fedmsg::timestamp::Timestamp;

use crate::bus::{NOW, identity, key, trust};

pub const WHO: &str = "bodhi.backend01";
pub const STREAM: &str = "bodhi.backend01/0";

pub fn epoch(n: u64) -> Epoch {
    Epoch::parse(&format!("01997530-0000-7000-8000-{n:012}")).expect("epoch")
}

pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + ms)
}

fn address(n: usize) -> Endpoint {
    Endpoint::parse(&format!("tcp://127.0.0.1:{}", 9_000 + n)).expect("address")
}

/// One epoch, and what was sealed in it.
pub struct Writer {
    pub sealer: Sealer,
    pub text: &'static str,
}

impl Writer {
    pub fn new() -> (Writer, Sealed) {
        Writer::open(1, (After::Nothing, Leaf::NONE))
    }

    pub fn open(n: u64, after: (After, Leaf)) -> (Writer, Sealed) {
        Writer::open_at(n, after, 0)
    }

    pub fn open_at(n: u64, after: (After, Leaf), ms: i64) -> (Writer, Sealed) {
        let stream = StreamName::parse(STREAM).expect("stream");
        let (mut sealer, genesis) =
            Sealer::open_epoch(key(1), stream, epoch(n), after, Level::Local, at(ms));
        sealer.keeps_from(1);
        (Writer { sealer, text: "" }, genesis)
    }

    /// The epoch `n`, tied to the end of this one.
    pub fn next(&self, n: u64) -> (Writer, Sealed) {
        self.next_at(n, 0)
    }

    pub fn next_at(&self, n: u64, ms: i64) -> (Writer, Sealed) {
        let (last, leaf) = self.sealer.last();
        Writer::open_at(n, (After::Epoch { epoch: self.sealer.epoch(), last }, leaf), ms)
    }

    pub fn seal(&mut self, n: usize) -> Vec<Sealed> {
        self.seal_at(n, 0)
    }

    pub fn seal_at(&mut self, n: usize, ms: i64) -> Vec<Sealed> {
        let (trust, who) = (trust(), identity(WHO));
        let draft = |_| {
            let body = serde_json::json!({ "text": self.text });
            let draft = Draft::new("bodhi.update.comment").body(&body);
            check(draft, &who, &trust, || "2026-1".into()).expect("draft")
        };
        let drafts: Vec<_> = (0..n).map(draft).collect();
        self.sealer.seal(&drafts, at(ms))
    }

    pub fn beat(&mut self, ms: i64) -> Sealed {
        self.sealer.heartbeat(State::Open, "", at(ms))
    }
}

/// How a holder behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Up,
    /// Not connected.
    Down,
    /// Takes requests, and answers nothing.
    Silent,
    /// Breaks off in the middle of an answer.
    Torn,
    /// Changes a byte of every record.
    Forging,
    /// Leaves records out, and says that they were there.
    Hiding,
    /// Gives other records than were asked for.
    Shuffling,
}

/// What a holder has.
#[derive(Default)]
pub struct Shelf {
    pub epochs: BTreeMap<Epoch, BTreeMap<u64, Wire>>,
    pub damaged: Vec<u64>,
    pub first: u64,
    pub heartbeat: Option<Wire>,
    /// What it was shown by `PUT`.
    pub shown: Vec<Wire>,
}

pub struct Host {
    address: Endpoint,
    holder: Holder,
    pub shelf: Shelf,
    pub mode: Mode,
    pub asked: usize,
}

pub struct World {
    pub reception: Reception,
    pub hosts: Vec<Host>,
    /// How many of them, the last ones, are archives.
    pub archives: usize,
    pub now: u64,
    pub words: Vec<String>,
    pub stalled: Vec<String>,
    pub log: Vec<Event>,
}

impl World {
    /// A reader, and so many holders.
    pub fn new(holders: usize) -> World {
        World::with(holders, |_| {})
    }

    pub fn with(holders: usize, prepare: impl FnOnce(&mut Reception)) -> World {
        let host = |address: &Endpoint| Host {
            address: address.clone(),
            holder: Holder::new([7; 16]),
            shelf: Shelf::default(),
            mode: Mode::Up,
            asked: 0,
        };
        let hosts = (0..holders).map(|n| host(&address(n))).collect();
        let mut reception = Reception::new(Arc::clone(&trust()), 1);
        prepare(&mut reception);
        let (words, stalled) = (Vec::new(), Vec::new());
        let mut world =
            World { reception, hosts, archives: 0, now: 1_000, words, stalled, log: Vec::new() };
        world.reception.follow(world.followed(), 1_000);
        world
    }

    /// What the reader is configured to follow.
    pub fn followed(&self) -> Followed {
        let mut entry = EndpointEntry::new(identity(WHO), vec![address(999)]);
        let mut archive = EndpointEntry::new(identity("archive.one"), vec![address(998)]);
        archive.archive = true;
        let mut addresses: Vec<_> = self.hosts.iter().map(|host| host.address.clone()).collect();
        archive.replay = addresses.split_off(addresses.len() - self.archives);
        entry.replay = addresses;
        let is_there = self.archives > 0;
        Followed::new([entry].into_iter().chain(is_there.then_some(archive)))
    }

    /// Every holder keeps these from now on.
    pub fn keep<'a>(&mut self, records: impl IntoIterator<Item = &'a Sealed> + Clone, n: u64) {
        for host in &mut self.hosts {
            for record in records.clone() {
                host.shelf
                    .epochs
                    .entry(epoch(n))
                    .or_default()
                    .insert(record.i, record.wire.clone());
            }
        }
    }

    /// These arrive by themselves.
    pub fn arrive<'a>(&mut self, records: impl IntoIterator<Item = &'a Sealed>) {
        for record in records {
            let from = [identity(WHO)];
            let wall = at(self.now as i64 - 1_000);
            self.reception.arrived(&from, std::slice::from_ref(&record.wire), self.now, wall);
            self.drain();
        }
    }

    /// Time passes, in steps of 50 ms; requests are answered at once.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            self.talk();
            if self.now >= end {
                return;
            }
            self.now = (self.now + 50).min(end);
        }
    }

    fn talk(&mut self) {
        for _ in 0..10_000 {
            let wall = at(self.now as i64 - 1_000);
            self.reception.tick(self.now, wall);
            self.drain();
            let asks: Vec<_> = self.reception.asks().collect();
            if asks.is_empty() {
                return;
            }
            for (address, frames) in asks {
                self.ask(&address, &frames);
            }
        }
        panic!("it asks without end");
    }

    fn ask(&mut self, address: &Endpoint, frames: &[Bytes]) {
        let host = self.hosts.iter_mut().find(|host| host.address == *address).expect("a host");
        host.asked += 1;
        if host.mode == Mode::Down {
            return self.reception.unsent(address, frames, self.now);
        }
        let request = Request::parse(frames).expect("a request");
        let peer = Bytes::from_static(b"peer");
        let replies = host.holder.answer(&peer, &request, self.now, &mut host.shelf);
        let (count, mode) = (replies.len(), host.mode);
        let is_get = matches!(request.ask, Ask::Get { .. });
        for (n, reply) in replies.into_iter().enumerate() {
            let mut frames = Answer { id: request.id.clone(), reply }.encode();
            let is_record = is_get && n + 1 < count;
            match mode {
                Mode::Silent => return,
                Mode::Torn if is_get && n + 1 == count => return,
                Mode::Hiding if is_record => continue,
                Mode::Forging if is_record => {
                    let last = frames.last_mut().expect("an envelope");
                    let text = String::from_utf8(last.to_vec()).expect("text");
                    *last = text.replace("\"text\":\"", "\"text\":\"x").into();
                }
                Mode::Shuffling if is_record => {
                    let other = host.shelf.epochs.values().find_map(|epoch| epoch.values().next());
                    let other = other.expect("a record").clone();
                    let at = frames.len() - 2;
                    frames[at] = other.topic;
                    frames[at + 1] = other.envelope;
                }
                _ => {}
            }
            self.reception.answered(address, &frames, self.now);
        }
    }

    #[track_caller]
    pub fn says(&mut self, expected: &str) {
        assert_eq!(self.words.join(" "), expected);
        self.words.clear();
    }

    fn drain(&mut self) {
        for event in self.reception.events() {
            self.log.push(event.clone());
            self.words.push(match event {
                Event::Message(message) if message.replayed => format!("+{}", message.i()),
                Event::Message(message) => message.i().to_string(),
                Event::Late(message) => format!("late:{}", message.i()),
                Event::Unfetched(gone) => format!("unfetched:{}", gone.i),
                Event::Stale(message) => format!("stale:{}", message.i()),
                Event::Lost(lost) => {
                    format!("lost:{}-{}:{}", lost.from, lost.to, lost.reason.name())
                }
                Event::Fork(fork) => match fork.kind {
                    ForkKind::Rewound => format!("rewound:{}", fork.i),
                    kind => format!("{kind}:{}", fork.i),
                },
                Event::Rejected(rejected) => rejected.reason.name().to_owned(),
                Event::Epoch(change) => match (change.from, change.proven) {
                    (None, _) => format!("live {}", change.next),
                    (Some(_), true) => format!("proven {}", change.next),
                    (Some(_), false) => format!("unproven {}", change.next),
                },
                Event::CaughtUp(past) => {
                    let mut text = format!("caught-up:{}", past.streams);
                    for stream in past.incomplete {
                        text += &format!(" incomplete:{stream}");
                    }
                    for service in past.unreachable {
                        text += &format!(" unreachable:{service}");
                    }
                    text
                }
                Event::Stalled(stalled) => {
                    self.stalled.push(stalled.why);
                    continue;
                }
                other => format!("{other:?}"),
            });
        }
    }
}

/// "1 2 3 …", with a plus before what was fetched.
pub fn fetched(from: u64, to: u64) -> String {
    (from..=to).map(|i| format!("+{i}")).collect::<Vec<_>>().join(" ")
}

impl Shelf {
    fn range(&self, epoch: Epoch) -> Option<Range> {
        let records = self.epochs.get(&epoch)?;
        let (first, last) = (*records.keys().next()?, *records.keys().next_back()?);
        Some(Range { epoch, first: first.max(self.first), last })
    }
}

impl Holdings for Shelf {
    fn stand(&mut self, _: &StreamName) -> Result<Stand, Absent> {
        let epochs: Vec<_> = self.epochs.keys().filter_map(|epoch| self.range(*epoch)).collect();
        if epochs.is_empty() {
            return Err(Absent::Stream);
        }
        let completeness = Completeness::Complete;
        Ok(Stand { heartbeat: self.heartbeat.clone(), completeness, epochs })
    }

    fn read(
        &mut self,
        _: &StreamName,
        part: Part,
        max_records: usize,
        _: usize,
    ) -> Result<Batch, Absent> {
        if self.epochs.is_empty() {
            return Err(Absent::Stream);
        }
        let range = self.range(part.epoch).ok_or(Absent::Epoch)?;
        if part.from < range.first {
            return Err(Absent::Trimmed { first: range.first });
        }
        let (mut entries, mut holes, mut next) = (Vec::new(), Vec::new(), part.from);
        let records = &self.epochs[&part.epoch];
        while next <= part.to.min(range.last) && entries.len() < max_records {
            match records.get(&next).filter(|_| !self.damaged.contains(&next)) {
                Some(wire) => entries.push(Entry {
                    i: next,
                    time: at(next as i64),
                    body: Body::Record(wire.clone()),
                }),
                None => holes.push(Damage {
                    epoch: part.epoch,
                    from: next,
                    to: next,
                    path: "segment".into(),
                }),
            }
            next += 1;
        }
        let more = next <= part.to.min(range.last);
        Ok(Batch { entries, holes, upto: next.saturating_sub(1), more })
    }

    fn genesis(&mut self, _: &StreamName, epoch: Epoch) -> Result<Option<Wire>, Absent> {
        Ok(self.epochs.get(&epoch).and_then(|records| records.get(&0)).cloned())
    }

    fn find(&mut self, _: &StreamName, time: Timestamp) -> Result<(Epoch, u64), Absent> {
        let (epoch, records) = self.epochs.iter().next_back().ok_or(Absent::Stream)?;
        let found = records.keys().find(|i| **i > 0 && at(**i as i64) >= time).copied();
        Ok((*epoch, found.unwrap_or(records.keys().next_back().map_or(1, |last| last + 1))))
    }

    fn heads(&mut self) -> Vec<Spot> {
        let stream = StreamName::parse(STREAM).expect("stream");
        let spot =
            |epoch: &Epoch| Some(Spot { stream, epoch: *epoch, i: self.range(*epoch)?.last });
        self.epochs.keys().next_back().and_then(spot).into_iter().collect()
    }

    fn put(&mut self, wire: &Wire) -> bool {
        self.shown.push(wire.clone());
        false
    }
}
