//! The one place where the library reads clocks: everything pure gets the time as an argument.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use crate::timestamp::Timestamp;

/// A clock that never goes back, and the one on the wall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// One that all of this process share, for what they pace together.
    pub(crate) fn of_process() -> Clock {
        static SHARED: OnceLock<Clock> = OnceLock::new();
        *SHARED.get_or_init(Clock::start)
    }

    /// Microseconds since the start.
    pub(crate) fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the start.
    pub(crate) fn millis(&self) -> u64 {
        self.micros() / 1_000
    }

    /// The time of day.
    pub(crate) fn wall() -> Timestamp {
        Timestamp::from(SystemTime::now())
    }
}
