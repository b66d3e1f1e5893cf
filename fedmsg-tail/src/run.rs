//! The wiring: a real subscriber, stdout, and signals.

mod standing;

use std::io::Write;
use std::time::SystemTime;

use fedmsg::Identity;
use fedmsg::config::Config;
use fedmsg::sequence::Begin;
use fedmsg::subscriber::{Subscriber, SubscriberBuilder};
use fedmsg::topic::{Naming, Pattern};
use fedmsg_tool::color::ColorEnv;
use fedmsg_tool::output::Data;
use fedmsg_tool::{Code, CommonOptions, Daemon, LogFormat, logging, signals, terminal};
use jiff::tz::TimeZone;
use tracing::level_filters::LevelFilter;

use crate::counts::Counts;
use crate::error::TailError;
use crate::filter::Filter;
use crate::follow::Tail;
use crate::options::Options;
use crate::past::{Past, Spot};
use crate::progress::Progress;
use crate::render::{COLUMNS, Look, Renderer};
use crate::tell;
use standing::Standing;

/// Shows the messages of a bus until there is a reason to stop.
pub fn run(options: Options, common: &CommonOptions) -> Result<Code, TailError> {
    let progress = Progress::new(is_bar_shown(&options, common));
    let _log = logging::init_through(common, LevelFilter::WARN, progress.stderr());
    let load = common.load_options();
    // Relative patterns begin with the prefix and environment that are in force when the tail starts.
    let config = Config::load(&load).map_err(TailError::Config)?;
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let naming = &config.trust.naming;
    let patterns = patterns(&options, naming)?;
    let filter = Filter::new(&options, naming)?;
    let renderer = Renderer::new(&options, look(&options, common))?;
    let past = past(&options, &config, &patterns)?;
    let daemon = Daemon::start(&options.status, "fedmsg-tail", config.state_dir.clone())?;
    if let Some(address) = daemon.address() {
        tracing::info!(%address, "status is served");
    }
    let tail = Tail::new(&options, filter, renderer).not_missing(not_missed(&config));
    let mut tail = tail.with_past(past.as_ref());

    let builder = Subscriber::builder().load(load).internal(options.heartbeats);
    let builder = patterns.into_iter().fold(builder, SubscriberBuilder::parsed_pattern);
    let builder = past.iter().fold(builder, begin);
    let subscriber = builder.build().map_err(TailError::Subscribe)?;
    let closer = subscriber.closer();
    let stop = signals::on_stop(move || closer.close()).map_err(TailError::Signals)?;
    let mut data = Data::stdout(terminal::stdout_is_terminal());
    let mut progress = progress.follow(past.is_some());
    let mut standing = Standing::new(daemon, &subscriber, not_missed(&config), past.is_some());
    standing.follow_hangups().map_err(TailError::Signals)?;
    standing.ready();
    let mut recv = |timeout| standing.recv(timeout, |timeout| progress.recv(&subscriber, timeout));
    let end = tail.follow(&mut recv, &mut data)?;
    standing.stopping();
    drop(progress);
    if options.summary {
        tell_summary(&tail.counts(), common.log_format);
    }
    Ok(tail.code(end, stop.code()))
}

/// What is to be read of the past. Where the present is asked for, too, it is shown although there is no past.
fn past(
    options: &Options,
    config: &Config,
    patterns: &[Pattern],
) -> Result<Option<Past>, TailError> {
    let zone = if options.utc { TimeZone::UTC } else { TimeZone::system() };
    let Some(past) = Past::new(&options.past, SystemTime::now().into(), &zone)? else {
        return Ok(None);
    };
    match past.unkept(config, patterns) {
        Ok(services) => tell::tell_unkept(&services),
        Err(error @ TailError::NoPast) if past.follows => {
            tracing::warn!("{error}; what comes is shown");
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    Ok(Some(past))
}

fn begin(builder: SubscriberBuilder, past: &Past) -> SubscriberBuilder {
    let builder = builder.begin(past.begin).history(past.order);
    past.from.iter().fold(builder, |builder, Spot { stream, i }| {
        builder.begin_stream(stream.clone(), Begin::Number(*i))
    })
}

/// Whether to draw how far the reading is: for a person at a terminal that does not show the messages
/// themselves meanwhile.
fn is_bar_shown(options: &Options, common: &CommonOptions) -> bool {
    let is_silent = !terminal::stdout_is_terminal() || options.past.last.is_some();
    terminal::stderr_is_terminal() && is_silent && common.quiet == 0
}

/// Without any configuration, the one who may publish beside the relay, and does not have to.
fn not_missed(config: &Config) -> Vec<Identity> {
    let services = config.endpoints.values().filter(|entry| entry.submit.is_empty());
    match config.folder {
        None => services.map(|entry| entry.identity.clone()).collect(),
        Some(_) => Vec::new(),
    }
}

/// The patterns of the command line; without one, everything.
fn patterns(options: &Options, naming: &Naming) -> Result<Vec<Pattern>, TailError> {
    let all = [">".to_owned()];
    let texts = if options.patterns.is_empty() { &all[..] } else { &options.patterns };
    let patterns = texts.iter().map(|text| naming.pattern(text));
    patterns.collect::<Result<_, _>>().map_err(TailError::Pattern)
}

fn look(options: &Options, common: &CommonOptions) -> Look {
    let is_terminal = terminal::stdout_is_terminal();
    Look {
        columns: terminal::stdout_columns().unwrap_or(COLUMNS),
        color: common.color.decide(ColorEnv::read(), is_terminal),
        is_terminal,
        zone: (!options.utc).then(TimeZone::system),
    }
}

/// On stderr, whatever the level of the log is: it was asked for.
fn tell_summary(counts: &Counts, format: LogFormat) {
    let line = match format {
        LogFormat::Text => counts.line(),
        LogFormat::Json => counts.json(),
    };
    // When stderr is closed, there is nobody left to tell.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
