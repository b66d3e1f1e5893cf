//! Reading a segment from its start: which records are good, what is damaged, and where a torn tail begins.
//!
//! A bad record with a good one of a *later* append behind it was acknowledged once: that is damage, and the
//! numbers around it are served. A bad record with nothing of a later append behind it may be a write that
//! a crash tore: it ends the segment, and with it whatever survived of the same append.

use std::io;

use super::disk::{DiskFile, read_full};
use super::format::{FRAME_BYTES, MARKER, Raw, decode_record, record_len};
use crate::envelope::Epoch;
use crate::limits::{JOURNAL_DAMAGE_MAX, JOURNAL_INDEX_STEP_BYTES};
use crate::timestamp::Timestamp;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) i: u64,
    pub(super) at: u64,
    pub(super) time: Timestamp,
}

/// The last good record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub(super) place: Place,
    /// Where the append that it belongs to begins.
    pub(super) batch_at: u64,
    batch_first: u64,
    /// Whether it is the last one of its append.
    complete: bool,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// With the last record of an append.
    Clean,
    /// With something else.
    Torn,
}

/// No number ends the segment.
pub(super) const NO_LIMIT: u64 = u64::MAX;

/// What is known of a segment, up to a place. Can go on when the segment has grown.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    pub(super) epoch: Epoch,
    /// The number that is expected next.
    pub(super) next: u64,
    /// Where it is expected.
    pub(super) at: u64,
    /// Some places, a step apart, the first record's among them.
    pub(super) places: Vec<Place>,
    /// Numbers that are lost: first and last.
    pub(super) holes: Vec<(u64, u64)>,
    /// The last good record; nothing when there is none, or when an index stood for the scan.
    pub(super) last: Option<Last>,
    /// How many good records there are.
    pub(super) records: u64,
}

impl Scan {
    pub(super) fn new(epoch: Epoch, first: u64, at: u64) -> Scan {
        let (places, holes) = (Vec::new(), Vec::new());
        Scan { epoch, next: first, at, places, holes, last: None, records: 0 }
    }

    /// Goes on to the end, or past the record `limit`: all numbers up to it were acknowledged, and those
    /// behind it do not count.
    pub(super) fn run(&mut self, file: &dyn DiskFile, end: u64, limit: u64) -> io::Result<Tail> {
        let mut window = Window::new(file, end);
        // How it was before a hole that may be the end of the segment.
        let mut before: Option<Scan> = None;
        while self.next <= limit {
            let Some(head) = seek(&mut window, self.epoch, self.at, self.next)?
                .filter(|head| head.place.i <= limit)
            else {
                break;
            };
            if head.place.i > self.next {
                before.get_or_insert_with(|| self.clone());
                self.lose(head.place.i - 1);
            }
            if before.as_ref().is_some_and(|before| head.batch_first > before.next) {
                before = None;
            }
            self.accept(&head);
        }
        if limit != NO_LIMIT {
            if self.next <= limit {
                self.lose(limit);
            }
            return Ok(Tail::Clean);
        }
        if let Some(before) = before.filter(|_| !crate::planted::bug("keep-behind-a-hole")) {
            *self = before;
            return Ok(Tail::Torn);
        }
        let complete = self.last.is_none_or(|last| last.complete);
        Ok(if self.at == end && complete { Tail::Clean } else { Tail::Torn })
    }

    fn accept(&mut self, head: &Head) {
        let batch_at = match self.last {
            Some(last) if last.batch_first == head.batch_first => last.batch_at,
            _ => head.place.at,
        };
        let (place, batch_first, complete) = (head.place, head.batch_first, head.complete);
        self.last = Some(Last { place, batch_at, batch_first, complete });
        self.note(place, head.end);
        self.records += 1;
    }

    /// Takes note of a record that was written or found, and of where the next one comes.
    pub(super) fn note(&mut self, place: Place, end: u64) {
        let step = |known: &Place| place.at >= known.at + JOURNAL_INDEX_STEP_BYTES;
        if self.places.last().is_none_or(step) {
            self.places.push(place);
        }
        (self.next, self.at) = (place.i + 1, end);
    }

    /// The numbers up to this one are lost.
    fn lose(&mut self, to: u64) {
        let from = self.next;
        self.next = to + 1;
        let full = self.holes.len() >= JOURNAL_DAMAGE_MAX;
        match self.holes.last_mut() {
            Some(hole) if full || hole.1 + 1 == from => hole.1 = to,
            _ => self.holes.push((from, to)),
        }
    }

    /// Where to begin when looking for this number.
    pub(super) fn start(&self, i: u64) -> Option<Place> {
        let behind = self.places.partition_point(|place| place.i <= i);
        self.places.get(behind.saturating_sub(1)).copied()
    }

    /// The hole that this number is in.
    pub(super) fn hole(&self, i: u64) -> Option<(u64, u64)> {
        let behind = self.holes.partition_point(|hole| hole.0 <= i);
        self.holes[..behind].last().copied().filter(|hole| i <= hole.1)
    }
}

/// A good record, without what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) place: Place,
    pub(super) end: u64,
    batch_first: u64,
    complete: bool,
}

/// The first good record from this place on with this number or a higher one.
pub(super) fn seek(
    window: &mut Window<'_>,
    epoch: Epoch,
    from: u64,
    i: u64,
) -> io::Result<Option<Head>> {
    let mut at = from;
    loop {
        match head_at(window, epoch, at)? {
            Some(head) if head.place.i >= i => return Ok(Some(head)),
            Some(head) => at = head.end,
            None if crate::planted::bug("truncate-in-the-middle") => return Ok(None),
            None => match next_marker(window, at + 1)? {
                Some(found) => at = found,
                None => return Ok(None),
            },
        }
    }
}

fn head_at(window: &mut Window<'_>, epoch: Epoch, at: u64) -> io::Result<Option<Head>> {
    let Some((raw, end)) = window.record(epoch, at)? else { return Ok(None) };
    let place = Place { i: raw.i, at, time: raw.time };
    let complete = raw.index + 1 == raw.count;
    Ok(Some(Head { place, end, batch_first: raw.batch_first(), complete }))
}

fn next_marker(window: &mut Window<'_>, from: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    loop {
        let bytes = window.get(at, WINDOW_BYTES)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if let Some(found) = bytes.iter().position(|byte| *byte == MARKER[0]) {
            return Ok(Some(at + found as u64));
        }
        at += bytes.len() as u64;
    }
}

const WINDOW_BYTES: usize = 64 << 10;

/// A part of a file in memory, which moves along.
#[derive(Debug)]
pub(super) struct Window<'f> {
    file: &'f dyn DiskFile,
    /// Nothing from here on is looked at.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'f> Window<'f> {
    pub(super) fn new(file: &'f dyn DiskFile, end: u64) -> Window<'f> {
        Window { file, end, start: 0, bytes: Vec::new() }
    }

    /// The good record at this place, and where it ends.
    pub(super) fn record(&mut self, epoch: Epoch, at: u64) -> io::Result<Option<(Raw<'_>, u64)>> {
        let frame = self.get(at, FRAME_BYTES)?;
        if frame.len() < FRAME_BYTES {
            return Ok(None);
        }
        let Some(length) = record_len(frame) else { return Ok(None) };
        let bytes = self.get(at, length)?;
        if bytes.len() < length {
            return Ok(None);
        }
        Ok(decode_record(epoch, bytes).map(|raw| (raw, at + length as u64)))
    }

    /// So many bytes from this place on, or fewer at the end.
    fn get(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let inside = at >= self.start && at + length as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            self.bytes.resize(length.max(WINDOW_BYTES.min(left)), 0);
            self.start = at;
            let read = read_full(self.file, at, &mut self.bytes)?;
            self.bytes.truncate(read);
        }
        let from = (at - self.start) as usize;
        Ok(&self.bytes[from..(from + length).min(self.bytes.len())])
    }
}
