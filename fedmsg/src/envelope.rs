//! The second frame: one JSON object on one line. How it is written before it is signed, and how it is
//! read after it was verified.

mod usual;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::identity::StreamName;
use crate::json::{JsonFault, Name, check_object};
use crate::keys::KeyId;
use crate::limits;
use crate::merkle::Leaf;
use crate::timestamp::Timestamp;

/// The two frames of a message as they travel: topic, and one JSON object on one line. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Wire {
    /// Frame 1.
    pub topic: Bytes,
    /// Frame 2.
    pub envelope: Bytes,
}

impl Wire {
    /// Bytes of both frames.
    pub fn len(&self) -> usize {
        self.topic.len() + self.envelope.len()
    }

    /// A copy that holds its own bytes alone, and not the whole buffer that they came in: for what is kept for long.
    pub fn compact(&self) -> Wire {
        let copy = Bytes::copy_from_slice;
        Wire { topic: copy(&self.topic), envelope: copy(&self.envelope) }
    }

    /// Whether both frames are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = String::from_utf8_lossy(&self.topic);
        write!(f, "Wire({topic:?}, {:?})", String::from_utf8_lossy(&self.envelope))
    }
}

/// What a record of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What somebody published: number 1, 2, 3 ….
    Message,
    /// What opens an epoch: number 0.
    Genesis,
    /// How far the stream is: the last message's number, and no number of its own.
    Heartbeat,
}

impl Kind {
    /// What a topic frame announces.
    pub fn of_topic(topic: &[u8]) -> Kind {
        if topic.starts_with(b"_genesis.") {
            Kind::Genesis
        } else if topic.starts_with(b"_heartbeat.") {
            Kind::Heartbeat
        } else {
            Kind::Message
        }
    }

    /// What the leaf's hash begins with, so that no record can pass for one of another kind.
    pub fn domain(self) -> &'static [u8] {
        match self {
            Kind::Message => b"fedmsg/v1/message\0",
            Kind::Genesis => b"fedmsg/v1/genesis\0",
            Kind::Heartbeat => b"fedmsg/v1/heartbeat\0",
        }
    }
}

/// A part of a stream's life in which numbers are dense: a UUID, which grows with each new epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(Uuid);

impl Epoch {
    /// An epoch of this name.
    pub const fn new(uuid: Uuid) -> Epoch {
        Epoch(uuid)
    }

    /// Reads a UUID in its usual lower-case form.
    pub fn parse(text: &str) -> Option<Epoch> {
        let uuid = Uuid::try_parse(text).ok()?;
        let mut buffer = Uuid::encode_buffer();
        (*text == *uuid.hyphenated().encode_lower(&mut buffer)).then_some(Epoch(uuid))
    }

    /// The UUID.
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// A UUIDv7 of this time and these random bytes, or the one above `after` when that is higher: an
    /// epoch is never below the one before, whatever the clock did.
    pub fn next(now: Timestamp, random: [u8; 10], after: Option<Epoch>) -> Epoch {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        let fresh = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        match after {
            Some(Epoch(before)) if fresh <= before => {
                // The lowest bits are random: counting there keeps version and variant.
                Epoch(Uuid::from_u128(before.as_u128().wrapping_add(1)))
            }
            _ => Epoch(fresh),
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// What comes before the numbers in every record of one epoch: `v crypto certificate stream epoch`.
#[derive(Clone, Debug)]
pub(crate) struct Head(Vec<u8>);

impl Head {
    pub(crate) fn new(key: &KeyId, stream: &StreamName, epoch: Epoch) -> Head {
        let text = format!(
            r#"{{"v":1,"crypto":"ed25519","certificate":"{key}","stream":"{stream}","epoch":"{epoch}","i":"#
        );
        Head(text.into_bytes())
    }
}

/// What goes into one record, all of it checked already.
pub(crate) struct Fields<'a> {
    pub(crate) i: u64,
    pub(crate) prev: Leaf,
    pub(crate) topic: &'a str,
    pub(crate) msg_id: &'a str,
    pub(crate) timestamp: Timestamp,
    pub(crate) username: Option<&'a str>,
    pub(crate) headers: &'a BTreeMap<String, String>,
    pub(crate) ext: Option<&'a str>,
    pub(crate) msg: &'a str,
}

/// Writes a record up to where `,"signature":"` follows.
pub(crate) fn write_unsigned(out: &mut Vec<u8>, head: &Head, fields: &Fields<'_>) {
    out.extend_from_slice(&head.0);
    push_number(out, fields.i);
    out.extend_from_slice(b",\"prev\":\"");
    out.extend_from_slice(&fields.prev.to_text());
    // A topic is made of characters that JSON does not escape.
    out.extend_from_slice(b"\",\"topic\":\"");
    out.extend_from_slice(fields.topic.as_bytes());
    out.extend_from_slice(b"\",\"msg_id\":");
    push_string(out, fields.msg_id);
    out.extend_from_slice(b",\"timestamp\":");
    let millis = fields.timestamp.as_millis().max(0) as u64;
    push_number(out, millis / 1000);
    let thousandths = (millis % 1000) as u32;
    if thousandths > 0 {
        let digit = |n: u32| b'0' + (n % 10) as u8;
        let digits = [digit(thousandths / 100), digit(thousandths / 10), digit(thousandths)];
        out.push(b'.');
        out.extend_from_slice(&digits);
    }
    if let Some(username) = fields.username {
        out.extend_from_slice(b",\"username\":");
        push_string(out, username);
    }
    if !fields.headers.is_empty() {
        for (at, (name, value)) in fields.headers.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b",\"headers\":{" } else { b"," });
            push_string(out, name);
            out.push(b':');
            push_string(out, value);
        }
        out.push(b'}');
    }
    if let Some(ext) = fields.ext {
        out.extend_from_slice(b",\"ext\":");
        out.extend_from_slice(ext.as_bytes());
    }
    out.extend_from_slice(b",\"msg\":");
    out.extend_from_slice(fields.msg.as_bytes());
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        let written = serde_json::to_writer(out.by_ref(), text);
        written.expect("writing a string into memory cannot fail");
    }
}

/// What is wrong with a verified record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeFault {
    /// Not the JSON that it must be, or with a value of a wrong kind.
    #[error("{0}")]
    Malformed(String),
    /// Nested deeper than 64.
    #[error("nested deeper than {}", limits::JSON_DEPTH_MAX)]
    TooDeep,
    /// A member appears twice, here or below.
    #[error("a member appears twice")]
    DuplicateMember,
    /// A member that this version does not know: what may be ignored goes into `ext`.
    #[error("unknown member `{0}`")]
    UnknownMember(String),
    /// A member is missing.
    #[error("member `{0}` is missing")]
    MissingMember(&'static str),
    /// A member is too long, too high, or too many.
    #[error("member `{0}` is beyond its bound")]
    OutOfBounds(&'static str),
}

impl From<JsonFault> for EnvelopeFault {
    fn from(fault: JsonFault) -> EnvelopeFault {
        match fault {
            JsonFault::TooDeep => EnvelopeFault::TooDeep,
            JsonFault::DuplicateMember => EnvelopeFault::DuplicateMember,
            fault => EnvelopeFault::Malformed(fault.to_string()),
        }
    }
}

/// The members of a record, borrowed from its bytes. `v crypto certificate stream` are read at their fixed
/// places by the verifier, and only counted here.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) i: u64,
    pub(crate) prev: Leaf,
    pub(crate) topic: Cow<'a, str>,
    pub(crate) msg_id: Cow<'a, str>,
    pub(crate) timestamp: Timestamp,
    pub(crate) username: Option<Cow<'a, str>>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) ext: Option<&'a str>,
    pub(crate) msg: &'a str,
}

impl<'a> Envelope<'a> {
    /// Reads a whole second frame, its `signature` included.
    pub(crate) fn parse(frame: &'a str) -> Result<Envelope<'a>, EnvelopeFault> {
        // JSON allows line ends and tabs between tokens; one line for each message is what journals,
        // pipes and logs of readers are built on.
        if has_control(frame) {
            return Err(EnvelopeFault::Malformed("not one line: a control character".into()));
        }
        let fault = RefCell::new(None);
        let mut reader = serde_json::Deserializer::from_str(frame);
        let read = (&mut reader).deserialize_map(Members { fault: &fault });
        let envelope =
            read.and_then(|envelope| reader.end().map(|()| envelope)).map_err(|error| {
                let fault = fault.take();
                fault.unwrap_or_else(|| EnvelopeFault::Malformed(error.to_string()))
            })?;
        check_object(envelope.msg)?;
        if let Some(ext) = envelope.ext {
            check_object(ext)?;
        }
        envelope.check_bounds()?;
        Ok(envelope)
    }

    /// The same where it is known what lies behind the text of the stream and before `,"signature":"`, which was
    /// verified. Nearly always that is as [`write_unsigned`] writes it, and is read in one go.
    pub(crate) fn parse_signed(
        frame: &'a str,
        signed: Range<usize>,
    ) -> Result<Envelope<'a>, EnvelopeFault> {
        let usual = frame.get(signed).and_then(usual::read);
        usual.map_or_else(|| Envelope::parse(frame), Ok)
    }

    fn check_bounds(&self) -> Result<(), EnvelopeFault> {
        let headers_fit = self.headers.len() <= limits::HEADERS_MAX
            && self.headers.iter().all(|(name, value)| {
                name.len() <= limits::HEADER_NAME_BYTES_MAX
                    && value.len() <= limits::HEADER_VALUE_BYTES_MAX
            });
        let username = self.username.as_ref().map_or(0, |name| name.len());
        for (fits, member) in [
            (self.i <= limits::NUMBER_MAX, "i"),
            (self.msg_id.len() <= limits::MSG_ID_BYTES_MAX && !self.msg_id.is_empty(), "msg_id"),
            (username <= limits::USERNAME_BYTES_MAX, "username"),
            (headers_fit, "headers"),
        ] {
            if !fits {
                return Err(EnvelopeFault::OutOfBounds(member));
            }
        }
        Ok(())
    }
}

/// Whether there is a control character. All bytes are looked at, which goes many at a time.
fn has_control(text: &str) -> bool {
    let mut chunks = text.as_bytes().chunks(64);
    chunks.any(|chunk| chunk.iter().fold(false, |found, byte| found | (*byte < b' ')))
}

struct Members<'f> {
    fault: &'f RefCell<Option<EnvelopeFault>>,
}

impl Members<'_> {
    fn fail<E: Error>(&self, fault: EnvelopeFault) -> E {
        let error = E::custom(&fault);
        self.fault.replace(Some(fault));
        error
    }
}

/// The members, each at most once.
#[derive(Default)]
struct Found<'a> {
    fixed: [bool; 5],
    epoch: Option<Name<'a>>,
    i: Option<u64>,
    prev: Option<Name<'a>>,
    topic: Option<Name<'a>>,
    msg_id: Option<Name<'a>>,
    timestamp: Option<f64>,
    username: Option<Option<Cow<'a, str>>>,
    headers: Option<BTreeMap<String, String>>,
    ext: Option<&'a RawValue>,
    msg: Option<&'a RawValue>,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Envelope<'de>, A::Error> {
        /// Puts a value into its place; says whether the place was taken already.
        fn put<'de, T: serde::Deserialize<'de>, A: MapAccess<'de>>(
            place: &mut Option<T>,
            members: &mut A,
        ) -> Result<bool, A::Error> {
            Ok(place.replace(members.next_value()?).is_some())
        }
        let mut found = Found::default();
        while let Some(Name(name)) = members.next_key()? {
            let fixed = ["v", "crypto", "certificate", "stream", "signature"];
            let twice = match &*name {
                "epoch" => put(&mut found.epoch, &mut members)?,
                "i" => put(&mut found.i, &mut members)?,
                "prev" => put(&mut found.prev, &mut members)?,
                "topic" => put(&mut found.topic, &mut members)?,
                "msg_id" => put(&mut found.msg_id, &mut members)?,
                "timestamp" => put(&mut found.timestamp, &mut members)?,
                "username" => {
                    let name: Option<Name<'de>> = members.next_value()?;
                    found.username.replace(name.map(|Name(name)| name)).is_some()
                }
                "headers" => {
                    let headers = members.next_value_seed(HeaderMembers(&self))?;
                    found.headers.replace(headers).is_some()
                }
                "ext" => put(&mut found.ext, &mut members)?,
                "msg" => put(&mut found.msg, &mut members)?,
                name => match fixed.iter().position(|fixed| *fixed == name) {
                    Some(place) => {
                        members.next_value::<serde::de::IgnoredAny>()?;
                        std::mem::replace(&mut found.fixed[place], true)
                    }
                    None => return Err(self.fail(EnvelopeFault::UnknownMember(name.into()))),
                },
            };
            if twice {
                return Err(self.fail(EnvelopeFault::DuplicateMember));
            }
        }
        found.finish().map_err(|fault| self.fail(fault))
    }
}

impl<'a> Found<'a> {
    fn finish(self) -> Result<Envelope<'a>, EnvelopeFault> {
        let missing = EnvelopeFault::MissingMember;
        let bad =
            |member: &str| EnvelopeFault::Malformed(format!("member `{member}` is malformed"));
        let epoch = self.epoch.ok_or(missing("epoch"))?.0;
        let prev = self.prev.ok_or(missing("prev"))?.0;
        let timestamp = self.timestamp.ok_or(missing("timestamp"))?;
        Ok(Envelope {
            epoch: Epoch::parse(&epoch).ok_or_else(|| bad("epoch"))?,
            i: self.i.ok_or(missing("i"))?,
            prev: Leaf::parse(prev.as_bytes()).ok_or_else(|| bad("prev"))?,
            topic: self.topic.ok_or(missing("topic"))?.0,
            msg_id: self.msg_id.ok_or(missing("msg_id"))?.0,
            timestamp: Timestamp::from_seconds(timestamp).ok_or_else(|| bad("timestamp"))?,
            username: self.username.flatten(),
            headers: self.headers.unwrap_or_default(),
            ext: self.ext.map(RawValue::get),
            msg: self.msg.ok_or(missing("msg"))?.get(),
        })
    }
}

/// `headers`: string to string, no name twice.
struct HeaderMembers<'a, 'f>(&'a Members<'f>);

impl<'de> serde::de::DeserializeSeed<'de> for HeaderMembers<'_, '_> {
    type Value = BTreeMap<String, String>;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderMembers<'_, '_> {
    type Value = BTreeMap<String, String>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut headers = BTreeMap::new();
        while let Some((name, value)) = members.next_entry::<String, String>()? {
            if headers.insert(name, value).is_some() {
                return Err(self.0.fail(EnvelopeFault::DuplicateMember));
            }
        }
        Ok(headers)
    }
}
