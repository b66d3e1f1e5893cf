//! What the log of a relay has, at a glance: lengths and headers. Changes nothing, and can run beside its writer.

use std::path::Path;
use std::sync::Arc;

use super::error::{LogError, io_error};
use super::format::{HEADER_BYTES, Header, parse_segment_file, segment_file};
use crate::journal::{Access, Disk, read_full};
use crate::timestamp::Timestamp;

/// A log at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// How many segments there are.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest segment was begun; nothing when there is none, or its header cannot be read.
    pub oldest: Option<Timestamp>,
}

/// Looks at a log. A segment that is given up meanwhile is not counted.
pub fn survey(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Survey, LogError> {
    let files = disk.list(folder).map_err(io_error("listing", folder))?;
    let mut sequences: Vec<_> = files.iter().filter_map(|file| parse_segment_file(file)).collect();
    sequences.sort_unstable();
    let mut survey = Survey::default();
    for sequence in sequences {
        let path = folder.join(segment_file(sequence));
        let read = || {
            let file = disk.open(&path, Access::Read)?;
            let mut bytes = [0; HEADER_BYTES];
            let read = read_full(&*file, 0, &mut bytes)?;
            std::io::Result::Ok((file.len()?, Header::decode(&bytes[..read]).ok()))
        };
        let (bytes, header) = match read() {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error("reading", path)(error)),
        };
        if survey.segments == 0 {
            survey.oldest = header.map(|header| header.made);
        }
        survey.segments += 1;
        survey.bytes += bytes;
    }
    Ok(survey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryDisk;

    #[test]
    fn lengths_and_the_oldest_header_are_read_and_nothing_else() {
        let (memory, folder) = (MemoryDisk::new(), Path::new("/relay"));
        let at = |sequence| folder.join(segment_file(sequence));
        let header = |sequence, made| {
            let made = Timestamp::from_millis(made);
            [Header { sequence, made, before: None }.encode(), vec![0xff; 10]].concat()
        };
        memory.set_content(&at(7), header(7, 1_000));
        memory.set_content(&at(8), header(8, 2_000));
        memory.set_content(&folder.join("heads"), vec![1; 1_000]);
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let seen = survey(&disk, folder).expect("seen");
        let bytes = 2 * (HEADER_BYTES as u64 + 10);
        let oldest = Some(Timestamp::from_millis(1_000));
        assert_eq!(seen, Survey { segments: 2, bytes, oldest });
        memory.set_content(&at(7), vec![0; 20]);
        assert_eq!(survey(&disk, folder).expect("seen").oldest, None, "a bad header says nothing");
        memory.set_content(&folder.join("heads.new"), vec![1; 10]);
        assert_eq!(survey(&disk, folder).expect("seen").segments, 2);
    }
}
