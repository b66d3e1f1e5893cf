//! What follows from answers, and from none.

use std::collections::VecDeque;

use bytes::Bytes;

use super::flight::{Flight, Purpose};
use super::task::{Step, Task};
use super::{Found, Repair};
use crate::endpoint::Endpoint;
use crate::frames::{ErrorCode, Reply};
use crate::identity::StreamName;
use crate::limits::STALL_MS;
use crate::need::What;
use crate::planted::bug;

impl Repair {
    pub(super) fn listed(&mut self, id: u64, holder: &Endpoint, reply: Reply, now: u64) {
        let Reply::Page { next, more, streams } = reply else {
            return self.fail(id, holder, &refusal(&reply), now);
        };
        self.land(id);
        self.moods.answered(holder);
        let due = if more { now } else { self.moods.some_time_after(now) };
        self.listings.again(holder, next, due);
        self.found.push(Found::Streams { holder: holder.clone(), streams, complete: !more });
        self.list(now);
    }

    /// A request of a stream is answered to the end.
    pub(super) fn told(&mut self, flight: Flight, holder: &Endpoint, reply: Reply, now: u64) {
        let Purpose::Stream(stream) = flight.purpose.clone() else { return };
        match reply {
            Reply::End { upto, more } if upto + 1 == flight.next => {
                self.ended(&stream, holder, flight, more, now);
            }
            Reply::Info { heartbeat, epochs, .. } => {
                let task = self.streams.get(&stream).and_then(VecDeque::front);
                let asked = task.map_or(0, Task::begun);
                if heartbeat.is_some() || !epochs.is_empty() {
                    self.found.push(Found::Info {
                        stream: stream.clone(),
                        holder: Some(holder.clone()),
                        heartbeat,
                        epochs: epochs.clone(),
                        asked,
                    });
                }
                let is_copy = self.holders.is_copy(&stream, holder);
                self.step(&stream, holder, now, |task| task.informed(holder, &epochs, is_copy));
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
    pub(super) fn ended(
        &mut self,
        stream: &StreamName,
        holder: &Endpoint,
        flight: Flight,
        more: bool,
        now: u64,
    ) {
        let Flight { next, records, gone, has_holes, .. } = flight;
        self.counts.records += records.len() as u64;
        let Some(task) = self.streams.get_mut(stream).and_then(VecDeque::front_mut) else { return };
        let (epoch, single) = (task.epoch(), matches!(task.what(), What::Single { .. }));
        let came = !records.is_empty();
        let got_further = |(_, behind): &(u64, Vec<Endpoint>)| came && behind.contains(holder);
        if self.behind.get(stream).is_some_and(got_further) {
            self.behind.remove(stream);
        }
        if let Some(epoch) = epoch.filter(|_| came) {
            let (stream, holder) = (stream.clone(), holder.clone());
            self.found.push(Found::Records { stream, epoch, holder, records, single });
        }
        self.step(stream, holder, now, |task| {
            task.ended(holder, next, (&gone, has_holes), more, came.then_some(now))
        });
    }

    /// A request is not on its way any more: the next ones that wait for its holder have their turn.
    pub(super) fn land(&mut self, id: u64) -> Option<Flight> {
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
    pub(super) fn step(
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
    pub(super) fn fail(&mut self, id: u64, holder: &Endpoint, why: &str, now: u64) {
        if self.flights.get(&id).is_none_or(|flight| flight.holder != *holder) {
            return;
        }
        let Some(flight) = self.land(id) else { return };
        match flight.purpose {
            Purpose::Stream(stream) => self.put_off(&stream, holder, why, now),
            Purpose::Tell => {}
            Purpose::List => {
                let at = self.moods.failed(holder, now);
                // After a failure the holder may have begun another life: everything is asked for again.
                self.listings.again(holder, Bytes::new(), at);
            }
        }
    }

    /// A holder could not help a stream now.
    pub(super) fn put_off(&mut self, stream: &StreamName, holder: &Endpoint, why: &str, now: u64) {
        self.moods.failed(holder, now);
        if let Some(task) = self.streams.get_mut(stream).and_then(VecDeque::front_mut) {
            task.is_flying = false;
            if bug("silence-is-an-answer") {
                task.denied(holder);
            }
            task.failed();
            if now.saturating_sub(task.since) >= STALL_MS && !task.is_told {
                task.is_told = true;
                let why = format!("{holder}: {why}");
                self.found.push(Found::Stuck { stream: stream.clone(), why });
            }
        }
        self.make_ready(stream);
    }
}

fn refusal(reply: &Reply) -> String {
    match reply {
        Reply::Err { code, text } => format!("it answered {}: {text}", code.name()),
        _ => "it answered with something else than was asked for".into(),
    }
}
