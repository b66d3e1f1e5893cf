//! `fedmsg check`: whether all is well, for people, scripts and monitoring; no database is needed.

mod config;
mod disk;
mod finding;
mod gaps;
mod lag;
mod reach;
mod report;
mod scan;
mod silence;
mod subject;
mod thresholds;
mod topics;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use fedmsg::config::{Config, ConfigError};
use fedmsg::subscriber::Subscriber;
use fedmsg::topic::TopicError;
use fedmsg::transport::NetError;
use fedmsg_tool::{Code, CommonOptions, Fault, duration, logging, signals};
use tracing::level_filters::LevelFilter;

use crate::config::{load, print};
use crate::streams::{GatherError, LONGEST, Listening, Plan, View, gather};
use finding::{Check, Grade, Report};
use report::Format;

const EXAMPLES: &str = "\
Examples:
  fedmsg check all                                  everything, with the usual thresholds
  fedmsg check silence bodhi koji --warn 10m --crit 1h
  fedmsg check silence --topic koji.build           the last message of these topics, whoever published it
  fedmsg check lag --crit 10000,1h --format nagios
  fedmsg check gaps --read                          have holders read everything that they keep
  fedmsg check disk --warn 20% --crit 5GiB
  fedmsg check all --json | jq -r 'select(.state == \"critical\").text'

What is found says what, where, and what to do. The worst of it is the exit code.

Exit codes: 0 all is well · 1 failure · 2 wrong command line · 3 something is wrong: a warning, or critical · 4 something
could not be told in time · 130, 143 ended by SIGINT, SIGTERM. With --format nagios: 0 ok · 1 warning · 2 critical ·
3 unknown, which is also what a failure is";

/// Options of `fedmsg check`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,

    /// How the result is written
    #[arg(long, global = true, value_enum, default_value = "text")]
    format: Format,

    /// The same as --format json
    #[arg(long, global = true, conflicts_with = "format")]
    json: bool,

    /// How long to listen and to ask at most
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    timeout: Duration,
}

#[derive(Subcommand)]
enum Command {
    /// Who has said nothing for too long: publishers that are down, and those that are up
    #[command(after_long_help = silence::EXAMPLES)]
    Silence(silence::Options),
    /// Which durable consumers are behind, or could not handle something
    #[command(after_long_help = lag::EXAMPLES)]
    Lag(lag::Options),
    /// What of streams nobody has
    #[command(after_long_help = gaps::EXAMPLES)]
    Gaps(gaps::Options),
    /// Space, journals, outboxes and relay logs of this host
    #[command(after_long_help = disk::EXAMPLES)]
    Disk(disk::Options),
    /// The files, keys, other hosts' view of them, and endpoints that do not answer
    #[command(after_long_help = config::EXAMPLES)]
    Config(config::Options),
    /// All of these, with their usual thresholds
    All,
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
    /// Sockets cannot be made.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A pattern of topics is wrong.
    #[error("the pattern is wrong")]
    Pattern(#[source] TopicError),
    /// Signals cannot be handled.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[source] io::Error),
}

impl Fault for Error {
    fn code(&self) -> Code {
        match self {
            Error::Pattern(_) => Code::Usage,
            _ => Code::General,
        }
    }
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::ERROR);
    let format = if options.json { Format::Json } else { options.format };
    let mut report = Report::new(options.command.check());
    let stopped = match (look(options, common, &mut report), format) {
        (Ok(stopped), _) => stopped,
        // Monitoring has no place for a failure but its own words.
        (Err(error), Format::Nagios) if !matches!(error, Error::Write(_)) => {
            let text = fedmsg_tool::exit::chain(&error);
            report.add(report.check, Grade::Unknown, "fedmsg", text);
            None
        }
        (Err(error), _) => return Err(error),
    };
    if let Some(code) = stopped {
        return Ok(code);
    }
    report.sort();
    print(format.lines(&report)).map_err(Error::Write)?;
    Ok(format.code(report.worst()))
}

/// Looks; the code of a signal if one came.
fn look(
    options: &Options,
    common: &CommonOptions,
    report: &mut Report,
) -> Result<Option<Code>, Error> {
    let command = &options.command;
    if matches!(command, Command::Config(_) | Command::All) && !config::loads(common, report) {
        return Ok(None);
    }
    let config = Arc::new(load(common)?);
    let subscriber = match command {
        Command::Disk(_) => None,
        _ => {
            let builder = Subscriber::builder().config(Arc::clone(&config)).internal(true);
            Some(builder.build().map_err(GatherError::from)?)
        }
    };
    let closer = subscriber.as_ref().map(Subscriber::closer);
    let stop = signals::on_stop(move || {
        if let Some(closer) = closer {
            closer.close();
        }
    });
    let stop = stop.map_err(Error::Signals)?;
    let is_stopped = || stop.code().is_some();
    let consumers = match command {
        Command::Lag(_) | Command::All => lag::stored(&config, report),
        _ => Vec::new(),
    };
    let view = match &subscriber {
        None => None,
        Some(subscriber) => {
            let plan = plan(options, common, &config, lag::cursors(&consumers));
            Some(gather(&config, &plan, Some(subscriber), &is_stopped)?)
        }
    };
    let world = World {
        config: &config,
        view: view.as_ref(),
        end: end_of(options.timeout),
        is_stopped: &is_stopped,
    };
    judge(command, &world, &consumers, report)?;
    Ok(stop.code())
}

/// What there is to be judged.
struct World<'a> {
    config: &'a Arc<Config>,
    view: Option<&'a View>,
    /// Until when more may be asked.
    end: Instant,
    is_stopped: &'a (dyn Fn() -> bool + Sync),
}

fn judge(
    command: &Command,
    world: &World<'_>,
    consumers: &[lag::Stored],
    report: &mut Report,
) -> Result<(), Error> {
    let view = world.view;
    if let Some(view) = view {
        reach::check(view, command.check(), report);
    }
    match (command, view) {
        (Command::Silence(options), Some(view)) => silence::check(options, view, world, report)?,
        (Command::Lag(options), Some(view)) => lag::check(options, view, consumers, report),
        (Command::Gaps(options), Some(view)) => gaps::check(options, view, world, report)?,
        (Command::Config(options), Some(view)) => config::check(options, view, report),
        (Command::Disk(options), _) => disk::check(options, world, report)?,
        (Command::All, Some(view)) => {
            silence::check(&silence::Options::default(), view, world, report)?;
            lag::check(&lag::Options::default(), view, consumers, report);
            gaps::check(&gaps::Options::default(), view, world, report)?;
            disk::check(&disk::Options::default(), world, report)?;
            config::check(&config::Options::default(), view, report);
        }
        (_, None) => {}
    }
    Ok(())
}

fn end_of(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now + LONGEST * 1_000)
}

/// Listens until everybody who should be there was heard, and asks meanwhile.
fn plan(
    options: &Options,
    common: &CommonOptions,
    config: &Config,
    cursors: Vec<fedmsg::consumer::Position>,
) -> Plan {
    let end = end_of(options.timeout);
    let entries = config.endpoints.values();
    let heard = entries.filter(|entry| !entry.publish.is_empty());
    let heard = heard.map(|entry| entry.identity.clone());
    let expected = heard.filter(|identity| config.subscribe.includes(identity)).collect();
    let longest = end.min(Instant::now() + LONGEST);
    let wants = |all: &[Check]| {
        let check = options.command.check();
        check == Check::All || all.contains(&check)
    };
    Plan {
        listening: Some(Listening::for_all(expected, longest)),
        end,
        only: None,
        times: wants(&[Check::Silence, Check::Lag]),
        floors: wants(&[Check::Lag]),
        cursors,
        progress: common.quiet == 0,
    }
}

impl Command {
    fn check(&self) -> Check {
        match self {
            Command::Silence(_) => Check::Silence,
            Command::Lag(_) => Check::Lag,
            Command::Gaps(_) => Check::Gaps,
            Command::Disk(_) => Check::Disk,
            Command::Config(_) => Check::Config,
            Command::All => Check::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Cli;
    use clap::Parser;

    #[test]
    fn each_check_has_thresholds_of_its_own_kind() {
        for (arguments, is_good) in [
            ("all", true),
            ("all --json --timeout 3s", true),
            ("all --format nagios", true),
            ("--format nagios all", true),
            ("all --format xml", false),
            ("all --json --format nagios", false),
            ("all --warn 1h", false),
            ("silence app app.one app.one/0 --by service --warn 10m", true),
            ("silence --topic a.b --topic c --crit 1d", true),
            ("silence --topic a.b --by stream", false),
            ("silence --warn 10", false),
            ("silence App", false),
            ("lag --warn 1000,5m --crit 10000 --consumer badges", true),
            ("lag --warn 10%", false),
            ("gaps --read app.one", true),
            ("disk --warn 20% --crit 5GiB --cover 1d", true),
            ("disk --warn 1h", false),
            ("config --warn 60d", true),
            ("", false),
        ] {
            let line = ["fedmsg", "check"].into_iter().chain(arguments.split_whitespace());
            assert_eq!(Cli::try_parse_from(line).is_ok(), is_good, "{arguments}");
        }
    }
}
