//! When a publisher seals what waits, and when it says how far it is. Pure: microseconds of a clock that
//! never goes back are arguments.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::limits::{HEARTBEAT_AFTER_BURST_MS, HEARTBEAT_IDLE_MS, TREE_LEAVES_MAX};

/// The shortest time between signatures of trees that are not full, over all publishers of a process, in the
/// long run; and how much may be spent in advance.
const BUDGET_US: u64 = 900;
const BUDGET_BURST_US: u64 = 64 * BUDGET_US;
/// The same where several publishers share it: they can wait for one another's messages, one alone cannot.
const SHARED_BUDGET_US: u64 = 1_400;
/// A publisher that has not signed for so long does not wait for the budget.
const BUDGET_WAIT_US: u64 = 15_000;
/// A wait that is longer than this is not interrupted for one message.
const LOOK_US: u64 = 1_000;

/// What the publishers of one process may sign together.
///
/// Ten publishers of 300 messages a second each would otherwise sign every message alone, and cost their
/// machine, and every reader, ten times what one publisher of 3,000 costs. Keeps the virtual time of the
/// generic cell rate algorithm (ITU-T I.371): the time at which all that was signed is paid for.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    paid: AtomicU64,
    unlimited: bool,
}

impl Budget {
    /// One that allows everything.
    pub(crate) fn unlimited() -> Budget {
        Budget { unlimited: true, ..Budget::default() }
    }

    /// The one that all publishers of this process share.
    pub(crate) fn of_process() -> Arc<Budget> {
        static SHARED: OnceLock<Arc<Budget>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(Arc::default))
    }

    /// Something was signed; when whoever signed it may do so again. Each gets a time of its own, so that
    /// those who wait take turns.
    fn spend(&self, shared: bool, now: u64) -> u64 {
        if self.unlimited {
            return now;
        }
        let longest = now + BUDGET_WAIT_US;
        let price = if shared { SHARED_BUDGET_US } else { BUDGET_US };
        let spent = |paid: u64| (paid.max(now) + price).min(longest + BUDGET_BURST_US);
        let update = |paid| Some(spent(paid));
        let paid = self.paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        // The function always gives a value, so there is no error to tell apart.
        spent(paid.unwrap_or_else(|paid| paid)).saturating_sub(BUDGET_BURST_US)
    }
}

/// The pace of one publisher.
///
/// A tree that is full is signed at once. One that is not waits until `seal_interval` has passed since the
/// last signature: a publisher that signs whatever waits as fast as it can makes more roots than a
/// receiver can check. An idle publisher has not signed for longer than that, so it signs at once.
///
/// Publishers of one process share a [`Budget`] beyond that, and wait for it at most 15 ms.
#[derive(Debug)]
pub(crate) struct Pacer {
    seal_interval: u64,
    budget: Arc<Budget>,
    /// When the budget allows the next signature.
    allowed: u64,
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
    pub(crate) fn new(seal_interval_us: u64, budget: Arc<Budget>, now: u64) -> Pacer {
        Pacer {
            seal_interval: seal_interval_us,
            budget,
            allowed: 0,
            signed: None,
            burst: None,
            beat: now,
            announce: false,
        }
    }

    /// When to seal, with so many drafts waiting; `None` when there are none.
    pub(crate) fn seal_due(&self, waiting: usize, now: u64) -> Option<Due> {
        let next = self.next_signature();
        match waiting {
            0 => None,
            TREE_LEAVES_MAX.. => Some(Due::Now),
            _ if next <= now => Some(Due::Now),
            _ => Some(Due::At(next)),
        }
    }

    fn next_signature(&self) -> u64 {
        self.signed.map_or(0, |signed| self.allowed.max(signed + self.seal_interval))
    }

    /// When to look for messages although none wakes the writer: it has signed a moment ago, and may not
    /// again for so long that to be woken before would be in vain.
    pub(crate) fn look_at(&self, now: u64) -> Option<u64> {
        let next = self.next_signature();
        (next > now + LOOK_US).then_some(next)
    }

    /// Messages were sealed.
    pub(crate) fn sealed(&mut self, now: u64) {
        self.signed = Some(now);
        // One reference is the owner's, and one is held here.
        let shared = Arc::strong_count(&self.budget) > 2;
        self.allowed = self.budget.spend(shared, now);
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
        let mut pacer = Pacer::new(250, Arc::default(), 0);
        assert_eq!(pacer.seal_due(0, 10), None);
        assert_eq!(pacer.seal_due(1, 10), Some(Due::Now), "idle: at once");
        pacer.sealed(10);
        assert_eq!(pacer.seal_due(1, 11), Some(Due::At(260)));
        assert_eq!(pacer.seal_due(63, 11), Some(Due::At(260)));
        assert_eq!(pacer.seal_due(64, 11), Some(Due::Now));
        assert_eq!(pacer.seal_due(1, 260), Some(Due::Now));
    }

    #[test]
    fn publishers_of_one_process_sign_within_one_budget() {
        let budget = Arc::new(Budget::default());
        let mut pacers: Vec<Pacer> =
            (0..10).map(|_| Pacer::new(250, Arc::clone(&budget), 0)).collect();
        let second = 1_000_000;
        let mut signatures = 0;
        let mut longest = 0;
        for now in (0..2 * second).step_by(100) {
            for (at, pacer) in pacers.iter_mut().enumerate() {
                // Each has a message every 3.3 ms, and has one waiting from then on.
                let since = pacer.signed.map_or(4_000, |signed| now - signed);
                if since >= 3_300 + at as u64 && pacer.seal_due(1, now) == Some(Due::Now) {
                    pacer.sealed(now);
                    signatures += 1;
                    longest = longest.max(since);
                }
            }
        }
        assert!((1_300..=1_600).contains(&signatures), "{signatures} in two seconds");
        assert!(longest <= 15_100, "{longest}");
    }

    #[test]
    fn a_publisher_alone_is_within_the_budget() {
        let mut pacer = Pacer::new(250, Arc::default(), 0);
        for n in 0..10_000 {
            assert_eq!(pacer.seal_due(1, n * 1_000), Some(Due::Now), "message {n}");
            pacer.sealed(n * 1_000);
        }
    }

    #[test]
    fn heartbeats_follow_bursts_readers_and_silence() {
        let mut pacer = Pacer::new(250, Arc::default(), 0);
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
