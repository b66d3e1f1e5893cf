//! What came of asking.

use crate::endpoint::Endpoint;
use crate::envelope::{Epoch, Wire};
use crate::frames::{Range, Spot};
use crate::identity::StreamName;

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// Records, as a holder gave them: nothing of them is verified.
    Records {
        /// Whose they were said to be.
        stream: StreamName,
        /// Their epoch.
        epoch: Epoch,
        /// Who gave them.
        holder: Endpoint,
        /// Number and record.
        records: Vec<(u64, Wire)>,
        /// They were asked for outside of the stream's order.
        single: bool,
    },
    /// No holder has these numbers.
    Absent {
        /// The stream.
        stream: StreamName,
        /// The epoch.
        epoch: Epoch,
        /// First and last.
        span: (u64, u64),
        /// They were asked for outside of the stream's order.
        single: bool,
    },
    /// No holder has more of this epoch.
    RestOver {
        /// The stream.
        stream: StreamName,
        /// The epoch.
        epoch: Epoch,
        /// The last number that anybody had, or one less than was asked for.
        upto: u64,
        /// When the first one was asked: what was stored later may be missing here.
        asked: u64,
    },
    /// No holder has the record that opens this epoch.
    NoGenesis {
        /// The stream.
        stream: StreamName,
        /// The epoch.
        epoch: Epoch,
    },
    /// How far a stream is. The heartbeat is not verified, and the ranges are hearsay.
    Info {
        /// The stream.
        stream: StreamName,
        /// Who says so.
        holder: Option<Endpoint>,
        /// The newest heartbeat.
        heartbeat: Option<Wire>,
        /// The epochs, oldest first; none when no holder knows the stream.
        epochs: Vec<Range>,
        /// When it was asked: what began later may be missing here.
        asked: u64,
    },
    /// Where a stream was at a time.
    Place {
        /// The stream.
        stream: StreamName,
        /// The epoch.
        epoch: Epoch,
        /// The number.
        i: u64,
    },
    /// Streams that a holder has.
    Streams {
        /// Who says so.
        holder: Endpoint,
        /// Each with its newest epoch and last number.
        streams: Vec<Spot>,
        /// There are no more.
        complete: bool,
    },
    /// What a stream lacks cannot be fetched now.
    Stuck {
        /// The stream.
        stream: StreamName,
        /// What is in the way.
        why: String,
    },
}

/// What fetching amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairCounts {
    /// Requests.
    pub requests: u64,
    /// Records that were given.
    pub records: u64,
    /// Requests that were not answered in time.
    pub timeouts: u64,
    /// Answers that were wrong in themselves, or to nothing that was asked.
    pub nonsense: u64,
    /// Times that a holder was found to give what is not true.
    pub lies: u64,
    /// Needs for which a stream had no room.
    pub dropped: u64,
}
