//! Taking records out of the segments that have them, and what is done when they are not where they should be.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::directory::Key;
use super::format::{Raw, Sequence};
use super::reader::LogReader;
use super::shared::OpenSegment;
use super::streams::run_of;
use super::window::Window;
use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::journal::{Body, Entry};

/// Records of one stream that lie at most so far from each other are read together.
const NEAR_BYTES: u32 = 16 << 10;
const NEAR_STEP_BYTES: usize = 64 << 10;
/// So much is read at once where the next record is far.
const FAR_STEP_BYTES: usize = 4 << 10;

/// What is read so far.
pub(super) struct Taken {
    pub(super) entries: Vec<Entry>,
    pub(super) holes: Vec<(u64, u64)>,
    /// The number that comes next.
    pub(super) next: u64,
    records_left: usize,
    bytes_left: usize,
    /// The next record did not fit.
    pub(super) full: bool,
}

impl Taken {
    pub(super) fn new(from: u64, records: usize, bytes: usize) -> Taken {
        let (entries, holes) = (Vec::new(), Vec::new());
        Taken { entries, holes, next: from, records_left: records, bytes_left: bytes, full: false }
    }

    fn take(&mut self, entry: Entry) {
        let bytes = match &entry.body {
            Body::Record(wire) => wire.len(),
            Body::Gone { reason, .. } => 32 + reason.len(),
        };
        if bytes > self.bytes_left && !self.entries.is_empty() {
            self.full = true;
            return;
        }
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.records_left -= 1;
        self.next = entry.i + 1;
        self.entries.push(entry);
        self.full = self.records_left == 0;
    }
}

/// Numbers of one segment that follow each other, and where the first ones of them are.
struct Piece {
    segment: Sequence,
    places: Vec<u32>,
}

/// How much is to be read at once for the first of these places.
fn step(places: &[u32]) -> usize {
    let [place, next, .., last] = places else { return FAR_STEP_BYTES };
    match next.abs_diff(*place) <= NEAR_BYTES {
        true => NEAR_STEP_BYTES.min(last.abs_diff(*place) as usize + FAR_STEP_BYTES),
        false => FAR_STEP_BYTES,
    }
}

impl LogReader {
    /// Takes records from `taken.next` up to `to` that are in one segment. Says whether everything was as it
    /// was known to be; if not, what is known was set right, and it is to be tried again.
    pub(super) fn take(
        &self,
        stream: &StreamName,
        epoch: Epoch,
        to: u64,
        taken: &mut Taken,
    ) -> io::Result<bool> {
        let most = usize::try_from(to - taken.next + 1).unwrap_or(usize::MAX);
        let most = most.min(taken.records_left);
        let found = match self.opened_piece(stream, epoch, taken.next, most) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.gone(stream, epoch, taken.next);
            }
            found => found?,
        };
        let Some((open, piece)) = found else { return Ok(false) };
        let end = self.shared.end_of(piece.segment);
        let mut window = Window::new(&*open.file, piece.segment, end, FAR_STEP_BYTES);
        for (at, place) in piece.places.iter().enumerate() {
            window.set_step(step(&piece.places[at..]));
            let i = taken.next;
            let is_it =
                |raw: &Raw<'_>| (raw.stream, raw.epoch, raw.i) == (stream.as_str(), epoch, i);
            let record = window.record(u64::from(*place))?.map(|(raw, _)| raw).filter(is_it);
            let Some((time, body)) = record.and_then(|raw| Some((raw.time, raw.body()?))) else {
                self.wrong(stream, epoch, i, piece.segment)?;
                return Ok(false);
            };
            taken.take(Entry { i, time, body });
            if taken.full {
                break;
            }
        }
        Ok(true)
    }

    /// Where numbers from this one on are, and the segment that they are in.
    fn opened_piece(
        &self,
        stream: &StreamName,
        epoch: Epoch,
        i: u64,
        most: usize,
    ) -> io::Result<Option<(Arc<OpenSegment>, Piece)>> {
        let Some(piece) = self.piece(stream, epoch, i, most)? else { return Ok(None) };
        Ok(Some((self.shared.open(piece.segment)?, piece)))
    }

    /// Where numbers from this one on are in one segment.
    fn piece(
        &self,
        stream: &StreamName,
        epoch: Epoch,
        i: u64,
        most: usize,
    ) -> io::Result<Option<Piece>> {
        let segment = {
            let known = self.shared.known();
            let active =
                known.active.as_ref().and_then(|table| table.run(stream.as_str(), epoch, i));
            if let (Some(run), Some(segment)) = (active, known.active_sequence()) {
                let from = (i - run.first) as usize;
                let to = run.offsets.len().min(from.saturating_add(most));
                return Ok(Some(Piece { segment, places: run.offsets[from..to].to_vec() }));
            }
            let runs = known.streams.get(stream.as_str()).map(|known| known.of_epoch(epoch));
            match runs.and_then(|runs| run_of(runs, i)) {
                Some(run) => run.segment,
                None => return Ok(None),
            }
        };
        let open = self.shared.open(segment)?;
        let key = Key::of(stream.as_str());
        if let Some(index) = self.shared.index(segment, &open)?
            && let Some(places) = index.outline.places(&*index.file, key, epoch, i, most)?
        {
            return Ok(Some(Piece { segment, places }));
        }
        self.shared.mend(segment)?;
        Ok(None)
    }

    /// A record is not where it was known to be.
    fn wrong(
        &self,
        stream: &StreamName,
        epoch: Epoch,
        i: u64,
        segment: Sequence,
    ) -> io::Result<()> {
        let mut known = self.shared.known_mut();
        if known.active_sequence() == Some(segment) {
            if let Some(table) = &mut known.active {
                table.remove(stream.as_str(), epoch, i);
            }
            drop(known);
            self.shared.damage.fetch_add(1, Ordering::Relaxed);
            let path = self.shared.segment_path(segment);
            tracing::error!(path = %path.display(), %stream, %epoch, i, "a record is damaged");
            return Ok(());
        }
        drop(known);
        tracing::warn!(segment, %stream, %epoch, i, "a record is not where the index says");
        self.shared.mend(segment)
    }

    /// A file is not there: fine when its segment was given up meanwhile, and an error when it was not.
    fn gone(&self, stream: &StreamName, epoch: Epoch, i: u64) -> io::Result<bool> {
        match self.shared.known().has(stream.as_str(), epoch, i) {
            true => Err(io::ErrorKind::NotFound.into()),
            false => Ok(false),
        }
    }
}
