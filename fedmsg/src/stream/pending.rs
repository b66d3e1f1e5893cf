//! An epoch that is not followed yet: what is known of it, and when that is enough.

use super::current::Current;
use super::held::Held;
use super::{Sink, is_fresh};
use crate::envelope::Epoch;
use crate::event::{LostReason, Message};
use crate::identity::{Identity, StreamName};
use crate::limits::{HEARTBEAT_IDLE_MS, HOLE_MS_MAX, NEED_MS};
use crate::merkle::Leaf;
use crate::need::{Need, What};
use crate::record::{After, Genesis, Heartbeat, Level};
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
    /// When its genesis record was asked for, and whether nobody has it.
    genesis_asked: Option<u64>,
    genesis_absent: bool,
    /// Nobody has the epoch that the genesis record names as the one before.
    passes_over: bool,
    /// Whether it was asked which epochs lie before this one.
    before: Before,
}

/// What is known of epochs between the current one and this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Unknown,
    Asked(u64),
    Known,
}

/// A genesis record.
#[derive(Debug)]
struct Opening {
    after: After,
    /// The leaf of the last message before.
    prev: Leaf,
    leaf: Leaf,
    fresh: bool,
    level: Level,
}

/// Where an epoch is taken up.
pub(super) struct Base {
    pub(super) next: u64,
    pub(super) leaf: Option<Leaf>,
    pub(super) genesis: Option<Leaf>,
    /// The time of the newest heartbeat: one that is older says nothing new.
    pub(super) time: Timestamp,
    pub(super) proven: bool,
    /// What lies before it was had before: it is no news.
    pub(super) resumed: bool,
}

impl Base {
    /// A place that is known from before: this number comes next.
    pub(super) fn at(next: u64, leaf: Option<Leaf>) -> Base {
        let time = Timestamp::from_millis(i64::MIN);
        Base { next, leaf, genesis: None, time, proven: false, resumed: true }
    }
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
            genesis_asked: None,
            genesis_absent: false,
            passes_over: false,
            before: Before::Unknown,
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
        self.time = self.time.max(message.timestamp());
        let (prev, leaf) = (place.prev, place.leaf);
        let (after, level) = (genesis.after, genesis.level);
        self.genesis = Some(Opening { after, prev, leaf, fresh, level });
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
        Base { next, leaf: Some(leaf), genesis, time, proven: false, resumed: false }
    }

    /// The base in an epoch that follows the current one: its first message, once the current one is
    /// complete, or its missing end has been waited for, or nobody has it.
    pub(super) fn base_after(
        &mut self,
        epoch: Epoch,
        current: &mut Current,
        name: &StreamName,
        now: u64,
        sink: &mut Sink,
    ) -> Option<Base> {
        let patience_over = now.saturating_sub(self.since) >= HOLE_MS_MAX;
        let Some(opening) = &self.genesis else {
            let known = self.beat.is_some() || self.stale || !self.held.is_empty();
            if !patience_over || !known && !self.genesis_absent {
                return None;
            }
            if current.repairable && !self.genesis_absent {
                self.ask_genesis(epoch, name, now, sink);
                return None;
            }
            let ready = !current.repairable || current.want_rest(name, self.since, now, sink);
            return ready.then(|| self.first(false));
        };
        match opening.after {
            After::Epoch { epoch, last } if epoch == current.epoch => {
                let reason = match current.repairable {
                    true => LostReason::Absent,
                    false => LostReason::NoHolder,
                };
                if current.lacks(last) && current.repairable {
                    current.want_end(name, last, now, sink);
                    return None;
                }
                if current.lacks(last) && !patience_over {
                    return None;
                }
                let proven = current.end((last, opening.prev), reason, name, sink);
                Some(self.first(proven))
            }
            _ if !current.repairable => Some(self.first(false)),
            After::Epoch { epoch: before, .. } if before > current.epoch && !self.passes_over => {
                // It is named, so it was there: its own genesis record ties it to what was before.
                self.ask_genesis(before, name, now, sink);
                None
            }
            _ => {
                // Other epochs in between come first; then what is left of the current one.
                let known = self.ask_before(name, now, sink);
                (known && current.want_rest(name, self.since, now, sink)).then(|| self.first(false))
            }
        }
    }

    fn ask_genesis(&mut self, epoch: Epoch, name: &StreamName, now: u64, sink: &mut Sink) {
        if self.genesis_asked.is_none_or(|at| now >= at.saturating_add(NEED_MS)) {
            self.genesis_asked = Some(now);
            let what = What::Genesis { epoch };
            sink.needs.push(Need { stream: name.clone(), what });
        }
    }

    fn ask_before(&mut self, name: &StreamName, now: u64, sink: &mut Sink) -> bool {
        match self.before {
            Before::Known => return true,
            Before::Asked(at) if now < at.saturating_add(NEED_MS) => return false,
            _ => self.before = Before::Asked(now),
        }
        sink.needs.push(Need { stream: name.clone(), what: What::Head });
        false
    }

    /// A holder that was asked at this time has no epoch between the current one and this.
    pub(super) fn nothing_before(&mut self, asked: u64) {
        if asked >= self.since {
            self.before = Before::Known;
        }
    }

    /// What receipts of the epoch promise, where it is known.
    pub(super) fn level(&self) -> Option<Level> {
        let opening = self.genesis.as_ref().map(|opening| opening.level);
        opening.or(self.beat.as_ref().map(|beat| beat.level))
    }

    /// No holder has the genesis record.
    pub(super) fn no_genesis(&mut self) {
        self.genesis_absent = self.genesis.is_none();
    }

    /// No holder has the genesis record of this epoch, which this one may name as the one before.
    pub(super) fn no_genesis_of(&mut self, epoch: Epoch) {
        let after = self.genesis.as_ref().map(|opening| opening.after);
        self.passes_over |=
            matches!(after, Some(After::Epoch { epoch: named, .. }) if named == epoch);
    }

    /// The epoch before this one, and how far it went, as the genesis record says.
    pub(super) fn after(&self) -> Option<After> {
        self.genesis.as_ref().map(|opening| opening.after)
    }

    /// From the first message on.
    fn first(&self, proven: bool) -> Base {
        let opening = self.genesis.as_ref().map(|opening| opening.leaf);
        let leaf = opening.or(self.beat.as_ref().map(|beat| beat.genesis));
        Base { next: 1, leaf, genesis: leaf, time: self.time, proven, resumed: false }
    }

    pub(super) fn turn_stale(&mut self, sink: &mut Sink) {
        self.stale = true;
        self.held.withhold_all(sink);
    }
}
