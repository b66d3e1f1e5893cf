//! What was taken and is not on disk yet: positions of streams, in the order of the appends that they go with.

use std::collections::VecDeque;

use fedmsg::envelope::Epoch;
use fedmsg::identity::StreamName;

use super::Stored;

/// Appends that were not written yet: the one that is on its way to the disk, if there is one, and the one that is
/// being collected.
#[derive(Debug, Default)]
pub(super) struct Appends {
    /// The number of the first one.
    first: u64,
    /// Streams that have something in each, the first one first.
    streams: VecDeque<Vec<StreamName>>,
}

impl Appends {
    /// The number of the append that is being collected.
    pub(super) fn number(&self) -> u64 {
        self.first + self.streams.len().saturating_sub(1) as u64
    }

    /// This stream has something in the append that is being collected.
    pub(super) fn touch(&mut self, stream: &StreamName) {
        match self.streams.back_mut() {
            Some(streams) => streams.push(stream.clone()),
            None => self.streams.push_back(vec![stream.clone()]),
        }
    }

    /// Another one is collected from now on.
    pub(super) fn begin(&mut self) {
        if self.streams.is_empty() {
            self.streams.push_back(Vec::new());
        }
        self.streams.push_back(Vec::new());
    }

    /// The first one is written: its number, and the streams that had something in it.
    pub(super) fn end(&mut self) -> (u64, Vec<StreamName>) {
        self.first += 1;
        (self.first - 1, self.streams.pop_front().unwrap_or_default())
    }

    /// None of them is written: the streams that had something in them.
    pub(super) fn end_all(&mut self) -> impl Iterator<Item = StreamName> + use<> {
        self.first += self.streams.len().max(1) as u64;
        std::mem::take(&mut self.streams).into_iter().flatten()
    }
}

/// Positions of one stream that are not on disk yet.
#[derive(Debug, Default)]
pub(super) struct Unstored {
    /// In the order of epochs and numbers, which is nearly always that in which they came.
    positions: Vec<Position>,
    /// The append of the one that came last.
    append: u64,
}

#[derive(Debug)]
struct Position {
    at: (Epoch, u64),
    stored: Stored,
    append: u64,
}

impl Unstored {
    pub(super) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// What is to be stored at a position, if anything is.
    pub(super) fn at(&self, at: (Epoch, u64)) -> Option<Stored> {
        let found = self.positions.binary_search_by_key(&at, |position| position.at);
        found.ok().map(|found| self.positions[found].stored)
    }

    /// This is to be stored with this append. Says whether it is the first one of the stream there.
    pub(super) fn add(&mut self, at: (Epoch, u64), stored: Stored, append: u64) -> bool {
        let is_first = self.positions.is_empty() || self.append != append;
        self.append = append;
        let position = Position { at, stored, append };
        match self.positions.binary_search_by_key(&at, |position| position.at) {
            Ok(found) => self.positions[found] = position,
            Err(place) => self.positions.insert(place, position),
        }
        is_first
    }

    /// What went with this append is on disk.
    pub(super) fn ended(&mut self, append: u64) {
        self.positions.retain(|position| position.append != append);
    }

    /// Nothing of it will be on disk; says how many records that are.
    pub(super) fn clear(&mut self) -> u64 {
        let records = self.positions.drain(..).filter(|position| !position.stored.is_gone);
        records.count() as u64
    }
}
