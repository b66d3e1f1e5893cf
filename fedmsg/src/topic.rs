//! Topics, the patterns that match them, and the prefix and environment that relative ones begin with.

use std::fmt;
use std::sync::Arc;

use crate::limits::TOPIC_BYTES_MAX;

/// What a message is about: `PREFIX.ENV.SERVICE.OBJECT[.SUBOBJECT].EVENT`.
///
/// Tokens of `[A-Za-z0-9_-]+` joined by dots, at most 255 bytes in all. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Why a text is no topic or no pattern. Every variant names the offending part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// More than 255 bytes.
    #[error("`{start}…` has {bytes} bytes; a topic has at most {TOPIC_BYTES_MAX}")]
    TooLong {
        /// How it begins.
        start: String,
        /// Its length.
        bytes: usize,
    },
    /// An empty text, or two dots in a row, or a dot at an end.
    #[error("`{text}`: token {number} is empty")]
    EmptyToken {
        /// The whole text.
        text: String,
        /// Which token, counted from 1.
        number: usize,
    },
    /// A character outside of `[A-Za-z0-9_-]`.
    #[error(
        "`{text}`: `{character}` in `{token}` is not allowed: tokens are made of A-Z a-z 0-9 _ -"
    )]
    BadCharacter {
        /// The whole text.
        text: String,
        /// The token.
        token: String,
        /// The character.
        character: char,
    },
    /// `>` anywhere but at the end: such a pattern could match nothing.
    #[error("`{text}` can match nothing: `>` stands for the rest of a topic, so only at the end")]
    RestNotLast {
        /// The whole text.
        text: String,
    },
    /// A wildcard inside of a token.
    #[error(
        "`{text}` can match nothing: `{token}` mixes a wildcard with text; `*` stands for a whole token"
    )]
    WildcardInToken {
        /// The whole text.
        text: String,
        /// The token.
        token: String,
    },
    /// A topic of the bus itself, where only a user's topic can be.
    #[error("`{text}`: topics that begin with `_` are the bus's own")]
    Reserved {
        /// The whole text.
        text: String,
    },
}

/// Checks one literal token; `number` counts from 1.
fn check_token(text: &str, token: &str, number: usize) -> Result<(), TopicError> {
    if token.is_empty() {
        return Err(TopicError::EmptyToken { text: text.into(), number });
    }
    match token.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '_' || *c == '-')) {
        Some('*' | '>') => {
            Err(TopicError::WildcardInToken { text: text.into(), token: token.into() })
        }
        Some(character) => {
            Err(TopicError::BadCharacter { text: text.into(), token: token.into(), character })
        }
        None => Ok(()),
    }
}

fn check_length(text: &str) -> Result<(), TopicError> {
    if text.len() > TOPIC_BYTES_MAX {
        let start = text.chars().take(40).collect();
        return Err(TopicError::TooLong { start, bytes: text.len() });
    }
    Ok(())
}

impl Topic {
    /// Reads a whole topic, one of the bus's own included.
    pub fn parse(text: &str) -> Result<Topic, TopicError> {
        if !Topic::is_valid(text.as_bytes()) {
            check_length(text)?;
            for (at, token) in text.split('.').enumerate() {
                check_token(text, token, at + 1)?;
            }
        }
        Ok(Topic(text.into()))
    }

    /// Whether these bytes are a topic: one pass, no allocation, for the way of a message.
    pub fn is_valid(text: &[u8]) -> bool {
        let mut token_bytes = 0;
        for byte in text {
            match byte {
                b'.' if token_bytes == 0 => return false,
                b'.' => token_bytes = 0,
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => token_bytes += 1,
                _ => return false,
            }
        }
        token_bytes > 0 && text.len() <= TOPIC_BYTES_MAX
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens, first to last; never none.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether the topic is one of the bus's own (`_genesis.…`, `_heartbeat.…`).
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('_')
    }
}

impl std::borrow::Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", self.0)
    }
}

impl std::str::FromStr for Topic {
    type Err = TopicError;
    fn from_str(text: &str) -> Result<Topic, TopicError> {
        Topic::parse(text)
    }
}

/// One place of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Literal(Box<str>),
    /// `*`: exactly one token.
    One,
    /// `>`: one or more tokens, at the end.
    Rest,
    /// `{service}`: the service of the identity that is asked about; in policy alone.
    Service,
}

/// A set of topics: literal tokens, `*` for exactly one token, `>` for one or more at the end.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    places: Box<[Place]>,
    /// A subscriber's bare prefix also matches everything below it.
    open_end: bool,
}

impl Pattern {
    /// Reads a subscriber's pattern: without a wildcard at its end, `a.b` matches `a.b` and all below it,
    /// but never `a.bc`.
    pub fn subscription(text: &str) -> Result<Pattern, TopicError> {
        Pattern::parse(text, true, false)
    }

    /// Reads a pattern of a policy: exact, and `{service}` may stand for a token.
    pub fn policy(text: &str) -> Result<Pattern, TopicError> {
        Pattern::parse(text, false, true)
    }

    fn parse(text: &str, open_end: bool, service: bool) -> Result<Pattern, TopicError> {
        check_length(text)?;
        let mut places = Vec::new();
        let tokens: Vec<&str> = text.split('.').collect();
        for (at, token) in tokens.iter().enumerate() {
            places.push(match *token {
                "*" => Place::One,
                ">" if at + 1 == tokens.len() => Place::Rest,
                ">" => return Err(TopicError::RestNotLast { text: text.into() }),
                "{service}" if service => Place::Service,
                literal => {
                    check_token(text, literal, at + 1)?;
                    Place::Literal(literal.into())
                }
            });
        }
        Ok(Pattern { text: text.into(), places: places.into(), open_end })
    }

    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the topic is in the set.
    pub fn matches(&self, topic: &str) -> bool {
        self.matches_for(topic, "")
    }

    /// Whether the topic is in the set, `{service}` standing for the given service.
    pub fn matches_for(&self, topic: &str, service: &str) -> bool {
        let mut tokens = topic.split('.');
        for place in &self.places {
            let Some(token) = tokens.next() else { return false };
            match place {
                Place::Literal(literal) if **literal != *token => return false,
                Place::Service if service != token => return false,
                Place::Rest => return true,
                Place::Literal(_) | Place::Service | Place::One => {}
            }
        }
        self.open_end || tokens.next().is_none()
    }

    /// Whether some topic could be in both sets: what decides which endpoints a subscriber needs.
    pub fn overlaps(&self, other: &Pattern) -> bool {
        let rest = |pattern: &Pattern, at: usize| match pattern.places.get(at) {
            Some(Place::Rest) => true,
            Some(_) => false,
            None => pattern.open_end && at > 0,
        };
        for at in 0.. {
            match (self.places.get(at), other.places.get(at)) {
                (None, None) => return true,
                (None, Some(_)) => return rest(self, at),
                (Some(_), None) => return rest(other, at),
                (Some(Place::Rest), _) | (_, Some(Place::Rest)) => return true,
                (Some(Place::Literal(a)), Some(Place::Literal(b))) if a != b => return false,
                _ => {}
            }
        }
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.text)
    }
}

/// The topic prefix and environment of a bus: what relative topics and patterns begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    prefix: Topic,
    environment: String,
}

impl Default for Naming {
    /// `org.example` and `dev`.
    fn default() -> Naming {
        Naming { prefix: Topic("org.example".into()), environment: "dev".into() }
    }
}

impl Naming {
    /// Prefix (one or more tokens) and environment (one token).
    pub fn new(prefix: &str, environment: &str) -> Result<Naming, TopicError> {
        let prefix = Topic::parse(prefix)?;
        if prefix.is_reserved() {
            return Err(TopicError::Reserved { text: prefix.as_str().into() });
        }
        check_token(environment, environment, 1)?;
        Ok(Naming { prefix, environment: environment.into() })
    }

    /// The topic prefix, `org.example`.
    pub fn prefix(&self) -> &str {
        self.prefix.as_str()
    }

    /// The environment, `prod`.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// Reads a user's topic. One that does not begin with the prefix is relative: prefix and environment
    /// go before it. Topics of the bus itself are refused.
    pub fn topic(&self, text: &str) -> Result<Topic, TopicError> {
        if text.starts_with('_') {
            return Err(TopicError::Reserved { text: text.into() });
        }
        Topic::parse(&self.absolute(text))
    }

    /// Reads a subscriber's pattern. One that begins with neither the prefix nor a wildcard is relative.
    pub fn pattern(&self, text: &str) -> Result<Pattern, TopicError> {
        match text.as_bytes().first() {
            Some(b'*' | b'>' | b'_') => Pattern::subscription(text),
            _ => Pattern::subscription(&self.absolute(text)),
        }
    }

    /// Puts prefix and environment into a template: `{prefix}.{env}.{service}.>`.
    pub fn expand(&self, template: &str) -> String {
        template.replace("{prefix}", self.prefix()).replace("{env}", &self.environment)
    }

    fn absolute(&self, text: &str) -> String {
        let rest = text.strip_prefix(self.prefix());
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
            text.into()
        } else {
            format!("{}.{}.{text}", self.prefix(), self.environment)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_or_refused_by_name() {
        let long = "a".repeat(256);
        for (text, error) in [
            ("org.example.prod.bodhi.update.comment", None),
            ("a", None),
            ("A-b_9.c", None),
            ("", Some("token 1 is empty")),
            ("a..b", Some("token 2 is empty")),
            ("a.b.", Some("token 3 is empty")),
            ("a.b c", Some("` ` in `b c`")),
            ("a.ü", Some("`ü`")),
            ("a.*", Some("wildcard")),
            (&long, Some("has 256 bytes")),
        ] {
            let read = Topic::parse(text);
            match error {
                None => assert_eq!(read.expect("topic").as_str(), text),
                Some(part) => {
                    let said = read.expect_err(text).to_string();
                    assert!(said.contains(part), "{text}: {said}");
                }
            }
            assert_eq!(Topic::is_valid(text.as_bytes()), error.is_none(), "{text}");
        }
    }

    #[test]
    fn patterns_match_by_token() {
        let cases = [
            ("a.b", "a.b", true, true),
            ("a.b", "a.b.c", true, false),
            ("a.b", "a.bc", false, false),
            ("a.*", "a.b", true, true),
            ("a.*", "a.b.c", true, false),
            ("a.*.c", "a.b.c", true, true),
            ("a.*.c", "a.c", false, false),
            ("a.>", "a.b.c", true, true),
            ("a.>", "a", false, false),
            (">", "a", true, true),
            ("*", "a", true, true),
        ];
        for (pattern, topic, subscriber, policy) in cases {
            let (s, p) = (Pattern::subscription(pattern), Pattern::policy(pattern));
            assert_eq!(s.expect(pattern).matches(topic), subscriber, "{pattern} ~ {topic}");
            assert_eq!(p.expect(pattern).matches(topic), policy, "policy {pattern} ~ {topic}");
        }
        let own = Pattern::policy("x.{service}.>").expect("pattern");
        assert!(own.matches_for("x.bodhi.y", "bodhi") && !own.matches_for("x.koji.y", "bodhi"));
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_refused() {
        for text in ["", "a..b", ">.a", "a.>.b", "a*", "a.b>", "a.{service}", "a b"] {
            assert!(Pattern::subscription(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_overlap_when_a_topic_is_in_both() {
        for (a, b, expected) in [
            ("a.b", "a.b.c", true),
            ("a.b.c", "a.b", true),
            ("a.*", "*.b", true),
            ("a.x", "a.y", false),
            ("a.>", "a.b.c.d", true),
            ("a.>", "b.>", false),
            (">", "q.r", true),
        ] {
            let (a, b) = (Pattern::subscription(a), Pattern::subscription(b));
            let (a, b) = (a.expect("a"), b.expect("b"));
            assert_eq!(a.overlaps(&b), expected, "{a} and {b}");
        }
    }

    #[test]
    fn relative_names_get_prefix_and_environment() {
        let naming = Naming::new("org.example", "prod").expect("naming");
        let topic = |text| naming.topic(text).map(|topic| topic.to_string());
        assert_eq!(topic("koji.build.create"), Ok("org.example.prod.koji.build.create".into()));
        assert_eq!(topic("org.example.dev.x"), Ok("org.example.dev.x".into()));
        assert_eq!(topic("org.examples.x"), Ok("org.example.prod.org.examples.x".into()));
        assert!(topic("_heartbeat.x").is_err());
        assert_eq!(naming.pattern("koji").expect("p").as_str(), "org.example.prod.koji");
        assert_eq!(naming.pattern("*.x").expect("p").as_str(), "*.x");
    }
}
