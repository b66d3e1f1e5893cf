//! What a reader lacks of a stream and somebody may have.

use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::timestamp::Timestamp;

/// Something that a reader needs of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The stream.
    pub stream: StreamName,
    /// What of it.
    pub what: What,
}

/// What is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// Numbers that something signed shows to exist: nobody gives up before every holder has said no.
    Records {
        /// Their epoch.
        epoch: Epoch,
        /// The first number.
        from: u64,
        /// The last number.
        to: u64,
    },
    /// Whatever there is of an epoch from a number on.
    Rest {
        /// The epoch.
        epoch: Epoch,
        /// The first number.
        from: u64,
    },
    /// The record that opens an epoch.
    Genesis {
        /// The epoch.
        epoch: Epoch,
    },
    /// How far the stream is, and which epochs there are.
    Head,
    /// Where the stream was at this time.
    Find {
        /// The time.
        time: Timestamp,
    },
    /// One record outside of the order of the stream.
    Single {
        /// Its epoch.
        epoch: Epoch,
        /// Its number.
        i: u64,
    },
}
