//! An epoch that is not followed yet: what is known of it, and when that is enough.

use super::current::Current;
use super::held::Held;
use super::{Sink, is_fresh};
use crate::event::Message;
use crate::identity::{Identity, StreamName};
use crate::limits::{HEARTBEAT_IDLE_MS, HOLE_MS_MAX};
use crate::merkle::Leaf;
use crate::record::{After, Genesis, Heartbeat};
use crate::timestamp::Timestamp;

#[derive(Debug)]
pub(super) struct Pending {
    since: u64,
    genesis: Option<Opening>,
    pub(super) beat: Option<Heartbeat>,
    /// The time of the newest heartbeat.
    time: Timestamp,
    /// A heartbeat here may serve as a base: it is fresh, or two endpoints sent one.
    proven: bool,
    beat_from: Option<Identity>,
    pub(super) stale: bool,
    pub(super) held: Held,
}

/// A genesis record.
#[derive(Debug)]
struct Opening {
    after: After,
    /// The leaf of the last message before.
    prev: Leaf,
    leaf: Leaf,
    fresh: bool,
}

/// Where an epoch is taken up.
pub(super) struct Base {
    pub(super) next: u64,
    pub(super) leaf: Option<Leaf>,
    pub(super) genesis: Option<Leaf>,
    /// The time of the newest heartbeat: one that is older says nothing new.
    pub(super) time: Timestamp,
    pub(super) proven: bool,
}

impl Pending {
    pub(super) fn new(now: u64) -> Pending {
        Pending {
            since: now,
            genesis: None,
            beat: None,
            time: Timestamp::from_millis(i64::MIN),
            proven: false,
            beat_from: None,
            stale: false,
            held: Held::default(),
        }
    }

    pub(super) fn heartbeat(&mut self, message: &Message, beat: &Heartbeat) {
        let other_holder = self.beat_from.as_ref().is_some_and(|from| *from != message.endpoint);
        self.proven |= is_fresh(message) || other_holder;
        self.beat_from = Some(message.endpoint.clone());
        self.time = self.time.max(message.timestamp());
        if self.beat.as_ref().is_none_or(|known| known.last <= beat.last) {
            self.beat = Some(beat.clone());
        }
    }

    pub(super) fn genesis(&mut self, message: &Message, genesis: &Genesis) {
        let (place, fresh) = (message.place(), is_fresh(message));
        let (prev, leaf) = (place.prev, place.leaf);
        self.genesis = Some(Opening { after: genesis.after, prev, leaf, fresh });
    }

    /// The base of a stream that is new here: what a fresh heartbeat shows as the last message, and the
    /// messages that lead up to it without a hole; or a fresh genesis record.
    pub(super) fn base_of_new(&mut self, now: u64, sink: &mut Sink) -> Option<Base> {
        match (&self.beat, &self.genesis) {
            (Some(beat), _) if self.proven => Some(self.base_of_beat(beat)),
            (None, Some(opening)) if opening.fresh => Some(self.first(false)),
            (beat, _) => {
                let waited = now.saturating_sub(self.since) >= 2 * HEARTBEAT_IDLE_MS;
                if beat.is_some() || waited {
                    self.turn_stale(sink);
                }
                None
            }
        }
    }

    fn base_of_beat(&self, beat: &Heartbeat) -> Base {
        let (mut next, mut leaf) = (beat.last + 1, beat.head);
        while let Some(before) = self.held.get(next - 1) {
            // Old messages, sent again, are no news because a living stream goes on behind them.
            let news = before.message.as_ref().is_none_or(is_fresh);
            if before.place.leaf != leaf || !news {
                break;
            }
            (next, leaf) = (next - 1, before.place.prev);
        }
        let (genesis, time) = (Some(beat.genesis), self.time);
        Base { next, leaf: Some(leaf), genesis, time, proven: false }
    }

    /// The base in an epoch that follows the current one: its first message, once the current one is
    /// complete, or its missing end has been waited for.
    pub(super) fn base_after(
        &mut self,
        current: &mut Current,
        name: &StreamName,
        now: u64,
        sink: &mut Sink,
    ) -> Option<Base> {
        let patience_over = now.saturating_sub(self.since) >= HOLE_MS_MAX;
        let Some(opening) = &self.genesis else {
            let known = self.beat.is_some() || self.stale || !self.held.is_empty();
            return (patience_over && known).then(|| self.first(false));
        };
        match opening.after {
            After::Epoch { epoch, last } if epoch == current.epoch => {
                if current.lacks(last) && !patience_over {
                    return None;
                }
                let proven = current.end(last, opening.prev, name, sink);
                Some(self.first(proven))
            }
            _ => Some(self.first(false)),
        }
    }

    /// From the first message on.
    fn first(&self, proven: bool) -> Base {
        let opening = self.genesis.as_ref().map(|opening| opening.leaf);
        let leaf = opening.or(self.beat.as_ref().map(|beat| beat.genesis));
        Base { next: 1, leaf, genesis: leaf, time: self.time, proven }
    }

    pub(super) fn turn_stale(&mut self, sink: &mut Sink) {
        self.stale = true;
        self.held.withhold_all(sink);
    }
}
