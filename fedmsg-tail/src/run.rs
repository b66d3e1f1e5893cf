//! The wiring: a real subscriber, stdout, and signals.

use std::io::Write;

use fedmsg::Identity;
use fedmsg::config::Config;
use fedmsg::subscriber::{Subscriber, SubscriberBuilder};
use fedmsg::topic::{Naming, Pattern};
use fedmsg_tool::color::ColorEnv;
use fedmsg_tool::output::Data;
use fedmsg_tool::{Code, CommonOptions, LogFormat, logging, signals, terminal};
use jiff::tz::TimeZone;
use tracing::level_filters::LevelFilter;

use crate::error::TailError;
use crate::filter::Filter;
use crate::follow::{Counts, Tail};
use crate::options::Options;
use crate::render::{COLUMNS, Look, Renderer};

/// Shows the messages of a bus until there is a reason to stop.
pub fn run(options: Options, common: &CommonOptions) -> Result<Code, TailError> {
    let _log = logging::init(common, LevelFilter::WARN);
    let load = common.load_options();
    // Relative patterns begin with the prefix and environment that are in force when the tail starts.
    let config = Config::load(&load).map_err(TailError::Config)?;
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let naming = &config.trust.naming;
    let patterns = patterns(&options, naming)?;
    let filter = Filter::new(&options, naming)?;
    let renderer = Renderer::new(&options, look(&options, common))?;
    let mut tail = Tail::new(&options, filter, renderer).not_missing(not_missed(&config));

    let builder = Subscriber::builder().load(load).internal(options.heartbeats);
    let builder = patterns.into_iter().fold(builder, SubscriberBuilder::parsed_pattern);
    let subscriber = builder.build().map_err(TailError::Subscribe)?;
    let closer = subscriber.closer();
    let stop = signals::on_stop(move || closer.close()).map_err(TailError::Signals)?;
    let mut data = Data::stdout(terminal::stdout_is_terminal());
    let end = tail.follow(|timeout| subscriber.recv(timeout), &mut data)?;
    if options.summary {
        tell_summary(&tail.counts(), common.log_format);
    }
    Ok(tail.code(end, stop.code()))
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
