//! What a reader does with what it receives: open, order, and fetch what is missing. Pure: times, randomness
//! and bytes are arguments, what is to be said and asked is taken out.
//!
//! ```text
//! arrived ──> Opener ──> Sequencer ──> events
//!               ^            │ needs
//! answered ─> Repair <───────┘
//!               └──> asks
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::EndpointEntry;
use crate::endpoint::Endpoint;
use crate::envelope::{Epoch, Wire};
use crate::event::{Event, Message, Rejected, Stalled, Unfetched};
use crate::frames::Range;
use crate::identity::{Identity, Slot, StreamName};
use crate::limits::STREAMS_MAX;
use crate::need::{Need, What};
use crate::open::{Opener, Place, Record, Refused, Verified};
use crate::rejection::{Rejection, RejectionCounters};
use crate::repair::{Found, Holders, Repair, RepairCounts};
use crate::sequence::{Begin, Sequencer};
use crate::stream::SequenceCounts;
use crate::timestamp::Timestamp;
use crate::trust::Trust;

/// The endpoints that a reader follows, and what follows from them: who may carry what, and who holds what.
#[derive(Debug, Default)]
pub struct Followed {
    entries: BTreeMap<Identity, EndpointEntry>,
    /// The replay addresses of each identity, once for each of its slots: the slot's own first.
    holders: BTreeMap<Identity, Vec<Vec<Endpoint>>>,
}

impl Followed {
    /// These endpoints.
    pub fn new(entries: impl IntoIterator<Item = EndpointEntry>) -> Followed {
        let entries = entries.into_iter().map(|entry| (entry.identity.clone(), entry));
        let entries: BTreeMap<_, _> = entries.collect();
        let holders = entries.iter().map(|(identity, entry)| {
            let slots = entry.replay.len().max(1);
            let turned = |slot: usize| {
                let mut replay = entry.replay.clone();
                // A process serves all journals of its host: whoever has another slot may help, too.
                if slot < replay.len() {
                    replay[..=slot].rotate_right(1);
                }
                replay
            };
            (identity.clone(), (0..slots).map(turned).collect())
        });
        let holders = holders.collect();
        Followed { entries, holders }
    }

    /// The endpoint of an identity, where it is followed.
    pub fn entry(&self, identity: &Identity) -> Option<&EndpointEntry> {
        self.entries.get(identity)
    }

    /// All endpoints.
    pub fn entries(&self) -> impl Iterator<Item = &EndpointEntry> {
        self.entries.values()
    }

    /// An endpoint sends its own streams, and others only as far as `carries` says.
    fn may_carry(&self, verified: &Verified, endpoint: &Identity) -> bool {
        if verified.signer() == endpoint {
            return true;
        }
        let Some(entry) = self.entries.get(endpoint) else { return false };
        match verified.record() {
            Record::Message => {
                let topic = verified.topic().as_str();
                entry.carries.iter().any(|pattern| pattern.matches(topic))
            }
            // What a stream says of itself goes with its messages.
            Record::Genesis(_) | Record::Heartbeat(_) => !entry.carries.is_empty(),
        }
    }
}

impl Holders for Followed {
    fn of(&self, stream: &StreamName) -> &[Endpoint] {
        let Some(slots) = self.holders.get(stream.identity()) else { return &[] };
        let slot = match stream.slot() {
            Slot::Index(index) => usize::from(index),
            Slot::Unique(_) => 0,
        };
        slots.get(slot).or(slots.first()).map_or(&[], Vec::as_slice)
    }

    fn all(&self) -> Vec<Endpoint> {
        let mut all: Vec<_> =
            self.entries.values().flat_map(|entry| &entry.replay).cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}

/// What a reader has taken in, and what it made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceptionCounts {
    /// Everything that arrived.
    pub received: u64,
    /// What of it was verified.
    pub verified: u64,
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

    /// Goes on with other keys or another policy.
    pub fn set_trust(&mut self, trust: Arc<Trust>) {
        self.opener.set_trust(trust);
    }

    /// Goes on with other endpoints.
    pub fn follow(&mut self, followed: Followed, now: u64) {
        self.followed = Arc::new(followed);
        let holders = Arc::clone(&self.followed);
        self.sequencer.set_repairable(move |stream| !holders.of(stream).is_empty());
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

    /// Fetches one record outside of the order of its stream: it comes as [`Event::Late`], or not at all.
    pub fn fetch(&mut self, stream: StreamName, epoch: Epoch, i: u64, now: u64) {
        self.repair.need(Need { stream, what: What::Single { epoch, i } }, now);
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
        for endpoint in from {
            if let Some(entry) = self.followed.entry(endpoint).filter(|e| !e.replay.is_empty()) {
                self.repair.awake(&entry.replay, now);
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
    }

    /// Whether something is waited for.
    pub fn is_waiting(&self) -> bool {
        self.sequencer.is_waiting() || self.repair.is_busy()
    }

    /// What there is to say since the last call, in order.
    pub fn events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.extend(self.sequencer.drain());
        self.events.drain(..)
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
        self.take(Message::new(verified, endpoint.clone(), wall), now);
    }

    fn take(&mut self, message: Message, now: u64) {
        self.counts.verified += 1;
        if self.internal && !matches!(message.record(), Record::Message) {
            self.events.extend(self.sequencer.drain());
            self.events.push(Event::Internal(message.clone()));
        }
        self.sequencer.take(message, now);
    }

    fn refused(&mut self, refused: Refused, endpoint: Identity, now: u64) {
        if let (Some(stream), Some(place)) = (&refused.stream, refused.place) {
            self.sequencer.use_up(stream, place, now);
            self.events.extend(self.sequencer.drain());
        }
        self.rejections.count(refused.reason);
        self.events.push(Event::Rejected(Rejected::new(refused, endpoint)));
    }

    fn reject(
        &mut self,
        reason: Rejection,
        detail: Option<String>,
        endpoint: Identity,
        wire: Wire,
    ) {
        self.rejections.count(reason);
        self.events.extend(self.sequencer.drain());
        let refused = Refused { reason, detail, wire, stream: None, key: None, place: None };
        self.events.push(Event::Rejected(Rejected::new(refused, endpoint)));
    }

    /// Passes on what the streams need.
    fn work(&mut self, now: u64) {
        for need in self.sequencer.needs() {
            self.repair.need(need, now);
        }
    }

    fn take_found(&mut self, now: u64, wall: Timestamp) {
        loop {
            let found: Vec<_> = self.repair.found().collect();
            if found.is_empty() {
                return;
            }
            for found in found {
                self.take_one(found, now, wall);
            }
            self.sequencer.tick(now);
            self.work(now);
        }
    }

    fn take_one(&mut self, found: Found, now: u64, wall: Timestamp) {
        match found {
            Found::Records { stream, epoch, holder, records, single } => {
                let asked = Fetched { stream, epoch, holder, single };
                self.records(&asked, records, now, wall);
            }
            Found::Absent { stream, epoch, span, single: false } => {
                self.sequencer.absent(&stream, epoch, span, now);
            }
            Found::Absent { stream, epoch, span: (i, _), single: true } => {
                self.events.push(Event::Unfetched(Unfetched::new(stream, epoch, i)));
            }
            Found::RestOver { stream, epoch, upto } => {
                self.sequencer.rest_over(&stream, epoch, upto, now);
            }
            Found::NoGenesis { stream, epoch } => self.sequencer.no_genesis(&stream, epoch, now),
            Found::Info { stream, holder, heartbeat, epochs } => {
                self.info(&stream, holder, heartbeat, &epochs, now, wall);
            }
            Found::Place { stream, epoch, i } => self.sequencer.found(&stream, epoch, i, now),
            Found::Streams { holder, streams, complete } => {
                for spot in streams {
                    // Nobody speaks for streams that he is not configured to hold.
                    if !self.followed.of(&spot.stream).contains(&holder) {
                        continue;
                    }
                    let known = self.discovered.contains_key(&spot.stream);
                    if known || self.discovered.len() < STREAMS_MAX {
                        self.discovered.insert(spot.stream.clone(), (spot.epoch, spot.i));
                        self.sequencer.begin(&spot.stream, now);
                    }
                }
                if complete && !self.listed.contains(&holder) {
                    self.listed.push(holder);
                }
            }
            Found::Stuck { stream, why } => {
                self.events.push(Event::Stalled(Stalled::new(stream, why)));
            }
        }
    }

    fn info(
        &mut self,
        stream: &StreamName,
        holder: Option<Endpoint>,
        heartbeat: Option<Wire>,
        epochs: &[Range],
        now: u64,
        wall: Timestamp,
    ) {
        if let (Some(wire), Some(holder)) = (heartbeat, holder) {
            let fetched =
                Fetched { stream: stream.clone(), epoch: NO_EPOCH, holder, single: false };
            match self.opener.open(&wire) {
                Ok(verified)
                    if verified.stream() == stream
                        && matches!(verified.record(), Record::Heartbeat(_)) =>
                {
                    self.take(fetched.message(verified, wall), now);
                }
                Ok(_) => self.repair.blame(&fetched.holder, now),
                Err(refused) => {
                    self.refused_of_holder(*refused, &fetched, now);
                }
            }
        }
        self.sequencer.epochs(stream, epochs, now);
    }

    /// Takes records that a holder gave.
    fn records(&mut self, asked: &Fetched, records: Vec<(u64, Wire)>, now: u64, wall: Timestamp) {
        let (numbers, wires): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        let opened = self.opener.open_run(&wires);
        for (i, opened) in numbers.into_iter().zip(opened) {
            match opened {
                Ok(verified) if asked.fits(verified.stream(), verified.place(), i) => {
                    let message = asked.message(verified, wall);
                    if asked.single {
                        self.counts.verified += 1;
                        self.events.extend(self.sequencer.drain());
                        self.events.push(Event::Late(message));
                    } else {
                        self.take(message, now);
                    }
                }
                Ok(_) => {
                    self.repair.blame(&asked.holder, now);
                    return;
                }
                Err(refused) => {
                    let place = refused.stream.as_ref().zip(refused.place);
                    if place.is_some_and(|(stream, place)| !asked.fits(stream, &place, i)) {
                        self.repair.blame(&asked.holder, now);
                        return;
                    }
                    if self.refused_of_holder(*refused, asked, now) {
                        return;
                    }
                }
            }
        }
    }

    /// Refuses what a holder gave. One who gives what nobody can have signed is not asked for a while; what
    /// lacks a key or a rule here is no fault of his. `true` when it is his.
    fn refused_of_holder(&mut self, refused: Refused, asked: &Fetched, now: u64) -> bool {
        let is_ours = matches!(refused.reason, Rejection::UnknownKey | Rejection::RevokedKey);
        let lied = refused.place.is_none() && !is_ours;
        if lied {
            self.repair.blame(&asked.holder, now);
        }
        let endpoint = asked.stream.identity().clone();
        if asked.single {
            self.rejections.count(refused.reason);
            self.events.push(Event::Rejected(Rejected::new(refused, endpoint)));
        } else {
            self.refused(refused, endpoint, now);
        }
        lied
    }
}

/// For a heartbeat, which is asked for without knowing its epoch.
const NO_EPOCH: Epoch = Epoch::new(uuid::Uuid::nil());

/// What was asked of a holder.
struct Fetched {
    stream: StreamName,
    epoch: Epoch,
    holder: Endpoint,
    single: bool,
}

impl Fetched {
    fn fits(&self, stream: &StreamName, place: &Place, i: u64) -> bool {
        *stream == self.stream && place.epoch == self.epoch && place.i == i
    }

    fn message(&self, verified: Verified, wall: Timestamp) -> Message {
        let endpoint = self.stream.identity().clone();
        Message { replayed: true, ..Message::new(verified, endpoint, wall) }
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
