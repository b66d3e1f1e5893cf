//! The writer of a log: appends, new segments, and what happens when the disk fails.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::directory;
use super::error::{LogError, io_error};
use super::format::{Header, NEW, Position, Sequence, encode_record, record_bytes, segment_file};
use super::item::{Beat, Head, Item, Keep};
use super::reader::LogReader;
use super::settings::{LogMetrics, Settings};
use super::shared::{Known, Segment, Shared};
use super::table::{PlacedBeat, Table};
use crate::envelope::{Epoch, Wire};
use crate::identity::StreamName;
use crate::journal::{DiskFile, write_all};
use crate::limits::{LOG_BATCH_BYTES_MAX, LOG_BATCH_RECORDS_MAX};
use crate::timestamp::Timestamp;

/// A buffer that one large append has made larger than this is given back.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// The log of a relay, as its only writer has it. That no other process writes is for a lock elsewhere to
/// see to.
pub struct Log {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    /// The segment that is open for appending; nothing before the first append, and after a failed one.
    pub(super) current: Option<Current>,
    /// The number of the next segment.
    pub(super) next: Sequence,
    pub(super) metrics: LogMetrics,
    pub(super) buffer: Vec<u8>,
}

/// The segment that is open for appending.
#[derive(Debug)]
pub(super) struct Current {
    file: Box<dyn DiskFile>,
    sequence: Sequence,
    made: Timestamp,
    /// Where the next append begins.
    at: u64,
    /// Its number.
    append: u32,
}

impl Log {
    /// Appends up to 8,192 items of any streams, at most 16 MiB, in one write and one sync. They are durable,
    /// and readers see them, when this returns; after an error none of them counts.
    ///
    /// Whoever calls this has verified the items, and knows that they follow what is there: a log keeps
    /// numbers that leave a hole, and epochs that are not the newest. A number that is there already is not
    /// written again.
    ///
    /// A write or sync that failed is not repeated on the same file: the items go to a new segment. When that
    /// fails too, some of them may be on disk all the same, and may be there when the log is opened the next
    /// time. Their signatures are good, and whoever put them puts them again, so that does no harm.
    pub fn append(&mut self, items: &[Item<'_>], now: Timestamp) -> Result<(), LogError> {
        if items.len() > LOG_BATCH_RECORDS_MAX {
            return Err(LogError::BatchCount { records: items.len() });
        }
        let items = self.new_ones(items)?;
        let bytes = items.iter().map(|item| record_bytes(item)).sum();
        if bytes > LOG_BATCH_BYTES_MAX {
            return Err(LogError::BatchBytes { bytes });
        }
        if items.is_empty() {
            return Ok(());
        }
        let mut moved = false;
        if self.fits(bytes as u64, now) {
            match self.append_to_current(&items, now) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "the log goes on in a new segment");
                    moved = true;
                }
            }
        }
        self.seal();
        if let Err(error) = self.start_segment(&items, now) {
            self.metrics.failures += 1;
            self.metrics.degraded = true;
            return Err(error);
        }
        self.metrics.moved += u64::from(moved);
        Ok(())
    }

    /// Those that are to be written.
    fn new_ones<'a, 'i>(&mut self, items: &'a [Item<'i>]) -> Result<Vec<&'a Item<'i>>, LogError> {
        let mut new = Vec::with_capacity(items.len());
        let known = self.shared.known();
        for item in items {
            let Item { stream, epoch, i, keep } = item;
            if let Some(why) = item.refusal() {
                return Err(LogError::Item { stream: (*stream).clone(), i: *i, why });
            }
            let is_beat = matches!(keep, Keep::Heartbeat { .. });
            if !is_beat && known.has(stream.as_str(), *epoch, *i) {
                self.metrics.duplicates += 1;
            } else {
                new.push(item);
            }
        }
        Ok(new)
    }

    /// Whether the newest segment takes this append.
    fn fits(&self, bytes: u64, now: Timestamp) -> bool {
        let Settings { segment_bytes, segment_ms, .. } = self.settings;
        self.current.as_ref().is_some_and(|current| {
            let young = u64::try_from(now.millis_since(current.made)).unwrap_or(0) < segment_ms;
            young && current.at + bytes <= segment_bytes && current.append < u32::MAX
        })
    }

    fn append_to_current(&mut self, items: &[&Item<'_>], now: Timestamp) -> Result<(), LogError> {
        let Some(current) = &self.current else { unreachable!("asked for by `fits` alone") };
        let (sequence, at) = (current.sequence, current.at);
        self.buffer.clear();
        let places = encode(&mut self.buffer, sequence, (current.append, at), items, now);
        let path = self.shared.segment_path(sequence);
        let written = write_all(&*current.file, at, &self.buffer)
            .map_err(|(_, error)| io_error("writing", &path)(error))
            .and_then(|()| current.file.sync().map_err(io_error("syncing", &path)));
        match written {
            Ok(took) => self.metrics.synced(took),
            Err(error) => {
                self.metrics.failures += 1;
                if let (Ok(bytes), Some(segment)) =
                    (current.file.len(), self.shared.known_mut().segments.last_mut())
                {
                    segment.bytes = bytes;
                }
                return Err(error);
            }
        }
        self.commit(items, &places, now);
        Ok(())
    }

    /// A new segment that begins with this append. It gets its name when all of it is durable, so a segment
    /// is never without a record that counts.
    fn start_segment(&mut self, items: &[&Item<'_>], now: Timestamp) -> Result<(), LogError> {
        let sequence = self.next;
        // A name is never given twice, whatever became of the file.
        self.next += 1;
        let before =
            self.shared.known().segments.last().map(|newest| (newest.sequence, newest.end));
        let header = Header { sequence, made: now, before };
        self.buffer.clear();
        self.buffer.extend_from_slice(&header.encode());
        let places = encode(&mut self.buffer, sequence, (0, 0), items, now);
        let file = self.write_segment(sequence)?;
        let segment = Segment { sequence, made: now, last: now, end: 0, bytes: 0, given_up: false };
        let mut known = self.shared.known_mut();
        known.segments.push(segment);
        known.active = Some(Table::new(now));
        drop(known);
        self.current = Some(Current { file, sequence, made: now, at: 0, append: 0 });
        self.commit(items, &places, now);
        Ok(())
    }

    fn write_segment(&mut self, sequence: Sequence) -> Result<Box<dyn DiskFile>, LogError> {
        let path = self.shared.segment_path(sequence);
        let new = self.shared.folder.join(segment_file(sequence) + NEW);
        let disk = Arc::clone(&self.shared.disk);
        let written = (|| {
            let file = disk.create(&new)?;
            write_all(&*file, 0, &self.buffer).map_err(|(_, error)| error)?;
            let took = file.sync()?;
            disk.rename(&new, &path)?;
            disk.sync_folder(&self.shared.folder)?;
            Ok((file, took))
        })();
        match written {
            Ok((file, took)) => {
                self.metrics.synced(took);
                Ok(file)
            }
            Err(error) => {
                // What is left says nothing to anybody: the next segment names the one before that counts.
                disk.remove(&new).ok();
                disk.remove(&path).ok();
                Err(io_error("writing", path)(error))
            }
        }
    }

    /// What the buffer holds is durable.
    fn commit(&mut self, items: &[&Item<'_>], places: &[u32], now: Timestamp) {
        let Some(current) = &mut self.current else { return };
        current.at += self.buffer.len() as u64;
        current.append += 1;
        let mut known = self.shared.known_mut();
        if let Some(segment) = known.segments.last_mut() {
            (segment.end, segment.bytes) = (current.at, current.at);
            segment.last = segment.last.max(now);
        }
        for (item, place) in items.iter().zip(places) {
            known.note(item, *place);
        }
        if let Some(active) = &mut known.active {
            active.last = active.last.max(now);
        }
        drop(known);
        self.metrics.records += items.len() as u64;
        self.metrics.appends += 1;
        self.metrics.degraded = false;
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
    }

    /// Nothing is appended to the newest segment any more.
    fn seal(&mut self) {
        let Some(current) = self.current.take() else { return };
        let index = {
            let known = self.shared.known();
            known
                .active
                .as_ref()
                .map(|active| directory::encode(active, current.sequence, current.at))
        };
        // It is there before a reader needs it.
        if let Some(index) = index {
            self.shared.write_index(current.sequence, &index);
        }
        self.shared.known_mut().seal();
    }

    /// Remembers a heartbeat, if it is newer than the one that is known of its stream: until the process
    /// ends, or for ever when heads are saved after that. Says whether it is. One that is no heartbeat, or of
    /// a stream of which nothing was ever here, is not remembered.
    pub fn set_heartbeat(&mut self, stream: &StreamName, wire: &Wire) -> bool {
        let Some(beat) = Beat::of(wire) else { return false };
        let mut known = self.shared.known_mut();
        known.streams.get_mut(stream.as_str()).is_some_and(|stream| stream.beat(beat))
    }

    /// Writes down how far every stream is, and that the log ends here. The next open is quick.
    pub fn close(mut self) -> Result<(), LogError> {
        self.seal();
        self.shared.save_heads()
    }
}

/// What the log says about itself.
impl Log {
    /// A reader for other threads.
    pub fn reader(&self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    /// How far a stream is.
    pub fn head(&self, stream: &StreamName) -> Option<Head> {
        self.shared.known().streams.get(stream.as_str())?.head()
    }

    /// Every stream, in any order, and how far it is.
    pub fn heads(&self) -> impl Iterator<Item = (StreamName, Head)> {
        let known = self.shared.known();
        let heads =
            known.streams.iter().filter_map(|known| Some((known.name.clone(), known.head()?)));
        heads.collect::<Vec<_>>().into_iter()
    }

    /// Whether a number is here, durable and, as far as is known, not damaged.
    pub fn has(&self, stream: &StreamName, epoch: Epoch, i: u64) -> bool {
        self.shared.known().has(stream.as_str(), epoch, i)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// What it did since it was opened, and how it is.
    pub fn metrics(&self, now: Timestamp) -> LogMetrics {
        let known = self.shared.known();
        let active = known.active.as_ref().map_or(0, Table::memory_bytes);
        let segments = (known.segments.capacity() * size_of::<Segment>()) as u64;
        let age = known.segments.first().map_or(0, |oldest| now.millis_since(oldest.made));
        LogMetrics {
            bytes: known.bytes(),
            segments: known.segments.len() as u64,
            streams: known.streams.len() as u64,
            runs: known.streams.runs() as u64,
            memory_bytes: known.streams.memory_bytes() + active + segments,
            forgotten: known.streams.forgotten(),
            damage: self.shared.damage.load(Ordering::Relaxed),
            indexes_made: self.shared.indexes_made.load(Ordering::Relaxed),
            covers_ms: u64::try_from(age).unwrap_or(0),
            ..self.metrics
        }
    }
}

impl Known {
    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// An item stands at this place of the newest segment.
    fn note(&mut self, item: &Item<'_>, place: u32) {
        let Item { stream, epoch, i, keep } = *item;
        let Some(active) = &mut self.active else { return };
        let leaf = match keep {
            Keep::Record { leaf, .. } | Keep::Gone { leaf, .. } => leaf,
            Keep::Heartbeat { wire } => {
                active.add_beat(stream.as_str(), PlacedBeat { epoch, i, at: place });
                let stream = self.streams.get_mut(stream.as_str());
                if let (Some(stream), Some(beat)) = (stream, Beat::of(wire)) {
                    stream.beat(beat);
                }
                return;
            }
        };
        active.add(stream.as_str(), epoch, i, place);
        let Some(stream) = self.streams.touch(stream.as_str()) else { return };
        stream.is_active = true;
        stream.advance(epoch, i, Some(leaf));
        if let (0, Keep::Record { wire, .. }, Some(tip)) = (i, keep, &mut stream.tip)
            && tip.epoch == epoch
        {
            tip.genesis = Some(wire.compact());
        }
    }
}

/// Writes items behind what is in the buffer; says where each of them stands in the segment, if the buffer
/// begins at this place of it.
fn encode(
    buffer: &mut Vec<u8>,
    sequence: Sequence,
    (append, at): (u32, u64),
    items: &[&Item<'_>],
    now: Timestamp,
) -> Vec<u32> {
    let count = items.len() as u16;
    let mut places = Vec::with_capacity(items.len());
    for (index, item) in (0..count).zip(items) {
        places.push((at + buffer.len() as u64) as u32);
        encode_record(buffer, sequence, Position { append, index, count }, now, item);
    }
    places
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({})", self.shared.folder.display())
    }
}
