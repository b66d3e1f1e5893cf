//! Why a tail ends with an error.

use fedmsg::identity::StreamName;
use fedmsg::topic::TopicError;
use fedmsg_tool::{Code, Fault};

use crate::jq::JqError;
use crate::render::format::FormatError;
use crate::when::WhenError;

/// Why a tail ends with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TailError {
    /// A pattern on the command line.
    #[error("a pattern is wrong")]
    Pattern(#[source] TopicError),
    /// `--include` or `--exclude`.
    #[error("the regular expression `{text}` is wrong: {why}")]
    Regex {
        /// The expression.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// `--filter`, `--map` or `--query`.
    #[error("the jq program of --{option} is wrong")]
    Jq {
        /// Which option.
        option: &'static str,
        /// What is wrong.
        #[source]
        source: JqError,
    },
    /// `--format`.
    #[error("the format is wrong")]
    Format(#[source] FormatError),
    /// `--since`.
    #[error("--since")]
    Since(#[source] WhenError),
    /// A stream of `--from` that nobody keeps.
    #[error(
        "nobody keeps {stream}: neither its service nor a relay of its host has a `replay` address in the configuration (`fedmsg config show`)"
    )]
    Unkept {
        /// The stream.
        stream: StreamName,
    },
    /// The configuration names nobody who keeps anything.
    #[error(
        "there is no past to read: no service that may publish this has a `replay` address in the configuration. Add one to its endpoint (`replay = \"tcp://HOST:PORT\"`); what is on this host's disk is shown by `fedmsg journal list` and `cat`"
    )]
    NoPast,
    /// Signals cannot be handled.
    #[error("cannot handle signals")]
    Signals(#[source] std::io::Error),
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[from] std::io::Error),
    /// The configuration.
    #[error(transparent)]
    Config(fedmsg::config::ConfigError),
    /// How it is cannot be shown.
    #[error(transparent)]
    Status(#[from] fedmsg_tool::status::StatusError),
    /// Connecting.
    #[error(transparent)]
    Subscribe(fedmsg::subscriber::SubscribeError),
}

impl Fault for TailError {
    fn code(&self) -> Code {
        match self {
            TailError::Pattern(_)
            | TailError::Regex { .. }
            | TailError::Jq { .. }
            | TailError::Since(_)
            | TailError::Format(_) => Code::Usage,
            _ => Code::General,
        }
    }
}
