//! What a holder of streams answers, and to whom not now. Pure: the streams, the time and the peers are
//! arguments; [`replay`](crate::replay) gives it journals and a socket.

mod allowance;
mod changes;
mod floors;

use bytes::Bytes;

use crate::envelope::{Epoch, Wire};
use crate::frames::{
    Acknowledged, Ask, Completeness, ErrorCode, FrameError, Range, Reply, Request, Span, Spot, Word,
};
use crate::identity::StreamName;
use crate::journal::{Batch, Body, Entry};
use crate::limits::{
    EPOCHS_MAX, GET_BYTES_MAX, GET_MESSAGES_MAX, GET_SCAN_BYTES_MAX, GET_SCAN_MESSAGES_MAX,
};
use crate::merkle::Leaf;
use crate::timestamp::Timestamp;
use crate::topic::Pattern;

use allowance::Allowance;
use changes::Changes;
pub use floors::Floor;
use floors::Floors;

/// What a holder has.
pub trait Holdings {
    /// How far a stream is here.
    fn stand(&mut self, stream: &StreamName) -> Result<Stand, Absent>;
    /// Numbers `from` to `to` of an epoch: at most so many records and bytes, at least one record if there
    /// is one.
    fn read(
        &mut self,
        stream: &StreamName,
        part: Part,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, Absent>;
    /// The genesis record of an epoch, wherever it can still be read.
    fn genesis(&mut self, stream: &StreamName, epoch: Epoch) -> Result<Option<Wire>, Absent>;
    /// The first message at or after this time, or the number that the next one will have.
    fn find(&mut self, stream: &StreamName, time: Timestamp) -> Result<(Epoch, u64), Absent>;
    /// Every stream, with its newest epoch and last number; may be a little old.
    fn heads(&mut self) -> Vec<Spot>;
    /// Whether the last [`heads`](Self::heads) were of all there is; otherwise more come with the next ones.
    fn knows_all(&self) -> bool {
        true
    }
    /// A consumer says how far it is.
    fn acknowledged(&mut self, _stream: &StreamName, _consumer: &Word, _floor: Floor) {}
    /// What consumers said of a stream, as far as it is kept: also to processes before this one.
    fn floors(&mut self, _stream: &StreamName) -> Vec<Acknowledged> {
        Vec::new()
    }
    /// Takes a message that somebody wants to be kept; `false` when it is not taken.
    fn put(&mut self, message: &Wire) -> bool;
}

/// How far a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// The newest heartbeat, as it was signed.
    pub heartbeat: Option<Wire>,
    /// Whether everything within the ranges is there.
    pub completeness: Completeness,
    /// What is there of each epoch, oldest first.
    pub epochs: Vec<Range>,
}

/// A part of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The epoch.
    pub epoch: Epoch,
    /// The first number.
    pub from: u64,
    /// The last number.
    pub to: u64,
}

/// Why a holder does not have what is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Absent {
    /// Nothing of the stream.
    #[error("nothing of this stream is here")]
    Stream,
    /// Nothing of the epoch.
    #[error("nothing of this epoch is here")]
    Epoch,
    /// It is gone by retention.
    #[error("what is left begins with number {first}")]
    Trimmed {
        /// The first number that is left.
        first: u64,
    },
    /// It cannot be read, now or for ever; another holder may have it.
    #[error("{0} cannot be read here: ask another holder")]
    Unreadable(String),
}

/// What a holder did, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HolderCounts {
    /// Requests that were answered.
    pub requests: u64,
    /// Requests of peers that asked for too much, answered by `busy`.
    pub busy: u64,
    /// Frames that were no request.
    pub malformed: u64,
    /// Records that were given.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// `GET`s that ended at a damaged record.
    pub damaged: u64,
    /// Floors of consumers for which there was no room.
    pub floors_refused: u64,
}

/// Answers requests from what is held, within the bounds of each peer. Time is in milliseconds of a clock
/// that never goes back.
#[derive(Debug)]
pub struct Holder {
    allowance: Allowance,
    changes: Changes,
    floors: Floors,
    counts: HolderCounts,
}

impl Holder {
    /// A holder. `life` is another one in each process: a `LIST` token of another life means "all".
    pub fn new(life: [u8; 16]) -> Holder {
        Holder {
            allowance: Allowance::default(),
            changes: Changes::new(life),
            floors: Floors::default(),
            counts: HolderCounts::default(),
        }
    }

    /// The answers to a request of a peer, in the order in which they are to be sent.
    pub fn answer(
        &mut self,
        peer: &Bytes,
        request: &Request,
        now: u64,
        holdings: &mut impl Holdings,
    ) -> Vec<Reply> {
        if !self.allowance.take(peer, now) {
            return vec![self.busy("more requests than one peer is allowed")];
        }
        self.counts.requests += 1;
        match &request.ask {
            Ask::Head { stream } => one(holdings.stand(stream).map(info)),
            Ask::List { token } => {
                self.changes.note(holdings.heads());
                vec![self.changes.page(token, holdings.knows_all())]
            }
            Ask::Find { stream, time } => {
                one(holdings.find(stream, *time).map(|(epoch, i)| Reply::Found { epoch, i }))
            }
            Ask::Get { stream, epoch, from, to, max, filters } => {
                let part = Part { epoch: *epoch, from: *from, to: *to };
                let replies = self.get(stream, part, *max, filters, holdings);
                let replies = replies.unwrap_or_else(|absent| vec![refusal(&absent)]);
                self.count(peer, &replies);
                replies
            }
            Ask::Put { messages } => put(messages, holdings),
            Ask::Ack { stream, epoch, upto, consumer } => {
                let floor = Floor { epoch: *epoch, upto: *upto };
                vec![self.ack(stream, consumer, floor, now, holdings)]
            }
            Ask::Floors { stream } => one(holdings.stand(stream).map(|_| {
                let floors = self.floors.of(stream, now, holdings.floors(stream));
                Reply::Floors { floors }
            })),
        }
    }

    /// The answer to frames of a peer that are no request.
    pub fn refuse(&mut self, peer: &Bytes, error: &FrameError, now: u64) -> Reply {
        if !self.allowance.take(peer, now) {
            return self.busy("more requests than one peer is allowed");
        }
        self.counts.malformed += 1;
        Reply::Err { code: error.code(), text: error.to_string() }
    }

    /// The answer to a request for which there is no time; it is counted.
    pub fn busy(&mut self, why: &str) -> Reply {
        self.counts.busy += 1;
        Reply::Err { code: ErrorCode::Busy, text: why.into() }
    }

    /// What was done so far.
    pub fn counts(&self) -> HolderCounts {
        self.counts
    }

    /// How far each named consumer is done with each stream, as it says itself.
    pub fn floors(&self) -> impl Iterator<Item = (&Word, &StreamName, Floor)> {
        self.floors.iter()
    }

    fn get(
        &mut self,
        stream: &StreamName,
        part: Part,
        max: u64,
        filters: &[Pattern],
        holdings: &mut impl Holdings,
    ) -> Result<Vec<Reply>, Absent> {
        let max = usize::try_from(max.min(GET_MESSAGES_MAX)).unwrap_or(usize::MAX);
        let batch = match filters {
            [] => holdings.read(stream, part, max, GET_BYTES_MAX),
            _ => holdings.read(stream, part, GET_SCAN_MESSAGES_MAX, GET_SCAN_BYTES_MAX),
        };
        let batch = match batch {
            // The record that opened the epoch outlives retention, because it stands in every segment of it.
            Err(Absent::Trimmed { first }) if part.from == 0 => {
                let wire = holdings.genesis(stream, part.epoch)?;
                let wire = wire.ok_or(Absent::Trimmed { first })?;
                let more = part.to > 0;
                return Ok(vec![Reply::Msg { i: 0, wire }, Reply::End { upto: 0, more }]);
            }
            batch => batch?,
        };
        // A genesis record that cannot be read at all is damage, too: "nothing yet" has no number before 0.
        let no_genesis = part.from == 0 && batch.upto == 0 && batch.entries.is_empty();
        let damage = batch.holes.first().map(|hole| (hole.from, hole.to));
        let Some(damage) = damage.or(no_genesis.then_some((0, 0))) else {
            return Ok(selected(batch, max, filters));
        };
        self.counts.damaged += 1;
        let (from, to) = damage;
        if from > part.from {
            // It ends before the damage, with more behind it.
            return Ok(selected(Batch { upto: from - 1, more: true, ..batch }, max, filters));
        }
        if from == 0
            && let Some(wire) = holdings.genesis(stream, part.epoch)?
        {
            let more = part.to > 0;
            return Ok(vec![Reply::Msg { i: 0, wire }, Reply::End { upto: 0, more }]);
        }
        // Each damaged number is named as gone, so that the asker turns to another holder for them alone.
        let last = to.min(part.to).min(from.saturating_add(max as u64 - 1));
        let damaged = Word::parse("damaged").expect("a word");
        let gone = |i| Reply::Gone { i, leaf: Leaf::NONE, reason: damaged.clone() };
        let more = last < part.to && (batch.more || batch.upto > last);
        Ok((from..=last).map(gone).chain([Reply::End { upto: last, more }]).collect())
    }

    /// Charges a peer for what it is given.
    fn count(&mut self, peer: &Bytes, replies: &[Reply]) {
        let mut bytes = 0;
        for reply in replies {
            if let Reply::Msg { wire, .. } = reply {
                self.counts.records += 1;
                bytes += wire.len() as u64;
            }
        }
        self.counts.bytes += bytes;
        self.allowance.charge(peer, bytes);
    }

    fn ack(
        &mut self,
        stream: &StreamName,
        consumer: &Word,
        floor: Floor,
        now: u64,
        holdings: &mut impl Holdings,
    ) -> Reply {
        let known = match holdings.stand(stream) {
            Ok(stand) => stand.epochs.iter().any(|range| range.epoch == floor.epoch),
            Err(absent) => return refusal(&absent),
        };
        if !known {
            return refusal(&Absent::Epoch);
        }
        if !self.floors.set(consumer, stream, floor, now) {
            self.counts.floors_refused += 1;
            let text = "no room for the floors of more consumers".into();
            return Reply::Err { code: ErrorCode::Full, text };
        }
        holdings.acknowledged(stream, consumer, floor);
        Reply::Ok
    }
}

fn one(reply: Result<Reply, Absent>) -> Vec<Reply> {
    vec![reply.unwrap_or_else(|absent| refusal(&absent))]
}

fn info(stand: Stand) -> Reply {
    let Stand { heartbeat, completeness, mut epochs } = stand;
    epochs.drain(..epochs.len().saturating_sub(EPOCHS_MAX));
    Reply::Info { heartbeat, completeness, epochs }
}

/// The answer to who asks for what is not there. What cannot be read is `busy`: from no other code may an
/// asker do less than ask somebody else, and conclude nothing.
fn refusal(absent: &Absent) -> Reply {
    let code = match absent {
        Absent::Stream => ErrorCode::UnknownStream,
        Absent::Epoch => ErrorCode::UnknownEpoch,
        Absent::Trimmed { .. } => ErrorCode::Trimmed,
        Absent::Unreadable(_) => ErrorCode::Busy,
    };
    Reply::Err { code, text: absent.to_string() }
}

/// What of a part matches, up to the bounds of an answer, and how far that is. The numbers of the part that
/// lie behind `upto` are left out.
fn selected(batch: Batch, max: usize, filters: &[Pattern]) -> Vec<Reply> {
    let (mut upto, mut more) = (batch.upto, batch.more);
    let (mut replies, mut bytes) = (Vec::with_capacity(batch.entries.len().min(max) + 1), 0);
    for Entry { i, body, .. } in batch.entries {
        if i > batch.upto {
            break;
        }
        let reply = match body {
            Body::Record(wire) if !matches(i, &wire, filters) => continue,
            Body::Record(wire) => {
                bytes += wire.len();
                Reply::Msg { i, wire }
            }
            Body::Gone { leaf, reason } => {
                Reply::Gone { i, leaf, reason: Word::parse(&reason).unwrap_or_else(refused) }
            }
        };
        if replies.len() >= max || (bytes > GET_BYTES_MAX && !replies.is_empty()) {
            (upto, more) = (i - 1, true);
            break;
        }
        replies.push(reply);
    }
    replies.push(Reply::End { upto, more });
    replies
}

/// The reason of a tombstone that has none which fits a frame.
fn refused() -> Word {
    Word::parse("refused").expect("a word")
}

/// The genesis record is everybody's.
fn matches(i: u64, wire: &Wire, filters: &[Pattern]) -> bool {
    if i == 0 || filters.is_empty() {
        return true;
    }
    let topic = std::str::from_utf8(&wire.topic);
    topic.is_ok_and(|topic| filters.iter().any(|filter| filter.matches(topic)))
}

/// What became of each message, equal neighbours together.
fn put(messages: &[Wire], holdings: &mut impl Holdings) -> Vec<Reply> {
    let verdicts: Vec<bool> = messages.iter().map(|message| holdings.put(message)).collect();
    let text = || "this holder takes no such messages".to_owned();
    if !verdicts.contains(&true) {
        return vec![Reply::Err { code: ErrorCode::Denied, text: text() }];
    }
    let mut at = 0;
    let verdict = |same: &[bool]| {
        let span = Span { at, count: same.len() as u64 };
        at += span.count;
        match same[0] {
            true => Reply::Accepted { span },
            false => {
                let reason = Word::parse(ErrorCode::Denied.name()).unwrap_or_else(refused);
                Reply::Refused { span, reason, text: text(), spot: None }
            }
        }
    };
    verdicts.chunk_by(|a, b| a == b).map(verdict).collect()
}

#[cfg(test)]
mod tests;
