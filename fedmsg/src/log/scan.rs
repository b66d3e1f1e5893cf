//! Reading a segment from its start: which records are good, what is damaged, and where a torn tail begins.
//!
//! A bad place with a good record of a *later* append behind it was acknowledged once: that is damage, and
//! what is around it is served. A bad place with nothing of a later append behind it may be a write that a
//! crash tore: it ends the segment, and with it whatever survived of the same append.

use std::io;

use super::format::{Form, HEADER_BYTES, Position, Raw, Sequence};
use super::table::{PlacedBeat, Table};
use super::window::Window;
use crate::envelope::Epoch;
use crate::journal::DiskFile;
use crate::limits::LOG_DAMAGE_MAX;
use crate::timestamp::Timestamp;

/// So much of a segment is read at once.
const STEP_BYTES: usize = 256 << 10;

/// Where a scan ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Everything before this place was acknowledged.
    Acknowledged(u64),
    /// At the end of the file, which may be torn.
    File(u64),
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) table: Table,
    /// Where what counts ends.
    pub(super) end: u64,
    /// Where the last append that counts begins.
    pub(super) last_append_at: u64,
    /// Places that are damaged, from and to; at most so many as are told of.
    pub(super) damage: Vec<(u64, u64)>,
    /// How many there are.
    pub(super) damaged: u64,
}

/// Reads a segment from its first record on.
pub(super) fn scan(
    file: &dyn DiskFile,
    sequence: Sequence,
    made: Timestamp,
    until: Until,
) -> io::Result<Scanned> {
    let (Until::Acknowledged(end) | Until::File(end)) = until;
    let start = HEADER_BYTES as u64;
    let (table, damage) = (Table::new(made), Vec::new());
    let scanned = Scanned { table, end: start, last_append_at: start, damage, damaged: 0 };
    let mut scan = Scan { scanned, last: None, hole: None };
    let mut window = Window::new(file, sequence, end, STEP_BYTES);
    let mut at = start;
    while let Some((seen, raw_end)) = scan.next(&mut window, at)? {
        scan.take(at, seen, raw_end);
        at = raw_end;
    }
    Ok(scan.finish(until, at))
}

/// A record, without what it holds.
#[derive(Debug)]
struct Seen {
    at: u64,
    position: Position,
    time: Timestamp,
    form: Form,
    epoch: Epoch,
    i: u64,
    stream: Box<str>,
}

/// Bad places that may be the end of the segment.
#[derive(Debug)]
struct Hole {
    from: u64,
    /// The append that the last one of them lies in: something of a later one shows that it is damage.
    append: u32,
    places: Vec<(u64, u64)>,
    /// Good records behind the first one.
    seen: Vec<Seen>,
    /// How the scan was before.
    last_append_at: u64,
}

struct Scan {
    scanned: Scanned,
    last: Option<Position>,
    hole: Option<Hole>,
}

impl Scan {
    /// The next good record, from this place on, and where it ends.
    fn next(&self, window: &mut Window<'_>, from: u64) -> io::Result<Option<(Seen, u64)>> {
        let mut at = from;
        loop {
            if let Some((raw, end)) = window.record(at)? {
                // Positions rise: what does not is no record of this place.
                let place = (raw.position.append, raw.position.index);
                if self.last.is_none_or(|last| (last.append, last.index) < place) {
                    return Ok(Some((seen(at, &raw), end)));
                }
            }
            match window.marker(at + 1)? {
                Some(found) => at = found,
                None => return Ok(None),
            }
        }
    }

    fn take(&mut self, expected: u64, seen: Seen, end: u64) {
        let Position { append, index, .. } = seen.position;
        if seen.at > expected {
            self.note_hole((expected, seen.at), append, index);
        }
        if self.hole.as_ref().is_some_and(|hole| append > hole.append) {
            self.accept_hole();
        }
        if self.last.is_none_or(|last| last.append < append) {
            self.scanned.last_append_at = seen.at;
        }
        self.last = Some(seen.position);
        match &mut self.hole {
            Some(hole) => hole.seen.push(seen),
            None => self.accept(&seen),
        }
        if self.hole.is_none() {
            self.scanned.end = end;
        }
    }

    /// The place before a record is bad.
    fn note_hole(&mut self, place: (u64, u64), append: u32, index: u16) {
        let last_append_at = self.scanned.last_append_at;
        let inside = if index > 0 { append } else { append.saturating_sub(1) };
        let begin = || Hole {
            from: place.0,
            append: inside,
            places: Vec::new(),
            seen: Vec::new(),
            last_append_at,
        };
        let hole = self.hole.get_or_insert_with(begin);
        hole.append = hole.append.max(inside);
        hole.places.push(place);
    }

    /// What lies behind the bad places was written after them: they are damage.
    fn accept_hole(&mut self) {
        let Some(hole) = self.hole.take() else { return };
        self.damage(&hole.places);
        hole.seen.iter().for_each(|seen| self.accept(seen));
    }

    fn damage(&mut self, places: &[(u64, u64)]) {
        let room = LOG_DAMAGE_MAX - self.scanned.damage.len().min(LOG_DAMAGE_MAX);
        self.scanned.damage.extend(places.iter().take(room));
        self.scanned.damaged += places.len() as u64;
    }

    fn accept(&mut self, seen: &Seen) {
        let table = &mut self.scanned.table;
        table.last = table.last.max(seen.time);
        let Ok(at) = u32::try_from(seen.at) else { return };
        match seen.form {
            Form::Record | Form::Gone => table.add(&seen.stream, seen.epoch, seen.i, at),
            Form::Heartbeat => {
                let beat = PlacedBeat { epoch: seen.epoch, i: seen.i, at };
                table.add_beat(&seen.stream, beat);
            }
        }
    }

    fn finish(mut self, until: Until, at: u64) -> Scanned {
        match until {
            Until::Acknowledged(end) => {
                self.accept_hole();
                if at < end {
                    self.damage(&[(at, end)]);
                }
                self.scanned.end = end;
            }
            Until::File(_) => {
                if let Some(hole) = self.hole.take() {
                    self.scanned.end = hole.from;
                    self.scanned.last_append_at = hole.last_append_at;
                }
            }
        }
        self.scanned
    }
}

fn seen(at: u64, raw: &Raw<'_>) -> Seen {
    Seen {
        at,
        position: raw.position,
        time: raw.time,
        form: raw.form,
        epoch: raw.epoch,
        i: raw.i,
        stream: raw.stream.into(),
    }
}
