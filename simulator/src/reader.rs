//! A subscriber without its threads: the library's reception, a configuration that may be incomplete, and,
//! where it is durable, cursors that survive it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fedmsg::endpoint::Endpoint;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::event::Event;
use fedmsg::followed::Followed;
use fedmsg::identity::Identity;
use fedmsg::merkle::Leaf;
use fedmsg::reception::Reception;
use fedmsg::rejection::Rejection;
use fedmsg::sequence::Begin;
use fedmsg::timestamp::Timestamp;

use crate::cast::{Cast, HOSTS, Known};

/// How often a reader looks what is due while it waits for something, and otherwise, in milliseconds.
const TICK_MS: u64 = 100;
const IDLE_MS: u64 = 1_000;
/// How long it is waited for what was refused and would not be now, in milliseconds.
const CURE_MS: u64 = 3_000;

/// How far a consumer is with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub epoch: Epoch,
    pub next: u64,
    pub leaf: Option<Leaf>,
}

/// A subscriber, running or not.
pub struct Reader {
    pub durable: bool,
    pub known: [Known; HOSTS],
    /// How often it was started.
    pub life: u64,
    reception: Option<Reception>,
    inbox: Vec<(Identity, Wire)>,
    /// When it works next.
    pub turn_at: u64,
    /// What is saved, and what is done and not saved yet, by process.
    saved: BTreeMap<usize, Cursor>,
    done: BTreeMap<usize, Cursor>,
    /// Positions that were refused for want of a rule.
    curable: BTreeSet<(usize, Epoch, u64)>,
    /// When they are asked for again.
    cure_at: u64,
}

impl Reader {
    pub fn new(durable: bool, known: [Known; HOSTS]) -> Reader {
        Reader {
            durable,
            known,
            life: 0,
            reception: None,
            inbox: Vec::new(),
            turn_at: 0,
            saved: BTreeMap::new(),
            done: BTreeMap::new(),
            curable: BTreeSet::new(),
            cure_at: u64::MAX,
        }
    }

    pub fn is_up(&self) -> bool {
        self.reception.is_some()
    }

    /// Where a consumer goes on, as it was saved.
    pub fn cursor(&self, worker: usize) -> Option<Cursor> {
        self.saved.get(&worker).copied()
    }

    /// Begins another life, with what was saved.
    pub fn start(&mut self, replay: &[Vec<usize>; HOSTS], seed: u64, now: u64) {
        let cast = Cast::get();
        self.life += 1;
        self.done.clear();
        self.inbox.clear();
        let mut reception = Reception::new(cast.trust(&self.known), seed);
        if self.durable {
            let saved = self.saved.clone();
            let begin = move |stream: &_| {
                let cursor = cast.worker_of(stream).and_then(|worker| saved.get(&worker));
                cursor.map_or(Begin::Earliest, |cursor| {
                    let Cursor { epoch, next, leaf } = *cursor;
                    Begin::At { epoch, next, leaf }
                })
            };
            reception.set_beginning(begin, now);
        }
        self.reception = Some(reception);
        self.follow(replay, now);
        if let Some(reception) = &mut self.reception {
            for worker in self.saved.keys() {
                reception.begin(cast.stream(*worker), now);
            }
        }
    }

    /// Ends at once; what is not saved is forgotten.
    pub fn kill(&mut self) {
        self.reception = None;
    }

    /// Goes on with what its configuration has now.
    pub fn reconfigure(&mut self, replay: &[Vec<usize>; HOSTS], now: u64) {
        if let Some(reception) = &mut self.reception {
            reception.set_trust(Cast::get().trust(&self.known));
        }
        self.cure_at = now;
        self.follow(replay, now);
    }

    /// Fetches what was refused once and would not be now, until it came or nobody has it.
    fn cure(&mut self, now: u64) {
        let Some(reception) = self.reception.as_mut().filter(|_| now >= self.cure_at) else {
            return;
        };
        self.cure_at = now + CURE_MS;
        for (worker, epoch, i) in &self.curable {
            reception.fetch(Cast::get().stream(*worker).clone(), *epoch, *i, now);
        }
    }

    fn follow(&mut self, replay: &[Vec<usize>; HOSTS], now: u64) {
        let Some(reception) = &mut self.reception else { return };
        let known = (0..HOSTS).filter(|host| self.known[*host].endpoint);
        let entries = known.map(|host| Cast::get().entry(host, &replay[host]));
        reception.follow(Followed::new(entries), now);
    }

    /// Something came from an endpoint; it is looked at with the next turn.
    pub fn arrived(&mut self, endpoint: Identity, wire: Wire) {
        self.inbox.push((endpoint, wire));
    }

    pub fn answered(&mut self, holder: &Endpoint, frames: &[Bytes], now: u64) {
        if let Some(reception) = &mut self.reception {
            reception.answered(holder, frames, now);
        }
    }

    pub fn unsent(&mut self, holder: &Endpoint, frames: &[Bytes], now: u64) {
        if let Some(reception) = &mut self.reception {
            reception.unsent(holder, frames, now);
        }
    }

    /// Does what is due, like the subscriber's thread: what it asks, and what it has to say.
    pub fn turn(&mut self, now: u64, wall: Timestamp) -> (Vec<(Endpoint, Vec<Bytes>)>, Vec<Event>) {
        self.cure(now);
        let Some(reception) = &mut self.reception else { return (Vec::new(), Vec::new()) };
        if !self.inbox.is_empty() {
            let (from, wires): (Vec<_>, Vec<_>) = self.inbox.drain(..).unzip();
            reception.arrived(&from, &wires, now, wall);
        }
        reception.tick(now, wall);
        let asks = reception.asks().collect();
        let events: Vec<_> = reception.events().collect();
        self.turn_at = now + if reception.is_waiting() { TICK_MS } else { IDLE_MS };
        events.iter().for_each(|event| self.do_with(event));
        (asks, events)
    }

    /// What a consumer does with an event: it moves behind it.
    fn do_with(&mut self, event: &Event) {
        let worker = event.stream().and_then(|stream| Cast::get().worker_of(stream));
        let Some(worker) = worker.filter(|_| self.durable) else { return };
        let cursor = match event {
            Event::Message(message) => {
                let leaf = Some(message.place().leaf);
                Cursor { epoch: message.epoch(), next: message.i() + 1, leaf }
            }
            Event::Lost(lost) => Cursor { epoch: lost.epoch, next: lost.to + 1, leaf: None },
            Event::Epoch(change) => {
                let cursor = Cursor { epoch: change.to, next: change.next, leaf: None };
                let known = self.done.get(&worker).or(self.saved.get(&worker));
                // Where it was saved, the leaf of the number before is known as well.
                let same =
                    known.filter(|known| (known.epoch, known.next) == (change.to, change.next));
                same.copied().unwrap_or(cursor)
            }
            Event::Rejected(rejected) if rejected.reason == Rejection::Policy => {
                if let Some((epoch, i)) = rejected.position {
                    self.curable.insert((worker, epoch, i));
                }
                return;
            }
            Event::Late(message) => {
                self.curable.remove(&(worker, message.epoch(), message.i()));
                return;
            }
            Event::Unfetched(gone) => {
                self.curable.remove(&(worker, gone.epoch, gone.i));
                return;
            }
            _ => return,
        };
        self.done.insert(worker, cursor);
    }

    /// Saves how far it is.
    pub fn save(&mut self) {
        self.saved.extend(std::mem::take(&mut self.done));
    }
}
