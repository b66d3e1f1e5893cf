//! What is put into a log, and what it says of a stream.

use crate::envelope::{Envelope, Epoch, Kind, Wire};
use crate::identity::StreamName;
use crate::limits::{ENVELOPE_BYTES_MAX, NUMBER_MAX, TOPIC_BYTES_MAX, WORD_BYTES_MAX};
use crate::merkle::Leaf;
use crate::timestamp::Timestamp;

/// Something that is to be kept. Whoever appends it has verified it.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The stream.
    pub stream: &'a StreamName,
    /// The epoch.
    pub epoch: Epoch,
    /// The number; 0 is the genesis record. Of a heartbeat, the number that it carries.
    pub i: u64,
    /// What it is.
    pub keep: Keep<'a>,
}

/// What an [`Item`] is.
#[derive(Clone, Copy, Debug)]
pub enum Keep<'a> {
    /// A record of the stream: a message, or the genesis record of the epoch.
    Record {
        /// Both frames as they travel.
        wire: &'a Wire,
        /// Its leaf, which `prev` of the next record carries.
        leaf: Leaf,
    },
    /// A tombstone: the record was refused, and the chain goes on by its leaf.
    Gone {
        /// The leaf of the refused record.
        leaf: Leaf,
        /// Why it was refused: one word of at most 64 bytes.
        reason: &'a str,
    },
    /// A heartbeat that must outlive the process: the last one of a stream that was closed. It takes no
    /// number, and the newest one of a stream counts.
    Heartbeat {
        /// Both frames as they travel.
        wire: &'a Wire,
    },
}

/// How far a stream is, as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest epoch: the one with the highest name.
    pub epoch: Epoch,
    /// The highest number of it that was ever acknowledged here. There may be holes before it: see
    /// [`Log::has`](super::Log::has).
    pub last: u64,
    /// The leaf of that record; nothing when the record is damaged.
    pub leaf: Option<Leaf>,
    /// The record that opened the epoch, if it was ever here. It outlives retention.
    pub genesis: Option<Wire>,
    /// The newest heartbeat of the stream that was given to the log.
    pub heartbeat: Option<Wire>,
}

/// A heartbeat, and what tells which of two is the newer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) order: (Epoch, u64, Timestamp),
    pub(super) wire: Wire,
}

impl Beat {
    /// Reads epoch, number and time out of a heartbeat; nothing when it is none.
    pub(super) fn of(wire: &Wire) -> Option<Beat> {
        if Kind::of_topic(&wire.topic) != Kind::Heartbeat {
            return None;
        }
        let envelope = Envelope::parse(std::str::from_utf8(&wire.envelope).ok()?).ok()?;
        let order = (envelope.epoch, envelope.i, envelope.timestamp);
        Some(Beat { order, wire: wire.compact() })
    }
}

impl Item<'_> {
    /// Why this cannot be kept; nothing when it can.
    pub(super) fn refusal(&self) -> Option<String> {
        if self.i > NUMBER_MAX {
            return Some("the number is beyond its bound".into());
        }
        let (topic, envelope) = match &self.keep {
            Keep::Gone { reason, .. } if !word(reason.as_bytes()) => {
                return Some(format!("the reason is one word of at most {WORD_BYTES_MAX} bytes"));
            }
            Keep::Gone { .. } => return None,
            Keep::Heartbeat { wire } if Beat::of(wire).is_none() => {
                return Some("not a heartbeat".into());
            }
            Keep::Record { wire, .. } | Keep::Heartbeat { wire } => {
                (wire.topic.len(), wire.envelope.len())
            }
        };
        let too_long = topic > TOPIC_BYTES_MAX || envelope > ENVELOPE_BYTES_MAX;
        too_long.then(|| format!("a topic of {topic} bytes, an envelope of {envelope}"))
    }
}

fn word(text: &[u8]) -> bool {
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}
