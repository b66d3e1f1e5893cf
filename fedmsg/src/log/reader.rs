//! Reading a log while it is written: what a holder answers from.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::error::LogError;
use super::format::Sequence;
use super::item::Head;
use super::shared::{Known, Shared};
use super::streams::{Stream, run_of};
use super::taking::Taken;
use crate::envelope::{Epoch, Wire};
use crate::frames::{Completeness, Range, Spot};
use crate::holder::{Absent, Part, Stand};
use crate::identity::StreamName;
use crate::journal::{Batch, Body, Damage, Entry};
use crate::limits::{LOG_REREADS_MAX, NUMBER_MAX};
use crate::timestamp::Timestamp;

/// Reads a log beside its writer, in any number of threads. Cheap to clone.
///
/// It never hands out what is not durable. What is damaged is named as a hole, and what is around it is
/// handed out.
#[derive(Clone)]
pub struct LogReader {
    pub(super) shared: Arc<Shared>,
}

impl LogReader {
    /// How far a stream is here.
    ///
    /// One range for each epoch, from the first number that is there to the last one; of the newest epoch, to
    /// the last one that ever was there. It is `complete` when nothing of them is missing.
    pub fn stand(&self, stream: &StreamName) -> Result<Stand, Absent> {
        let known = self.shared.known();
        let text = stream.as_str();
        let head =
            known.streams.get(text).and_then(|stream| stream.head()).ok_or(Absent::Stream)?;
        let mut completeness = Completeness::Complete;
        let mut epochs = Vec::new();
        for epoch in known.epochs(text) {
            let (Some(first), Some(last)) = (known.next(text, epoch, 0), known.last(text, epoch))
            else {
                continue;
            };
            if first_hole(&known, text, epoch, first).is_some_and(|hole| hole <= last) {
                completeness = Completeness::Partial;
            }
            epochs.push(Range { epoch, first, last });
        }
        Ok(Stand { heartbeat: head.heartbeat, completeness, epochs })
    }

    /// A part of a stream: at most so many records and bytes, at least one record if there is one.
    ///
    /// Numbers that are not here, because they are damaged or never came, are holes. The genesis record of
    /// the newest epoch can be read for ever, alone.
    pub fn read(
        &self,
        stream: &StreamName,
        part: Part,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, Absent> {
        let part = Part { to: part.to.min(NUMBER_MAX), ..part };
        let Part { epoch, from, to } = part;
        if let Some(batch) = self.before_the_first(stream, part)? {
            return Ok(batch);
        }
        let mut taken = Taken::new(from, max_records.max(1), max_bytes);
        if let Some(batch) = self.fill(stream, part, &mut taken)? {
            return Ok(batch);
        }
        let last = self.shared.known().last(stream.as_str(), epoch).map(|last| last.min(to));
        let more = last.is_some_and(|last| last >= taken.next);
        let path = &self.shared.folder;
        let hole = |(from, to)| Damage { epoch, from, to, path: path.clone() };
        let holes = taken.holes.into_iter().map(hole).collect();
        Ok(Batch { entries: taken.entries, holes, upto: taken.next.saturating_sub(1), more })
    }

    /// Takes what there is of a part. Gives another answer when it turned out that it begins before everything
    /// that is there.
    fn fill(
        &self,
        stream: &StreamName,
        part: Part,
        taken: &mut Taken,
    ) -> Result<Option<Batch>, Absent> {
        let Part { epoch, from, to } = part;
        let mut rereads = 0;
        while taken.next <= to && !taken.full {
            let Some(next) = self.next(stream, epoch, taken.next) else { break };
            if next > taken.next {
                // What is behind a hole shows that it is one.
                taken.holes.push((taken.next, (next - 1).min(to)));
                taken.next = next.min(to + 1);
                continue;
            }
            match self.take(stream, epoch, to, taken) {
                Ok(true) => {}
                Ok(false) if rereads >= LOG_REREADS_MAX => {
                    return Err(unreadable(stream, &io::ErrorKind::InvalidData.into()));
                }
                Ok(false) => {
                    rereads += 1;
                    // What was the first number may be none any more.
                    if taken.entries.is_empty() && taken.next == from {
                        let batch = self.before_the_first(stream, part)?;
                        if batch.is_some() {
                            return Ok(batch);
                        }
                    }
                }
                Err(error) => return Err(unreadable(stream, &error)),
            }
        }
        Ok(None)
    }

    /// The next number that is there; where none is, the one behind the last that is known to be missing.
    fn next(&self, stream: &StreamName, epoch: Epoch, from: u64) -> Option<u64> {
        let known = self.shared.known();
        let lost = || known.last(stream.as_str(), epoch).filter(|last| *last >= from);
        known.next(stream.as_str(), epoch, from).or_else(|| lost().map(|last| last + 1))
    }

    /// What is answered where what is asked for begins before everything that is there.
    fn before_the_first(&self, stream: &StreamName, part: Part) -> Result<Option<Batch>, Absent> {
        let Part { epoch, from, to } = part;
        let known = self.shared.known();
        let text = stream.as_str();
        let tip = known.streams.get(text).and_then(|known| known.tip.as_ref());
        let tip = tip.ok_or(Absent::Stream)?;
        let genesis = tip.genesis.as_ref().filter(|_| tip.epoch == epoch);
        let first = match known.next(text, epoch, 0) {
            Some(first) => first,
            None if tip.epoch == epoch => tip.last + 1,
            None => return Err(Absent::Epoch),
        };
        if from >= first {
            return Ok(None);
        }
        let Some(genesis) = genesis.filter(|_| from == 0) else {
            return Err(Absent::Trimmed { first });
        };
        // Nobody knows any more when it was appended; the oldest segment is not older.
        let time = known.segments.first().map_or(Timestamp::from_millis(0), |oldest| oldest.made);
        let body = Body::Record(genesis.clone());
        let entries = vec![Entry { i: 0, time, body }];
        Ok(Some(Batch { entries, holes: Vec::new(), upto: 0, more: to > 0 && tip.last > 0 }))
    }

    /// The genesis record of an epoch; nothing when it is not here.
    pub fn genesis(&self, stream: &StreamName, epoch: Epoch) -> Result<Option<Wire>, Absent> {
        let batch = match self.read(stream, Part { epoch, from: 0, to: 0 }, 1, 0) {
            Err(Absent::Trimmed { .. }) => return Ok(None),
            batch => batch?,
        };
        let first = batch.entries.into_iter().next();
        Ok(first.and_then(|entry| match entry.body {
            Body::Record(wire) => Some(wire),
            Body::Gone { .. } => None,
        }))
    }

    /// The first message that came at or after a time by the clock here, or the number that the next one
    /// will have.
    pub fn find(&self, stream: &StreamName, time: Timestamp) -> Result<(Epoch, u64), Absent> {
        let (tip, candidates) = {
            let known = self.shared.known();
            let tip = known.streams.get(stream.as_str()).and_then(|known| known.tip.as_ref());
            let tip = tip.map(|tip| (tip.epoch, tip.last + 1)).ok_or(Absent::Stream)?;
            (tip, candidates(&known, stream.as_str(), time))
        };
        for Candidate { epoch, first, end } in candidates {
            let found = self.find_in(stream, epoch, (first, end), time);
            if let Some(i) = found.map_err(|error| unreadable(stream, &error))? {
                // The genesis record is no message.
                return Ok((epoch, i.max(1)));
            }
        }
        Ok(tip)
    }

    /// The first number of a run that was appended at this time or later.
    fn find_in(
        &self,
        stream: &StreamName,
        epoch: Epoch,
        (first, end): (u64, u64),
        time: Timestamp,
    ) -> io::Result<Option<u64>> {
        let (mut low, mut high) = (first, end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.time_of(stream, epoch, middle)? {
                Some(found) if found < time => low = middle + 1,
                Some(_) => high = middle,
                // It is damaged, or it was given up meanwhile: the one behind it is as good.
                None => low = middle + 1,
            }
        }
        Ok((low < end).then_some(low))
    }

    fn time_of(&self, stream: &StreamName, epoch: Epoch, i: u64) -> io::Result<Option<Timestamp>> {
        Ok(self.entry(stream, epoch, i)?.map(|entry| entry.time))
    }

    /// One record, if it can be read.
    pub(super) fn entry(
        &self,
        stream: &StreamName,
        epoch: Epoch,
        i: u64,
    ) -> io::Result<Option<Entry>> {
        let mut rereads = 0;
        while self.shared.known().has(stream.as_str(), epoch, i) && rereads < LOG_REREADS_MAX {
            let mut taken = Taken::new(i, 1, 0);
            if self.take(stream, epoch, i, &mut taken)? {
                return Ok(taken.entries.pop());
            }
            rereads += 1;
        }
        Ok(None)
    }

    /// Every stream, with its newest epoch and last number.
    pub fn heads(&self) -> Vec<Spot> {
        let known = self.shared.known();
        let spot = |stream: &Stream| {
            let tip = stream.tip.as_ref()?;
            Some(Spot { stream: stream.name.clone(), epoch: tip.epoch, i: tip.last })
        };
        let mut spots: Vec<_> = known.streams.iter().filter_map(spot).collect();
        drop(known);
        // The same order each time, so that what follows from it can be repeated.
        spots.sort_unstable_by(|a, b| a.stream.cmp(&b.stream));
        spots
    }

    /// How far a stream is, with its genesis record and newest heartbeat.
    pub fn head(&self, stream: &StreamName) -> Option<Head> {
        self.shared.known().streams.get(stream.as_str())?.head()
    }

    /// Whether a number is here, durable and, as far as is known, not damaged.
    pub fn has(&self, stream: &StreamName, epoch: Epoch, i: u64) -> bool {
        self.shared.known().has(stream.as_str(), epoch, i)
    }

    /// Writes down how far every stream is, from any thread. The writer does that itself before a segment is
    /// given up and when it closes; in between it makes heartbeats outlive a kill.
    pub fn save_heads(&self) -> Result<(), LogError> {
        self.shared.save_heads()
    }
}

/// Numbers in which the first one after a time may be.
struct Candidate {
    epoch: Epoch,
    first: u64,
    end: u64,
}

/// The runs of a stream that end at this time or later, in the order of the stream.
fn candidates(known: &Known, stream: &str, time: Timestamp) -> Vec<Candidate> {
    let recent = |segment: Sequence| known.segment(segment).is_some_and(|found| found.last >= time);
    let sealed = known.streams.get(stream).map_or(&[][..], |known| &known.epochs);
    let sealed = sealed.iter().flat_map(|known| {
        known.runs.iter().filter(|run| recent(run.segment)).map(|run| Candidate {
            epoch: known.epoch,
            first: run.first,
            end: run.end(),
        })
    });
    let active = known.active.as_ref().filter(|table| table.last >= time);
    let places = active.and_then(|table| table.streams.get(stream));
    let active = places.map_or(&[][..], |places| &places.runs);
    let active =
        active.iter().map(|run| Candidate { epoch: run.epoch, first: run.first, end: run.end() });
    let mut all: Vec<_> = sealed.chain(active).collect();
    all.sort_by_key(|run| (run.epoch, run.first));
    all
}

/// The first number behind this one that is not there.
fn first_hole(known: &Known, stream: &str, epoch: Epoch, from: u64) -> Option<u64> {
    let mut next = from;
    let active = known.active.as_ref();
    loop {
        let sealed =
            known.streams.get(stream).and_then(|known| run_of(known.of_epoch(epoch), next));
        let end = match sealed {
            Some(run) => run.end(),
            None => match active.and_then(|table| table.run(stream, epoch, next)) {
                Some(run) => run.end(),
                None => return Some(next),
            },
        };
        next = end;
    }
}

fn unreadable(stream: &StreamName, error: &io::Error) -> Absent {
    tracing::warn!(%stream, %error, "reading the log for somebody who asked");
    Absent::Unreadable("the log".into())
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogReader({})", self.shared.folder.display())
    }
}
