//! The segments of a folder, in the order of the stream, and where each one ends.

use std::path::Path;

use super::disk::{Access, Disk, DiskFile, read_full};
use super::error::{JournalError, io_error};
use super::format::{HEADER_FRAME_BYTES, Header, HeaderFault, SegmentName};
use super::scan::NO_LIMIT;
use crate::envelope::Epoch;
use crate::limits::{JOURNAL_HEADER_BYTES_MAX, JOURNAL_SEGMENTS_MAX};
use crate::timestamp::Timestamp;

/// A segment, as far as its name and header tell.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    /// Nothing when the header is damaged. Its records can be found all the same.
    pub(super) start: Option<Start>,
    pub(super) bytes: u64,
}

/// What of a header is kept in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// Where the records begin.
    pub(super) at: u64,
    pub(super) before: Option<(Epoch, u64)>,
    pub(super) made: Timestamp,
}

impl Segment {
    /// Where records can be looked for.
    pub(super) fn records_at(&self) -> u64 {
        self.start.map_or(0, |start| start.at)
    }
}

/// A segment that was opened for reading.
pub(super) struct Loaded {
    pub(super) segment: Segment,
    pub(super) file: Box<dyn DiskFile>,
    /// Nothing when it cannot be read.
    pub(super) header: Option<Header>,
}

/// The names of the segments of a folder, oldest first, and of what a crash left behind.
pub(super) fn names(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<(Vec<SegmentName>, Vec<String>), JournalError> {
    let files = disk.list(folder).map_err(io_error("listing", folder))?;
    let mut names: Vec<_> = files.iter().filter_map(|file| SegmentName::parse(file)).collect();
    if names.len() > JOURNAL_SEGMENTS_MAX {
        return Err(JournalError::TooManySegments { path: folder.into(), count: names.len() });
    }
    names.sort_unstable();
    let left = files.into_iter().filter(|file| file.ends_with(super::format::NEW));
    Ok((names, left.collect()))
}

/// The names of the segments, oldest first, for somebody beside the writer; `known` is the newest that was
/// there before.
///
/// A listing may have a file that was made while it was read, and lack one that was made a little before. A
/// second one has all that are not newer than what the first one saw.
pub(super) fn names_beside_writer(
    disk: &dyn Disk,
    folder: &Path,
    known: Option<SegmentName>,
) -> Result<Vec<SegmentName>, JournalError> {
    let (listed, _) = names(disk, folder)?;
    let Some(newest) = listed.last().copied().filter(|newest| Some(*newest) != known) else {
        return Ok(listed);
    };
    let (mut again, _) = names(disk, folder)?;
    again.retain(|name| *name <= newest);
    Ok(again)
}

/// Whether a file is not there any more: retention gave it up, and all that are older.
pub(super) fn is_gone(error: &JournalError) -> bool {
    matches!(error, JournalError::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound)
}

/// Opens a segment and reads its header, if that can be read.
pub(super) fn load(
    disk: &dyn Disk,
    folder: &Path,
    name: SegmentName,
) -> Result<Loaded, JournalError> {
    let path = folder.join(name.file());
    let file = disk.open(&path, Access::Read).map_err(io_error("opening", &path))?;
    let bytes = file.len().map_err(io_error("measuring", &path))?;
    let mut segment = Segment { name, start: None, bytes };
    let header = match read_header(&*file).map_err(io_error("reading", &path))? {
        Ok((header, at)) if header.name == name => {
            let (before, made) = (header.before, header.made);
            segment.start = Some(Start { at: at as u64, before, made });
            Some(header)
        }
        Err(HeaderFault::Version(version)) => return Err(JournalError::Version { path, version }),
        _ => None,
    };
    Ok(Loaded { segment, file, header })
}

fn read_header(file: &dyn DiskFile) -> std::io::Result<Result<(Header, usize), HeaderFault>> {
    // Nearly all headers are shorter than this, and most of their length is not known before.
    let mut bytes = vec![0; 4096];
    let read = read_full(file, 0, &mut bytes)?;
    bytes.truncate(read);
    if read < HEADER_FRAME_BYTES {
        return Ok(Err(HeaderFault::Damaged));
    }
    let length = u32::from_be_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]) as usize;
    if length > read && length <= JOURNAL_HEADER_BYTES_MAX {
        bytes.resize(length, 0);
        let more = read_full(file, read as u64, &mut bytes[read..])?;
        bytes.truncate(read + more);
    }
    Ok(Header::decode(&bytes))
}

/// The last number of a segment that counts, as those behind it say; [`NO_LIMIT`] when none says it.
///
/// A segment of the same epoch begins with the number behind the last one that was acknowledged before, and
/// the header of a new epoch's first segment names that one. So what a failed append left at the end of a
/// segment ends there, without a write to a file that has failed.
pub(super) fn limit(segments: &[Segment], at: usize) -> u64 {
    let epoch = segments[at].name.epoch;
    for behind in &segments[at + 1..] {
        if behind.name.epoch == epoch {
            return behind.name.first.saturating_sub(1);
        }
        let before = behind.start.and_then(|start| start.before);
        if let Some((_, last)) = before.filter(|(before, _)| *before == epoch) {
            return last;
        }
    }
    NO_LIMIT
}
