//! Which parts of a daemon move. The watchdog and `/live` read the same: a part that has not gone round for too long
//! is stuck, whatever timers and connections say.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A part that has not gone round for so long is stuck. Loops go round at least once in a second; a disk may take
/// some of them.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Parts of one daemon.
const PARTS_MAX: usize = 16;

/// The parts of a daemon whose loops must go round. Time is an argument.
#[derive(Clone, Debug)]
pub struct Progress {
    begun: Instant,
    parts: Arc<Mutex<Vec<Part>>>,
}

#[derive(Clone, Debug)]
struct Part {
    name: &'static str,
    last: Arc<AtomicU64>,
}

/// What a loop says each time that it has gone round and done what it had to do.
#[derive(Clone, Debug)]
pub struct Pulse {
    begun: Instant,
    last: Arc<AtomicU64>,
}

/// A part that does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Which one.
    pub part: &'static str,
    /// For how long.
    pub time: Duration,
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Stuck { part, time } = self;
        write!(f, "{part} has not moved for {:.1} s", time.as_secs_f64())
    }
}

impl Progress {
    /// Nothing has to move yet.
    pub fn new(now: Instant) -> Progress {
        Progress { begun: now, parts: Arc::default() }
    }

    /// A part that has to move from now on. At most 16 of them are looked at.
    pub fn part(&self, name: &'static str, now: Instant) -> Pulse {
        let pulse = Pulse { begun: self.begun, last: Arc::default() };
        pulse.beat(now);
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.len() < PARTS_MAX {
            parts.push(Part { name, last: Arc::clone(&pulse.last) });
        }
        pulse
    }

    /// How long ago each part moved.
    pub fn ages(&self, now: Instant) -> Vec<(&'static str, Duration)> {
        let now = micros(self.begun, now);
        let age = |part: &Part| {
            let last = part.last.load(Ordering::Relaxed);
            (part.name, Duration::from_micros(now.saturating_sub(last)))
        };
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).iter().map(age).collect()
    }

    /// The parts that have not moved for longer than [`STUCK_AFTER`].
    pub fn stuck(&self, now: Instant) -> Vec<Stuck> {
        let ages = self.ages(now).into_iter();
        let stuck = ages.filter(|(_, age)| *age > STUCK_AFTER);
        stuck.map(|(part, time)| Stuck { part, time }).collect()
    }

    /// How long ago it was made.
    pub fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }
}

impl Pulse {
    /// The loop has gone round.
    pub fn beat(&self, now: Instant) {
        self.last.fetch_max(micros(self.begun, now), Ordering::Relaxed);
    }
}

fn micros(begun: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(begun).as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_stuck_when_it_has_not_moved_for_too_long() {
        let start = Instant::now();
        let progress = Progress::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(progress.stuck(at(1_000)).is_empty(), "nothing has to move");
        let (writer, reader) = (progress.part("writer", at(1)), progress.part("reader", at(1)));
        writer.beat(at(5));
        reader.beat(at(9));
        assert!(progress.stuck(at(15)).is_empty());
        let time = Duration::from_secs(11);
        assert_eq!(progress.stuck(at(16)), [Stuck { part: "writer", time }]);
        assert_eq!(progress.stuck(at(16))[0].to_string(), "writer has not moved for 11.0 s");
        writer.beat(at(16));
        assert!(progress.stuck(at(16)).is_empty(), "it goes on");
        assert_eq!(progress.stuck(at(30)).len(), 2);
    }

    #[test]
    fn time_that_goes_back_moves_nothing() {
        let start = Instant::now();
        let progress = Progress::new(start);
        let pulse = progress.part("writer", start + Duration::from_secs(5));
        pulse.beat(start);
        let ages = progress.ages(start + Duration::from_secs(6));
        assert_eq!(ages, [("writer", Duration::from_secs(1))]);
    }
}
