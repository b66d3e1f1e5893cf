//! One stream as a reader follows it: its base, its order, its holes and its contradictions.
//!
//! Pure: time comes as an argument (milliseconds of a clock that never goes back), what is to be said goes
//! into a [`Sink`].
//!
//! A stream has a *current* epoch once it has a base. Records of later epochs, and all records before there
//! is a base, are *pending*: held until a genesis record or a heartbeat says where they belong.

use std::collections::{BTreeMap, VecDeque};

use crate::envelope::Epoch;
use crate::event::{EpochChange, Event, Fork, ForkKind, Gap, Message};
use crate::identity::{Identity, StreamName};
use crate::limits::{
    FAR_JUMP, FRESH_MS_MAX, HEARTBEAT_IDLE_MS, HELD_BYTES_MAX, HELD_MESSAGES_MAX, HOLE_MS_MAX,
    RECENT_LEAVES,
};
use crate::merkle::Leaf;
use crate::open::Place;
use crate::record::{After, Genesis, Heartbeat};
use crate::timestamp::Timestamp;

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
struct Held(BTreeMap<u64, Item>);

impl Held {
    fn insert(&mut self, item: Item, sink: &mut Sink) {
        sink.held_messages += 1;
        sink.held_bytes += item.bytes();
        self.0.insert(item.place.i, item);
    }

    fn remove(&mut self, i: u64, sink: &mut Sink) -> Option<Item> {
        let item = self.0.remove(&i)?;
        sink.held_messages -= 1;
        sink.held_bytes -= item.bytes();
        Some(item)
    }

    fn pop_first(&mut self, sink: &mut Sink) -> Option<Item> {
        let first = *self.0.keys().next()?;
        self.remove(first, sink)
    }

    fn pop_last(&mut self, sink: &mut Sink) -> Option<Item> {
        let last = *self.0.keys().next_back()?;
        self.remove(last, sink)
    }

    fn first(&self) -> Option<&Item> {
        self.0.values().next()
    }
}

#[derive(Debug)]
pub(crate) struct Stream {
    name: StreamName,
    current: Option<Current>,
    pending: BTreeMap<Epoch, Pending>,
    pub(crate) last_seen: u64,
}

/// The epoch that is being followed.
#[derive(Debug)]
struct Current {
    epoch: Epoch,
    next: u64,
    /// The leaf of `next` - 1, where it is known.
    leaf: Option<Leaf>,
    /// The time of the newest message that was handed on.
    time: Timestamp,
    held: Held,
    /// What a heartbeat shows and we lack: last number, its leaf, since when.
    ahead: Option<(u64, Leaf, u64)>,
    recent: VecDeque<(u64, Leaf)>,
    forked: bool,
}

/// What is known of an epoch that is not followed yet.
#[derive(Debug)]
struct Pending {
    since: u64,
    genesis: Option<(Genesis, Leaf, bool)>,
    beat: Option<Heartbeat>,
    /// A heartbeat here may serve as a base: it is fresh, or two endpoints sent one.
    proven: bool,
    beat_from: Option<Identity>,
    stale: bool,
    held: Held,
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
            _ => {
                if let Some(pending) = self.pending(epoch, now, sink) {
                    if pending.stale {
                        withhold(item, sink);
                    } else {
                        pending.held.insert(item, sink);
                    }
                    self.settle(epoch, now, sink);
                }
            }
        }
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
                current.compare(&self.name, 0, place.leaf, sink);
            }
            Some(current) if place.epoch < current.epoch => sink.counts.late += 1,
            _ => {
                let fresh = is_fresh(message);
                if let Some(pending) = self.pending(place.epoch, now, sink) {
                    pending.genesis = Some((genesis.clone(), place.leaf, fresh));
                    self.settle(place.epoch, now, sink);
                }
            }
        }
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
            Some(current) if epoch < current.epoch => sink.counts.late += 1,
            _ => {
                if let Some(pending) = self.pending(epoch, now, sink) {
                    pending.heartbeat(message, beat);
                    self.settle(epoch, now, sink);
                }
            }
        }
    }

    /// Does what is due: declares holes, takes bases.
    pub(crate) fn tick(&mut self, now: u64, sink: &mut Sink) {
        if let Some(current) = &mut self.current {
            current.close_holes(&self.name, now, sink);
        }
        if let Some(epoch) = self.pending.keys().next().copied() {
            self.settle(epoch, now, sink);
        }
    }

    /// Gives up waiting, because there is no more room to hold anything.
    pub(crate) fn overflow(&mut self, now: u64, sink: &mut Sink) {
        self.tick(now.saturating_add(HOLE_MS_MAX), sink);
        if let Some(current) = &mut self.current {
            // What is left waits for the word of a heartbeat; it does not get all the room.
            while sink.is_full()
                && let Some(item) = current.held.pop_last(sink)
            {
                withhold(item, sink);
            }
        } else {
            for pending in self.pending.values_mut() {
                pending.turn_stale(sink);
            }
        }
    }

    /// Whether something will be due.
    pub(crate) fn is_waiting(&self) -> bool {
        let holes = self
            .current
            .as_ref()
            .is_some_and(|current| current.ahead.is_some() || !current.held.0.is_empty());
        holes || self.pending.values().any(|pending| !pending.stale)
    }

    /// Lets go of everything that is held, without a word: the stream is being forgotten.
    pub(crate) fn forget(mut self, sink: &mut Sink) {
        if let Some(current) = &mut self.current {
            while current.held.pop_first(sink).is_some() {}
        }
        for pending in self.pending.values_mut() {
            while pending.held.pop_first(sink).is_some() {}
        }
    }

    fn pending(&mut self, epoch: Epoch, now: u64, sink: &mut Sink) -> Option<&mut Pending> {
        if self.pending.len() >= PENDING_MAX && !self.pending.contains_key(&epoch) {
            let (_, mut oldest) = self.pending.pop_first()?;
            oldest.turn_stale(sink);
        }
        Some(self.pending.entry(epoch).or_insert_with(|| Pending::new(now)))
    }

    /// Follows a pending epoch as soon as enough is known.
    fn settle(&mut self, epoch: Epoch, now: u64, sink: &mut Sink) {
        let Some(pending) = self.pending.get_mut(&epoch) else { return };
        let base = match &mut self.current {
            None => pending.base_of_new(now, sink),
            Some(current) => pending.base_after(current, &self.name, now, sink),
        };
        let Some(base) = base else { return };
        let Some(mut pending) = self.pending.remove(&epoch) else { return };
        let from = self.current.as_ref().map(|current| current.epoch);
        if let Some(mut current) = self.current.take() {
            while let Some(item) = current.held.pop_first(sink) {
                withhold(item, sink);
            }
        }
        self.drop_older(epoch, sink);
        let (next, proven) = (base.next, base.proven);
        let stream = self.name.clone();
        sink.events.push(Event::Epoch(EpochChange { stream, from, to: epoch, next, proven }));
        let mut current = Current::new(epoch, base);
        while let Some(item) = pending.held.pop_first(sink) {
            if item.place.i >= next {
                current.item(&self.name, item, sink);
            } else {
                sink.counts.late += 1;
            }
        }
        if let Some(beat) = &pending.beat {
            current.look_ahead(beat, now);
        }
        self.current = Some(current);
    }

    fn drop_older(&mut self, epoch: Epoch, sink: &mut Sink) {
        let later = self.pending.split_off(&epoch);
        for (_, mut older) in std::mem::replace(&mut self.pending, later) {
            while older.held.pop_first(sink).is_some() {
                sink.counts.late += 1;
            }
        }
    }
}

/// Where an epoch is taken up.
struct Base {
    next: u64,
    leaf: Option<Leaf>,
    proven: bool,
}

impl Pending {
    fn new(now: u64) -> Pending {
        Pending {
            since: now,
            genesis: None,
            beat: None,
            proven: false,
            beat_from: None,
            stale: false,
            held: Held::default(),
        }
    }

    fn heartbeat(&mut self, message: &Message, beat: &Heartbeat) {
        let other_holder = self.beat_from.as_ref().is_some_and(|from| *from != message.endpoint);
        self.proven |= is_fresh(message) || other_holder;
        self.beat_from = Some(message.endpoint.clone());
        if self.beat.as_ref().is_none_or(|known| known.last <= beat.last) {
            self.beat = Some(beat.clone());
        }
    }

    /// The base of a stream that is new here: what a fresh heartbeat shows as the last message, and the
    /// messages that lead up to it without a hole; or a fresh genesis record.
    fn base_of_new(&mut self, now: u64, sink: &mut Sink) -> Option<Base> {
        match (&self.beat, &self.genesis) {
            (Some(beat), _) if self.proven => {
                let (mut next, mut leaf) = (beat.last + 1, beat.head);
                while let Some(before) = self.held.0.get(&(next - 1)) {
                    if before.place.leaf != leaf {
                        break;
                    }
                    (next, leaf) = (next - 1, before.place.prev);
                }
                Some(Base { next, leaf: Some(leaf), proven: false })
            }
            (None, Some((_, leaf, true))) => {
                Some(Base { next: 1, leaf: Some(*leaf), proven: false })
            }
            (beat, _) => {
                let waited = now.saturating_sub(self.since) >= 2 * HEARTBEAT_IDLE_MS;
                if beat.is_some() || waited {
                    self.turn_stale(sink);
                }
                None
            }
        }
    }

    /// The base in an epoch that follows the current one: its first message, once the current one is
    /// complete, or its missing end has been waited for.
    fn base_after(
        &mut self,
        current: &mut Current,
        name: &StreamName,
        now: u64,
        sink: &mut Sink,
    ) -> Option<Base> {
        let patience_over = now.saturating_sub(self.since) >= HOLE_MS_MAX;
        if let Some((genesis, leaf, _)) = &self.genesis {
            let leaf = Some(*leaf);
            let After::Epoch { epoch, last } = genesis.after else {
                return Some(Base { next: 1, leaf, proven: false });
            };
            if epoch != current.epoch {
                return Some(Base { next: 1, leaf, proven: false });
            }
            if current.next <= last && !patience_over && !current.forked {
                return None;
            }
            current.give_up_until(last, name, sink);
            return Some(Base { next: 1, leaf, proven: true });
        }
        let leaf = self.beat.as_ref().map(|beat| beat.genesis);
        let known = self.beat.is_some() || !self.held.0.is_empty();
        (patience_over && known).then_some(Base { next: 1, leaf, proven: false })
    }

    fn turn_stale(&mut self, sink: &mut Sink) {
        self.stale = true;
        while let Some(item) = self.held.pop_first(sink) {
            withhold(item, sink);
        }
    }
}

impl Current {
    fn new(epoch: Epoch, base: Base) -> Current {
        let mut current = Current {
            epoch,
            next: base.next,
            leaf: base.leaf,
            time: Timestamp::from_millis(i64::MIN),
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

    fn item(&mut self, name: &StreamName, item: Item, sink: &mut Sink) {
        let i = item.place.i;
        if self.forked {
            withhold(item, sink);
        } else if i < self.next {
            self.compare(name, i, item.place.leaf, sink);
        } else if i == self.next {
            self.hand_on(name, item, sink);
            self.hand_on_held(name, sink);
        } else if let Some(held) = self.held.0.get(&i) {
            match held.place.leaf == item.place.leaf {
                true => sink.counts.duplicates += 1,
                false => {
                    let leaves = (Some(held.place.leaf), item.place.leaf);
                    self.fork(name, i, ForkKind::SamePosition, leaves, sink);
                }
            }
        } else {
            self.held.insert(item, sink);
        }
    }

    /// A position that is behind us: the same record is a duplicate, another one a contradiction.
    fn compare(&mut self, name: &StreamName, i: u64, leaf: Leaf, sink: &mut Sink) {
        let known = self.recent.iter().rev().find(|(number, _)| *number == i);
        match known.map(|(_, known)| *known) {
            Some(known) if known != leaf => {
                self.fork(name, i, ForkKind::SamePosition, (Some(known), leaf), sink);
            }
            Some(_) => sink.counts.duplicates += 1,
            None => sink.counts.late += 1,
        }
    }

    fn hand_on(&mut self, name: &StreamName, item: Item, sink: &mut Sink) {
        if let Some(known) = self.leaf.filter(|leaf| *leaf != item.place.prev) {
            let leaves = (Some(known), item.place.prev);
            self.fork(name, item.place.i, ForkKind::Chain, leaves, sink);
            withhold(item, sink);
            return;
        }
        self.remember(item.place.i, item.place.leaf);
        self.next = item.place.i + 1;
        self.leaf = Some(item.place.leaf);
        if self.ahead.is_some_and(|(last, ..)| last < self.next) {
            self.ahead = None;
        }
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

    fn heartbeat(
        &mut self,
        name: &StreamName,
        message: &Message,
        beat: &Heartbeat,
        now: u64,
        sink: &mut Sink,
    ) {
        if self.forked {
            return;
        }
        if beat.last + 1 < self.next {
            // A late one shows less than we have, but is also older than what we have.
            if message.timestamp() > self.time {
                let leaves = (self.leaf, beat.head);
                self.fork(name, beat.last, ForkKind::Rewound, leaves, sink);
            }
        } else if beat.last + 1 == self.next {
            if let Some(known) = self.leaf.filter(|leaf| *leaf != beat.head) {
                let leaves = (Some(known), beat.head);
                self.fork(name, beat.last, ForkKind::SamePosition, leaves, sink);
            }
        } else {
            // A hole that the heartbeat finds open was open long enough.
            let hole_ends = self.held.first().map(|item| item.place.i);
            self.look_ahead(beat, now);
            if hole_ends.is_some_and(|i| i <= beat.last) {
                self.close_holes(name, now.saturating_add(HOLE_MS_MAX), sink);
            }
        }
    }

    fn look_ahead(&mut self, beat: &Heartbeat, now: u64) {
        if beat.last < self.next || self.forked {
            return;
        }
        let since = self.ahead.map_or(now, |(.., since)| since);
        if self.ahead.is_none_or(|(last, ..)| last < beat.last) {
            self.ahead = Some((beat.last, beat.head, since));
        }
    }

    /// Declares every hole that was open for long enough.
    fn close_holes(&mut self, name: &StreamName, now: u64, sink: &mut Sink) {
        let due = |since: u64| now.saturating_sub(since) >= HOLE_MS_MAX;
        while let Some(first) = self.held.first() {
            let (i, at) = (first.place.i, first.at);
            let confirmed = self.ahead.is_some_and(|(last, ..)| last >= i);
            if !due(at) || (i - self.next > FAR_JUMP && !confirmed) {
                return;
            }
            self.gap(name, i - 1, sink);
            self.hand_on_held(name, sink);
        }
        if let Some((last, leaf, since)) = self.ahead
            && due(since)
        {
            self.gap(name, last, sink);
            self.leaf = Some(leaf);
            self.remember(last, leaf);
        }
    }

    /// Hands on what there is up to `last`, and declares the rest missing: the epoch has ended there.
    fn give_up_until(&mut self, last: u64, name: &StreamName, sink: &mut Sink) {
        while !self.forked
            && let Some(i) = self.held.first().map(|item| item.place.i).filter(|i| *i <= last)
        {
            self.gap(name, i - 1, sink);
            self.hand_on_held(name, sink);
        }
        self.gap(name, last, sink);
    }

    fn gap(&mut self, name: &StreamName, to: u64, sink: &mut Sink) {
        if to < self.next || self.forked {
            return;
        }
        let gap = Gap::new(name.clone(), self.epoch, self.next, to);
        sink.counts.gaps += 1;
        sink.counts.missing += gap.count();
        sink.events.push(Event::Gap(gap));
        self.next = to + 1;
        self.leaf = None;
        if self.ahead.is_some_and(|(last, ..)| last <= to) {
            self.ahead = None;
        }
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
        self.forked = true;
        self.ahead = None;
        sink.counts.forks += 1;
        sink.events.push(Event::Fork(Fork::new(name, self.epoch, i, kind, leaves)));
        while let Some(item) = self.held.pop_first(sink) {
            withhold(item, sink);
        }
    }

    fn remember(&mut self, i: u64, leaf: Leaf) {
        if self.recent.len() >= RECENT_LEAVES {
            self.recent.pop_front();
        }
        self.recent.push_back((i, leaf));
    }
}

fn withhold(item: Item, sink: &mut Sink) {
    sink.counts.withheld += 1;
    sink.events.extend(item.message.map(Event::Stale));
}

fn is_fresh(message: &Message) -> bool {
    message.received.millis_since(message.timestamp()).unsigned_abs() <= FRESH_MS_MAX
}
