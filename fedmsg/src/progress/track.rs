//! One stream as its consumer has it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Mark, Ticket};
use crate::consumer::Position;
use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::open::Place;
use crate::planted::bug;
use crate::timestamp::Timestamp;

/// Positions beyond a hole that refused messages used up; further ones are passed by the next message.
const USED_UP_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Track {
    name: StreamName,
    /// All up to here was handed out, lost, refused or not wanted.
    seen: Option<Mark>,
    /// What is in the consumer's hands, in its order, with the place before it.
    open: BTreeMap<Ticket, Mark>,
    used_up: BTreeSet<(Epoch, u64)>,
    /// The cursor that the store has.
    stored: Option<Mark>,
    /// The store has no room for its cursor.
    no_cursor: bool,
    /// When the cursor in the store was moved, as long as nothing was heard of the stream in this life.
    silent_since: Option<Timestamp>,
    head: Option<(Epoch, u64)>,
}

impl Track {
    pub(super) fn new(name: StreamName) -> Track {
        Track {
            name,
            seen: None,
            open: BTreeMap::new(),
            used_up: BTreeSet::new(),
            stored: None,
            no_cursor: false,
            silent_since: None,
            head: None,
        }
    }

    pub(super) fn name(&self) -> &StreamName {
        &self.name
    }

    pub(super) fn seen(&self) -> Option<Mark> {
        self.seen
    }

    /// The cursor as the store has it, and when it was moved.
    pub(super) fn stored(&mut self, mark: Mark, moved: Timestamp) {
        (self.seen, self.stored) = (Some(mark), Some(mark));
        self.silent_since = Some(moved);
    }

    /// When its cursor was moved, where nothing was heard of it since this life began.
    pub(super) fn silent_since(&self) -> Option<Timestamp> {
        self.silent_since
    }

    /// The store has forgotten its cursor.
    pub(super) fn not_stored(&mut self) {
        self.stored = None;
    }

    /// Whether this position was spoken of before. Epochs that have ended are over.
    pub(super) fn has_passed(&self, epoch: Epoch, i: u64) -> bool {
        self.seen.is_some_and(|seen| epoch < seen.epoch || epoch == seen.epoch && i <= seen.i)
    }

    /// Takes a place for a stream of which nothing is known.
    pub(super) fn settle(&mut self, mark: Mark) {
        self.silent_since = None;
        self.seen.get_or_insert(mark);
    }

    /// All up to here needs no answer.
    pub(super) fn pass(&mut self, mark: Mark) {
        self.silent_since = None;
        self.seen = Some(mark);
        self.pass_used_up();
    }

    pub(super) fn hand_out(&mut self, ticket: Ticket, place: &Place) {
        let (epoch, i) = (place.epoch, place.i);
        self.open.insert(ticket, Mark { epoch, i: i - 1, leaf: Some(place.prev) });
        self.pass(Mark { epoch, i, leaf: Some(place.leaf) });
    }

    /// A refused message used this position up; says whether everything up to it is done.
    pub(super) fn use_up(&mut self, epoch: Epoch, i: u64) -> bool {
        self.silent_since = None;
        self.used_up.insert((epoch, i));
        let passed = self.pass_used_up();
        while self.used_up.len() > USED_UP_MAX {
            self.used_up.pop_last();
        }
        passed
    }

    fn pass_used_up(&mut self) -> bool {
        let Some(seen) = &mut self.seen else { return false };
        let before = seen.i;
        while let Some((epoch, i)) = self.used_up.first().copied()
            && (epoch, i) <= (seen.epoch, seen.i + 1)
        {
            if (epoch, i) == (seen.epoch, seen.i + 1) {
                (seen.i, seen.leaf) = (i, None);
            }
            self.used_up.pop_first();
        }
        seen.i > before
    }

    /// An answer is in; says whether the cursor can be moved.
    pub(super) fn answered(&mut self, ticket: Ticket) -> bool {
        let first = self.open.first_key_value().map(|(first, _)| *first);
        self.open.remove(&ticket).is_some() && first == Some(ticket)
    }

    /// All up to here is done.
    pub(super) fn cursor(&self) -> Option<Mark> {
        let first = self.open.values().next().filter(|_| !bug("cursor-before-effect"));
        first.copied().or(self.seen)
    }

    /// The cursor, where the store has another one.
    pub(super) fn to_write(&self) -> Option<Mark> {
        self.cursor().filter(|cursor| !self.no_cursor && self.stored != Some(*cursor))
    }

    /// The store has this cursor now.
    pub(super) fn written(&mut self, mark: Mark) {
        self.stored = Some(mark);
    }

    /// The position that the store has.
    pub(super) fn in_store(&self) -> Option<Position> {
        let Mark { epoch, i, .. } = self.stored?;
        Some(Position { stream: self.name.clone(), epoch, i })
    }

    /// The store has no room for its cursor.
    pub(super) fn no_cursor(&mut self) {
        self.no_cursor = true;
    }

    /// It may have room now; whether it had none.
    pub(super) fn try_cursor(&mut self) -> bool {
        std::mem::take(&mut self.no_cursor)
    }

    pub(super) fn has_no_cursor(&self) -> bool {
        self.no_cursor
    }

    pub(super) fn head(&mut self, epoch: Epoch, last: u64) {
        self.silent_since = None;
        self.head = self.head.max(Some((epoch, last)));
    }

    /// How far the cursor is behind the head; at least so far when the head is of a later epoch.
    pub(super) fn lag(&self) -> Option<u64> {
        let (epoch, last) = self.head?;
        let cursor = self.cursor()?;
        let done = if cursor.epoch == epoch { cursor.i } else { 0 };
        Some(if cursor.epoch > epoch { 0 } else { last.saturating_sub(done) })
    }

    /// Nothing of it is in the consumer's hands.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.is_empty()
    }
}
