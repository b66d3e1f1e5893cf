//! What a relay does with messages, without sockets, disks and clocks: opens each by its own signature, keeps the
//! positions of each stream contiguous, and decides what is stored and published.

mod answer;
mod carried;
mod following;
mod unstored;

use std::sync::Arc;

use fedmsg::envelope::{Epoch, Kind, Wire};
use fedmsg::frames::Spot;
use fedmsg::identity::{Identity, StreamName};
use fedmsg::merkle::Leaf;
use fedmsg::open::{Opener, Place, Record, Refused, Verified};
use fedmsg::planted::bug;
use fedmsg::record::State;
use fedmsg::rejection::Rejection;
use fedmsg::topic::Pattern;
use fedmsg::trust::Trust;
// Its keys are names of streams with a good signature.
use foldhash::{HashMap, HashMapExt};

pub use answer::Taken;
use answer::Verdict;
use carried::{Carried, order};
use unstored::Appends;

/// Streams whose position is kept in memory; the one silent for longest is forgotten first, and is found again in
/// the log.
const STREAMS_MAX: usize = 20_000;

/// What a relay has on its disk.
pub trait Kept {
    /// Where a stream ends.
    fn head(&self, stream: &StreamName) -> Option<Head>;
    /// What stands at a position, if anything does.
    fn at(&self, stream: &StreamName, epoch: Epoch, i: u64) -> Result<Option<Stored>, Unreadable>;
}

/// It cannot be known now what stands at a position: nothing is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what this relay has cannot be read now")]
pub struct Unreadable;

/// The end of a stream: the last number of its newest epoch, and its leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest epoch.
    pub epoch: Epoch,
    /// Its last number.
    pub last: u64,
    /// The leaf of that record, where it is known.
    pub leaf: Option<Leaf>,
}

/// What stands at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its leaf.
    pub leaf: Leaf,
    /// It was refused: only the leaf is there.
    pub is_gone: bool,
}

/// One position that is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The stream.
    pub stream: StreamName,
    /// The epoch.
    pub epoch: Epoch,
    /// The number; 0 is the genesis record.
    pub i: u64,
    /// The leaf of the record.
    pub leaf: Leaf,
    /// The original bytes; or why it was refused, in one word.
    pub what: Result<Wire, Rejection>,
}

/// A heartbeat that is the newest one of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The stream.
    pub stream: StreamName,
    /// The epoch.
    pub epoch: Epoch,
    /// The last number that it names.
    pub i: u64,
    /// The original bytes.
    pub wire: Wire,
    /// Its publisher has ended: it is kept on disk.
    pub is_last: bool,
}

/// The positions of the streams that a relay carries, and the door that everything comes through.
#[derive(Debug)]
pub struct RelayCore {
    identity: Identity,
    carries: Vec<Pattern>,
    is_archive: bool,
    opener: Opener,
    streams: HashMap<StreamName, Carried>,
    appends: Appends,
    /// What it did since it was made.
    pub counts: Counts,
}

/// What a relay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were taken.
    pub carried: u64,
    /// Messages that came again.
    pub duplicates: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Messages that came before what they follow.
    pub early: u64,
    /// Messages that the disk did not take; their producers keep them.
    pub unstored: u64,
}

/// Why a record may not be taken where it stands.
enum Obstacle {
    /// This is what becomes of it.
    Says(Verdict),
    /// It was refused before: its leaf is here, and its number is used up.
    Refused,
}

impl RelayCore {
    /// A relay that publishes these topics, and stores everything if it is an archive.
    pub fn new(
        identity: Identity,
        carries: Vec<Pattern>,
        is_archive: bool,
        trust: Arc<Trust>,
    ) -> RelayCore {
        RelayCore {
            identity,
            carries,
            is_archive,
            opener: Opener::new(trust),
            streams: HashMap::new(),
            appends: Appends::default(),
            counts: Counts::default(),
        }
    }

    /// Goes on with another configuration.
    pub fn set_config(&mut self, carries: Vec<Pattern>, is_archive: bool, trust: Arc<Trust>) {
        (self.carries, self.is_archive) = (carries, is_archive);
        self.opener.set_trust(trust);
    }

    /// A stream that is on disk: what it says of itself is announced to new readers, as long as what came since the
    /// start is.
    pub fn remember(&mut self, stream: StreamName, head: Head, said: [Option<Wire>; 2], now: u64) {
        if self.streams.len() < STREAMS_MAX && !self.carries.is_empty() {
            let [genesis, beat] = said;
            let genesis = genesis.map(|genesis| (head.epoch, genesis));
            let carried = Carried { genesis, beat, ..Carried::new(Some(head), now) };
            self.streams.insert(stream, carried);
        }
    }

    /// Takes the messages of one `PUT`. What is to be kept goes into the next append, after which
    /// [`stored`](RelayCore::stored) or [`not_stored`](RelayCore::not_stored) is called, and only then anything is
    /// published or answered. `now` is in milliseconds of a clock that never goes back.
    pub fn put(&mut self, messages: &[Wire], now: u64, kept: &impl Kept) -> Taken {
        let mut taken = Taken::for_messages(messages.len());
        for wire in messages {
            taken.publish.extend(bug("relay-shows-before-it-verifies").then(|| wire.clone()));
            let verdict = self.judge(wire, now, kept, &mut taken);
            match &verdict {
                Verdict::Store { .. } => {}
                Verdict::Beat { publish } => taken.publish.extend(publish.then(|| wire.clone())),
                Verdict::Again(_) => self.counts.duplicates += 1,
                Verdict::Expect(_) => self.counts.early += 1,
                Verdict::Refuse(..) => self.counts.refused += 1,
                Verdict::Unknown => {}
            }
            taken.verdicts.push(verdict);
        }
        taken
    }

    /// What was taken until now is on its way to the disk; what is taken from now on goes with the append behind it.
    /// Whoever waits for the disk before anything else is taken never says this.
    pub fn handed_over(&mut self) {
        self.appends.begin();
    }

    /// The first append of which it was not said yet is on disk.
    pub fn stored(&mut self) {
        let (append, streams) = self.appends.end();
        for stream in streams {
            if let Some(carried) = self.streams.get_mut(&stream) {
                carried.unstored.ended(append);
            }
        }
    }

    /// The disk did not take it: nothing of it counts, and nothing of what was taken since, which may stand on it. The
    /// streams go on where the disk has them.
    pub fn not_stored(&mut self, kept: &impl Kept) {
        for stream in self.appends.end_all() {
            if let Some(carried) = self.streams.get_mut(&stream) {
                let genesis = carried.genesis.as_ref().map(|(epoch, _)| (*epoch, 0));
                let has_genesis = genesis.is_some_and(|at| carried.unstored.at(at).is_none());
                self.counts.unstored += carried.unstored.clear();
                carried.back_to(kept.head(&stream), has_genesis);
            }
        }
    }

    /// The newest heartbeat of every stream of which one came in the last `within` milliseconds, and the genesis
    /// record, for new readers.
    pub fn announcements(&self, now: u64, within: u64) -> impl Iterator<Item = &Wire> {
        let lively = move |stream: &&Carried| now.saturating_sub(stream.seen) <= within;
        let streams = self.streams.values().filter(lively);
        streams.flat_map(|stream| {
            let genesis = stream.genesis.iter().map(|(_, wire)| wire);
            stream.beat.iter().chain(genesis)
        })
    }

    /// How many streams it knows the position of.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    fn judge(&mut self, wire: &Wire, now: u64, kept: &impl Kept, taken: &mut Taken) -> Verdict {
        let verdict = match self.opener.open(wire) {
            Ok(verified) => self.verified(&verified, now, kept, taken),
            Err(refused) => match *refused {
                Refused { stream: Some(stream), place: Some(place), .. }
                    if bug("relay-allows-by-default") =>
                {
                    let Place { epoch, i, leaf, .. } = place;
                    self.moved(&stream, place, false, now, kept);
                    taken.publish.push(wire.clone());
                    taken.keep.push(Keep { stream, epoch, i, leaf, what: Ok(wire.clone()) });
                    Verdict::Store { leaf }
                }
                refused => self.refused(refused, now, kept, taken),
            },
        };
        if let Verdict::Refuse(reason, _, spot) = &verdict {
            taken.refusals.push((*reason, spot.as_ref().map(|spot| spot.stream.clone())));
        }
        verdict
    }

    fn verified(
        &mut self,
        verified: &Verified,
        now: u64,
        kept: &impl Kept,
        taken: &mut Taken,
    ) -> Verdict {
        let (stream, place) = (verified.stream(), *verified.place());
        let is_foreign = *stream.identity() != self.identity;
        let is_carried = self.is_carried(verified, place.kind);
        if !is_foreign || !(is_carried || self.is_archive) {
            return self.use_up(stream, place, (Rejection::NotCarried, None), now, kept, taken);
        }
        match self.obstacle(stream, place, now, kept) {
            None if place.kind == Kind::Heartbeat => {
                self.beat(verified, now, kept, taken);
                Verdict::Beat { publish: is_carried }
            }
            None => {
                self.take(verified, is_carried, now, kept, taken);
                Verdict::Store { leaf: place.leaf }
            }
            Some(Obstacle::Refused) => {
                let spot = Spot { stream: stream.clone(), epoch: place.epoch, i: place.i };
                let why = "it was refused here before, and its number is used up";
                Verdict::Refuse(Rejection::NotCarried, Some(why.into()), Some(spot))
            }
            Some(Obstacle::Says(verdict)) => verdict,
        }
    }

    fn is_carried(&self, verified: &Verified, kind: Kind) -> bool {
        let topic = verified.topic().as_str();
        match kind {
            Kind::Message => self.carries.iter().any(|pattern| pattern.matches(topic)),
            // What a stream says of itself goes with its messages.
            Kind::Genesis | Kind::Heartbeat => !self.carries.is_empty(),
        }
    }

    /// The stream moves on with this record, which is to be stored with the next append, and published then.
    fn take(
        &mut self,
        verified: &Verified,
        is_carried: bool,
        now: u64,
        kept: &impl Kept,
        taken: &mut Taken,
    ) {
        let (stream, place, wire) = (verified.stream(), *verified.place(), verified.wire());
        self.counts.carried += u64::from(place.kind == Kind::Message);
        let carried = self.moved(stream, place, false, now, kept);
        if place.kind == Kind::Genesis && is_carried {
            carried.genesis = Some((place.epoch, wire.compact()));
        }
        taken.publish.extend(is_carried.then(|| wire.clone()));
        let Place { epoch, i, leaf, .. } = place;
        let (stream, what) = (stream.clone(), Ok(wire.clone()));
        taken.keep.push(Keep { stream, epoch, i, leaf, what });
    }

    /// The stream moves on to this position, which is to be stored with the next append.
    fn moved(
        &mut self,
        stream: &StreamName,
        place: Place,
        is_gone: bool,
        now: u64,
        kept: &impl Kept,
    ) -> &mut Carried {
        self.make_known(stream, now, kept);
        let carried = self.streams.get_mut(stream).expect("it was made known");
        carried.moved(place);
        let stored = Stored { leaf: place.leaf, is_gone };
        let append = self.appends.number();
        if carried.unstored.add((place.epoch, place.i), stored, append) {
            self.appends.touch(stream);
        }
        carried
    }

    /// This is the newest heartbeat of its stream.
    fn beat(&mut self, verified: &Verified, now: u64, kept: &impl Kept, taken: &mut Taken) {
        let (stream, place) = (verified.stream().clone(), *verified.place());
        let wire = verified.wire().clone();
        let is_announced = self.is_carried(verified, place.kind);
        let carried = self.carried(&stream, now, kept);
        carried.beat = is_announced.then(|| wire.compact());
        carried.newest = carried.newest.max(Some(order(verified)));
        let is_last =
            matches!(verified.record(), Record::Heartbeat(beat) if beat.state == State::Closed);
        taken.beats.push(Beat { stream, epoch: place.epoch, i: place.i, wire, is_last });
    }

    /// A message with a good signature uses its position up, although it is refused.
    fn refused(
        &mut self,
        refused: Refused,
        now: u64,
        kept: &impl Kept,
        taken: &mut Taken,
    ) -> Verdict {
        let why = (refused.reason, refused.detail);
        match (refused.stream, refused.place) {
            (Some(stream), Some(place)) => self.use_up(&stream, place, why, now, kept, taken),
            _ => Verdict::Refuse(why.0, why.1, None),
        }
    }

    /// Refuses a record, and keeps a tombstone in its place, so that the chain goes on.
    fn use_up(
        &mut self,
        stream: &StreamName,
        place: Place,
        (reason, detail): (Rejection, Option<String>),
        now: u64,
        kept: &impl Kept,
        taken: &mut Taken,
    ) -> Verdict {
        let spot = Spot { stream: stream.clone(), epoch: place.epoch, i: place.i };
        let is_own = *stream.identity() == self.identity;
        if place.kind == Kind::Message && !is_own && self.knows(stream, place.epoch, kept) {
            match self.obstacle(stream, place, now, kept) {
                None => {
                    self.moved(stream, place, true, now, kept);
                    let (epoch, i, leaf) = (place.epoch, place.i, place.leaf);
                    let (stream, what) = (stream.clone(), Err(reason));
                    taken.keep.push(Keep { stream, epoch, i, leaf, what });
                }
                Some(Obstacle::Refused | Obstacle::Says(Verdict::Again(_))) => {}
                Some(Obstacle::Says(verdict)) => return verdict,
            }
        }
        Verdict::Refuse(reason, detail, Some(spot))
    }

    /// Whether something of this epoch is kept. Only then a tombstone is: strangers fill no disk.
    fn knows(&self, stream: &StreamName, epoch: Epoch, kept: &impl Kept) -> bool {
        let head = match self.streams.get(stream) {
            Some(carried) => carried.head,
            None => kept.head(stream),
        };
        head.is_some_and(|head| head.epoch == epoch)
    }

    /// What becomes of a record that may not be taken where it stands; nothing if it may.
    fn obstacle(
        &mut self,
        stream: &StreamName,
        place: Place,
        now: u64,
        kept: &impl Kept,
    ) -> Option<Obstacle> {
        let spot = |i| Spot { stream: stream.clone(), epoch: place.epoch, i };
        let says = |verdict| Some(Obstacle::Says(verdict));
        let refuse = |reason| says(Verdict::Refuse(reason, None, Some(spot(place.i))));
        let carried = self.carried(stream, now, kept);
        // Who has not seen the beginning takes the first record as base. A heartbeat is none: what it is about
        // would count as taken.
        let head = carried.head?;
        if place.epoch > head.epoch {
            return match place.kind {
                Kind::Genesis => None,
                Kind::Message if bug("epoch-without-genesis") => None,
                _ => says(Verdict::Expect(spot(0))),
            };
        }
        let is_current = place.epoch == head.epoch;
        match place.kind {
            Kind::Heartbeat if !is_current => refuse(Rejection::Stale),
            Kind::Heartbeat if place.i > head.last => says(Verdict::Expect(spot(head.last + 1))),
            Kind::Heartbeat if place.i < head.last => says(Verdict::Beat { publish: false }),
            Kind::Heartbeat if head.leaf.is_some_and(|leaf| leaf != place.prev) => {
                refuse(Rejection::Fork)
            }
            Kind::Heartbeat => None,
            Kind::Message if is_current && place.i > head.last + 1 => {
                says(Verdict::Expect(spot(head.last + 1)))
            }
            Kind::Message if is_current && place.i == head.last + 1 => {
                match head.leaf.is_some_and(|leaf| leaf != place.prev) {
                    true => refuse(Rejection::Fork),
                    false => None,
                }
            }
            // It should be here already; a receipt is given only for the very same record.
            Kind::Message | Kind::Genesis => match self.at(stream, place.epoch, place.i, kept) {
                Err(Unreadable) => says(Verdict::Unknown),
                Ok(Some(stored))
                    if stored.leaf != place.leaf && !bug("receipt-for-another-record") =>
                {
                    refuse(Rejection::Fork)
                }
                Ok(Some(stored)) if stored.is_gone => Some(Obstacle::Refused),
                Ok(Some(stored)) => says(Verdict::Again(stored.leaf)),
                Ok(None) if is_current => None,
                // A publisher that was set back to an epoch before the newest must not go on there.
                Ok(None) => refuse(Rejection::Stale),
            },
        }
    }

    fn at(
        &self,
        stream: &StreamName,
        epoch: Epoch,
        i: u64,
        kept: &impl Kept,
    ) -> Result<Option<Stored>, Unreadable> {
        let unstored = self.streams.get(stream).and_then(|carried| carried.unstored.at((epoch, i)));
        match unstored {
            Some(stored) => Ok(Some(stored)),
            None => kept.at(stream, epoch, i),
        }
    }

    fn carried(&mut self, stream: &StreamName, now: u64, kept: &impl Kept) -> &mut Carried {
        self.make_known(stream, now, kept);
        self.streams.get_mut(stream).expect("it was made known")
    }

    fn make_known(&mut self, stream: &StreamName, now: u64, kept: &impl Kept) {
        match self.streams.get_mut(stream) {
            Some(carried) => carried.seen = now,
            None => {
                self.make_room();
                let carried = Carried::new(kept.head(stream), now);
                self.streams.insert(stream.clone(), carried);
            }
        }
    }

    /// Forgets the sixteenth that was silent for longest, when there are too many. What is not on disk
    /// yet stays.
    fn make_room(&mut self) {
        if self.streams.len() < STREAMS_MAX {
            return;
        }
        let mut seen: Vec<u64> = self.streams.values().map(|stream| stream.seen).collect();
        let (_, limit, _) = seen.select_nth_unstable(STREAMS_MAX / 16);
        let limit = *limit;
        self.streams.retain(|_, stream| stream.seen > limit || !stream.unstored.is_empty());
    }
}
