//! The two records that a stream writes about itself: what opens an epoch, and how far it is.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::envelope::Epoch;
use crate::merkle::Leaf;

/// What a publisher's receipts promise, for a whole epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Sealed; survives nothing, so each process has its own epoch.
    Memory,
    /// On the publisher's own disk.
    Local,
    /// On the publisher's own disk and at so many other holders.
    Replicated(u8),
    /// At so many relays, and on no disk of the publisher.
    Stored(u8),
}

impl Level {
    /// Reads `memory`, `local`, `replicated(2)`, `stored(1)`.
    pub fn parse(text: &str) -> Option<Level> {
        let count = |name: &str| {
            let inner = text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
            inner.parse().ok().filter(|n| *n > 0)
        };
        match text {
            "memory" => Some(Level::Memory),
            "local" => Some(Level::Local),
            _ => count("replicated").map(Level::Replicated).or(count("stored").map(Level::Stored)),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::Memory => f.write_str("memory"),
            Level::Local => f.write_str("local"),
            Level::Replicated(n) => write!(f, "replicated({n})"),
            Level::Stored(n) => write!(f, "stored({n})"),
        }
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Level::parse(&text).ok_or_else(|| D::Error::custom(format!("unknown level `{text}`")))
    }
}

/// What came before an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing: the first epoch of the stream.
    Nothing,
    /// An epoch, up to this number; the genesis record's `prev` is that message's leaf.
    Epoch {
        /// Its name.
        epoch: Epoch,
        /// Its last number.
        last: u64,
    },
    /// Something, but how far it went is not known.
    Unknown,
}

impl Serialize for After {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            After::Nothing => to.serialize_none(),
            After::Unknown => to.serialize_str("unknown"),
            After::Epoch { epoch, last } => {
                EpochEnd { epoch: epoch.to_string(), last: *last }.serialize(to)
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EpochEnd {
    epoch: String,
    last: u64,
}

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Nothing(()),
            Word(String),
            End(EpochEnd),
        }
        match Written::deserialize(from)? {
            Written::Nothing(()) => Ok(After::Nothing),
            Written::Word(word) if word == "unknown" => Ok(After::Unknown),
            Written::Word(word) => Err(D::Error::custom(format!("`after` is {word:?}"))),
            Written::End(end) => {
                let epoch = Epoch::parse(&end.epoch);
                let epoch = epoch.ok_or_else(|| D::Error::custom("`after.epoch` is no epoch"))?;
                Ok(After::Epoch { epoch, last: end.last })
            }
        }
    }
}

/// The `msg` of a genesis record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Genesis {
    /// What came before.
    pub after: After,
    /// What receipts of this epoch promise.
    pub level: Level,
}

impl Genesis {
    pub(crate) fn new(after: After, level: Level) -> Genesis {
        Genesis { after, level }
    }
}

/// Whether a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    /// The publisher is there.
    Open,
    /// The publisher ended cleanly; `last` is the last message.
    Closed,
    /// The publisher is there, but cannot keep what it promises.
    Degraded,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Open => "open",
            State::Closed => "closed",
            State::Degraded => "degraded",
        })
    }
}

/// The `msg` of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Heartbeat {
    /// The first number that can still be fetched; `last` + 1 when none can.
    pub first: u64,
    /// The last number of the epoch; 0 before the first message.
    pub last: u64,
    /// The leaf of `last`; of the genesis record before the first message.
    pub head: Leaf,
    /// What receipts of this epoch promise.
    pub level: Level,
    /// Whether the stream goes on.
    pub state: State,
    /// The leaf of the epoch's genesis record.
    pub genesis: Leaf,
    /// Digest of the keys, policy and endpoints that the publisher sees.
    pub config: String,
}

impl Serialize for Leaf {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Leaf {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let leaf = Leaf::parse(text.as_bytes());
        leaf.ok_or_else(|| D::Error::custom("a leaf is 43 characters of base64url"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_what_they_write() {
        let epoch = Epoch::parse("0192f0c1-7d2e-7000-8000-000000000001").expect("epoch");
        for (after, text) in [
            (After::Nothing, "null"),
            (After::Unknown, "\"unknown\""),
            (
                After::Epoch { epoch, last: 7 },
                r#"{"epoch":"0192f0c1-7d2e-7000-8000-000000000001","last":7}"#,
            ),
        ] {
            let genesis = Genesis { after, level: Level::Replicated(2) };
            let written = serde_json::to_string(&genesis).expect("write");
            assert_eq!(written, format!(r#"{{"after":{text},"level":"replicated(2)"}}"#));
            assert_eq!(serde_json::from_str::<Genesis>(&written).expect("read"), genesis);
        }
        assert!(serde_json::from_str::<Genesis>(r#"{"after":"x","level":"local"}"#).is_err());
        assert!(serde_json::from_str::<Genesis>(r#"{"after":null,"level":"stored(0)"}"#).is_err());
    }
}
