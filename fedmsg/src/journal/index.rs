//! The index of a sealed segment: places a step apart. It can be made again from the segment, so it is
//! neither synced nor believed when it does not fit.

use std::path::Path;

use super::disk::{Access, Disk, read_full, write_all};
use super::format::{Fields, SegmentName};
use super::scan::{Place, Scan};
use crate::limits::JOURNAL_INDEX_BYTES_MAX;
use crate::timestamp::Timestamp;

const MAGIC: [u8; 8] = *b"fmindex\x01";
const PLACE_BYTES: usize = 24;
const SUM_BYTES: usize = 4;

/// Writes the index of a segment without damage. A failure costs the next reader some time, no more.
pub(super) fn write(disk: &dyn Disk, folder: &Path, name: SegmentName, scan: &Scan) {
    let path = folder.join(name.index_file());
    let written = disk.create(&path).map_err(|error| (0, error));
    let written = written.and_then(|file| write_all(&*file, 0, &encode(name, scan)));
    if let Err((_, error)) = written {
        tracing::debug!(path = %path.display(), %error, "writing the index of a segment");
    }
}

/// The scan that the index stands for, when it fits the segment: same name, same last number, and not
/// longer than the segment is.
pub(super) fn read(
    disk: &dyn Disk,
    folder: &Path,
    name: SegmentName,
    last: u64,
    segment_bytes: u64,
) -> Option<Scan> {
    let file = disk.open(&folder.join(name.index_file()), Access::Read).ok()?;
    let length = usize::try_from(file.len().ok()?).ok()?;
    if length > JOURNAL_INDEX_BYTES_MAX {
        return None;
    }
    let mut bytes = vec![0; length];
    let read = read_full(&*file, 0, &mut bytes).ok()?;
    let scan = decode(name, &bytes[..read])?;
    (scan.next == last + 1 && scan.at <= segment_bytes).then_some(scan)
}

fn encode(name: SegmentName, scan: &Scan) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(name.epoch.uuid().as_bytes());
    for number in [name.first, scan.next, scan.at, scan.records] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    for place in &scan.places {
        out.extend_from_slice(&place.i.to_be_bytes());
        out.extend_from_slice(&place.at.to_be_bytes());
        out.extend_from_slice(&place.time.as_millis().to_be_bytes());
    }
    let sum = crc32c::crc32c(&out);
    out.extend_from_slice(&sum.to_be_bytes());
    out
}

fn decode(name: SegmentName, bytes: &[u8]) -> Option<Scan> {
    let (bytes, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_BYTES)?)?;
    if sum != crc32c::crc32c(bytes).to_be_bytes() {
        return None;
    }
    let mut fields = Fields(bytes.strip_prefix(&MAGIC)?);
    let epoch = fields.epoch()?;
    let first = fields.number::<8>()?;
    let mut scan = Scan::new(epoch, fields.number::<8>()?, fields.number::<8>()?);
    scan.records = fields.number::<8>()?;
    if (SegmentName { epoch, first }) != name || fields.0.len() % PLACE_BYTES != 0 {
        return None;
    }
    while !fields.0.is_empty() {
        let (i, at) = (fields.number::<8>()?, fields.number::<8>()?);
        let time = Timestamp::from_millis(fields.number::<8>()? as i64);
        scan.places.push(Place { i, at, time });
    }
    let rising = scan.places.is_sorted_by(|a, b| a.i < b.i && a.at < b.at);
    let begins = scan.places.first().is_some_and(|place| place.i == first);
    (rising && begins).then_some(scan)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::envelope::Epoch;

    #[test]
    fn an_index_is_read_as_it_was_written_or_not_at_all() {
        let epoch = Epoch::new(Uuid::from_u128(7));
        let name = SegmentName { epoch, first: 5 };
        let mut scan = Scan::new(epoch, 5, 100);
        for i in 5..50 {
            let at = 100 + (i - 5) * 40_000;
            scan.note(Place { i, at, time: Timestamp::from_millis(i as i64) }, at + 40_000);
        }
        let bytes = encode(name, &scan);
        let read = decode(name, &bytes).expect("an index");
        assert_eq!((read.next, read.at, &read.places), (50, scan.at, &scan.places));
        assert!(read.places.len() < 45, "a step apart");
        assert!(decode(SegmentName { epoch, first: 6 }, &bytes).is_none());
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(decode(name, &bad).is_none(), "byte {at}");
            assert!(decode(name, &bytes[..at]).is_none(), "cut at {at}");
        }
    }
}
