//! Fetching what streams lack from those who hold them. Pure: time (milliseconds of a clock that never goes
//! back), randomness and frames are arguments.
//!
//! Each stream has at most one request on its way. Its holders are asked in the order in which they are
//! configured, its own publisher first; one that does not answer, or answers nonsense, is left alone for a
//! while, and the next one is asked. What is missing is *absent* only when every holder has said so: silence
//! never counts as an answer.

mod mood;
mod task;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;

use self::mood::Moods;
use self::task::{Step, Task};
use crate::endpoint::Endpoint;
use crate::envelope::{Epoch, Wire};
use crate::frames::{Answer, Ask, ErrorCode, Range, Reply, Request, RequestId, Spot};
use crate::identity::StreamName;
use crate::limits::{
    ASK_MS_MAX, FLIGHTS_MAX, FLIGHTS_OF_HOLDER_MAX, GET_MESSAGES_MAX, LIST_AGAIN_MS,
    NEEDS_OF_STREAM_MAX, STALL_MS,
};
use crate::need::{Need, What};

/// The holders of streams, in the order in which they are asked.
pub trait Holders: Send + Sync {
    /// Those of a stream; none when nobody keeps it.
    fn of(&self, stream: &StreamName) -> &[Endpoint];
    /// All of them.
    fn all(&self) -> Vec<Endpoint>;
}

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
    /// Streams that wait for a time.
    timers: BTreeSet<(u64, StreamName)>,
    flights: BTreeMap<u64, Flight>,
    lists: BTreeMap<Endpoint, Listing>,
    discovers: bool,
    moods: Moods,
    asks: Vec<(Endpoint, Vec<Bytes>)>,
    found: Vec<Found>,
    counts: RepairCounts,
    last_id: u64,
    /// Most records of one answer.
    portion: u64,
}

/// A request on its way.
#[derive(Debug)]
struct Flight {
    holder: Endpoint,
    /// Nothing for a `LIST`.
    stream: Option<StreamName>,
    /// When something of its answer came the last time.
    since: u64,
    /// The number that its answer has to go on with, and what came so far.
    next: u64,
    records: Vec<(u64, Wire)>,
    gone: Vec<u64>,
}

/// Asking a holder which streams it has.
#[derive(Debug, Default)]
struct Listing {
    token: Bytes,
    due: u64,
    flying: bool,
}

impl Repair {
    /// Asks these holders; the seed is for the jitter of waiting times.
    pub fn new(holders: Arc<dyn Holders>, seed: u64) -> Repair {
        Repair {
            holders,
            streams: BTreeMap::new(),
            ready: VecDeque::new(),
            parked: BTreeMap::new(),
            flying: BTreeMap::new(),
            timers: BTreeSet::new(),
            flights: BTreeMap::new(),
            lists: BTreeMap::new(),
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
        let all = self.holders.all();
        self.moods.retain(|holder| all.contains(holder));
        self.lists.retain(|holder, _| all.contains(holder));
        self.lists.values_mut().for_each(|list| list.flying = false);
        // Everything is asked anew, and what is on its way comes to nothing.
        self.flights.clear();
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

    /// A sign of life of a publisher: whoever of these did not answer may do so now.
    pub fn awake(&mut self, holders: &[Endpoint], now: u64) {
        let mut changed = false;
        for holder in holders {
            changed |= self.moods.forgive(holder);
        }
        if changed {
            let waiting: Vec<_> = self.timers.iter().map(|(_, name)| name.clone()).collect();
            waiting.iter().for_each(|name| self.make_ready(name));
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
            Some(Flight { stream: None, .. }) => self.listed(id, holder, answer.reply, now),
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
        let lists = self.lists.values().filter(|list| !list.flying).map(|list| list.due);
        timer.into_iter().chain(flights).chain(lists).min()
    }

    /// How many streams lack something.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
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

    /// Asks holders for their streams, where that is due.
    fn list(&mut self, now: u64) {
        if !self.discovers {
            return;
        }
        for holder in self.holders.all() {
            let list = self.lists.entry(holder.clone()).or_default();
            if list.flying || now < list.due || !self.moods.allows(&holder, now) {
                continue;
            }
            list.flying = true;
            let ask = Ask::List { token: list.token.clone() };
            self.send(holder, None, ask, 0, now);
        }
    }

    fn listed(&mut self, id: u64, holder: &Endpoint, reply: Reply, now: u64) {
        let Reply::Page { next, more, streams } = reply else {
            return self.fail(id, holder, &refusal(&reply), now);
        };
        self.land(id);
        self.moods.answered(holder);
        let list = self.lists.entry(holder.clone()).or_default();
        (list.token, list.flying) = (next, false);
        list.due = if more { now } else { now + LIST_AGAIN_MS };
        self.found.push(Found::Streams { holder: holder.clone(), streams, complete: !more });
        self.list(now);
    }

    /// A request of a stream is answered to the end.
    fn told(&mut self, flight: Flight, holder: &Endpoint, reply: Reply, now: u64) {
        let Some(stream) = flight.stream.clone() else { return };
        match reply {
            Reply::End { upto, more } if upto + 1 == flight.next => {
                self.ended(&stream, holder, flight, more, now);
            }
            Reply::Info { heartbeat, epochs, .. } => {
                if heartbeat.is_some() || !epochs.is_empty() {
                    self.found.push(Found::Info {
                        stream: stream.clone(),
                        holder: Some(holder.clone()),
                        heartbeat,
                        epochs: epochs.clone(),
                    });
                }
                self.step(&stream, holder, now, |task| task.informed(holder, &epochs));
            }
            Reply::Found { epoch, i } => {
                let step = |task: &mut Task| match task.what() {
                    What::Find { .. } => Step::Done,
                    _ => Step::Odd("it answered what was not asked"),
                };
                self.found.push(Found::Place { stream: stream.clone(), epoch, i });
                self.step(&stream, holder, now, step);
            }
            Reply::Err { code: ErrorCode::UnknownStream | ErrorCode::UnknownEpoch, .. } => {
                self.step(&stream, holder, now, |task| task.denied(holder));
            }
            Reply::Err { code: ErrorCode::Trimmed, .. } => {
                self.step(&stream, holder, now, Task::trimmed);
            }
            reply => {
                self.counts.nonsense += u64::from(!matches!(reply, Reply::Err { .. }));
                self.put_off(&stream, holder, &refusal(&reply), now);
            }
        }
    }

    /// The answer to a `GET` is complete.
    fn ended(
        &mut self,
        stream: &StreamName,
        holder: &Endpoint,
        flight: Flight,
        more: bool,
        now: u64,
    ) {
        let Flight { next, records, gone, .. } = flight;
        self.counts.records += records.len() as u64;
        let Some(task) = self.streams.get_mut(stream).and_then(VecDeque::front_mut) else { return };
        let (epoch, single) = (task.epoch(), matches!(task.what(), What::Single { .. }));
        let came = !records.is_empty();
        if let Some(epoch) = epoch.filter(|_| came) {
            let (stream, holder) = (stream.clone(), holder.clone());
            self.found.push(Found::Records { stream, epoch, holder, records, single });
        }
        self.step(stream, holder, now, |task| {
            task.ended(holder, next, &gone, more, came.then_some(now))
        });
    }

    /// A request is not on its way any more: the next ones that wait for its holder have their turn.
    fn land(&mut self, id: u64) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        let left = self.flying.get_mut(&flight.holder).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            self.flying.remove(&flight.holder);
        }
        if let Some(parked) = self.parked.get_mut(&flight.holder) {
            // With none on its way nobody would wake those who are left.
            let count = if left == 0 { parked.len() } else { 1 };
            self.ready.extend(parked.drain(..count.min(parked.len())));
        }
        Some(flight)
    }

    /// Goes on with the first task of a stream.
    fn step(
        &mut self,
        stream: &StreamName,
        holder: &Endpoint,
        now: u64,
        step: impl FnOnce(&mut Task) -> Step,
    ) {
        let Some(tasks) = self.streams.get_mut(stream) else { return };
        let Some(task) = tasks.front_mut() else { return };
        task.is_flying = false;
        match step(task) {
            Step::Ask => {}
            Step::Odd(why) => return self.put_off(stream, holder, why, now),
            Step::Done => {
                tasks.pop_front();
            }
        }
        self.moods.answered(holder);
        self.make_ready(stream);
    }

    /// A request came to nothing.
    fn fail(&mut self, id: u64, holder: &Endpoint, why: &str, now: u64) {
        if self.flights.get(&id).is_none_or(|flight| flight.holder != *holder) {
            return;
        }
        let Some(flight) = self.land(id) else { return };
        match flight.stream {
            Some(stream) => self.put_off(&stream, holder, why, now),
            None => {
                let at = self.moods.failed(holder, now);
                let list = self.lists.entry(holder.clone()).or_default();
                // After a failure the holder may have begun another life: everything is asked for again.
                *list = Listing { due: at, ..Listing::default() };
            }
        }
    }

    /// A holder could not help a stream now.
    fn put_off(&mut self, stream: &StreamName, holder: &Endpoint, why: &str, now: u64) {
        self.moods.failed(holder, now);
        if let Some(task) = self.streams.get_mut(stream).and_then(VecDeque::front_mut) {
            task.is_flying = false;
            task.failed();
            if now.saturating_sub(task.since) >= STALL_MS && !task.is_told {
                task.is_told = true;
                let why = format!("{holder}: {why}");
                self.found.push(Found::Stuck { stream: stream.clone(), why });
            }
        }
        self.make_ready(stream);
    }

    fn make_ready(&mut self, stream: &StreamName) {
        let Some(tasks) = self.streams.get(stream) else { return };
        let Some(task) = tasks.front() else {
            self.streams.remove(stream);
            return;
        };
        if !task.is_flying && !task.is_ready {
            if let Some(task) = self.streams.get_mut(stream).and_then(VecDeque::front_mut) {
                task.is_ready = true;
            }
            self.ready.push_back(stream.clone());
        }
    }

    /// Sends what can be sent.
    fn fly(&mut self, now: u64) {
        for _ in 0..self.ready.len() {
            let Some(stream) = self.ready.pop_front() else { return };
            if self.flights.len() >= FLIGHTS_MAX {
                self.ready.push_front(stream);
                return;
            }
            self.start(stream, now);
        }
    }

    /// Sends the next request of a stream, or sets a time for it.
    fn start(&mut self, stream: StreamName, now: u64) {
        let holders = Arc::clone(&self.holders);
        let holders = holders.of(&stream);
        let portion = self.portion;
        let Some(tasks) = self.streams.get_mut(&stream) else { return };
        let Some(task) = tasks.front_mut() else { return };
        task.is_ready = false;
        if task.is_flying {
            return;
        }
        if holders.iter().all(|holder| task.has_answer_of(holder)) {
            tasks.pop_front().into_iter().for_each(|task| task.close(&stream, &mut self.found));
            return self.make_ready(&stream);
        }
        let open = |holder: &&Endpoint| !task.has_answer_of(holder);
        // Where a holder has begun to answer, it goes on.
        let now_open = |holder: &&Endpoint| open(holder) && self.moods.allows(holder, now);
        let last = holders.iter().filter(now_open).find(|holder| task.is_with(holder));
        let Some(holder) = last.or_else(|| holders.iter().find(now_open)) else {
            if task.may_close_without_all(now) {
                tasks.pop_front().into_iter().for_each(|task| task.close(&stream, &mut self.found));
                return self.make_ready(&stream);
            }
            let at =
                holders.iter().filter(open).filter_map(|holder| self.moods.until(holder)).min();
            let at = at.unwrap_or(now + ASK_MS_MAX).clamp(now + 1, now + ASK_MS_MAX);
            self.timers.insert((at, stream));
            return;
        };
        if self.flying.get(holder).is_some_and(|flying| *flying >= FLIGHTS_OF_HOLDER_MAX) {
            task.is_ready = true;
            self.parked.entry(holder.clone()).or_default().push_back(stream);
            return;
        }
        let (ask, from) = task.next_ask(&stream, holder, portion);
        task.is_flying = true;
        self.send(holder.clone(), Some(stream), ask, from, now);
    }

    fn send(
        &mut self,
        holder: Endpoint,
        stream: Option<StreamName>,
        ask: Ask,
        next: u64,
        now: u64,
    ) {
        self.last_id += 1;
        self.counts.requests += 1;
        let id = RequestId::new(&self.last_id.to_be_bytes()).expect("eight bytes are an id");
        let frames = Request { id, ask }.encode();
        let (records, gone) = (Vec::new(), Vec::new());
        let flight = Flight { holder: holder.clone(), stream, since: now, next, records, gone };
        self.flights.insert(self.last_id, flight);
        *self.flying.entry(holder.clone()).or_default() += 1;
        self.asks.push((holder, frames));
    }
}

impl Flight {
    /// Takes a part of the answer; gives anything else back.
    fn take(&mut self, reply: Reply) -> Option<Reply> {
        let has_room = self.records.len() + self.gone.len() < GET_MESSAGES_MAX as usize;
        match reply {
            Reply::Msg { i, wire } if i == self.next && has_room => self.records.push((i, wire)),
            Reply::Gone { i, .. } if i == self.next && has_room => self.gone.push(i),
            other => return Some(other),
        }
        self.next += 1;
        None
    }
}

fn id_of(id: &RequestId) -> u64 {
    id.as_bytes().try_into().map_or(0, u64::from_be_bytes)
}

fn refusal(reply: &Reply) -> String {
    match reply {
        Reply::Err { code, text } => format!("it answered {}: {text}", code.name()),
        _ => "it answered with something else than was asked for".into(),
    }
}

impl fmt::Debug for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (streams, flights) = (self.streams.len(), self.flights.len());
        write!(f, "Repair({streams} streams, {flights} requests on their way)")
    }
}
