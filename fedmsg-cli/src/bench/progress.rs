//! How far a long figure is, on a terminal.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How often the line is written anew.
const EVERY: Duration = Duration::from_millis(200);

/// A line on stderr that shows how much of a figure is done; on a terminal alone.
pub(super) struct Progress {
    name: &'static str,
    whole: u64,
    start: Instant,
    shown: Cell<Option<Instant>>,
    visible: bool,
}

impl Progress {
    pub(super) fn new(name: &'static str, whole: u64) -> Progress {
        let (start, visible) = (Instant::now(), stderr().is_terminal());
        Progress { name, whole, start, shown: Cell::new(None), visible }
    }

    /// So much is done.
    pub(super) fn at(&self, done: u64) {
        let last = self.shown.get().is_some_and(|shown| shown.elapsed() < EVERY);
        if !self.visible || last {
            return;
        }
        self.shown.set(Some(Instant::now()));
        let rate = done as f64 / self.start.elapsed().as_secs_f64();
        let (name, whole) = (self.name, self.whole);
        // A terminal that went away is nothing to fail for.
        let _ = write!(stderr(), "\r{name}: {done} of {whole}, {rate:.0}/s\x1b[K");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.get().is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
