//! The bytes of a segment: names of files, header and records. `docs/relay-log.md` says the same for people.

use bytes::Bytes;

use super::item::{Item, Keep};
use crate::envelope::{Epoch, Wire};
use crate::journal::{Body, Fields};
use crate::limits::{LOG_RECORD_BYTES_MAX, NUMBER_MAX};
use crate::merkle::Leaf;
use crate::timestamp::Timestamp;

/// How a segment begins.
const MAGIC: [u8; 8] = *b"fmrelay\0";
/// The version of the format that this program writes and reads.
pub(super) const VERSION: u16 = 1;
/// How a record begins. 0xF5 is in no UTF-8 text, so no message can carry a marker.
pub(super) const MARKER: [u8; 4] = [0xF5, b'f', b'l', 1];
/// Marker, length and checksum.
pub(super) const FRAME_BYTES: usize = 12;
/// Place in its append, time, kind, epoch, number, and the lengths of stream and topic.
const FIXED_BYTES: usize = 4 + 2 + 2 + 8 + 1 + 16 + 8 + 1 + 1;
/// Magic, version, length and checksum.
const HEADER_FRAME_BYTES: usize = 18;
/// A whole header. Records begin behind it.
pub(super) const HEADER_BYTES: usize = HEADER_FRAME_BYTES + 4 * 8;
const KIND_RECORD: u8 = 0;
const KIND_GONE: u8 = 1;
const KIND_HEARTBEAT: u8 = 2;

/// What follows the name of a file that is not complete yet.
pub(super) const NEW: &str = ".new";

/// The number of a segment, from 1: which file it is.
pub(super) type Sequence = u32;

/// The name of a segment's file.
pub(super) fn segment_file(sequence: Sequence) -> String {
    format!("{sequence:020}.seg")
}

/// The name of the file of its index.
pub(super) fn index_file(sequence: Sequence) -> String {
    format!("{sequence:020}.idx")
}

/// Reads the name of a segment's file.
pub(super) fn parse_segment_file(file: &str) -> Option<Sequence> {
    let digits = file.strip_suffix(".seg")?;
    let plain = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|sequence| plain && *sequence > 0)
}

/// What stands at the start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) sequence: Sequence,
    /// When the segment began.
    pub(super) made: Timestamp,
    /// The segment before that counts, and where it ends for good: what stands there behind that, and what
    /// lies between the two, was never acknowledged.
    pub(super) before: Option<(Sequence, u64)>,
}

/// Why a header says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Damaged,
    Version(u16),
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (before, end) = self.before.unwrap_or((0, 0));
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&(HEADER_BYTES as u32).to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        let made = self.made.as_millis() as u64;
        for number in [u64::from(self.sequence), made, u64::from(before), end] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        let sum = header_sum(&out);
        out[HEADER_FRAME_BYTES - 4..HEADER_FRAME_BYTES].copy_from_slice(&sum.to_be_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Header, HeaderFault> {
        let damaged = HeaderFault::Damaged;
        let mut fields = Fields(bytes);
        if fields.take(8) != Some(&MAGIC[..]) {
            return Err(damaged);
        }
        let version = fields.number::<2>().ok_or(damaged)? as u16;
        let length = fields.number::<4>().ok_or(damaged)? as usize;
        let sum = fields.number::<4>().ok_or(damaged)?;
        if length < HEADER_FRAME_BYTES || length > bytes.len() {
            return Err(damaged);
        }
        if u64::from(header_sum(&bytes[..length])) != sum {
            return Err(damaged);
        }
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        let mut number = || fields.number::<8>().ok_or(damaged);
        let (sequence, made, before, end) = (number()?, number()?, number()?, number()?);
        let small = |number| Sequence::try_from(number).map_err(|_| damaged);
        let before = (before > 0).then_some((small(before)?, end));
        let made = Timestamp::from_millis(made as i64);
        Ok(Header { sequence: small(sequence)?, made, before })
    }
}

/// Over everything but the checksum itself.
fn header_sum(bytes: &[u8]) -> u32 {
    let start = crc32c::crc32c(&bytes[..HEADER_FRAME_BYTES - 4]);
    crc32c::crc32c_append(start, &bytes[HEADER_FRAME_BYTES..])
}

/// Where a record belongs: which append of its segment, which one of it, and of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) append: u32,
    pub(super) index: u16,
    pub(super) count: u16,
}

/// What a record of a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Record,
    Gone,
    Heartbeat,
}

/// A record of a segment, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub(super) position: Position,
    pub(super) time: Timestamp,
    pub(super) form: Form,
    pub(super) epoch: Epoch,
    pub(super) i: u64,
    pub(super) stream: &'a str,
    topic: &'a [u8],
    rest: &'a [u8],
}

impl Raw<'_> {
    /// What it holds, copied; a heartbeat holds a record as well.
    pub(super) fn body(&self) -> Option<Body> {
        if self.form == Form::Gone {
            let (leaf, reason) = self.rest.split_first_chunk::<32>()?;
            let reason = std::str::from_utf8(reason).ok()?.to_owned();
            return Some(Body::Gone { leaf: Leaf(*leaf), reason });
        }
        let copy = Bytes::copy_from_slice;
        Some(Body::Record(Wire { topic: copy(self.topic), envelope: copy(self.rest) }))
    }
}

/// How many bytes a record of this item takes.
pub(super) fn record_bytes(item: &Item<'_>) -> usize {
    let rest = match &item.keep {
        Keep::Record { wire, .. } | Keep::Heartbeat { wire } => wire.len(),
        Keep::Gone { reason, .. } => 32 + reason.len(),
    };
    FRAME_BYTES + FIXED_BYTES + item.stream.as_str().len() + rest
}

/// Writes one record of an append.
pub(super) fn encode_record(
    out: &mut Vec<u8>,
    sequence: Sequence,
    position: Position,
    time: Timestamp,
    item: &Item<'_>,
) {
    let start = out.len();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&position.append.to_be_bytes());
    out.extend_from_slice(&position.index.to_be_bytes());
    out.extend_from_slice(&position.count.to_be_bytes());
    out.extend_from_slice(&time.as_millis().to_be_bytes());
    out.push(match item.keep {
        Keep::Record { .. } => KIND_RECORD,
        Keep::Gone { .. } => KIND_GONE,
        Keep::Heartbeat { .. } => KIND_HEARTBEAT,
    });
    out.extend_from_slice(item.epoch.uuid().as_bytes());
    out.extend_from_slice(&item.i.to_be_bytes());
    push_short(out, item.stream.as_str().as_bytes());
    match &item.keep {
        Keep::Record { wire, .. } | Keep::Heartbeat { wire } => {
            push_short(out, &wire.topic);
            out.extend_from_slice(&wire.envelope);
        }
        Keep::Gone { leaf, reason } => {
            push_short(out, &[]);
            out.extend_from_slice(&leaf.0);
            out.extend_from_slice(reason.as_bytes());
        }
    }
    let length = (out.len() - start - FRAME_BYTES) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
    let sum = checksum(sequence, &out[start + 4..start + 8], &out[start + FRAME_BYTES..]);
    out[start + 8..start + FRAME_BYTES].copy_from_slice(&sum.to_be_bytes());
}

/// Names of streams and topics are shorter than 256 bytes: `Item::refusal` and the type of a name see to it.
pub(super) fn push_short(out: &mut Vec<u8>, text: &[u8]) {
    out.push(text.len() as u8);
    out.extend_from_slice(text);
}

/// How long the record that begins with these bytes says it is, all of it; nothing when none begins here.
pub(super) fn record_len(frame: &[u8]) -> Option<usize> {
    let mut fields = Fields(frame.strip_prefix(&MARKER)?);
    let length = FRAME_BYTES + fields.number::<4>()? as usize;
    (FRAME_BYTES + FIXED_BYTES..=LOG_RECORD_BYTES_MAX).contains(&length).then_some(length)
}

/// Reads a whole record; nothing when it is damaged, or of another segment.
pub(super) fn decode_record(sequence: Sequence, bytes: &[u8]) -> Option<Raw<'_>> {
    let (frame, body) = bytes.split_at_checked(FRAME_BYTES)?;
    let sum = Fields(&frame[8..]).number::<4>()?;
    if u64::from(checksum(sequence, &frame[4..8], body)) != sum {
        return None;
    }
    let mut fields = Fields(body);
    let append = fields.number::<4>()? as u32;
    let index = fields.number::<2>()? as u16;
    let count = fields.number::<2>()? as u16;
    let time = Timestamp::from_millis(fields.number::<8>()? as i64);
    let form = match fields.number::<1>()? as u8 {
        KIND_RECORD => Form::Record,
        KIND_GONE => Form::Gone,
        KIND_HEARTBEAT => Form::Heartbeat,
        _ => return None,
    };
    let epoch = fields.epoch()?;
    let i = fields.number::<8>()?;
    let stream = std::str::from_utf8(fields.short()?).ok()?;
    let topic = fields.short()?;
    let rest = fields.0;
    let fits = form != Form::Gone || (topic.is_empty() && rest.len() > 32);
    let position = Position { append, index, count };
    (fits && index < count && i <= NUMBER_MAX).then_some(Raw {
        position,
        time,
        form,
        epoch,
        i,
        stream,
        topic,
        rest,
    })
}

/// The segment is in it, so that bytes of another place never pass for a record of this one.
fn checksum(sequence: Sequence, length: &[u8], body: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&u64::from(sequence).to_be_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, length), body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::identity::StreamName;

    #[derive(Debug)]
    enum Kept {
        Record(Wire),
        Gone(Leaf, String),
    }

    fn kept() -> impl Strategy<Value = Kept> {
        let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
        let record = (bytes(255), bytes(3_000)).prop_map(|(topic, envelope)| {
            Kept::Record(Wire { topic: topic.into(), envelope: envelope.into() })
        });
        let gone = (any::<[u8; 32]>(), "[!-~]{1,64}")
            .prop_map(|(leaf, reason)| Kept::Gone(Leaf(leaf), reason));
        prop_oneof![record, gone]
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written_in_its_own_segment_alone(
            kept in kept(), i in 0..=NUMBER_MAX, time in any::<i64>(), name in any::<u128>(),
            sequence in 1..u32::MAX, append in any::<u32>(), index in 0_u16..8_000, more in 1_u16..100,
            slot in 0..9_999_u16,
        ) {
            let stream = StreamName::parse(&format!("bodhi.backend01/{slot}")).expect("a stream");
            let (epoch, time) = (Epoch::new(Uuid::from_u128(name)), Timestamp::from_millis(time));
            let (keep, body) = match &kept {
                Kept::Record(wire) => {
                    (Keep::Record { wire, leaf: Leaf::NONE }, Body::Record(wire.clone()))
                }
                Kept::Gone(leaf, reason) => {
                    let body = Body::Gone { leaf: *leaf, reason: reason.clone() };
                    (Keep::Gone { leaf: *leaf, reason }, body)
                }
            };
            let item = Item { stream: &stream, epoch, i, keep };
            prop_assert_eq!(item.refusal(), None);
            let position = Position { append, index, count: index + more };
            let mut out = b"before".to_vec();
            encode_record(&mut out, sequence, position, time, &item);
            let bytes = &out[6..];
            prop_assert_eq!(record_len(&bytes[..FRAME_BYTES]), Some(bytes.len()));
            let raw = decode_record(sequence, bytes).expect("a record");
            prop_assert_eq!((raw.position, raw.time, raw.epoch, raw.i), (position, time, epoch, i));
            prop_assert_eq!((raw.stream, raw.body()), (stream.as_str(), Some(body)));
            prop_assert!(decode_record(sequence + 1, bytes).is_none());
        }

        #[test]
        fn whatever_stands_there_is_read_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assert!(Header::decode(&bytes).is_err());
            let mut marked = MARKER.to_vec();
            marked.extend_from_slice(&bytes);
            record_len(&marked);
            prop_assert!(decode_record(1, &marked).is_none());
        }
    }

    #[test]
    fn names_and_headers_are_read_as_they_were_written() {
        assert_eq!(segment_file(4_711), "00000000000000004711.seg");
        assert_eq!(parse_segment_file(&segment_file(4_711)), Some(4_711));
        let new = segment_file(1) + NEW;
        for bad in ["", "x.seg", &index_file(1), &new, &segment_file(0), "00000000000000+04711.seg"]
        {
            assert_eq!(parse_segment_file(bad), None, "{bad}");
        }
        for before in [None, Some((6, 12))] {
            let header = Header { sequence: 7, made: Timestamp::from_millis(-5), before };
            let mut bytes = header.encode();
            assert_eq!(bytes.len(), HEADER_BYTES);
            bytes.extend_from_slice(b"what follows");
            assert_eq!(Header::decode(&bytes), Ok(header));
            for at in 0..HEADER_BYTES {
                bytes[at] ^= 0x10;
                assert_eq!(Header::decode(&bytes), Err(HeaderFault::Damaged), "byte {at}");
                bytes[at] ^= 0x10;
                assert_eq!(Header::decode(&bytes[..at]), Err(HeaderFault::Damaged), "cut at {at}");
            }
            bytes[9] = 2;
            let sum = header_sum(&bytes[..HEADER_BYTES]).to_be_bytes();
            bytes[HEADER_FRAME_BYTES - 4..HEADER_FRAME_BYTES].copy_from_slice(&sum);
            assert_eq!(Header::decode(&bytes), Err(HeaderFault::Version(2)));
        }
    }
}
