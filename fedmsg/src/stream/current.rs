//! The epoch that is followed: order, holes, contradictions.

mod wants;

use std::collections::VecDeque;

use super::held::Held;
use super::newest::Newest;
use super::pending::Base;
use super::proof::Proof;
use super::{Item, Sink, withhold};
use crate::envelope::{Epoch, Wire};
use crate::event::{Event, Fork, ForkKind, Lost, LostReason, Message};
use crate::identity::StreamName;
use crate::limits::{FAR_JUMP, HOLE_MS_MAX, RECENT_LEAVES};
use crate::merkle::Leaf;
use crate::planted::bug;
use crate::record::{Heartbeat, State};

#[derive(Debug)]
pub(super) struct Current {
    pub(super) epoch: Epoch,
    next: u64,
    /// The leaf of `next` - 1, where it is known.
    leaf: Option<Leaf>,
    genesis: Option<Leaf>,
    newest: Newest,
    pub(super) held: Held,
    ahead: Option<Ahead>,
    recent: VecDeque<(u64, Leaf)>,
    pub(super) forked: bool,
    proof: Proof,
    /// Somebody may have what is missing.
    pub(super) repairable: bool,
    /// Others than its publisher may have it.
    pub(super) copied: bool,
    /// The first number that the publisher keeps, as it says.
    first: u64,
    /// What is being fetched: up to this number, asked for the last time then.
    wanted: Option<(u64, u64)>,
    /// How far it is known that no holder has more.
    rest: Rest,
}

/// Whether more of an epoch is to be had than something signed has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Unknown,
    Asked(u64),
    /// Nobody had more than up to here when it was asked.
    Over {
        upto: u64,
        asked: u64,
    },
}

/// What a heartbeat shows and we lack.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    last: u64,
    leaf: Leaf,
    since: u64,
}

impl Current {
    pub(super) fn new(
        epoch: Epoch,
        base: Base,
        (repairable, copied): (bool, bool),
        now: u64,
    ) -> Current {
        let mut current = Current {
            epoch,
            next: base.next,
            leaf: base.leaf,
            genesis: base.genesis,
            newest: Newest::new(base.time, now),
            held: Held::default(),
            ahead: None,
            recent: VecDeque::new(),
            forked: false,
            proof: Proof::default(),
            repairable,
            copied,
            first: 0,
            wanted: None,
            rest: Rest::Unknown,
        };
        if let Some(leaf) = base.leaf {
            current.remember(base.next - 1, leaf);
        }
        current
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.ahead.is_some() || !self.held.is_empty()
    }

    /// The number that comes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether the epoch may still come to this number by itself.
    pub(super) fn lacks(&self, last: u64) -> bool {
        self.next <= last && !self.forked
    }

    /// Takes a record that waited while the base was looked for.
    pub(super) fn waited(&mut self, name: &StreamName, item: Item, resumed: bool, sink: &mut Sink) {
        let i = item.place.i;
        if i < self.next && resumed {
            sink.counts.late += 1;
        } else if i < self.next {
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
        let leaf = self.leaf.filter(|_| !bug("chain-not-checked"));
        if let Some(known) = leaf.filter(|leaf| *leaf != place.prev) {
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
        self.newest.came(item.at);
        if let Some(message) = item.message {
            self.newest.is(&message);
            self.prove_by(message.wire());
            sink.counts.delivered += 1;
            sink.counts.repaired += u64::from(message.replayed);
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
        self.wanted = self.wanted.filter(|(to, _)| *to > i);
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
            return self.show(name, now, sink);
        }
        if beat.last + 1 < self.next {
            // A late one shows less than we have, but is also older than what we have. The last words of an
            // earlier life stay beside the journal, and may be shown by whoever answers for it. A publisher
            // whose disk has failed does not know what of its last append is there, and others may.
            let is_behind = self.newest.is_before(message, now) && beat.state == State::Open;
            if is_behind {
                self.looks_set_back(name, message, beat, now, sink);
            }
            return;
        }
        self.prove_by(message.wire());
        self.newest.is(message);
        self.first = self.first.max(beat.first);
        // A hole that the heartbeat finds open was open long enough.
        self.close_until(beat.last, name, now, sink);
        self.look_ahead(beat, now);
    }

    /// Takes a heartbeat of an epoch before this one: a late one, or a publisher that was set back behind the
    /// beginning of this epoch.
    pub(super) fn older_epoch(
        &mut self,
        name: &StreamName,
        message: &Message,
        beat: &Heartbeat,
        now: u64,
        sink: &mut Sink,
    ) {
        if self.newest.is_before(message, now) && beat.state != State::Closed {
            self.looks_set_back(name, message, beat, now, sink);
        }
    }

    /// The publisher says less than it has said before. It is shown what it has said at once, which does no harm if it
    /// knows that; the stream is held back only when this is sure.
    fn looks_set_back(
        &mut self,
        name: &StreamName,
        message: &Message,
        beat: &Heartbeat,
        now: u64,
        sink: &mut Sink,
    ) {
        if self.newest.is_sure(message) {
            let leaves = (self.leaf, beat.head);
            self.fork(name, beat.last, ForkKind::Rewound, leaves, sink);
        }
        self.show(name, now, sink);
    }

    fn prove_by(&mut self, wire: &Wire) {
        if self.repairable {
            self.proof.by(wire);
        }
    }

    /// Has its publisher shown what it does not know of, so that it begins a new epoch.
    fn show(&mut self, name: &StreamName, now: u64, sink: &mut Sink) {
        let proof = self.proof.due(now).filter(|_| self.repairable);
        sink.shows.extend(proof.map(|proof| (name.clone(), proof)));
    }

    pub(super) fn look_ahead(&mut self, beat: &Heartbeat, now: u64) {
        if beat.last < self.next || self.forked || bug("heartbeat-without-the-tail") {
            return;
        }
        let since = self.ahead.map_or(now, |ahead| ahead.since);
        if self.ahead.is_none_or(|ahead| ahead.last < beat.last) {
            self.ahead = Some(Ahead { last: beat.last, leaf: beat.head, since });
        }
    }

    /// Closes every hole that was open for long enough: one is as old as the first record that came behind
    /// it.
    pub(super) fn close_holes(&mut self, name: &StreamName, now: u64, sink: &mut Sink) {
        let Some(due) = now.checked_sub(HOLE_MS_MAX) else { return };
        loop {
            let near = self.next.saturating_add(FAR_JUMP);
            let most = self.ahead.map_or(near, |ahead| ahead.last.max(near));
            let Some(i) = self.held.last_since(due, most) else { break };
            if !self.close_until(i, name, now, sink) {
                return;
            }
        }
        if let Some(Ahead { last, leaf, .. }) = self.ahead.filter(|ahead| ahead.since <= due) {
            let closed = self.close_until(last, name, now, sink);
            if closed && self.lacks(last) && self.close(name, (last, Some(leaf)), now, sink) {
                self.hand_on_held(name, sink);
            }
        }
    }

    /// Hands on what is held up to this number, and closes the holes before it; `false` when one has to be
    /// fetched.
    fn close_until(&mut self, last: u64, name: &StreamName, now: u64, sink: &mut Sink) -> bool {
        while let Some(i) = self.held.first().filter(|i| *i <= last) {
            if !self.close(name, (i - 1, None), now, sink) {
                return false;
            }
            self.hand_on_held(name, sink);
        }
        true
    }

    /// Closes the hole up to this number: has it fetched, or declares it lost where nobody can have it.
    fn close(
        &mut self,
        name: &StreamName,
        (to, leaf): (u64, Option<Leaf>),
        now: u64,
        sink: &mut Sink,
    ) -> bool {
        if to < self.next {
            return true;
        }
        if self.first > self.next && (!self.copied || bug("not-kept-although-copied")) {
            // What the publisher itself says it does not keep is asked of nobody, unless others have copies.
            let last = to.min(self.first - 1);
            sink.counts.gaps += u64::from(self.wanted.is_none());
            self.lose(name, last, leaf.filter(|_| last == to), LostReason::NotKept, sink);
        }
        if to < self.next {
            return true;
        }
        if self.repairable && !self.forked && !bug("lost-without-asking") {
            self.want(name, to, now, sink);
            return false;
        }
        sink.counts.gaps += 1;
        self.lose(name, to, leaf, LostReason::NoHolder, sink);
        true
    }

    /// No holder had more than up to this number when it was asked.
    pub(super) fn rest_over(&mut self, upto: u64, asked: u64) {
        self.rest = Rest::Over { upto, asked };
    }

    /// No holder has these numbers, as far as they are still missing.
    pub(super) fn absent(&mut self, name: &StreamName, (from, to): (u64, u64), sink: &mut Sink) {
        if from > self.next || to < self.next || self.forked {
            return;
        }
        self.lose_until(to, name, LostReason::Absent, sink);
    }

    /// Declares lost what is missing up to this number, and hands on what is held in between and behind.
    fn lose_until(&mut self, to: u64, name: &StreamName, reason: LostReason, sink: &mut Sink) {
        while self.next <= to && !self.forked {
            let hole = self.held.first().map_or(to, |first| (first - 1).min(to));
            if self.wanted.is_none() {
                sink.counts.gaps += 1;
            }
            let leaf = self.ahead.filter(|ahead| ahead.last == hole).map(|ahead| ahead.leaf);
            self.lose(name, hole, leaf, reason, sink);
            self.hand_on_held(name, sink);
        }
    }

    /// Gives up what is held: what was behind the hole is fetched together with it.
    pub(super) fn release(&mut self, now: u64, sink: &mut Sink) {
        let last = self.held.last().and_then(|last| Some((last, self.held.leaf(last)?)));
        let Some((last, leaf)) = last else { return };
        sink.counts.released += self.held.len() as u64;
        self.held.clear(sink);
        let since = now.saturating_sub(HOLE_MS_MAX);
        let since = self.ahead.map_or(since, |ahead| ahead.since.min(since));
        if self.ahead.is_none_or(|ahead| ahead.last < last) {
            self.ahead = Some(Ahead { last, leaf, since });
        }
    }

    /// The epoch has ended at `last`, whose leaf is this, as the next one says: hands on what there is, and
    /// declares the rest lost. Says whether that is all there was, so that nothing is missing unsaid.
    pub(super) fn end(
        &mut self,
        (last, leaf): (u64, Leaf),
        reason: LostReason,
        name: &StreamName,
        sink: &mut Sink,
    ) -> bool {
        let ahead = self.ahead.map_or(0, |ahead| ahead.last);
        let seen = self.held.last().unwrap_or(0).max(ahead).max(self.next - 1);
        if seen > last {
            self.fork(name, last, ForkKind::Rewound, (self.leaf_of(last), leaf), sink);
        }
        self.lose_until(last, name, reason, sink);
        if let Some(known) = self.leaf.filter(|known| *known != leaf) {
            self.fork(name, last, ForkKind::SamePosition, (Some(known), leaf), sink);
        }
        !self.forked
    }

    fn lose(
        &mut self,
        name: &StreamName,
        to: u64,
        leaf: Option<Leaf>,
        reason: LostReason,
        sink: &mut Sink,
    ) {
        let lost = Lost::new(name.clone(), self.epoch, (self.next, to), reason);
        sink.counts.lost += lost.count();
        sink.events.push(Event::Lost(lost));
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
