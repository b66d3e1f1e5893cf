//! Who may publish and read which topics: deny over allow over default deny.

use std::fmt;

use crate::identity::Identity;
use crate::topic::{Naming, Pattern, TopicError};

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `[[publish]]`: lets its subjects publish its topics.
    Publish,
    /// `[[read]]`: lets its subjects read its topics.
    Read,
    /// `[[deny]]`: keeps its subjects from its topics, whatever else allows them.
    Deny,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Publish => "[[publish]]",
            Action::Read => "[[read]]",
            Action::Deny => "[[deny]]",
        })
    }
}

/// Why a text is no subject of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// Neither `*` nor a name that a service can have.
    #[error(
        "`{0}` is no service: `*` or a name of a-z 0-9 _ - is expected (patterns go into `identity`)"
    )]
    Service(String),
    /// No identity can match.
    #[error(
        "`{0}` matches no identity: SERVICE.INSTANCE is expected, with `*` for a token or `>` at the end"
    )]
    Identity(String),
    /// No pattern.
    #[error(transparent)]
    Pattern(#[from] TopicError),
}

/// Whom a rule is about: a pattern over service (`*` or a name) or over identity (`bodhi.*`, `bodhi.>`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Every identity of a service; `None` is `*`.
    Service(Option<String>),
    /// Identities by tokens: `*` is one token, `>` one or more at the end.
    Identity(Pattern),
}

impl Subject {
    /// Reads `service = "…"`: `*`, or the name of one service.
    pub fn service(text: &str) -> Result<Subject, SubjectError> {
        if text == "*" {
            return Ok(Subject::Service(None));
        }
        // A service is what comes before the first dot of an identity.
        match Identity::parse(&format!("{text}.x")) {
            Ok(identity) if identity.service() == text => Ok(Subject::Service(Some(text.into()))),
            _ => Err(SubjectError::Service(text.into())),
        }
    }

    /// Reads `identity = "…"`: tokens of an identity, `*` for one, `>` for one or more at the end. One that
    /// no identity can match is refused: as a `[[deny]]` it would silently deny nobody.
    pub fn identity(text: &str) -> Result<Subject, SubjectError> {
        let pattern = Pattern::policy(text)?;
        // With names in the places of the wildcards it must be an identity.
        let example: Vec<&str> = text
            .split('.')
            .map(|token| match token {
                "*" => "x",
                ">" => "x.x",
                literal => literal,
            })
            .collect();
        match Identity::parse(&example.join(".")) {
            Ok(_) => Ok(Subject::Identity(pattern)),
            Err(_) => Err(SubjectError::Identity(text.into())),
        }
    }

    fn covers(&self, identity: &Identity) -> bool {
        match self {
            Subject::Service(None) => true,
            Subject::Service(Some(service)) => service == identity.service(),
            Subject::Identity(pattern) => pattern.matches(identity.as_str()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Service(None) => f.write_str("service *"),
            Subject::Service(Some(service)) => write!(f, "service {service}"),
            Subject::Identity(pattern) => write!(f, "identity {pattern}"),
        }
    }
}

/// One rule, and where it stands.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// Whom it is about.
    pub subject: Subject,
    /// Whom it is not about, although `subject` covers them.
    pub except: Vec<Subject>,
    topics: Vec<Pattern>,
    /// File and line, for people.
    pub origin: String,
}

impl Rule {
    /// A rule over these topics; `{prefix}`, `{env}` and `{service}` may stand in them.
    pub fn new(
        action: Action,
        subject: Subject,
        topics: &[impl AsRef<str>],
        naming: &Naming,
        origin: impl Into<String>,
    ) -> Result<Rule, TopicError> {
        let topics = topics.iter().map(|text| Pattern::policy(&naming.expand(text.as_ref())));
        let topics = topics.collect::<Result<_, _>>()?;
        Ok(Rule { action, subject, except: Vec::new(), topics, origin: origin.into() })
    }

    /// The topics that the rule is about.
    pub fn topics(&self) -> &[Pattern] {
        &self.topics
    }

    fn covers(&self, identity: &Identity) -> bool {
        self.subject.covers(identity) && !self.except.iter().any(|except| except.covers(identity))
    }

    fn applies(&self, identity: &Identity, topic: &str) -> bool {
        self.covers(identity)
            && self.topics.iter().any(|pattern| pattern.matches_for(topic, identity.service()))
    }
}

/// A decision and the rule behind it.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The deciding rule; `None` when no rule is about it, which denies.
    pub rule: Option<&'a Rule>,
}

/// All rules of a bus. Their order has no meaning.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// A policy of these rules.
    pub fn new(rules: Vec<Rule>) -> Policy {
        Policy { rules }
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Adds a rule.
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Whether this identity may publish this topic, and by which rule.
    pub fn may_publish(&self, identity: &Identity, topic: &str) -> Decision<'_> {
        self.decide(Action::Publish, identity, topic)
    }

    /// Whether this identity may read this topic, and by which rule.
    pub fn may_read(&self, identity: &Identity, topic: &str) -> Decision<'_> {
        self.decide(Action::Read, identity, topic)
    }

    /// Whether this identity may publish something that the pattern matches, as far as `[[publish]]` says.
    pub fn may_publish_into(&self, identity: &Identity, pattern: &Pattern) -> bool {
        let allows = |rule: &&Rule| rule.action == Action::Publish && rule.covers(identity);
        let mut patterns = self.rules.iter().filter(allows).flat_map(|rule| &rule.topics);
        patterns.any(|topics| topics.overlaps(pattern))
    }

    fn decide(&self, action: Action, identity: &Identity, topic: &str) -> Decision<'_> {
        let find = |action| {
            let mut rules = self.rules.iter();
            rules.find(|rule| rule.action == action && rule.applies(identity, topic))
        };
        let denied = find(Action::Deny);
        let rule = denied.or_else(|| find(action));
        Decision { allowed: denied.is_none() && rule.is_some(), rule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: Action, subject: Subject, topic: &str) -> Rule {
        let naming = Naming::new("org.example", "prod").expect("naming");
        Rule::new(action, subject, &[topic], &naming, "test").expect("rule")
    }

    #[test]
    fn deny_beats_allow_beats_silence_in_any_order() {
        let own = rule(Action::Publish, Subject::Service(None), "{prefix}.{env}.{service}.>");
        let sec = Subject::identity("bodhi.*").expect("subject");
        let mut deny = rule(Action::Deny, sec, "org.example.*.*.security.>");
        deny.except = vec![Subject::identity("bodhi.sec").expect("subject")];
        let cases = [
            ("bodhi.a", "org.example.prod.bodhi.update.new", true),
            ("bodhi.a", "org.example.prod.koji.update.new", false),
            ("bodhi.a", "org.example.dev.bodhi.update.new", false),
            ("bodhi.a", "org.example.prod.bodhi.security.new", false),
            ("bodhi.sec", "org.example.prod.bodhi.security.new", true),
            ("bodhi.a", "org.example.prod.bodhi", false),
        ];
        for rules in [vec![own.clone(), deny.clone()], vec![deny, own]] {
            let policy = Policy::new(rules);
            for (who, topic, allowed) in cases {
                let identity = Identity::parse(who).expect("identity");
                let decision = policy.may_publish(&identity, topic);
                assert_eq!(decision.allowed, allowed, "{who} {topic}");
                assert!(!policy.may_read(&identity, topic).allowed);
            }
        }
        assert!(!Policy::default().may_publish(&Identity::parse("a.b").expect("i"), "a").allowed);
    }

    #[test]
    fn a_service_is_one_token() {
        assert!(Subject::service("bodhi.x").is_err());
        assert!(Subject::service("bo*").is_err());
        for text in [">", "{service}", "Bodhi", ""] {
            assert!(Subject::service(text).is_err(), "{text}");
        }
        for text in ["bodhi", "*", "{service}.x", "Bodhi.x", "a..b"] {
            assert!(Subject::identity(text).is_err(), "{text}");
        }
        for text in [">", "*.*", "bodhi.>", "*.backend01", "a.b.*"] {
            assert!(Subject::identity(text).is_ok(), "{text}");
        }
        assert!(Subject::service("bodhi").is_ok());
    }
}
