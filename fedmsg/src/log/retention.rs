//! What a log gives up.

use std::io;

use super::error::{LogError, io_error};
use super::format::Sequence;
use super::shared::Known;
use super::writer::Log;
use crate::limits::LOG_RUNS_MAX;
use crate::timestamp::Timestamp;

/// What one call gave up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Log {
    /// Gives up whole segments, the oldest first, while there are more bytes than `keep_bytes`, or while all
    /// records of the oldest are older than `keep_ms`, or while streams are in more segments than fits into
    /// memory. The newest always stays.
    ///
    /// Of a stream of which nothing is left, it stays known how far it was. That is on disk before a segment
    /// is given up, so this writes the heads of all streams now and then.
    pub fn retain(&mut self, now: Timestamp) -> Result<Trimmed, LogError> {
        let mut trimmed = Trimmed::default();
        loop {
            let due = self.due(&self.shared.known(), now);
            let Some((sequence, bytes)) = due else { return Ok(trimmed) };
            if sequence > self.shared.covered() {
                self.reader().complete_tips();
                self.shared.save_heads()?;
            }
            self.give_up(sequence)?;
            trimmed.segments += 1;
            trimmed.bytes += bytes;
            self.metrics.trimmed_segments += 1;
            self.metrics.trimmed_bytes += bytes;
        }
    }

    /// The oldest segment, if it is one too many or too old.
    fn due(&self, known: &Known, now: Timestamp) -> Option<(Sequence, u64)> {
        let [oldest, _, ..] = &known.segments[..] else { return None };
        let age = u64::try_from(now.millis_since(oldest.last)).unwrap_or(0);
        let is_due = oldest.given_up
            || known.bytes() > self.settings.keep_bytes
            || age > self.settings.keep_ms
            || known.streams.runs() > LOG_RUNS_MAX;
        is_due.then_some((oldest.sequence, oldest.bytes))
    }

    fn give_up(&mut self, sequence: Sequence) -> Result<(), LogError> {
        let mut known = self.shared.known_mut();
        // Readers are told first, so that nobody looks for a file that is gone.
        known.streams.drop_segment(sequence);
        if let Some(oldest) = known.segments.first_mut() {
            oldest.given_up = true;
        }
        drop(known);
        let path = self.shared.segment_path(sequence);
        match self.shared.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("removing", path)(error));
            }
            _ => {}
        }
        // Its bytes are free when nobody has it open any more.
        self.shared.close(sequence);
        // The segment is gone already; an index without one says nothing.
        self.shared.disk.remove(&self.shared.index_path(sequence)).ok();
        self.shared.known_mut().segments.retain(|segment| segment.sequence != sequence);
        let folder = &self.shared.folder;
        // One after the other: a crash never leaves a hole between what is still there.
        self.shared.disk.sync_folder(folder).map_err(io_error("syncing", folder))
    }
}
