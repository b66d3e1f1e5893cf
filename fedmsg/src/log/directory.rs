//! The index of a sealed segment: which numbers of which streams it has, and where each of them is. It can
//! be made again from the segment, so it is not synced, and not believed when it does not fit. A reader looks
//! up what it needs by position; every record that is found so proves itself.

use std::io;

use sha2::{Digest, Sha256};

use super::format::{Sequence, push_short};
use super::table::{PlacedBeat, PlacedRun, Table};
use crate::envelope::Epoch;
use crate::journal::{DiskFile, Fields, read_full};
use crate::timestamp::Timestamp;

const MAGIC: [u8; 8] = *b"fmlogix\x01";
/// Magic, sequence, end, time of the last record, and how many streams, entries and offsets there are.
const HEAD_BYTES: usize = 8 + 8 + 8 + 8 + 4 + 4 + 4;
const SUM_BYTES: usize = 4;
/// Where the entries begin.
const ENTRIES_AT: u64 = (HEAD_BYTES + SUM_BYTES) as u64;
/// Key, kind, epoch, first number, count and place.
const ENTRY_BYTES: usize = 16 + 1 + 16 + 8 + 4 + 4;
const KIND_RUN: u8 = 0;
const KIND_BEAT: u8 = 2;
/// Entries are looked for in pieces of so many.
const PIECE: u32 = 128;

/// By what the entries are in order: the start of a hash of the stream's name. Such keys lie evenly, so the
/// place of one can be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key([u8; 16]);

impl Key {
    pub(super) fn of(stream: &str) -> Key {
        let hash = Sha256::digest(stream.as_bytes());
        Key(hash[..16].try_into().expect("a hash has 32 bytes"))
    }

    /// About which one of so many entries this is.
    fn guess(self, entries: u32) -> u32 {
        let start = u64::from(u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]));
        ((start * u64::from(entries)) >> 32) as u32
    }
}

/// What of an index fits into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) sequence: Sequence,
    /// Where what counts of the segment ends.
    pub(super) end: u64,
    /// When its last record was appended.
    pub(super) last: Timestamp,
    streams: u32,
    entries: u32,
    offsets: u32,
}

/// Numbers of a stream that follow each other, or a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    key: Key,
    kind: u8,
    epoch: Epoch,
    first: u64,
    count: u32,
    place: u32,
}

/// What an index has of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Numbers.
    Run {
        /// Their epoch.
        epoch: Epoch,
        /// The first one.
        first: u64,
        /// How many.
        count: u32,
    },
    /// A heartbeat.
    Beat(PlacedBeat),
}

/// Writes the index of a segment.
pub(super) fn encode(table: &Table, sequence: Sequence, end: u64) -> Vec<u8> {
    let mut streams: Vec<_> =
        table.streams.iter().map(|(name, places)| (Key::of(name), name, places)).collect();
    streams.sort_unstable_by_key(|(key, ..)| *key);
    let (mut entries, mut names) = (Vec::new(), Vec::new());
    let mut offsets = Vec::with_capacity(table.records as usize * 4);
    for (key, name, places) in &streams {
        push_short(&mut names, name.as_bytes());
        for PlacedRun { epoch, first, offsets: places } in &places.runs {
            let (count, place) = (places.len() as u32, (offsets.len() / 4) as u32);
            push_entry(&mut entries, Entry::run(*key, *epoch, *first, count, place));
            places.iter().for_each(|at| offsets.extend_from_slice(&at.to_be_bytes()));
        }
        if let Some(beat) = places.beat {
            push_entry(&mut entries, Entry::beat(*key, beat));
        }
    }
    let mut out = MAGIC.to_vec();
    for number in [u64::from(sequence), end, table.last.as_millis() as u64] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    for count in [streams.len(), entries.len() / ENTRY_BYTES, offsets.len() / 4] {
        out.extend_from_slice(&(count as u32).to_be_bytes());
    }
    out.extend_from_slice(&[0; SUM_BYTES]);
    for part in [entries, offsets, names] {
        out.extend_from_slice(&part);
    }
    let sum = checksum(&out);
    out[HEAD_BYTES..HEAD_BYTES + SUM_BYTES].copy_from_slice(&sum.to_be_bytes());
    out
}

/// Reads a whole index; nothing when it is not a good one. Calls `held` for everything that each stream has.
pub(super) fn decode(
    bytes: &[u8],
    sequence: Sequence,
    mut held: impl FnMut(&str, Held),
) -> Option<Outline> {
    let outline = outline(bytes).filter(|outline| outline.sequence == sequence)?;
    let sum = bytes.get(HEAD_BYTES..HEAD_BYTES + SUM_BYTES)?;
    if checksum(bytes).to_be_bytes() != *sum {
        return None;
    }
    let (entries, offsets) = (outline.entries as usize, outline.offsets as usize);
    let mut fields = Fields(bytes.get(ENTRIES_AT as usize..)?);
    let entries = fields.take(entries.checked_mul(ENTRY_BYTES)?)?;
    fields.take(offsets.checked_mul(4)?)?;
    let mut key = None;
    let mut name = "";
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let entry = Entry::read(entry)?;
        if key != Some(entry.key) {
            name = std::str::from_utf8(fields.short()?).ok()?;
            key = Some(entry.key);
        }
        held(name, entry.held());
    }
    Some(outline)
}

/// Reads how an index begins.
pub(super) fn outline(bytes: &[u8]) -> Option<Outline> {
    let mut fields = Fields(bytes.strip_prefix(&MAGIC)?);
    let sequence = Sequence::try_from(fields.number::<8>()?).ok()?;
    let end = fields.number::<8>()?;
    let last = Timestamp::from_millis(fields.number::<8>()? as i64);
    let mut count = || fields.number::<4>().map(|count| count as u32);
    let (streams, entries, offsets) = (count()?, count()?, count()?);
    Some(Outline { sequence, end, last, streams, entries, offsets })
}

impl Outline {
    /// Reads how an index begins from its file.
    pub(super) fn read(file: &dyn DiskFile) -> io::Result<Option<Outline>> {
        let mut bytes = [0; HEAD_BYTES];
        let read = read_full(file, 0, &mut bytes)?;
        Ok(outline(&bytes[..read]))
    }

    /// Where numbers from this one on are, at most so many; nothing when the index does not have it.
    pub(super) fn places(
        &self,
        file: &dyn DiskFile,
        key: Key,
        epoch: Epoch,
        i: u64,
        most: usize,
    ) -> io::Result<Option<Vec<u32>>> {
        let Some(entry) = self.find(file, key, epoch, i)? else { return Ok(None) };
        let skip = (i - entry.first) as usize;
        let count = (entry.count as usize - skip).min(most);
        let place = u64::from(entry.place) + skip as u64;
        let at = ENTRIES_AT + u64::from(self.entries) * ENTRY_BYTES as u64 + place * 4;
        let mut bytes = vec![0; count * 4];
        let read = read_full(file, at, &mut bytes)?;
        let number = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let places: Vec<u32> = bytes[..read].chunks_exact(4).map(number).collect();
        Ok((places.len() == count && count > 0).then_some(places))
    }

    /// The run that a number is in: the last entry that is not behind it.
    fn find(
        &self,
        file: &dyn DiskFile,
        key: Key,
        epoch: Epoch,
        i: u64,
    ) -> io::Result<Option<Entry>> {
        let wanted = (key, KIND_RUN, epoch, i);
        let (mut low, mut high) = (0, self.entries);
        let mut middle = key.guess(self.entries);
        while low < high {
            let from = middle.saturating_sub(PIECE / 2).clamp(low, high - 1);
            let to = (from + PIECE).min(high);
            let piece = self.piece(file, from, to)?;
            let Some(first) = piece.first() else { return Ok(None) };
            let behind = piece.partition_point(|entry| entry.order() <= wanted) as u32;
            if first.order() > wanted {
                high = from;
            } else if behind == to - from && to < high {
                // The last one of a piece may be the one that is wanted.
                low = to - 1;
            } else {
                let entry = piece[behind as usize - 1];
                let has = entry.key == key
                    && entry.kind == KIND_RUN
                    && entry.epoch == epoch
                    && i - entry.first < u64::from(entry.count);
                return Ok(has.then_some(entry));
            }
            middle = low + (high - low) / 2;
        }
        Ok(None)
    }

    fn piece(&self, file: &dyn DiskFile, from: u32, to: u32) -> io::Result<Vec<Entry>> {
        let mut bytes = vec![0; (to - from) as usize * ENTRY_BYTES];
        let at = ENTRIES_AT + u64::from(from) * ENTRY_BYTES as u64;
        let read = read_full(file, at, &mut bytes)?;
        if read < bytes.len() {
            return Ok(Vec::new());
        }
        let entries: Option<Vec<Entry>> =
            bytes.chunks_exact(ENTRY_BYTES).map(Entry::read).collect();
        Ok(entries.unwrap_or_default())
    }
}

impl Entry {
    fn run(key: Key, epoch: Epoch, first: u64, count: u32, place: u32) -> Entry {
        Entry { key, kind: KIND_RUN, epoch, first, count, place }
    }

    fn beat(key: Key, beat: PlacedBeat) -> Entry {
        let PlacedBeat { epoch, i, at } = beat;
        Entry { key, kind: KIND_BEAT, epoch, first: i, count: 1, place: at }
    }

    fn read(bytes: &[u8]) -> Option<Entry> {
        let mut fields = Fields(bytes);
        Some(Entry {
            key: Key(fields.take(16)?.try_into().ok()?),
            kind: fields.number::<1>()? as u8,
            epoch: fields.epoch()?,
            first: fields.number::<8>()?,
            count: fields.number::<4>()? as u32,
            place: fields.number::<4>()? as u32,
        })
    }

    fn order(&self) -> (Key, u8, Epoch, u64) {
        (self.key, self.kind, self.epoch, self.first)
    }

    fn held(&self) -> Held {
        let Entry { epoch, first, count, place, .. } = *self;
        match self.kind {
            KIND_BEAT => Held::Beat(PlacedBeat { epoch, i: first, at: place }),
            _ => Held::Run { epoch, first, count },
        }
    }
}

fn push_entry(out: &mut Vec<u8>, entry: Entry) {
    out.extend_from_slice(&entry.key.0);
    out.push(entry.kind);
    out.extend_from_slice(entry.epoch.uuid().as_bytes());
    out.extend_from_slice(&entry.first.to_be_bytes());
    out.extend_from_slice(&entry.count.to_be_bytes());
    out.extend_from_slice(&entry.place.to_be_bytes());
}

/// Over everything but the checksum itself.
fn checksum(bytes: &[u8]) -> u32 {
    let (head, rest) = bytes.split_at(HEAD_BYTES.min(bytes.len()));
    crc32c::crc32c_append(crc32c::crc32c(head), rest.get(SUM_BYTES..).unwrap_or_default())
}
