//! One stream as a reader follows it: its base, its order, its holes and its contradictions.
//!
//! Pure: time comes as an argument (milliseconds of a clock that never goes back), what is to be said goes
//! into a [`Sink`].
//!
//! A stream has a *current* epoch once it has a base. Records of later epochs, and all records before there
//! is a base, are *pending*: held until a genesis record or a heartbeat says where they belong.

mod current;
mod held;
mod pending;

use std::collections::BTreeMap;

use self::current::Current;
use self::pending::{Base, Pending};
use crate::envelope::Epoch;
use crate::event::{EpochChange, Event, Message};
use crate::identity::StreamName;
use crate::limits::{FRESH_MS_MAX, HELD_BYTES_MAX, HELD_MESSAGES_MAX, HOLE_MS_MAX};
use crate::open::Place;
use crate::record::{Genesis, Heartbeat};

/// What following streams amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SequenceCounts {
    /// Messages handed on in order.
    pub delivered: u64,
    /// Gaps that were declared.
    pub gaps: u64,
    /// Messages in those gaps.
    pub missing: u64,
    /// The same record again.
    pub duplicates: u64,
    /// Messages that came after their gap was declared, or of an ended epoch.
    pub late: u64,
    /// Contradictions.
    pub forks: u64,
    /// Messages of streams that nobody shows to be alive, from before the base, and of forked streams.
    pub withheld: u64,
}

/// Where a stream puts what it has to say; and the budget for what all streams hold together.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) events: Vec<Event>,
    pub(crate) counts: SequenceCounts,
    pub(crate) held_messages: usize,
    pub(crate) held_bytes: usize,
}

impl Sink {
    pub(crate) fn is_full(&self) -> bool {
        self.held_messages > HELD_MESSAGES_MAX || self.held_bytes > HELD_BYTES_MAX
    }
}

/// A record that has a position. Without a message, the position is used up and nothing is handed on.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) message: Option<Message>,
    pub(crate) place: Place,
    /// When it came.
    pub(crate) at: u64,
}

impl Item {
    fn bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.wire().len()) + 256
    }
}

#[derive(Debug)]
pub(crate) struct Stream {
    name: StreamName,
    current: Option<Current>,
    pending: BTreeMap<Epoch, Pending>,
    pub(crate) last_seen: u64,
}

/// Most epochs of one stream that wait for their turn.
const PENDING_MAX: usize = 4;

impl Stream {
    pub(crate) fn new(name: StreamName) -> Stream {
        Stream { name, current: None, pending: BTreeMap::new(), last_seen: 0 }
    }

    /// Takes a message, or a position that a refused one used up.
    pub(crate) fn item(&mut self, item: Item, sink: &mut Sink) {
        let (epoch, now) = (item.place.epoch, item.at);
        match &mut self.current {
            Some(current) if current.epoch == epoch => current.item(&self.name, item, sink),
            Some(current) if epoch < current.epoch => sink.counts.late += 1,
            _ => match self.pending(epoch, now, sink) {
                Some(pending) if pending.stale => withhold(item, sink),
                Some(pending) => pending.held.insert(item, sink),
                None => return,
            },
        }
        self.settle(now, sink);
    }

    /// Takes a genesis record.
    pub(crate) fn genesis(
        &mut self,
        message: &Message,
        genesis: &Genesis,
        now: u64,
        sink: &mut Sink,
    ) {
        let place = *message.place();
        match &mut self.current {
            Some(current) if current.epoch == place.epoch => {
                current.genesis(&self.name, place.leaf, sink);
            }
            // Of an epoch that has ended: nothing new.
            Some(current) if place.epoch < current.epoch => {}
            _ => {
                if let Some(pending) = self.pending(place.epoch, now, sink) {
                    pending.genesis(message, genesis);
                }
            }
        }
        self.settle(now, sink);
    }

    /// Takes a heartbeat.
    pub(crate) fn heartbeat(
        &mut self,
        message: &Message,
        beat: &Heartbeat,
        now: u64,
        sink: &mut Sink,
    ) {
        let epoch = message.epoch();
        match &mut self.current {
            Some(current) if current.epoch == epoch => {
                current.heartbeat(&self.name, message, beat, now, sink);
            }
            // Of an epoch that has ended: nothing new.
            Some(current) if epoch < current.epoch => {}
            _ => {
                if let Some(pending) = self.pending(epoch, now, sink) {
                    pending.heartbeat(message, beat);
                }
            }
        }
        self.settle(now, sink);
    }

    /// Does what is due: declares holes, takes bases.
    pub(crate) fn tick(&mut self, now: u64, sink: &mut Sink) {
        self.close_holes(now, sink);
        self.settle(now, sink);
        // An epoch that was just taken up may have waited with holes.
        self.close_holes(now, sink);
    }

    fn close_holes(&mut self, now: u64, sink: &mut Sink) {
        if let Some(current) = &mut self.current {
            current.close_holes(&self.name, now, sink);
        }
    }

    /// Gives up waiting, because there is no more room to hold anything. What not even a declared hole
    /// releases is shown as stale; a heartbeat will say that it is missing.
    pub(crate) fn overflow(&mut self, now: u64, sink: &mut Sink) {
        self.tick(now.saturating_add(HOLE_MS_MAX), sink);
        if let Some(current) = &mut self.current {
            current.held.withhold_all(sink);
        }
        for pending in self.pending.values_mut().filter(|pending| !pending.held.is_empty()) {
            pending.turn_stale(sink);
        }
    }

    /// How many records are held.
    pub(crate) fn held(&self) -> usize {
        let current = self.current.as_ref().map_or(0, |current| current.held.len());
        current + self.pending.values().map(|pending| pending.held.len()).sum::<usize>()
    }

    /// Whether something will be due.
    pub(crate) fn is_waiting(&self) -> bool {
        let holes = self.current.as_ref().is_some_and(Current::is_waiting);
        // Behind a current epoch even one without messages has its turn.
        let turn = |pending: &Pending| !pending.stale || self.current.is_some();
        holes || self.pending.values().any(turn)
    }

    /// Shows everything that is held as stale: the stream is being forgotten.
    pub(crate) fn forget(mut self, sink: &mut Sink) {
        if let Some(current) = &mut self.current {
            current.held.withhold_all(sink);
        }
        for pending in self.pending.values_mut() {
            pending.held.withhold_all(sink);
        }
    }

    fn pending(&mut self, epoch: Epoch, now: u64, sink: &mut Sink) -> Option<&mut Pending> {
        if self.pending.len() >= PENDING_MAX && !self.pending.contains_key(&epoch) {
            let (_, mut oldest) = self.pending.pop_first()?;
            oldest.turn_stale(sink);
        }
        Some(self.pending.entry(epoch).or_insert_with(|| Pending::new(now)))
    }

    /// Follows pending epochs, one after the other, as soon as enough is known of each.
    fn settle(&mut self, now: u64, sink: &mut Sink) {
        while !self.pending.is_empty()
            && let Some((epoch, base)) = self.next_base(now, sink)
        {
            self.follow(epoch, base, now, sink);
        }
    }

    fn next_base(&mut self, now: u64, sink: &mut Sink) -> Option<(Epoch, Base)> {
        match &mut self.current {
            // In their order: a short epoch between two others is not passed over.
            Some(current) => {
                let (epoch, pending) = self.pending.iter_mut().next()?;
                Some((*epoch, pending.base_after(current, &self.name, now, sink)?))
            }
            None => self
                .pending
                .iter_mut()
                .find_map(|(epoch, pending)| Some((*epoch, pending.base_of_new(now, sink)?))),
        }
    }

    fn follow(&mut self, epoch: Epoch, base: Base, now: u64, sink: &mut Sink) {
        let Some(mut pending) = self.pending.remove(&epoch) else { return };
        let from = self.current.as_ref().map(|current| current.epoch);
        if let Some(mut current) = self.current.take() {
            current.held.withhold_all(sink);
        }
        self.drop_older(epoch, sink);
        let (stream, next, proven) = (self.name.clone(), base.next, base.proven);
        sink.events.push(Event::Epoch(EpochChange { stream, from, to: epoch, next, proven }));
        let mut current = Current::new(epoch, base);
        while let Some(item) = pending.held.pop_first(sink) {
            current.waited(&self.name, item, sink);
        }
        if let Some(beat) = &pending.beat {
            current.look_ahead(beat, now);
        }
        self.current = Some(current);
    }

    fn drop_older(&mut self, epoch: Epoch, sink: &mut Sink) {
        let later = self.pending.split_off(&epoch);
        for (_, mut older) in std::mem::replace(&mut self.pending, later) {
            older.held.withhold_all(sink);
        }
    }
}

fn withhold(item: Item, sink: &mut Sink) {
    sink.counts.withheld += 1;
    sink.events.extend(item.message.map(Event::Stale));
}

fn is_fresh(message: &Message) -> bool {
    message.received.millis_since(message.timestamp()).unsigned_abs() <= FRESH_MS_MAX
}
