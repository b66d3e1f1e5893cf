//! What can be wrong with a configuration, and where: file, line, column and key.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::consumer::{ConsumerNameError, StoreAddressError};
use crate::endpoint::EndpointError;
use crate::identity::NameError;
use crate::keys::KeyError;
use crate::policy::SubjectError;
use crate::topic::TopicError;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or folder.
    File(Arc<Path>),
    /// A variable of the environment.
    Environment(Arc<str>),
    /// A flag of the command line, by its dotted key.
    Flag(Arc<str>),
    /// The profile that is in force without any configuration.
    ZeroConfiguration,
}

/// A place in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The source.
    pub source: Source,
    /// The line, counted from 1; 0 is the source as a whole.
    pub line: u32,
    /// The character in the line, counted from 1.
    pub column: u32,
}

impl Place {
    /// The source as a whole.
    pub(super) fn whole(source: Source) -> Place {
        Place { source, line: 0, column: 0 }
    }

    /// Without the column: what a value's or a rule's origin is called.
    pub(super) fn origin(&self) -> String {
        match self.line {
            0 => self.source.to_string(),
            line => format!("{}:{line}", self.source),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => path.display().fmt(f),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::Flag(key) => write!(f, "flag {key}"),
            Source::ZeroConfiguration => f.write_str("zero configuration"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => self.source.fmt(f),
            line => write!(f, "{}:{line}:{}", self.source, self.column),
        }
    }
}

/// One thing that is wrong, or that deserves a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The dotted key; empty when it is about a whole file.
    pub key: String,
    /// What.
    pub kind: ProblemKind,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A file or folder that is missing or cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// A file or folder that everybody may write.
    #[error("everybody may write it (mode {mode:04o}), so nobody can trust it: chmod o-w")]
    WritableByAll {
        /// Its permission bits.
        mode: u32,
    },
    /// More files than are read.
    #[error("more than {0} files")]
    TooManyFiles(usize),
    /// No TOML.
    #[error("{0}")]
    Syntax(String),
    /// A key that means nothing.
    #[error("unknown key{}", suggestion(.did_you_mean))]
    UnknownKey {
        /// The known key that looks most like it.
        did_you_mean: Option<String>,
    },
    /// A key that has to be there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A value of another type.
    #[error("{expected} is expected, but this is {found}")]
    WrongType {
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A number beyond its bounds.
    #[error("{value} is out of bounds: {min} to {max}")]
    OutOfBounds {
        /// The number as it was written.
        value: String,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// A bad identity or stream.
    #[error("{0}")]
    Name(#[from] NameError),
    /// An identity that was written without quotes: TOML makes nested tables of it.
    #[error(
        "`{0}` is no identity: SERVICE.INSTANCE is expected, in quotes, because it has a dot: \"{0}.host\""
    )]
    Unquoted(String),
    /// A bad topic or pattern.
    #[error("{0}")]
    Topic(#[from] TopicError),
    /// A bad subject of a rule.
    #[error("{0}")]
    Subject(#[from] SubjectError),
    /// A pattern that no identity can match.
    #[error("`{pattern}` can match no identity: {why}")]
    NoIdentity {
        /// The pattern.
        pattern: String,
        /// The reason.
        why: &'static str,
    },
    /// A bad endpoint.
    #[error("{0}")]
    Endpoint(#[from] EndpointError),
    /// Port 0 in an address that others have to connect to.
    #[error("`{0}`: nobody can connect to port 0")]
    NoPort(String),
    /// One address for two purposes.
    #[error("`{address}` stands twice: the first time at {first}")]
    DuplicateAddress {
        /// The address.
        address: String,
        /// Key and place of the first one.
        first: String,
    },
    /// More addresses in one entry than are allowed.
    #[error("{0} addresses; at most {max} are allowed", max = crate::limits::ENDPOINT_RANGE_MAX)]
    TooManyAddresses(usize),
    /// A name that is no endpoint entry.
    #[error("there is no endpoint `{name}`{}", suggestion(.did_you_mean))]
    NoSuchEndpoint {
        /// The name.
        name: String,
        /// The endpoint whose name looks most like it.
        did_you_mean: Option<String>,
    },
    /// A relay that takes no messages.
    #[error("`{0}` is no relay: its endpoint entry has no `submit`")]
    NotARelay(String),
    /// An archive that nobody can ask, or nobody can give anything to.
    #[error("an archive needs `{0}`, too")]
    ArchiveWithout(&'static str),
    /// A pattern that selects none of the configured endpoints.
    #[error("`{0}` matches none of the configured endpoints")]
    MatchesNoEndpoint(String),
    /// A rule about nobody, or about two kinds of subjects.
    #[error("a rule has exactly one of `service` and `identity`")]
    OneSubject,
    /// An empty list where it would mean nothing.
    #[error("the list is empty")]
    Empty,
    /// A bad key.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// A key that stands twice in one file.
    #[error("key {0} stands twice")]
    KeyTwice(String),
    /// A key file whose name is not that of its identity.
    #[error("the keys of `{identity}` belong into a file `{identity}.toml`")]
    FileName {
        /// The identity.
        identity: String,
    },
    /// A time without an offset.
    #[error("a time has a date, a time and an offset, without quotes: 2026-01-31T00:00:00Z")]
    BadTime,
    /// A key that is valid at no time.
    #[error("`not_after` is before `not_before`: the key would never be valid")]
    NeverValid,
    /// A bad position of a revocation.
    #[error("`{0}` is not {1}")]
    BadPosition(String, &'static str),
    /// A path that depends on the current directory.
    #[error("`{0}` is no absolute path")]
    RelativePath(String),
    /// No place for state or sockets, or one that others could write.
    #[error("{0}")]
    Profile(String),
    /// No address of a store of consumers.
    #[error("{0}")]
    Store(#[from] StoreAddressError),
    /// No name of a durable consumer.
    #[error("{0}")]
    Consumer(#[from] ConsumerNameError),
    /// A word that is no level of a publisher.
    #[error(
        "`{0}` is no level: `local`, `memory`, `replicated(N)` or `stored(N)` is expected, N from 1 to 255"
    )]
    NoLevel(String),
    /// A level of something that is neither a service nor an identity.
    #[error("`{0}` is neither a service nor an identity, SERVICE.INSTANCE in quotes")]
    NobodysLevel(String),
    /// A word for what happens without copies that means nothing.
    #[error("`{0}` is not `fail` or `local`")]
    NoChoice(String),
    /// A key that can be set in files alone.
    #[error("only keys of {0} can be set here")]
    NotHere(&'static str),
    /// A process that nobody gave a name.
    #[error(
        "who is this process? Set `identity` in [publisher], or FEDMSG_IDENTITY, to SERVICE.INSTANCE"
    )]
    NoProcessIdentity,
    /// A folder without a single file.
    #[error("the folder has no configuration: nobody is trusted")]
    NothingThere,
    /// The folder was in use, and has vanished or was emptied.
    #[error("the configuration folder is gone or empty")]
    Gone,
}

fn suggestion(did_you_mean: &Option<String>) -> String {
    did_you_mean.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.kind),
            key => write!(f, "{}: {key}: {}", self.place, self.kind),
        }
    }
}

/// Something odd that does not keep the configuration from being used.
pub type ConfigWarning = Problem;

/// Everything that is wrong with a configuration; prints one problem a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(problems: Vec<Problem>) -> ConfigError {
        ConfigError { problems }
    }

    pub(super) fn one(place: Place, key: &str, kind: ProblemKind) -> ConfigError {
        ConfigError::new(vec![Problem { place, key: key.into(), kind }])
    }

    /// What is wrong; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The candidate that looks most like a misspelt word, if any does.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let score = |candidate: &'a str| (strsim::jaro_winkler(word, candidate), candidate);
    let scored = candidates.into_iter().map(score);
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then(|| best.1.into())
}
