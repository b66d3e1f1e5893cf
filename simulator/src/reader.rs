//! A subscriber without its threads: the library's reception, a configuration that may be incomplete, and,
//! where it is durable, a consumer behind it.

use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use fedmsg::config::EndpointEntry;
use fedmsg::endpoint::Endpoint;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::event::{Event, Message};
use fedmsg::followed::Followed;
use fedmsg::identity::Identity;
use fedmsg::reception::Reception;
use fedmsg::timestamp::Timestamp;
use fedmsg::trust::Trust;

use crate::cast::{Cast, HOSTS, Known, WRITERS};
use crate::consumer::{Consumer, Kept};

/// How often a reader looks what is due while it waits for something, and otherwise, in milliseconds.
const TICK_MS: u64 = 100;
const IDLE_MS: u64 = 1_000;

/// A subscriber, running or not.
pub struct Reader {
    /// What outlives it, where it is durable.
    kept: Option<Kept>,
    pub known: [Known; HOSTS],
    /// How often it was started.
    pub life: u64,
    running: Option<Running>,
    /// When it works next.
    pub turn_at: u64,
}

struct Running {
    reception: Reception,
    consumer: Option<Consumer>,
    trust: Arc<Trust>,
    inbox: Vec<(Identity, Wire)>,
}

/// What came of a turn.
#[derive(Default)]
pub struct Turn {
    /// What is asked of whom.
    pub asks: Vec<(Endpoint, Vec<Bytes>)>,
    /// What the reader says.
    pub events: Vec<Event>,
    /// What a durable consumer has handled.
    pub handled: Vec<Message>,
}

impl Reader {
    pub fn new(number: usize, durable: bool, known: [Known; HOSTS]) -> Reader {
        let kept = durable.then(|| Kept::new(number));
        Reader { kept, known, life: 0, running: None, turn_at: 0 }
    }

    pub fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Where a consumer goes on, as it was written down: epoch and next number, by process.
    pub fn cursors(&mut self) -> [Option<(Epoch, u64)>; WRITERS] {
        let mut cursors = [None; WRITERS];
        for cursor in self.kept.as_mut().map(Kept::cursors).unwrap_or_default() {
            if let Some(worker) = Cast::get().worker_of(&cursor.position.stream) {
                cursors[worker] = Some((cursor.position.epoch, cursor.position.i + 1));
            }
        }
        cursors
    }

    /// Begins another life, with what was written down.
    pub fn start(&mut self, entries: Vec<EndpointEntry>, seed: u64, now: u64, wall: Timestamp) {
        self.life += 1;
        let cursors = self.cursors();
        let trust = Cast::get().trust(&self.known);
        let mut reception = Reception::new(Arc::clone(&trust), seed);
        let consumer = self.kept.as_mut().map(|kept| kept.start(self.life, wall));
        if let Some(consumer) = &consumer {
            reception.set_beginning(consumer.beginning(), now);
        }
        self.running = Some(Running { reception, consumer, trust, inbox: Vec::new() });
        self.follow(entries, now);
        if let Some(running) = &mut self.running {
            for worker in (0..WRITERS).filter(|worker| cursors[*worker].is_some()) {
                running.reception.begin(Cast::get().stream(worker), now);
            }
        }
    }

    /// Ends at once; what is not written down is forgotten.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Goes on with what its configuration has now.
    pub fn reconfigure(&mut self, entries: Vec<EndpointEntry>, now: u64) {
        if let Some(running) = &mut self.running {
            running.trust = Cast::get().trust(&self.known);
            running.reception.set_trust(Arc::clone(&running.trust));
            if let Some(consumer) = &mut running.consumer {
                consumer.trust_changed();
            }
        }
        self.follow(entries, now);
    }

    fn follow(&mut self, entries: Vec<EndpointEntry>, now: u64) {
        let Some(running) = &mut self.running else { return };
        running.reception.follow(Followed::new(entries), now);
    }

    /// Something came from an endpoint; it is looked at with the next turn.
    pub fn arrived(&mut self, endpoint: Identity, wire: Wire) {
        if let Some(running) = &mut self.running {
            running.inbox.push((endpoint, wire));
        }
    }

    pub fn answered(&mut self, holder: &Endpoint, frames: &[Bytes], now: u64) {
        if let Some(running) = &mut self.running {
            running.reception.answered(holder, frames, now);
        }
    }

    pub fn unsent(&mut self, holder: &Endpoint, frames: &[Bytes], now: u64) {
        if let Some(running) = &mut self.running {
            running.reception.unsent(holder, frames, now);
        }
    }

    /// Does what is due, like the threads of a subscriber and of a durable consumer.
    pub fn turn(&mut self, now: u64, wall: Timestamp, random: &mut Rng) -> Turn {
        let Some(running) = &mut self.running else { return Turn::default() };
        let Running { reception, consumer, trust, inbox } = running;
        if !inbox.is_empty() {
            let (from, wires): (Vec<_>, Vec<_>) = inbox.drain(..).unzip();
            reception.arrived(&from, &wires, now, wall);
        }
        reception.tick(now, wall);
        let mut turn = Turn { events: reception.events().collect(), ..Turn::default() };
        let pause = if reception.is_waiting() { TICK_MS } else { IDLE_MS };
        self.turn_at = now + pause;
        if let Some(consumer) = consumer {
            turn.events.iter().for_each(|event| consumer.take(event, now, random));
            turn.handled = consumer.work(now, wall, trust, random);
            for position in consumer.fetches(now) {
                reception.fetch(position.stream, position.epoch, position.i, now);
            }
            self.turn_at =
                consumer.due().map_or(self.turn_at, |at| at.clamp(now + 1, self.turn_at));
        }
        turn.asks = reception.asks().collect();
        turn
    }
}
