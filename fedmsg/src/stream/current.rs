//! The epoch that is followed: order, holes, contradictions.

use std::collections::VecDeque;

use super::held::Held;
use super::pending::Base;
use super::{Item, Sink, withhold};
use crate::envelope::Epoch;
use crate::event::{Event, Fork, ForkKind, Gap, Message};
use crate::identity::StreamName;
use crate::limits::{FAR_JUMP, HOLE_MS_MAX, RECENT_LEAVES};
use crate::merkle::Leaf;
use crate::record::Heartbeat;
use crate::timestamp::Timestamp;

#[derive(Debug)]
pub(super) struct Current {
    pub(super) epoch: Epoch,
    next: u64,
    /// The leaf of `next` - 1, where it is known.
    leaf: Option<Leaf>,
    genesis: Option<Leaf>,
    /// The time of the newest record that said how far the stream is.
    time: Timestamp,
    pub(super) held: Held,
    ahead: Option<Ahead>,
    recent: VecDeque<(u64, Leaf)>,
    forked: bool,
}

/// What a heartbeat shows and we lack.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    last: u64,
    leaf: Leaf,
    since: u64,
}

impl Current {
    pub(super) fn new(epoch: Epoch, base: Base) -> Current {
        let mut current = Current {
            epoch,
            next: base.next,
            leaf: base.leaf,
            genesis: base.genesis,
            time: base.time,
            held: Held::default(),
            ahead: None,
            recent: VecDeque::new(),
            forked: false,
        };
        if let Some(leaf) = base.leaf {
            current.remember(base.next - 1, leaf);
        }
        current
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.ahead.is_some() || !self.held.is_empty()
    }

    /// Whether the epoch may still come to this number by itself.
    pub(super) fn lacks(&self, last: u64) -> bool {
        self.next <= last && !self.forked
    }

    /// Takes a record that waited while the base was looked for.
    pub(super) fn waited(&mut self, name: &StreamName, item: Item, sink: &mut Sink) {
        let i = item.place.i;
        if i < self.next {
            self.contradict(name, i, item.place.leaf, sink);
            withhold(item, sink);
        } else {
            self.item(name, item, sink);
        }
    }

    pub(super) fn item(&mut self, name: &StreamName, item: Item, sink: &mut Sink) {
        let (i, leaf) = (item.place.i, item.place.leaf);
        if self.forked {
            withhold(item, sink);
        } else if i == self.next {
            self.hand_on(name, item, sink);
            self.hand_on_held(name, sink);
        } else if self.contradict(name, i, leaf, sink) {
            // Said by the fork; one of the past was handed on in another form.
        } else if i > self.next && self.held.get(i).is_none() {
            self.held.insert(item, sink);
        } else if self.leaf_of(i).is_some() {
            sink.counts.duplicates += 1;
        } else {
            sink.counts.late += 1;
        }
    }

    /// The genesis record again.
    pub(super) fn genesis(&mut self, name: &StreamName, leaf: Leaf, sink: &mut Sink) {
        let known = *self.genesis.get_or_insert(leaf);
        if known != leaf {
            self.fork(name, 0, ForkKind::SamePosition, (Some(known), leaf), sink);
        }
    }

    fn leaf_of(&self, i: u64) -> Option<Leaf> {
        let known = self.recent.iter().rev().find(|(number, _)| *number == i);
        known.map(|(_, leaf)| *leaf).or_else(|| self.held.leaf(i))
    }

    /// Whether another record is known at this position: then the stream has forked.
    fn contradict(&mut self, name: &StreamName, i: u64, leaf: Leaf, sink: &mut Sink) -> bool {
        let Some(known) = self.leaf_of(i).filter(|known| *known != leaf) else { return false };
        self.fork(name, i, ForkKind::SamePosition, (Some(known), leaf), sink);
        true
    }

    fn hand_on(&mut self, name: &StreamName, item: Item, sink: &mut Sink) {
        let place = item.place;
        if let Some(known) = self.leaf.filter(|leaf| *leaf != place.prev) {
            self.fork(name, place.i, ForkKind::Chain, (Some(known), place.prev), sink);
        }
        if let Some(ahead) = self.ahead.filter(|a| a.last == place.i && a.leaf != place.leaf) {
            let leaves = (Some(ahead.leaf), place.leaf);
            self.fork(name, place.i, ForkKind::SamePosition, leaves, sink);
        }
        if self.forked {
            withhold(item, sink);
            return;
        }
        self.move_to(place.i, Some(place.leaf));
        if let Some(message) = item.message {
            self.time = self.time.max(message.timestamp());
            sink.counts.delivered += 1;
            sink.events.push(Event::Message(message));
        }
    }

    fn hand_on_held(&mut self, name: &StreamName, sink: &mut Sink) {
        while !self.forked
            && let Some(item) = self.held.remove(self.next, sink)
        {
            self.hand_on(name, item, sink);
        }
    }

    /// The position is behind this number.
    fn move_to(&mut self, i: u64, leaf: Option<Leaf>) {
        (self.next, self.leaf) = (i + 1, leaf);
        if let Some(leaf) = leaf {
            self.remember(i, leaf);
        }
        self.ahead = self.ahead.filter(|ahead| ahead.last > i);
    }

    pub(super) fn heartbeat(
        &mut self,
        name: &StreamName,
        message: &Message,
        beat: &Heartbeat,
        now: u64,
        sink: &mut Sink,
    ) {
        self.genesis.get_or_insert(beat.genesis);
        if self.forked || self.contradict(name, beat.last, beat.head, sink) {
            return;
        }
        if beat.last + 1 < self.next {
            // A late one shows less than we have, but is also older than what we have.
            if message.timestamp() > self.time {
                let leaves = (self.leaf, beat.head);
                self.fork(name, beat.last, ForkKind::Rewound, leaves, sink);
            }
            return;
        }
        self.time = self.time.max(message.timestamp());
        // A hole that the heartbeat finds open was open long enough.
        self.close_until(beat.last, name, sink);
        self.look_ahead(beat, now);
    }

    pub(super) fn look_ahead(&mut self, beat: &Heartbeat, now: u64) {
        if beat.last < self.next || self.forked {
            return;
        }
        let since = self.ahead.map_or(now, |ahead| ahead.since);
        if self.ahead.is_none_or(|ahead| ahead.last < beat.last) {
            self.ahead = Some(Ahead { last: beat.last, leaf: beat.head, since });
        }
    }

    /// Declares every hole that was open for long enough: one is as old as the first record that came
    /// behind it.
    pub(super) fn close_holes(&mut self, name: &StreamName, now: u64, sink: &mut Sink) {
        let Some(due) = now.checked_sub(HOLE_MS_MAX) else { return };
        loop {
            let near = self.next.saturating_add(FAR_JUMP);
            let most = self.ahead.map_or(near, |ahead| ahead.last.max(near));
            let Some(i) = self.held.last_since(due, most) else { break };
            self.close_until(i, name, sink);
        }
        if let Some(Ahead { last, leaf, .. }) = self.ahead.filter(|ahead| ahead.since <= due) {
            self.close_until(last, name, sink);
            if self.lacks(last) {
                self.gap(name, last, Some(leaf), sink);
                self.hand_on_held(name, sink);
            }
        }
    }

    /// Hands on what is held up to this number, and declares what is missing before it.
    fn close_until(&mut self, last: u64, name: &StreamName, sink: &mut Sink) {
        while let Some(i) = self.held.first().filter(|i| *i <= last) {
            self.gap(name, i - 1, None, sink);
            self.hand_on_held(name, sink);
        }
    }

    /// The epoch has ended at `last`, whose leaf is this, as the next one says: hands on what there is, and
    /// declares the rest missing. Says whether that is all there was, so that nothing is missing unsaid.
    pub(super) fn end(
        &mut self,
        last: u64,
        leaf: Leaf,
        name: &StreamName,
        sink: &mut Sink,
    ) -> bool {
        let ahead = self.ahead.map_or(0, |ahead| ahead.last);
        let seen = self.held.last().unwrap_or(0).max(ahead).max(self.next - 1);
        if seen > last {
            self.fork(name, last, ForkKind::Rewound, (self.leaf_of(last), leaf), sink);
        }
        self.close_until(last, name, sink);
        if self.lacks(last) {
            self.gap(name, last, None, sink);
        }
        if let Some(known) = self.leaf.filter(|known| *known != leaf) {
            self.fork(name, last, ForkKind::SamePosition, (Some(known), leaf), sink);
        }
        !self.forked
    }

    fn gap(&mut self, name: &StreamName, to: u64, leaf: Option<Leaf>, sink: &mut Sink) {
        if to < self.next {
            return;
        }
        let gap = Gap::new(name.clone(), self.epoch, self.next, to);
        sink.counts.gaps += 1;
        sink.counts.missing += gap.count();
        sink.events.push(Event::Gap(gap));
        self.move_to(to, leaf);
    }

    fn fork(
        &mut self,
        name: &StreamName,
        i: u64,
        kind: ForkKind,
        leaves: (Option<Leaf>, Leaf),
        sink: &mut Sink,
    ) {
        if self.forked {
            return;
        }
        (self.forked, self.ahead) = (true, None);
        sink.counts.forks += 1;
        sink.events.push(Event::Fork(Fork::new(name, self.epoch, i, kind, leaves)));
        self.held.withhold_all(sink);
    }

    fn remember(&mut self, i: u64, leaf: Leaf) {
        if self.recent.len() >= RECENT_LEAVES {
            self.recent.pop_front();
        }
        self.recent.push_back((i, leaf));
    }
}
