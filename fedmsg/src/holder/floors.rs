//! How far named consumers are done with streams, as they say themselves.

use std::collections::BTreeMap;

use crate::envelope::Epoch;
use crate::frames::{Acknowledged, Word};
use crate::identity::StreamName;
use crate::limits::{FLOORS_MAX, FLOORS_OF_STREAM_MAX};

/// A consumer is done with everything up to here. A later epoch is further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Floor {
    /// The epoch.
    pub epoch: Epoch,
    /// The last number that it is done with.
    pub upto: u64,
}

#[derive(Debug, Default)]
pub(super) struct Floors {
    streams: BTreeMap<StreamName, BTreeMap<Word, Said>>,
    count: usize,
}

/// A floor, and when it was said the last time, in milliseconds of a clock that never goes back.
#[derive(Clone, Copy, Debug)]
struct Said {
    floor: Floor,
    at: u64,
}

impl Floors {
    /// Notes a floor, which never sinks; `false` when there is no room for one more. Nothing is pushed out
    /// for it, because what a consumer has not read may be kept for its floor.
    pub(super) fn set(
        &mut self,
        consumer: &Word,
        stream: &StreamName,
        floor: Floor,
        now: u64,
    ) -> bool {
        if let Some(known) = self.streams.get_mut(stream).and_then(|all| all.get_mut(consumer)) {
            *known = Said { floor: floor.max(known.floor), at: now };
            return true;
        }
        if self.count >= FLOORS_MAX {
            return false;
        }
        let all = self.streams.entry(stream.clone()).or_default();
        all.insert(consumer.clone(), Said { floor, at: now });
        self.count += 1;
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Word, &StreamName, Floor)> {
        let streams = self.streams.iter();
        streams.flat_map(|(stream, all)| {
            all.iter().map(move |(consumer, said)| (consumer, stream, said.floor))
        })
    }

    /// What was said of a stream here, and what is known from before; of two floors of a consumer the higher one.
    pub(super) fn of(
        &self,
        stream: &StreamName,
        now: u64,
        known: Vec<Acknowledged>,
    ) -> Vec<Acknowledged> {
        let said = self.streams.get(stream).into_iter().flatten().map(|(consumer, said)| {
            let Floor { epoch, upto } = said.floor;
            let age_ms = now.saturating_sub(said.at);
            Acknowledged { consumer: consumer.clone(), epoch, upto, age_ms }
        });
        let mut all = BTreeMap::<Word, Acknowledged>::new();
        for one in known.into_iter().chain(said) {
            match all.get_mut(&one.consumer) {
                None => drop(all.insert(one.consumer.clone(), one)),
                Some(other) => {
                    let age_ms = other.age_ms.min(one.age_ms);
                    if (one.epoch, one.upto) > (other.epoch, other.upto) {
                        *other = one;
                    }
                    other.age_ms = age_ms;
                }
            }
        }
        let mut all: Vec<_> = all.into_values().collect();
        if all.len() > FLOORS_OF_STREAM_MAX {
            all.sort_by_key(|one| one.age_ms);
            all.truncate(FLOORS_OF_STREAM_MAX);
            all.sort_unstable_by(|a, b| a.consumer.cmp(&b.consumer));
        }
        all
    }
}
