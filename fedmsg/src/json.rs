//! What JSON a message may hold: at most so deep, no member twice, finite numbers, valid strings.
//!
//! serde_json reads; this module adds what it lets pass. It runs on what is about to be sealed and on what
//! was verified, so that two readers can never understand one message differently.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::limits::JSON_DEPTH_MAX;

/// What is wrong with a piece of JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// Not JSON, a number that is not finite, or a string that is not Unicode.
    #[error("{0}")]
    Malformed(String),
    /// Nested deeper than 64.
    #[error("nested deeper than {JSON_DEPTH_MAX}")]
    TooDeep,
    /// An object has a member twice.
    #[error("a member appears twice")]
    DuplicateMember,
    /// Something else than an object.
    #[error("not an object")]
    NotAnObject,
}

/// Checks one JSON text that must be an object.
pub fn check_object(text: &str) -> Result<(), JsonFault> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(JsonFault::NotAnObject);
    }
    let fault = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_str(text);
    let walked = Walk { depth: 1, fault: &fault }.deserialize(&mut reader);
    match walked.and_then(|()| reader.end()) {
        Ok(()) => Ok(()),
        Err(error) => Err(fault.take().unwrap_or_else(|| JsonFault::Malformed(error.to_string()))),
    }
}

/// Visits every value below one value. Recursion is bounded by `depth`.
#[derive(Clone, Copy)]
struct Walk<'a> {
    depth: usize,
    fault: &'a Cell<Option<JsonFault>>,
}

impl Walk<'_> {
    fn fail<E: Error>(self, fault: JsonFault) -> E {
        let error = E::custom(&fault);
        self.fault.set(Some(fault));
        error
    }

    fn below<E: Error>(self) -> Result<Self, E> {
        if self.depth > JSON_DEPTH_MAX {
            return Err(self.fail(JsonFault::TooDeep));
        }
        Ok(Walk { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let below = self.below()?;
        while items.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let below = self.below()?;
        let mut seen = Names::default();
        while let Some(Name(name)) = members.next_key()? {
            if !seen.insert(name) {
                return Err(self.fail(JsonFault::DuplicateMember));
            }
            members.next_value_seed(below)?;
        }
        Ok(())
    }
}

/// A member's name, borrowed from the text unless it is written with escapes.
pub(crate) struct Name<'de>(pub(crate) Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.into())))
            }
        }
        reader.deserialize_str(Text)
    }
}

/// The names of one object: few are compared one by one, many go into a set, so that a hostile object
/// costs no more than its length.
#[derive(Default)]
struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    const FEW: usize = 16;

    /// Says whether the name is new.
    fn insert(&mut self, name: Cow<'de, str>) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(name);
        }
        if self.few.contains(&name) {
            return false;
        }
        self.few.push(name);
        if self.few.len() > Names::FEW {
            self.many.extend(self.few.drain(..));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_pass_or_are_refused_for_the_right_reason() {
        let nested = |depth: usize| "{\"a\":".repeat(depth - 1) + "{}" + &"}".repeat(depth - 1);
        let wide: Vec<String> = (0..40).map(|i| format!("\"m{i}\":{i}")).collect();
        let wide = format!("{{{},\"m3\":0}}", wide.join(","));
        let malformed = Err("malformed");
        for (text, expected) in [
            ("{}", Ok(())),
            (" {\"a\":[1,-2.5e3,null,true,\"\\ud83d\\ude00\"]}", Ok(())),
            (&nested(64), Ok(())),
            (&nested(65), Err("deep")),
            (&format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100)), Err("deep")),
            ("{\"a\":1,\"a\":2}", Err("twice")),
            ("{\"a\":1,\"\\u0061\":2}", Err("twice")),
            ("{\"x\":{\"a\":1,\"b\":2,\"a\":2}}", Err("twice")),
            (&wide, Err("twice")),
            ("[]", Err("object")),
            ("", Err("object")),
            ("{\"a\":1e999}", malformed),
            ("{\"a\":\"\\ud800\"}", malformed),
            ("{\"a\":NaN}", malformed),
            ("{\"a\":1}x", malformed),
            ("{\"a\":1", malformed),
        ] {
            let said = match check_object(text) {
                Ok(()) => Ok(()),
                Err(JsonFault::Malformed(_)) => malformed,
                Err(JsonFault::TooDeep) => Err("deep"),
                Err(JsonFault::DuplicateMember) => Err("twice"),
                Err(JsonFault::NotAnObject) => Err("object"),
            };
            assert_eq!(said, expected, "{}", &text[..text.len().min(60)]);
        }
    }
}
