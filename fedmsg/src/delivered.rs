//! What relays are known to have of one stream, as it is written down beside the stream's journal. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::envelope::Epoch;
use crate::identity::Identity;
use crate::limits::{DELIVERED_REFUSALS_MAX, DELIVERED_RELAYS_MAX, TEXT_BYTES_MAX};

/// A place in a stream: a number of an epoch. Genesis records are number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The epoch.
    pub epoch: Epoch,
    /// The number in it.
    pub i: u64,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of epoch {}", self.i, self.epoch)
    }
}

/// How far relays are with one stream.
///
/// It is only ever too little: what is not written down is sent again, and is a duplicate there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    #[serde(default)]
    relays: BTreeMap<String, At>,
    /// What relays refused for good, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refusals: Vec<Refusal>,
    /// What comes up to here was given up by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    given_up: Option<Point>,
}

/// How far one relay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct At {
    /// Everything up to here was taken, or refused for good; nothing where it has to be given the first record.
    pub upto: Option<Point>,
    /// The last answer said that it is on the relay's disk.
    pub stored: bool,
    /// Messages that it refused for good.
    #[serde(default)]
    pub refused: u64,
}

/// Messages that a relay refused for good. They have used their positions up, and what follows goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refusal {
    /// Which relay.
    pub relay: String,
    /// The first message.
    pub from: Point,
    /// The number of the last one, in the same epoch.
    pub to: u64,
    /// The name of a [`Rejection`](crate::rejection::Rejection), or of an error.
    pub reason: String,
    /// The relay's words, for people.
    pub text: String,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// No relay has it.
    Pending,
    /// A relay has it.
    Taken {
        /// Which one.
        relay: String,
        /// On its disk, as far as its last answer tells; otherwise it was handed on to readers, and is kept here
        /// alone.
        stored: bool,
    },
    /// Every relay that has answered refused it.
    Refused(Refusal),
    /// It was given up by the operator.
    GivenUp,
}

impl Delivered {
    /// What became of a record.
    pub fn fate(&self, of: Point) -> Fate {
        let refusal = |relay: &str| {
            let covers = |one: &&Refusal| {
                one.relay == relay
                    && one.from.epoch == of.epoch
                    && (one.from.i..=one.to).contains(&of.i)
            };
            self.refusals.iter().find(covers)
        };
        let has = self.relays.iter().filter(|(_, at)| at.upto >= Some(of));
        let mut refused = None;
        for (relay, at) in has {
            match refusal(relay) {
                None => return Fate::Taken { relay: relay.clone(), stored: at.stored },
                some => refused = some,
            }
        }
        match refused {
            Some(refusal) => Fate::Refused(refusal.clone()),
            None if self.given_up >= Some(of) => Fate::GivenUp,
            None => Fate::Pending,
        }
    }

    /// What relays refused for good last, the oldest first.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Reads what was written. What cannot be read says nothing.
    pub(crate) fn parse(bytes: &[u8]) -> Delivered {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// What is written.
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are plain JSON")
    }

    /// What is known of each relay.
    pub fn relays(&self) -> impl Iterator<Item = (&str, &At)> {
        self.relays.iter().map(|(name, at)| (name.as_str(), at))
    }

    /// Up to where some relay has everything, or it was given up: what is behind is pending.
    pub fn floor(&self) -> Option<Point> {
        self.relays.values().filter_map(|at| at.upto).max().max(self.given_up)
    }

    /// Whether what some relay has up to the floor is on a disk there.
    pub fn is_stored(&self) -> bool {
        let floor = self.floor();
        self.relays.values().any(|at| at.stored && at.upto == floor)
    }

    /// Up to where this relay needs nothing.
    pub fn of(&self, relay: &Identity) -> Option<Point> {
        let at = self.relays.get(relay.as_str());
        at.map_or_else(|| self.floor(), |at| at.upto).max(self.given_up)
    }

    /// A relay is to be given everything from now on: what no relay has yet, and what comes.
    pub(crate) fn claim(&mut self, relay: &Identity) {
        if self.relays.contains_key(relay.as_str()) {
            return;
        }
        if self.relays.len() >= DELIVERED_RELAYS_MAX {
            // Of relays that are configured no more, the one that is furthest behind.
            let least = self.relays.iter().min_by_key(|(_, at)| at.upto);
            let least = least.map(|(name, _)| name.clone());
            least.and_then(|name| self.relays.remove(&name));
        }
        let at = At { upto: self.floor(), stored: false, refused: 0 };
        self.relays.insert(relay.as_str().into(), at);
    }

    /// A relay that is new is to be given what is behind this place, or behind what others have.
    pub(crate) fn claim_behind(&mut self, relay: &Identity, place: Point) {
        let is_new = !self.relays.contains_key(relay.as_str());
        self.claim(relay);
        if let Some(at) = self.relays.get_mut(relay.as_str()).filter(|_| is_new) {
            at.upto = at.upto.max(Some(place));
        }
    }

    /// A relay has everything up to here, except so many that it refused.
    pub(crate) fn advance(&mut self, relay: &Identity, upto: Point, stored: bool, refused: u64) {
        self.claim(relay);
        let Some(at) = self.relays.get_mut(relay.as_str()) else { return };
        at.refused += refused;
        if Some(upto) >= at.upto {
            (at.upto, at.stored) = (Some(upto), stored);
        }
    }

    /// A relay refuses these for good.
    pub(crate) fn refuse(&mut self, mut refusal: Refusal) {
        if self.refusals.len() >= DELIVERED_REFUSALS_MAX {
            self.refusals.remove(0);
        }
        let cut = (0..=TEXT_BYTES_MAX).rev().find(|at| refusal.text.is_char_boundary(*at));
        refusal.text.truncate(cut.unwrap_or(0));
        self.refusals.push(refusal);
    }

    /// A relay can never be given what lies before this.
    pub(crate) fn pass(&mut self, relay: &Identity, upto: Point) {
        let stored = self.relays.get(relay.as_str()).is_some_and(|at| at.stored);
        self.advance(relay, upto, stored, 0);
    }

    /// What comes up to here is given up.
    pub(crate) fn give_up(&mut self, upto: Point) {
        self.given_up = self.given_up.max(Some(upto));
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.epoch.to_string(), self.i).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (epoch, i) = <(String, u64)>::deserialize(from)?;
        let epoch = Epoch::parse(&epoch);
        let epoch = epoch.ok_or_else(|| serde::de::Error::custom("an epoch is a UUID"))?;
        Ok(Point { epoch, i })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(epoch: u128, i: u64) -> Point {
        Point { epoch: Epoch::new(uuid::Uuid::from_u128(epoch)), i }
    }

    fn relay(name: &str) -> Identity {
        Identity::parse(name).expect("an identity")
    }

    #[test]
    fn what_is_written_is_read_and_what_is_torn_says_nothing() {
        let mut delivered = Delivered::default();
        delivered.advance(&relay("relay.one"), point(1, 7), true, 0);
        delivered.advance(&relay("relay.two"), point(1, 5), false, 2);
        delivered.give_up(point(1, 6));
        let bytes = delivered.encode();
        assert_eq!(Delivered::parse(&bytes), delivered);
        assert_eq!(Delivered::parse(&bytes[..bytes.len() / 2]), Delivered::default());
        assert_eq!(Delivered::parse(b""), Delivered::default());
    }

    #[test]
    fn what_one_relay_has_is_delivered_and_each_has_its_own_place() {
        let mut delivered = Delivered::default();
        assert_eq!((delivered.floor(), delivered.of(&relay("relay.one"))), (None, None));
        delivered.claim(&relay("relay.two"));
        delivered.advance(&relay("relay.one"), point(1, 7), true, 0);
        assert_eq!(delivered.of(&relay("relay.two")), None, "it was there from the beginning");
        delivered.advance(&relay("relay.two"), point(1, 5), false, 0);
        assert_eq!((delivered.floor(), delivered.is_stored()), (Some(point(1, 7)), true));
        assert_eq!(delivered.of(&relay("relay.two")), Some(point(1, 5)));
        delivered.claim(&relay("relay.new"));
        delivered.advance(&relay("relay.one"), point(1, 8), true, 0);
        assert_eq!(delivered.of(&relay("relay.new")), Some(point(1, 7)), "where the others were");
        delivered.advance(&relay("relay.one"), point(1, 6), true, 0);
        assert_eq!(delivered.floor(), Some(point(1, 8)), "it never goes back");
        delivered.give_up(point(2, 3));
        assert_eq!(delivered.of(&relay("relay.two")), Some(point(2, 3)));
        for n in 0..2 * DELIVERED_RELAYS_MAX as u64 {
            delivered.advance(&relay(&format!("relay.n{n}")), point(3, n), false, 0);
        }
        assert_eq!(delivered.relays().count(), DELIVERED_RELAYS_MAX);
        assert_eq!(delivered.floor(), Some(point(3, 2 * DELIVERED_RELAYS_MAX as u64 - 1)));
    }

    #[test]
    fn a_message_is_refused_only_where_no_relay_took_it() {
        let mut delivered = Delivered::default();
        let refusal = |relay: &str, from, to| Refusal {
            relay: relay.into(),
            from: point(1, from),
            to,
            reason: "policy".into(),
            text: "é".repeat(TEXT_BYTES_MAX),
        };
        assert_eq!(delivered.fate(point(1, 4)), Fate::Pending);
        delivered.advance(&relay("relay.one"), point(1, 5), true, 2);
        delivered.refuse(refusal("relay.one", 3, 4));
        let Fate::Refused(said) = delivered.fate(point(1, 4)) else { panic!("it was refused") };
        assert!(said.text.len() <= TEXT_BYTES_MAX && said.relay == "relay.one");
        let taken = |relay: &str, stored| Fate::Taken { relay: relay.into(), stored };
        assert_eq!(delivered.fate(point(1, 5)), taken("relay.one", true));
        assert_eq!(delivered.fate(point(1, 6)), Fate::Pending);
        delivered.advance(&relay("relay.two"), point(1, 5), false, 0);
        assert_eq!(delivered.fate(point(1, 4)), taken("relay.two", false));
        delivered.give_up(point(1, 7));
        assert_eq!(delivered.fate(point(1, 7)), Fate::GivenUp);
        for n in 0..2 * DELIVERED_REFUSALS_MAX as u64 {
            delivered.refuse(refusal("relay.one", n, n));
        }
        assert_eq!(delivered.refusals().len(), DELIVERED_REFUSALS_MAX);
    }
}
