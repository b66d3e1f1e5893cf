//! `fedmsg outbox`: what processes of this host gave to relays, or could not yet.

mod drop;
mod flush;
mod list;

use std::io;
use std::sync::Arc;

use clap::{Args, Subcommand};
use fedmsg::config::ConfigError;
use fedmsg::journal::{Disk, JournalError, OsDisk};
use fedmsg::outbox::{FlushError, ListError, Waiting};
use fedmsg::{Config, Identity, StreamName};
use fedmsg_tool::{Code, CommonOptions, Fault, logging};
use tracing::level_filters::LevelFilter;

use crate::config::load;

const EXAMPLES: &str = "\
Examples:
  fedmsg outbox list                                what no relay has yet
  fedmsg outbox flush                               hand it over; for a timer, or after an outage
  fedmsg outbox drop log.web01/0199… --yes          give it up

Exit codes: 0 success · 1 failure · 2 wrong command line · 75 something is left (flush), or somebody is at work on
the stream (drop)";

/// Options of `fedmsg outbox`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what no relay has yet, and how far each relay is
    #[command(after_long_help = list::EXAMPLES)]
    List(list::Options),
    /// Deliver what waits and is nobody's at work
    #[command(after_long_help = flush::EXAMPLES)]
    Flush(flush::Options),
    /// Give up what no relay has of a stream
    #[command(after_long_help = drop::EXAMPLES)]
    Drop(drop::Options),
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The outbox cannot be looked at.
    #[error(transparent)]
    List(#[from] ListError),
    /// A journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It cannot be delivered or given up.
    #[error(transparent)]
    Flush(#[from] FlushError),
    /// Nothing of this stream goes through relays here.
    #[error("{0} does not go through relays from here; `fedmsg outbox list` shows what does")]
    NotHere(StreamName),
    /// It was not confirmed.
    #[error(
        "{messages} messages of {stream} that no relay has would be given up: say so with --yes, or with --messages {messages}"
    )]
    NotSure {
        /// The stream.
        stream: StreamName,
        /// How many.
        messages: u64,
    },
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[from] io::Error),
}

impl Fault for Error {
    fn code(&self) -> Code {
        match self {
            Error::Flush(FlushError::Held { .. }) => Code::RetryLater,
            Error::NotSure { .. } | Error::Flush(FlushError::OtherCount { .. }) => Code::Usage,
            _ => Code::General,
        }
    }
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::ERROR);
    let config = load(common)?;
    match &options.command {
        Command::List(options) => list::run(options, &config),
        Command::Flush(options) => flush::run(options, &config, common),
        Command::Drop(options) => drop::run(options, &config, common),
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(OsDisk)
}

/// The streams that go through relays, or those of one identity.
fn all(config: &Config, identity: Option<&Identity>) -> Result<Vec<Waiting>, Error> {
    Ok(fedmsg::outbox::list(&disk(), &config.state_dir, identity)?)
}
