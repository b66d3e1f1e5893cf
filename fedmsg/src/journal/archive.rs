//! A journal, or a part of it, as one file that can be taken elsewhere. `docs/journal.md` has every byte.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::format::{Fields, decode_record, encode_record};
use super::record::{Entry, Numbered, Range};
use crate::envelope::{Epoch, Wire};
use crate::identity::StreamName;
use crate::limits::{IDENTITY_BYTES_MAX, JOURNAL_HEADER_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX};

const MAGIC: [u8; 8] = *b"fmexport";
const VERSION: u16 = 1;
/// Tag and length.
const FRAME_BYTES: usize = 5;
const SUM_BYTES: usize = 4;
const STREAM: u8 = b'S';
const EPOCH: u8 = b'E';
const RECORD: u8 = b'R';
const END: u8 = b'.';

/// A part of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// An epoch begins; its records come next, and no others.
    Epoch {
        /// Its numbers that are in the archive, all of them.
        range: Range,
        /// The record that opened it, which is in the archive as number 0 only when that is in the range.
        genesis: Wire,
    },
    /// What stands at the next number of the epoch.
    Entry(Entry),
}

/// Why a file cannot be read as an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Reading failed.
    #[error("reading failed")]
    Io(#[from] io::Error),
    /// It begins with something else.
    #[error("this is no export of a journal: `fedmsg journal export` makes one")]
    NotAnArchive,
    /// A later version of the format.
    #[error("format version {0} of an export; this program knows version 1: use a newer program")]
    Version(u16),
    /// The end is missing.
    #[error("the file is cut off at byte {0}: copy it again")]
    CutOff(u64),
    /// A checksum or a length does not fit, or there is something behind the end.
    #[error("the file is damaged at byte {0}: copy it again")]
    Damaged(u64),
}

/// Writes an archive.
#[derive(Debug)]
pub struct ArchiveWriter<W: Write> {
    out: W,
    sum: u32,
    epoch: Option<Epoch>,
    entries: u64,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive of this stream.
    pub fn new(out: W, stream: &StreamName) -> io::Result<ArchiveWriter<W>> {
        let mut archive = ArchiveWriter { out, sum: 0, epoch: None, entries: 0 };
        archive.write(&MAGIC)?;
        archive.write(&VERSION.to_be_bytes())?;
        archive.frame(STREAM, stream.as_str().as_bytes())?;
        Ok(archive)
    }

    /// Begins an epoch, which is above those before. All numbers of the range must follow, in order.
    pub fn epoch(&mut self, range: &Range, genesis: &Wire) -> io::Result<()> {
        let mut body = range.epoch.uuid().as_bytes().to_vec();
        body.extend_from_slice(&range.first.to_be_bytes());
        body.extend_from_slice(&range.last.to_be_bytes());
        body.push(u8::try_from(genesis.topic.len()).map_err(io::Error::other)?);
        body.extend_from_slice(&genesis.topic);
        body.extend_from_slice(&genesis.envelope);
        self.epoch = Some(range.epoch);
        self.frame(EPOCH, &body)
    }

    /// Adds what stands at the next number of the epoch.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let epoch = self.epoch.ok_or_else(|| io::Error::other("an entry before its epoch"))?;
        let record = Numbered { i: entry.i, body: entry.body.clone() };
        let mut body = Vec::new();
        encode_record(&mut body, epoch, entry.time, (0, 1), &record);
        self.entries += 1;
        self.frame(RECORD, &body)
    }

    /// Ends the archive; without this it is cut off. Says how many entries it has, and gives the writer back.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        let (entries, sum) = (self.entries, self.sum);
        let body = [&entries.to_be_bytes()[..], &sum.to_be_bytes()].concat();
        self.frame(END, &body)?;
        self.out.flush()?;
        Ok((self.out, entries))
    }

    fn frame(&mut self, tag: u8, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes();
        let head = [tag, length[0], length[1], length[2], length[3]];
        let sum = crc32c::crc32c_append(crc32c::crc32c(&head), body);
        self.write(&head)?;
        self.write(body)?;
        self.write(&sum.to_be_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum = crc32c::crc32c_append(self.sum, bytes);
        self.out.write_all(bytes)
    }
}

/// Reads an archive. What it hands out has the right checksums, and is trusted by nobody yet.
#[derive(Debug)]
pub struct ArchiveReader<R: Read> {
    from: R,
    at: u64,
    sum: u32,
    stream: StreamName,
    epoch: Option<Epoch>,
    entries: u64,
    ended: bool,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads the beginning.
    pub fn open(from: R) -> Result<ArchiveReader<R>, ArchiveError> {
        let stream = StreamName::parse("a.b/0").map_err(|_| ArchiveError::NotAnArchive)?;
        let mut archive =
            ArchiveReader { from, at: 0, sum: 0, stream, epoch: None, entries: 0, ended: false };
        let no_archive = |error| match error {
            ArchiveError::CutOff(_) => ArchiveError::NotAnArchive,
            error => error,
        };
        let head = archive.read(MAGIC.len() + 2).map_err(no_archive)?;
        let Some([high, low]) = head.strip_prefix(&MAGIC) else {
            return Err(ArchiveError::NotAnArchive);
        };
        let version = u16::from_be_bytes([*high, *low]);
        if version != VERSION {
            return Err(ArchiveError::Version(version));
        }
        let (tag, name, at) = archive.frame()?;
        let name = std::str::from_utf8(&name).ok().filter(|_| tag == STREAM);
        let stream = name.and_then(|name| StreamName::parse(name).ok());
        archive.stream = stream.ok_or(ArchiveError::Damaged(at))?;
        Ok(archive)
    }

    /// Whose records these are.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// The next piece; nothing at the end, which was checked, too.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        let sum = self.sum;
        let (tag, body, at) = self.frame()?;
        let piece = match tag {
            EPOCH => self.epoch(&body),
            RECORD => self.entry(&body),
            END => return self.end(&body, sum).map(|()| None),
            _ => None,
        };
        piece.map(Some).ok_or(ArchiveError::Damaged(at))
    }

    fn epoch(&mut self, body: &[u8]) -> Option<Piece> {
        let mut fields = Fields(body);
        let epoch = fields.epoch()?;
        let (first, last) = (fields.number::<8>()?, fields.number::<8>()?);
        let topic = fields.short()?;
        let copy = Bytes::copy_from_slice;
        let genesis = Wire { topic: copy(topic), envelope: copy(fields.0) };
        self.epoch = Some(epoch);
        Some(Piece::Epoch { range: Range { epoch, first, last }, genesis })
    }

    fn entry(&mut self, body: &[u8]) -> Option<Piece> {
        let raw = decode_record(self.epoch?, body)?;
        self.entries += 1;
        Some(Piece::Entry(Entry { i: raw.i, time: raw.time, body: raw.body()? }))
    }

    fn end(&mut self, body: &[u8], sum: u32) -> Result<(), ArchiveError> {
        let expected = [&self.entries.to_be_bytes()[..], &sum.to_be_bytes()].concat();
        let damaged = ArchiveError::Damaged(self.at);
        if body != expected {
            return Err(damaged);
        }
        self.ended = true;
        match self.read(1) {
            Err(ArchiveError::CutOff(_)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(damaged),
        }
    }

    /// Tag, body, and where it began.
    fn frame(&mut self) -> Result<(u8, Vec<u8>, u64), ArchiveError> {
        let at = self.at;
        let head = self.read(FRAME_BYTES)?;
        let length = Fields(&head[1..]).number::<4>().unwrap_or(u64::MAX);
        let most = match head[0] {
            STREAM => IDENTITY_BYTES_MAX + 8,
            EPOCH => JOURNAL_HEADER_BYTES_MAX,
            RECORD => JOURNAL_RECORD_BYTES_MAX,
            END => 12,
            _ => return Err(ArchiveError::Damaged(at)),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= most);
        let body = self.read(length.ok_or(ArchiveError::Damaged(at))?)?;
        let sum = crc32c::crc32c_append(crc32c::crc32c(&head), &body);
        if self.read(SUM_BYTES)? != sum.to_be_bytes() {
            return Err(ArchiveError::Damaged(at));
        }
        Ok((head[0], body, at))
    }

    fn read(&mut self, length: usize) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            match self.from.read(&mut bytes[done..]) {
                Ok(0) => return Err(ArchiveError::CutOff(self.at + done as u64)),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.at += length as u64;
        self.sum = crc32c::crc32c_append(self.sum, &bytes);
        Ok(bytes)
    }
}
