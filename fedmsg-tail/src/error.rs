//! Why a tail ends with an error.

use fedmsg::topic::TopicError;
use fedmsg_tool::{Code, Fault};

use crate::jq::JqError;
use crate::render::format::FormatError;

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
    /// Signals cannot be handled.
    #[error("cannot handle signals")]
    Signals(#[source] std::io::Error),
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[from] std::io::Error),
    /// The configuration.
    #[error(transparent)]
    Config(fedmsg::config::ConfigError),
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
            | TailError::Format(_) => Code::Usage,
            _ => Code::General,
        }
    }
}
