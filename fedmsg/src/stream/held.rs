//! What is held behind a hole, counted against the room that all streams have together.

use std::collections::BTreeMap;

use super::{Item, Sink, withhold};
use crate::merkle::Leaf;

/// Records behind a hole, by number.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<u64, Item>);

impl Held {
    pub(super) fn insert(&mut self, item: Item, sink: &mut Sink) {
        self.remove(item.place.i, sink);
        sink.held_messages += 1;
        sink.held_bytes += item.bytes();
        self.0.insert(item.place.i, item);
    }

    pub(super) fn remove(&mut self, i: u64, sink: &mut Sink) -> Option<Item> {
        let item = self.0.remove(&i)?;
        sink.held_messages -= 1;
        sink.held_bytes -= item.bytes();
        Some(item)
    }

    pub(super) fn pop_first(&mut self, sink: &mut Sink) -> Option<Item> {
        let first = self.first()?;
        self.remove(first, sink)
    }

    /// Shows everything as stale.
    pub(super) fn withhold_all(&mut self, sink: &mut Sink) {
        while let Some(item) = self.pop_first(sink) {
            withhold(item, sink);
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self, sink: &mut Sink) {
        while self.pop_first(sink).is_some() {}
    }

    pub(super) fn get(&self, i: u64) -> Option<&Item> {
        self.0.get(&i)
    }

    pub(super) fn leaf(&self, i: u64) -> Option<Leaf> {
        self.get(i).map(|item| item.place.leaf)
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.0.keys().next_back().copied()
    }

    /// The highest number up to `most` that came at `time` or before.
    pub(super) fn last_since(&self, time: u64, most: u64) -> Option<u64> {
        let up_to = self.0.range(..=most).rev();
        up_to.map(|(i, item)| (*i, item.at)).find(|(_, at)| *at <= time).map(|(i, _)| i)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
