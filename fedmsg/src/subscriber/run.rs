//! The thread of a subscriber: receive, open, order, hand out.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{Shared, Wanted};
use crate::clock::Clock;
use crate::config::{Config, EndpointEntry};
use crate::envelope::Wire;
use crate::event::{ConfigChange, Event, Message, Rejected};
use crate::identity::Identity;
use crate::open::{Opener, Record, Refused, Verified};
use crate::rejection::Rejection;
use crate::sequence::Sequencer;
use crate::timestamp::Timestamp;
use crate::transport::{Arrival, Inlet};

/// While a hole is open it is looked at this often.
const TICK: Duration = Duration::from_millis(50);
/// Otherwise the thread sleeps at most so long.
const IDLE: Duration = Duration::from_secs(1);

pub(super) struct Runner {
    shared: Arc<Shared>,
    config: Arc<Config>,
    wanted: Wanted,
    inlet: Box<dyn Inlet>,
    opener: Opener,
    sequencer: Sequencer,
    clock: Clock,
    /// The followed endpoints, for what each may carry.
    endpoints: BTreeMap<Identity, EndpointEntry>,
}

impl Runner {
    pub(super) fn new(
        shared: Arc<Shared>,
        config: Arc<Config>,
        wanted: Wanted,
        inlet: Box<dyn Inlet>,
    ) -> Runner {
        let opener = Opener::new(Arc::clone(&config.trust));
        let mut runner = Runner {
            shared,
            config,
            wanted,
            inlet,
            opener,
            sequencer: Sequencer::default(),
            clock: Clock::start(),
            endpoints: BTreeMap::new(),
        };
        runner.follow();
        runner
    }

    pub(super) fn run(mut self) {
        let mut arrivals = Vec::new();
        while !self.shared.closed.load(Ordering::SeqCst) {
            self.take_update();
            let timeout = if self.sequencer.is_waiting() { TICK } else { IDLE };
            self.inlet.receive(timeout, &mut arrivals);
            for change in self.inlet.changes() {
                self.say(Event::Endpoint(change));
            }
            self.take(&mut arrivals);
            self.sequencer.tick(self.clock.millis());
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
        self.opener.set_trust(Arc::clone(&self.config.trust));
        self.follow();
        *self.shared.updates.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.shared.updated.notify_all();
        self.say(Event::Config(change));
    }

    /// Connects to the endpoints that can send something that is wanted.
    fn follow(&mut self) {
        let config = &self.config;
        let relevant = |entry: &&EndpointEntry| {
            let wanted = &self.wanted.patterns;
            config.subscribe.includes(&entry.identity)
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
        self.endpoints = entries.into_iter().map(|entry| (entry.identity.clone(), entry)).collect();
    }

    fn take(&mut self, arrivals: &mut Vec<Arrival>) {
        if arrivals.is_empty() {
            return;
        }
        self.shared.received.fetch_add(arrivals.len() as u64, Ordering::Relaxed);
        let received = Clock::wall();
        let (mut wires, mut from) = (Vec::new(), Vec::new());
        for arrival in arrivals.drain(..) {
            match arrival.frames {
                Ok(wire) => {
                    wires.push(wire);
                    from.push(arrival.endpoint);
                }
                Err(count) => {
                    let detail = Some(format!("{count} frames"));
                    self.reject(Rejection::FrameCount, detail, arrival.endpoint, no_wire());
                }
            }
        }
        let opened = self.opener.open_run(&wires);
        let now = self.clock.millis();
        for (opened, endpoint) in opened.into_iter().zip(from) {
            match opened {
                Ok(verified) => self.verified(verified, endpoint, received, now),
                Err(refused) => self.refused(*refused, endpoint, now),
            }
        }
    }

    fn verified(&mut self, verified: Verified, endpoint: Identity, received: Timestamp, now: u64) {
        if !self.may_carry(&verified, &endpoint) {
            let wire = verified.wire().clone();
            self.reject(Rejection::NotCarried, None, endpoint, wire);
            return;
        }
        self.shared.verified.fetch_add(1, Ordering::Relaxed);
        let message = Message::new(verified, endpoint, received);
        if self.wanted.internal && !matches!(message.record(), Record::Message) {
            self.hand_out();
            self.say(Event::Internal(message.clone()));
        }
        self.sequencer.take(message, now);
    }

    /// An endpoint sends its own streams, and others only as far as `carries` says.
    fn may_carry(&self, verified: &Verified, endpoint: &Identity) -> bool {
        if verified.signer() == endpoint {
            return true;
        }
        let Some(entry) = self.endpoints.get(endpoint) else { return false };
        match verified.record() {
            Record::Message => {
                let topic = verified.topic().as_str();
                entry.carries.iter().any(|pattern| pattern.matches(topic))
            }
            // What a stream says of itself goes with its messages.
            Record::Genesis(_) | Record::Heartbeat(_) => !entry.carries.is_empty(),
        }
    }

    fn refused(&mut self, refused: Refused, endpoint: Identity, now: u64) {
        if let (Some(stream), Some(place)) = (&refused.stream, refused.place) {
            self.sequencer.use_up(stream, place, now);
            self.hand_out();
        }
        self.shared.rejections.count(refused.reason);
        self.say(Event::Rejected(Rejected {
            reason: refused.reason,
            detail: refused.detail,
            endpoint,
            position: refused.place.map(|place| (place.epoch, place.i)),
            stream: refused.place.and(refused.stream),
            key: refused.key,
            wire: refused.wire,
        }));
    }

    fn reject(&self, reason: Rejection, detail: Option<String>, endpoint: Identity, wire: Wire) {
        self.shared.rejections.count(reason);
        let (stream, position, key) = (None, None, None);
        self.say(Event::Rejected(Rejected {
            reason,
            detail,
            endpoint,
            stream,
            position,
            key,
            wire,
        }));
    }

    /// Hands out what the streams have to say, as far as it is wanted.
    fn hand_out(&mut self) {
        let counts = (self.sequencer.counts(), self.sequencer.stream_count());
        *self.shared.sequence.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        let wanted = &self.wanted;
        let is_wanted = |event: &Event| match event {
            Event::Message(message) | Event::Stale(message) => {
                wanted.topic(message.topic().as_str())
            }
            _ => true,
        };
        let events = self.sequencer.drain().filter(is_wanted);
        self.shared.queue.push_all(events.map(|event| {
            let bytes = bytes_of(&event);
            (event, bytes)
        }));
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
        Event::Message(m) | Event::Stale(m) | Event::Internal(m) => m.wire().len(),
        Event::Rejected(rejected) => rejected.wire.len(),
        _ => 0,
    };
    wire + 256
}

fn no_wire() -> Wire {
    Wire { topic: bytes::Bytes::new(), envelope: bytes::Bytes::new() }
}
