//! What one reader was told, in this life and in all of them.

use std::collections::{BTreeMap, BTreeSet};

use fedmsg::envelope::Epoch;
use fedmsg::event::EpochChange;
use fedmsg::merkle::Leaf;

use super::{Disks, Fate, Position, Verdict, name};
use crate::cast::WRITERS;

/// The account of a reader.
#[derive(Debug)]
pub(super) struct Account {
    durable: bool,
    cursors: [Option<(Epoch, u64)>; WRITERS],
    /// Where this life is with each stream.
    last: [Option<Last>; WRITERS],
    /// Where each stream was taken up by the last life that had no cursor for it.
    base: [Option<(Epoch, u64)>; WRITERS],
    delivered: BTreeMap<Position, Vec<Leaf>>,
    lost: Vec<(usize, Epoch, u64, u64)>,
    rejected: BTreeSet<Position>,
    unfetched: BTreeSet<Position>,
    stale: BTreeSet<Position>,
    forked: BTreeSet<(usize, Epoch)>,
    /// Streams of which it was said that the end of an epoch is not proven.
    unproven: [bool; WRITERS],
    /// What is to be seen to: indices of what was acknowledged.
    open: Vec<usize>,
    seen: usize,
}

/// The last position of a stream that a reader was told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub(super) epoch: Epoch,
    pub(super) i: u64,
    leaf: Option<Leaf>,
}

impl Account {
    pub(super) fn new(durable: bool) -> Account {
        Account {
            durable,
            cursors: [None; WRITERS],
            last: [None; WRITERS],
            base: [None; WRITERS],
            delivered: BTreeMap::new(),
            lost: Vec::new(),
            rejected: BTreeSet::new(),
            unfetched: BTreeSet::new(),
            stale: BTreeSet::new(),
            forked: BTreeSet::new(),
            unproven: [false; WRITERS],
            open: Vec::new(),
            seen: 0,
        }
    }

    pub(super) fn begin_life(&mut self, cursors: [Option<(Epoch, u64)>; WRITERS]) {
        (self.cursors, self.last) = (cursors, [None; WRITERS]);
        if !self.durable {
            *self = Account { cursors, ..Account::new(false) };
        }
    }

    /// Messages come in order, each once, with nothing left out in silence, and linked.
    pub(super) fn message(&mut self, position: Position, leaf: Leaf, prev: Leaf) -> Verdict {
        let (worker, epoch, i) = position;
        let Some(last) = self.last[worker] else {
            return Err(format!("{} came before the stream had a beginning", name(position)));
        };
        if last.epoch != epoch || i <= last.i {
            return Err(format!("{} came after {}", name(position), last.name(worker)));
        }
        if let Some(left_out) = (last.i + 1..i).find(|i| !self.explains((worker, epoch, *i))) {
            let left_out = name((worker, epoch, left_out));
            return Err(format!("{left_out} was left out before {i}"));
        }
        let is_linked = last.i + 1 != i || last.leaf.is_none_or(|leaf| leaf == prev);
        if !is_linked {
            return Err(format!("{} is not linked to the message before it", name(position)));
        }
        self.last[worker] = Some(Last { epoch, i, leaf: Some(leaf) });
        if !self.durable {
            self.handled(position, leaf);
        }
        Ok(())
    }

    /// Whether it was said why a number is not delivered.
    fn explains(&self, position: Position) -> bool {
        let (worker, epoch, i) = position;
        let covers = |(w, e, from, to): &(usize, Epoch, u64, u64)| {
            (*w, *e) == (worker, epoch) && (*from..=*to).contains(&i)
        };
        self.rejected.contains(&position) || self.lost.iter().any(covers)
    }

    /// A consumer is done with a message.
    pub(super) fn handled(&mut self, position: Position, leaf: Leaf) {
        self.delivered.entry(position).or_default().push(leaf);
    }

    pub(super) fn unfetched(&mut self, position: Position) {
        self.unfetched.insert(position);
    }

    pub(super) fn rejected(&mut self, position: Position) {
        self.rejected.insert(position);
    }

    pub(super) fn stale(&mut self, position: Position) {
        self.stale.insert(position);
    }

    pub(super) fn forked(&mut self, worker: usize, epoch: Epoch) {
        self.forked.insert((worker, epoch));
    }

    pub(super) fn lost(&mut self, worker: usize, epoch: Epoch, (from, to): (u64, u64)) -> Verdict {
        if let Some(last) = self.last[worker].filter(|last| last.epoch == epoch) {
            if from <= last.i {
                let position = name((worker, epoch, from));
                return Err(format!("{position} is said to be lost after {}", last.name(worker)));
            }
            self.last[worker] = Some(Last { epoch, i: to, leaf: None });
        }
        self.lost.push((worker, epoch, from, to));
        Ok(())
    }

    pub(super) fn epoch(&mut self, worker: usize, change: &EpochChange) -> Verdict {
        let EpochChange { from, to, next, proven, .. } = change;
        match (self.last[worker], from) {
            (None, None) => {
                let at = name((worker, *to, *next));
                if self.cursors[worker].is_some_and(|cursor| cursor != (*to, *next)) {
                    return Err(format!("the stream is taken up with {at}, not at the cursor"));
                }
                if self.cursors[worker].is_none() {
                    self.base[worker] = Some((*to, *next));
                }
            }
            (Some(last), Some(from)) if last.epoch == *from && to > from => {
                self.unproven[worker] |= !proven;
            }
            (last, from) => {
                let last = last.map(|last| last.name(worker));
                return Err(format!("epoch {to} follows {from:?}, but {last:?} was the last"));
            }
        }
        self.last[worker] = Some(Last { epoch: *to, i: next.saturating_sub(1), leaf: None });
        Ok(())
    }

    /// Something that was acknowledged, and that this reader neither has nor was told of.
    pub(super) fn missing(
        &mut self,
        acknowledged: &[(Position, Leaf)],
        fates: &[Fate; WRITERS],
        disks: &mut dyn Disks,
    ) -> Option<Position> {
        self.open.extend(self.seen..acknowledged.len());
        self.seen = acknowledged.len();
        let open = std::mem::take(&mut self.open);
        let still = |at: &usize| {
            let (position, leaf) = acknowledged[*at];
            !self.has(position, leaf) && !self.is_excused(position, leaf, &fates[position.0], disks)
        };
        self.open = open.into_iter().filter(still).collect();
        self.open.first().map(|at| acknowledged[*at].0)
    }

    fn has(&self, position: Position, leaf: Leaf) -> bool {
        let delivered = self.delivered.get(&position);
        delivered.is_some_and(|leaves| leaves.contains(&leaf))
            || self.unfetched.contains(&position)
            || self.lost.iter().any(|(worker, epoch, from, to)| {
                (*worker, *epoch) == (position.0, position.1) && (*from..=*to).contains(&position.2)
            })
    }

    /// Whether nobody could have told this reader of it, or it was told in other words.
    fn is_excused(
        &self,
        position: Position,
        leaf: Leaf,
        fate: &Fate,
        disks: &mut dyn Disks,
    ) -> bool {
        let (worker, epoch, i) = position;
        let before = self.base[worker].is_none_or(|base| (epoch, i) < base);
        if !self.durable || fate.unheld {
            // It reads what comes while it is there; without a beginning nothing was promised.
            let told = self.rejected.contains(&position);
            if before || told || fate.unheld && self.unproven[worker] {
                return true;
            }
        }
        if fate.set_back {
            // A stream that was set back and contradicts itself is held back up to its next epoch, and that is
            // said; of what is gone with the earlier state nobody knows any more, nor can anybody ask who has no
            // holder to ask.
            let held_back = self.forked.iter().any(|(w, forked)| *w == worker && *forked >= epoch);
            let stale = self.stale.contains(&position);
            let told = before || held_back || stale || self.unproven[worker] || fate.unheld;
            // One number cannot be two messages: the one of the earlier life was handled.
            let taken = self.delivered.contains_key(&position);
            // What only others have still, its publisher knows nothing of, and nobody looks for it there.
            let is_there = [disks.own(position), disks.readable(position)] == [Some(leaf); 2];
            return told || taken || !is_there;
        }
        // Nothing shows what stood behind the last number that is there.
        let last = self.last[worker].is_none_or(|last| (last.epoch, last.i) < (epoch, i));
        let unknown = before || last || self.unproven[worker];
        fate.destroyed && unknown && disks.readable(position).is_none()
    }
}
