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
    /// Which addresses are up.
    endpoints: BTreeMap<(Identity, String), bool>,
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
                let key = (change.endpoint.clone(), change.address.clone());
                self.endpoints.insert(key, change.status == EndpointStatus::Up);
            }
            Event::Config(change) => {
                self.broken = match change {
                    ConfigChange::Broken(error) => Some(error.clone()),
                    _ => None,
                };
                // Of those who are not in the configuration any more nothing is heard.
                let config = self.subscriber.config();
                self.endpoints.retain(|(endpoint, address), _| {
                    let entry = config.endpoints.get(endpoint);
                    entry.is_some_and(|entry| {
                        entry.publish.iter().any(|known| known.to_string() == *address)
                    })
                });
            }
            _ => {}
        }
    }

    fn report(&self, metrics: SubscriberMetrics) -> Report {
        let missed = |(endpoint, _): &&(Identity, String)| !self.not_missed.contains(endpoint);
        let down = self.endpoints.iter().filter(|(_, is_up)| !**is_up).map(|(key, _)| key);
        let down: Vec<String> =
            down.filter(missed).map(|(name, address)| format!("{name} at {address}")).collect();
        let up = self.endpoints.values().filter(|is_up| **is_up).count();
        let stalled = self.subscriber.stalled();
        let mut obstacles = Vec::new();
        if self.reads_past {
            obstacles.push("the past is being read".into());
        }
        if !stalled.is_empty() {
            let names: Vec<String> = stalled.iter().map(ToString::to_string).collect();
            obstacles.push(format!("{} streams stand still: {}", metrics.stalled, some(&names)));
        }
        if up == 0 && metrics.endpoints > 0 {
            obstacles.push("no endpoint is connected".into());
        }
        let mut degraded = Vec::new();
        if !down.is_empty() {
            degraded.push(format!("{} endpoints are down: {}", down.len(), some(&down)));
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

/// Some of these names.
fn some(names: &[String]) -> String {
    let mut text = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_MAX {
        text.push_str(", …");
    }
    text
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
        to.gauge("fedmsg_tail_endpoints_up", "Addresses that are connected", self.up);
        to.gauge("fedmsg_tail_endpoints_down", "Addresses that are missed", self.down);
        self.subscriber.put(to);
    }
}
