//! `fedmsg streams`: who is alive, how far each stream is, who keeps it, how far consumers are, and who sees another
//! configuration.

mod detail;
mod gather;
mod hearing;
mod list;
mod text;
mod view;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use fedmsg::StreamName;
use fedmsg::config::ConfigError;
use fedmsg::escape::escape;
use fedmsg::subscriber::Subscriber;
use fedmsg_tool::{Code, CommonOptions, Fault, duration, logging, signals};
use tracing::level_filters::LevelFilter;

use crate::config::{counted, load, print};
pub(crate) use gather::{GatherError, Plan, gather, open};
#[cfg(test)]
pub(crate) use hearing::tests as hearing_samples;
pub(crate) use hearing::{LONGEST, Listening};
pub(crate) use text::{age, table};
#[cfg(test)]
pub(crate) use view::tests as samples;
pub(crate) use view::{Life, Said, Seen, View};

const EXAMPLES: &str = "\
Examples:
  fedmsg streams                         who is alive, how far, who keeps what, which consumers lag
  fedmsg streams --timeout 6s            long enough to hear everybody: an idle publisher speaks every 5 s
  fedmsg streams bodhi.backend01/0       one stream: each holder, each consumer
  fedmsg streams --json | jq -r 'select(.config_differs).stream'
  fedmsg streams --json | jq -r '.stream as $s | .consumers[] | select(.behind > 0) | [$s, .consumer, .behind] | @tsv'

Columns: the stream, its epoch, its last message and how long ago that was published, what its receipts promise, its
state, the age of its last heartbeat, the endpoints that it was heard from (`-`: not heard, only kept somewhere), who
keeps it, named consumers that are behind with it, and the digest of the configuration that its publisher sees, with `!`
when that is not the digest seen here.

A holder is named by its identity, with the index of its address where it has several: how many messages it lacks of
those that another one has (`-3`), `partial` when some in between are missing. Consumers tell holders how far they are
while they run; `+5` are the messages that one is not done with, all streams of an epoch and topics counted.

Exit codes: 0 success · 1 failure · 2 wrong command line · 4 nothing was heard, and nobody keeps anything · 130, 143
ended by SIGINT, SIGTERM";

/// Options of `fedmsg streams`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    /// One stream in detail, IDENTITY/SLOT
    #[arg(value_parser = StreamName::parse)]
    stream: Option<StreamName>,

    /// How long to listen and to ask [default: 1s after the last new stream, at most 6s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Ask no holder: only what is heard
    #[arg(long, conflicts_with = "stream")]
    heard: bool,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing can be seen.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// Signals cannot be handled.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[source] io::Error),
    /// No heartbeat came, and nobody keeps anything.
    #[error("nothing was heard from {0}")]
    Silence(String),
    /// Nobody knows the stream.
    #[error("nobody who was asked knows {0}; `fedmsg streams` shows which streams there are")]
    Unknown(StreamName),
}

impl Fault for Error {
    fn code(&self) -> Code {
        match self {
            Error::Silence(_) | Error::Unknown(_) => Code::TimedOut,
            _ => Code::General,
        }
    }
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    // One configuration for the whole run: the digest here is what the others are held against.
    let config = Arc::new(load(common)?);
    let subscriber = Subscriber::builder().config(Arc::clone(&config)).internal(true).build();
    let subscriber = subscriber.map_err(GatherError::from)?;
    let closer = subscriber.closer();
    let stop = signals::on_stop(move || closer.close()).map_err(Error::Signals)?;
    let mut view =
        gather(&config, &plan(options, common), Some(&subscriber), &|| stop.code().is_some())?;
    // Whoever is asked for a stream that it does not have is no reason to show it.
    view.streams.retain(|_, seen| seen.is_known());

    if view.streams.is_empty() {
        return match (stop.code(), &options.stream) {
            (Some(code), _) => Ok(code),
            (None, Some(stream)) => Err(Error::Unknown(stream.clone())),
            (None, None) => Err(Error::Silence(counted(config.endpoints.len(), "endpoint"))),
        };
    }
    let shown = view.streams.iter();
    print(match (options.json, &options.stream) {
        (true, _) => shown.map(|(name, seen)| list::object(&view, name, seen)).collect(),
        (false, Some(_)) => {
            shown.flat_map(|(name, seen)| detail::block(&view, name, seen)).collect()
        }
        (false, None) => table(&list::rows(&view)),
    })
    .map_err(Error::Write)?;
    if common.quiet == 0 {
        // When stderr is closed, there is nobody left to tell.
        let mut stderr = io::stderr().lock();
        for line in list::summary(&view) {
            let _ = writeln!(stderr, "{}", escape(&line));
        }
    }
    Ok(stop.code().unwrap_or(Code::Ok))
}

fn plan(options: &Options, common: &CommonOptions) -> Plan {
    let now = Instant::now();
    let longest = options.timeout.unwrap_or(LONGEST);
    let end = now.checked_add(longest).unwrap_or(now + LONGEST * 1_000);
    let is_asked = !options.heard;
    Plan {
        listening: Some(Listening::new(options.timeout, now)),
        end: if is_asked { end } else { now },
        only: options.stream.clone(),
        times: is_asked,
        floors: is_asked,
        cursors: Vec::new(),
        progress: common.quiet == 0,
    }
}
