//! One thing that a stream needs, and how far the search for it is.

use super::Found;
use crate::endpoint::Endpoint;
use crate::envelope::Epoch;
use crate::frames::{Ask, Range};
use crate::identity::StreamName;
use crate::limits::{ABSENT_SPANS_MAX, BEHIND_AGAIN_MS, NUMBER_MAX, SOFT_MS};
use crate::need::What;

/// A need, and who has said what to it.
#[derive(Debug)]
pub(super) struct Task {
    what: What,
    /// When the search began.
    begun: u64,
    /// Since when it is needed, or something came of it the last time.
    pub(super) since: u64,
    pub(super) is_flying: bool,
    pub(super) is_ready: bool,
    /// It was said that it stands still.
    pub(super) is_told: bool,
    /// Numbers that the current holder has not been asked for yet, in order.
    open: Vec<(u64, u64)>,
    /// Numbers that the current holder does not have, in order.
    absent: Vec<(u64, u64)>,
    /// The last number that is asked for now.
    asked: u64,
    /// The holder that is being asked.
    with: Option<Endpoint>,
    /// Holders that have said all they can say.
    answered: Vec<Endpoint>,
    /// The current holder ends before what was asked for, or has holes there.
    lacks: bool,
    /// Those of whom that holds: what is missing may be on its way to them.
    behind: Vec<Endpoint>,
    /// Not to be asked for before this time.
    again_at: u64,
    /// Somebody knows the stream whose head is asked for.
    is_informed: bool,
    /// The current holder's range is to be asked for: it has trimmed what was asked for.
    wants_range: bool,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to ask, of this holder or of another one.
    Ask,
    /// Nothing is missing any more.
    Done,
    /// The holder contradicts itself.
    Odd(&'static str),
}

impl Task {
    pub(super) fn new(what: What, now: u64) -> Task {
        let open = match what {
            What::Records { from, to, .. } => vec![(from, to)],
            What::Rest { from, .. } => vec![(from, NUMBER_MAX)],
            What::Single { i, .. } => vec![(i, i)],
            What::Genesis { .. } => vec![(0, 0)],
            What::Head | What::Find { .. } => Vec::new(),
        };
        Task {
            what,
            begun: now,
            since: now,
            is_flying: false,
            is_ready: false,
            is_told: false,
            open,
            absent: Vec::new(),
            asked: 0,
            with: None,
            answered: Vec::new(),
            lacks: false,
            behind: Vec::new(),
            again_at: 0,
            is_informed: false,
            wants_range: false,
        }
    }

    /// When the search began.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// It stands still: it was said, and nothing has come of it since.
    pub(super) fn stands_still(&self) -> bool {
        self.is_told
    }

    pub(super) fn what(&self) -> What {
        self.what
    }

    pub(super) fn epoch(&self) -> Option<Epoch> {
        match self.what {
            What::Records { epoch, .. }
            | What::Rest { epoch, .. }
            | What::Genesis { epoch }
            | What::Single { epoch, .. } => Some(epoch),
            What::Head | What::Find { .. } => None,
        }
    }

    /// Whether this is asked for already; grows where that is all it takes.
    pub(super) fn covers(&mut self, other: What) -> bool {
        match (&mut self.what, other) {
            (
                What::Records { epoch, from, to },
                What::Records { epoch: other, from: first, to: last },
            ) if *epoch == other && first >= *from && first <= *to + 1 => {
                if last > *to {
                    let more = (*to + 1, last);
                    *to = last;
                    add(&mut self.open, more);
                    // Who said no to the rest was not asked for this.
                    self.nobody_has_answered();
                }
                true
            }
            (What::Rest { epoch, .. }, What::Rest { epoch: other, .. }) => *epoch == other,
            (What::Head, What::Head) => {
                // It is another question, of somebody who knows more by now: it does not wait for those who are silent.
                self.answered.clear();
                true
            }
            (known, other) => *known == other,
        }
    }

    fn nobody_has_answered(&mut self) {
        self.answered.clear();
        self.behind.clear();
        self.again_at = 0;
    }

    pub(super) fn holders_changed(&mut self) {
        self.nobody_has_answered();
        (self.is_flying, self.is_ready) = (false, false);
        self.leave();
    }

    pub(super) fn has_answer_of(&self, holder: &Endpoint) -> bool {
        self.answered.contains(holder)
    }

    pub(super) fn is_with(&self, holder: &Endpoint) -> bool {
        self.with.as_ref() == Some(holder)
    }

    /// What to ask this holder, and with which number its answer begins.
    pub(super) fn next_ask(
        &mut self,
        stream: &StreamName,
        holder: &Endpoint,
        portion: u64,
    ) -> (Ask, u64) {
        if !self.is_with(holder) {
            self.leave();
            self.with = Some(holder.clone());
        }
        let stream = stream.clone();
        match (self.what, self.open.first()) {
            (What::Find { time }, _) => (Ask::Find { stream, time }, 0),
            (_, Some((from, to))) if !self.wants_range => {
                let (from, to) = (*from, *to);
                self.asked = to;
                let epoch = self.epoch().expect("what has numbers has an epoch");
                let filters = Vec::new();
                (Ask::Get { stream, epoch, from, to, max: portion, filters }, from)
            }
            _ => (Ask::Head { stream }, 0),
        }
    }

    /// The answer to a `GET` ended before `next`; these numbers of it are gone, some of them because of holes.
    pub(super) fn ended(
        &mut self,
        holder: &Endpoint,
        next: u64,
        (gone, has_holes): (&[u64], bool),
        more: bool,
        progress: Option<u64>,
    ) -> Step {
        let Some((from, to)) = self.open.first().copied() else {
            return Step::Odd("it answered what was not asked");
        };
        if let Some(now) = progress {
            (self.since, self.is_told) = (now, false);
        }
        gone.iter().for_each(|i| add(&mut self.absent, (*i, *i)));
        self.lacks |= has_holes;
        self.open.remove(0);
        // What was added while this was on its way was not asked for.
        if next <= to && (more || next > self.asked) {
            self.open.insert(0, (next, to));
            if next == from {
                return Step::Odd("it said that it has more, and gave nothing");
            }
            return Step::Ask;
        }
        if next <= to {
            add(&mut self.absent, (next, to));
            self.lacks = true;
        }
        self.after_span(holder)
    }

    /// A span was asked for: goes on with the next one, or this holder has said everything.
    fn after_span(&mut self, holder: &Endpoint) -> Step {
        match (self.open.is_empty(), self.absent.is_empty()) {
            (false, _) => Step::Ask,
            (true, true) => Step::Done,
            (true, false) => {
                self.has_answered(holder);
                Step::Ask
            }
        }
    }

    /// The holder knows nothing of the stream, or of the epoch.
    pub(super) fn denied(&mut self, holder: &Endpoint) -> Step {
        (self.wants_range, self.lacks) = (false, true);
        self.has_answered(holder);
        Step::Ask
    }

    /// The holder has no more what was asked for: it is asked what it has.
    pub(super) fn trimmed(&mut self) -> Step {
        if self.wants_range || self.open.is_empty() {
            return Step::Odd("it says something else each time");
        }
        self.wants_range = true;
        Step::Ask
    }

    /// The holder has said which ranges it has. One who gets them from others may be behind: the rest are asked, too.
    pub(super) fn informed(&mut self, holder: &Endpoint, epochs: &[Range], is_copy: bool) -> Step {
        if !std::mem::take(&mut self.wants_range) {
            return match self.what {
                What::Head if !epochs.is_empty() && is_copy => {
                    self.is_informed = true;
                    self.has_answered(holder);
                    Step::Ask
                }
                What::Head if !epochs.is_empty() => Step::Done,
                What::Head => self.denied(holder),
                _ => Step::Odd("it answered what was not asked"),
            };
        }
        let range = epochs.iter().find(|range| Some(range.epoch) == self.epoch());
        let Some(range) = range else { return self.denied(holder) };
        let open = std::mem::take(&mut self.open);
        let before = open.first().map(|(from, _)| *from);
        for (from, to) in open {
            if from < range.first {
                add(&mut self.absent, (from, to.min(range.first - 1)));
            }
            if to >= range.first {
                self.open.push((from.max(range.first), to));
            }
        }
        if before.is_some_and(|from| from >= range.first) {
            return Step::Odd("it says that it trimmed what it has");
        }
        self.after_span(holder)
    }

    /// The holder could not help now.
    pub(super) fn failed(&mut self) {
        self.leave();
    }

    /// The current holder is done with, for now: what it did not give is open for the next one.
    fn leave(&mut self) {
        (self.with, self.wants_range, self.lacks) = (None, false, false);
        for span in std::mem::take(&mut self.absent) {
            add(&mut self.open, span);
        }
    }

    fn has_answered(&mut self, holder: &Endpoint) {
        self.answered.push(holder.clone());
        if self.lacks {
            self.behind.push(holder.clone());
        }
        self.leave();
    }

    /// Whether it is to be asked for now.
    pub(super) fn is_due(&self, now: u64) -> bool {
        now >= self.again_at
    }

    /// When it is to be asked for.
    pub(super) fn due(&self) -> u64 {
        self.again_at
    }

    /// Those who have not refused what is missing, and do not have it.
    pub(super) fn behind(&self) -> &[Endpoint] {
        let is_firm = matches!(self.what, What::Records { .. } | What::Single { .. });
        if is_firm { &self.behind } else { &[] }
    }

    /// Has these asked again, after a while.
    pub(super) fn ask_again(&mut self, holders: &[Endpoint], now: u64) {
        self.answered.retain(|holder| !holders.contains(holder));
        self.behind.clear();
        self.again_at = now + BEHIND_AGAIN_MS;
    }

    /// Whether the answers of some holders are enough, because nothing signed shows that there is more, and
    /// the others have been silent for long. A hole is never closed like this.
    pub(super) fn may_close_without_all(&self, now: u64) -> bool {
        let firm = matches!(self.what, What::Records { .. } | What::Single { .. });
        !firm && !self.answered.is_empty() && now.saturating_sub(self.since) >= SOFT_MS
    }

    /// Every holder has answered, and this is still missing.
    pub(super) fn close(self, stream: &StreamName, found: &mut Vec<Found>) {
        let stream = stream.clone();
        match self.what {
            What::Records { epoch, .. } => {
                for span in self.open {
                    let stream = stream.clone();
                    found.push(Found::Absent { stream, epoch, span, single: false });
                }
            }
            What::Single { epoch, i } => {
                found.push(Found::Absent { stream, epoch, span: (i, i), single: true });
            }
            What::Rest { epoch, from } => {
                // Holes before that are the business of whoever has what is behind them.
                let upto = self.open.last().map_or(NUMBER_MAX, |(next, _)| *next);
                let upto = upto.saturating_sub(1).max(from.saturating_sub(1));
                found.push(Found::RestOver { stream, epoch, upto, asked: self.begun });
            }
            What::Genesis { epoch } => found.push(Found::NoGenesis { stream, epoch }),
            What::Head if self.is_informed => {}
            What::Head | What::Find { .. } => {
                let (holder, heartbeat, epochs, asked) = (None, None, Vec::new(), self.begun);
                found.push(Found::Info { stream, holder, heartbeat, epochs, asked });
            }
        }
    }
}

/// Adds a span to spans that are in order, and joins those that touch.
fn add(spans: &mut Vec<(u64, u64)>, (from, to): (u64, u64)) {
    let at = spans.partition_point(|span| span.1 + 1 < from);
    let mut joined = (from, to);
    let end = at + spans[at..].iter().take_while(|span| span.0 <= to + 1).count();
    for span in &spans[at..end] {
        joined = (joined.0.min(span.0), joined.1.max(span.1));
    }
    // More scattered holes than this are fetched as one: what is there already is a duplicate.
    if end == at && spans.len() >= ABSENT_SPANS_MAX {
        if let Some(near) = spans.get_mut(at.min(ABSENT_SPANS_MAX - 1)) {
            *near = (near.0.min(joined.0), near.1.max(joined.1));
        }
        return;
    }
    spans.splice(at..end, [joined]);
}
