//! Fetching what streams lack from those who hold them. Pure: time (milliseconds of a clock that never goes
//! back), randomness and frames are arguments.
//!
//! Each stream has at most one request on its way. Its holders are asked in the order in which they are
//! configured, its own publisher first; one that does not answer, or answers nonsense, is left alone for a
//! while, and the next one is asked. What is missing is *absent* only when every holder has said so: silence
//! never counts as an answer.

mod answers;
mod flight;
mod found;
mod listings;
mod mood;
mod sending;
mod task;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;

use self::flight::{Flight, Purpose};
pub use self::found::{Found, RepairCounts};
use self::listings::Listings;
use self::mood::Moods;
use self::task::Task;
use crate::endpoint::Endpoint;
use crate::envelope::{Epoch, Wire};
use crate::frames::{Answer, Ask, RequestId, Word};
use crate::identity::StreamName;
use crate::limits::{ASK_MS_MAX, GET_MESSAGES_MAX, NEEDS_OF_STREAM_MAX, SHOWN_HOLDERS_MAX};
use crate::need::Need;

/// The holders of streams, in the order in which they are asked.
pub trait Holders: Send + Sync {
    /// Those of a stream; none when nobody keeps it.
    fn of(&self, stream: &StreamName) -> &[Endpoint];
    /// All of them.
    fn all(&self) -> Vec<Endpoint>;
    /// Whether a holder of a stream gets it from others, and may lack for a while what was published already.
    fn is_copy(&self, _stream: &StreamName, _holder: &Endpoint) -> bool {
        false
    }
}

/// Asks, follows the answers, and asks again.
pub struct Repair {
    holders: Arc<dyn Holders>,
    streams: BTreeMap<StreamName, VecDeque<Task>>,
    /// Streams whose next request can go out as soon as there is room.
    ready: VecDeque<StreamName>,
    /// Streams whose next holder has enough to do.
    parked: BTreeMap<Endpoint, VecDeque<StreamName>>,
    /// Requests that are on their way to each holder.
    flying: BTreeMap<Endpoint, usize>,
    /// Streams for which nothing is asked now, because nobody takes more of them.
    paused: BTreeSet<StreamName>,
    /// Streams that wait for a time.
    timers: BTreeSet<(u64, StreamName)>,
    flights: BTreeMap<u64, Flight>,
    /// Since when it is waited for copies that end before what is missing of a stream, and for which ones.
    behind: BTreeMap<StreamName, (u64, Vec<Endpoint>)>,
    listings: Listings,
    discovers: bool,
    moods: Moods,
    asks: Vec<(Endpoint, Vec<Bytes>)>,
    found: Vec<Found>,
    counts: RepairCounts,
    last_id: u64,
    /// Most records of one answer.
    portion: u64,
}

impl Repair {
    /// Asks these holders; the seed is for the jitter of waiting times.
    pub fn new(holders: Arc<dyn Holders>, seed: u64) -> Repair {
        Repair {
            holders,
            streams: BTreeMap::new(),
            ready: VecDeque::new(),
            parked: BTreeMap::new(),
            paused: BTreeSet::new(),
            flying: BTreeMap::new(),
            timers: BTreeSet::new(),
            flights: BTreeMap::new(),
            behind: BTreeMap::new(),
            listings: Listings::default(),
            discovers: false,
            moods: Moods::new(Rng::with_seed(seed)),
            asks: Vec::new(),
            found: Vec::new(),
            counts: RepairCounts::default(),
            last_id: 0,
            portion: GET_MESSAGES_MAX,
        }
    }

    /// Goes on with other holders.
    pub fn set_holders(&mut self, holders: Arc<dyn Holders>, now: u64) {
        self.holders = holders;
        let mut all = self.holders.all();
        all.sort_unstable();
        self.moods.retain(|holder| all.binary_search(holder).is_ok());
        self.listings.set_holders(all, now);
        // Everything is asked anew, and what is on its way comes to nothing.
        self.flights.clear();
        self.behind.clear();
        self.flying.clear();
        self.parked.clear();
        self.ready.clear();
        self.timers.clear();
        let names: Vec<_> = self.streams.keys().cloned().collect();
        for name in names {
            if let Some(tasks) = self.streams.get_mut(&name) {
                tasks.iter_mut().for_each(Task::holders_changed);
            }
            self.make_ready(&name);
        }
        self.list(now);
        self.fly(now);
    }

    /// Asks every holder which streams it has, from now on.
    pub fn discover(&mut self, now: u64) {
        self.discovers = true;
        self.listings.set_holders(self.holders.all(), now);
        self.list(now);
    }

    /// Most records of one answer, 1 to 1,000.
    pub fn set_portion(&mut self, records: u64) {
        self.portion = records.clamp(1, GET_MESSAGES_MAX);
    }

    /// Something is needed. What is asked for already is asked for once.
    pub fn need(&mut self, need: Need, now: u64) {
        let Need { stream, what } = need;
        let tasks = self.streams.entry(stream.clone()).or_default();
        if !tasks.iter_mut().any(|task| task.covers(what)) {
            if tasks.len() >= NEEDS_OF_STREAM_MAX {
                // It is needed again later, if it is still needed then.
                self.counts.dropped += 1;
                return;
            }
            tasks.push_back(Task::new(what, now));
        }
        self.make_ready(&stream);
        self.fly(now);
    }

    /// Shows the holders of a stream a record of it, among them its publisher, who was set back.
    pub fn show(&mut self, stream: &StreamName, record: &Wire, now: u64) {
        let holders = Arc::clone(&self.holders);
        for holder in holders.of(stream).iter().take(SHOWN_HOLDERS_MAX) {
            let ask = Ask::Put { messages: vec![record.clone()] };
            self.send(holder.clone(), Purpose::Tell, ask, 0, now);
        }
    }

    /// Tells the publisher of a stream how far a named consumer is with it: the floor of its retention.
    pub fn acknowledge(
        &mut self,
        stream: &StreamName,
        (epoch, upto): (Epoch, u64),
        consumer: &Word,
        now: u64,
    ) {
        let holders = Arc::clone(&self.holders);
        let Some(holder) = holders.of(stream).first() else { return };
        if self.moods.allows(holder, now) && self.has_room() {
            let (stream, consumer) = (stream.clone(), consumer.clone());
            let ask = Ask::Ack { stream, epoch, upto, consumer };
            self.send(holder.clone(), Purpose::Tell, ask, 0, now);
        }
    }

    /// Asks nothing more for a stream until it is to go on.
    pub fn pause(&mut self, stream: &StreamName) {
        self.paused.insert(stream.clone());
    }

    /// Goes on with a stream.
    pub fn resume(&mut self, stream: &StreamName, now: u64) {
        if self.paused.remove(stream) {
            self.make_ready(stream);
            self.fly(now);
        }
    }

    /// Goes on with every stream.
    pub fn resume_all(&mut self, now: u64) {
        for stream in std::mem::take(&mut self.paused) {
            self.make_ready(&stream);
        }
        self.fly(now);
    }

    /// Whether some holder is left alone for now.
    pub fn leaves_alone(&self) -> bool {
        !self.moods.is_empty()
    }

    /// A sign of life of a publisher: whoever of these did not answer may do so now.
    pub fn awake(&mut self, holders: &[Endpoint], now: u64) {
        let mut changed = false;
        for holder in holders {
            if self.moods.forgive(holder) {
                changed = true;
                self.listings.hurry(holder, now);
            }
        }
        if changed {
            let waiting: Vec<_> = self.timers.iter().map(|(_, name)| name.clone()).collect();
            waiting.iter().for_each(|name| self.make_ready(name));
            self.list(now);
            self.fly(now);
        }
    }

    /// A holder gave something that is not true of a stream: it is not asked for a while.
    pub fn blame(&mut self, holder: &Endpoint, now: u64) {
        self.counts.lies += 1;
        self.moods.blame(holder, now);
    }

    /// Takes one answer.
    pub fn answer(&mut self, holder: &Endpoint, frames: &[Bytes], now: u64) {
        let Ok(answer) = Answer::parse(frames) else {
            self.counts.nonsense += 1;
            let id = id_of(&RequestId::of(frames));
            return self.fail(id, holder, "it answered with something that is no answer", now);
        };
        let id = id_of(&answer.id);
        let known = self.flights.get(&id).is_some_and(|flight| flight.holder == *holder);
        if !known {
            // Given up before, or never asked for.
            self.counts.nonsense += u64::from(id > self.last_id);
            return;
        }
        match self.flights.get_mut(&id) {
            Some(Flight { purpose: Purpose::List, .. }) => {
                self.listed(id, holder, answer.reply, now);
            }
            Some(Flight { purpose: Purpose::Tell, .. }) => {
                self.land(id);
            }
            Some(flight) => {
                flight.since = now;
                let Some(reply) = flight.take(answer.reply) else { return };
                if let Some(flight) = self.land(id) {
                    self.told(flight, holder, reply, now);
                }
            }
            None => {}
        }
        self.fly(now);
    }

    /// Does what is due by now; to be called at least every 100 ms while something is [asked
    /// for](Self::is_busy).
    pub fn tick(&mut self, now: u64) {
        let late = |flight: &Flight| now.saturating_sub(flight.since) >= ASK_MS_MAX;
        let late: Vec<_> = self.flights.iter().filter(|(_, flight)| late(flight)).collect();
        let late: Vec<_> =
            late.into_iter().map(|(id, flight)| (*id, flight.holder.clone())).collect();
        for (id, holder) in late {
            self.counts.timeouts += 1;
            self.fail(id, &holder, "it did not answer in time", now);
        }
        while let Some((at, name)) = self.timers.first().cloned().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, name.clone()));
            self.make_ready(&name);
        }
        self.list(now);
        self.fly(now);
    }

    /// Whether something is asked for.
    pub fn is_busy(&self) -> bool {
        !self.streams.is_empty() || !self.flights.is_empty()
    }

    /// When something is due at the latest.
    pub fn due(&self) -> Option<u64> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let flights = self.flights.values().map(|flight| flight.since + ASK_MS_MAX);
        let lists = self.listings.due().filter(|_| self.discovers);
        timer.into_iter().chain(flights).chain(lists).min()
    }

    /// How many streams lack something.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Streams that stand still: what they lack exists, and cannot be fetched now.
    pub fn stalled(&self) -> impl Iterator<Item = &StreamName> {
        let still = |tasks: &VecDeque<Task>| tasks.front().is_some_and(Task::stands_still);
        self.streams.iter().filter(move |(_, tasks)| still(tasks)).map(|(stream, _)| stream)
    }

    /// What fetching amounted to.
    pub fn counts(&self) -> RepairCounts {
        self.counts
    }

    /// The requests to send since the last call; one that cannot be sent is [refused](Self::unsent).
    pub fn asks(&mut self) -> std::vec::Drain<'_, (Endpoint, Vec<Bytes>)> {
        self.asks.drain(..)
    }

    /// What was found since the last call.
    pub fn found(&mut self) -> std::vec::Drain<'_, Found> {
        self.found.drain(..)
    }

    /// A request could not be sent: the holder is not connected.
    pub fn unsent(&mut self, holder: &Endpoint, frames: &[Bytes], now: u64) {
        let id = id_of(&RequestId::of(frames));
        self.fail(id, holder, "it cannot be reached", now);
        self.fly(now);
    }
}

fn id_of(id: &RequestId) -> u64 {
    id.as_bytes().try_into().map_or(0, u64::from_be_bytes)
}

impl fmt::Debug for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (streams, flights) = (self.streams.len(), self.flights.len());
        write!(f, "Repair({streams} streams, {flights} requests on their way)")
    }
}
