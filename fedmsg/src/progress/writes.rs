//! What a store has to write, in an order in which a crash between two writes repeats something and loses
//! nothing: refusals and failures before what strikes them out elsewhere, and all of them before cursors.

use std::collections::{BTreeSet, VecDeque};

use super::{Kind, Mark, Progress, Ticket};
use crate::consumer::{Advance, CursorStore, Failure, Fence, Position, Refused, StoreError};
use crate::limits::{IDLE_CURSORS_MS, STORE_BATCH_MAX};
use crate::timestamp::Timestamp;

/// A failure that is to be written down.
#[derive(Clone, Debug)]
pub struct Failing {
    /// The message, and what happened.
    pub failure: Failure,
    /// When it failed.
    pub at: Timestamp,
}

/// One call to a store.
#[derive(Clone, Debug)]
pub enum Write {
    /// Write refusals down.
    Refuse(Vec<Refused>),
    /// Keep a failed message: to be tried again then, or given up.
    Fail { ticket: Ticket, failing: Failing, next_at: Option<Timestamp> },
    /// Strike refusals out.
    Cured(Vec<Position>),
    /// Strike failed messages out.
    Succeeded(Vec<Position>),
    /// Move cursors.
    Advance(Moves),
}

impl Write {
    /// Makes the call; says how many refusals found no room.
    pub fn make(
        &self,
        store: &mut dyn CursorStore,
        fence: &Fence,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        match self {
            Write::Refuse(refused) => return store.refuse(fence, refused, now),
            Write::Fail { failing, next_at: Some(next_at), .. } => {
                store.failed(fence, &failing.failure, *next_at, now)?;
            }
            Write::Fail { failing, next_at: None, .. } => {
                store.dead(fence, &failing.failure, now)?;
            }
            Write::Cured(positions) => {
                store.cured(fence, positions)?;
            }
            Write::Succeeded(positions) => {
                store.succeeded(fence, positions)?;
            }
            Write::Advance(moves) => {
                store.advance(fence, &moves.cursors, now)?;
            }
        }
        Ok(0)
    }
}

/// Cursors to be moved, and of which streams they are.
#[derive(Clone, Debug)]
pub struct Moves {
    pub cursors: Vec<Advance>,
    tracks: Vec<(usize, Mark)>,
}

/// What is written in one go: everything that was answered when it began.
#[derive(Debug)]
pub struct Round {
    answers: u64,
    failing: VecDeque<Ticket>,
    /// Streams whose cursors are still to be moved; nothing before their turn.
    moving: Option<BTreeSet<usize>>,
}

impl Moves {
    /// The same in two calls; one cursor alone comes back.
    pub fn halves(mut self) -> Result<[Moves; 2], Moves> {
        if self.cursors.len() < 2 {
            return Err(self);
        }
        let half = self.cursors.len() / 2;
        let (cursors, tracks) = (self.cursors.split_off(half), self.tracks.split_off(half));
        Ok([self, Moves { cursors, tracks }])
    }
}

impl Progress {
    /// Begins to write down what was answered so far.
    pub fn round(&mut self) -> Round {
        let failing = self.failing.keys().copied().collect();
        Round { answers: self.answers, failing, moving: None }
    }

    /// Whether there is something to write.
    pub fn has_writes(&self, now: u64) -> bool {
        let nothing = self.refusals.is_empty()
            && self.failing.is_empty()
            && self.cured.is_empty()
            && self.succeeded.is_empty()
            && self.dirty.is_empty()
            // An answer that was written with an earlier round is told with a later one.
            && self.written == self.answers;
        !nothing || self.idle_is_due(now)
    }

    fn idle_is_due(&self, now: u64) -> bool {
        !self.idle.is_empty() && now >= self.idle_written.saturating_add(IDLE_CURSORS_MS)
    }

    /// Has cursors that went along by themselves written at once: nothing more will come.
    pub fn settle_idle(&mut self) {
        self.dirty.append(&mut self.idle);
    }

    /// The next call to the store; nothing when the round is over. What is given out has to come back by
    /// [`done`](Progress::done) or [`undone`](Progress::undone).
    pub fn next_write(&mut self, round: &mut Round, now: u64) -> Option<Write> {
        if !self.refusals.is_empty() {
            return Some(Write::Refuse(batch(&mut self.refusals)));
        }
        while let Some(ticket) = round.failing.pop_front() {
            if let Some((_, failing)) = self.failing.get(&ticket) {
                let next_at = self.retrying.next(failing.failure.attempts, failing.at);
                return Some(Write::Fail { ticket, failing: failing.clone(), next_at });
            }
        }
        if !self.cured.is_empty() {
            return Some(Write::Cured(batch(&mut self.cured)));
        }
        if !self.succeeded.is_empty() {
            return Some(Write::Succeeded(batch(&mut self.succeeded)));
        }
        if round.moving.is_none() {
            if self.idle_is_due(now) {
                self.idle_written = now;
                self.settle_idle();
            }
            self.writing += std::mem::take(&mut self.unwritten);
        }
        let moving = round.moving.get_or_insert_with(|| std::mem::take(&mut self.dirty));
        self.moves(moving).map(Write::Advance)
    }

    /// Cursors that can be moved, as many as fit into one call. They are read now, when no refusal waits to
    /// be written that they could pass.
    fn moves(&mut self, moving: &mut BTreeSet<usize>) -> Option<Moves> {
        let mut moves = Moves { cursors: Vec::new(), tracks: Vec::new() };
        while moves.cursors.len() < STORE_BATCH_MAX
            && let Some(at) = moving.pop_first()
        {
            self.idle.remove(&at);
            let track = &self.tracks[at];
            let Some(mark) = track.to_write() else { continue };
            let position = Position { stream: track.name().clone(), epoch: mark.epoch, i: mark.i };
            moves.cursors.push(Advance { position, leaf: mark.leaf });
            moves.tracks.push((at, mark));
        }
        (!moves.cursors.is_empty()).then_some(moves)
    }

    /// A call succeeded.
    pub fn done(&mut self, write: Write) {
        match write {
            Write::Refuse(refused) => self.counts.refused += refused.len() as u64,
            Write::Fail { ticket, failing, next_at } => {
                self.full = false;
                self.counts.dead += u64::from(next_at.is_none());
                self.failing.remove(&ticket);
                let Some(open) = self.close(ticket) else { return };
                match open.kind {
                    Kind::InOrder(at) => self.answered(at, ticket),
                    Kind::Again => {
                        self.again.remove(&failing.failure.position);
                    }
                    Kind::Late => self.cured.push(open.position),
                }
            }
            Write::Cured(positions) => self.cures.struck(&positions),
            Write::Succeeded(positions) => {
                for position in positions {
                    self.again.remove(&position);
                }
            }
            Write::Advance(moves) => {
                for (cursor, (at, mark)) in moves.cursors.iter().zip(moves.tracks) {
                    let track = &mut self.tracks[at];
                    // Another stream may have its place by now.
                    if *track.name() == cursor.position.stream {
                        track.written(mark);
                        self.untold.insert(at);
                    }
                }
            }
        }
    }

    /// So many of the refusals that were written found no room.
    pub fn no_room_for_refusals(&mut self, count: usize) {
        self.counts.refused = self.counts.refused.saturating_sub(count as u64);
        self.counts.refusals_dropped += count as u64;
    }

    /// The store has no room for the cursors of these streams: they are not written any more.
    pub fn no_room_for_cursor(&mut self, moves: &Moves) {
        for (at, _) in &moves.tracks {
            self.tracks[*at].no_cursor();
        }
    }

    /// A call failed, and is to be made again with a later round.
    pub fn undone(&mut self, write: Write) {
        match write {
            Write::Refuse(refused) => put_back(&mut self.refusals, refused),
            Write::Fail { .. } => {}
            Write::Cured(positions) => put_back(&mut self.cured, positions),
            Write::Succeeded(positions) => put_back(&mut self.succeeded, positions),
            Write::Advance(moves) => self.dirty.extend(moves.tracks.into_iter().map(|(at, _)| at)),
        }
    }

    /// The store has no room for another failed message: nothing new is handed out until it has.
    pub fn store_is_full(&mut self) {
        self.full = true;
    }

    /// The round is over: everything of it is in the store, except for failures that found no room.
    pub fn round_done(&mut self, round: &Round) {
        self.writing = 0;
        let waiting = self.failing.values().map(|(answer, _)| answer - 1).min();
        self.written = self.written.max(waiting.unwrap_or(u64::MAX).min(round.answers));
    }

    /// The round has failed.
    pub fn round_failed(&mut self, round: Round) {
        self.dirty.extend(round.moving.unwrap_or_default());
        self.unwritten += std::mem::take(&mut self.writing);
    }
}

/// As much as fits into one call, from the front.
fn batch<T>(all: &mut Vec<T>) -> Vec<T> {
    all.drain(..all.len().min(STORE_BATCH_MAX)).collect()
}

fn put_back<T>(all: &mut Vec<T>, mut first: Vec<T>) {
    first.append(all);
    *all = first;
}
