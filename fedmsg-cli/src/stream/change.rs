//! `fedmsg stream renew` and `retire`.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use fedmsg::StreamName;
use fedmsg::config::Config;
use fedmsg::envelope::Epoch;
use fedmsg::escape::escape_json;
use fedmsg::journal::OsDisk;
use fedmsg::net::Zmq;
use fedmsg::publisher::{NewEpoch, order_new_epoch, retire as end};
use fedmsg_tool::{Code, CommonOptions, duration};
use serde_json::json;

use super::Error;
use crate::config::{counted, load, print};
use crate::journal::reader_of;

/// How often it is looked whether the publisher has reacted.
const LOOK: Duration = Duration::from_millis(50);

pub(super) const RENEW_EXAMPLES: &str = "\
Examples:
  fedmsg stream renew bodhi.backend01/0

To be run on the host of the publisher, as its user. A publisher that runs begins the new epoch within seconds,
and goes on in it; otherwise the next one does, when it starts. What was published before stays where it is
kept. The new epoch says that it is not known how the old one went on, so readers that hold a fork of it go on
in the new one. A publisher that is shown that it was set back does all of this by itself.

Exit codes: 0 success · 1 failure · 2 wrong command line · 4 the publisher does not react; the order stands";

pub(super) const RETIRE_EXAMPLES: &str = "\
Examples:
  fedmsg stream retire bodhi.backend01/3            after four workers became three
  fedmsg stream retire bodhi.backend01/0 --for 60s  nothing else runs on this host that readers could ask

To be run on the host of the publisher, as its user: the last words are signed with its key. They are kept
beside the journal, and whoever answers for this host gives them to readers. For the time of --for the addresses
of the stream are answered by this command itself. A publisher that starts later takes the stream up again.

Exit codes: 0 success · 1 failure · 2 wrong command line · 75 its publisher is at work";

#[derive(Args)]
pub(super) struct Renew {
    /// Which stream, IDENTITY/SLOT
    #[arg(value_parser = StreamName::parse)]
    stream: StreamName,

    /// How long to wait for the publisher
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration::parse)]
    timeout: Duration,

    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Retire {
    /// Which stream, IDENTITY/SLOT
    #[arg(value_parser = StreamName::parse)]
    stream: StreamName,

    /// How long to answer at the addresses of the stream, for readers that can ask nobody else
    #[arg(long = "for", value_name = "DURATION", default_value = "3s", value_parser = duration::parse)]
    time: Duration,

    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn renew(options: &Renew, common: &CommonOptions) -> Result<Code, Error> {
    let config = load(common)?;
    let stream = &options.stream;
    let epoch = match order_new_epoch(&config.state_dir, stream)? {
        NewEpoch::Running { order } => {
            wait(&order, options)?;
            newest_epoch(&config, stream)?
        }
        // Nobody is there, so nobody has to be waited for.
        _ => None,
    };
    let running = epoch.is_some();
    let text = match epoch {
        Some(epoch) => format!("{stream} goes on in epoch {epoch}"),
        None => format!("the next publisher of {stream} begins a new epoch"),
    };
    let epoch = epoch.map(|epoch| epoch.to_string());
    let object = json!({ "stream": stream.as_str(), "running": running, "epoch": epoch });
    print([if options.json { escape_json(&object.to_string()).into_owned() } else { text }])?;
    Ok(Code::Ok)
}

/// Waits until the order is gone: then it was followed.
fn wait(order: &Path, options: &Renew) -> Result<(), Error> {
    let start = Instant::now();
    while order.exists() {
        if start.elapsed() >= options.timeout {
            let (stream, waited) = (options.stream.clone(), options.timeout);
            return Err(Error::NoReaction { stream, waited });
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// The newest epoch in the journal; that of a publisher without a journal is not known here.
fn newest_epoch(config: &Config, stream: &StreamName) -> Result<Option<Epoch>, Error> {
    let Some(mut reader) = reader_of(&config.state_dir, stream) else { return Ok(None) };
    Ok(reader.ranges()?.last().map(|range| range.epoch))
}

pub(super) fn retire(options: &Retire, common: &CommonOptions) -> Result<Code, Error> {
    let config = load(common)?;
    let stream = &options.stream;
    let retired = end(&config, stream, Arc::new(OsDisk))?;
    let (epoch, last) = (retired.epoch, retired.last);
    let told = match retired.tell(&config, &Zmq::new(), options.time) {
        Ok(told) => Some(told),
        Err(error) => {
            tracing::warn!(%error, "its readers learn of it only from whoever answers for this host");
            None
        }
    };
    let text = format!("{stream} has ended with number {last} of epoch {epoch}");
    let object = json!({
        "stream": stream.as_str(),
        "epoch": epoch.to_string(),
        "last": last,
        "subscribers": told,
    });
    print([if options.json { escape_json(&object.to_string()).into_owned() } else { text }])?;
    if let (Some(told), 0, false) = (told, common.quiet, options.json) {
        // When stderr is closed, there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{} heard of it here", counted(told, "subscriber"));
    }
    Ok(Code::Ok)
}
