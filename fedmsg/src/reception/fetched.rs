//! What holders gave: opened like everything else, and never believed before.

use super::Reception;
use crate::endpoint::Endpoint;
use crate::envelope::{Epoch, Kind, Wire};
use crate::event::{Event, Message, Rejected, Stalled, Unfetched};
use crate::history::Order;
use crate::identity::StreamName;
use crate::limits::STREAMS_MAX;
use crate::open::{Place, Record, Refused, Verified};
use crate::planted::bug;
use crate::rejection::Rejection;
use crate::repair::{Found, Holders};
use crate::sequence::Begin;
use crate::timestamp::Timestamp;

impl Reception {
    pub(super) fn take_found(&mut self, now: u64, wall: Timestamp) {
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
            Found::RestOver { stream, epoch, upto, asked } => {
                self.sequencer.rest_over(&stream, epoch, (upto, asked), now);
            }
            Found::NoGenesis { stream, epoch } => self.sequencer.no_genesis(&stream, epoch, now),
            Found::Info { stream, holder, heartbeat, mut epochs, asked } => {
                self.info(&stream, holder.zip(heartbeat), now, wall);
                // Relays have what each was given: another one may have said that it has more than this one.
                if let Some((epoch, last)) = self.discovered.get(&stream)
                    && let Some(range) = epochs.iter_mut().find(|range| range.epoch == *epoch)
                {
                    range.last = range.last.max(*last);
                }
                self.sequencer.epochs(&stream, &epochs, asked, now);
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
                        let end = (spot.epoch, spot.i);
                        let known = self.discovered.entry(spot.stream.clone()).or_insert(end);
                        *known = end.max(*known);
                        let has_past = self.sequencer.beginning(&spot.stream) != Begin::Live;
                        if let Some(history) = self.history.as_mut().filter(|_| has_past) {
                            history.goal(&spot.stream, spot.epoch, spot.i);
                        }
                        self.sequencer.begin(&spot.stream, now);
                    }
                }
                if let Some(history) = &mut self.history {
                    history.holder_lists(&holder, complete, now);
                }
                if complete && !self.listed.contains(&holder) {
                    self.listed.push(holder);
                }
            }
            Found::Stuck { stream, why } => {
                if let Some(history) = &mut self.history {
                    history.is_stuck(&stream);
                }
                self.events.push(Event::Stalled(Stalled::new(stream, why)));
            }
        }
    }

    /// Takes the newest heartbeat that a holder has.
    fn info(
        &mut self,
        stream: &StreamName,
        heartbeat: Option<(Endpoint, Wire)>,
        now: u64,
        wall: Timestamp,
    ) {
        if let Some((holder, wire)) = heartbeat {
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
                    let reason = refused.reason;
                    if self.refused_of_holder(*refused, &fetched, now) {
                        self.repair.blame(&fetched.holder, now);
                    }
                    self.look_whether_believed(stream, reason);
                }
            }
        }
    }

    /// Takes records that a holder gave.
    fn records(&mut self, asked: &Fetched, records: Vec<(u64, Wire)>, now: u64, wall: Timestamp) {
        let (numbers, wires): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        if let Some(history) = &mut self.history {
            history.measure(wires.len(), wires.iter().map(Wire::len).sum());
            history.touched.insert(asked.stream.clone());
        }
        let opened = self.opener.open_run(&wires);
        for (i, opened) in numbers.into_iter().zip(opened) {
            match opened {
                Ok(verified) if asked.fits(verified.stream(), verified.place(), i) => {
                    let message = asked.message(verified, wall);
                    if asked.single {
                        self.counts.verified += 1;
                        self.collect();
                        self.events.push(Event::Late(message));
                    } else {
                        self.take(message, now);
                    }
                    if bug("first-of-many-only") {
                        break;
                    }
                }
                Ok(_) => return self.found_out(asked, i, now),
                Err(refused) => {
                    let place = refused.stream.as_ref().zip(refused.place);
                    if place.is_some_and(|(stream, place)| !asked.fits(stream, &place, i)) {
                        return self.found_out(asked, i, now);
                    }
                    if self.refused_of_holder(*refused, asked, now) {
                        return self.found_out(asked, i, now);
                    }
                }
            }
        }
        self.collect();
        if let Some(history) = self.history.as_ref().filter(|history| history.order == Order::Time)
            && history.merge.waiting(&asked.stream) as u64 >= history.portion()
        {
            self.repair.pause(&asked.stream);
        }
    }

    /// A holder gave something else than this number. What belongs to a stream's order is needed again by itself;
    /// a single record is asked of the next one.
    fn found_out(&mut self, asked: &Fetched, i: u64, now: u64) {
        self.repair.blame(&asked.holder, now);
        if asked.single {
            self.fetch(asked.stream.clone(), asked.epoch, i, now);
        }
    }

    /// A stream that nobody here believes, because its key is not trusted, has no past that could be waited for.
    fn look_whether_believed(&mut self, stream: &StreamName, reason: Rejection) {
        let is_ours = matches!(reason, Rejection::UnknownKey | Rejection::RevokedKey);
        if is_ours
            && self.sequencer.position(stream).is_none()
            && let Some(history) = &mut self.history
        {
            history.is_stuck(stream);
        }
    }

    /// Refuses what a holder gave. One who gives what nobody can have signed is not asked for a while; what
    /// lacks a key or a rule here is no fault of his. `true` when it is his.
    fn refused_of_holder(&mut self, refused: Refused, asked: &Fetched, now: u64) -> bool {
        let is_ours = matches!(refused.reason, Rejection::UnknownKey | Rejection::RevokedKey);
        let lied = refused.place.is_none() && !is_ours;
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
    /// Whether a record is the one with this number. A heartbeat has the number of what it is about, and is none.
    fn fits(&self, stream: &StreamName, place: &Place, i: u64) -> bool {
        let kind = if i == 0 { Kind::Genesis } else { Kind::Message };
        let is_at = place.epoch == self.epoch && place.i == i && place.kind == kind;
        *stream == self.stream && is_at
    }

    fn message(&self, verified: Verified, wall: Timestamp) -> Message {
        let endpoint = self.stream.identity().clone();
        Message { replayed: true, ..Message::new(verified, endpoint, wall) }
    }
}
