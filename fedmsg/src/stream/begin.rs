//! Where a stream is taken up that is new to its reader.

use super::pending::Base;
use super::{Sink, Stream};
use crate::envelope::Epoch;
use crate::frames::Range;
use crate::limits::NEED_MS;
use crate::merkle::Leaf;
use crate::need::{Need, What};
use crate::record::Level;
use crate::timestamp::Timestamp;

/// Where a reader takes up a stream that is new to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Begin {
    /// With what comes after the newest heartbeat.
    #[default]
    Live,
    /// With this number of this epoch; the leaf is that of the message before, where it is known.
    At {
        /// The epoch.
        epoch: Epoch,
        /// The first number.
        next: u64,
        /// The leaf of the number before.
        leaf: Option<Leaf>,
    },
    /// With the first message that its publisher stored at this time or later.
    Since(Timestamp),
    /// With the first message that there is.
    Earliest,
    /// With the last so many messages.
    Last(u64),
    /// With this number of the newest epoch.
    Number(u64),
}

impl Stream {
    /// Where a stream was at the time that was asked for.
    pub(crate) fn found(&mut self, epoch: Epoch, i: u64, now: u64, sink: &mut Sink) {
        if self.current.is_none() && matches!(self.begin, Some((Begin::Since(_), _))) {
            self.begin_at(epoch, i.max(1));
            self.settle(now, sink);
        }
    }

    /// No holder knows the stream. One that is kept has only just begun, and is taken up with its first message,
    /// as soon as something of it has come; one that is kept nowhere as it comes.
    pub(super) fn begin_unknown(&mut self) {
        let known = self.pending.iter();
        let known = known.filter_map(|(epoch, pending)| Some((*epoch, pending.level()?))).next();
        match known {
            None => {}
            Some((_, Level::Memory)) => self.begin = None,
            Some((epoch, _)) => self.begin_at(epoch, 1),
        }
    }

    pub(super) fn begin_at(&mut self, epoch: Epoch, next: u64) {
        self.begin = Some((Begin::At { epoch, next, leaf: None }, None));
    }

    /// Takes the stream up where it is to begin, or asks where that is.
    pub(super) fn begin(&mut self, now: u64, sink: &mut Sink) {
        let Some((begin, asked)) = self.begin else { return };
        let what = match begin {
            Begin::At { epoch, next, leaf } => {
                self.begin = None;
                let base = Base::at(next, leaf);
                return self.follow(epoch, base, now, sink);
            }
            Begin::Since(time) => What::Find { time },
            Begin::Earliest | Begin::Last(_) | Begin::Number(_) => What::Head,
            Begin::Live => return self.begin = None,
        };
        if asked.is_none_or(|at| now >= at.saturating_add(NEED_MS)) {
            self.begin = Some((begin, Some(now)));
            sink.needs.push(Need { stream: self.name.clone(), what });
        }
    }
}

/// Where the last `count` messages begin.
pub(super) fn last_of(epochs: &[Range], count: u64) -> (Epoch, u64) {
    let mut left = count;
    let mut place = None;
    for range in epochs.iter().rev() {
        let first = range.first.max(1);
        let there = (range.last + 1).saturating_sub(first);
        let taken = there.min(left);
        place = Some((range.epoch, (range.last + 1 - taken).max(1)));
        left -= taken;
        if left == 0 {
            break;
        }
    }
    place.expect("the caller has at least one epoch")
}
