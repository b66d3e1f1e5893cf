//! What a daemon tells the service manager that started it, over the socket that `NOTIFY_SOCKET` names. Where there
//! is none, nothing is told.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::progress::Progress;

/// The longest pause between two signs of life, where there is a watchdog: those of a loop that waits for nothing.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often the line of status is said again when it changes.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// The service manager, as a daemon sees it. The loop that does the work owns it: when the loop hangs, nothing more
/// is said, and the watchdog bites.
#[derive(Debug)]
pub struct Service {
    /// In what time a sign of life is expected.
    watchdog: Option<Duration>,
    fed: Option<Instant>,
    told: Option<(Instant, String)>,
    is_there: bool,
}

impl Service {
    /// As the environment says.
    pub fn from_environment() -> Service {
        let is_there = std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty());
        let watchdog = sd_notify::watchdog_enabled().filter(|time| is_there && !time.is_zero());
        Service { watchdog, fed: None, told: None, is_there }
    }

    /// Whether there is somebody to tell.
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    /// How long a loop may wait before it gives the next sign of life.
    pub fn pause(&self) -> Duration {
        self.watchdog.map_or(PAUSE_MAX, |time| (time / 4).min(PAUSE_MAX))
    }

    /// Sockets are bound, and what was asked for at the start or by a reload is in force.
    pub fn ready(&mut self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(status)]);
        self.told = None;
    }

    /// It goes to its end.
    pub fn stopping(&mut self) {
        self.send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Says in a line how it is, when that has changed.
    pub fn status(&mut self, now: Instant, line: impl FnOnce() -> String) {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < STATUS_EVERY;
        if !self.is_there || self.told.as_ref().is_some_and(|(at, _)| lately(at)) {
            return;
        }
        let line = line();
        if self.told.as_ref().is_none_or(|(_, told)| *told != line) {
            // A newline would begin something else that is told.
            self.send(&[NotifyState::Status(&line.replace(['\n', '\r'], " "))]);
        }
        self.told = Some((now, line));
    }

    /// A sign of life, when one is due and no part of the daemon is stuck. To be called by the loop that works, and
    /// by nobody beside it.
    pub fn feed(&mut self, progress: &Progress, now: Instant) {
        let Some(time) = self.watchdog else { return };
        let is_due = self.fed.is_none_or(|fed| now.saturating_duration_since(fed) >= time / 4);
        if is_due && progress.stuck(now).is_empty() {
            self.fed = Some(now);
            self.send(&[NotifyState::Watchdog]);
        }
    }

    fn send(&self, what: &[NotifyState<'_>]) {
        if self.is_there
            && let Err(error) = sd_notify::notify(what)
        {
            tracing::warn!(%error, "telling the service manager at NOTIFY_SOCKET");
        }
    }
}

/// The configuration is going to be read again: to be told by whoever was told to (by SIGHUP), before that.
pub fn reloading() {
    let told = NotifyState::monotonic_usec_now()
        .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]));
    if let Err(error) = told {
        tracing::warn!(%error, "telling the service manager at NOTIFY_SOCKET");
    }
}
