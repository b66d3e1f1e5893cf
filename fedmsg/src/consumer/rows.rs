//! What a store keeps of a consumer.

use bytes::Bytes;

use super::{ConsumerName, Start};
use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::keys::KeyId;
use crate::merkle::Leaf;
use crate::rejection::Rejection;
use crate::timestamp::Timestamp;
use crate::topic::{Pattern, Topic};

/// What a message is known by: where it stands in which stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Its stream.
    pub stream: StreamName,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub i: u64,
}

/// How far a consumer is in one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The last position that is done; all before it are done, too, or stand among the refusals or failures.
    pub position: Position,
    /// The leaf of the record there. Not known after somebody moved the cursor by hand.
    pub leaf: Option<Leaf>,
    /// When the cursor was moved last.
    pub updated: Timestamp,
}

/// Why a message was refused although it may be accepted later: keys and rules reach hosts at different times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Curable {
    /// No trusted key of this id. That is noted once for a stream, at number 0: nothing of it can be verified, and
    /// when the key comes the stream brings everything by itself.
    UnknownKey,
    /// No rule lets the identity publish the topic.
    NoRule,
    /// The message is older than the validity of its key.
    NotYetValid,
}

impl Curable {
    /// All of them.
    pub const ALL: &'static [Curable] =
        &[Curable::UnknownKey, Curable::NoRule, Curable::NotYetValid];

    /// The curable kinds of rejection; `None` for one that is final.
    pub fn of(rejection: Rejection) -> Option<Curable> {
        match rejection {
            Rejection::UnknownKey => Some(Curable::UnknownKey),
            Rejection::Policy => Some(Curable::NoRule),
            Rejection::KeyNotYetValid => Some(Curable::NotYetValid),
            _ => None,
        }
    }

    /// The name in the store, in logs and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Curable::UnknownKey => "unknown_key",
            Curable::NoRule => "no_rule",
            Curable::NotYetValid => "not_yet_valid",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Curable> {
        Curable::ALL.iter().copied().find(|reason| reason.name() == text)
    }
}

/// A position whose message was refused for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which message.
    pub position: Position,
    /// The leaf of its record, where the signature could be verified.
    pub leaf: Option<Leaf>,
    /// Why.
    pub reason: Curable,
    /// The key that it names.
    pub key: KeyId,
}

/// A refused position as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was refused, and why the last time.
    pub refused: Refused,
    /// When it was refused first.
    pub first_seen: Timestamp,
    /// How often it was refused.
    pub count: u64,
}

/// Which refusals: all that fit every part that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalFilter {
    /// Of this stream.
    pub stream: Option<StreamName>,
    /// For this reason.
    pub reason: Option<Curable>,
    /// Naming this key.
    pub key: Option<KeyId>,
}

impl RefusalFilter {
    /// Whether this refusal is meant.
    pub fn matches(&self, refused: &Refused) -> bool {
        self.stream.as_ref().is_none_or(|stream| *stream == refused.position.stream)
            && self.reason.is_none_or(|reason| reason == refused.reason)
            && self.key.is_none_or(|key| key == refused.key)
    }
}

/// A message that the consumer could not handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which message.
    pub position: Position,
    /// Its topic: the first frame.
    pub topic: Topic,
    /// The second frame, byte for byte: it is opened again before it is handed out again.
    pub envelope: Bytes,
    /// What the consumer said the last time, at most 4,096 bytes of it.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// A failed message that waits for another try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The message, and what happened.
    pub failure: Failure,
    /// When it failed first.
    pub first_failed: Timestamp,
    /// When it is to be tried again.
    pub next_at: Timestamp,
}

/// What is to be tried again now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Those whose time has come, the longest due first; at most 64 messages and 16 MiB, but at least one.
    pub retries: Vec<Retry>,
    /// When the next one beyond these is due: a time in the past when there was no room for all.
    pub next_at: Option<Timestamp>,
}

/// A message that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number among the dead letters of its consumer: 1, 2, 3 …, never used again.
    pub id: u64,
    /// The message, and what happened.
    pub failure: Failure,
    /// When it failed first.
    pub first_failed: Timestamp,
    /// When it was given up.
    pub died: Timestamp,
}

/// Which dead letters: all that fit every part that is given.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    /// Of this stream.
    pub stream: Option<StreamName>,
    /// Of topics that fit this pattern.
    pub topic: Option<Pattern>,
}

impl LetterFilter {
    /// Whether a letter of this stream and topic is meant.
    pub fn matches(&self, stream: &StreamName, topic: &Topic) -> bool {
        self.stream.as_ref().is_none_or(|wanted| wanted == stream)
            && self.topic.as_ref().is_none_or(|pattern| pattern.matches(topic.as_str()))
    }
}

/// A part of a list of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only letters of a higher number: 0 for the first page, then the last number of the page before.
    pub after: u64,
    /// At most so many; never more than 64 letters and 16 MiB, but at least one if there is any.
    pub limit: usize,
}

/// Who runs a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The owner.
    pub owner: String,
    /// When it ends, unless it is renewed.
    pub until: Timestamp,
}

/// One consumer at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub consumer: ConsumerName,
    /// When it was created.
    pub created: Timestamp,
    /// Where it began.
    pub start: Start,
    /// Who runs it, or ran it last and never released it: compare `until` with the time.
    pub lease: Option<Lease>,
    /// Streams in which it has a cursor.
    pub streams: u64,
    /// When a cursor was moved last.
    pub moved: Option<Timestamp>,
    /// Refused positions that may be cured.
    pub refusals: u64,
    /// Refused positions that found no room, since the consumer was created.
    pub refusals_dropped: u64,
    /// Failed messages that wait for another try.
    pub retries: u64,
    /// Messages that were given up.
    pub letters: u64,
    /// Dead letters that fell out for newer ones, since the consumer was created.
    pub letters_dropped: u64,
}

/// How much a store keeps; the defaults are those of [`crate::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Consumers of the store.
    pub consumers: u64,
    /// Cursors of one consumer.
    pub streams: u64,
    /// Refused positions of one consumer.
    pub refusals: u64,
    /// Refused positions of one stream.
    pub refusals_of_stream: u64,
    /// Messages of one consumer that wait for another try.
    pub retries: u64,
    /// Bytes of their envelopes.
    pub retry_bytes: u64,
    /// Dead letters of one consumer.
    pub letters: u64,
    /// Bytes of their envelopes.
    pub letter_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        use crate::limits::*;
        Bounds {
            consumers: CONSUMERS_MAX as u64,
            streams: STREAMS_MAX as u64,
            refusals: REFUSALS_MAX as u64,
            refusals_of_stream: REFUSALS_OF_STREAM_MAX as u64,
            retries: RETRIES_MAX as u64,
            retry_bytes: RETRY_BYTES_MAX,
            letters: LETTERS_MAX as u64,
            letter_bytes: LETTER_BYTES_MAX,
        }
    }
}
