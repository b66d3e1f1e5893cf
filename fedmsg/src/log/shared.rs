//! What the writer and the readers of a log share: what is there, and the files that are open for reading.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::directory::{self, Held, Outline};
use super::error::LogError;
use super::format::{HEADER_BYTES, Sequence, index_file, segment_file};
use super::heads::Heads;
use super::scan::{Scanned, Until, scan};
use super::streams::{Streams, next_of, run_of};
use super::table::Table;
use crate::envelope::Epoch;
use crate::journal::{Access, Disk, DiskFile, write_all};
use crate::limits::LOG_OPEN_SEGMENTS_MAX;
use crate::timestamp::Timestamp;

/// One log, as all of this process have it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    known: RwLock<Known>,
    /// Most recently used last.
    open: Mutex<Vec<(Sequence, Arc<OpenSegment>)>>,
    /// One at a time makes an index again.
    mending: Mutex<()>,
    /// Everything in segments up to this one is in the heads on disk. One at a time writes them.
    covered: Mutex<Sequence>,
    pub(super) damage: AtomicU64,
    pub(super) indexes_made: AtomicU64,
}

/// What is there and durable.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) streams: Streams,
    /// Oldest first.
    pub(super) segments: Vec<Segment>,
    /// The places of the newest one, while it is being written.
    pub(super) active: Option<Table>,
}

/// A segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) sequence: Sequence,
    pub(super) made: Timestamp,
    /// When its last record was appended.
    pub(super) last: Timestamp,
    /// Where what counts ends.
    pub(super) end: u64,
    /// How long the file is.
    pub(super) bytes: u64,
    /// It is given up, and its file is still there because it could not be removed.
    pub(super) given_up: bool,
}

/// A segment that is open for reading.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) file: Box<dyn DiskFile>,
    index: Mutex<Option<Arc<Index>>>,
}

/// An index that is open for reading.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) outline: Outline,
    pub(super) file: Box<dyn DiskFile>,
}

/// An index that could not be written is kept in memory, as long as its segment is open.
#[derive(Debug)]
struct InMemory(Vec<u8>);

impl DiskFile for InMemory {
    fn read_at(&self, at: u64, to: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(self.0.len());
        let length = to.len().min(self.0.len() - from);
        to[..length].copy_from_slice(&self.0[from..from + length]);
        Ok(length)
    }

    fn write_at(&self, _at: u64, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<std::time::Duration> {
        Ok(std::time::Duration::ZERO)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

impl Known {
    /// Where the active segment is, when there is one.
    pub(super) fn active_sequence(&self) -> Option<Sequence> {
        self.active.as_ref().and(self.segments.last()).map(|segment| segment.sequence)
    }

    /// The newest segment that is not written any more; 0 when there is none.
    pub(super) fn newest_sealed(&self) -> Sequence {
        let active = usize::from(self.active.is_some());
        self.segments.iter().rev().nth(active).map_or(0, |segment| segment.sequence)
    }

    pub(super) fn segment(&self, sequence: Sequence) -> Option<&Segment> {
        let at = self.segments.binary_search_by_key(&sequence, |segment| segment.sequence);
        at.ok().map(|at| &self.segments[at])
    }

    /// Whether a number is there.
    pub(super) fn has(&self, stream: &str, epoch: Epoch, i: u64) -> bool {
        let active = self.active.as_ref().and_then(|active| active.run(stream, epoch, i));
        let sealed = || run_of(self.streams.get(stream)?.of_epoch(epoch), i);
        active.is_some() || sealed().is_some()
    }

    /// The first number of an epoch that is there, from this one on.
    pub(super) fn next(&self, stream: &str, epoch: Epoch, i: u64) -> Option<u64> {
        let sealed = self.streams.get(stream).and_then(|known| next_of(known.of_epoch(epoch), i));
        let active = self.active.as_ref().map_or(&[][..], |active| active.of_epoch(stream, epoch));
        let active = active.iter().find(|run| i < run.end()).map(|run| run.first.max(i));
        [sealed, active].into_iter().flatten().min()
    }

    /// The last number of an epoch that is there; of the newest one, the last that ever was.
    pub(super) fn last(&self, stream: &str, epoch: Epoch) -> Option<u64> {
        let known = self.streams.get(stream);
        let tip = known.and_then(|known| known.tip.as_ref()).filter(|tip| tip.epoch == epoch);
        if let Some(tip) = tip {
            return Some(tip.last);
        }
        let sealed = known.map_or(&[][..], |known| known.of_epoch(epoch));
        let sealed = sealed.iter().map(|run| run.end() - 1).max();
        let active = self.active.as_ref().map_or(&[][..], |active| active.of_epoch(stream, epoch));
        sealed.max(active.last().map(|run| run.end() - 1))
    }

    /// The epochs of which something is there, oldest first.
    pub(super) fn epochs(&self, stream: &str) -> Vec<Epoch> {
        let sealed = self.streams.get(stream).map_or(&[][..], |known| &known.epochs);
        let places = self.active.as_ref().and_then(|active| active.streams.get(stream));
        let active = places.map_or(&[][..], |places| &places.runs);
        let sealed = sealed.iter().map(|epoch| epoch.epoch);
        let mut epochs: Vec<_> = sealed.chain(active.iter().map(|run| run.epoch)).collect();
        epochs.sort_unstable();
        epochs.dedup();
        epochs
    }

    /// The active segment is sealed: where its numbers are is in its index from now on.
    pub(super) fn seal(&mut self) {
        let (Some(table), Some(segment)) = (self.active.take(), self.segments.last_mut()) else {
            return;
        };
        segment.last = table.last;
        let sequence = segment.sequence;
        for (stream, places) in &table.streams {
            for run in &places.runs {
                let (epoch, first) = (run.epoch, run.first);
                let count = run.offsets.len() as u32;
                self.streams.add(stream, Held::Run { epoch, first, count }, sequence);
            }
            if let Some(stream) = self.streams.get_mut(stream) {
                stream.is_active = false;
            }
        }
    }
}

impl Shared {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: &Path) -> Shared {
        Shared {
            disk,
            folder: folder.into(),
            known: RwLock::default(),
            open: Mutex::default(),
            mending: Mutex::default(),
            covered: Mutex::default(),
            damage: AtomicU64::new(0),
            indexes_made: AtomicU64::new(0),
        }
    }

    pub(super) fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn segment_path(&self, sequence: Sequence) -> PathBuf {
        self.folder.join(segment_file(sequence))
    }

    pub(super) fn index_path(&self, sequence: Sequence) -> PathBuf {
        self.folder.join(index_file(sequence))
    }

    /// A segment for reading. Of too many, the one that was used longest ago is closed.
    pub(super) fn open(&self, sequence: Sequence) -> io::Result<Arc<OpenSegment>> {
        let mut open = lock(&self.open);
        if let Some(at) = open.iter().position(|(known, _)| *known == sequence) {
            let found = open.remove(at);
            let segment = Arc::clone(&found.1);
            open.push(found);
            return Ok(segment);
        }
        // With the lock held: a file that is given up is closed once it is gone, and not opened behind that.
        let file = self.disk.open(&self.segment_path(sequence), Access::Read)?;
        let segment = Arc::new(OpenSegment { file, index: Mutex::new(None) });
        if open.len() >= LOG_OPEN_SEGMENTS_MAX {
            open.remove(0);
        }
        open.push((sequence, Arc::clone(&segment)));
        Ok(segment)
    }

    /// A segment is not read any more.
    pub(super) fn close(&self, sequence: Sequence) {
        lock(&self.open).retain(|(known, _)| *known != sequence);
    }

    /// The index of a sealed segment; nothing when it is missing or does not fit.
    pub(super) fn index(
        &self,
        sequence: Sequence,
        open: &OpenSegment,
    ) -> io::Result<Option<Arc<Index>>> {
        let mut index = lock(&open.index);
        if let Some(index) = &*index {
            return Ok(Some(Arc::clone(index)));
        }
        let file = match self.disk.open(&self.index_path(sequence), Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let end = self.known().segment(sequence).map(|segment| segment.end);
        let outline = Outline::read(&*file)?
            .filter(|outline| outline.sequence == sequence && Some(outline.end) == end);
        *index = outline.map(|outline| Arc::new(Index { outline, file }));
        Ok(index.clone())
    }

    /// Reads a sealed segment from start to end, because its index is missing, or something is not where the
    /// index says: makes the index again, and what is damaged is not there any more.
    pub(super) fn mend(&self, sequence: Sequence) -> io::Result<()> {
        let _alone = lock(&self.mending);
        let Some(segment) = self.known().segment(sequence).copied() else { return Ok(()) };
        let open = self.open(sequence)?;
        let until = Until::Acknowledged(segment.end);
        let scanned = scan(&*open.file, sequence, segment.made, until)?;
        self.tell_damage(sequence, &scanned);
        let bytes = directory::encode(&scanned.table, sequence, segment.end);
        let mut known = self.known_mut();
        // It may have been given up while it was read.
        if known.segment(sequence).is_none_or(|segment| segment.given_up) {
            return Ok(());
        }
        known.streams.drop_segment(sequence);
        let outline = directory::decode(&bytes, sequence, |stream, held| {
            known.streams.add(stream, held, sequence);
        });
        drop(known);
        self.indexes_made.fetch_add(1, Ordering::Relaxed);
        self.write_index(sequence, &bytes);
        if let Some(outline) = outline {
            let file = Box::new(InMemory(bytes));
            *lock(&open.index) = Some(Arc::new(Index { outline, file }));
        }
        Ok(())
    }

    /// Says what was found to be damaged.
    pub(super) fn tell_damage(&self, sequence: Sequence, scanned: &Scanned) {
        let path = self.segment_path(sequence);
        for (from, to) in &scanned.damage {
            tracing::error!(path = %path.display(), from, to, "these bytes of a segment are damaged");
        }
        self.damage.fetch_add(scanned.damaged, Ordering::Relaxed);
    }

    /// Writes an index. A failure costs the next reader some time, no more.
    pub(super) fn write_index(&self, sequence: Sequence, bytes: &[u8]) {
        let path = self.index_path(sequence);
        let write = || {
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = self.disk.create(&path)?;
            write_all(&*file, 0, bytes).map_err(|(_, error)| error)
        };
        if let Err(error) = write() {
            tracing::debug!(path = %path.display(), %error, "writing the index of a segment");
        }
    }

    /// Writes down how far every stream is.
    pub(super) fn save_heads(&self) -> Result<(), LogError> {
        let mut covered = lock(&self.covered);
        let heads = {
            let known = self.known();
            Heads::of(&known.streams, known.newest_sealed())
        };
        heads.write(&*self.disk, &self.folder)?;
        *covered = heads.covers;
        Ok(())
    }

    /// The newest segment of which the heads on disk know everything.
    pub(super) fn covered(&self) -> Sequence {
        *lock(&self.covered)
    }

    /// The heads on disk were read.
    pub(super) fn set_covered(&self, covers: Sequence) {
        *lock(&self.covered) = covers;
    }

    /// Where what can be read of a segment ends, for whoever reads at a place that is known.
    pub(super) fn end_of(&self, sequence: Sequence) -> u64 {
        self.known().segment(sequence).map_or(HEADER_BYTES as u64, |segment| segment.end)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
