//! Reading the past: which streams there are, how far each was when the reading began, and when all have been
//! read. Pure.
//!
//! While the past is read, messages that arrive by themselves are left to replay, so that nothing waits
//! behind it without bound; what comes after the past is then fetched like any gap, and the stream goes on
//! live without a seam.

mod merge;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use self::merge::Merge;
use crate::endpoint::Endpoint;
use crate::envelope::Epoch;
use crate::event::Event;
use crate::identity::StreamName;
use crate::limits::{
    HISTORY_BESIDE_BYTES, HISTORY_BYTES, LISTING_MS, LISTING_MS_MAX, LISTING_SIBLINGS_MS,
};

/// In which order the past is handed out. Within one stream it is always the stream's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// As it comes.
    Arrival,
    /// By the publishers' clocks, over all streams.
    #[default]
    Time,
}

/// How often all streams are looked at, in milliseconds.
const LOOK_MS: u64 = 50;

/// The past that is being read.
#[derive(Debug)]
pub(crate) struct History {
    since: u64,
    /// When a holder said which streams it has, and that there are more.
    heard: u64,
    pub(crate) order: Order,
    /// Holders that have listed all they have.
    listed: BTreeSet<Endpoint>,
    is_listed: bool,
    /// Streams that are read, and how far each was.
    open: BTreeMap<StreamName, (Epoch, u64)>,
    /// How many streams there were in all.
    streams: u64,
    /// Streams that cannot be read to the end now.
    stuck: BTreeSet<StreamName>,
    pub(crate) merge: Merge,
    /// Streams that may have reached their goal, and when all were looked at.
    pub(crate) touched: BTreeSet<StreamName>,
    looked: u64,
    /// Records and their bytes so far, for the size of what is asked for at one time.
    records: u64,
    bytes: u64,
}

impl History {
    pub(crate) fn new(order: Order, now: u64) -> History {
        History {
            since: now,
            heard: now,
            order,
            listed: BTreeSet::new(),
            is_listed: false,
            open: BTreeMap::new(),
            streams: 0,
            stuck: BTreeSet::new(),
            merge: Merge::default(),
            touched: BTreeSet::new(),
            looked: now,
            records: 0,
            bytes: 0,
        }
    }

    /// A holder has a stream, up to here.
    pub(crate) fn goal(&mut self, stream: &StreamName, epoch: Epoch, last: u64) {
        if self.is_listed {
            return;
        }
        match self.open.get_mut(stream) {
            Some(goal) => *goal = (*goal).max((epoch, last)),
            None => {
                // One holder could not give it to the end, and another one has it, too.
                self.streams += u64::from(!self.stuck.remove(stream));
                self.open.insert(stream.clone(), (epoch, last));
                self.merge.open(stream);
            }
        }
    }

    /// A holder has said which streams it has: all of them, or a part, and goes on. When it is too late for that, the
    /// holder counts as one that has not.
    pub(crate) fn holder_lists(&mut self, holder: &Endpoint, complete: bool, now: u64) {
        if self.is_listed || self.listed.contains(holder) {
            return;
        }
        self.heard = now;
        if complete {
            self.listed.insert(holder.clone());
        }
    }

    /// Whether a holder has listed all its streams in time.
    pub(crate) fn has_listed(&self, holder: &Endpoint) -> bool {
        self.listed.contains(holder)
    }

    /// Whether it is known which streams there are: every holder has said so, or one of each service, or too
    /// much time is over. Holders that have thousands of streams say so in parts: while some still do, the others are
    /// waited for.
    pub(crate) fn look_whether_listed(&mut self, services: &[&[Endpoint]], now: u64) {
        let waited = now.saturating_sub(self.heard);
        let is_over = now.saturating_sub(self.since) >= LISTING_MS_MAX;
        let has = |holder: &Endpoint| self.listed.contains(holder);
        let all = services.iter().all(|holders| holders.iter().all(has));
        let one_of_each = services.iter().all(|holders| holders.iter().any(has));
        if !self.is_listed
            && (all
                || one_of_each && waited >= LISTING_SIBLINGS_MS
                || waited >= LISTING_MS
                || is_over)
        {
            self.is_listed = true;
            // Nobody waits for streams that no holder has listed; what came of them has its place in time.
            self.merge.close_all_but(|stream| self.open.contains_key(stream));
        }
    }

    /// Takes an event of a stream into its lane; gives it back when it has none.
    pub(crate) fn push(&mut self, stream: &StreamName, event: Event) -> Option<Event> {
        if !self.is_listed {
            self.merge.open(stream);
        }
        self.merge.push(stream, event)
    }

    /// Whether it is known which streams there are. Before that nothing is in order, and no stream at its
    /// goal: another holder may have an older one, or more of the same.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Whether a stream is still being read.
    pub(crate) fn is_reading(&self, stream: &StreamName) -> bool {
        self.open.contains_key(stream)
    }

    /// The streams to look at now: those of which something came; from time to time all.
    pub(crate) fn due_streams(&mut self, now: u64) -> Vec<StreamName> {
        let touched = std::mem::take(&mut self.touched);
        if now.saturating_sub(self.looked) < LOOK_MS {
            return touched.into_iter().collect();
        }
        self.looked = now;
        self.open.keys().cloned().collect()
    }

    /// How far a stream is by now. `false` when it has not reached its goal.
    pub(crate) fn reached(&mut self, stream: &StreamName, position: Option<(Epoch, u64)>) -> bool {
        let Some((epoch, last)) = self.open.get(stream) else { return true };
        let is_there = position.is_some_and(|(at, next)| (at, next) > (*epoch, *last));
        if is_there {
            self.close(stream);
        }
        is_there
    }

    /// A stream cannot be read to the end now: nobody waits for it.
    pub(crate) fn is_stuck(&mut self, stream: &StreamName) {
        if self.open.contains_key(stream) {
            self.stuck.insert(stream.clone());
            self.close(stream);
        }
    }

    fn close(&mut self, stream: &StreamName) {
        self.open.remove(stream);
        self.merge.close(stream);
    }

    /// Everything was read that could be read.
    pub(crate) fn is_over(&self) -> bool {
        self.is_listed && self.open.is_empty() && self.merge.is_empty()
    }

    pub(crate) fn open_streams(&self) -> impl Iterator<Item = (&StreamName, (Epoch, u64))> {
        self.open.iter().map(|(stream, goal)| (stream, *goal))
    }

    /// How many streams there are, and which could not be read to the end.
    pub(crate) fn outcome(self) -> (u64, Vec<StreamName>) {
        (self.streams, self.stuck.into_iter().collect())
    }

    /// How many there are, and how many are read.
    pub(crate) fn streams(&self) -> (u64, u64) {
        (self.streams, self.streams - self.open.len() as u64)
    }

    /// Takes note of how long records are.
    pub(crate) fn measure(&mut self, records: usize, bytes: usize) {
        self.records += records as u64;
        self.bytes += bytes as u64;
    }

    /// How many records of one stream are asked for at a time, and how many of them may wait before the next
    /// ones are: twice as many, of all streams together, stay within their room.
    pub(crate) fn portion(&self) -> u64 {
        let length = (self.bytes + 1_024 * 64) / (self.records + 64) + HISTORY_BESIDE_BYTES;
        (HISTORY_BYTES / self.merge.lanes().max(1) as u64 / length / 2).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(n: u16) -> Endpoint {
        Endpoint::parse(&format!("tcp://h:{n}")).expect("an endpoint")
    }

    #[test]
    fn who_still_lists_is_waited_for_and_who_is_silent_is_not() {
        let services = [&[holder(1)][..], &[holder(2), holder(3)]];
        let mut history = History::new(Order::Time, 0);
        let mut now = 0;
        for _ in 0..5 {
            now += LISTING_MS - 1;
            history.holder_lists(&holder(1), false, now);
            history.look_whether_listed(&services, now);
            assert!(!history.is_listed(), "there are more of them");
        }
        history.holder_lists(&holder(1), true, now);
        // It begins again after a while, as everybody does: that is no news.
        history.holder_lists(&holder(1), false, now + LISTING_MS - 1);
        history.look_whether_listed(&services, now + LISTING_MS - 1);
        assert!(!history.is_listed());
        history.look_whether_listed(&services, now + LISTING_MS);
        assert!(history.is_listed(), "the others say nothing");
        history.holder_lists(&holder(2), true, now + LISTING_MS);
        assert!(history.has_listed(&holder(1)) && !history.has_listed(&holder(2)), "too late");
    }

    #[test]
    fn who_lists_without_end_is_not_waited_for_without_end() {
        let services = [&[holder(1)][..]];
        let mut history = History::new(Order::Time, 0);
        let mut now = 0;
        while !history.is_listed() {
            now += 1_000;
            assert!(now <= LISTING_MS_MAX);
            history.holder_lists(&holder(1), false, now);
            history.look_whether_listed(&services, now);
        }
        assert_eq!(now, LISTING_MS_MAX);
    }
}
