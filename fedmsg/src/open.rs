//! The one door in: from the two frames that came to a verified record, or to a rejection.
//!
//! Cheapest checks first; nothing is parsed before its signature held.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::envelope::{Envelope, EnvelopeFault, Epoch, Kind, Wire};
use crate::identity::{Identity, StreamName};
use crate::keys::{KeyId, TrustedKey};
use crate::limits::{NUMBER_MAX, STREAMS_MAX, TOPIC_BYTES_MAX, VERDICTS_MAX};
use crate::merkle::Leaf;
use crate::planted::bug;
use crate::record::{After, Genesis, Heartbeat};
use crate::rejection::Rejection;
use crate::signing::{Cut, Roots};
use crate::timestamp::Timestamp;
use crate::topic::Topic;
use crate::trust::Trust;

/// A record whose signature, form and topic were checked. Only [`Opener`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    wire: Wire,
    record: Record,
    stream: StreamName,
    key: KeyId,
    place: Place,
    topic: Topic,
    msg_id: Text,
    timestamp: Timestamp,
    username: Option<Text>,
    headers: BTreeMap<String, String>,
    ext: Option<Text>,
    msg: Text,
}

/// A text of the second frame: where it stands there, or what it is where it is written with escapes. Whoever stores
/// or forwards a record asks for none of them, so nothing is copied for it.
#[derive(Clone, Debug)]
enum Text {
    Within { from: u32, to: u32 },
    Own(Box<str>),
}

impl Text {
    /// The place of a part of this frame, which is at most 1 MiB long.
    fn within(frame: &str, part: &str) -> Text {
        let from = part.as_ptr().addr() - frame.as_ptr().addr();
        Text::Within { from: from as u32, to: (from + part.len()) as u32 }
    }

    fn of(frame: &str, text: Cow<'_, str>) -> Text {
        match text {
            Cow::Borrowed(part) => Text::within(frame, part),
            Cow::Owned(text) => Text::Own(text.into()),
        }
    }

    fn get<'a>(&'a self, frame: &'a [u8]) -> &'a str {
        match self {
            Text::Within { from, to } => std::str::from_utf8(&frame[*from as usize..*to as usize])
                .expect("the frame was checked to be UTF-8 when it was opened"),
            Text::Own(text) => text,
        }
    }
}

/// What a record says, as far as the bus itself reads it.
#[derive(Clone, Debug)]
pub enum Record {
    /// Somebody's message.
    Message,
    /// The opening of an epoch.
    Genesis(Genesis),
    /// How far a stream is.
    Heartbeat(Heartbeat),
}

impl Record {
    fn read(kind: Kind, msg: &str) -> Result<Record, serde_json::Error> {
        Ok(match kind {
            Kind::Message => Record::Message,
            Kind::Genesis => Record::Genesis(serde_json::from_str(msg)?),
            Kind::Heartbeat => Record::Heartbeat(serde_json::from_str(msg)?),
        })
    }

    /// Whether the numbers in the body are possible, and those of the record that it is in.
    fn agrees_with(&self, place: &Place) -> bool {
        match self {
            Record::Genesis(Genesis { after: After::Epoch { last, .. }, .. }) => {
                *last <= NUMBER_MAX
            }
            Record::Message | Record::Genesis(_) => true,
            Record::Heartbeat(beat) => {
                beat.last == place.i && beat.head == place.prev && beat.first <= beat.last + 1
            }
        }
    }
}

/// Where a record stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it is.
    pub kind: Kind,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number; a heartbeat's is that of the last message.
    pub i: u64,
    /// The leaf of the record before; a heartbeat's is that of the last message.
    pub prev: Leaf,
    /// Its own leaf.
    pub leaf: Leaf,
}

impl Verified {
    /// The bytes as they came, to be stored or forwarded. What came through [`Opener::open_run`] may have
    /// been proven by its successor alone: open it once more with [`Opener::open`] before you store it.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }
    /// What the bus itself reads of it.
    pub fn record(&self) -> &Record {
        &self.record
    }
    /// The stream.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }
    /// Who signed it.
    pub fn signer(&self) -> &Identity {
        self.stream.identity()
    }
    /// The key that signed it.
    pub fn key(&self) -> &KeyId {
        &self.key
    }
    /// Where it stands in its stream.
    pub fn place(&self) -> &Place {
        &self.place
    }
    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.place.epoch
    }
    /// The number within the epoch.
    pub fn i(&self) -> u64 {
        self.place.i
    }
    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }
    /// The identifier for people and for retries.
    pub fn msg_id(&self) -> &str {
        self.msg_id.get(&self.wire.envelope)
    }
    /// When it was sealed, by the publisher's clock.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }
    /// Who asked for it: a claim of the key's holder.
    pub fn username(&self) -> Option<&str> {
        Some(self.username.as_ref()?.get(&self.wire.envelope))
    }
    /// The headers.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.headers
    }
    /// The header `severity`.
    pub fn severity(&self) -> Option<&str> {
        self.headers.get("severity").map(String::as_str)
    }
    /// The header `summary`.
    pub fn summary(&self) -> Option<&str> {
        self.headers.get("summary").map(String::as_str)
    }
    /// The body as it was signed: the text of a JSON object.
    pub fn msg(&self) -> &str {
        self.msg.get(&self.wire.envelope)
    }
    /// The text of `ext`, where there is one.
    pub fn ext(&self) -> Option<&str> {
        Some(self.ext.as_ref()?.get(&self.wire.envelope))
    }
    /// The body as a type of yours.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.msg())
    }
    /// The whole second frame.
    pub fn json(&self) -> &str {
        std::str::from_utf8(&self.wire.envelope).expect("as for its texts")
    }
}

/// A message that was refused, and as much as is known of it.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub reason: Rejection,
    /// More words where there are some, such as the name of an unknown member.
    pub detail: Option<String>,
    /// The bytes as they came.
    pub wire: Wire,
    /// Whose it claims to be; true only when there is a `place`.
    pub stream: Option<StreamName>,
    /// The key that it names.
    pub key: Option<KeyId>,
    /// Where it stands in its stream. There only when the signature was good and covers the reason: such a
    /// message uses its position up; any other moves nothing. (The topic frame is not signed, and anybody
    /// can change it on the way.)
    pub place: Option<Place>,
}

/// Opens messages against one snapshot of trust, remembering what it verified.
#[derive(Debug)]
pub struct Opener {
    trust: Arc<Trust>,
    roots: Roots,
    streams: HashSet<StreamName>,
    verdicts: HashMap<KeyId, HashMap<Topic, bool>>,
    verdict_count: usize,
}

impl Opener {
    /// An opener that remembers nothing yet.
    pub fn new(trust: Arc<Trust>) -> Opener {
        Opener {
            trust,
            roots: Roots::default(),
            streams: HashSet::default(),
            verdicts: HashMap::default(),
            verdict_count: 0,
        }
    }

    /// Goes on with other keys or another policy; forgets every verdict.
    pub fn set_trust(&mut self, trust: Arc<Trust>) {
        self.trust = trust;
        self.roots.clear();
        self.verdicts.clear();
        self.verdict_count = 0;
    }

    /// The trust in force.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// Opens one message by its own signature: for whoever stores or forwards.
    pub fn open(&mut self, wire: &Wire) -> Result<Verified, Box<Refused>> {
        self.open_with(wire, None)
    }

    /// Opens messages that waited together. The newest of a stream is verified by its signature; one whose
    /// leaf its successor's `prev` names is authentic because the successor is, which costs a hash. What
    /// is accepted is the same as by [`open`](Opener::open), content by content.
    pub fn open_run(&mut self, wires: &[Wire]) -> Vec<Result<Verified, Box<Refused>>> {
        let mut named_by_successor: HashMap<StreamName, (KeyId, Leaf)> = HashMap::new();
        let mut opened = Vec::with_capacity(wires.len());
        for wire in wires.iter().rev() {
            let result = self.open_with(wire, Some(&named_by_successor));
            let place = match &result {
                Ok(verified) => Some((&verified.stream, verified.key, verified.place)),
                Err(refused) => match (&refused.stream, refused.key, refused.place) {
                    (Some(stream), Some(key), Some(place)) => Some((stream, key, place)),
                    _ => None,
                },
            };
            if let Some((stream, key, place)) = place {
                named_by_successor.insert(stream.clone(), (key, place.prev));
            }
            opened.push(result);
        }
        opened.reverse();
        opened
    }

    fn open_with(
        &mut self,
        wire: &Wire,
        named: Option<&HashMap<StreamName, (KeyId, Leaf)>>,
    ) -> Result<Verified, Box<Refused>> {
        let refuse = |reason| refusal(wire, reason);
        if wire.topic.len() > TOPIC_BYTES_MAX || !Topic::is_valid(&wire.topic) {
            return Err(refuse(Rejection::BadTopic));
        }
        let kind = Kind::of_topic(&wire.topic);
        let cut = Cut::new(&wire.envelope).map_err(refuse)?;
        let refuse = |reason| Box::new(Refused { key: Some(cut.key), ..*refusal(wire, reason) });
        let trust = Arc::clone(&self.trust);
        let trusted = trust.keys.get(&cut.key).ok_or_else(|| refuse(Rejection::UnknownKey))?;
        if trusted.revoked {
            return Err(refuse(Rejection::RevokedKey));
        }
        let stream = self.stream(cut.stream, trusted).map_err(refuse)?;
        let leaf = Leaf::of(kind.domain(), cut.signed);
        let chained = named
            .and_then(|named| named.get(&stream))
            .is_some_and(|(key, prev)| *key == cut.key && *prev == leaf);
        let believed = chained || bug("signature-not-checked");
        if !believed && !cut.verify(&leaf, &trusted.public, &mut self.roots) {
            return Err(refuse(Rejection::BadSignature));
        }
        if !self.streams.contains(&stream) {
            self.streams.insert(stream.clone());
        }
        let between = cut.stream_end..cut.signed.len();
        self.read(wire, kind, leaf, stream, trusted, between)
    }

    /// The stream, if it is the key holder's.
    fn stream(&mut self, text: &str, trusted: &TrustedKey) -> Result<StreamName, Rejection> {
        let stream = match self.streams.get(text) {
            Some(known) => known.clone(),
            None => {
                if self.streams.len() >= STREAMS_MAX {
                    self.streams.clear();
                }
                StreamName::parse(text).map_err(|_| Rejection::Malformed)?
            }
        };
        match *stream.identity() == trusted.identity {
            true => Ok(stream),
            false => Err(Rejection::ForeignStream),
        }
    }

    /// What follows when the signature held: reading, and the policy.
    fn read(
        &mut self,
        wire: &Wire,
        kind: Kind,
        leaf: Leaf,
        stream: StreamName,
        trusted: &TrustedKey,
        between: Range<usize>,
    ) -> Result<Verified, Box<Refused>> {
        let key = trusted.public.id();
        let refuse = |reason, detail, place| {
            let (stream, key) = (Some(stream.clone()), Some(key));
            Box::new(Refused { reason, detail, wire: wire.clone(), stream, key, place })
        };
        let Ok(text) = std::str::from_utf8(&wire.envelope) else {
            return Err(refuse(Rejection::BadUtf8, None, None));
        };
        let envelope = match Envelope::parse_signed(text, between) {
            Ok(envelope) => envelope,
            Err(fault) => {
                let place = place_of_void(text, kind, leaf);
                return Err(refuse(rejection_of(&fault), Some(fault.to_string()), place));
            }
        };
        let place = Place { kind, epoch: envelope.epoch, i: envelope.i, prev: envelope.prev, leaf };
        if envelope.topic.as_bytes() != &wire.topic[..] {
            // Frame 1 is not signed: were the position used up, any carrier could make a reader drop the
            // true message as a duplicate.
            return Err(refuse(Rejection::TopicMismatch, None, None));
        }
        let numbers = || refuse(Rejection::OutOfBounds, Some("member `i`".into()), None);
        if !number_fits(kind, envelope.i) {
            return Err(numbers());
        }
        let refuse_at = |reason, detail| refuse(reason, detail, Some(place));
        if trusted.not_before.is_some_and(|from| envelope.timestamp < from) {
            return Err(refuse_at(Rejection::KeyNotYetValid, None));
        }
        if trusted.not_after.is_some_and(|to| envelope.timestamp > to) {
            return Err(refuse_at(Rejection::KeyExpired, None));
        }
        let malformed =
            |error: serde_json::Error| refuse_at(Rejection::Malformed, Some(error.to_string()));
        let record = Record::read(kind, envelope.msg).map_err(malformed)?;
        if !record.agrees_with(&place) {
            return Err(numbers());
        }
        let topic = match self.topic(&envelope.topic, kind, &stream, key) {
            Ok(topic) => topic,
            Err(reason) => return Err(refuse_at(reason, None)),
        };
        Ok(Verified {
            record,
            key,
            place,
            topic,
            msg_id: Text::of(text, envelope.msg_id),
            timestamp: envelope.timestamp,
            username: envelope.username.map(|name| Text::of(text, name)),
            headers: envelope.headers,
            ext: envelope.ext.map(|ext| Text::within(text, ext)),
            msg: Text::within(text, envelope.msg),
            stream,
            wire: wire.clone(),
        })
    }

    /// The topic, if this stream may publish it.
    fn topic(
        &mut self,
        text: &str,
        kind: Kind,
        stream: &StreamName,
        key: KeyId,
    ) -> Result<Topic, Rejection> {
        let parse = || Topic::parse(text).map_err(|_| Rejection::BadTopic);
        let own = match kind {
            Kind::Message if text.starts_with('_') => return Err(Rejection::Policy),
            Kind::Message => None,
            Kind::Genesis => Some(stream.genesis_topic()),
            Kind::Heartbeat => Some(stream.heartbeat_topic()),
        };
        if let Some(own) = own {
            return if own.as_str() == text { Ok(own) } else { Err(Rejection::ForeignStream) };
        }
        let known = self.verdicts.get(&key).and_then(|topics| topics.get_key_value(text));
        let (topic, allowed) = match known {
            Some((topic, allowed)) => (topic.clone(), *allowed),
            None => {
                let topic = parse()?;
                let allowed = self.trust.policy.may_publish(stream.identity(), text).allowed;
                if self.verdict_count >= VERDICTS_MAX {
                    self.verdicts.clear();
                    self.verdict_count = 0;
                }
                self.verdict_count += 1;
                self.verdicts.entry(key).or_default().insert(topic.clone(), allowed);
                (topic, allowed)
            }
        };
        if allowed { Ok(topic) } else { Err(Rejection::Policy) }
    }
}

fn refusal(wire: &Wire, reason: Rejection) -> Box<Refused> {
    let wire = wire.clone();
    Box::new(Refused { reason, detail: None, wire, stream: None, key: None, place: None })
}

fn rejection_of(fault: &EnvelopeFault) -> Rejection {
    match fault {
        EnvelopeFault::Malformed(_) | EnvelopeFault::MissingMember(_) => Rejection::Malformed,
        EnvelopeFault::TooDeep => Rejection::TooDeep,
        EnvelopeFault::DuplicateMember => Rejection::DuplicateMember,
        EnvelopeFault::UnknownMember(_) => Rejection::UnknownMember,
        EnvelopeFault::OutOfBounds(_) => Rejection::OutOfBounds,
    }
}

/// The position of a record that is signed well but void: the chain goes on behind it.
fn place_of_void(text: &str, kind: Kind, leaf: Leaf) -> Option<Place> {
    #[derive(Deserialize)]
    struct Position {
        epoch: String,
        i: u64,
        prev: Leaf,
    }
    let position: Position = serde_json::from_str(text).ok()?;
    let epoch = Epoch::parse(&position.epoch)?;
    let (i, prev) = (position.i, position.prev);
    number_fits(kind, i).then_some(Place { kind, epoch, i, prev, leaf })
}

/// Whether a record of this kind can have this number. One that cannot is at no position, and moves nothing.
fn number_fits(kind: Kind, i: u64) -> bool {
    match kind {
        Kind::Message => (1..=NUMBER_MAX).contains(&i),
        Kind::Genesis => i == 0,
        Kind::Heartbeat => i <= NUMBER_MAX,
    }
}
