//! The one door out: from drafts to the two frames that travel.
//!
//! [`check`] is done in the caller's thread and fails in the caller's hands; [`Sealer::seal`] numbers,
//! chains and signs what was checked, and cannot fail. Clock and randomness are arguments.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::identity::Identity;
use crate::json::{JsonFault, check_object};
use crate::limits;
pub use crate::sealer::{Resumed, Sealed, Sealer};
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
    ///
    /// The last 100,000 identifiers are remembered. At level `local` that survives restarts of the publisher: the
    /// first message with an identifier has the newest 100,000 messages of its journal read, which takes up to a
    /// second for each GiB.
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
    written_max: usize,
}

impl Checked {
    /// The most bytes that its second frame can have, the signature included; at most
    /// [`ENVELOPE_BYTES_MAX`](limits::ENVELOPE_BYTES_MAX).
    pub fn written_max(&self) -> usize {
        self.written_max
    }

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
    let mut checked = Checked {
        msg,
        ext,
        headers: draft.headers,
        idempotent: draft.msg_id.is_some(),
        msg_id: draft.msg_id.unwrap_or_else(fresh_id),
        username: draft.username,
        topic,
        written_max: 0,
    };
    checked.written_max = check_lengths(&checked)?;
    Ok(checked)
}

/// Takes out the control characters: in text that was checked they stand between tokens alone.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| *c >= ' ').collect()
}

/// Whether everything is within its bounds; and the most bytes that the second frame can have.
fn check_lengths(checked: &Checked) -> Result<usize, SealError> {
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
    beyond.map_or(Ok(total), |bound| Err(too_long(bound)))
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
