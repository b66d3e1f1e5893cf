//! `fedmsg stream`: one stream, looked at where it is kept, and what an operator can do about it.

mod change;
mod show;

use std::io;
use std::time::Duration;

use clap::{Args, Subcommand};
use fedmsg::StreamName;
use fedmsg::config::ConfigError;
use fedmsg::journal::JournalError;
use fedmsg::publisher::OrderError;
use fedmsg::transport::NetError;
use fedmsg_tool::{Code, CommonOptions, Fault, logging};
use tracing::level_filters::LevelFilter;

pub(crate) use show::{Beat, Stand, here, stand_of};

const EXAMPLES: &str = "\
Examples:
  fedmsg stream show bodhi.backend01/0      who keeps it, which epochs, how far, and whether it goes on
  fedmsg stream renew bodhi.backend01/0     on its host: begin a new epoch, after a fork
  fedmsg stream retire bodhi.backend01/3    on its host: it has ended, and readers need not wait

Exit codes: 0 success · 1 failure · 2 wrong command line · 4 nobody knows the stream, or its publisher does not
react · 75 a publisher is at work on the stream";

/// Options of `fedmsg stream`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ask everybody who keeps a stream how far it is
    #[command(after_long_help = show::EXAMPLES)]
    Show(show::Options),
    /// Have the publisher of a stream begin a new epoch
    #[command(after_long_help = change::RENEW_EXAMPLES)]
    Renew(change::Renew),
    /// Say that a stream has ended whose publisher is gone
    #[command(after_long_help = change::RETIRE_EXAMPLES)]
    Retire(change::Retire),
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The order cannot be given.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A journal of this host cannot be read.
    #[error("the journal of this host")]
    Journal(#[from] JournalError),
    /// Sockets cannot be made.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Nobody has anything of the stream.
    #[error(
        "nobody who was asked knows {stream}: {asked}; `fedmsg streams` shows which streams are alive"
    )]
    Unknown {
        /// The stream.
        stream: StreamName,
        /// Who was asked, in words.
        asked: String,
    },
    /// The publisher does not react.
    #[error(
        "the process that publishes {stream} did not begin a new epoch within {waited:?}; the order stands until it does, or until it is started again"
    )]
    NoReaction {
        /// The stream.
        stream: StreamName,
        /// How long it was waited.
        waited: Duration,
    },
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[from] io::Error),
}

impl Fault for Error {
    fn code(&self) -> Code {
        match self {
            Error::Order(OrderError::Held { .. }) => Code::RetryLater,
            Error::Unknown { .. } | Error::NoReaction { .. } => Code::TimedOut,
            _ => Code::General,
        }
    }
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    match &options.command {
        Command::Show(options) => show::run(options, common),
        Command::Renew(options) => change::renew(options, common),
        Command::Retire(options) => change::retire(options, common),
    }
}

#[cfg(test)]
mod tests {
    use crate::Cli;
    use clap::Parser;

    #[test]
    fn every_command_needs_one_stream() {
        for (arguments, is_good) in [
            ("show a.b/0", true),
            ("show a.b/0 --json --timeout 1s", true),
            ("show", false),
            ("show a.b", false),
            ("show a.b/0 a.b/1", false),
            ("renew a.b/0 --timeout 30s", true),
            ("renew", false),
            ("retire a.b/0 --for 5s", true),
            ("retire a.b/0 --for x", false),
            ("retire", false),
        ] {
            let line = ["fedmsg", "stream"].into_iter().chain(arguments.split(' '));
            assert_eq!(Cli::try_parse_from(line).is_ok(), is_good, "{arguments}");
        }
    }
}
