//! What a subscriber hands out.

use std::fmt;
use std::ops::Deref;

use crate::envelope::{Epoch, Wire};
use crate::identity::{Identity, StreamName};
use crate::keys::KeyId;
use crate::merkle::Leaf;
use crate::open::{Refused, Verified};
use crate::rejection::Rejection;
use crate::timestamp::Timestamp;

/// One thing that a subscriber learnt. Everything about one stream comes in its order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A verified message, in order.
    Message(Message),
    /// Messages of a stream are lost: nobody who could have them has them.
    Lost(Lost),
    /// A stream stands still: what it lacks exists, and cannot be fetched now. Said once, until it goes on.
    Stalled(Stalled),
    /// A stream contradicts itself; it is not handed on until its next epoch.
    Fork(Fork),
    /// A verified message of a stream that nobody shows to be alive: perhaps old traffic, sent again.
    Stale(Message),
    /// A message that was asked for outside of the order of its stream.
    Late(Message),
    /// A message that was asked for outside of the order of its stream is not to be had.
    Unfetched(Unfetched),
    /// A message was refused.
    Rejected(Rejected),
    /// A heartbeat or a genesis record; only for subscribers that ask for them.
    Internal(Message),
    /// A stream has its first position here, or goes on in another epoch.
    Epoch(EpochChange),
    /// The past was read, as far as it was asked for; what follows is the present.
    CaughtUp(CaughtUp),
    /// An endpoint came or went; each change is said once.
    Endpoint(EndpointChange),
    /// The configuration was read again, or could not be.
    Config(ConfigChange),
}

impl Event {
    /// The stream that it is about, if it is about one.
    pub fn stream(&self) -> Option<&StreamName> {
        match self {
            Event::Message(message)
            | Event::Stale(message)
            | Event::Late(message)
            | Event::Internal(message) => Some(message.stream()),
            Event::Lost(lost) => Some(&lost.stream),
            Event::Stalled(stalled) => Some(&stalled.stream),
            Event::Fork(fork) => Some(&fork.stream),
            Event::Unfetched(unfetched) => Some(&unfetched.stream),
            Event::Rejected(rejected) => rejected.stream.as_ref(),
            Event::Epoch(change) => Some(&change.stream),
            Event::CaughtUp(_) | Event::Endpoint(_) | Event::Config(_) => None,
        }
    }
}

/// A verified message, and how it came.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Message {
    /// What was verified.
    pub verified: Verified,
    /// The endpoint that sent it here: the publisher's own, or a relay's.
    pub endpoint: Identity,
    /// When it came, by the clock here.
    pub received: Timestamp,
    /// Whether it was fetched from a holder because it had not come by itself.
    pub replayed: bool,
}

impl Message {
    /// A message that came from this endpoint at this time.
    pub fn new(verified: Verified, endpoint: Identity, received: Timestamp) -> Message {
        Message { verified, endpoint, received, replayed: false }
    }

    /// Whether its time differs by more than 300 s from the clock here. A flag, never a reason to drop it.
    pub fn is_skewed(&self) -> bool {
        let apart = self.received.millis_since(self.verified.timestamp()).unsigned_abs();
        apart > crate::limits::FRESH_MS_MAX
    }
}

impl Deref for Message {
    type Target = Verified;
    fn deref(&self) -> &Verified {
        &self.verified
    }
}

/// Why messages are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostReason {
    /// The stream has no replay holder: what does not come by itself cannot be fetched.
    NoHolder,
    /// The publisher says, signed, that it keeps them no more, or never did.
    NotKept,
    /// Every configured holder has answered, and none has them.
    Absent,
}

impl LostReason {
    /// All of them.
    pub const ALL: &'static [LostReason] =
        &[LostReason::NoHolder, LostReason::NotKept, LostReason::Absent];

    /// The name in logs, JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            LostReason::NoHolder => "no_holder",
            LostReason::NotKept => "not_kept",
            LostReason::Absent => "absent",
        }
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LostReason::NoHolder => {
                "no `replay` address is configured for this stream, so they cannot be fetched"
            }
            LostReason::NotKept => "the publisher keeps them no more",
            LostReason::Absent => "every holder was asked, and none has them",
        })
    }
}

/// Messages `from` to `to` of an epoch are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The stream.
    pub stream: StreamName,
    /// The epoch.
    pub epoch: Epoch,
    /// The first lost number.
    pub from: u64,
    /// The last lost number.
    pub to: u64,
    /// Why.
    pub reason: LostReason,
}

impl Lost {
    /// The loss of `from` to `to`, both included.
    pub fn new(
        stream: StreamName,
        epoch: Epoch,
        (from, to): (u64, u64),
        reason: LostReason,
    ) -> Lost {
        Lost { stream, epoch, from, to, reason }
    }

    /// How many messages are lost; never 0.
    pub fn count(&self) -> u64 {
        self.to.saturating_sub(self.from) + 1
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { stream, epoch, from, to, reason } = self;
        write!(
            f,
            "lost {} of {stream}: numbers {from} to {to} of epoch {epoch}; {reason}",
            self.count()
        )
    }
}

/// A stream stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stalled {
    /// The stream.
    pub stream: StreamName,
    /// What is in the way.
    pub why: String,
}

impl Stalled {
    pub(crate) fn new(stream: StreamName, why: String) -> Stalled {
        Stalled { stream, why }
    }
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stalled { stream, why } = self;
        write!(f, "{stream} stands still, and goes on when what it lacks can be fetched: {why}")
    }
}

/// A single message that no holder has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfetched {
    /// The stream.
    pub stream: StreamName,
    /// The epoch.
    pub epoch: Epoch,
    /// The number.
    pub i: u64,
}

impl Unfetched {
    pub(crate) fn new(stream: StreamName, epoch: Epoch, i: u64) -> Unfetched {
        Unfetched { stream, epoch, i }
    }
}

impl fmt::Display for Unfetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unfetched { stream, epoch, i } = self;
        write!(f, "number {i} of epoch {epoch} of {stream} is not to be had any more")
    }
}

/// How a stream contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForkKind {
    /// Two different records have one position.
    SamePosition,
    /// A record's `prev` is not the leaf of the one before.
    Chain,
    /// A newer heartbeat shows fewer messages than were seen: the publisher was set back.
    Rewound,
}

impl fmt::Display for ForkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ForkKind::SamePosition => "two records at one position",
            ForkKind::Chain => "the chain is broken",
            ForkKind::Rewound => "the publisher was set back",
        })
    }
}

/// A contradiction in a stream: two writers, a restored machine, or a stolen key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fork {
    /// The stream.
    pub stream: StreamName,
    /// The epoch.
    pub epoch: Epoch,
    /// Where.
    pub i: u64,
    /// How.
    pub kind: ForkKind,
    /// The leaf that was there first, where it is known.
    pub known: Option<Leaf>,
    /// The leaf that contradicts.
    pub other: Leaf,
}

impl Fork {
    pub(crate) fn new(
        stream: &StreamName,
        epoch: Epoch,
        i: u64,
        kind: ForkKind,
        (known, other): (Option<Leaf>, Leaf),
    ) -> Fork {
        Fork { stream: stream.clone(), epoch, i, kind, known, other }
    }
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fork { stream, epoch, i, kind, .. } = self;
        write!(
            f,
            "fork in {stream}: {kind}, at {i} of epoch {epoch}; its messages are held back until a new epoch begins, which its publisher does by itself when it can be told; otherwise `fedmsg stream renew {stream}` on its host, and look who else holds its key"
        )
    }
}

/// A refused message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rejected {
    /// Why.
    pub reason: Rejection,
    /// More words, where there are some.
    pub detail: Option<String>,
    /// The endpoint that sent it.
    pub endpoint: Identity,
    /// The stream; only when the signature was good.
    pub stream: Option<StreamName>,
    /// The position that is used up; only when the signature was good.
    pub position: Option<(Epoch, u64)>,
    /// The key that it names, if it was read so far.
    pub key: Option<KeyId>,
    /// The bytes as they came; do not trust them.
    pub wire: Wire,
}

impl Rejected {
    /// What the opener refused, and the endpoint that sent it.
    pub fn new(refused: Refused, endpoint: Identity) -> Rejected {
        let Refused { reason, detail, wire, stream, key, place } = refused;
        let position = place.map(|place| (place.epoch, place.i));
        // Without a position the signature was not good, and the stream is a claim.
        let stream = stream.filter(|_| position.is_some());
        Rejected { reason, detail, endpoint, stream, position, key, wire }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = String::from_utf8_lossy(&self.wire.topic);
        let topic: String = topic.chars().take(80).flat_map(char::escape_default).collect();
        write!(
            f,
            "rejected a message on {topic} from endpoint {}: {}",
            self.endpoint, self.reason
        )?;
        if let Some(detail) = &self.detail {
            write!(f, " ({})", detail.escape_debug())?;
        }
        match (&self.stream, &self.position, &self.key) {
            (Some(stream), Some((_, i)), _) => write!(f, ", {stream} number {i}"),
            (_, _, Some(key)) => write!(f, ", key {key}"),
            _ => Ok(()),
        }
    }
}

/// A stream has a position, or another epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EpochChange {
    /// The stream.
    pub stream: StreamName,
    /// The epoch before; `None` when the stream is new to this subscriber.
    pub from: Option<Epoch>,
    /// The epoch now.
    pub to: Epoch,
    /// The first number that is awaited.
    pub next: u64,
    /// Whether the genesis record ties this epoch to the end of the one before, so that nothing can be
    /// missing in between without a [`Lost`].
    pub proven: bool,
}

impl fmt::Display for EpochChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EpochChange { stream, to, next, .. } = self;
        match (self.from, self.proven) {
            (None, _) => write!(f, "{stream} is live from number {next} of epoch {to}"),
            (Some(_), true) => write!(f, "{stream} goes on in epoch {to}"),
            (Some(from), false) => {
                write!(f, "{stream} goes on in epoch {to}; how epoch {from} ended is not proven")
            }
        }
    }
}

/// The past was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaughtUp {
    /// How many streams there were.
    pub streams: u64,
    /// Streams that could not be read to the end: what they lack cannot be fetched now.
    pub incomplete: Vec<StreamName>,
    /// Services of which no holder said which streams it has.
    pub unreachable: Vec<Identity>,
}

impl CaughtUp {
    pub(crate) fn new(
        (streams, incomplete): (u64, Vec<StreamName>),
        unreachable: Vec<Identity>,
    ) -> CaughtUp {
        CaughtUp { streams, incomplete, unreachable }
    }

    /// Whether everything was read.
    pub fn is_complete(&self) -> bool {
        self.incomplete.is_empty() && self.unreachable.is_empty()
    }
}

impl fmt::Display for CaughtUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CaughtUp { streams, incomplete, unreachable } = self;
        write!(f, "the past of {streams} streams was read")?;
        if !incomplete.is_empty() {
            let first = &incomplete[0];
            write!(f, "; {} could not be read to the end, {first} among them", incomplete.len())?;
        }
        if !unreachable.is_empty() {
            let first = &unreachable[0];
            write!(
                f,
                "; of {} services no replay address answers, {first} among them",
                unreachable.len()
            )?;
        }
        Ok(())
    }
}

/// An endpoint came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointChange {
    /// Whose endpoint.
    pub endpoint: Identity,
    /// The address, as the configuration gives it.
    pub address: String,
    /// What happened.
    pub status: EndpointStatus,
}

/// What happened to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointStatus {
    /// Connected.
    Up,
    /// Not connected; it is tried again.
    Down(String),
}

impl EndpointChange {
    /// A change of an endpoint.
    pub fn new(endpoint: Identity, address: String, status: EndpointStatus) -> EndpointChange {
        EndpointChange { endpoint, address, status }
    }
}

impl fmt::Display for EndpointChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EndpointChange { endpoint, address, status } = self;
        match status {
            EndpointStatus::Up => write!(f, "endpoint {endpoint} is up at {address}"),
            EndpointStatus::Down(why) => {
                write!(f, "endpoint {endpoint} at {address} is down: {why}; trying again")
            }
        }
    }
}

/// What came of a change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigChange {
    /// In force; the digest of what is trusted and connected now.
    Reloaded(String),
    /// Broken: the last good one stays, but what its readable files deny or revoke is in force.
    Broken(String),
}

impl fmt::Display for ConfigChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigChange::Reloaded(digest) => write!(f, "configuration {digest} is in force"),
            ConfigChange::Broken(why) => {
                write!(f, "the configuration is broken, the last good one stays in force: {why}")
            }
        }
    }
}
