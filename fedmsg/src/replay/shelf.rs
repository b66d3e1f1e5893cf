//! The journals below a state folder.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::floors::{KeptFloors, kept};
use super::heads::Heads;
use super::heartbeat::load_heartbeat;
use crate::clock::Clock;
use crate::envelope::{Epoch, Wire};
use crate::frames::{Acknowledged, Completeness, Range, Spot, Word};
use crate::holder::{Absent, Floor, Part, Stand};
use crate::identity::StreamName;
use crate::journal::{Batch, Disk, JournalError, Mark, OsDisk, Reader};
use crate::limits::{HOLD_FOR_MAX, SHELF_READERS_MAX};
use crate::timestamp::Timestamp;

/// Says what time it is, in milliseconds.
type Now = Box<dyn Fn() -> u64 + Send + Sync>;

/// All journals of a state folder that this process may read. They are found by their names when somebody
/// asks for them; few are open at one time.
pub struct Shelf {
    disk: Arc<dyn Disk>,
    /// `STATE/streams`.
    folder: PathBuf,
    now: Now,
    live: Mutex<LiveStreams>,
    open: Mutex<Open>,
    heads: Mutex<Heads>,
}

#[derive(Default)]
struct LiveStreams {
    made: u64,
    streams: HashMap<StreamName, LiveStream>,
}

#[derive(Clone)]
struct LiveStream {
    /// How far named consumers are, as they said to this process.
    floors: BTreeMap<Word, Floor>,
    /// The same, and what they said before, for who wants to see it.
    kept: Arc<Mutex<KeptFloors>>,
    id: u64,
    mark: Mark,
    heartbeat: Arc<Mutex<Option<Wire>>>,
}

/// The readers that are open.
#[derive(Default)]
struct Open {
    readers: HashMap<StreamName, OpenReader>,
    used: u64,
}

struct OpenReader {
    reader: Reader,
    /// The live stream whose mark it follows.
    live: Option<u64>,
    used: u64,
}

/// A stream is written by this process, until this is dropped.
#[must_use = "the stream is live as long as this is kept"]
pub struct Live {
    shelf: Arc<Shelf>,
    stream: StreamName,
    id: u64,
}

impl Shelf {
    /// The journals below this state folder.
    pub fn new(state: &Path) -> Shelf {
        Shelf::on(Arc::new(OsDisk), state)
    }

    /// The same on another disk.
    pub fn on(disk: Arc<dyn Disk>, state: &Path) -> Shelf {
        let clock = Clock::start();
        Shelf::timed(disk, state, move || clock.millis())
    }

    /// The same with a clock that never goes back, in milliseconds.
    pub fn timed(
        disk: Arc<dyn Disk>,
        state: &Path,
        now: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Shelf {
        let folder = state.join("streams");
        Shelf {
            heads: Mutex::new(Heads::new(Arc::clone(&disk), folder.clone())),
            disk,
            folder,
            now: Box::new(now),
            live: Mutex::default(),
            open: Mutex::default(),
        }
    }

    /// Says that this process writes a stream, with the mark of its journal and the place where its newest
    /// heartbeat stands. The latest call for a stream counts.
    pub fn live(
        self: &Arc<Self>,
        stream: StreamName,
        mark: Mark,
        heartbeat: Arc<Mutex<Option<Wire>>>,
    ) -> Live {
        let (floors, slot) = (BTreeMap::new(), self.slot(&stream));
        let kept = KeptFloors::load(Arc::clone(&self.disk), slot);
        let kept = Arc::new(Mutex::new(kept));
        let mut live = lock(&self.live);
        live.made += 1;
        let id = live.made;
        live.streams.insert(stream.clone(), LiveStream { floors, kept, id, mark, heartbeat });
        Live { shelf: Arc::clone(self), stream, id }
    }

    /// A consumer says how far it is in a stream that this process writes. A floor never sinks.
    pub(crate) fn note_floor(&self, stream: &StreamName, consumer: &Word, floor: Floor) {
        let mut live = lock(&self.live);
        let Some(stream) = live.streams.get_mut(stream) else { return };
        let full = stream.floors.len() >= HOLD_FOR_MAX;
        match stream.floors.get_mut(consumer) {
            Some(known) => *known = floor.max(*known),
            None if full => {}
            None => {
                stream.floors.insert(consumer.clone(), floor);
            }
        }
        let kept = Arc::clone(&stream.kept);
        // The writer asks for floors, and does not wait for this disk.
        drop(live);
        lock(&kept).note(consumer, floor, Clock::wall(), (self.now)());
    }

    /// How far named consumers are with a stream, as they said to its publisher, also to one that is gone.
    pub fn floors(&self, stream: &StreamName) -> Vec<Acknowledged> {
        let now = Clock::wall();
        match self.live_stream(stream) {
            Some(live) => lock(&live.kept).told(now),
            None => kept(&*self.disk, &self.slot(stream), now),
        }
    }

    /// How far a consumer is in a stream that this process writes, as it said since then.
    pub(crate) fn floor(&self, stream: &StreamName, consumer: &str) -> Option<Floor> {
        let live = lock(&self.live);
        let floors = &live.streams.get(stream)?.floors;
        floors.iter().find(|(name, _)| name.as_str() == consumer).map(|(_, floor)| *floor)
    }

    /// How far a stream is.
    pub fn stand(&self, stream: &StreamName) -> Result<Stand, Absent> {
        let ranges = self.with(stream, |reader| reader.ranges())?;
        if ranges.is_empty() {
            return Err(self.miss(stream));
        }
        let heartbeat = match self.live_stream(stream) {
            Some(live) => lock(&live.heartbeat).clone(),
            None => load_heartbeat(&*self.disk, &self.slot(stream)),
        };
        let range = |range: &crate::journal::Range| Range {
            epoch: range.epoch,
            first: range.first,
            last: range.last,
        };
        let epochs = ranges.iter().map(range).collect();
        Ok(Stand { heartbeat, completeness: Completeness::Complete, epochs })
    }

    /// A part of a stream.
    pub fn read(
        &self,
        stream: &StreamName,
        part: Part,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, Absent> {
        let Part { epoch, from, to } = part;
        self.with(stream, |reader| reader.read(epoch, from, to, max_records, max_bytes))
    }

    /// The genesis record of an epoch.
    pub fn genesis(&self, stream: &StreamName, epoch: Epoch) -> Result<Option<Wire>, Absent> {
        self.with(stream, |reader| reader.genesis(epoch))
    }

    /// The first message at or after a time, or the number that the next one will have.
    pub fn find(&self, stream: &StreamName, time: Timestamp) -> Result<(Epoch, u64), Absent> {
        let found = self.with(stream, |reader| {
            // Looked at first: what is appended meanwhile is not passed over.
            let next = reader.ranges()?.last().map(|range| (range.epoch, range.last + 1));
            // The genesis record is no message.
            Ok(reader.find(time)?.map(|(epoch, i)| (epoch, i.max(1))).or(next))
        })?;
        found.ok_or_else(|| self.miss(stream))
    }

    /// Every stream with its newest epoch and last number. Those of other processes may be a little old.
    pub fn streams(&self) -> Vec<Spot> {
        let live = lock(&self.live).streams.clone();
        let mut all = lock(&self.heads).look(&self.now, |stream| {
            if live.contains_key(stream) {
                return None;
            }
            let ranges = self.with(stream, |reader| reader.ranges()).ok()?;
            Some(ranges.last().map(|range| (range.epoch, range.last)))
        });
        all.retain(|spot| !live.contains_key(&spot.stream));
        all.extend(live.into_iter().filter_map(|(stream, live)| {
            live.mark.get().map(|(epoch, i)| Spot { stream, epoch, i })
        }));
        // The same order each time, so that what follows from it can be repeated.
        all.sort_unstable_by(|a, b| a.stream.cmp(&b.stream));
        all
    }

    /// Whether every stream was looked at by the last [`streams`](Self::streams); the next one goes on.
    pub fn knows_all_streams(&self) -> bool {
        lock(&self.heads).knows_all()
    }

    /// The folder of a stream. A stream's name has no part that could lead elsewhere: its identity has no
    /// empty token and no slash, and its slot is a number or a UUID.
    fn slot(&self, stream: &StreamName) -> PathBuf {
        self.folder.join(stream.identity().as_str()).join(stream.slot().to_string())
    }

    fn live_stream(&self, stream: &StreamName) -> Option<LiveStream> {
        lock(&self.live).streams.get(stream).cloned()
    }

    /// Reads the journal of a stream.
    fn with<T>(
        &self,
        stream: &StreamName,
        read: impl FnOnce(&mut Reader) -> Result<T, JournalError>,
    ) -> Result<T, Absent> {
        let live = self.live_stream(stream);
        let mut open = lock(&self.open);
        let reader = open.reader(stream, live.as_ref().map(|live| live.id), || {
            let folder = self.slot(stream).join("journal");
            match &live {
                Some(live) => Reader::with_mark(Arc::clone(&self.disk), &folder, live.mark.clone()),
                None => Reader::new(Arc::clone(&self.disk), &folder),
            }
        });
        let read = read(reader);
        drop(open);
        read.map_err(|error| self.absent(stream, error))
    }

    fn absent(&self, stream: &StreamName, error: JournalError) -> Absent {
        match error {
            JournalError::Trimmed { first, .. } => Absent::Trimmed { first },
            JournalError::UnknownEpoch(_) => Absent::Epoch,
            JournalError::Io { ref error, .. } if is_nothing_for_us(error) => self.miss(stream),
            error => {
                tracing::warn!(%stream, %error, "reading a journal for somebody who asked");
                Absent::Unreadable("the journal".into())
            }
        }
    }

    /// There is no such stream now. That is not remembered: who asks believes it, and the stream may begin the
    /// next moment.
    fn miss(&self, stream: &StreamName) -> Absent {
        lock(&self.open).readers.remove(stream);
        Absent::Stream
    }
}

/// Whether there is no such file, or none that is this user's to read.
fn is_nothing_for_us(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

impl Open {
    /// The reader of a stream. Of too many, the one that was used longest ago is closed.
    fn reader(
        &mut self,
        stream: &StreamName,
        live: Option<u64>,
        make: impl FnOnce() -> Reader,
    ) -> &mut Reader {
        self.used += 1;
        let used = self.used;
        if self.readers.get(stream).is_some_and(|open| open.live != live) {
            self.readers.remove(stream);
        }
        if !self.readers.contains_key(stream) && self.readers.len() >= SHELF_READERS_MAX {
            let oldest = self.readers.iter().min_by_key(|(_, open)| open.used);
            let oldest = oldest.map(|(stream, _)| stream.clone());
            oldest.and_then(|oldest| self.readers.remove(&oldest));
        }
        let make = || OpenReader { reader: make(), live, used };
        let open = self.readers.entry(stream.clone()).or_insert_with(make);
        open.used = used;
        &mut open.reader
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut live = lock(&self.shelf.live);
        if live.streams.get(&self.stream).is_none_or(|known| known.id != self.id) {
            return;
        }
        let gone = live.streams.remove(&self.stream);
        drop(live);
        if let Some(gone) = gone {
            lock(&gone.kept).save(Clock::wall());
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Live({})", self.stream)
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shelf({})", self.folder.display())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
