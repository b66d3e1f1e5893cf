//! When a publisher seals what waits, and when it says how far it is. Pure: microseconds of a clock that
//! never goes back are arguments.

use crate::limits::{HEARTBEAT_AFTER_BURST_MS, HEARTBEAT_IDLE_MS, TREE_LEAVES_MAX};

/// The pace of one publisher.
///
/// A tree that is full is signed at once. One that is not waits until `seal_interval` has passed since the
/// last signature: a publisher that signs whatever waits as fast as it can makes more roots than a
/// receiver can check. An idle publisher has not signed for longer than that, so it signs at once.
#[derive(Debug)]
pub(crate) struct Pacer {
    seal_interval: u64,
    signed: Option<u64>,
    /// When the last message went out that no heartbeat has named yet.
    burst: Option<u64>,
    beat: u64,
    announce: bool,
}

/// When something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    /// At this time, unless something comes before.
    At(u64),
}

impl Pacer {
    pub(crate) fn new(seal_interval_us: u64, now: u64) -> Pacer {
        Pacer {
            seal_interval: seal_interval_us,
            signed: None,
            burst: None,
            beat: now,
            announce: false,
        }
    }

    /// When to seal, with so many drafts waiting; `None` when there are none.
    pub(crate) fn seal_due(&self, waiting: usize, now: u64) -> Option<Due> {
        let next = self.signed.map_or(0, |signed| signed + self.seal_interval);
        match waiting {
            0 => None,
            TREE_LEAVES_MAX.. => Some(Due::Now),
            _ if next <= now => Some(Due::Now),
            _ => Some(Due::At(next)),
        }
    }

    /// Messages were sealed.
    pub(crate) fn sealed(&mut self, now: u64) {
        self.signed = Some(now);
        self.burst = Some(now);
    }

    /// A new reader wants to know where the stream is.
    pub(crate) fn announce(&mut self) {
        self.announce = true;
    }

    /// When to send a heartbeat: for a new reader at once, 100 ms after a burst, every 5 s at the latest.
    pub(crate) fn heartbeat_due(&self, now: u64) -> Due {
        let at_the_latest = self.beat + HEARTBEAT_IDLE_MS * 1_000;
        let after_burst = self.burst.map(|burst| burst + HEARTBEAT_AFTER_BURST_MS * 1_000);
        let next = after_burst.map_or(at_the_latest, |after| after.min(at_the_latest));
        if self.announce || next <= now { Due::Now } else { Due::At(next) }
    }

    /// A heartbeat went out.
    pub(crate) fn beaten(&mut self, now: u64) {
        (self.beat, self.burst, self.announce) = (now, None, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trees_that_are_not_full_are_held_back() {
        let mut pacer = Pacer::new(250, 0);
        assert_eq!(pacer.seal_due(0, 10), None);
        assert_eq!(pacer.seal_due(1, 10), Some(Due::Now), "idle: at once");
        pacer.sealed(10);
        assert_eq!(pacer.seal_due(1, 11), Some(Due::At(260)));
        assert_eq!(pacer.seal_due(63, 11), Some(Due::At(260)));
        assert_eq!(pacer.seal_due(64, 11), Some(Due::Now));
        assert_eq!(pacer.seal_due(1, 260), Some(Due::Now));
    }

    #[test]
    fn heartbeats_follow_bursts_readers_and_silence() {
        let mut pacer = Pacer::new(250, 0);
        assert_eq!(pacer.heartbeat_due(1), Due::At(5_000_000));
        pacer.sealed(1_000);
        assert_eq!(pacer.heartbeat_due(1_001), Due::At(101_000));
        pacer.sealed(4_990_000);
        assert_eq!(
            pacer.heartbeat_due(4_990_001),
            Due::At(5_000_000),
            "a burst hides no heartbeat"
        );
        assert_eq!(pacer.heartbeat_due(5_000_000), Due::Now);
        pacer.beaten(5_000_000);
        pacer.announce();
        assert_eq!(pacer.heartbeat_due(5_000_001), Due::Now);
    }
}
