//! What a journal keeps, and what it says about itself.

use std::path::PathBuf;

use crate::envelope::{Epoch, Kind, Wire};
use crate::merkle::Leaf;
use crate::seal::Sealed;
use crate::signing::Cut;
use crate::timestamp::Timestamp;

/// What stands at a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A record of the stream, both frames as they travel.
    Record(Wire),
    /// A tombstone: the record was refused or lost, and the chain goes on by its leaf.
    Gone {
        /// The leaf of what is not there.
        leaf: Leaf,
        /// Why it is not there: one word of at most 64 bytes.
        reason: String,
    },
}

impl Body {
    /// The leaf that `prev` of the next record carries; nothing when the envelope is no envelope.
    pub fn leaf(&self) -> Option<Leaf> {
        match self {
            Body::Record(wire) => leaf_of(wire),
            Body::Gone { leaf, .. } => Some(*leaf),
        }
    }
}

/// The leaf of a record, from its bytes.
pub(super) fn leaf_of(wire: &Wire) -> Option<Leaf> {
    let cut = Cut::new(&wire.envelope).ok()?;
    Some(Leaf::of(Kind::of_topic(&wire.topic).domain(), cut.signed))
}

/// What is to be appended, with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The number: 1 more than the last one.
    pub i: u64,
    /// What stands there.
    pub body: Body,
}

impl From<&Sealed> for Numbered {
    fn from(sealed: &Sealed) -> Numbered {
        Numbered { i: sealed.i, body: Body::Record(sealed.wire.clone()) }
    }
}

/// What a reader gets for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number.
    pub i: u64,
    /// When it was appended, by the writer's clock.
    pub time: Timestamp,
    /// What stands there.
    pub body: Body,
}

/// The numbers of one epoch that a journal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The epoch.
    pub epoch: Epoch,
    /// The first number; 0 is the genesis record.
    pub first: u64,
    /// The last number.
    pub last: u64,
}

/// Numbers that cannot be read although they were written. The file is left as it is, and the numbers
/// around them are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The epoch.
    pub epoch: Epoch,
    /// The first number that is lost.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// The segment.
    pub path: PathBuf,
}

/// How far the newest epoch of a journal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochState {
    /// The epoch.
    pub epoch: Epoch,
    /// The first number that is still there; 0 is the genesis record.
    pub first: u64,
    /// The last number.
    pub last: u64,
    /// Its leaf.
    pub leaf: Leaf,
    /// When it was appended.
    pub time: Timestamp,
    /// The record that opened the epoch.
    pub genesis: Wire,
    /// Its leaf.
    pub genesis_leaf: Leaf,
}

/// Whether the newest epoch may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// There is no epoch yet: the first one must begin.
    Fresh,
    /// Every number up to the last one is known: the next may follow.
    Proven,
    /// A number above the last one may have been given out. A new epoch must begin.
    Broken(Break),
}

/// Why an epoch cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Break {
    /// Bytes at the end that are no records: a write that a crash tore, or damage to the last one.
    #[error("{bytes} bytes at the end of {path} are no records; numbers from {from} on do not count",
        path = path.display())]
    Torn {
        /// The segment.
        path: PathBuf,
        /// The first number that does not count.
        from: u64,
        /// How many bytes there are; 0 when the last append has records missing.
        bytes: u64,
    },
    /// No record of the newest segment can be read.
    #[error("no record of {path} can be read", path = path.display())]
    LastUnreadable {
        /// The segment.
        path: PathBuf,
    },
    /// The genesis record of the newest epoch cannot be read.
    #[error("the genesis record of epoch {epoch} cannot be read")]
    GenesisUnreadable {
        /// The epoch.
        epoch: Epoch,
    },
    /// The journal was closed further on than it is now: it was rewound, or its end is gone.
    #[error("the journal once had number {last} of epoch {epoch}, and has it no more")]
    Rewound {
        /// The epoch.
        epoch: Epoch,
        /// How far it was.
        last: u64,
    },
    /// The beginning of an epoch failed, and may be on disk all the same.
    #[error("epoch {epoch} may have begun on disk")]
    Beginning {
        /// The epoch.
        epoch: Epoch,
    },
}
