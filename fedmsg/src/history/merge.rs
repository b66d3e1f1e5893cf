//! Several streams, each in its own order, as one in the order of time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::event::Event;
use crate::identity::StreamName;
use crate::timestamp::Timestamp;

/// Merges what streams have to say. Something comes out only when every stream that is still open has
/// something to compare with.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    lanes: BTreeMap<StreamName, Lane>,
    /// The first event of each lane that has one.
    heads: BTreeSet<(Timestamp, StreamName)>,
    /// Open lanes that have none.
    lacking: usize,
}

#[derive(Debug)]
struct Lane {
    events: VecDeque<(Timestamp, Event)>,
    is_open: bool,
    /// The latest time so far: a clock that was set back does not disturb the order of the stream.
    time: Timestamp,
}

impl Merge {
    /// A stream takes part, if it does not yet.
    pub(crate) fn open(&mut self, stream: &StreamName) {
        if self.lanes.contains_key(stream) {
            return;
        }
        let time = Timestamp::from_millis(i64::MIN);
        let lane = Lane { events: VecDeque::new(), is_open: true, time };
        self.lanes.insert(stream.clone(), lane);
        self.lacking += 1;
    }

    /// Nothing has to be waited for from other streams than these.
    pub(crate) fn close_all_but(&mut self, stays: impl Fn(&StreamName) -> bool) {
        let others: Vec<_> = self.lanes.keys().filter(|stream| !stays(stream)).cloned().collect();
        others.iter().for_each(|stream| self.close(stream));
    }

    /// Nothing more will come from a stream that has to be waited for.
    pub(crate) fn close(&mut self, stream: &StreamName) {
        let Some(lane) = self.lanes.get_mut(stream).filter(|lane| lane.is_open) else { return };
        lane.is_open = false;
        if lane.events.is_empty() {
            self.lacking -= 1;
            self.lanes.remove(stream);
        }
    }

    /// Takes an event of a stream; gives it back when the stream takes no part.
    pub(crate) fn push(&mut self, stream: &StreamName, event: Event) -> Option<Event> {
        let Some(lane) = self.lanes.get_mut(stream) else { return Some(event) };
        if let Event::Message(message) | Event::Stale(message) | Event::Internal(message) = &event {
            lane.time = lane.time.max(message.timestamp());
        }
        if lane.events.is_empty() {
            self.heads.insert((lane.time, stream.clone()));
            self.lacking -= usize::from(lane.is_open);
        }
        lane.events.push_back((lane.time, event));
        None
    }

    /// The next event, and whose it is.
    pub(crate) fn pop(&mut self) -> Option<(StreamName, Event)> {
        if self.lacking > 0 {
            return None;
        }
        let (_, stream) = self.heads.pop_first()?;
        let lane = self.lanes.get_mut(&stream)?;
        let (_, event) = lane.events.pop_front()?;
        match lane.events.front() {
            Some((time, _)) => {
                self.heads.insert((*time, stream.clone()));
            }
            None if lane.is_open => self.lacking += 1,
            None => {
                self.lanes.remove(&stream);
            }
        }
        Some((stream, event))
    }

    /// How many events of a stream wait.
    pub(crate) fn waiting(&self, stream: &StreamName) -> usize {
        self.lanes.get(stream).map_or(0, |lane| lane.events.len())
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stalled;

    fn name(n: usize) -> StreamName {
        StreamName::parse(&format!("a.b/{n}")).expect("a stream")
    }

    fn event(n: usize, text: &str) -> Event {
        Event::Stalled(Stalled::new(name(n), text.into()))
    }

    fn texts(merge: &mut Merge) -> String {
        let mut texts = Vec::new();
        while let Some((_, Event::Stalled(stalled))) = merge.pop() {
            texts.push(stalled.why);
        }
        texts.join(" ")
    }

    #[test]
    fn nothing_comes_out_while_a_stream_may_still_have_something_older() {
        let mut merge = Merge::default();
        (0..2).for_each(|n| merge.open(&name(n)));
        assert!(merge.push(&name(0), event(0, "a")).is_none());
        assert_eq!(texts(&mut merge), "");
        assert!(merge.push(&name(1), event(1, "b")).is_none());
        assert_eq!(texts(&mut merge), "a", "then the first one has nothing to compare with");
        merge.close(&name(0));
        assert_eq!(texts(&mut merge), "b");
        assert!(!merge.is_empty());
        merge.close(&name(1));
        assert!(merge.is_empty());
        assert!(merge.push(&name(1), event(1, "c")).is_some(), "it takes no part any more");
    }
}
