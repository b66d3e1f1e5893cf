//! The thread of a subscriber: receive, open, order, hand out.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::asking::{Asking, Back};
use super::{Guide, Past, Shared, Wanted};
use crate::clock::Clock;
use crate::config::{Config, EndpointEntry};
use crate::consumer::Position;
use crate::event::{ConfigChange, Event};
use crate::followed::Followed;
use crate::identity::StreamName;
use crate::limits::STALLED_NAMES_MAX;
use crate::reception::Reception;
use crate::repair::Holders;
use crate::sequence::Begin;
use crate::transport::{Arrival, Inlet, Told};

/// While a hole is open it is looked at this often.
const TICK: Duration = Duration::from_millis(50);
/// Otherwise the thread sleeps at most so long.
const IDLE: Duration = Duration::from_secs(1);

pub(super) struct Runner {
    shared: Arc<Shared>,
    config: Arc<Config>,
    wanted: Wanted,
    inlet: Box<dyn Inlet>,
    reception: Reception,
    asking: Asking,
    clock: Clock,
    /// When it was looked how streams are.
    counted: u64,
}

impl Runner {
    pub(super) fn new(
        shared: Arc<Shared>,
        config: Arc<Config>,
        wanted: Wanted,
        inlet: Box<dyn Inlet>,
        asking: Asking,
    ) -> Runner {
        let mut reception = Reception::new(Arc::clone(&config.trust), fastrand::u64(..));
        reception.set_internal(wanted.internal);
        reception.set_rejections(Arc::clone(&shared.rejections));
        let clock = Clock::start();
        if let Some(Guide(begin)) = wanted.guide.clone() {
            reception.set_beginning(move |stream| begin(stream), clock.millis());
        } else if wanted.begin != Begin::Live || !wanted.begins.is_empty() {
            let (begin, begins) = (wanted.begin, wanted.begins.clone());
            let beginning = move |stream: &StreamName| {
                let own = begins.iter().find(|(name, _)| name == stream);
                own.map_or(begin, |(_, begin)| *begin)
            };
            reception.set_beginning(beginning, clock.millis());
        }
        if let Some(order) = wanted.history {
            reception.read_history(order, clock.millis());
        }
        let mut runner =
            Runner { shared, config, wanted, inlet, reception, asking, clock, counted: 0 };
        runner.follow();
        runner
    }

    pub(super) fn run(mut self) {
        let mut arrivals = Vec::new();
        while !self.shared.closed.load(Ordering::SeqCst) {
            self.take_update();
            let timeout = if self.reception.is_waiting() { TICK } else { IDLE };
            self.inlet.receive(timeout, &mut arrivals);
            for change in self.inlet.changes() {
                self.say(Event::Endpoint(change));
            }
            self.take(&mut arrivals);
            self.take_answers();
            self.fetch_and_tell();
            self.reception.tick(self.clock.millis(), Clock::wall());
            self.asking.ask(self.reception.asks());
            self.hand_out();
        }
    }

    /// Goes on with another configuration, if there is one.
    fn take_update(&mut self) {
        let mut place = self.shared.update.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(update) = place.take() else { return };
        drop(place);
        let change = match update.error {
            Some(error) => ConfigChange::Broken(error),
            None => ConfigChange::Reloaded(update.config.digest.clone()),
        };
        self.config = update.config;
        *self.shared.config.lock().unwrap_or_else(PoisonError::into_inner) =
            Arc::clone(&self.config);
        self.reception.set_trust(Arc::clone(&self.config.trust));
        self.follow();
        *self.shared.updates.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.shared.updated.notify_all();
        self.say(Event::Config(change));
    }

    /// Connects to the endpoints that can send something that is wanted.
    fn follow(&mut self) {
        let config = &self.config;
        let is_included = |entry: &&EndpointEntry| {
            let is_left_out = self.wanted.without.as_ref() == Some(&entry.identity);
            config.subscribe.includes(&entry.identity) && !is_left_out
        };
        let relevant = |entry: &&EndpointEntry| {
            let wanted = &self.wanted.patterns;
            is_included(entry)
                && (wanted.is_empty()
                    || wanted.iter().any(|pattern| {
                        entry.carries.iter().any(|carried| carried.overlaps(pattern))
                            || config.trust.policy.may_publish_into(&entry.identity, pattern)
                    }))
        };
        let entries: Vec<EndpointEntry> =
            config.endpoints.values().filter(relevant).cloned().collect();
        self.inlet.follow(&entries);
        self.shared.endpoints.store(entries.len() as u64, Ordering::Relaxed);
        let reachable = config.endpoints.values().filter(is_included);
        let followed = Followed::among(entries, reachable);
        self.asking.follow(followed.all());
        self.reception.follow(followed, self.clock.millis());
    }

    fn take(&mut self, arrivals: &mut Vec<Arrival>) {
        let (mut wires, mut from) = (Vec::new(), Vec::new());
        for arrival in arrivals.drain(..) {
            match arrival.frames {
                Ok(wire) => {
                    wires.push(wire);
                    from.push(arrival.endpoint);
                }
                Err(count) => self.reception.arrived_otherwise(arrival.endpoint, count),
            }
        }
        if !wires.is_empty() {
            self.reception.arrived(&from, &wires, self.clock.millis(), Clock::wall());
        }
    }

    /// Takes what holders answered, and gives them what is to be asked next: they work on it while what they
    /// gave is handed out.
    fn take_answers(&mut self) {
        let now = self.clock.millis();
        for told in self.asking.take() {
            match told {
                Back::Told(Told { holder, frames }) => {
                    self.reception.answered(&holder, &frames, now);
                }
                Back::Unsent(holder, frames) => self.reception.unsent(&holder, &frames, now),
            }
            self.asking.ask(self.reception.asks());
        }
    }

    /// Asks for what is wanted outside of the order of its stream, and tells how far a consumer is.
    fn fetch_and_tell(&mut self) {
        let tells = &mut *self.shared.tells.lock().unwrap_or_else(PoisonError::into_inner);
        let fetches = &mut *self.shared.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.millis();
        for Position { stream, epoch, i } in fetches.drain(..) {
            self.reception.fetch(stream, epoch, i, now);
        }
        for (Position { stream, epoch, i }, consumer) in tells.drain(..) {
            self.reception.acknowledge(&stream, (epoch, i), &consumer, now);
        }
        let questions = &mut *self.shared.questions.lock().unwrap_or_else(PoisonError::into_inner);
        for (mut streams, answer) in questions.drain(..) {
            streams.retain(|stream| self.reception.is_kept_by_nobody(stream));
            // Who asked may be gone.
            let _ = answer.send(streams);
        }
    }

    /// Hands out what the streams have to say, as far as it is wanted.
    fn hand_out(&mut self) {
        self.count();
        let wanted = &self.wanted;
        let is_wanted = |event: &Event| match event {
            Event::Message(message) | Event::Stale(message) | Event::Late(message) => {
                wanted.guide.is_some() || wanted.topic(message.topic().as_str())
            }
            _ => true,
        };
        let events = self.reception.events().filter(is_wanted);
        self.shared.queue.push_all(events.map(|event| {
            let bytes = bytes_of(&event);
            (event, bytes)
        }));
    }

    fn count(&mut self) {
        self.count_streams();
        let shared = &self.shared;
        shared.turns.fetch_add(1, Ordering::Relaxed);
        let counts = self.reception.counts();
        shared.received.store(counts.received, Ordering::Relaxed);
        shared.verified.store(counts.verified, Ordering::Relaxed);
        let (_, repairing) = self.reception.repair_counts();
        shared.repairing.store(repairing as u64, Ordering::Relaxed);
        let sequence = self.reception.sequence_counts();
        *shared.sequence.lock().unwrap_or_else(PoisonError::into_inner) = sequence;
    }

    /// Looks which streams stand still, and how much of the past is left; not each time, since there may be thousands of streams.
    fn count_streams(&mut self) {
        let now = self.clock.millis();
        if now < self.counted.saturating_add(100) {
            return;
        }
        self.counted = now;
        let names = self.reception.stalled().take(STALLED_NAMES_MAX).cloned().collect();
        let count = self.reception.stalled().count() as u64;
        *self.shared.stalled.lock().unwrap_or_else(PoisonError::into_inner) = (count, names);
        let past = self.reception.history_left();
        let past = past.map(|(streams, read, left)| Past { streams, read, left });
        *self.shared.history.lock().unwrap_or_else(PoisonError::into_inner) = past;
    }

    /// Puts an event into the queue. With a full queue this waits, and nothing is received meanwhile; a
    /// closed one takes nothing, and nobody misses it.
    fn say(&self, event: Event) {
        let bytes = bytes_of(&event);
        self.shared.queue.push_all([(event, bytes)]);
    }
}

/// What an event counts for in the queue.
fn bytes_of(event: &Event) -> usize {
    let wire = match event {
        Event::Message(m) | Event::Stale(m) | Event::Internal(m) | Event::Late(m) => m.wire().len(),
        Event::Rejected(rejected) => rejected.wire.len(),
        _ => 0,
    };
    wire + 256
}
