//! What a daemon tells the service manager that started it, over the socket that `NOTIFY_SOCKET` names. Where there
//! is none, nothing is told.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::progress::Progress;

/// The longest pause between two signs of life, where there is a watchdog: those of a loop that waits for nothing.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often the line of status is said again when it changes.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// How long it is waited for a manager that does not read, with what it has to know. What is said again anyway does
/// not wait at all.
const PATIENCE: Duration = Duration::from_secs(2);

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
        let status = one_line(status);
        tell(&[NotifyState::Ready, NotifyState::Status(&status)], PATIENCE);
        self.told = None;
    }

    /// It goes to its end.
    pub fn stopping(&mut self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("stopping")], PATIENCE);
    }

    /// Says in a line how it is, when that has changed.
    pub fn status(&mut self, now: Instant, line: impl FnOnce() -> String) {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < STATUS_EVERY;
        if !self.is_there || self.told.as_ref().is_some_and(|(at, _)| lately(at)) {
            return;
        }
        let line = line();
        if self.told.as_ref().is_none_or(|(_, told)| *told != line) {
            tell(&[NotifyState::Status(&one_line(&line))], Duration::ZERO);
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
            tell(&[NotifyState::Watchdog], Duration::ZERO);
        }
    }
}

/// The configuration is going to be read again: to be told by whoever was told to (by SIGHUP), before that.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now], PATIENCE),
        Err(error) => tracing::warn!(%error, "reading the clock"),
    }
}

/// A newline would begin something else that is told.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Tells the service manager, if there is one. Not by the crate, which waits without an end for a manager that does not
/// read, and then nothing of the daemon would move.
fn tell(what: &[NotifyState<'_>], patience: Duration) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
        return;
    };
    let text: String = what.iter().map(|state| format!("{state}\n")).collect();
    if let Err(error) = send(&path, text.as_bytes(), patience) {
        tracing::warn!(%error, "telling the service manager at NOTIFY_SOCKET");
    }
}

fn send(path: &OsStr, bytes: &[u8], patience: Duration) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    match patience.is_zero() {
        true => socket.set_nonblocking(true)?,
        false => socket.set_write_timeout(Some(patience))?,
    }
    socket.send_to_addr(bytes, &address(path)?)?;
    Ok(())
}

/// A path, or a name without a file, which begins with `@`.
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = path.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_does_not_read_is_waited_for_no_longer_than_that() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify.sock");
        let _manager = UnixDatagram::bind(&path).expect("bound");
        let told = (0..100_000).map(|_| send(path.as_os_str(), b"WATCHDOG=1", Duration::ZERO));
        let error = told.filter_map(Result::err).next().expect("there is no room any more");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let error = send(path.as_os_str(), b"READY=1", Duration::from_millis(10));
        assert_eq!(error.expect_err("nobody reads").kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_manager_may_have_a_name_without_a_file() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("fedmsg-test-{}", std::process::id());
        let own = SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&own).expect("bound");
        send(OsStr::new(&format!("@{name}")), b"READY=1", PATIENCE).expect("told");
        let mut bytes = [0; 16];
        let length = manager.recv(&mut bytes).expect("received");
        assert_eq!(&bytes[..length], b"READY=1");
    }
}
