//! The one door out: from drafts to the two frames that travel.
//!
//! [`check`] is done in the caller's thread and fails in the caller's hands; [`Sealer::seal`] numbers,
//! chains and signs what was checked, and cannot fail. Clock and randomness are arguments.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::envelope::{Epoch, Fields, Head, Kind, Wire, write_unsigned};
use crate::identity::{Identity, StreamName};
use crate::json::{JsonFault, check_object};
use crate::keys::SecretKey;
use crate::limits;
use crate::merkle::Leaf;
use crate::record::{After, Genesis, Heartbeat, Level, State};
use crate::signing::sign_tree;
use crate::timestamp::Timestamp;
use crate::topic::{Topic, TopicError};
use crate::trust::Trust;

/// A message before it is published: a topic, a body, and what goes beside it.
///
/// ```
/// let draft = fedmsg::Draft::new("bodhi.update.comment")
///     .body(&serde_json::json!({"update": "kernel-6.1", "karma": 1}))
///     .summary("someone likes kernel-6.1");
/// ```
#[derive(Debug)]
pub struct Draft {
    topic: String,
    body: Result<String, String>,
    ext: Option<Result<String, String>>,
    headers: BTreeMap<String, String>,
    msg_id: Option<String>,
    username: Option<String>,
}

impl Draft {
    /// A draft with an empty body. A topic that does not begin with the configured prefix is relative:
    /// prefix and environment go before it.
    pub fn new(topic: impl Into<String>) -> Draft {
        Draft {
            topic: topic.into(),
            body: Ok("{}".into()),
            ext: None,
            headers: BTreeMap::new(),
            msg_id: None,
            username: None,
        }
    }

    /// The body: anything that serializes to a JSON object. A body that does not is an error when the
    /// draft is published.
    pub fn body<T: Serialize + ?Sized>(mut self, body: &T) -> Draft {
        self.body = serde_json::to_string(body).map_err(|error| error.to_string());
        self
    }

    /// The body as JSON text, which is checked and then published as it is, to the byte.
    pub fn raw_body(mut self, json: impl Into<String>) -> Draft {
        self.body = Ok(json.into());
        self
    }

    /// Extra members that readers who do not know them ignore: a JSON object, signed like the rest.
    pub fn ext<T: Serialize + ?Sized>(mut self, ext: &T) -> Draft {
        self.ext = Some(serde_json::to_string(ext).map_err(|error| error.to_string()));
        self
    }

    /// A header: at most 64 of them, names up to 64 bytes, values up to 4,096.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Draft {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// The header `severity`.
    pub fn severity(self, severity: Severity) -> Draft {
        self.header("severity", severity.name())
    }

    /// The header `summary`: one line for people.
    pub fn summary(self, summary: impl Into<String>) -> Draft {
        self.header("summary", summary)
    }

    /// An identifier of the caller's, at most 128 bytes: publishing it again within 24 hours gives the
    /// first receipt again, and with another body an error. Without one, `YEAR-UUID` is made.
    pub fn msg_id(mut self, msg_id: impl Into<String>) -> Draft {
        self.msg_id = Some(msg_id.into());
        self
    }

    /// Who asked for it: a claim that nobody checks, at most 128 bytes.
    pub fn username(mut self, username: impl Into<String>) -> Draft {
        self.username = Some(username.into());
        self
    }
}

/// How much a message matters to people: the header `severity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// For developers.
    Debug,
    /// The usual.
    Info,
    /// Somebody should look.
    Warning,
    /// Something is broken.
    Error,
}

impl Severity {
    /// As the header carries it.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Debug => "debug",
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// Why a draft cannot be published: the caller's mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The topic is malformed.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The policy does not let this identity publish this topic.
    #[error(
        "{identity} may not publish {topic}: {why}; `fedmsg policy explain {identity} {topic}` says more"
    )]
    Policy {
        /// Who asked.
        identity: Identity,
        /// For which topic.
        topic: Topic,
        /// The rule that denies, or that there is none.
        why: String,
    },
    /// The body or `ext` is not serializable, no object, too deep, or has a member twice.
    #[error("`{member}` of {topic}: {fault}")]
    Json {
        /// `msg` or `ext`.
        member: &'static str,
        /// The topic.
        topic: Topic,
        /// What is wrong.
        fault: JsonFault,
    },
    /// A member is longer than it may be.
    #[error("`{member}` of {topic} has {is}, at most {most} are allowed")]
    TooLong {
        /// Which member.
        member: String,
        /// The topic.
        topic: Topic,
        /// How long it is, in bytes (headers: how many).
        is: usize,
        /// How long it may be.
        most: usize,
    },
    /// The same `msg_id` was used for another message.
    #[error("msg_id {0} was used for another message")]
    MsgIdReused(String),
}

/// A draft that may be sealed. Only [`check`] makes one.
#[derive(Debug)]
pub struct Checked {
    pub(crate) topic: Topic,
    pub(crate) msg: String,
    pub(crate) ext: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) msg_id: String,
    /// The caller gave the identifier, so a retry is to be recognised.
    pub(crate) idempotent: bool,
    pub(crate) username: Option<String>,
}

impl Checked {
    /// The bytes that count against a queue's bound.
    pub fn len(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.msg.len() + self.ext.as_ref().map_or(0, String::len) + headers + 512
    }

    /// Never: a record has members of its own.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Checks a draft against the format and against the publisher's own policy. `fresh_id` is used where the
/// draft has no identifier.
pub fn check(
    draft: Draft,
    identity: &Identity,
    trust: &Trust,
    fresh_id: impl FnOnce() -> String,
) -> Result<Checked, SealError> {
    let topic = trust.naming.topic(&draft.topic)?;
    let decision = trust.policy.may_publish(identity, topic.as_str());
    if !decision.allowed {
        let why = match decision.rule {
            Some(rule) => format!("denied by {}", rule.origin),
            None => "no [[publish]] rule allows it".into(),
        };
        return Err(SealError::Policy { identity: identity.clone(), topic, why });
    }
    let text = |member: &'static str, written: Result<String, String>| {
        let checked = written.map_err(JsonFault::Malformed).and_then(|text| {
            check_object(&text)?;
            // One line: a line end or tab between tokens is legal JSON, but not of this format.
            if text.bytes().any(|byte| byte < b' ') { Ok(one_line(&text)) } else { Ok(text) }
        });
        checked.map_err(|fault| SealError::Json { member, topic: topic.clone(), fault })
    };
    let msg = text("msg", draft.body)?;
    let ext = draft.ext.map(|ext| text("ext", ext)).transpose()?;
    let checked = Checked {
        msg,
        ext,
        headers: draft.headers,
        idempotent: draft.msg_id.is_some(),
        msg_id: draft.msg_id.unwrap_or_else(fresh_id),
        username: draft.username,
        topic,
    };
    check_lengths(&checked)?;
    Ok(checked)
}

/// Takes out the control characters: in text that was checked they stand between tokens alone.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| *c >= ' ').collect()
}

fn check_lengths(checked: &Checked) -> Result<(), SealError> {
    let sum = |(name, value): (&String, &String)| written_len(name) + written_len(value) + 2;
    let optional = |text: &Option<String>| text.as_deref().map_or(0, written_len);
    // Everything else: head, numbers, names of members, topic, and the longest signature.
    let total = checked.msg.len()
        + checked.ext.as_ref().map_or(0, String::len)
        + checked.headers.iter().map(sum).sum::<usize>()
        + written_len(&checked.msg_id)
        + optional(&checked.username)
        + limits::ENVELOPE_REST_BYTES_MAX;
    let username = checked.username.as_ref().map_or(0, String::len);
    let mut bounds = vec![
        ("msg_id".to_owned(), checked.msg_id.len(), limits::MSG_ID_BYTES_MAX),
        ("username".to_owned(), username, limits::USERNAME_BYTES_MAX),
        ("headers".to_owned(), checked.headers.len(), limits::HEADERS_MAX),
        ("msg".to_owned(), total, limits::ENVELOPE_BYTES_MAX),
    ];
    for (name, value) in &checked.headers {
        bounds.push((format!("headers.{name}"), value.len(), limits::HEADER_VALUE_BYTES_MAX));
        bounds.push((format!("headers.{name}"), name.len(), limits::HEADER_NAME_BYTES_MAX));
    }
    let too_long =
        |(member, is, most)| SealError::TooLong { member, topic: checked.topic.clone(), is, most };
    if checked.msg_id.is_empty() {
        return Err(too_long(("msg_id".to_owned(), 0, limits::MSG_ID_BYTES_MAX)));
    }
    let beyond = bounds.into_iter().find(|(_, is, most)| is > most);
    beyond.map_or(Ok(()), |bound| Err(too_long(bound)))
}

/// How many bytes a text has as a JSON string, the quotes included.
fn written_len(text: &str) -> usize {
    let written = |byte: u8| match byte {
        b'"' | b'\\' | 8 | 9 | 10 | 12 | 13 => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(written).sum::<usize>() + 2
}

/// One sealed record.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The two frames.
    pub wire: Wire,
    /// What it is.
    pub kind: Kind,
    /// Its number; a heartbeat's is that of the last message.
    pub i: u64,
    /// Its leaf.
    pub leaf: Leaf,
}

/// The writer of one epoch of one stream: it numbers, chains and signs.
#[derive(Debug)]
pub struct Sealer {
    key: Arc<SecretKey>,
    stream: StreamName,
    epoch: Epoch,
    head: Head,
    last: u64,
    leaf: Leaf,
    genesis: Leaf,
    level: Level,
    /// The first number that can be fetched from the publisher's journal, where there is one.
    kept_from: Option<u64>,
    time: Timestamp,
    beat: Timestamp,
}

/// How far an epoch is that is taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The epoch.
    pub epoch: Epoch,
    /// The last number that was given out.
    pub last: u64,
    /// Its leaf.
    pub leaf: Leaf,
    /// The leaf of the epoch's genesis record.
    pub genesis: Leaf,
    /// When the last record was sealed: times of a stream do not go back.
    pub time: Timestamp,
}

impl Sealer {
    /// Opens an epoch; the sealed genesis record is the first thing to be sent. `prev` is the last leaf of
    /// the epoch before, or [`Leaf::NONE`].
    pub fn open_epoch(
        key: Arc<SecretKey>,
        stream: StreamName,
        epoch: Epoch,
        (after, prev): (After, Leaf),
        level: Level,
        now: Timestamp,
    ) -> (Sealer, Sealed) {
        let head = Head::new(&key.public().id(), &stream, epoch);
        let mut sealer = Sealer {
            key,
            stream,
            epoch,
            head,
            last: 0,
            leaf: prev,
            genesis: prev,
            level,
            kept_from: None,
            time: now,
            beat: now,
        };
        let msg =
            serde_json::to_string(&Genesis::new(after, level)).expect("a genesis is plain JSON");
        let topic = sealer.stream.genesis_topic();
        let sealed = sealer.seal_own(Kind::Genesis, (0, prev), &topic, &msg, now);
        sealer.leaf = sealed.leaf;
        sealer.genesis = sealed.leaf;
        (sealer, sealed)
    }

    /// Takes an epoch up again where it was left: for a publisher whose journal shows that no later number was
    /// given out.
    pub fn resume(
        key: Arc<SecretKey>,
        stream: StreamName,
        resumed: Resumed,
        level: Level,
        now: Timestamp,
    ) -> Sealer {
        let Resumed { epoch, last, leaf, genesis, time } = resumed;
        let head = Head::new(&key.public().id(), &stream, epoch);
        let time = never_back(time, now);
        let kept_from = None;
        Sealer { key, stream, epoch, head, last, leaf, genesis, level, kept_from, time, beat: time }
    }

    /// The journal can give everything from this number on; heartbeats say so from now on. Without it they
    /// say that nothing can be fetched.
    pub fn keeps_from(&mut self, first: u64) {
        self.kept_from = Some(first.max(1));
    }

    /// Seals drafts in their order, up to 64 under one signature.
    pub fn seal(&mut self, drafts: &[Checked], now: Timestamp) -> Vec<Sealed> {
        let mut sealed = Vec::with_capacity(drafts.len());
        self.time = never_back(self.time, now);
        for tree in drafts.chunks(limits::TREE_LEAVES_MAX) {
            self.seal_tree(tree, &mut sealed);
        }
        sealed
    }

    fn seal_tree(&mut self, drafts: &[Checked], sealed: &mut Vec<Sealed>) {
        let first = self.last + 1;
        let mut leaves = Vec::with_capacity(drafts.len());
        let mut records = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let fields = Fields {
                i: self.last + 1,
                prev: self.leaf,
                topic: draft.topic.as_str(),
                msg_id: &draft.msg_id,
                timestamp: self.time,
                username: draft.username.as_deref(),
                headers: &draft.headers,
                ext: draft.ext.as_deref(),
                msg: &draft.msg,
            };
            let mut record = Vec::with_capacity(draft.len() + 512);
            write_unsigned(&mut record, &self.head, &fields);
            self.leaf = Leaf::of(Kind::Message.domain(), &record);
            self.last += 1;
            leaves.push(self.leaf);
            records.push(record);
        }
        sign_tree(&self.key, &leaves, &mut records);
        let parts = drafts.iter().zip(records).zip(leaves).zip(first..);
        sealed.extend(parts.map(|(((draft, record), leaf), i)| Sealed {
            wire: Wire { topic: bytes_of(&draft.topic), envelope: record.into() },
            kind: Kind::Message,
            i,
            leaf,
        }));
    }

    /// Seals what the stream says of itself.
    pub fn heartbeat(&mut self, state: State, config: &str, now: Timestamp) -> Sealed {
        self.heartbeat_at(self.last(), state, config, now)
    }

    /// The same for an earlier end of the stream: what was sealed behind it is on no disk yet, and nobody may
    /// learn of it.
    pub fn heartbeat_at(
        &mut self,
        (last, head): (u64, Leaf),
        state: State,
        config: &str,
        now: Timestamp,
    ) -> Sealed {
        let beat = Heartbeat {
            first: self.kept_from.map_or(last + 1, |first| first.min(last + 1)),
            last,
            head,
            level: self.level,
            state,
            genesis: self.genesis,
            config: config.into(),
        };
        let mut msg = serde_json::to_string(&beat).expect("a heartbeat is plain JSON");
        msg.retain(|c| c != '\n');
        // Two heartbeats never have one time, or the newer could not be told from the older.
        let after_last = Timestamp::from_millis(self.beat.as_millis() + 1);
        self.beat = never_back(after_last, never_back(self.time, now));
        let topic = self.stream.heartbeat_topic();
        self.seal_own(Kind::Heartbeat, (last, head), &topic, &msg, self.beat)
    }

    fn seal_own(
        &self,
        kind: Kind,
        (i, prev): (u64, Leaf),
        topic: &Topic,
        msg: &str,
        now: Timestamp,
    ) -> Sealed {
        let fields = Fields {
            i,
            prev,
            topic: topic.as_str(),
            msg_id: &format!("{}-{}-{}", now.year(), self.epoch, now.as_millis()),
            timestamp: now,
            username: None,
            headers: &BTreeMap::new(),
            ext: None,
            msg,
        };
        let mut record = vec![Vec::with_capacity(1024)];
        write_unsigned(&mut record[0], &self.head, &fields);
        let leaf = Leaf::of(kind.domain(), &record[0]);
        sign_tree(&self.key, &[leaf], &mut record);
        let envelope = record.pop().expect("one record").into();
        Sealed { wire: Wire { topic: bytes_of(topic), envelope }, kind, i, leaf }
    }

    /// The stream.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What receipts of the epoch promise.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The last number that was given out, 0 before the first, and its leaf.
    pub fn last(&self) -> (u64, Leaf) {
        (self.last, self.leaf)
    }
}

fn bytes_of(topic: &Topic) -> Bytes {
    Bytes::copy_from_slice(topic.as_str().as_bytes())
}

/// Times of one stream do not go back, so that a late heartbeat can be told from a rewound stream; but a
/// clock that was set back by more than a second is followed, or one wrong hour would last for ever.
fn never_back(last: Timestamp, now: Timestamp) -> Timestamp {
    if last.millis_since(now) > 1_000 { now } else { now.max(last) }
}
