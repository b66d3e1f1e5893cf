//! How far named consumers are done with streams, as they say themselves.

use std::collections::BTreeMap;

use crate::envelope::Epoch;
use crate::frames::Word;
use crate::identity::StreamName;
use crate::limits::FLOORS_MAX;

/// A consumer is done with everything up to here. A later epoch is further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Floor {
    /// The epoch.
    pub epoch: Epoch,
    /// The last number that it is done with.
    pub upto: u64,
}

#[derive(Debug, Default)]
pub(super) struct Floors(BTreeMap<(Word, StreamName), Floor>);

impl Floors {
    /// Notes a floor, which never sinks; `false` when there is no room for one more. Nothing is pushed out
    /// for it, because what a consumer has not read may be kept for its floor.
    pub(super) fn set(&mut self, consumer: &Word, stream: &StreamName, floor: Floor) -> bool {
        let key = (consumer.clone(), stream.clone());
        let full = self.0.len() >= FLOORS_MAX;
        match self.0.get_mut(&key) {
            Some(known) => *known = floor.max(*known),
            None if full => return false,
            None => {
                self.0.insert(key, floor);
            }
        }
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Word, &StreamName, Floor)> {
        self.0.iter().map(|((consumer, stream), floor)| (consumer, stream, *floor))
    }
}
