//! The bytes of a segment: names of files, header and records. `docs/journal.md` says the same for people.

use bytes::Bytes;
use uuid::Uuid;

use super::record::{Body, Numbered};
use crate::envelope::{Epoch, Wire};
use crate::limits::{
    ENVELOPE_BYTES_MAX, JOURNAL_HEADER_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX, NUMBER_MAX,
    TOPIC_BYTES_MAX, WORD_BYTES_MAX,
};
use crate::merkle::Leaf;
use crate::timestamp::Timestamp;

/// How a segment begins.
const MAGIC: [u8; 8] = *b"fmjourn\0";
/// The version of the format that this program writes and reads.
pub(super) const VERSION: u16 = 1;
/// How a record begins. 0xF5 is in no UTF-8 text, so no message can carry a marker.
pub(super) const MARKER: [u8; 4] = [0xF5, b'f', b'j', 1];
/// Marker, length and checksum.
pub(super) const FRAME_BYTES: usize = 12;
/// Number, index, count, time, kind and length of the topic.
const FIXED_BYTES: usize = 22;
/// Magic, version, length and checksum.
pub(super) const HEADER_FRAME_BYTES: usize = 18;
const HEADER_FIXED_BYTES: usize = 16 + 8 + 16 + 8 + 8 + 1 + 1;
const KIND_RECORD: u8 = 0;
const KIND_GONE: u8 = 1;

/// What follows the name of a file that is not complete yet.
pub(super) const NEW: &str = ".new";

/// The name of a segment: epoch and first number. Ordered as the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SegmentName {
    pub(super) epoch: Epoch,
    pub(super) first: u64,
}

impl SegmentName {
    pub(super) fn parse(file: &str) -> Option<SegmentName> {
        let stem = file.strip_suffix(".seg")?;
        let (epoch, rest) = stem.split_at_checked(36)?;
        let digits = rest.strip_prefix('-')?;
        let plain = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
        let first = digits.parse().ok().filter(|first| plain && *first <= NUMBER_MAX)?;
        Some(SegmentName { epoch: Epoch::parse(epoch)?, first })
    }

    pub(super) fn file(&self) -> String {
        format!("{}-{:020}.seg", self.epoch, self.first)
    }

    pub(super) fn index_file(&self) -> String {
        format!("{}-{:020}.idx", self.epoch, self.first)
    }
}

/// What stands at the start of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) stream: String,
    pub(super) name: SegmentName,
    /// Where the segment before ends, for good: what stands there behind it was never acknowledged.
    pub(super) before: Option<(Epoch, u64)>,
    /// When the segment began.
    pub(super) made: Timestamp,
    /// The genesis record of the epoch, so that it outlives the epoch's first segment.
    pub(super) genesis: Wire,
}

/// Why a header says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Damaged,
    Version(u16),
}

impl Header {
    /// The header's bytes; nothing when they are more than a header may have.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let (before_epoch, before_last) = match self.before {
            Some((epoch, last)) => (*epoch.uuid().as_bytes(), last),
            None => ([0; 16], 0),
        };
        let mut rest = Vec::with_capacity(1024);
        rest.extend_from_slice(self.name.epoch.uuid().as_bytes());
        rest.extend_from_slice(&self.name.first.to_be_bytes());
        rest.extend_from_slice(&before_epoch);
        rest.extend_from_slice(&before_last.to_be_bytes());
        rest.extend_from_slice(&self.made.as_millis().to_be_bytes());
        for text in [self.stream.as_bytes(), &self.genesis.topic] {
            rest.push(u8::try_from(text.len()).ok()?);
            rest.extend_from_slice(text);
        }
        rest.extend_from_slice(&self.genesis.envelope);
        let length = HEADER_FRAME_BYTES + rest.len();
        let length_bytes = u32::try_from(length).ok()?.to_be_bytes();
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&length_bytes);
        let sum = crc32c::crc32c_append(crc32c::crc32c(&out), &rest);
        out.extend_from_slice(&sum.to_be_bytes());
        out.extend_from_slice(&rest);
        (length <= JOURNAL_HEADER_BYTES_MAX).then_some(out)
    }

    /// Reads a header from the start of a segment, and says where it ends.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Header, usize), HeaderFault> {
        let damaged = HeaderFault::Damaged;
        let mut fields = Fields(bytes);
        if fields.take(8) != Some(&MAGIC[..]) {
            return Err(damaged);
        }
        let version = fields.number::<2>().ok_or(damaged)? as u16;
        let length = fields.number::<4>().ok_or(damaged)? as usize;
        let sum = fields.number::<4>().ok_or(damaged)?;
        let fits = length <= JOURNAL_HEADER_BYTES_MAX && length <= bytes.len();
        if !fits || length < HEADER_FRAME_BYTES + HEADER_FIXED_BYTES {
            return Err(damaged);
        }
        let rest = &bytes[HEADER_FRAME_BYTES..length];
        let start = crc32c::crc32c(&bytes[..HEADER_FRAME_BYTES - 4]);
        if u64::from(crc32c::crc32c_append(start, rest)) != sum {
            return Err(damaged);
        }
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        let header = Header::fields(Fields(rest)).ok_or(damaged)?;
        Ok((header, length))
    }

    fn fields(mut fields: Fields<'_>) -> Option<Header> {
        let epoch = fields.epoch()?;
        let first = fields.number::<8>()?;
        let (before_epoch, before_last) = (fields.epoch()?, fields.number::<8>()?);
        let made = Timestamp::from_millis(fields.number::<8>()? as i64);
        let stream = fields.short()?;
        let topic = fields.short()?;
        Some(Header {
            stream: std::str::from_utf8(stream).ok()?.to_owned(),
            name: SegmentName { epoch, first },
            before: (!before_epoch.uuid().is_nil()).then_some((before_epoch, before_last)),
            made,
            genesis: Wire {
                topic: Bytes::copy_from_slice(topic),
                envelope: Bytes::copy_from_slice(fields.0),
            },
        })
    }
}

/// A record of a segment, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub(super) i: u64,
    /// Which one of its append it is, from 0.
    pub(super) index: u16,
    /// How many its append had.
    pub(super) count: u16,
    pub(super) time: Timestamp,
    gone: bool,
    topic: &'a [u8],
    rest: &'a [u8],
}

impl Raw<'_> {
    /// The number of the first record of the same append.
    pub(super) fn batch_first(&self) -> u64 {
        self.i - u64::from(self.index)
    }

    /// What it holds, copied.
    pub(super) fn body(&self) -> Option<Body> {
        if self.gone {
            let (leaf, reason) = self.rest.split_first_chunk::<32>()?;
            let reason = std::str::from_utf8(reason).ok()?.to_owned();
            return Some(Body::Gone { leaf: Leaf(*leaf), reason });
        }
        let copy = Bytes::copy_from_slice;
        Some(Body::Record(Wire { topic: copy(self.topic), envelope: copy(self.rest) }))
    }
}

/// Writes one record of an append.
pub(super) fn encode_record(
    out: &mut Vec<u8>,
    epoch: Epoch,
    time: Timestamp,
    (index, count): (u16, u16),
    record: &Numbered,
) {
    let start = out.len();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&record.i.to_be_bytes());
    out.extend_from_slice(&index.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&time.as_millis().to_be_bytes());
    match &record.body {
        Body::Record(wire) => {
            out.extend_from_slice(&[KIND_RECORD, wire.topic.len() as u8]);
            out.extend_from_slice(&wire.topic);
            out.extend_from_slice(&wire.envelope);
        }
        Body::Gone { leaf, reason } => {
            out.extend_from_slice(&[KIND_GONE, 0]);
            out.extend_from_slice(&leaf.0);
            out.extend_from_slice(reason.as_bytes());
        }
    }
    let length = (out.len() - start - FRAME_BYTES) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
    let sum = checksum(epoch, &out[start + 4..start + 8], &out[start + FRAME_BYTES..]);
    out[start + 8..start + FRAME_BYTES].copy_from_slice(&sum.to_be_bytes());
}

/// Why this record cannot be kept; nothing when it can.
pub(super) fn refusal(record: &Numbered) -> Option<String> {
    match &record.body {
        _ if record.i > NUMBER_MAX => Some("the number is beyond its bound".into()),
        Body::Record(wire) if wire.topic.len() > TOPIC_BYTES_MAX => {
            Some(format!("a topic of {} bytes", wire.topic.len()))
        }
        Body::Record(wire) if wire.envelope.len() > ENVELOPE_BYTES_MAX => {
            Some(format!("an envelope of {} bytes", wire.envelope.len()))
        }
        Body::Gone { reason, .. } if !word(reason.as_bytes()) => {
            Some(format!("the reason is one word of at most {WORD_BYTES_MAX} bytes"))
        }
        _ => None,
    }
}

fn word(text: &[u8]) -> bool {
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

/// How long the record that begins with these bytes says it is, all of it; nothing when none begins here.
pub(super) fn record_len(frame: &[u8]) -> Option<usize> {
    let mut fields = Fields(frame.strip_prefix(&MARKER)?);
    let length = FRAME_BYTES + fields.number::<4>()? as usize;
    (FRAME_BYTES + FIXED_BYTES..=JOURNAL_RECORD_BYTES_MAX).contains(&length).then_some(length)
}

/// Reads a whole record; nothing when it is damaged, or of another epoch.
pub(super) fn decode_record(epoch: Epoch, bytes: &[u8]) -> Option<Raw<'_>> {
    let (frame, body) = bytes.split_at_checked(FRAME_BYTES)?;
    let sum = Fields(&frame[8..]).number::<4>()?;
    if u64::from(checksum(epoch, &frame[4..8], body)) != sum {
        return None;
    }
    let mut fields = Fields(body);
    let i = fields.number::<8>()?;
    let index = fields.number::<2>()? as u16;
    let count = fields.number::<2>()? as u16;
    let time = Timestamp::from_millis(fields.number::<8>()? as i64);
    let kind = fields.number::<1>()? as u8;
    let topic = fields.short()?;
    let rest = fields.0;
    let gone = kind == KIND_GONE;
    let form = if gone { topic.is_empty() && rest.len() > 32 } else { kind == KIND_RECORD };
    let numbers = index < count && u64::from(index) <= i && i <= NUMBER_MAX;
    (form && numbers).then_some(Raw { i, index, count, time, gone, topic, rest })
}

/// Epoch and number are in it, so that bytes of another place never pass for a record of this one.
fn checksum(epoch: Epoch, length: &[u8], body: &[u8]) -> u32 {
    let sum = crc32c::crc32c_append(crc32c::crc32c(epoch.uuid().as_bytes()), length);
    crc32c::crc32c_append(sum, body)
}

/// Fields that follow each other; numbers are big-endian.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of at most 8 bytes.
    pub(crate) fn number<const BYTES: usize>(&mut self) -> Option<u64> {
        let taken = self.take(BYTES)?;
        Some(taken.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(crate) fn epoch(&mut self) -> Option<Epoch> {
        Some(Epoch::new(Uuid::from_slice(self.take(16)?).ok()?))
    }

    /// Bytes behind their length, which is one byte.
    pub(crate) fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.number::<1>()? as usize;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epoch(n: u128) -> Epoch {
        Epoch::new(Uuid::from_u128(n))
    }

    fn body() -> impl Strategy<Value = Body> {
        let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
        let record = (bytes(255), bytes(3_000)).prop_map(|(topic, envelope)| {
            Body::Record(Wire { topic: topic.into(), envelope: envelope.into() })
        });
        let gone = (any::<[u8; 32]>(), "[!-~]{1,64}")
            .prop_map(|(leaf, reason)| Body::Gone { leaf: Leaf(leaf), reason });
        prop_oneof![record, gone]
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written_in_its_own_epoch_alone(
            body in body(), i in 0..=NUMBER_MAX, time in any::<i64>(), name in 1..=u128::MAX,
            index in 0_u16..1_024, more in 1_u16..1_024,
        ) {
            let index = u16::try_from(i.min(u64::from(index))).expect("small");
            let record = Numbered { i, body };
            let mut out = b"before".to_vec();
            let time = Timestamp::from_millis(time);
            encode_record(&mut out, epoch(name), time, (index, index + more), &record);
            let bytes = &out[6..];
            prop_assert_eq!(record_len(&bytes[..FRAME_BYTES]), Some(bytes.len()));
            let raw = decode_record(epoch(name), bytes).expect("a record");
            prop_assert_eq!((raw.i, raw.index, raw.count, raw.time), (i, index, index + more, time));
            prop_assert_eq!(raw.batch_first(), i - u64::from(index));
            prop_assert_eq!(raw.body(), Some(record.body));
            prop_assert!(decode_record(epoch(name - 1), bytes).is_none());
        }

        #[test]
        fn whatever_stands_there_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Header::decode(&bytes).is_err());
            let mut marked = MARKER.to_vec();
            marked.extend_from_slice(&bytes);
            record_len(&marked);
            prop_assert!(decode_record(epoch(1), &marked).is_none());
        }
    }

    #[test]
    fn names_and_headers_are_read_as_they_were_written() {
        let name = SegmentName { epoch: epoch(7), first: 4_711 };
        assert_eq!(name.file(), "00000000-0000-0000-0000-000000000007-00000000000000004711.seg");
        assert_eq!(SegmentName::parse(&name.file()), Some(name));
        for bad in [
            "",
            "x.seg",
            &name.index_file(),
            &(name.file() + NEW),
            &name.file().replace("4711", "-711"),
        ] {
            assert_eq!(SegmentName::parse(bad), None, "{bad}");
        }
        let genesis = Wire { topic: "_genesis.a.b.0".into(), envelope: "{}".into() };
        for before in [None, Some((epoch(6), 12))] {
            let made = Timestamp::from_millis(-5);
            let stream = "a.b/0".to_owned();
            let header = Header { stream, name, before, made, genesis: genesis.clone() };
            let mut bytes = header.encode().expect("short enough");
            let length = bytes.len();
            bytes.extend_from_slice(b"what follows");
            assert_eq!(Header::decode(&bytes), Ok((header, length)));
            for at in 0..length {
                bytes[at] ^= 0x10;
                assert_eq!(Header::decode(&bytes), Err(HeaderFault::Damaged), "byte {at}");
                bytes[at] ^= 0x10;
            }
            for cut in 0..length {
                assert_eq!(Header::decode(&bytes[..cut]), Err(HeaderFault::Damaged), "at {cut}");
            }
        }
    }

    #[test]
    fn a_header_of_a_later_version_says_so() {
        let name = SegmentName { epoch: epoch(7), first: 0 };
        let genesis = Wire { topic: Bytes::new(), envelope: Bytes::new() };
        let made = Timestamp::from_millis(0);
        let header = Header { stream: "a.b/0".into(), name, before: None, made, genesis };
        let mut bytes = header.encode().expect("short enough");
        bytes[9] = 2;
        let start = crc32c::crc32c(&bytes[..HEADER_FRAME_BYTES - 4]);
        let sum = crc32c::crc32c_append(start, &bytes[HEADER_FRAME_BYTES..]);
        bytes[HEADER_FRAME_BYTES - 4..HEADER_FRAME_BYTES].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(Header::decode(&bytes), Err(HeaderFault::Version(2)));
    }
}
