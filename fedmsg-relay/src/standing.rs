//! How a relay is: what its loop shows of it, and which of its threads have to move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fedmsg::Identity;
use fedmsg::config::{Config, Reloader};
use fedmsg::holder::HolderCounts;
use fedmsg::log::{LogMetrics, LogReader};
use fedmsg::replay::ReplayServer;
use fedmsg::subscriber::SubscriberMetrics;
use fedmsg::transport::{Subscribers, Wake};
use fedmsg_tool::metrics::{Metrics, Source};
use fedmsg_tool::progress::{Pulse, STUCK_AFTER};
use fedmsg_tool::status::{Details, Report, State};
use fedmsg_tool::{Daemon, service, signals, terminal};
use serde_json::{Map, Value, json};

use crate::core::Counts;
use crate::settings::{Options, RelayError};

/// Streams that `/status` names.
const NAMES_MAX: usize = 1_000;

/// What the loop of a relay knows of itself.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) identity: Identity,
    pub(crate) digest: String,
    /// Why the files as they are now cannot be used.
    pub(crate) broken: Option<String>,
    /// It is still in `[endpoints]`.
    pub(crate) is_configured: bool,
    /// Why the disk takes nothing.
    pub(crate) failing: Option<String>,
    pub(crate) counts: Counts,
    pub(crate) streams: u64,
    pub(crate) log: LogMetrics,
    /// What its reader counts, where it follows others; nothing while it does not.
    pub(crate) follower: Option<Option<SubscriberMetrics>>,
}

/// What is watched of a relay, and who is told.
pub(crate) struct Standing {
    daemon: Daemon,
    /// The loop, which stores: it has gone round when the last append was done, well or not.
    writer: Pulse,
    serving: Option<(ReplayServer, Pulse)>,
    follower: Option<Pulse>,
    /// Turns of the follower's reader that were seen.
    turns: Option<u64>,
    subscribers: u64,
    reloaded: Arc<AtomicBool>,
}

impl Standing {
    /// Begins to show how it is: that it starts.
    pub(crate) fn start(options: &Options, config: &Config) -> Result<Standing, RelayError> {
        let daemon = Daemon::start(&options.status, "fedmsg-relay", config.state_dir.clone())?;
        if let Some(address) = daemon.address() {
            tracing::info!(%address, "status is served");
        }
        let writer = daemon.progress().part("writer", Instant::now());
        Ok(Standing {
            daemon,
            writer,
            serving: None,
            follower: None,
            turns: None,
            subscribers: 0,
            reloaded: Arc::default(),
        })
    }

    /// Looks after these, too, and shows what is in the log.
    pub(crate) fn watch(&mut self, serving: Option<ReplayServer>, follows: bool, log: LogReader) {
        let (now, progress) = (Instant::now(), self.daemon.progress());
        // To open a log may have taken long.
        self.writer.beat(now);
        self.serving = serving.map(|serving| (serving, progress.part("replay", now)));
        self.follower = follows.then(|| progress.part("follower", now));
        self.daemon.set_details(streams_of(log));
    }

    /// Has the configuration read at SIGHUP, and wakes the loop when it was. Not at a terminal, with which it ends.
    pub(crate) fn follow_hangups(
        &self,
        files: Reloader,
        waker: Arc<dyn Wake>,
    ) -> std::io::Result<()> {
        if terminal::stderr_is_terminal() {
            return Ok(());
        }
        let reloaded = Arc::clone(&self.reloaded);
        signals::on_reload(move || {
            service::reloading();
            files.reload();
            reloaded.store(true, Ordering::SeqCst);
            waker.wake();
        })
    }

    /// Whether the files were read because somebody wanted that: asked once, before what they brought is taken.
    pub(crate) fn is_reloaded(&self) -> bool {
        self.reloaded.swap(false, Ordering::SeqCst)
    }

    /// Sockets are bound, or what a reload brought is in force.
    pub(crate) fn ready(&mut self, seen: Seen) {
        self.writer.beat(Instant::now());
        let report = self.report(seen);
        self.daemon.ready(report);
    }

    /// It was told to end; since when.
    pub(crate) fn stopping(&mut self) -> Instant {
        self.daemon.stopping();
        Instant::now()
    }

    /// The longest that the loop may wait.
    pub(crate) fn pause(&self) -> Duration {
        self.daemon.pause()
    }

    /// The loop has gone round: everything that was taken is stored and answered, or refused.
    pub(crate) fn turn(&mut self, subscribers: Subscribers, seen: impl FnOnce() -> Seen) {
        let now = Instant::now();
        self.writer.beat(now);
        self.subscribers += subscribers.joined as u64;
        self.subscribers = self.subscribers.saturating_sub(subscribers.left as u64);
        if let Some((serving, pulse)) = &self.serving
            && serving.busy() < STUCK_AFTER
        {
            pulse.beat(now);
        }
        if self.daemon.turn(now) {
            let seen = seen();
            if let Some(follower) = &seen.follower {
                self.look_after_follower(follower.as_ref().map(|reader| reader.turns), now);
            }
            let report = self.report(seen);
            self.daemon.show(now, report);
        }
    }

    /// A follower that goes round, or that is going to begin again, moves.
    fn look_after_follower(&mut self, turns: Option<u64>, now: Instant) {
        if let Some(pulse) = &self.follower
            && (turns.is_none() || turns != self.turns)
        {
            self.turns = turns;
            pulse.beat(now);
        }
    }

    fn report(&self, seen: Seen) -> Report {
        let holder = self.serving.as_ref().map(|(serving, _)| serving.counts());
        report(seen, holder, self.subscribers)
    }
}

fn report(seen: Seen, holder: Option<HolderCounts>, subscribers: u64) -> Report {
    let mut obstacles = Vec::new();
    if let Some(error) = &seen.failing {
        obstacles.push(format!("the disk takes nothing: {error}"));
    }
    if !seen.is_configured {
        obstacles.push(format!("{} is no longer in [endpoints]", seen.identity));
    }
    let mut degraded = Vec::new();
    match &seen.follower {
        Some(None) => degraded.push("nobody is followed now".into()),
        Some(Some(reader)) if reader.stalled > 0 => {
            degraded
                .push(format!("streams that it follows and that stand still: {}", reader.stalled));
        }
        _ => {}
    }
    let (streams, carried, log) = (seen.streams, seen.counts.carried, &seen.log);
    let follower = seen.follower.as_ref().map(|reader| match reader {
        Some(reader) => json!({ "endpoints": reader.endpoints, "streams": reader.streams, "stalled": reader.stalled }),
        None => Value::Null,
    });
    let members = json!({
        "peers": { "subscribers": subscribers, "follower": follower },
        "carried": carried,
        "log": {
            "bytes": log.bytes,
            "covers_seconds": log.covers_ms as f64 / 1e3,
            "degraded": log.degraded,
        },
    });
    Report {
        identity: Some(seen.identity.to_string()),
        state: State { digest: seen.digest.clone(), error: seen.broken.clone() },
        obstacles,
        degraded,
        summary: format!("{streams} streams, {carried} messages carried"),
        members: members.as_object().cloned().unwrap_or_default(),
        metrics: Box::new(Shown { seen, holder, subscribers }),
    }
}

/// The streams of the log, for `/status`.
fn streams_of(log: LogReader) -> Details {
    Box::new(move || {
        let heads = log.heads();
        let named = heads.iter().take(NAMES_MAX);
        let named = named.map(|spot| {
            json!({ "stream": spot.stream.as_str(), "epoch": spot.epoch.to_string(), "i": spot.i })
        });
        let mut members = Map::new();
        let streams = json!({ "count": heads.len(), "newest": named.collect::<Vec<_>>() });
        members.insert("streams".into(), streams);
        members
    })
}

/// The counters of a relay.
struct Shown {
    seen: Seen,
    holder: Option<HolderCounts>,
    subscribers: u64,
}

impl Source for Shown {
    fn put(&self, to: &mut Metrics) {
        let Counts { carried, duplicates, refused, early, unstored } = self.seen.counts;
        to.counter("fedmsg_relay_carried", "Messages that were taken", carried);
        to.counter("fedmsg_relay_duplicates", "Messages that came again", duplicates);
        to.counter("fedmsg_relay_refused", "Messages that were refused", refused);
        to.counter("fedmsg_relay_early", "Messages that came before what they follow", early);
        to.counter(
            "fedmsg_relay_unstored",
            "Messages that the disk did not take; their producers keep them",
            unstored,
        );
        let streams = self.seen.streams;
        to.gauge("fedmsg_relay_streams", "Streams whose position is in memory", streams);
        to.gauge("fedmsg_relay_subscribers", "Subscribers that are connected", self.subscribers);
        self.seen.log.put(to);
        if let Some(holder) = &self.holder {
            holder.put(to);
        }
        if let Some(Some(reader)) = &self.seen.follower {
            reader.put(to);
        }
    }
}
