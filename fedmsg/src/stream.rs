//! One stream as a reader follows it: its base, its order, its holes and its contradictions.
//!
//! Pure: time comes as an argument (milliseconds of a clock that never goes back), what is to be said goes
//! into a [`Sink`].
//!
//! A stream has a *current* epoch once it has a base. Records of later epochs, and all records before there
//! is a base, are *pending*: held until a genesis record or a heartbeat says where they belong.

mod begin;
mod current;
mod held;
mod newest;
mod pending;
mod proof;
mod unopened;

use std::collections::BTreeMap;

pub use self::begin::Begin;
use self::begin::last_of;
use self::current::Current;
use self::pending::{Base, Pending};
use crate::envelope::{Epoch, Wire};
use crate::event::{EpochChange, Event, Lost, LostReason, Message};
use crate::frames::Range;
use crate::identity::StreamName;
use crate::limits::{
    FRESH_MS_MAX, HELD_BYTES_MAX, HELD_MESSAGES_MAX, HOLE_MS_MAX, LOOK_AGAIN_MS, SILENT_MS,
};
use crate::need::{Need, What};
use crate::open::Place;
use crate::planted::bug;
use crate::record::{After, Genesis, Heartbeat};

/// What following streams amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SequenceCounts {
    /// Messages handed on in order.
    pub delivered: u64,
    /// Gaps that were found.
    pub gaps: u64,
    /// Messages that were fetched from a holder and handed on.
    pub repaired: u64,
    /// Messages that were declared lost.
    pub lost: u64,
    /// Messages that came, found no room behind a hole, and are fetched later.
    pub released: u64,
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
    /// What the streams lack.
    pub(crate) needs: Vec<Need>,
    /// What publishers are to be shown of their own streams: they were set back, or have a double.
    pub(crate) shows: Vec<(StreamName, Wire)>,
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
    /// Somebody may have what does not come by itself.
    repairable: bool,
    /// Others than its publisher may have it, too.
    copied: bool,
    /// Where it is to be taken up, and when that was asked for.
    begin: Option<(Begin, Option<u64>)>,
    /// When it was asked for because it was silent.
    looked: Option<u64>,
    /// An epoch whose genesis record nobody has: its other records were asked for.
    unopened: Option<Epoch>,
}

/// Who may have what does not come of a stream by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keepers {
    Nobody,
    /// Its publisher, and the processes that read its journal.
    Publisher,
    /// Others, who got it from there: what its publisher keeps no more they may still have.
    Copies,
}

/// Most epochs of one stream that wait for their turn.
const PENDING_MAX: usize = 4;

impl Stream {
    /// A stream that is new here, and where to take it up. Without a holder that is always `Live`, except
    /// for a position.
    pub(crate) fn new(name: StreamName, keepers: Keepers, begin: Begin) -> Stream {
        let repairable = keepers != Keepers::Nobody;
        let mut stream = Stream {
            name,
            current: None,
            pending: BTreeMap::new(),
            last_seen: 0,
            repairable,
            copied: keepers == Keepers::Copies,
            begin: None,
            looked: None,
            unopened: None,
        };
        match begin {
            Begin::Live => {}
            Begin::At { .. } => stream.begin = Some((begin, None)),
            _ if !repairable => {}
            _ => stream.begin = Some((begin, None)),
        }
        stream
    }

    /// Takes a message, or a position that a refused one used up.
    pub(crate) fn item(&mut self, item: Item, sink: &mut Sink) {
        let (epoch, now, has_begin) = (item.place.epoch, item.at, self.begin.is_some());
        match &mut self.current {
            Some(current) if current.epoch == epoch || bug("epoch-ignored") => {
                current.item(&self.name, item, sink);
            }
            Some(current) if epoch < current.epoch => sink.counts.late += 1,
            _ => match self.pending(epoch, now, sink) {
                Some(pending) if pending.stale && !has_begin => withhold(item, sink),
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
            Some(current) if epoch < current.epoch => {
                current.older_epoch(&self.name, message, beat, now, sink);
            }
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

    /// Whether somebody may have what does not come by itself, by another configuration.
    pub(crate) fn set_keepers(&mut self, keepers: Keepers) {
        let repairable = keepers != Keepers::Nobody;
        (self.repairable, self.copied) = (repairable, keepers == Keepers::Copies);
        if let Some(current) = &mut self.current {
            (current.repairable, current.copied) = (repairable, self.copied);
        }
        if !repairable && !matches!(self.begin, Some((Begin::At { .. }, _))) {
            self.begin = None;
        }
    }

    /// Has the stream looked after that was silent for too long: its last messages may be missing, or its
    /// publisher may go on elsewhere.
    pub(crate) fn look(&mut self, now: u64, sink: &mut Sink) {
        let silent = now.saturating_sub(self.last_seen) >= SILENT_MS;
        // What came since it was looked the last time is a new silence.
        let since = |at| at < self.last_seen || now.saturating_sub(at) >= LOOK_AGAIN_MS;
        let due = self.looked.is_none_or(since);
        if self.repairable && self.current.is_some() && silent && due {
            self.ask_head(now, sink);
        }
    }

    fn ask_head(&mut self, now: u64, sink: &mut Sink) {
        self.looked = Some(now);
        sink.needs.push(Need { stream: self.name.clone(), what: What::Head });
    }

    /// No holder has these numbers.
    pub(crate) fn absent(&mut self, epoch: Epoch, span: (u64, u64), now: u64, sink: &mut Sink) {
        if let Some(current) = self.current.as_mut().filter(|current| current.epoch == epoch) {
            current.absent(&self.name, span, sink);
        }
        self.settle(now, sink);
    }

    /// No holder has more of this epoch than up to a number, of those that were asked from a time on.
    pub(crate) fn rest_over(
        &mut self,
        epoch: Epoch,
        (upto, asked): (u64, u64),
        now: u64,
        sink: &mut Sink,
    ) {
        if let Some(current) = self.current.as_mut().filter(|current| current.epoch == epoch) {
            current.rest_over(upto, asked);
        }
        if self.unopened == Some(epoch) && !self.pending.contains_key(&epoch) {
            self.pass_over(epoch, now);
        }
        self.settle(now, sink);
    }

    /// What epochs a holder has, that was asked at this time, oldest first; none when no holder knows the
    /// stream.
    pub(crate) fn epochs(&mut self, epochs: &[Range], asked: u64, now: u64, sink: &mut Sink) {
        if self.current.is_none() {
            match (self.begin, epochs) {
                (
                    Some((
                        Begin::Since(_) | Begin::Earliest | Begin::Last(_) | Begin::Number(_),
                        _,
                    )),
                    [],
                ) => {
                    self.begin_unknown();
                }
                (Some((Begin::Earliest, _)), [oldest, ..]) => {
                    self.begin_at(oldest.epoch, oldest.first.max(1));
                }
                (Some((Begin::Number(next), _)), [.., newest]) => {
                    // A number that is not there yet is the next one; one that is there no more is lost.
                    self.begin_at(newest.epoch, next.clamp(1, newest.last + 1));
                }
                (Some((Begin::Last(count), _)), _) => {
                    let (epoch, next) = last_of(epochs, count);
                    self.begin_at(epoch, next);
                }
                _ => {}
            }
            return self.settle(now, sink);
        }
        let Some(current) = &mut self.current else { return };
        let here = epochs.iter().find(|range| range.epoch == current.epoch);
        if here.is_some_and(|range| current.lacks(range.last)) {
            current.want_rest(&self.name, now, now, sink);
        }
        let (current, first) = (current.epoch, self.pending.keys().next().copied());
        let behind =
            |range: &&Range| range.epoch > current && first.is_none_or(|first| range.epoch < first);
        match epochs.iter().find(behind) {
            Some(range) => {
                let what = What::Genesis { epoch: range.epoch };
                sink.needs.push(Need { stream: self.name.clone(), what });
            }
            None => {
                if let Some(pending) = self.pending.values_mut().next() {
                    pending.nothing_before(asked);
                }
            }
        }
        self.settle(now, sink);
    }

    /// Gives up waiting, because there is no more room to hold anything. What not even a declared hole
    /// releases is shown as stale; a heartbeat will say that it is missing.
    pub(crate) fn overflow(&mut self, now: u64, sink: &mut Sink) {
        if self.repairable {
            if let Some(current) = &mut self.current {
                current.release(now, sink);
            }
            if self.current.is_some() || self.begin.is_some() {
                for pending in self.pending.values_mut() {
                    sink.counts.released += pending.held.len() as u64;
                    pending.held.clear(sink);
                }
            }
        }
        self.tick(now.saturating_add(HOLE_MS_MAX), sink);
        if let Some(current) = self.current.as_mut().filter(|current| !current.repairable) {
            current.held.withhold_all(sink);
        }
        for pending in self.pending.values_mut().filter(|pending| !pending.held.is_empty()) {
            pending.turn_stale(sink);
        }
    }

    /// The epoch that is followed, and the number that comes next; nothing of a stream that contradicts
    /// itself.
    pub(crate) fn position(&self) -> Option<(Epoch, u64)> {
        let current = self.current.as_ref().filter(|current| !current.forked);
        current.map(|current| (current.epoch, current.next()))
    }

    /// Whether it is still looked for where the stream is to be taken up.
    pub(crate) fn is_beginning(&self) -> bool {
        self.begin.is_some()
    }

    /// How many records are held.
    pub(crate) fn held(&self) -> usize {
        let current = self.current.as_ref().map_or(0, |current| current.held.len());
        current + self.pending.values().map(|pending| pending.held.len()).sum::<usize>()
    }

    /// Whether something will be due.
    pub(crate) fn is_waiting(&self) -> bool {
        let holes = self.current.as_ref().is_some_and(Current::is_waiting) || self.begin.is_some();
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
        if self.current.is_none() {
            self.begin(now, sink);
        }
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
                let epoch = *epoch;
                let base = pending.base_after(epoch, current, &self.name, now, sink)?;
                if let Some(After::Epoch { epoch: before, last }) = pending.after() {
                    let passed_over = before > current.epoch && last > 0;
                    // An epoch that was named and that nobody has.
                    if passed_over {
                        let span = (1, last);
                        let stream = self.name.clone();
                        let reason = match self.repairable {
                            true => LostReason::Absent,
                            false => LostReason::NoHolder,
                        };
                        let lost = Lost::new(stream, before, span, reason);
                        sink.counts.gaps += 1;
                        sink.counts.lost += lost.count();
                        sink.events.push(Event::Lost(lost));
                    }
                }
                Some((epoch, base))
            }
            None if self.begin.is_some() => None,
            None => self
                .pending
                .iter_mut()
                .find_map(|(epoch, pending)| Some((*epoch, pending.base_of_new(now, sink)?))),
        }
    }

    fn follow(&mut self, epoch: Epoch, base: Base, now: u64, sink: &mut Sink) {
        let mut pending = self.pending.remove(&epoch).unwrap_or_else(|| Pending::new(now));
        let from = self.current.as_ref().map(|current| current.epoch);
        if let Some(mut current) = self.current.take() {
            current.held.withhold_all(sink);
        }
        let (stream, next, proven) = (self.name.clone(), base.next, base.proven);
        let resumed = base.resumed;
        self.drop_older(epoch, resumed, sink);
        sink.events.push(Event::Epoch(EpochChange { stream, from, to: epoch, next, proven }));
        let mut current = Current::new(epoch, base, (self.repairable, self.copied), now);
        while let Some(item) = pending.held.pop_first(sink) {
            current.waited(&self.name, item, resumed, sink);
        }
        if let Some(beat) = &pending.beat {
            current.look_ahead(beat, now);
        }
        self.current = Some(current);
        if self.repairable && (from.is_some() || resumed) {
            // What the epoch has is fetched without waiting for it to say so: it may have ended long ago.
            self.ask_head(now, sink);
        }
    }

    fn drop_older(&mut self, epoch: Epoch, resumed: bool, sink: &mut Sink) {
        let later = self.pending.split_off(&epoch);
        for (_, mut older) in std::mem::replace(&mut self.pending, later) {
            if resumed {
                sink.counts.late += older.held.len() as u64;
                older.held.clear(sink);
            }
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
