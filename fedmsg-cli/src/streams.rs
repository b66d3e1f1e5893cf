//! `fedmsg streams`: who is alive, how far each stream is, and who sees another configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use fedmsg::config::ConfigError;
use fedmsg::envelope::Epoch;
use fedmsg::escape::{escape, escape_json};
use fedmsg::event::{Event, Message};
use fedmsg::identity::{Identity, StreamName};
use fedmsg::open::Record;
use fedmsg::record::Heartbeat;
use fedmsg::subscriber::{SubscribeError, Subscriber};
use fedmsg::timestamp::Timestamp;
use fedmsg_tool::{Code, CommonOptions, Fault, duration, logging, signals};
use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::config::{counted, load, print};

/// How long to listen at most when no time is given: every publisher says something within five seconds.
const LONGEST: Duration = Duration::from_secs(6);
/// How long to listen after the last new stream when no time is given.
const QUIET: Duration = Duration::from_secs(1);
/// Columns between which the table has space.
const SPACE: &str = "  ";

const EXAMPLES: &str = "\
Examples:
  fedmsg streams                         who is alive
  fedmsg streams --timeout 6s            long enough to hear everybody: an idle publisher speaks every 5 s
  fedmsg streams --json | jq -r 'select(.config_differs).stream'

Columns: the stream, its epoch, its last message, what its receipts promise, its state, the age of its last
heartbeat, the endpoints that it was heard from, and the digest of the configuration that its publisher
sees, with `!` when that is not the digest seen here.

Exit codes: 0 success · 1 failure · 2 wrong command line · 4 nothing was heard · 130, 143 ended by SIGINT,
SIGTERM";

/// Options of `fedmsg streams`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    /// How long to listen [default: 1s after the last new stream, at most 6s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

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
    /// Connecting.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// Signals cannot be handled.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[source] io::Error),
    /// No heartbeat came.
    #[error("nothing was heard from {0}")]
    Silence(String),
}

impl Fault for Error {
    fn code(&self) -> Code {
        match self {
            Error::Silence(_) => Code::TimedOut,
            _ => Code::General,
        }
    }
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    // One configuration for the whole run: the digest here is what the others are held against.
    let config = Arc::new(load(common)?);
    let subscriber = Subscriber::builder().config(Arc::clone(&config)).internal(true).build()?;
    let closer = subscriber.closer();
    let stop = signals::on_stop(move || closer.close()).map_err(Error::Signals)?;
    let listening = Listening::new(options.timeout, Instant::now());
    let streams = collect(&subscriber, listening);

    if streams.is_empty() {
        return match stop.code() {
            Some(code) => Ok(code),
            None => Err(Error::Silence(counted(config.endpoints.len(), "endpoint"))),
        };
    }
    let now = now();
    print(match options.json {
        true => streams.iter().map(|(name, s)| object(name, s, &config.digest, now)).collect(),
        false => table(&rows(&streams, &config.digest, now)),
    })
    .map_err(Error::Write)?;
    if common.quiet == 0 {
        // When stderr is closed, there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{}", escape(&summary(&streams, &config.digest)));
    }
    Ok(stop.code().unwrap_or(Code::Ok))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How long to go on. The time is an argument.
#[derive(Clone, Copy, Debug)]
struct Listening {
    end: Instant,
    /// Whether to end sooner when no new stream comes.
    until_quiet: bool,
}

impl Listening {
    fn new(timeout: Option<Duration>, now: Instant) -> Listening {
        let longest = timeout.unwrap_or(LONGEST);
        // A time that no clock reaches is as good as a year.
        let year = Duration::from_secs(365 * 86_400);
        let end = now.checked_add(longest).unwrap_or(now + year);
        Listening { end, until_quiet: timeout.is_none() }
    }

    /// A stream was heard for the first time.
    fn heard_new(&mut self, first_end: Instant, now: Instant) {
        if self.until_quiet {
            self.end = first_end.min(now + QUIET);
        }
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        self.end.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

/// What is known of a stream.
#[derive(Clone, Debug)]
struct Stream {
    epoch: Epoch,
    beat: Heartbeat,
    at: Timestamp,
    endpoints: BTreeSet<Identity>,
}

type Streams = BTreeMap<StreamName, Stream>;

fn collect(subscriber: &Subscriber, mut listening: Listening) -> Streams {
    let latest = listening.end;
    let mut streams = Streams::new();
    while let Some(left) = listening.left(Instant::now()) {
        match subscriber.recv(Some(left)) {
            // The time is over, or a signal closed it.
            None => break,
            Some(Event::Internal(message)) => {
                if take_in(&mut streams, &message) {
                    listening.heard_new(latest, Instant::now());
                }
            }
            Some(Event::Endpoint(change)) => tracing::info!("{change}"),
            Some(Event::Rejected(rejected)) => {
                tracing::warn!(repeat = "rejected", "{rejected}");
            }
            Some(Event::Fork(fork)) => tracing::warn!("{fork}"),
            Some(_) => {}
        }
    }
    streams
}

/// Takes in a heartbeat; whether its stream is new.
fn take_in(streams: &mut Streams, message: &Message) -> bool {
    let Record::Heartbeat(beat) = message.record() else { return false };
    let stream = Stream {
        epoch: message.epoch(),
        beat: beat.clone(),
        at: message.timestamp(),
        endpoints: BTreeSet::from([message.endpoint.clone()]),
    };
    add(streams, message.stream(), stream)
}

fn add(streams: &mut Streams, name: &StreamName, heard: Stream) -> bool {
    let Some(known) = streams.get_mut(name) else {
        streams.insert(name.clone(), heard);
        return true;
    };
    known.endpoints.extend(heard.endpoints);
    if (heard.epoch, heard.at) >= (known.epoch, known.at) {
        (known.epoch, known.beat, known.at) = (heard.epoch, heard.beat, heard.at);
    }
    false
}

fn rows(streams: &Streams, digest: &str, now: Timestamp) -> Vec<Vec<String>> {
    let heads = ["STREAM", "EPOCH", "LAST", "LEVEL", "STATE", "AGE", "VIA", "CONFIG"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    rows.extend(streams.iter().map(|(name, stream)| {
        let via: Vec<&str> = stream.endpoints.iter().map(Identity::as_str).collect();
        let differs = if stream.beat.config == digest { "" } else { " !" };
        vec![
            name.to_string(),
            stream.epoch.to_string(),
            stream.beat.last.to_string(),
            stream.beat.level.to_string(),
            stream.beat.state.to_string(),
            age(now.millis_since(stream.at)),
            via.join(","),
            format!("{}{differs}", escape(&stream.beat.config)),
        ]
    }));
    rows
}

/// `0.3s`, `42s`, `7m`, `3h`, `2d`; negative when the clocks differ.
pub(crate) fn age(millis: i64) -> String {
    let (sign, millis) = (if millis < 0 { "-" } else { "" }, millis.unsigned_abs());
    match millis / 1000 {
        0..10 => format!("{sign}{}.{}s", millis / 1000, millis % 1000 / 100),
        seconds @ 10..120 => format!("{sign}{seconds}s"),
        seconds @ 120..7_200 => format!("{sign}{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{sign}{}h", seconds / 3_600),
        seconds => format!("{sign}{}d", seconds / 86_400),
    }
}

/// Lines with aligned columns; nothing is behind the last one.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join(SPACE).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn object(name: &StreamName, stream: &Stream, digest: &str, now: Timestamp) -> String {
    let Heartbeat { first, last, head, level, state, config, .. } = &stream.beat;
    let endpoints: Vec<&str> = stream.endpoints.iter().map(Identity::as_str).collect();
    let object = json!({
        "stream": name.as_str(),
        "epoch": stream.epoch.to_string(),
        "first": first,
        "last": last,
        "head": head,
        "level": level,
        "state": state,
        "age_ms": now.millis_since(stream.at),
        "endpoints": endpoints,
        "config": config,
        "config_differs": config != digest,
    });
    escape_json(&object.to_string()).into_owned()
}

/// How many streams there are, and which ones see another configuration.
fn summary(streams: &Streams, digest: &str) -> String {
    let mut others: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, stream) in streams {
        if stream.beat.config != digest {
            others.entry(&stream.beat.config).or_default().push(name.as_str());
        }
    }
    let count = counted(streams.len(), "stream");
    if others.is_empty() {
        return format!("{count}, all with the configuration seen here, {digest}");
    }
    let others: Vec<String> =
        others.iter().map(|(config, names)| format!("{config} ({})", names.join(", "))).collect();
    format!("{count}; not the configuration seen here, {digest}: {}", others.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(epoch: u8, last: u64, at: i64, endpoint: &str, config: &str) -> Stream {
        let epoch = format!("00000000-0000-7000-8000-0000000000{epoch:02x}");
        let leaf = "A".repeat(43);
        let beat = json!({
            "first": last + 1, "last": last, "head": leaf, "level": "memory", "state": "open",
            "genesis": leaf, "config": config,
        });
        Stream {
            epoch: Epoch::parse(&epoch).expect("epoch"),
            beat: serde_json::from_value(beat).expect("heartbeat"),
            at: Timestamp::from_millis(at),
            endpoints: BTreeSet::from([Identity::parse(endpoint).expect("identity")]),
        }
    }

    fn two_streams() -> Streams {
        let name = |text| StreamName::parse(text).expect("stream");
        let mut streams = Streams::new();
        assert!(add(&mut streams, &name("bodhi.h/0"), stream(1, 7, 1_000, "bodhi.h", "mine")));
        assert!(add(
            &mut streams,
            &name("koji.h/0"),
            stream(1, 3, 1_500, "koji.h", "theirs\u{1b}")
        ));
        streams
    }

    #[test]
    fn the_latest_heartbeat_counts_and_every_endpoint_is_kept() {
        let mut streams = two_streams();
        let name = StreamName::parse("bodhi.h/0").expect("stream");
        for (heard, last) in [
            (stream(1, 9, 2_000, "relay.h", "mine"), 9),
            (stream(1, 8, 1_500, "bodhi.h", "mine"), 9),
            (stream(2, 0, 1_900, "bodhi.h", "mine"), 0),
            (stream(1, 12, 3_000, "bodhi.h", "mine"), 0),
        ] {
            assert!(!add(&mut streams, &name, heard));
            assert_eq!(streams[&name].beat.last, last);
        }
        assert_eq!(streams[&name].endpoints.len(), 2);
    }

    #[test]
    fn another_configuration_is_marked_named_and_escaped() {
        let (streams, now) = (two_streams(), Timestamp::from_millis(2_000));
        let lines = table(&rows(&streams, "mine", now));
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("1.0s") && lines[1].ends_with("mine"), "{}", lines[1]);
        assert!(lines[2].ends_with(r"theirs\u{1b} !"), "{}", lines[2]);
        let told = summary(&streams, "mine");
        assert!(told.starts_with("2 streams; ") && told.contains("(koji.h/0)"), "{told}");
        let first = streams.iter().next().expect("stream");
        let object = object(first.0, first.1, "other", now);
        let object: serde_json::Value = serde_json::from_str(&object).expect("JSON");
        assert_eq!(object["config_differs"], true);
        assert_eq!(object["age_ms"], 1_000);
        let same: Streams = streams.into_iter().take(1).collect();
        assert_eq!(summary(&same, "mine"), "1 stream, all with the configuration seen here, mine");
    }

    #[test]
    fn it_ends_when_it_is_quiet_or_when_the_time_is_over() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut usual = Listening::new(None, start);
        let latest = usual.end;
        assert_eq!(usual.left(at(0)), Some(LONGEST));
        usual.heard_new(latest, at(3_000));
        assert_eq!(usual.left(at(3_000)), Some(QUIET));
        usual.heard_new(latest, at(5_500));
        assert_eq!(usual.left(at(5_500)), Some(Duration::from_millis(500)));
        assert_eq!(usual.left(at(6_000)), None);
        let mut given = Listening::new(Some(Duration::from_secs(2)), start);
        given.heard_new(given.end, at(100));
        assert_eq!(given.left(at(1_500)), Some(Duration::from_millis(500)));
        assert!(Listening::new(Some(Duration::MAX), start).left(start).is_some());
    }

    #[test]
    fn ages_are_short() {
        for (millis, text) in [
            (0, "0.0s"),
            (340, "0.3s"),
            (9_999, "9.9s"),
            (42_000, "42s"),
            (420_000, "7m"),
            (10_800_000, "3h"),
            (172_800_000, "2d"),
            (-1_200, "-1.2s"),
        ] {
            assert_eq!(age(millis), text);
        }
    }
}
