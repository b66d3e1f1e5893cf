//! How far every stream is, with its genesis record and its newest heartbeat, in one small file: what
//! outlives the segments, and the process.

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::error::{LogError, io_error};
use super::format::{NEW, Sequence, push_short};
use super::item::Beat;
use super::streams::{Streams, Tip};
use crate::envelope::{Epoch, Wire};
use crate::identity::StreamName;
use crate::journal::{Access, Disk, DiskFile, Fields, read_full, write_all};
use crate::limits::{ENVELOPE_BYTES_MAX, LOG_STREAMS_MAX, NUMBER_MAX};
use crate::merkle::Leaf;

const FILE: &str = "heads";
const MAGIC: [u8; 8] = *b"fmheads\x01";
const SUM_BYTES: usize = 4;
/// So much is written or read at once, and a little more.
const STEP_BYTES: usize = 256 << 10;

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// Everything in segments up to this one is in it.
    pub(super) covers: Sequence,
    pub(super) streams: Vec<HeadRow>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeadRow {
    pub(super) name: StreamName,
    pub(super) tip: Tip,
    pub(super) heartbeat: Option<Wire>,
}

impl Heads {
    /// What is known now, without what is behind: the streams that were silent for longest come first.
    pub(super) fn of(streams: &Streams, covers: Sequence) -> Heads {
        let mut rows: Vec<_> = streams
            .iter()
            .filter_map(|stream| {
                let heartbeat = stream.beat.as_ref().map(|beat| beat.wire.clone());
                let row =
                    HeadRow { name: stream.name.clone(), tip: stream.tip.clone()?, heartbeat };
                Some((stream.turn(), row))
            })
            .collect();
        rows.sort_unstable_by_key(|(turn, _)| *turn);
        Heads { covers, streams: rows.into_iter().map(|(_, row)| row).collect() }
    }

    /// Puts this in the place of the file that is there. A crash leaves the old one or the new one.
    pub(super) fn write(&self, disk: &dyn Disk, folder: &Path) -> Result<(), LogError> {
        let (path, new) = (folder.join(FILE), folder.join(FILE.to_owned() + NEW));
        let write = || {
            match disk.remove(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = disk.create(&new)?;
            self.write_to(&*file)?;
            file.sync()?;
            disk.rename(&new, &path)?;
            disk.sync_folder(folder)
        };
        write().map_err(io_error("writing", &path))
    }

    fn write_to(&self, file: &dyn DiskFile) -> io::Result<()> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&u64::from(self.covers).to_be_bytes());
        out.extend_from_slice(&(self.streams.len() as u32).to_be_bytes());
        let (mut at, mut sum) = (0, 0);
        for row in &self.streams {
            row.encode(&mut out);
            if out.len() >= STEP_BYTES {
                sum = crc32c::crc32c_append(sum, &out);
                write_all(file, at, &out).map_err(|(_, error)| error)?;
                at += out.len() as u64;
                out.clear();
            }
        }
        sum = crc32c::crc32c_append(sum, &out);
        out.extend_from_slice(&sum.to_be_bytes());
        write_all(file, at, &out).map_err(|(_, error)| error)
    }

    /// What the file says; nothing when there is none, or no good one.
    pub(super) fn read(disk: &dyn Disk, folder: &Path) -> Option<Heads> {
        let path = folder.join(FILE);
        let read = || {
            let file = disk.open(&path, Access::Read)?;
            Heads::read_from(&*file)
        };
        match read() {
            Ok(Some(heads)) => return Some(heads),
            Ok(None) => tracing::warn!(path = %path.display(), "the heads of streams are damaged"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "reading the heads of streams");
            }
        }
        None
    }

    fn read_from(file: &dyn DiskFile) -> io::Result<Option<Heads>> {
        let length = file.len()?;
        let Some(end) = length.checked_sub(SUM_BYTES as u64) else { return Ok(None) };
        let mut reader = Reader { file, end, at: 0, bytes: Vec::new(), from: 0, sum: 0 };
        let Some(heads) = reader.heads()? else { return Ok(None) };
        let mut sum = [0; SUM_BYTES];
        let read = read_full(file, end, &mut sum)?;
        let whole = reader.is_at_end() && read == SUM_BYTES && sum == reader.sum.to_be_bytes();
        Ok(whole.then_some(heads))
    }
}

impl HeadRow {
    fn encode(&self, out: &mut Vec<u8>) {
        let Tip { epoch, last, leaf, genesis } = &self.tip;
        push_short(out, self.name.as_str().as_bytes());
        out.extend_from_slice(epoch.uuid().as_bytes());
        out.extend_from_slice(&last.to_be_bytes());
        out.push(u8::from(leaf.is_some()));
        out.extend_from_slice(&leaf.unwrap_or(Leaf::NONE).0);
        for wire in [genesis, &self.heartbeat] {
            let (topic, envelope) = match wire {
                Some(wire) => (&wire.topic[..], &wire.envelope[..]),
                None => (&[][..], &[][..]),
            };
            push_short(out, topic);
            out.extend_from_slice(&(envelope.len() as u32).to_be_bytes());
            out.extend_from_slice(envelope);
        }
    }

    fn decode(mut fields: Fields<'_>) -> Option<HeadRow> {
        let name = StreamName::parse(std::str::from_utf8(fields.short()?).ok()?).ok()?;
        let epoch: Epoch = fields.epoch()?;
        let last = fields.number::<8>().filter(|last| *last <= NUMBER_MAX)?;
        let has_leaf = fields.number::<1>()? == 1;
        let leaf = Leaf(fields.take(32)?.try_into().ok()?);
        let leaf = has_leaf.then_some(leaf);
        let mut wire = || {
            let topic = fields.short()?;
            let length = fields.number::<4>()? as usize;
            let envelope = fields.take(length)?;
            let copy = Bytes::copy_from_slice;
            let wire = Wire { topic: copy(topic), envelope: copy(envelope) };
            Some((!topic.is_empty()).then_some(wire))
        };
        let (genesis, heartbeat) = (wire()?, wire()?);
        Some(HeadRow { name, tip: Tip { epoch, last, leaf, genesis }, heartbeat })
    }

    /// The heartbeat, with what tells which of two is the newer one.
    pub(super) fn beat(&self) -> Option<Beat> {
        self.heartbeat.as_ref().and_then(Beat::of)
    }
}

/// Reads the file from its start, a piece at a time.
struct Reader<'f> {
    file: &'f dyn DiskFile,
    end: u64,
    /// Where the next piece begins in the file.
    at: u64,
    bytes: Vec<u8>,
    /// What of the piece was taken already.
    from: usize,
    sum: u32,
}

impl Reader<'_> {
    fn heads(&mut self) -> io::Result<Option<Heads>> {
        let Some(start) = self.take(MAGIC.len() + 12)? else { return Ok(None) };
        let mut fields = Fields(start);
        if fields.take(MAGIC.len()) != Some(&MAGIC[..]) {
            return Ok(None);
        }
        let covers = fields.number::<8>().and_then(|covers| Sequence::try_from(covers).ok());
        let (Some(covers), Some(count)) = (covers, fields.number::<4>()) else { return Ok(None) };
        if count > LOG_STREAMS_MAX as u64 {
            return Ok(None);
        }
        let mut heads = Heads { covers, streams: Vec::new() };
        for _ in 0..count {
            let Some(row) = self.row()? else { return Ok(None) };
            heads.streams.push(row);
        }
        Ok(Some(heads))
    }

    fn row(&mut self) -> io::Result<Option<HeadRow>> {
        let Some(length) = self.row_len()? else { return Ok(None) };
        Ok(self.take(length)?.and_then(|bytes| HeadRow::decode(Fields(bytes))))
    }

    /// How long the next stream is; nothing when it is not whole, or too long.
    fn row_len(&mut self) -> io::Result<Option<usize>> {
        let mut length = 0;
        let mut skip = |reader: &mut Self, before: usize, width: usize| {
            length += before;
            let Some(bytes) = reader.peek(length + width)? else { return Ok(false) };
            let number = bytes[length..].iter().take(width);
            let number = number.fold(0, |number, byte| number << 8 | usize::from(*byte));
            length += width + number;
            io::Result::Ok(number <= ENVELOPE_BYTES_MAX)
        };
        for (before, width) in [(0, 1), (16 + 8 + 1 + 32, 1), (0, 4), (0, 1), (0, 4)] {
            if !skip(self, before, width)? {
                return Ok(None);
            }
        }
        Ok(Some(length))
    }

    /// The next bytes, which are not taken.
    fn peek(&mut self, length: usize) -> io::Result<Option<&[u8]>> {
        if self.bytes.len() - self.from < length {
            self.bytes.drain(..self.from);
            self.from = 0;
            let kept = self.bytes.len();
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            self.bytes.resize(kept + left.min(length.max(STEP_BYTES)), 0);
            let read = read_full(self.file, self.at, &mut self.bytes[kept..])?;
            self.bytes.truncate(kept + read);
            self.at += read as u64;
        }
        Ok(self.bytes.get(self.from..self.from + length))
    }

    fn take(&mut self, length: usize) -> io::Result<Option<&[u8]>> {
        let before = self.sum;
        let Some(bytes) = self.peek(length)? else { return Ok(None) };
        self.sum = crc32c::crc32c_append(before, bytes);
        self.from += length;
        Ok(self.bytes.get(self.from - length..self.from))
    }

    fn is_at_end(&self) -> bool {
        self.at == self.end && self.from == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::MemoryDisk;

    fn row(n: usize) -> HeadRow {
        let wire = |text: &str| Wire {
            topic: format!("_{text}.a.h{n}.0").into(),
            envelope: vec![b'x'; 500 + n].into(),
        };
        HeadRow {
            name: StreamName::parse(&format!("a.h{n}/0")).expect("a stream"),
            tip: Tip {
                epoch: Epoch::new(Uuid::from_u128(n as u128)),
                last: n as u64 * 1_000,
                leaf: n.is_multiple_of(2).then_some(Leaf([n as u8; 32])),
                genesis: (!n.is_multiple_of(3)).then(|| wire("genesis")),
            },
            heartbeat: (!n.is_multiple_of(5)).then(|| wire("heartbeat")),
        }
    }

    #[test]
    fn heads_are_read_as_they_were_written_or_not_at_all() {
        let (disk, folder) = (MemoryDisk::new(), Path::new("/log"));
        assert!(Heads::read(&disk, folder).is_none());
        for count in [0, 1, 2_000, 7] {
            let heads = Heads { covers: 4_711, streams: (0..count).map(row).collect() };
            heads.write(&disk, folder).expect("writes");
            let read = Heads::read(&disk, folder).expect("heads");
            assert_eq!((read.covers, read.streams), (4_711, heads.streams));
        }
        let path = folder.join(FILE);
        let content = disk.content(&path).expect("a file");
        for at in 0..content.len() {
            let mut bad = content.clone();
            bad[at] ^= 1 << (at % 8);
            disk.set_content(&path, bad);
            assert!(Heads::read(&disk, folder).is_none(), "byte {at}");
            disk.set_content(&path, content[..at].to_vec());
            assert!(Heads::read(&disk, folder).is_none(), "cut at {at}");
        }
        disk.set_content(&path, [content, vec![0]].concat());
        assert!(Heads::read(&disk, folder).is_none(), "longer than it says");
    }
}
