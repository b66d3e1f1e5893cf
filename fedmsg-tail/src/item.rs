//! What a tail can print: a verified message, a stale one, or a refused one.

use std::borrow::Cow;

use fedmsg::envelope::Epoch;
use fedmsg::event::{Message, Rejected};
use fedmsg::identity::{Identity, StreamName};
use fedmsg::keys::KeyId;
use fedmsg::open::Record;

/// One thing to print, with the bus's verdict on it.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// Signature, policy and order are good.
    Verified(&'a Message),
    /// Signature and policy are good, but nobody shows that it is new.
    Stale(&'a Message),
    /// Refused: nothing that it says counts.
    Rejected(&'a Rejected),
}

impl<'a> Item<'a> {
    /// The word for scripts.
    pub fn verdict(&self) -> &'static str {
        match self {
            Item::Verified(_) => "verified",
            Item::Stale(_) => "stale",
            Item::Rejected(_) => "rejected",
        }
    }

    /// The message, unless it was refused.
    pub fn message(&self) -> Option<&'a Message> {
        match *self {
            Item::Verified(message) | Item::Stale(message) => Some(message),
            Item::Rejected(_) => None,
        }
    }

    /// Whether it may be taken at its word.
    pub fn is_verified(&self) -> bool {
        matches!(self, Item::Verified(_))
    }

    /// The topic; of a refused one what its first frame claims.
    pub fn topic(&self) -> Cow<'a, str> {
        match *self {
            Item::Verified(message) | Item::Stale(message) => {
                Cow::Borrowed(message.verified.topic().as_str())
            }
            Item::Rejected(rejected) => String::from_utf8_lossy(&rejected.wire.topic),
        }
    }

    /// The second frame; of a refused one whatever came.
    pub fn frame(&self) -> Cow<'a, str> {
        match *self {
            Item::Verified(message) | Item::Stale(message) => {
                Cow::Borrowed(message.verified.json())
            }
            Item::Rejected(rejected) => String::from_utf8_lossy(&rejected.wire.envelope),
        }
    }

    /// Who signed it: known only when the signature was good.
    pub fn signer(&self) -> Option<&'a Identity> {
        self.stream().map(StreamName::identity)
    }

    /// The stream: known only when the signature was good.
    pub fn stream(&self) -> Option<&'a StreamName> {
        match *self {
            Item::Verified(message) | Item::Stale(message) => Some(message.verified.stream()),
            Item::Rejected(rejected) => rejected.stream.as_ref(),
        }
    }

    /// Its position: known only when the signature was good.
    pub fn position(&self) -> Option<(Epoch, u64)> {
        match *self {
            Item::Verified(message) | Item::Stale(message) => Some((message.epoch(), message.i())),
            Item::Rejected(rejected) => rejected.position,
        }
    }

    /// The key that it names.
    pub fn key(&self) -> Option<KeyId> {
        match *self {
            Item::Verified(message) | Item::Stale(message) => Some(*message.verified.key()),
            Item::Rejected(rejected) => rejected.key,
        }
    }

    /// The endpoint that sent it.
    pub fn endpoint(&self) -> &'a Identity {
        match *self {
            Item::Verified(message) | Item::Stale(message) => &message.endpoint,
            Item::Rejected(rejected) => &rejected.endpoint,
        }
    }

    /// One line for people that somebody wrote, where there is one; not escaped.
    pub fn summary(&self) -> Option<Cow<'a, str>> {
        match *self {
            Item::Verified(message) | Item::Stale(message) => match message.verified.record() {
                Record::Heartbeat(beat) => Some(
                    format!("{} at {}, holds from {}", beat.state, beat.last, beat.first).into(),
                ),
                Record::Genesis(_) => Some("opens an epoch".into()),
                Record::Message => message.verified.summary().map(Cow::Borrowed),
            },
            Item::Rejected(rejected) => {
                let detail = rejected.detail.as_ref();
                let detail = detail.map_or(String::new(), |detail| format!(" ({detail})"));
                Some(format!("{}{detail}", rejected.reason).into())
            }
        }
    }
}
