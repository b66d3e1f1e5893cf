//! What a journal has, at a glance: headers, lengths, and the newest segment. Everything else is believed;
//! [`check`](super::check()) reads it.

use std::path::Path;
use std::sync::Arc;

use super::aside;
use super::disk::Disk;
use super::error::{JournalError, io_error};
use super::record::{Damage, Range};
use super::scan::{NO_LIMIT, Scan};
use super::segment::{Segment, is_gone, limit, load, names_beside_writer};
use crate::timestamp::Timestamp;

/// A journal at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// The stream, as the newest readable header has it.
    pub stream: Option<String>,
    /// What there is of each epoch, oldest first.
    pub ranges: Vec<Range>,
    /// How many segments there are.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest segment was begun.
    pub oldest: Option<Timestamp>,
    /// When the last record was appended.
    pub newest: Option<Timestamp>,
    /// Numbers of the newest segment that cannot be read; older ones are not looked into.
    pub damage: Vec<Damage>,
    /// Segments whose header cannot be read.
    pub unreadable_headers: u64,
    /// Whether bytes are set aside for the last words of a publisher on a full disk.
    pub reserve: bool,
}

/// Looks at a journal without reading all of it: its headers and its newest segment. Changes nothing, and can
/// run beside the writer.
pub fn survey(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Survey, JournalError> {
    let mut survey = Survey::default();
    let mut segments: Vec<Segment> = Vec::new();
    for name in names_beside_writer(&**disk, folder, None)? {
        match load(&**disk, folder, name) {
            Ok(loaded) => {
                survey.stream = loaded.header.map(|header| header.stream).or(survey.stream);
                segments.push(loaded.segment);
            }
            // It was trimmed since it was listed, and so was everything before it.
            Err(error) if is_gone(&error) => segments.clear(),
            Err(error) => return Err(error),
        }
    }
    survey.reserve = aside::has_reserve(&**disk, folder);
    survey.segments = segments.len() as u64;
    survey.bytes = segments.iter().map(|segment| segment.bytes).sum();
    survey.oldest = segments.iter().find_map(|segment| segment.start).map(|start| start.made);
    let unreadable = segments.iter().filter(|segment| segment.start.is_none());
    survey.unreadable_headers = unreadable.count() as u64;
    for (at, segment) in segments.iter().enumerate() {
        let last = match limit(&segments, at) {
            NO_LIMIT => survey.scan(&**disk, folder, segment)?,
            limit => Some(limit),
        };
        survey.range(segment, last);
    }
    Ok(survey)
}

impl Survey {
    /// Reads a segment whose end nothing else tells; gives its last number.
    fn scan(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        segment: &Segment,
    ) -> Result<Option<u64>, JournalError> {
        let (name, path) = (segment.name, folder.join(segment.name.file()));
        let file = load(disk, folder, name)?.file;
        let mut scan = Scan::new(name.epoch, name.first, segment.records_at());
        scan.run(&*file, segment.bytes, NO_LIMIT).map_err(io_error("reading", &path))?;
        self.newest = scan.last.map(|last| last.place.time).or(self.newest);
        let lost = scan.holes.iter();
        self.damage.extend(lost.map(|(from, to)| Damage {
            epoch: name.epoch,
            from: *from,
            to: *to,
            path: path.clone(),
        }));
        Ok(scan.next.checked_sub(1))
    }

    fn range(&mut self, segment: &Segment, last: Option<u64>) {
        let name = segment.name;
        let Some(last) = last.filter(|last| *last >= name.first) else { return };
        match self.ranges.last_mut().filter(|range| range.epoch == name.epoch) {
            Some(range) => range.last = last,
            None => self.ranges.push(Range { epoch: name.epoch, first: name.first, last }),
        }
    }
}
