//! What the epoch that is followed lacks, as it is asked for.

use super::{Current, Rest, Sink};
use crate::identity::StreamName;
use crate::limits::{NEED_MS, NUMBER_MAX};
use crate::need::{Need, What};
use crate::planted::bug;

impl Current {
    /// Has everything up to this number fetched. Said again from time to time, in case that it was forgotten.
    pub(in crate::stream) fn want(
        &mut self,
        name: &StreamName,
        to: u64,
        now: u64,
        sink: &mut Sink,
    ) {
        if to < self.next {
            return;
        }
        match self.wanted {
            None => sink.counts.gaps += 1,
            Some((wanted, at)) if to <= wanted && now < at.saturating_add(NEED_MS) => return,
            Some(_) => {}
        }
        let to = self.wanted.map_or(to, |(wanted, _)| wanted.max(to));
        self.wanted = Some((to, now));
        let from = self.next + u64::from(bug("gap-off-by-one") && self.next < to);
        let what = What::Records { epoch: self.epoch, from, to };
        sink.needs.push(Need { stream: name.clone(), what });
    }

    /// Has the missing end of the epoch fetched, whose last number is this; what its publisher does not keep
    /// is lost at once.
    pub(in crate::stream) fn want_end(
        &mut self,
        name: &StreamName,
        last: u64,
        now: u64,
        sink: &mut Sink,
    ) {
        if self.close_until(last, name, now, sink) {
            self.close(name, (last, None), now, sink);
        }
    }

    /// Has whatever there is behind the last known number fetched. `true` once nobody has more, as those say
    /// who were asked after `since`.
    pub(in crate::stream) fn want_rest(
        &mut self,
        name: &StreamName,
        since: u64,
        now: u64,
        sink: &mut Sink,
    ) -> bool {
        // What something signed shows to be there comes first: it is handed on, or said to be lost.
        let ahead = self.ahead.map(|ahead| ahead.last).max(self.held.last());
        if let Some(last) = ahead.filter(|last| self.lacks(*last)) {
            self.want_end(name, last, now, sink);
            if self.lacks(last) {
                return false;
            }
        }
        match self.rest {
            Rest::Over { upto, asked } if upto < self.next && asked >= since => return true,
            Rest::Asked(at) if now < at.saturating_add(NEED_MS) => return false,
            _ => {}
        }
        if self.forked || self.next > NUMBER_MAX || bug("old-epoch-left-early") {
            return true;
        }
        if self.is_waiting() {
            // There is more, and it is being fetched.
            return false;
        }
        self.rest = Rest::Asked(now);
        let what = What::Rest { epoch: self.epoch, from: self.next };
        sink.needs.push(Need { stream: name.clone(), what });
        false
    }
}
