//! Who publishes: identities, their slots, and the names of streams.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use uuid::Uuid;

use crate::limits::{IDENTITY_BYTES_MAX, SLOT_MAX};
use crate::topic::Topic;

/// What a key speaks for: `SERVICE.INSTANCE`, such as `bodhi.backend01` or `koji.hub.example.org`.
///
/// SERVICE is `[a-z0-9][a-z0-9_-]*`, INSTANCE is `[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*`, at most 200 bytes
/// in all. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Arc<str>);

/// Why a text is no identity, stream name or slot. Every variant names the offending part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No dot between service and instance.
    #[error("`{0}` is no identity: SERVICE.INSTANCE is expected, such as `bodhi.backend01`")]
    NoInstance(String),
    /// An empty token.
    #[error("`{0}` is no identity: a token is empty")]
    EmptyToken(String),
    /// A character that is not allowed at its place.
    #[error(
        "`{text}` is no identity: `{character}` is not allowed in or at the start of `{token}` (a-z 0-9 _ -)"
    )]
    BadCharacter {
        /// The whole text.
        text: String,
        /// The token.
        token: String,
        /// The character.
        character: char,
    },
    /// More than 200 bytes.
    #[error("an identity of {0} bytes; at most {IDENTITY_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The part behind the slash is neither a number up to 9999 nor a UUID in lower case.
    #[error("`{0}` is no slot: a number from 0 to {SLOT_MAX} or a UUID in lower case is expected")]
    BadSlot(String),
    /// No slash between identity and slot.
    #[error("`{0}` is no stream: IDENTITY/SLOT is expected, such as `bodhi.backend01/0`")]
    NoSlot(String),
}

impl Identity {
    /// Reads an identity.
    pub fn parse(text: &str) -> Result<Identity, NameError> {
        if text.len() > IDENTITY_BYTES_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        if !text.contains('.') {
            return Err(NameError::NoInstance(text.into()));
        }
        for (at, token) in text.split('.').enumerate() {
            let Some(first) = token.chars().next() else {
                return Err(NameError::EmptyToken(text.into()));
            };
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let bad_start = (at < 2 && !plain(first)).then_some(first);
            let bad = token.chars().find(|c| !(plain(*c) || *c == '_' || *c == '-'));
            if let Some(character) = bad_start.or(bad) {
                let (text, token) = (text.into(), token.into());
                return Err(NameError::BadCharacter { text, token, character });
            }
        }
        Ok(Identity(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first dot.
    pub fn service(&self) -> &str {
        self.0.split_once('.').map_or(&*self.0, |(service, _)| service)
    }

    /// The part behind the first dot.
    pub fn instance(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, instance)| instance)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.0)
    }
}

impl std::str::FromStr for Identity {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Identity, NameError> {
        Identity::parse(text)
    }
}

/// Which of an identity's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// The endpoint of this index was won, and the lock on the state folder beside it.
    Index(u16),
    /// A process without an endpoint: a pod, a cron job, a producer behind a firewall.
    Unique(Uuid),
}

impl Slot {
    /// Reads a slot: a number without leading zeros, or a UUID in its usual lower-case form.
    pub fn parse(text: &str) -> Result<Slot, NameError> {
        let bad = || NameError::BadSlot(text.into());
        let slot = match text.len() {
            36 => Slot::Unique(Uuid::try_parse(text).map_err(|_| bad())?),
            1..=4 => Slot::Index(text.parse().map_err(|_| bad())?),
            _ => return Err(bad()),
        };
        if slot.to_string() == text { Ok(slot) } else { Err(bad()) }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Index(index) => index.fmt(f),
            Slot::Unique(uuid) => uuid.hyphenated().fmt(f),
        }
    }
}

/// The name of a log with a single writer: `IDENTITY/SLOT`. Cheap to clone.
///
/// Its text says everything about it, so names are compared, ordered and hashed by that alone.
#[derive(Clone)]
pub struct StreamName(Arc<Named>);

struct Named {
    text: Box<str>,
    identity: Identity,
    slot: Slot,
}

impl StreamName {
    /// The stream of this identity and slot.
    pub fn new(identity: Identity, slot: Slot) -> StreamName {
        let text = format!("{identity}/{slot}").into();
        StreamName(Arc::new(Named { text, identity, slot }))
    }

    /// Reads a stream name.
    pub fn parse(text: &str) -> Result<StreamName, NameError> {
        let (identity, slot) =
            text.split_once('/').ok_or_else(|| NameError::NoSlot(text.into()))?;
        let (identity, slot) = (Identity::parse(identity)?, Slot::parse(slot)?);
        Ok(StreamName(Arc::new(Named { text: text.into(), identity, slot })))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whose stream it is.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Which of the identity's streams.
    pub fn slot(&self) -> Slot {
        self.0.slot
    }

    /// The topic of the record that opens an epoch of this stream.
    pub fn genesis_topic(&self) -> Topic {
        self.own_topic("_genesis")
    }

    /// The topic of this stream's heartbeats.
    pub fn heartbeat_topic(&self) -> Topic {
        self.own_topic("_heartbeat")
    }

    fn own_topic(&self, kind: &str) -> Topic {
        let text = format!("{kind}.{}.{}", self.identity(), self.slot());
        Topic::parse(&text)
            .expect("an identity and a slot are made of topic tokens and fit: limits.rs")
    }
}

impl PartialEq for StreamName {
    fn eq(&self, other: &StreamName) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.as_str() == other.as_str()
    }
}

impl Eq for StreamName {}

impl Ord for StreamName {
    fn cmp(&self, other: &StreamName) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for StreamName {
    fn partial_cmp(&self, other: &StreamName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for StreamName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// A table of streams is looked into by their texts, too.
impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamName({self})")
    }
}

impl std::str::FromStr for StreamName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<StreamName, NameError> {
        StreamName::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_or_refused_by_name() {
        for (text, error) in [
            ("bodhi.backend01", None),
            ("a.b", None),
            ("koji.hub.example.org", None),
            ("x.h._-", None),
            ("bodhi", Some("SERVICE.INSTANCE")),
            ("bodhi.", Some("empty")),
            (".x", Some("empty")),
            ("a..b", Some("empty")),
            ("Bodhi.x", Some("`B`")),
            ("-a.b", Some("`-`")),
            ("a._b", Some("`_`")),
            ("a.b/0", Some("`/`")),
        ] {
            match (Identity::parse(text), error) {
                (Ok(identity), None) => assert_eq!(identity.as_str(), text),
                (Err(said), Some(part)) => assert!(said.to_string().contains(part), "{said}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
        let identity = Identity::parse("koji.hub.example").expect("identity");
        assert_eq!((identity.service(), identity.instance()), ("koji", "hub.example"));
    }

    #[test]
    fn streams_print_as_they_are_read() {
        let uuid = "0192f0c1-7d2e-7000-8000-000000000001";
        for text in ["a.b/0", "a.b/15", &format!("a.b/{uuid}")] {
            assert_eq!(StreamName::parse(text).expect(text).to_string(), text);
        }
        for text in [
            "a.b",
            "a.b/",
            "a.b/00",
            "a.b/10000",
            "a.b/x",
            "a/0",
            &format!("a.b/{}", uuid.to_uppercase().replace('0', "A")),
        ] {
            assert!(StreamName::parse(text).is_err(), "{text}");
        }
        let stream = StreamName::parse("a.b/7").expect("stream");
        assert_eq!(stream.heartbeat_topic().as_str(), "_heartbeat.a.b.7");
        assert_eq!(stream.genesis_topic().as_str(), "_genesis.a.b.7");
    }
}
