//! What is shown: the newest report of the main loop, which never waits here for whoever reads it, and what can be
//! said without it when it hangs.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::outbox::Outbox;
use crate::metrics::{Kind, Metrics, Source};
use crate::progress::Progress;

/// What a main loop says of itself.
pub struct Report {
    /// Who it is: an identity, where it has one.
    pub identity: Option<String>,
    /// The configuration.
    pub state: State,
    /// Why it does not do what it is there for: then it is not ready.
    pub obstacles: Vec<String>,
    /// What is not as it should be, although it is ready.
    pub degraded: Vec<String>,
    /// What it does, in a few words.
    pub summary: String,
    /// Members of `/status`, beside those that all daemons have.
    pub members: Map<String, Value>,
    /// Its counters.
    pub metrics: Box<dyn Source + Send>,
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Its digest.
    pub digest: String,
    /// Why the files as they are now cannot be used.
    pub error: Option<String>,
}

/// More words for `/status`, made by a thread of the server. They must not wait for the main loop.
pub type Details = Box<dyn Fn() -> Map<String, Value> + Send + Sync>;

impl Report {
    /// In one line: what is wrong comes first.
    pub(crate) fn line(&self) -> String {
        let wrong: Vec<&str> =
            self.obstacles.iter().chain(self.degraded()).map(String::as_str).collect();
        match wrong.is_empty() {
            true => self.summary.clone(),
            false => format!("{}; {}", wrong.join("; "), self.summary),
        }
    }

    fn degraded(&self) -> impl Iterator<Item = &String> {
        self.degraded.iter().chain(&self.state.error)
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Report({})", self.line())
    }
}

/// Where the main loop puts its report, and the server takes it.
pub(super) struct Board {
    program: &'static str,
    progress: Progress,
    report: Mutex<Option<Report>>,
    details: Mutex<Option<Arc<Details>>>,
    is_stopping: Mutex<bool>,
    pub(super) outbox: Mutex<Outbox>,
    pub(super) requests: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Board")
    }
}

impl Board {
    pub(super) fn new(program: &'static str, progress: Progress) -> Board {
        Board {
            program,
            progress,
            report: Mutex::default(),
            details: Mutex::default(),
            is_stopping: Mutex::default(),
            outbox: Mutex::default(),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn show(&self, report: Report) {
        let old = lock(&self.report).replace(report);
        // Not while somebody may wait for the lock.
        drop(old);
    }

    pub(super) fn set_details(&self, details: Details) {
        *lock(&self.details) = Some(Arc::new(details));
    }

    pub(super) fn stopping(&self) {
        *lock(&self.is_stopping) = true;
    }

    /// What does not move; nothing when it lives.
    pub(super) fn deaths(&self, now: Instant) -> Vec<String> {
        self.progress.stuck(now).iter().map(ToString::to_string).collect()
    }

    /// Why it is not ready; nothing when it is.
    pub(super) fn obstacles(&self, now: Instant) -> Vec<String> {
        let mut why = self.deaths(now);
        match &*lock(&self.report) {
            Some(report) => why.extend(report.obstacles.iter().cloned()),
            None => why.push("it starts".into()),
        }
        if *lock(&self.is_stopping) {
            why.push("it stops".into());
        }
        why
    }

    /// `/status`.
    pub(super) fn status(&self, now: Instant) -> Value {
        let details = lock(&self.details).clone();
        let mut members = details.map_or_else(Map::new, |details| details());
        let obstacles = self.obstacles(now);
        let mut degraded = obstacles.clone();
        let (mut identity, mut config) = (Value::Null, Value::Null);
        if let Some(report) = &*lock(&self.report) {
            members.extend(report.members.clone());
            degraded.extend(report.degraded().cloned());
            identity = json!(report.identity);
            config = json!({ "digest": report.state.digest, "error": report.state.error });
        }
        let ages = self.progress.ages(now).into_iter();
        let ages: Map<String, Value> =
            ages.map(|(part, age)| (part.to_owned(), json!(age.as_secs_f64()))).collect();
        let common = json!({
            "program": self.program,
            "version": crate::version(),
            "pid": std::process::id(),
            "identity": identity,
            "uptime_seconds": self.progress.uptime(now).as_secs_f64(),
            "config": config,
            "live": self.deaths(now).is_empty(),
            "ready": obstacles.is_empty(),
            "degraded": degraded,
            "progress_age_seconds": ages,
            "outbox": lock(&self.outbox).value(),
        });
        if let Value::Object(common) = common {
            members.extend(common);
        }
        Value::Object(members)
    }

    /// `/metrics`.
    pub(super) fn metrics(&self, now: Instant) -> Metrics {
        let mut metrics = Metrics::default();
        let (live, ready) = (self.deaths(now).is_empty(), self.obstacles(now).is_empty());
        self.put_common(now, &mut metrics);
        metrics.flag("fedmsg_live", "1 when all of its parts move", live);
        metrics.flag("fedmsg_ready", "1 when it does what it is there for", ready);
        metrics.add(&*lock(&self.outbox));
        let report = lock(&self.report);
        let (state, count) = match &*report {
            Some(report) => (report.state.clone(), report.degraded().count()),
            None => (State::default(), 0),
        };
        metrics.gauge(
            "fedmsg_degraded",
            "What is not as it should be, although it is ready",
            count as u64,
        );
        metrics.flag(
            "fedmsg_config_broken",
            "1 when the files as they are now cannot be used, and the last good ones are in force",
            state.error.is_some(),
        );
        metrics.info(
            "fedmsg_config",
            "The digest of the configuration in force",
            &[("digest", &state.digest)],
        );
        if let Some(report) = &*report {
            metrics.add(&*report.metrics);
        }
        metrics
    }

    fn put_common(&self, now: Instant, to: &mut Metrics) {
        let words = [("program", self.program), ("version", crate::version())];
        to.info("fedmsg_build", "Which program it is", &words);
        let uptime = self.progress.uptime(now).as_secs_f64();
        to.seconds("fedmsg_uptime_seconds", "How long it has been running", uptime);
        for (part, age) in self.progress.ages(now) {
            to.put(
                "fedmsg_progress_age_seconds",
                Kind::Gauge,
                "How long ago a part of it has gone round",
                &[("part", part)],
                age.as_secs_f64(),
            );
        }
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        to.counter("fedmsg_status_requests", "Requests over HTTP", read(&self.requests));
        to.counter(
            "fedmsg_status_refused",
            "Connections and requests over HTTP that were given up: too many, too slow, too long, malformed",
            read(&self.refused),
        );
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
