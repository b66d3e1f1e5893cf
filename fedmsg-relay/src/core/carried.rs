//! One stream as a relay knows it.

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::open::{Place, Verified};
use fedmsg::planted::bug;
use fedmsg::timestamp::Timestamp;

use super::Head;
use super::unstored::Unstored;

/// One stream as the relay knows it.
#[derive(Debug)]
pub(super) struct Carried {
    /// Nothing of it has been stored yet where there is none.
    pub(super) head: Option<Head>,
    /// For new readers, where this relay publishes the stream.
    pub(super) genesis: Option<(Epoch, Wire)>,
    /// The same.
    pub(super) beat: Option<Wire>,
    /// Which heartbeat is the newest one: its epoch, its number, and when it was signed.
    pub(super) newest: Option<(Epoch, u64, Timestamp)>,
    pub(super) seen: u64,
    pub(super) unstored: Unstored,
}

impl Carried {
    pub(super) fn new(head: Option<Head>, now: u64) -> Carried {
        let unstored = Unstored::default();
        Carried { head, genesis: None, beat: None, newest: None, seen: now, unstored }
    }

    /// The stream goes on from here. What was said of it beyond that is not announced, and neither is a genesis record
    /// that is not here: readers would believe that what nobody has was there.
    pub(super) fn back_to(&mut self, head: Option<Head>, has_genesis: bool) {
        self.head = head;
        if bug("announces-what-is-not-stored") {
            return;
        }
        let is_here = |place| head.is_some_and(|head| place <= (head.epoch, head.last));
        if self.newest.is_some_and(|(epoch, i, _)| !is_here((epoch, i))) {
            (self.beat, self.newest) = (None, None);
        }
        self.genesis = self.genesis.take().filter(|_| has_genesis);
    }

    /// A record was taken; one before the last, which was missing, moves nothing.
    pub(super) fn moved(&mut self, place: Place) {
        let is_next = self.head.is_none_or(|head| {
            place.epoch > head.epoch || place.epoch == head.epoch && place.i > head.last
        });
        if is_next {
            self.head = Some(Head { epoch: place.epoch, last: place.i, leaf: Some(place.leaf) });
        }
    }
}

/// What tells which of two heartbeats of a stream is the newer one.
pub(super) fn order(heartbeat: &Verified) -> (Epoch, u64, Timestamp) {
    (heartbeat.epoch(), heartbeat.i(), heartbeat.timestamp())
}
