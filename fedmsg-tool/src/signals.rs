//! SIGINT and SIGTERM: the first one asks the tool to stop, the second one ends it at once. SIGHUP asks a daemon to read
//! its configuration.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::exit::Code;

/// Whether a signal asked this process to stop.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicI32>);

impl Stop {
    /// The exit code of the signal that came, if one came.
    pub fn code(&self) -> Option<Code> {
        match self.0.load(Ordering::SeqCst) {
            SIGINT => Some(Code::Interrupted),
            SIGTERM => Some(Code::Terminated),
            _ => None,
        }
    }
}

/// Calls `stop` once, in a thread of its own, when SIGINT or SIGTERM comes. Whatever `stop` does, the next
/// one of them ends the process as if nobody handled it.
pub fn on_stop(stop: impl FnOnce() + Send + 'static) -> io::Result<Stop> {
    let armed = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset and sets it behind itself.
        flag::register_conditional_default(signal, Arc::clone(&armed))?;
        flag::register(signal, Arc::clone(&armed))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let seen = Arc::new(AtomicI32::new(0));
    let told = Stop(Arc::clone(&seen));
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            seen.store(signal, Ordering::SeqCst);
            stop();
        }
    })?;
    Ok(told)
}

/// Calls `reload` each time that SIGHUP comes, in a thread of its own; several that come meanwhile are one.
pub fn on_reload(mut reload: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP])?;
    std::thread::Builder::new().name("reload".into()).spawn(move || {
        for _ in signals.forever() {
            reload();
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_calls_back_and_is_remembered() {
        let (tell, told) = std::sync::mpsc::channel();
        let stop = on_stop(move || tell.send(()).expect("told")).expect("handler");
        assert_eq!(stop.code(), None);
        signal_hook::low_level::raise(SIGTERM).expect("raise");
        told.recv().expect("called");
        assert_eq!(stop.code(), Some(Code::Terminated));
    }

    #[test]
    fn each_hangup_calls_back() {
        let (tell, told) = std::sync::mpsc::channel();
        on_reload(move || tell.send(()).expect("told")).expect("handler");
        for _ in 0..3 {
            signal_hook::low_level::raise(SIGHUP).expect("raise");
            told.recv().expect("called");
        }
    }
}
