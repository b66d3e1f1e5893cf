//! What a reader does with what it receives: open, order, and fetch what is missing. Pure: times, randomness
//! and bytes are arguments, what is to be said and asked is taken out.
//!
//! ```text
//! arrived ──> Opener ──> Sequencer ──> events
//!               ^            │ needs
//! answered ─> Repair <───────┘
//!               └──> asks
//! ```

mod fetched;
mod past;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::endpoint::Endpoint;
use crate::envelope::{Epoch, Wire};
use crate::event::{Event, Message, Rejected};
use crate::followed::Followed;
use crate::frames::Word;
use crate::history::{History, Order};
use crate::identity::{Identity, StreamName};
use crate::limits::STREAMS_MAX;
use crate::need::{Need, What};
use crate::open::{Opener, Record, Refused, Verified};
use crate::rejection::{Rejection, RejectionCounters};
use crate::repair::{Holders, Repair, RepairCounts};
use crate::sequence::{Begin, Sequencer};
use crate::stream::SequenceCounts;
use crate::timestamp::Timestamp;
use crate::trust::Trust;

/// What a reader has taken in, and what it made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceptionCounts {
    /// Everything that arrived.
    pub received: u64,
    /// What of it was verified.
    pub verified: u64,
    /// Messages that came while the past was read, and are fetched after it.
    pub left_to_replay: u64,
}

/// A reader without a thread, a socket or a clock.
pub struct Reception {
    opener: Opener,
    sequencer: Sequencer,
    repair: Repair,
    followed: Arc<Followed>,
    internal: bool,
    /// Which streams holders said that they have, each with its newest epoch and last number.
    discovered: BTreeMap<StreamName, (Epoch, u64)>,
    /// Holders that have listed all their streams.
    listed: Vec<Endpoint>,
    history: Option<History>,
    rejections: Arc<RejectionCounters>,
    counts: ReceptionCounts,
    events: Vec<Event>,
}

impl Reception {
    /// A reader that follows nothing yet; the seed is for the jitter of waiting times.
    pub fn new(trust: Arc<Trust>, seed: u64) -> Reception {
        let followed = Arc::new(Followed::default());
        Reception {
            opener: Opener::new(trust),
            sequencer: Sequencer::default(),
            repair: Repair::new(Arc::clone(&followed) as Arc<dyn Holders>, seed),
            followed,
            internal: false,
            discovered: BTreeMap::new(),
            listed: Vec::new(),
            history: None,
            rejections: Arc::default(),
            counts: ReceptionCounts::default(),
            events: Vec::new(),
        }
    }

    /// Hands out heartbeats and genesis records, too.
    pub fn set_internal(&mut self, internal: bool) {
        self.internal = internal;
    }

    /// Counts what is refused here.
    pub fn set_rejections(&mut self, rejections: Arc<RejectionCounters>) {
        self.rejections = rejections;
    }

    /// Says where streams that are new here are taken up, and looks for those that have nothing to say now.
    pub fn set_beginning(
        &mut self,
        beginning: impl Fn(&StreamName) -> Begin + Send + 'static,
        now: u64,
    ) {
        self.sequencer.set_beginning(beginning);
        self.repair.discover(now);
    }

    /// Reads the past first, in this order, from where each stream is to begin: says
    /// [`Event::CaughtUp`] when it has. To be called before anything is followed.
    pub fn read_history(&mut self, order: Order, now: u64) {
        self.history = Some(History::new(order, now));
    }

    /// How many streams have a past to be read, how many of them have been read, and how many messages are
    /// to come at least; nothing when no past is being read.
    pub fn history_left(&self) -> Option<(u64, u64, u64)> {
        let history = self.history.as_ref()?;
        let (streams, read) = history.streams();
        let left = history.open_streams().map(|(stream, (epoch, last))| {
            match self.sequencer.position(stream) {
                Some((at, next)) if at == epoch => (last + 1).saturating_sub(next),
                _ => last,
            }
        });
        Some((streams, read, left.sum()))
    }

    /// Goes on with other keys or another policy.
    pub fn set_trust(&mut self, trust: Arc<Trust>) {
        self.opener.set_trust(trust);
    }

    /// Goes on with other endpoints.
    pub fn follow(&mut self, followed: Followed, now: u64) {
        self.followed = Arc::new(followed);
        let holders = Arc::clone(&self.followed);
        self.sequencer.set_keepers(move |stream| holders.keepers(stream));
        self.repair.set_holders(Arc::clone(&self.followed) as Arc<dyn Holders>, now);
        self.work(now);
    }

    /// The endpoints that are followed.
    pub fn followed(&self) -> &Followed {
        &self.followed
    }

    /// Takes up a stream of which nothing has come yet.
    pub fn begin(&mut self, stream: &StreamName, now: u64) {
        self.sequencer.begin(stream, now);
        self.work(now);
    }

    /// Whether it is known that nobody has a stream: all who could be asked for it have said which streams they have,
    /// and it was not among them. So it is where there is nobody to be asked.
    pub fn is_kept_by_nobody(&self, stream: &StreamName) -> bool {
        let has_listed = |holder: &Endpoint| self.listed.contains(holder);
        // Beyond the bound it is not known what they have said.
        self.discovered.len() < STREAMS_MAX
            && !self.discovered.contains_key(stream)
            && self.followed.of(stream).iter().all(has_listed)
    }

    /// Fetches one record outside of the order of its stream: it comes as [`Event::Late`], or not at all.
    pub fn fetch(&mut self, stream: StreamName, epoch: Epoch, i: u64, now: u64) {
        self.repair.need(Need { stream, what: What::Single { epoch, i } }, now);
    }

    /// Tells the publisher of a stream how far a named consumer is with it. Nothing is promised: it is told
    /// again later.
    pub fn acknowledge(
        &mut self,
        stream: &StreamName,
        position: (Epoch, u64),
        consumer: &Word,
        now: u64,
    ) {
        self.repair.acknowledge(stream, position, consumer, now);
    }

    /// Takes what came from endpoints.
    pub fn arrived(&mut self, from: &[Identity], wires: &[Wire], now: u64, wall: Timestamp) {
        self.counts.received += wires.len() as u64;
        let opened = self.opener.open_run(wires);
        for (opened, endpoint) in opened.into_iter().zip(from) {
            match opened {
                Ok(verified) => self.verified(verified, endpoint, now, wall),
                Err(refused) => self.refused(*refused, endpoint.clone(), now),
            }
        }
        if self.repair.leaves_alone() {
            for endpoint in from {
                if let Some(entry) = self.followed.entry(endpoint) {
                    self.repair.awake(&entry.replay, now);
                }
            }
        }
        self.work(now);
    }

    /// Something came that is not even two frames.
    pub fn arrived_otherwise(&mut self, endpoint: Identity, frames: usize) {
        self.counts.received += 1;
        let wire = Wire { topic: Bytes::new(), envelope: Bytes::new() };
        let detail = Some(format!("{frames} frames"));
        self.reject(Rejection::FrameCount, detail, endpoint, wire);
    }

    /// Takes an answer of a holder. What it gave is opened with the next [`tick`](Reception::tick), so that
    /// the next request can go out before that.
    pub fn answered(&mut self, holder: &Endpoint, frames: &[Bytes], now: u64) {
        self.repair.answer(holder, frames, now);
    }

    /// A request could not be sent.
    pub fn unsent(&mut self, holder: &Endpoint, frames: &[Bytes], now: u64) {
        self.repair.unsent(holder, frames, now);
    }

    /// Does what is due. To be called at least every 100 ms while something [is
    /// waited for](Reception::is_waiting), otherwise every second.
    pub fn tick(&mut self, now: u64, wall: Timestamp) {
        self.sequencer.tick(now);
        self.repair.tick(now);
        self.take_found(now, wall);
        self.work(now);
        self.follow_history(now);
    }

    /// Whether something is waited for.
    pub fn is_waiting(&self) -> bool {
        self.sequencer.is_waiting() || self.repair.is_busy()
    }

    /// What there is to say since the last call, in order.
    pub fn events(&mut self) -> std::vec::Drain<'_, Event> {
        self.collect();
        self.events.drain(..)
    }

    /// Takes what the streams have to say; while the past is merged, each into its lane.
    fn collect(&mut self) {
        let Some(history) = self.history.as_mut().filter(|history| history.order == Order::Time)
        else {
            return self.events.extend(self.sequencer.drain());
        };
        let events: Vec<_> = self.sequencer.drain().collect();
        for event in events {
            let stream = event.stream().filter(|stream| self.sequencer.has_past(stream)).cloned();
            match stream {
                Some(stream) => self.events.extend(history.push(&stream, event)),
                None => self.events.push(event),
            }
        }
    }

    /// The requests to send since the last call.
    pub fn asks(&mut self) -> std::vec::Drain<'_, (Endpoint, Vec<Bytes>)> {
        self.repair.asks()
    }

    /// What following streams amounted to, and how many there are.
    pub fn sequence_counts(&self) -> (SequenceCounts, usize) {
        (self.sequencer.counts(), self.sequencer.stream_count())
    }

    /// What fetching amounted to, and for how many streams something is being fetched.
    pub fn repair_counts(&self) -> (RepairCounts, usize) {
        (self.repair.counts(), self.repair.stream_count())
    }

    /// Streams that stand still: what they lack exists, and cannot be fetched now.
    pub fn stalled(&self) -> impl Iterator<Item = &StreamName> {
        self.repair.stalled()
    }

    /// What came in.
    pub fn counts(&self) -> ReceptionCounts {
        self.counts
    }

    fn verified(&mut self, verified: Verified, endpoint: &Identity, now: u64, wall: Timestamp) {
        if !self.followed.may_carry(&verified, endpoint) {
            let wire = verified.wire().clone();
            self.reject(Rejection::NotCarried, None, endpoint.clone(), wire);
            return;
        }
        let is_message = matches!(verified.record(), Record::Message);
        if self.history.is_some() && is_message && self.sequencer.has_past(verified.stream()) {
            // Its turn comes after the past: it is fetched then.
            self.counts.left_to_replay += 1;
            return;
        }
        self.take(Message::new(verified, endpoint.clone(), wall), now);
    }

    fn take(&mut self, message: Message, now: u64) {
        self.counts.verified += 1;
        if self.internal && !matches!(message.record(), Record::Message) {
            self.collect();
            self.events.push(Event::Internal(message.clone()));
        }
        self.sequencer.take(message, now);
    }

    fn refused(&mut self, refused: Refused, endpoint: Identity, now: u64) {
        self.rejections.count(refused.reason);
        let used_up = refused.stream.clone().zip(refused.place);
        // What was refused is said before what comes behind its position.
        self.collect();
        self.events.push(Event::Rejected(Rejected::new(refused, endpoint)));
        if let Some((stream, place)) = used_up {
            self.sequencer.use_up(&stream, place, now);
        }
    }

    fn reject(
        &mut self,
        reason: Rejection,
        detail: Option<String>,
        endpoint: Identity,
        wire: Wire,
    ) {
        self.rejections.count(reason);
        self.collect();
        let refused = Refused { reason, detail, wire, stream: None, key: None, place: None };
        self.events.push(Event::Rejected(Rejected::new(refused, endpoint)));
    }

    /// Passes on what the streams need.
    fn work(&mut self, now: u64) {
        for need in self.sequencer.needs() {
            self.repair.need(need, now);
        }
        for (stream, record) in self.sequencer.shows() {
            self.repair.show(&stream, &record, now);
        }
    }
}

impl std::fmt::Debug for Reception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reception")
            .field("sequencer", &self.sequencer)
            .field("repair", &self.repair)
            .finish_non_exhaustive()
    }
}
