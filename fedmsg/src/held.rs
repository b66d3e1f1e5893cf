//! What readers of streams hold back until its place is known, within one budget, and where they put what
//! they have to say.

use std::collections::BTreeMap;

use crate::event::{Event, Message};
use crate::limits::{HELD_BYTES_MAX, HELD_MESSAGES_MAX};
use crate::open::Place;

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
    /// Messages that came after their gap was declared, or from before the base or an ended epoch.
    pub late: u64,
    /// Contradictions.
    pub forks: u64,
    /// Messages of streams that nobody shows to be alive, and of forked ones.
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

/// Records behind a hole, by number.
#[derive(Debug, Default)]
pub(crate) struct Held(pub(crate) BTreeMap<u64, Item>);

impl Held {
    pub(crate) fn insert(&mut self, item: Item, sink: &mut Sink) {
        sink.held_messages += 1;
        sink.held_bytes += item.bytes();
        self.0.insert(item.place.i, item);
    }

    pub(crate) fn remove(&mut self, i: u64, sink: &mut Sink) -> Option<Item> {
        let item = self.0.remove(&i)?;
        sink.held_messages -= 1;
        sink.held_bytes -= item.bytes();
        Some(item)
    }

    pub(crate) fn pop_first(&mut self, sink: &mut Sink) -> Option<Item> {
        let first = *self.0.keys().next()?;
        self.remove(first, sink)
    }

    pub(crate) fn pop_last(&mut self, sink: &mut Sink) -> Option<Item> {
        let last = *self.0.keys().next_back()?;
        self.remove(last, sink)
    }

    pub(crate) fn first(&self) -> Option<&Item> {
        self.0.values().next()
    }
}

/// Hands an item on as stale: not in its place, and not as a message.
pub(crate) fn withhold(item: Item, sink: &mut Sink) {
    sink.counts.withheld += 1;
    sink.events.extend(item.message.map(Event::Stale));
}
