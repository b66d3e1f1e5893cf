//! How far a durable consumer is: what it was given and has not answered, what is to be written down, and
//! where each stream goes on. Pure: times are arguments, and whatever a store has to do is taken out.
//!
//! ```text
//! reader ── messages, losses, epochs, refusals ──> Track of each stream ──> tickets of what is handed out
//! consumer ── acked, failed ──> Writes: refusals, failures, cures, cursors, in this order ──> store
//! ```
//!
//! The reader says everything of a stream in its order. So all up to the last position that it spoke of is
//! done, except for what was handed out and is not answered: the cursor stands before the first of these. A
//! position that nobody wants, that a refused message used up, or that is lost needs no answer.

mod cures;
mod forgetting;
mod giving;
mod track;
mod writes;

#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use self::cures::Cures;
use self::track::Track;
pub use self::writes::{Failing, Moves, Write};
use crate::consumer::{Cursor, Position, Refused, Start};
use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::limits::{
    IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX, REFUSALS_WAITING_MAX, STREAMS_MAX, TRIES, TRY_AGAIN_MS,
    TRY_AGAIN_MS_MAX, UNWRITTEN_MAX,
};
use crate::merkle::Leaf;
use crate::sequence::Begin;
use crate::timestamp::Timestamp;

/// How often and when a message is tried again that its consumer could not handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retrying {
    /// So many tries in all; then the message becomes a dead letter. At least 1.
    pub tries: u32,
    /// The time from the first failure to the second try; each further one is twice as long.
    pub base: Duration,
    /// The longest time between two tries.
    pub max: Duration,
}

impl Default for Retrying {
    /// Eight tries, after 1 s, 2 s, 4 s and so on, at most 10 minutes apart.
    fn default() -> Retrying {
        Retrying {
            tries: TRIES,
            base: Duration::from_millis(TRY_AGAIN_MS),
            max: Duration::from_millis(TRY_AGAIN_MS_MAX),
        }
    }
}

impl Retrying {
    /// So many tries, the first two of them `base` apart, none more than `max`.
    pub fn new(tries: u32, base: Duration, max: Duration) -> Retrying {
        Retrying { tries: tries.max(1), base, max }
    }

    /// When a message that failed so many times is tried again; `None` when it is given up.
    pub fn next(&self, failures: u32, now: Timestamp) -> Option<Timestamp> {
        if failures >= self.tries {
            return None;
        }
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.base.saturating_mul(doubled).min(self.max);
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Some(Timestamp::from_millis(now.as_millis().saturating_add(wait)))
    }
}

/// How much may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Messages that are handed out and not answered.
    pub messages: usize,
    /// Their bytes; one message always has room.
    pub bytes: usize,
    /// Answers that are not written down.
    pub unwritten: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room { messages: IN_FLIGHT_MAX, bytes: IN_FLIGHT_BYTES_MAX, unwritten: UNWRITTEN_MAX }
    }
}

/// The number of something that was handed out; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// A place in a stream behind which everything is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    epoch: Epoch,
    i: u64,
    leaf: Option<Leaf>,
}

/// Why something is in the consumer's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// In its place in the stream of this number.
    InOrder(usize),
    /// It failed before.
    Again,
    /// It was refused before.
    Late,
}

/// Something in the consumer's hands.
#[derive(Debug)]
struct Open {
    kind: Kind,
    position: Position,
    bytes: usize,
}

/// What a consumer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressCounts {
    /// Messages that were handed out, each try once.
    pub delivered: u64,
    /// Those that were handed out because they had failed before.
    pub retried: u64,
    /// Those that were handed out because they had been refused before.
    pub late: u64,
    /// Messages that were handled.
    pub acked: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Messages that were given up.
    pub dead: u64,
    /// Messages that the reader gave again and that are not handed out again.
    pub repeated: u64,
    /// Refused positions that were written down.
    pub refused: u64,
    /// Refused positions for which there was no room.
    pub refusals_dropped: u64,
    /// Streams whose cursors were forgotten.
    pub forgotten: u64,
}

/// How far a durable consumer is.
#[derive(Debug)]
pub struct Progress {
    start: Start,
    created: Timestamp,
    room: Room,
    retrying: Retrying,
    tracks: Vec<Track>,
    by_name: HashMap<StreamName, usize>,
    /// Places in `tracks` of streams that were forgotten.
    free: Vec<usize>,
    open: HashMap<Ticket, Open>,
    open_bytes: usize,
    last_ticket: u64,
    /// What was handed out again and is not struck out of the store.
    again: BTreeMap<Position, Ticket>,
    cures: Cures,
    /// What is to be written down.
    refusals: Vec<Refused>,
    /// Failures by their tickets, each with the number of the answer.
    failing: BTreeMap<Ticket, (u64, Failing)>,
    succeeded: Vec<Position>,
    cured: Vec<Position>,
    /// Streams whose cursor can be moved because of an answer, and those whose went along by itself.
    dirty: BTreeSet<usize>,
    idle: BTreeSet<usize>,
    idle_written: u64,
    /// Streams whose cursor was moved since their publisher was told.
    untold: BTreeSet<usize>,
    told: u64,
    /// When they were told of all.
    told_all: u64,
    /// Answers whose cursor is not written, and those of them that are being written.
    unwritten: usize,
    writing: usize,
    /// The store has no room for another failed message: nothing is handed out until it has.
    full: bool,
    /// How many answers there were, and how many of them are in the store.
    answers: u64,
    written: u64,
    counts: ProgressCounts,
}

impl Progress {
    /// A consumer that was created then, begins there, and has these cursors.
    pub fn new(created: Timestamp, start: Start, cursors: &[Cursor]) -> Progress {
        let mut progress = Progress {
            start,
            created,
            room: Room::default(),
            retrying: Retrying::default(),
            tracks: Vec::new(),
            by_name: HashMap::new(),
            free: Vec::new(),
            open: HashMap::new(),
            open_bytes: 0,
            last_ticket: 0,
            again: BTreeMap::new(),
            cures: Cures::default(),
            refusals: Vec::new(),
            failing: BTreeMap::new(),
            succeeded: Vec::new(),
            cured: Vec::new(),
            dirty: BTreeSet::new(),
            idle: BTreeSet::new(),
            idle_written: 0,
            untold: BTreeSet::new(),
            told: 0,
            told_all: 0,
            unwritten: 0,
            writing: 0,
            full: false,
            answers: 0,
            written: 0,
            counts: ProgressCounts::default(),
        };
        for cursor in cursors {
            let Position { stream, epoch, i } = &cursor.position;
            let at = progress.track(stream);
            let mark = Mark { epoch: *epoch, i: *i, leaf: cursor.leaf };
            progress.tracks[at].stored(mark, cursor.updated);
            progress.untold.insert(at);
        }
        progress
    }

    /// The same with other bounds, and other times for tries.
    pub fn with(mut self, room: Room, retrying: Retrying) -> Progress {
        (self.room, self.retrying) = (room, retrying);
        self
    }

    /// Where a stream that is new to the reader is to be taken up.
    pub fn begin(&self, stream: &StreamName) -> Begin {
        let track = self.by_name.get(stream).map(|at| &self.tracks[*at]);
        match (track.and_then(Track::seen), self.start) {
            (Some(Mark { epoch, i, leaf }), _) => Begin::At { epoch, next: i + 1, leaf },
            (None, Start::New) => Begin::Since(self.created),
            (None, Start::Time(time)) => Begin::Since(time),
            (None, Start::Earliest) => Begin::Earliest,
        }
    }

    /// Whether more may be handed out.
    pub fn has_room(&self) -> bool {
        self.open.len() < self.room.messages
            && (self.open_bytes < self.room.bytes || self.open.is_empty())
            && self.unwritten + self.writing < self.room.unwritten
            && self.refusals.len() < REFUSALS_WAITING_MAX
            && !self.full
    }

    fn hand_out(&mut self, kind: Kind, position: Position, bytes: usize) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.open.insert(ticket, Open { kind, position, bytes });
        self.open_bytes += bytes;
        self.counts.delivered += 1;
        ticket
    }

    /// The consumer has handled what it got for this ticket.
    pub fn acked(&mut self, ticket: Ticket) {
        let Some(open) = self.close(ticket) else { return };
        self.counts.acked += 1;
        self.answers += 1;
        self.unwritten += 1;
        match open.kind {
            Kind::InOrder(at) => self.answered(at, ticket),
            Kind::Again => self.succeeded.push(open.position),
            Kind::Late => self.cured.push(open.position),
        }
    }

    /// The consumer could not handle it; this is to be written down.
    pub fn failed(&mut self, ticket: Ticket, failing: Failing) {
        if !self.open.contains_key(&ticket) {
            return;
        }
        self.counts.failed += 1;
        self.answers += 1;
        // It keeps its place among what is handed out until the store has it.
        self.failing.insert(ticket, (self.answers, failing));
    }

    /// What was to be handed out was not: it comes again.
    pub fn not_handed_out(&mut self, ticket: Ticket) {
        let Some(open) = self.close(ticket) else { return };
        match open.kind {
            Kind::Again => {
                self.again.remove(&open.position);
            }
            Kind::Late => self.cures.again(&open.position),
            // It stays before the cursor.
            Kind::InOrder(_) => {}
        }
    }

    fn close(&mut self, ticket: Ticket) -> Option<Open> {
        let open = self.open.remove(&ticket)?;
        self.open_bytes -= open.bytes;
        Some(open)
    }

    fn answered(&mut self, at: usize, ticket: Ticket) {
        if self.tracks[at].answered(ticket) {
            self.dirty.insert(at);
        }
    }

    /// The place of a stream in `tracks`.
    fn track(&mut self, stream: &StreamName) -> usize {
        if let Some(at) = self.by_name.get(stream) {
            return *at;
        }
        if self.by_name.len() >= 2 * STREAMS_MAX {
            self.make_room();
        }
        let track = Track::new(stream.clone());
        let at = match self.free.pop() {
            Some(at) => {
                self.tracks[at] = track;
                at
            }
            None => {
                self.tracks.push(track);
                self.tracks.len() - 1
            }
        };
        self.by_name.insert(stream.clone(), at);
        at
    }

    /// Forgets streams that have nothing to be answered or written: they are known again by their next message.
    fn make_room(&mut self) {
        let (dirty, idle) = (&self.dirty, &self.idle);
        let quiet = |at: &usize| !dirty.contains(at) && !idle.contains(at);
        let tracks = &self.tracks;
        let quiet = self.by_name.values().copied().filter(|at| quiet(at) && tracks[*at].is_quiet());
        for at in quiet.take(STREAMS_MAX / 16).collect::<Vec<_>>() {
            self.by_name.remove(self.tracks[at].name());
            self.free.push(at);
        }
    }

    /// What it amounted to.
    pub fn counts(&self) -> ProgressCounts {
        self.counts
    }

    /// Messages in the consumer's hands.
    pub fn in_flight(&self) -> usize {
        self.open.len()
    }

    /// How many messages behind its head the cursor of each stream is, where the head is known.
    pub fn lags(&self) -> impl Iterator<Item = (&StreamName, u64)> {
        let tracks = self.by_name.values().map(|at| &self.tracks[*at]);
        tracks.filter_map(|track| Some((track.name(), track.lag()?)))
    }

    /// How many answers there were.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// How many of them are in the store.
    pub fn written_answers(&self) -> u64 {
        self.written
    }
}
