//! Opening a log: what a crash left, and what is known of every stream.
//!
//! Nothing is cut or overwritten with something else. A torn tail stays where it is, and does not count: the
//! next segment says where the one before ended. A new process always begins a new segment.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::directory::{self, Held};
use super::error::{LogError, io_error};
use super::format::{Form, HEADER_BYTES, Header, HeaderFault, NEW, Sequence, parse_segment_file};
use super::heads::Heads;
use super::item::Beat;
use super::reader::LogReader;
use super::scan::{Scanned, Until, scan};
use super::settings::{LogMetrics, Settings};
use super::shared::{Segment, Shared};
use super::table::PlacedBeat;
use super::window::Window;
use super::writer::Log;
use crate::journal::{Access, Body, Disk, DiskFile, read_full, write_all};
use crate::limits::{LOG_RECORD_BYTES_MAX, LOG_SEGMENTS_MAX};
use crate::timestamp::Timestamp;

impl Log {
    /// Opens a log, and makes one when there is none. What is there is durable when this returns.
    ///
    /// Reads the indexes of all segments, and those segments from start to end whose index is missing or
    /// wrong: after a clean [`close`](Self::close) none, after a crash the newest one. The caller holds a
    /// lock that lets no other process write here.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, settings: Settings) -> Result<Log, LogError> {
        settings.check()?;
        disk.make_folder(folder).map_err(io_error("making", folder))?;
        let sequences = names(&*disk, folder)?;
        let shared = Arc::new(Shared::new(disk, folder));
        let mut opening =
            Opening { shared: &shared, beats: HashMap::new(), metrics: LogMetrics::default() };
        let covers = opening.take_heads();
        let newest = sequences.last().copied();
        let mut found = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            found.push(opening.look(sequence, Some(sequence) == newest)?);
        }
        let next = newest.unwrap_or(0).max(covers) + 1;
        let counting = opening.count(found);
        let many = counting.len();
        for (at, (segment, until)) in counting.into_iter().enumerate() {
            opening.take_in(&segment, until, at + 1 == many)?;
        }
        shared.disk.sync_folder(folder).map_err(io_error("syncing", folder))?;
        LogReader { shared: Arc::clone(&shared) }.complete_tips();
        opening.restore_beats();
        let metrics = opening.metrics;
        Ok(Log { shared, settings, current: None, next, metrics, buffer: Vec::new() })
    }
}

/// The segments of a folder, oldest first. What a crash left half made is removed.
fn names(disk: &dyn Disk, folder: &Path) -> Result<Vec<Sequence>, LogError> {
    let files = disk.list(folder).map_err(io_error("listing", folder))?;
    let mut sequences: Vec<_> = files.iter().filter_map(|file| parse_segment_file(file)).collect();
    if sequences.len() > LOG_SEGMENTS_MAX {
        return Err(LogError::TooManySegments { path: folder.into(), count: sequences.len() });
    }
    for name in files.iter().filter(|file| file.ends_with(NEW)) {
        let path = folder.join(name);
        disk.remove(&path).map_err(io_error("removing", path))?;
    }
    sequences.sort_unstable();
    Ok(sequences)
}

/// A segment, as far as its header tells.
struct Found {
    sequence: Sequence,
    /// Nothing when it is damaged. The records can be found all the same.
    header: Option<Header>,
    bytes: u64,
}

struct Opening<'s> {
    shared: &'s Arc<Shared>,
    /// The newest heartbeat of each stream in segments, and which one it is in.
    beats: HashMap<Box<str>, (Sequence, PlacedBeat)>,
    metrics: LogMetrics,
}

impl Opening<'_> {
    /// Begins with what was written down; says up to which segment.
    fn take_heads(&mut self) -> Sequence {
        let shared = self.shared;
        let Some(heads) = Heads::read(&*shared.disk, &shared.folder) else { return 0 };
        let mut known = shared.known_mut();
        for row in heads.streams {
            let beat = row.beat();
            if let Some(stream) = known.streams.touch(row.name.as_str()) {
                (stream.tip, stream.beat) = (Some(row.tip), beat);
            }
        }
        shared.set_covered(heads.covers);
        heads.covers
    }

    /// Reads the header of a segment. One bad place in an old segment is no reason not to start.
    fn look(&self, sequence: Sequence, is_newest: bool) -> Result<Found, LogError> {
        let path = self.shared.segment_path(sequence);
        let read = || {
            let file = self.shared.disk.open(&path, Access::Read)?;
            let mut bytes = [0; HEADER_BYTES];
            let read = read_full(&*file, 0, &mut bytes)?;
            io::Result::Ok((Header::decode(&bytes[..read]), file.len()?))
        };
        let (header, bytes) = match read() {
            Ok(found) => found,
            Err(error) if is_newest => return Err(io_error("reading", path)(error)),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a segment cannot be read");
                (Err(HeaderFault::Damaged), 0)
            }
        };
        let header = match header {
            Err(HeaderFault::Version(version)) => return Err(LogError::Version { path, version }),
            Ok(header) if header.sequence == sequence => Some(header),
            _ => None,
        };
        if header.is_none() {
            tracing::error!(path = %path.display(), "the header of a segment is damaged");
            self.shared.damage.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Found { sequence, header, bytes })
    }

    /// Which segments count, oldest first, and where each one ends: the header of the next one says it.
    fn count(&self, found: Vec<Found>) -> Vec<(Found, Until)> {
        let mut counting: Vec<(Found, Until)> = Vec::with_capacity(found.len());
        let mut before = None;
        for segment in found.into_iter().rev() {
            let until = match before {
                Some((named, _)) if segment.sequence > named => {
                    // It was begun, and nothing in it was acknowledged.
                    self.shared.disk.remove(&self.shared.segment_path(segment.sequence)).ok();
                    self.shared.disk.remove(&self.shared.index_path(segment.sequence)).ok();
                    continue;
                }
                Some((named, end)) if segment.sequence == named => Until::Acknowledged(end),
                _ => Until::File(segment.bytes),
            };
            before = segment.header.and_then(|header| header.before);
            counting.push((segment, until));
        }
        counting.reverse();
        counting
    }

    /// Takes note of what a segment has, by its index or by reading all of it.
    fn take_in(&mut self, found: &Found, until: Until, is_newest: bool) -> Result<(), LogError> {
        let Found { sequence, bytes, .. } = *found;
        let indexed = self.indexed(found, until);
        let (end, last) = match indexed {
            Some(known) => known,
            None => match self.scanned(found, until, is_newest) {
                Ok(known) => known,
                Err(error) if is_newest => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "a segment cannot be read");
                    self.shared.damage.fetch_add(1, Ordering::Relaxed);
                    (bytes, found.header.map_or(Timestamp::from_millis(0), |header| header.made))
                }
            },
        };
        let made = found.header.map_or(last, |header| header.made);
        let segment = Segment { sequence, made, last, end, bytes, given_up: false };
        self.shared.known_mut().segments.push(segment);
        Ok(())
    }

    /// What a good index says.
    fn indexed(&mut self, found: &Found, until: Until) -> Option<(u64, Timestamp)> {
        let path = self.shared.index_path(found.sequence);
        let read = || {
            let file = self.shared.disk.open(&path, Access::Read)?;
            let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
            // Each record has at most an entry, an offset and a name in it.
            let most = (found.bytes as usize).saturating_add(LOG_RECORD_BYTES_MAX);
            let mut bytes = vec![0; length.min(most)];
            let read = read_full(&*file, 0, &mut bytes)?;
            bytes.truncate(read);
            io::Result::Ok(bytes)
        };
        let bytes = read().ok()?;
        let outline = directory::outline(&bytes)?;
        let fits = match until {
            Until::Acknowledged(end) => outline.end == end,
            Until::File(end) => outline.end <= end,
        };
        if !fits || !self.take_index(found.sequence, &bytes) {
            return None;
        }
        Some((outline.end, outline.last))
    }

    /// Says whether it was a good index.
    fn take_index(&mut self, sequence: Sequence, bytes: &[u8]) -> bool {
        let Opening { shared, beats, .. } = self;
        let mut known = shared.known_mut();
        let outline = directory::decode(bytes, sequence, |stream, held| match held {
            Held::Run { .. } => {
                // Those of later segments were heard of later.
                known.streams.touch(stream);
                known.streams.add(stream, held, sequence);
            }
            Held::Beat(beat) => {
                let newer = beats
                    .get(stream)
                    .is_none_or(|(_, known)| (known.epoch, known.i) <= (beat.epoch, beat.i));
                if newer {
                    beats.insert(stream.into(), (sequence, beat));
                }
            }
        });
        if outline.is_none() {
            known.streams.drop_segment(sequence);
        }
        outline.is_some()
    }

    /// Reads a segment from start to end, and makes its index.
    fn scanned(
        &mut self,
        found: &Found,
        until: Until,
        is_newest: bool,
    ) -> Result<(u64, Timestamp), LogError> {
        let sequence = found.sequence;
        let path = self.shared.segment_path(sequence);
        tracing::info!(path = %path.display(), bytes = found.bytes, "reading a segment that has no index");
        let access = if is_newest { Access::Write } else { Access::Read };
        let file = self.shared.disk.open(&path, access).map_err(io_error("opening", &path))?;
        let made = found.header.map_or(Timestamp::from_millis(0), |header| header.made);
        let scanned = scan(&*file, sequence, made, until).map_err(io_error("reading", &path))?;
        self.shared.tell_damage(sequence, &scanned);
        if is_newest {
            self.keep(&*file, &path, &scanned)?;
        }
        let bytes = directory::encode(&scanned.table, sequence, scanned.end);
        self.take_index(sequence, &bytes);
        self.shared.indexes_made.fetch_add(1, Ordering::Relaxed);
        self.shared.write_index(sequence, &bytes);
        Ok((scanned.end, scanned.table.last))
    }

    /// Makes the newest segment durable. Its last append is written again, byte for byte: when a sync of it
    /// failed once, the system may hold the bytes for clean, and a sync alone would do nothing.
    fn keep(
        &mut self,
        file: &dyn DiskFile,
        path: &Path,
        scanned: &Scanned,
    ) -> Result<(), LogError> {
        let mut at = scanned.last_append_at;
        let mut bytes = vec![0; 1 << 20];
        while at < scanned.end {
            let length = usize::try_from(scanned.end - at).unwrap_or(usize::MAX).min(bytes.len());
            let read =
                read_full(file, at, &mut bytes[..length]).map_err(io_error("reading", path))?;
            let write = write_all(file, at, &bytes[..read]);
            write.map_err(|(_, error)| io_error("writing", path)(error))?;
            at += read.max(1) as u64;
        }
        let took = file.sync().map_err(io_error("syncing", path))?;
        self.metrics.synced(took);
        Ok(())
    }

    /// Reads the heartbeats that were appended, where they are newer than those that were written down.
    fn restore_beats(&mut self) {
        let mut beats: Vec<_> = std::mem::take(&mut self.beats).into_iter().collect();
        beats.sort_unstable_by_key(|(_, (sequence, beat))| (*sequence, beat.at));
        for (stream, (sequence, beat)) in beats {
            match self.read_beat(&stream, sequence, beat) {
                Ok(Some(beat)) => {
                    let mut known = self.shared.known_mut();
                    if let Some(stream) = known.streams.get_mut(&stream) {
                        stream.beat(beat);
                    }
                }
                Ok(None) => {
                    let path = self.shared.segment_path(sequence);
                    tracing::warn!(path = %path.display(), stream = &*stream, "a heartbeat is damaged");
                    self.shared.damage.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::error!(stream = &*stream, %error, "a heartbeat cannot be read");
                }
            }
        }
    }

    fn read_beat(
        &self,
        stream: &str,
        sequence: Sequence,
        beat: PlacedBeat,
    ) -> io::Result<Option<Beat>> {
        let open = self.shared.open(sequence)?;
        let mut window = Window::new(&*open.file, sequence, self.shared.end_of(sequence), 4 << 10);
        let record = window.record(u64::from(beat.at))?;
        let body = record.filter(|(raw, _)| raw.form == Form::Heartbeat && raw.stream == stream);
        Ok(match body.and_then(|(raw, _)| raw.body()) {
            Some(Body::Record(wire)) => Beat::of(&wire),
            _ => None,
        })
    }
}
