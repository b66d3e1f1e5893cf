//! `fedmsg consumer`: how far durable consumers are, and moving them by hand.

mod change;
mod lag;
mod list;
mod show;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use fedmsg::StreamName;
use fedmsg::config::{Config, ConfigError};
use fedmsg::consumer::{ConsumerName, CursorStore, Lease, StoreAddress, StoreError};
use fedmsg::escape::escape;
use fedmsg::timestamp::Timestamp;
use fedmsg::topic::TopicError;
use fedmsg_tool::{Code, CommonOptions, Fault, logging};
use tracing::level_filters::LevelFilter;

use crate::config::load;
pub(crate) use lag::behind;

const EXAMPLES: &str = "\
Examples:
  fedmsg consumer list                                     who is there, how far, who is run by whom
  fedmsg consumer show badges                              its cursors, and what could not be handled
  fedmsg consumer seek badges bodhi.backend01/0 1200       number 1,201 is next
  fedmsg consumer skip badges bodhi.backend01/0 1          pass over one message
  fedmsg consumer retry badges --all                       have dead letters tried again

The store is what `store` in [consumer] says: STATE_DIR/consumers.db when it says nothing. To look is always
allowed, and so is retry. The others are refused while the consumer runs.

Exit codes: 0 success · 1 failure, or no such consumer · 2 wrong command line · 75 somebody runs the consumer,
or the store is busy";

/// Options of `fedmsg consumer`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the consumers of the store
    #[command(after_long_help = list::EXAMPLES)]
    List(list::Options),
    /// Show one consumer: its cursors, and its dead letters
    #[command(after_long_help = show::EXAMPLES)]
    Show(show::Options),
    /// Put the cursor of a stream somewhere else
    #[command(after_long_help = change::SEEK_EXAMPLES)]
    Seek(change::Seek),
    /// Pass over messages of a stream
    #[command(after_long_help = change::SKIP_EXAMPLES)]
    Skip(change::Skip),
    /// Have dead letters tried again
    #[command(after_long_help = change::RETRY_EXAMPLES)]
    Retry(change::Retry),
    /// Forget a consumer, and all that is kept for it
    #[command(after_long_help = change::DELETE_EXAMPLES)]
    Delete(change::Delete),
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no store.
    #[error(
        "there is no store of consumers: {path} is made by the first consumer that runs here; another one is said by `store` in [consumer]",
        path = .0.display()
    )]
    NoStore(PathBuf),
    /// The store refuses, or cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An epoch has to be named.
    #[error("consumer {consumer} has no cursor in {stream} yet: name the epoch with --epoch")]
    NoEpoch {
        /// The consumer.
        consumer: ConsumerName,
        /// The stream.
        stream: StreamName,
    },
    /// The pattern is wrong.
    #[error("the pattern is wrong")]
    Pattern(#[source] TopicError),
    /// No dead letter of these numbers.
    #[error("there is no such dead letter; `fedmsg consumer show {0} --letters` lists them")]
    NoLetter(ConsumerName),
    /// A journal cannot be read.
    #[error(transparent)]
    Journal(#[from] fedmsg::journal::JournalError),
    /// Sockets cannot be made.
    #[error(transparent)]
    Net(#[from] fedmsg::transport::NetError),
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[from] io::Error),
}

impl Fault for Error {
    fn code(&self) -> Code {
        match self {
            Error::Store(StoreError::Held { .. } | StoreError::Busy { .. }) => Code::RetryLater,
            Error::Pattern(_) => Code::Usage,
            _ => Code::General,
        }
    }
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    let config = load(common)?;
    let mut store = open(&config)?;
    let store = &mut *store;
    let said = match &options.command {
        Command::List(options) => return list::run(options, store, &config),
        Command::Show(options) => return show::run(options, store, &config),
        Command::Seek(options) => change::seek(options, store)?,
        Command::Skip(options) => change::skip(options, store)?,
        Command::Retry(options) => change::retry(options, store, &config)?,
        Command::Delete(options) => change::delete(options, store)?,
    };
    tell(common, &said);
    Ok(Code::Ok)
}

/// The store, when it is there. Nobody who only wants to look makes one: it would be his own, and the consumer's
/// user could not write it.
pub(crate) fn open(config: &Config) -> Result<Box<dyn CursorStore>, Error> {
    match config.store_address() {
        StoreAddress::Sqlite(path) if !path.exists() => Err(Error::NoStore(path)),
        address => Ok(address.open()?),
    }
}

/// Says on stderr what was done.
pub(crate) fn tell(common: &CommonOptions, said: &str) {
    if common.quiet == 0 {
        // When stderr is closed, there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{}", escape(said));
    }
}

pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Who runs a consumer now.
fn running(lease: Option<&Lease>, now: Timestamp) -> Option<&Lease> {
    lease.filter(|lease| lease.until > now)
}
