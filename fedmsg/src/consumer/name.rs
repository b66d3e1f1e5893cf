//! What durable consumers are called.

use std::fmt;
use std::sync::Arc;

use crate::limits::CONSUMER_NAME_BYTES_MAX;

/// The name of a durable consumer: `[a-z0-9][a-z0-9._-]{0,62}`, such as `badges` or `mirror.eu-1`.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerName(Arc<str>);

/// Why a text is no name of a consumer. Every variant names the offending part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerNameError {
    /// Nothing.
    #[error("a consumer needs a name, such as `badges`")]
    Empty,
    /// More than 63 bytes.
    #[error("a consumer's name of {0} bytes; at most {CONSUMER_NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Does not begin with a letter or a digit.
    #[error(
        "`{text}` is no name of a consumer: it begins with {character:?} (a-z 0-9 are allowed)"
    )]
    BadStart {
        /// The whole text.
        text: String,
        /// Its first character.
        character: char,
    },
    /// A character that is not allowed.
    #[error("`{text}` is no name of a consumer: {character:?} is not allowed (a-z 0-9 . _ -)")]
    BadCharacter {
        /// The whole text.
        text: String,
        /// The character.
        character: char,
    },
}

impl ConsumerName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<ConsumerName, ConsumerNameError> {
        let Some(first) = text.chars().next() else {
            return Err(ConsumerNameError::Empty);
        };
        if text.len() > CONSUMER_NAME_BYTES_MAX {
            return Err(ConsumerNameError::TooLong(text.len()));
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if let Some(character) = text.chars().find(|c| !(plain(*c) || matches!(c, '.' | '_' | '-')))
        {
            return Err(ConsumerNameError::BadCharacter { text: text.into(), character });
        }
        if !plain(first) {
            return Err(ConsumerNameError::BadStart { text: text.into(), character: first });
        }
        Ok(ConsumerName(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsumerName({})", self.0)
    }
}

impl std::str::FromStr for ConsumerName {
    type Err = ConsumerNameError;
    fn from_str(text: &str) -> Result<ConsumerName, ConsumerNameError> {
        ConsumerName::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_or_refused_by_the_part_that_is_wrong() {
        let longest = "x".repeat(63);
        for (text, error) in [
            ("badges", None),
            ("0", None),
            ("mirror.eu-1_b", None),
            (longest.as_str(), None),
            ("", Some("needs a name")),
            (".x", Some("begins with '.'")),
            ("-x", Some("begins with '-'")),
            ("Badges", Some("'B'")),
            ("a/b", Some("'/'")),
            ("a b", Some("' '")),
            ("a\nb", Some(r"'\n'")),
            ("bädges", Some("'ä'")),
            (&"x".repeat(64), Some("64 bytes")),
        ] {
            match (ConsumerName::parse(text), error) {
                (Ok(name), None) => assert_eq!(name.as_str(), text),
                (Err(said), Some(part)) => assert!(said.to_string().contains(part), "{said}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }
}
