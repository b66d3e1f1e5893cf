//! Which streams changed, in the order in which it was noticed.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::envelope::Epoch;
use crate::frames::{Reply, Spot};
use crate::identity::StreamName;
use crate::limits::{PAGE_STREAMS_MAX, STREAMS_MAX};

/// Every change has a number. A token is the life of the holder and the number of the last change that its
/// owner knows of.
#[derive(Debug)]
pub(super) struct Changes {
    life: [u8; 16],
    last: u64,
    known: HashMap<StreamName, Known>,
    /// Each stream at the number of its last change.
    order: BTreeMap<u64, StreamName>,
}

#[derive(Debug)]
struct Known {
    epoch: Epoch,
    i: u64,
    change: u64,
}

impl Changes {
    pub(super) fn new(life: [u8; 16]) -> Changes {
        Changes { life, last: 0, known: HashMap::new(), order: BTreeMap::new() }
    }

    /// How far all streams are now. What is not among them is not there any more.
    pub(super) fn note(&mut self, heads: Vec<Spot>) {
        let mut gone = std::mem::take(&mut self.known);
        for Spot { stream, epoch, i } in heads.into_iter().take(STREAMS_MAX) {
            let mut known = gone.remove(&stream);
            if known.as_ref().is_none_or(|known| (known.epoch, known.i) != (epoch, i)) {
                if let Some(old) = known.take() {
                    self.order.remove(&old.change);
                }
                self.last += 1;
                self.order.insert(self.last, stream.clone());
            }
            let known = known.unwrap_or(Known { epoch, i, change: self.last });
            self.known.insert(stream, known);
        }
        for known in gone.into_values() {
            self.order.remove(&known.change);
        }
    }

    /// What changed since the token, the first page of it; there is more where not all was noted yet.
    pub(super) fn page(&self, token: &[u8], is_all: bool) -> Reply {
        let since = self.number(token);
        let mut streams = Vec::new();
        let mut next = self.last;
        let mut more = !is_all;
        let mut is_full = false;
        for (change, stream) in self.order.range(since + 1..) {
            if streams.len() == PAGE_STREAMS_MAX {
                (more, is_full) = (true, true);
                break;
            }
            if let Some(known) = self.known.get(stream) {
                streams.push(Spot { stream: stream.clone(), epoch: known.epoch, i: known.i });
            }
            next = *change;
        }
        if !is_full {
            next = self.last;
        }
        let token = [&self.life[..], &next.to_be_bytes()].concat();
        Reply::Page { next: Bytes::from(token), more, streams }
    }

    /// The number in a token; 0 in one that is not of this life.
    fn number(&self, token: &[u8]) -> u64 {
        let number = token.strip_prefix(&self.life).and_then(|number| number.try_into().ok());
        number.map(u64::from_be_bytes).filter(|number| *number <= self.last).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn spot(n: usize, i: u64) -> Spot {
        let stream = StreamName::parse(&format!("a.h{n}/0")).expect("stream");
        Spot { stream, epoch: Epoch::new(Uuid::from_u128(1)), i }
    }

    /// All pages since a token, and the token behind them.
    fn all(changes: &Changes, mut token: Bytes) -> (Vec<Spot>, Bytes) {
        let mut all = Vec::new();
        loop {
            let Reply::Page { next, more, streams } = changes.page(&token, true) else {
                panic!("no page");
            };
            assert!(streams.len() <= PAGE_STREAMS_MAX && (more || streams.len() < 5_000));
            all.extend(streams);
            token = next;
            if !more {
                return (all, token);
            }
        }
    }

    #[test]
    fn a_token_leads_to_what_changed_since_and_nothing_else() {
        let mut changes = Changes::new([7; 16]);
        assert_eq!(all(&changes, Bytes::new()).0, []);
        let mut heads: Vec<Spot> = (0..2_500).map(|n| spot(n, 1)).collect();
        changes.note(heads.clone());
        let (first, token) = all(&changes, Bytes::new());
        assert_eq!(first, heads, "all, page by page");
        changes.note(heads.clone());
        assert_eq!(all(&changes, token.clone()).0, [], "nothing changed");
        heads[17].i = 2;
        heads.remove(3);
        heads.push(spot(9_999, 5));
        changes.note(heads.clone());
        assert_eq!(all(&changes, token.clone()).0, [spot(17, 2), spot(9_999, 5)]);
        assert_eq!(changes.order.len(), changes.known.len(), "what is gone is forgotten");
        let other_life = [&[8; 16][..], &token[16..]].concat();
        let beyond = [&[7; 16][..], &u64::MAX.to_be_bytes()].concat();
        for token in [Bytes::new(), other_life.into(), beyond.into(), token.slice(..23)] {
            assert_eq!(all(&changes, token).0.len(), heads.len(), "a token of nobody means all");
        }
    }
}
