//! What relays have of a stream, and what each is sent next. Pure: the records come from a [`Backlog`], time and
//! chance are arguments.
//!
//! The same records go to every relay, each in order, one request at a time. What a relay has already is a
//! duplicate there, so whatever is not known is sent again.

mod places;

use bytes::Bytes;

#[cfg(feature = "net")]
pub(crate) use self::places::has;
use self::places::place_at;
pub(crate) use self::places::{count_after, place_after};
use crate::delivered::{Delivered, Point, Refusal};
use crate::envelope::{Epoch, Wire};
use crate::frames::{Ask, Reply, Request, RequestId, Span, Spot, Word};
use crate::identity::Identity;
use crate::journal::{JournalError, Range};
use crate::limits::{PUT_BYTES_MAX, PUT_MESSAGES_MAX};
use crate::planted::bug;
use crate::stored::Claim;

/// An answer that takes longer is not waited for: the records are sent again.
pub(crate) const ANSWER_MS_MAX: u64 = 2_000;
/// Pauses after failures grow from the first to the last of these, each with full jitter.
const PAUSE_MS: (u64, u64) = (100, 30_000);
/// How soon it is looked again whether a relay is connected, unless its connection shows that before.
const CONNECT_MS: u64 = 50;

/// The records of one stream as they are on the disk of its publisher.
pub(crate) trait Backlog {
    /// What there is of each epoch, oldest first.
    fn ranges(&mut self) -> Result<Vec<Range>, JournalError>;
    /// Records from this one on, of its epoch, at most so many records and bytes, at least one where there is
    /// one; what cannot be read is left out.
    fn read(
        &mut self,
        from: Point,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<(u64, Wire)>, JournalError>;
}

/// How far each of some relays is.
#[derive(Debug)]
pub(crate) struct Delivery {
    relays: Vec<Relay>,
    delivered: Delivered,
    /// The last record that there is, as far as this knows.
    end: Option<Point>,
    beat: Option<Wire>,
    beats: u64,
    requests: u64,
}

#[derive(Debug)]
struct Relay {
    identity: Identity,
    /// It wants this record, or this is where it is begun with.
    next: Option<Point>,
    asked: Option<Asked>,
    /// Not before this time, in milliseconds.
    pause_until: u64,
    failures: u32,
    up: bool,
    /// The last request could not be sent.
    unsent: bool,
    /// The heartbeat that it has.
    beat: u64,
    /// It lacks what is gone: it goes on when there is an epoch above this one.
    stuck: Option<Epoch>,
    /// It is to be given records again from this one on, which it has, for the sake of its receipt.
    prove: Option<Point>,
}

#[derive(Debug)]
struct Asked {
    id: RequestId,
    at: u64,
    epoch: Epoch,
    numbers: Vec<u64>,
    /// The records themselves: what a receipt has to be good for.
    records: Vec<Wire>,
    /// The heartbeat behind them.
    beat: Option<u64>,
    answered: usize,
    /// It had them before: only its receipt is wanted.
    is_proof: bool,
}

/// What an answer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The relay has these records: on its disk, where it gave a receipt, which nobody has verified yet.
    Taken { from: Point, to: u64, receipt: Option<Claim> },
    /// It never takes these. They have used their positions up, and what follows goes on.
    Refused(Refusal),
    /// It goes on elsewhere: it lacks something.
    Back,
    /// It lacks what is gone: a new epoch has to begin.
    NeedsEpoch,
    /// It takes nothing now.
    Failed(String),
    /// Nothing that matters.
    Nothing,
}

impl Delivery {
    pub(crate) fn new(
        relays: impl IntoIterator<Item = Identity>,
        mut delivered: Delivered,
    ) -> Delivery {
        let relays: Vec<Relay> = relays.into_iter().map(Relay::new).collect();
        relays.iter().for_each(|relay| delivered.claim(&relay.identity));
        Delivery { relays, delivered, end: None, beat: None, beats: 0, requests: 0 }
    }

    /// The stream ends here now.
    pub(crate) fn grown(&mut self, end: Option<Point>) {
        self.end = self.end.max(end);
    }

    /// The last record that there is, as far as this knows.
    pub(crate) fn end(&self) -> Option<Point> {
        self.end
    }

    /// This is the newest heartbeat: it goes behind the last record.
    pub(crate) fn beaten(&mut self, beat: Wire) {
        self.beat = Some(beat);
        self.beats += 1;
    }

    /// What relays have: what is written down.
    pub(crate) fn delivered(&self) -> &Delivered {
        &self.delivered
    }

    /// Whether the relay of this number needs records, or the heartbeat.
    pub(crate) fn has_news(&self, at: usize) -> bool {
        let relay = &self.relays[at];
        self.lacks_records(relay) || relay.beat < self.beats
    }

    fn lacks_records(&self, relay: &Relay) -> bool {
        match relay.next {
            Some(next) => self.end >= Some(next),
            None => self.end > self.delivered.of(&relay.identity),
        }
    }

    /// Whether it has everything, the newest heartbeat too.
    pub(crate) fn is_done(&self, at: usize) -> bool {
        !self.has_news(at) && self.relays[at].asked.is_none()
    }

    /// A relay is given records again from this one on, which it has: its receipt is wanted.
    pub(crate) fn prove(&mut self, at: usize, from: Point) {
        self.relays[at].prove = Some(from);
    }

    /// Whether it answers.
    pub(crate) fn is_up(&self, at: usize) -> bool {
        self.relays[at].up
    }

    /// Whether a request to it is on its way.
    pub(crate) fn is_asked(&self, at: usize) -> bool {
        self.relays[at].asked.is_some()
    }

    /// How many relays answer.
    pub(crate) fn up(&self) -> usize {
        self.relays.iter().filter(|relay| relay.up).count()
    }

    /// The next request to a relay, if there is something to be sent and it is time. `chance` is any number.
    pub(crate) fn ask(
        &mut self,
        at: usize,
        backlog: &mut impl Backlog,
        now: u64,
        chance: u64,
    ) -> Result<Option<Request>, JournalError> {
        let relay = &mut self.relays[at];
        if relay.asked.as_ref().is_some_and(|asked| now.saturating_sub(asked.at) >= ANSWER_MS_MAX) {
            relay.failed(now, chance);
        }
        if self.relays[at].asked.is_some() || self.relays[at].pause_until > now {
            return Ok(None);
        }
        if let Some(from) = self.relays[at].prove.take() {
            let records = backlog.read(from, PUT_MESSAGES_MAX, PUT_BYTES_MAX)?;
            if !records.is_empty() {
                let (numbers, messages) = records.into_iter().unzip();
                return Ok(self.put(at, (from.epoch, numbers, messages), None, true, now));
            }
        }
        if !self.has_news(at) {
            return Ok(None);
        }
        let (epoch, records) = self.batch(at, backlog)?;
        let Some(epoch) = epoch else { return Ok(None) };
        let (numbers, messages): (Vec<u64>, Vec<Wire>) = records.into_iter().unzip();
        let last = numbers.last().map(|i| Point { epoch, i: *i });
        let bytes: usize = messages.iter().map(Wire::len).sum();
        let mut beat = None;
        // Behind the last record, where it has room for certain.
        if last.is_none_or(|last| self.end <= Some(last)) && bytes <= PUT_BYTES_MAX / 2 {
            beat = self.beat.clone();
        }
        if messages.is_empty() && beat.is_none() {
            return Ok(None);
        }
        Ok(self.put(at, (epoch, numbers, messages), beat, false, now))
    }

    /// The request that puts these records, and a heartbeat behind them.
    fn put(
        &mut self,
        at: usize,
        (epoch, numbers, records): (Epoch, Vec<u64>, Vec<Wire>),
        beat: Option<Wire>,
        is_proof: bool,
        now: u64,
    ) -> Option<Request> {
        self.requests += 1;
        let id = RequestId::new(&self.requests.to_be_bytes())?;
        if let Some(i) = numbers.last().filter(|_| bug("delivered-when-asked")) {
            let relay = self.relays[at].identity.clone();
            self.delivered.pass(&relay, Point { epoch, i: *i });
        }
        let mut messages = records.clone();
        messages.extend(beat.clone());
        let beat = beat.map(|_| self.beats);
        let (id_of, answered) = (id.clone(), 0);
        let asked = Asked { id: id_of, at: now, epoch, numbers, records, beat, answered, is_proof };
        self.relays[at].asked = Some(asked);
        Some(Request { id, ask: Ask::Put { messages } })
    }

    /// The records that a relay needs next, of one epoch; none where it needs the heartbeat alone.
    #[expect(clippy::type_complexity, reason = "one epoch, and its numbered records")]
    fn batch(
        &mut self,
        at: usize,
        backlog: &mut impl Backlog,
    ) -> Result<(Option<Epoch>, Vec<(u64, Wire)>), JournalError> {
        if !self.lacks_records(&self.relays[at]) {
            return Ok((self.end.map(|end| end.epoch), Vec::new()));
        }
        let ranges = backlog.ranges()?;
        let end = ranges.last().map(|range| Point { epoch: range.epoch, i: range.last });
        let relay = &mut self.relays[at];
        if let Some(above) = relay.stuck {
            let Some(newest) = ranges.last().filter(|range| range.epoch > above) else {
                return Ok((None, Vec::new()));
            };
            relay.next = Some(Point { epoch: newest.epoch, i: newest.first });
            relay.stuck = None;
        }
        let mut from = match relay.next {
            Some(next) => place_at(&ranges, next),
            None => place_after(&ranges, self.delivered.of(&relay.identity)),
        };
        self.grown(end);
        // Of an epoch of which nothing can be read any more, the next one is taken.
        while let Some(start) = from {
            let records = backlog.read(start, PUT_MESSAGES_MAX - 1, PUT_BYTES_MAX)?;
            if !records.is_empty() {
                return Ok((Some(start.epoch), records));
            }
            let passed = ranges.iter().find(|range| range.epoch == start.epoch);
            from = passed.and_then(|range| {
                place_after(&ranges, Some(Point { epoch: range.epoch, i: range.last }))
            });
        }
        // What is at the end cannot be read at all: nobody gets it from here.
        let identity = self.relays[at].identity.clone();
        self.relays[at].next = None;
        if let Some(end) = end {
            self.delivered.pass(&identity, end);
        }
        Ok((None, Vec::new()))
    }

    /// The request could not be sent: the relay is not connected, or does not read.
    pub(crate) fn not_sent(&mut self, at: usize, now: u64) {
        let relay = &mut self.relays[at];
        (relay.asked, relay.up, relay.pause_until) = (None, false, now + CONNECT_MS);
        relay.unsent = true;
    }

    /// Something happened to the connections: those who were not connected are tried again at once.
    pub(crate) fn look_again(&mut self, now: u64) {
        for relay in self.relays.iter_mut().filter(|relay| relay.unsent) {
            (relay.unsent, relay.pause_until) = (false, now);
        }
    }

    /// A relay answered. `known` says whether a record can be sent.
    pub(crate) fn answered(
        &mut self,
        at: usize,
        id: &RequestId,
        reply: Reply,
        known: impl FnOnce(Point) -> bool,
        (now, chance): (u64, u64),
    ) -> Outcome {
        let relay = &mut self.relays[at];
        let Some(asked) = relay.asked.as_ref().filter(|asked| asked.id == *id) else {
            // To a request that was given up.
            return Outcome::Nothing;
        };
        let expected = asked.answered as u64;
        let count = (asked.numbers.len() + usize::from(asked.beat.is_some())) as u64;
        let in_order = |span: Span| {
            span.at == expected && span.count > 0 && span.count <= count - span.at.min(count)
        };
        relay.up = true;
        match reply {
            Reply::Accepted { span } if in_order(span) => self.taken(at, span, Ok(None), now),
            Reply::Stored { span, receipt } if in_order(span) => {
                self.taken(at, span, Ok(Some(receipt)), now)
            }
            Reply::Refused { span, reason, text, .. } if in_order(span) => {
                self.taken(at, span, Err((reason, text)), now)
            }
            Reply::Expect { span, spot } if in_order(span) => {
                self.expected(at, &spot, known, (now, chance))
            }
            Reply::Err { code, text } => {
                relay.failed(now, chance);
                Outcome::Failed(format!("{}: {text}", code.name()))
            }
            other => {
                relay.failed(now, chance);
                Outcome::Failed(format!("an answer that does not fit: {other:?}"))
            }
        }
    }

    /// A relay has taken, or refused for good, a part of what it was sent.
    fn taken(
        &mut self,
        at: usize,
        span: Span,
        how: Result<Option<Bytes>, (Word, String)>,
        now: u64,
    ) -> Outcome {
        let relay = &mut self.relays[at];
        let Some(asked) = &mut relay.asked else { return Outcome::Nothing };
        let (first, behind) = (span.at as usize, (span.at + span.count) as usize);
        asked.answered = behind;
        let (epoch, sent) = (asked.epoch, asked.numbers.len());
        let numbers = asked.numbers.get(first..behind.min(sent)).unwrap_or(&[]).to_vec();
        let records = asked.records.get(first..behind.min(sent)).unwrap_or(&[]).to_vec();
        let (part, is_proof) =
            (numbers.first().copied().zip(numbers.last().copied()), asked.is_proof);
        if behind > sent
            && let Some(beat) = asked.beat
        {
            relay.beat = beat;
        }
        if behind >= sent + usize::from(asked.beat.is_some()) {
            (relay.asked, relay.failures, relay.pause_until) = (None, 0, now);
        }
        let Some((from, to)) = part else { return Outcome::Nothing };
        if !is_proof {
            let point = Point { epoch, i: to };
            // Where it was behind what it once had, it has caught up when it is there again.
            let behind = self.delivered.of(&relay.identity) > Some(point);
            relay.next = behind.then_some(Point { epoch, i: to + 1 });
            let stored = matches!(how, Ok(Some(_)));
            let refused = if how.is_err() { to - from + 1 } else { 0 };
            self.delivered.advance(&relay.identity, point, stored, refused);
        }
        let from = Point { epoch, i: from };
        match how {
            Ok(receipt) => {
                let receipt = receipt.map(|receipt| Claim { epoch, numbers, records, receipt });
                Outcome::Taken { from, to, receipt }
            }
            Err((reason, text)) => {
                let (relay, reason) = (relay.identity.to_string(), reason.to_string());
                let refusal = Refusal { relay, from, to, reason, text };
                if !is_proof {
                    self.delivered.refuse(refusal.clone());
                }
                Outcome::Refused(refusal)
            }
        }
    }

    /// A relay lacks something before what it was sent: it goes on there, or in a new epoch if that is gone.
    fn expected(
        &mut self,
        at: usize,
        spot: &Spot,
        known: impl FnOnce(Point) -> bool,
        (now, chance): (u64, u64),
    ) -> Outcome {
        let relay = &mut self.relays[at];
        let wanted = Point { epoch: spot.epoch, i: spot.i };
        let sent = relay.asked.take();
        let first = sent.as_ref().and_then(|asked| {
            let (epoch, numbers) = (asked.epoch, &asked.numbers);
            let unanswered = numbers.get(asked.answered)?;
            Some(Point { epoch, i: *unanswered })
        });
        if first == Some(wanted) {
            // It wants what it was sent. To send that again at once would go on for ever.
            relay.failed(now, chance);
            return Outcome::Failed(format!("it wants {wanted}, which it was sent"));
        }
        if bug("outbox-drops-on-expect") {
            self.delivered.pass(&relay.identity.clone(), self.end.unwrap_or(wanted));
            return Outcome::Back;
        }
        if known(wanted) {
            relay.next = Some(wanted);
            relay.beat = 0;
            return Outcome::Back;
        }
        relay.stuck = self.end.map(|end| end.epoch);
        Outcome::NeedsEpoch
    }

    /// How long nothing has to be done here, in milliseconds.
    pub(crate) fn pause(&self, now: u64) -> u64 {
        let due = self.relays.iter().enumerate().map(|(at, relay)| match &relay.asked {
            Some(asked) => (asked.at + ANSWER_MS_MAX).saturating_sub(now).max(1),
            None if relay.prove.is_some() || self.has_news(at) && relay.stuck.is_none() => {
                relay.pause_until.saturating_sub(now)
            }
            None => u64::MAX,
        });
        due.min().unwrap_or(u64::MAX)
    }
}

impl Relay {
    fn new(identity: Identity) -> Relay {
        Relay {
            identity,
            next: None,
            asked: None,
            pause_until: 0,
            failures: 0,
            up: false,
            unsent: false,
            beat: 0,
            stuck: None,
            prove: None,
        }
    }

    /// No answer, or one that says no: asked again after a pause that grows.
    fn failed(&mut self, now: u64, chance: u64) {
        let (shortest, longest) = PAUSE_MS;
        let most = shortest.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        (self.asked, self.up) = (None, false);
        self.pause_until = now + chance % (most + 1);
    }
}

#[cfg(test)]
mod tests;
