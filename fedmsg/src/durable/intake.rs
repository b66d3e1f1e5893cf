//! The thread between the reader and whoever takes deliveries.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::DurableEvent;
use super::shared::Shared;
use crate::consumer::{Curable, Position, Refused};
use crate::envelope::{Epoch, Kind, Wire};
use crate::event::{ConfigChange, Event, Message, Rejected};
use crate::identity::StreamName;
use crate::limits::NUMBER_MAX;
use crate::open::Record;
use crate::progress::{Progress, Ticket};
use crate::queue::PushError;
use crate::signing::Cut;
use crate::subscriber::Subscriber;
use crate::topic::Pattern;

/// How long the reader is waited for before it is looked whether the end has come.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Intake {
    pub(super) shared: Arc<Shared>,
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) patterns: Vec<Pattern>,
}

impl Intake {
    /// Takes events while there is room for what may come of them.
    pub(super) fn run(&self) {
        while self.shared.wait_for_room() {
            if let Some(event) = self.subscriber.recv(Some(LOOK)) {
                self.take(event);
            }
        }
    }

    fn wants(&self, topic: &[u8]) -> bool {
        let topic = std::str::from_utf8(topic).unwrap_or_default();
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(topic))
    }

    fn take(&self, event: Event) {
        match event {
            Event::Message(message) => {
                let bytes = self.bytes(&message);
                let step = |progress: &mut Progress| {
                    progress.message(message.stream(), message.place(), bytes)
                };
                if let Some(ticket) = self.shared.with(step).flatten() {
                    self.hand_out(message, false, ticket);
                }
            }
            Event::Late(message) => {
                let (position, bytes) = (position_of(&message), self.bytes(&message));
                let ticket = self.shared.with(|progress| progress.late(&position, bytes)).flatten();
                self.shared.work.notify_all();
                if let Some(ticket) = ticket {
                    self.hand_out(message, true, ticket);
                }
            }
            Event::Internal(message) => {
                if let Record::Heartbeat(beat) = message.record() {
                    let (stream, epoch) = (message.stream(), message.epoch());
                    self.shared.with(|progress| progress.head(stream, epoch, beat.last));
                }
            }
            Event::Stale(message) if !self.wants(&message.wire().topic) => {}
            event => {
                self.learn(&event);
                self.say(event);
            }
        }
    }

    /// Takes what else moves a consumer.
    fn learn(&self, event: &Event) {
        match event {
            Event::Lost(lost) => {
                self.shared.with(|progress| progress.lost(&lost.stream, lost.epoch, lost.to));
            }
            Event::Epoch(change) => {
                self.shared.with(|progress| progress.epoch(change));
            }
            Event::Unfetched(one) => {
                let (stream, epoch, i) = (one.stream.clone(), one.epoch, one.i);
                self.shared.with(|progress| progress.unfetched(&Position { stream, epoch, i }));
                self.shared.work.notify_all();
            }
            Event::Rejected(rejected) => {
                self.refused(rejected);
                self.shared.work.notify_all();
            }
            Event::Config(ConfigChange::Reloaded(_)) => {
                self.shared.lock().trust_changed = true;
                self.shared.work.notify_all();
            }
            _ => {}
        }
    }

    fn refused(&self, rejected: &Rejected) {
        // Heartbeats and genesis records have no position of their own.
        if Kind::of_topic(&rejected.wire.topic) != Kind::Message {
            return;
        }
        let wanted = self.wants(&rejected.wire.topic);
        let reason = Curable::of(rejected.reason).filter(|_| wanted);
        let place = rejected.stream.clone().zip(rejected.position);
        match (place, rejected.key) {
            (Some((stream, (epoch, i))), key) => {
                let position = Position { stream, epoch, i };
                let refused = reason.zip(key).map(|(reason, key)| Refused {
                    position: position.clone(),
                    leaf: None,
                    reason,
                    key,
                });
                self.shared.with(|progress| progress.refused(&position, refused));
            }
            (None, Some(key)) if reason == Some(Curable::UnknownKey) => {
                let Some(position) = claimed(&rejected.wire) else { return };
                let refused = Refused { position, leaf: None, reason: Curable::UnknownKey, key };
                self.shared.with(|progress| progress.unknown(refused));
            }
            _ => {}
        }
    }

    /// What a message counts for; nothing when it is not wanted.
    fn bytes(&self, message: &Message) -> Option<usize> {
        self.wants(&message.wire().topic).then(|| message.wire().len())
    }

    fn hand_out(&self, message: Message, late: bool, ticket: Ticket) {
        let bytes = message.wire().len();
        let delivery = self.shared.delivery(message, 1, late, ticket);
        let pushed = self.shared.out.push(DurableEvent::Delivery(delivery), bytes, None);
        if let Err(PushError::Closed(event) | PushError::Full(event)) = pushed {
            self.shared.take_back(event);
        }
    }

    fn say(&self, event: Event) {
        log(&self.shared, &event);
        let bytes = if let Event::Rejected(rejected) = &event { rejected.wire.len() } else { 0 };
        // At the end nobody misses it.
        let _ = self.shared.out.push(DurableEvent::Bus(event), bytes, None);
    }
}

/// For whoever takes deliveries alone.
fn log(shared: &Shared, event: &Event) {
    let consumer = &shared.name;
    match event {
        Event::Lost(lost) => tracing::error!(%consumer, "{lost}"),
        Event::Fork(fork) => tracing::error!(%consumer, "{fork}"),
        Event::Stalled(stalled) => tracing::warn!(%consumer, "{stalled}"),
        Event::Unfetched(one) => tracing::error!(%consumer, "{one}"),
        Event::Config(change @ ConfigChange::Broken(_)) => tracing::error!(%consumer, "{change}"),
        Event::Rejected(rejected) => tracing::debug!(%consumer, "{rejected}"),
        _ => {}
    }
}

pub(super) fn position_of(message: &Message) -> Position {
    Position { stream: message.stream().clone(), epoch: message.epoch(), i: message.i() }
}

/// Where a message that nobody can verify claims to stand.
fn claimed(wire: &Wire) -> Option<Position> {
    #[derive(Deserialize)]
    struct Claim {
        epoch: String,
        i: u64,
    }
    let stream = StreamName::parse(Cut::new(&wire.envelope).ok()?.stream).ok()?;
    let Claim { epoch, i } = serde_json::from_slice(&wire.envelope).ok()?;
    let epoch = Epoch::parse(&epoch)?;
    (1..=NUMBER_MAX).contains(&i).then_some(Position { stream, epoch, i })
}
