//! `fedmsg journal`: what publishers of this host kept, and whether it is whole.

mod cat;
mod check;
mod export;
mod import;
mod list;
mod places;
mod verify;
mod walk;

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fedmsg::StreamName;
use fedmsg::config::ConfigError;
use fedmsg::consumer::Position;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::journal::{ArchiveError, Body, JournalError, Reader};
use fedmsg::rejection::Rejection;
use fedmsg_tail::TailError;
use fedmsg_tool::{Code, CommonOptions, Fault, logging};
use tracing::level_filters::LevelFilter;

pub(crate) use places::{Place, all, disk};
pub(crate) use walk::epoch;

const EXAMPLES: &str = "\
Examples:
  fedmsg journal list                          what there is: streams, epochs, sizes, ages
  fedmsg journal check                         read everything, verify everything
  fedmsg journal cat bodhi.backend01/0         one line for each record
  fedmsg journal export bodhi.backend01/0 bodhi.fmx
  fedmsg journal import bodhi.fmx              on another host

Journals are in STATE_DIR/streams/IDENTITY/SLOT/journal; --folder takes one from anywhere. Nothing here changes
a journal, and all of it can run beside its publisher.

Exit codes: 0 success · 1 failure · 2 wrong command line · 3 damage · 5 the signature of a record cannot be
verified · 6 the policy refuses a record · 75 a publisher is at work on the stream";

/// Options of `fedmsg journal`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List journals: epochs, sizes, ages
    #[command(after_long_help = list::EXAMPLES)]
    List(list::Options),
    /// Read everything: checksums, chain, signatures, policy
    #[command(after_long_help = check::EXAMPLES)]
    Check(check::Options),
    /// Print records
    #[command(after_long_help = cat::EXAMPLES)]
    Cat(cat::Options),
    /// Write a journal, or a part of it, into one file
    #[command(after_long_help = export::EXAMPLES)]
    Export(export::Options),
    /// Put an exported journal into its place on this host
    #[command(after_long_help = import::EXAMPLES)]
    Import(import::Options),
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A journal cannot be read or made.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A folder cannot be read.
    #[error("cannot list {path}", path = .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// There is no journal of this stream.
    #[error("no journal of {stream} in {path}; `fedmsg journal list` shows which there are", path = .path.display())]
    NoJournal {
        /// The stream.
        stream: StreamName,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A folder in which there is no journal.
    #[error("no journal in {path}, or none whose stream can be told", path = .0.display())]
    NoStream(PathBuf),
    /// The journal is that of another stream.
    #[error("{path} is the journal of {found}, not of {expected}", path = .path.display())]
    OtherStream {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: StreamName,
    },
    /// Nothing of what was asked for is there.
    #[error("the journal has nothing of this; `fedmsg journal list` shows what it has")]
    NothingThere,
    /// What was to be exported cannot be read.
    #[error(
        "numbers {from} to {to} of epoch {epoch} cannot be read: export what is around them, with --epoch, --from and --to"
    )]
    Unreadable {
        /// The epoch.
        epoch: Epoch,
        /// The first number.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// Binary data on a terminal.
    #[error("an export is binary: name a file, or let stdout be one")]
    Terminal,
    /// A file of an export cannot be used.
    #[error("{path}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The file of an export is wrong.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A record that is not its stream's.
    #[error("number {i} of epoch {epoch} is refused: {reason}; nothing was imported")]
    Refused {
        /// Its epoch.
        epoch: Epoch,
        /// Its number.
        i: u64,
        /// Why.
        reason: Rejection,
    },
    /// A record at a place that is not its own.
    #[error("number {i} of epoch {epoch} is another record's; nothing was imported")]
    Misplaced {
        /// The epoch.
        epoch: Epoch,
        /// The number.
        i: u64,
    },
    /// There is another journal already.
    #[error(
        "{path} has another journal of this stream: number {i} of epoch {epoch} differs or is missing there; nothing was changed",
        path = .path.display()
    )]
    Differs {
        /// The folder.
        path: PathBuf,
        /// The epoch.
        epoch: Epoch,
        /// The number.
        i: u64,
    },
    /// A publisher is at work.
    #[error("a publisher is at work on {0}: stop it first")]
    Held(StreamName),
    /// A record cannot be shown.
    #[error(transparent)]
    Show(#[from] TailError),
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[from] io::Error),
}

impl Fault for Error {
    fn code(&self) -> Code {
        match self {
            Error::Unreadable { .. } => Code::Trouble,
            Error::Archive(ArchiveError::CutOff(_) | ArchiveError::Damaged(_)) => Code::Trouble,
            Error::Refused { .. } | Error::Misplaced { .. } => Code::RefusedSignature,
            Error::Terminal => Code::Usage,
            Error::Held(_) => Code::RetryLater,
            _ => Code::General,
        }
    }
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    match &options.command {
        Command::List(options) => list::run(options, common),
        Command::Check(options) => check::run(options, common),
        Command::Cat(options) => cat::run(options, common),
        Command::Export(options) => export::run(options, common),
        Command::Import(options) => import::run(options, common),
    }
}

/// A record of the journals of this host, if it is there.
pub(crate) fn read_one(state: &Path, at: &Position) -> Option<Wire> {
    let batch = reader_of(state, &at.stream)?.read(at.epoch, at.i, at.i, 1, 0).ok()?;
    match batch.entries.into_iter().next()?.body {
        Body::Record(wire) => Some(wire),
        _ => None,
    }
}

/// A reader of the journal of a stream on this host, if there is one.
pub(crate) fn reader_of(state: &Path, stream: &StreamName) -> Option<Reader> {
    let folder = places::slot_of(state, stream).join("journal");
    folder.is_dir().then(|| Reader::new(disk(), &folder))
}

#[cfg(test)]
mod tests {
    use crate::Cli;
    use clap::Parser;

    #[test]
    fn a_journal_is_named_by_its_stream_or_by_its_folder() {
        for (arguments, is_good) in [
            ("list", true),
            ("check", true),
            ("check a.b/0 a.b/1 --json", true),
            ("check a.b/0 --folder x", false),
            ("check a.b", false),
            ("cat", false),
            ("cat a.b/0", true),
            ("cat --folder x", true),
            ("cat a.b/0 --json --raw", false),
            ("cat a.b/0 --epoch 7", false),
            ("export a.b/0 file", true),
            ("export --folder x --file file", true),
            ("export a.b/0 file --file file", false),
            ("import", true),
            ("import file --folder x", true),
        ] {
            let line = ["fedmsg", "journal"].into_iter().chain(arguments.split(' '));
            assert_eq!(Cli::try_parse_from(line).is_ok(), is_good, "{arguments}");
        }
    }
}
