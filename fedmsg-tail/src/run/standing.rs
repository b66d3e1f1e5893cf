//! How a tail is that runs as a service: what it shows of itself, and that its reader and its printing move.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fedmsg::Identity;
use fedmsg::event::{ConfigChange, EndpointStatus, Event};
use fedmsg::subscriber::{Subscriber, SubscriberMetrics};
use fedmsg_tool::metrics::{Metrics, Source};
use fedmsg_tool::progress::Pulse;
use fedmsg_tool::status::{Report, State};
use fedmsg_tool::{Daemon, service, signals, terminal};
use serde_json::json;

/// How long it is waited until what was read is in force.
const IN_FORCE: Duration = Duration::from_secs(10);
/// Names of endpoints and streams in one line.
const NAMES_MAX: usize = 5;

/// What is watched of a tail, and who is told.
pub(super) struct Standing<'a> {
    daemon: Daemon,
    subscriber: &'a Subscriber,
    /// The loop, which prints: a reader of stdout that takes nothing stops it.
    printer: Pulse,
    receiver: Pulse,
    /// Turns of the receiver that were seen.
    turns: u64,
    reloaded: Arc<AtomicBool>,
    /// Which endpoints are up, of those of which that is known.
    endpoints: BTreeMap<Identity, bool>,
    /// Endpoints that nobody misses when they are down.
    not_missed: Vec<Identity>,
    broken: Option<String>,
    reads_past: bool,
    messages: u64,
}

impl<'a> Standing<'a> {
    /// It receives now.
    pub(super) fn new(
        daemon: Daemon,
        subscriber: &'a Subscriber,
        not_missed: Vec<Identity>,
        reads_past: bool,
    ) -> Standing<'a> {
        let now = Instant::now();
        let printer = daemon.progress().part("printer", now);
        let receiver = daemon.progress().part("receiver", now);
        Standing {
            daemon,
            subscriber,
            printer,
            receiver,
            turns: 0,
            reloaded: Arc::default(),
            endpoints: BTreeMap::new(),
            not_missed,
            broken: None,
            reads_past,
            messages: 0,
        }
    }

    /// Has the configuration read at SIGHUP. Not for a person at a terminal, whose tail ends with the terminal.
    pub(super) fn follow_hangups(&self) -> std::io::Result<()> {
        let files = self.subscriber.reloader().filter(|_| !terminal::stdout_is_terminal());
        let Some(files) = files.filter(|_| self.daemon.is_watched()) else { return Ok(()) };
        let reloaded = Arc::clone(&self.reloaded);
        signals::on_reload(move || {
            service::reloading();
            files.reload(IN_FORCE);
            reloaded.store(true, Ordering::SeqCst);
        })
    }

    /// It is connected to whom it wants to hear, as far as they are there.
    pub(super) fn ready(&mut self) {
        let report = self.report(self.subscriber.metrics());
        self.daemon.ready(report);
    }

    /// It was told to end, or has a reason to.
    pub(super) fn stopping(&mut self) {
        self.daemon.stopping();
    }

    /// The next event, as `recv` gives it. While none comes it goes round all the same, so that it is seen to live.
    pub(super) fn recv(
        &mut self,
        timeout: Option<Duration>,
        mut recv: impl FnMut(Option<Duration>) -> Option<Event>,
    ) -> Option<Event> {
        if !self.daemon.is_watched() {
            return recv(timeout);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.turn(Instant::now());
            let pause = self.daemon.pause();
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let event = recv(Some(left.unwrap_or(pause).min(pause)));
            let is_over = left.is_some_and(|left| left <= pause) || self.subscriber.is_closed();
            if let Some(event) = &event {
                self.note(event);
            }
            if event.is_some() || is_over {
                return event;
            }
        }
    }

    fn turn(&mut self, now: Instant) {
        self.printer.beat(now);
        if self.reloaded.swap(false, Ordering::SeqCst) {
            self.ready();
        }
        if self.daemon.turn(now) {
            let metrics = self.subscriber.metrics();
            if std::mem::replace(&mut self.turns, metrics.turns) != metrics.turns {
                self.receiver.beat(now);
            }
            let report = self.report(metrics);
            self.daemon.show(now, report);
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Message(_) => self.messages += 1,
            Event::CaughtUp(_) => self.reads_past = false,
            Event::Endpoint(change) => {
                let is_up = change.status == EndpointStatus::Up;
                self.endpoints.insert(change.endpoint.clone(), is_up);
            }
            Event::Config(change) => {
                self.broken = match change {
                    ConfigChange::Broken(error) => Some(error.clone()),
                    _ => None,
                };
                // Of those who are not in the configuration any more nothing is heard.
                let config = self.subscriber.config();
                self.endpoints.retain(|endpoint, _| config.endpoints.contains_key(endpoint));
            }
            _ => {}
        }
    }

    fn report(&self, metrics: SubscriberMetrics) -> Report {
        let down = self.endpoints.iter().filter(|(_, is_up)| !**is_up).map(|(name, _)| name);
        let down = down.filter(|endpoint| !self.not_missed.contains(endpoint));
        let down: Vec<String> = down.map(ToString::to_string).collect();
        let up = self.endpoints.values().filter(|is_up| **is_up).count();
        let stalled = self.subscriber.stalled();
        let mut obstacles = Vec::new();
        if self.reads_past {
            obstacles.push("the past is being read".into());
        }
        if !stalled.is_empty() {
            let names: Vec<String> = stalled.iter().map(ToString::to_string).collect();
            let names = some(&names, metrics.stalled as usize);
            obstacles.push(format!("streams that stand still: {names}"));
        }
        if up == 0 && metrics.endpoints > 0 {
            obstacles.push("no endpoint is connected".into());
        }
        let mut degraded = Vec::new();
        if !down.is_empty() {
            let names = some(&down, down.len());
            degraded.push(format!("endpoints that are not heard: {names}"));
        }
        let members = json!({
            "streams": { "count": metrics.streams, "stalled": stalled.iter().map(|s| s.as_str()).collect::<Vec<_>>() },
            "peers": { "up": up, "down": down },
            "messages": self.messages,
            "lost": metrics.lost,
        });
        Report {
            identity: None,
            state: State {
                digest: self.subscriber.config().digest.clone(),
                error: self.broken.clone(),
            },
            obstacles,
            degraded,
            summary: format!("{} streams, {} messages", metrics.streams, self.messages),
            members: members.as_object().cloned().unwrap_or_default(),
            metrics: Box::new(Shown {
                subscriber: metrics,
                up: up as u64,
                down: down.len() as u64,
                messages: self.messages,
            }),
        }
    }
}

/// Some of these names, and how many more there are.
fn some(names: &[String], count: usize) -> String {
    let text = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    match count.saturating_sub(NAMES_MAX) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// The counters of a tail.
struct Shown {
    subscriber: SubscriberMetrics,
    up: u64,
    down: u64,
    messages: u64,
}

impl Source for Shown {
    fn put(&self, to: &mut Metrics) {
        to.counter("fedmsg_tail_messages", "Verified messages that were taken", self.messages);
        to.gauge("fedmsg_tail_endpoints_up", "Endpoints that are heard", self.up);
        to.gauge("fedmsg_tail_endpoints_down", "Endpoints that are not heard", self.down);
        self.subscriber.put(to);
    }
}
