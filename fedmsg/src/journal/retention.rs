//! What a journal gives up, and how far back it goes.

use super::aside;
use super::error::{JournalError, io_error};
use super::scan::NO_LIMIT;
use super::segment::{Segment, limit};
use super::writer::Journal;
use crate::envelope::Epoch;
use crate::limits::NUMBER_MAX;
use crate::timestamp::Timestamp;

/// What one call gave up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Segments.
    pub segments: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Journal {
    /// Gives up whole segments, the oldest first, while there are more bytes than `keep_bytes`, or while all
    /// records of the oldest are older than `keep_ms`. The newest always stays.
    ///
    /// `held(epoch, last)` says whether a segment that ends with this number must stay, for a consumer that
    /// has not got so far; what is behind it stays as well. Also sets bytes aside again for last words, when
    /// they were used and there is room.
    pub fn trim(
        &mut self,
        now: Timestamp,
        held: impl FnMut(Epoch, u64) -> bool,
    ) -> Result<Trimmed, JournalError> {
        self.trim_to(self.settings.keep_bytes, now, held)
    }

    /// The same with fewer bytes than the settings say: a budget for the host does not allow more.
    pub fn trim_to(
        &mut self,
        keep_bytes: u64,
        now: Timestamp,
        mut held: impl FnMut(Epoch, u64) -> bool,
    ) -> Result<Trimmed, JournalError> {
        let keep_bytes = keep_bytes.min(self.settings.keep_bytes);
        let mut trimmed = Trimmed::default();
        while let [oldest, next, ..] = &self.segments[..] {
            let limit = limit(&self.segments, 0);
            let last = limit.min(NUMBER_MAX);
            if !self.is_due(keep_bytes, next, now) || held(oldest.name.epoch, last) {
                break;
            }
            let (name, bytes) = (oldest.name, oldest.bytes);
            let path = self.folder.join(name.file());
            match self.disk.remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io_error("removing", path)(error));
                }
                _ => {}
            }
            // The segment is gone already; an index without one says nothing.
            self.disk.remove(&self.folder.join(name.index_file())).ok();
            self.segments.remove(0);
            trimmed.segments += 1;
            trimmed.bytes += bytes;
            self.metrics.trimmed_bytes += bytes;
            if limit != NO_LIMIT {
                let records = (last + 1).saturating_sub(name.first);
                trimmed.records += records;
                self.metrics.trimmed_records += records;
            }
            // One after the other: a crash never leaves a hole between what is still there.
            self.disk.sync_folder(&self.folder).map_err(io_error("syncing", &self.folder))?;
        }
        self.follow_first();
        if !self.metrics.reserve {
            self.metrics.reserve = aside::build_reserve(&*self.disk, &self.folder);
        }
        Ok(trimmed)
    }

    /// Whether the oldest segment, which ended when the next one began, is one too many or too old.
    fn is_due(&self, keep_bytes: u64, next: &Segment, now: Timestamp) -> bool {
        let age = next.start.map_or(0, |start| now.millis_since(start.made));
        self.bytes() > keep_bytes || u64::try_from(age).unwrap_or(0) > self.settings.keep_ms
    }

    fn follow_first(&mut self) {
        let Some(state) = &mut self.state else { return };
        let mut names = self.segments.iter().map(|segment| segment.name);
        if let Some(name) = names.find(|name| name.epoch == state.epoch) {
            state.first = name.first;
        }
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes of the segments that hold something behind this place; of all where there is none.
    pub fn bytes_after(&self, after: Option<(Epoch, u64)>) -> u64 {
        let behind = |at: &usize| {
            let last = match limit(&self.segments, *at) {
                NO_LIMIT => self.end.map_or(NO_LIMIT, |end| end.1),
                limit => limit,
            };
            Some((self.segments[*at].name.epoch, last)) > after
        };
        (0..self.segments.len()).filter(behind).map(|at| self.segments[at].bytes).sum()
    }

    /// How far back the journal goes, in milliseconds.
    pub fn covers_ms(&self, now: Timestamp) -> u64 {
        let oldest = self.segments.iter().find_map(|segment| segment.start);
        oldest.map_or(0, |start| u64::try_from(now.millis_since(start.made)).unwrap_or(0))
    }
}
