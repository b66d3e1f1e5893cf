//! A part of a segment in memory, which moves along.

use std::io;

use super::format::{FRAME_BYTES, MARKER, Raw, Sequence, decode_record, record_len};
use crate::journal::{DiskFile, read_full};

/// Reads records of a segment at given places, or one behind the other.
#[derive(Debug)]
pub(super) struct Window<'f> {
    file: &'f dyn DiskFile,
    sequence: Sequence,
    /// Nothing from here on is looked at.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
    /// So much is read at once, if there is so much.
    step: usize,
}

impl<'f> Window<'f> {
    /// A window on what is before `end`, which reads so many bytes at once.
    pub(super) fn new(
        file: &'f dyn DiskFile,
        sequence: Sequence,
        end: u64,
        step: usize,
    ) -> Window<'f> {
        Window { file, sequence, end, start: 0, bytes: Vec::new(), step }
    }

    /// From now on so many bytes are read at once.
    pub(super) fn set_step(&mut self, step: usize) {
        self.step = step;
    }

    /// The good record at this place, and where it ends.
    pub(super) fn record(&mut self, at: u64) -> io::Result<Option<(Raw<'_>, u64)>> {
        let frame = self.get(at, FRAME_BYTES)?;
        if frame.len() < FRAME_BYTES {
            return Ok(None);
        }
        let Some(length) = record_len(frame) else { return Ok(None) };
        let sequence = self.sequence;
        let bytes = self.get(at, length)?;
        if bytes.len() < length {
            return Ok(None);
        }
        Ok(decode_record(sequence, bytes).map(|raw| (raw, at + length as u64)))
    }

    /// Where the next record may begin, at this place or behind it.
    pub(super) fn marker(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        loop {
            let step = self.step;
            let bytes = self.get(at, step)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(found) = bytes.iter().position(|byte| *byte == MARKER[0]) {
                return Ok(Some(at + found as u64));
            }
            at += bytes.len() as u64;
        }
    }

    /// So many bytes from this place on, or fewer at the end.
    fn get(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let inside = at >= self.start && at + length as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            self.bytes.resize(length.max(self.step.min(left)), 0);
            self.start = at;
            let read = match read_full(self.file, at, &mut self.bytes) {
                Ok(read) => read,
                Err(error) => {
                    self.bytes.clear();
                    return Err(error);
                }
            };
            self.bytes.truncate(read);
        }
        let from = (at - self.start) as usize;
        Ok(&self.bytes[from..(from + length).min(self.bytes.len())])
    }
}
