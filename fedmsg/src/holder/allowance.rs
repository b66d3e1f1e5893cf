//! How much each peer may ask for: two buckets that fill with time, one of requests and one of bytes.
//!
//! They do not stand in the way of a catch-up, which takes what a disk and a network give; they are for who
//! asks without end. That peers share a holder fairly is not their matter, but that of who asks for answers
//! in turn.

use std::collections::HashMap;

use bytes::Bytes;

use crate::limits::{
    HOLDER_PEERS_MAX, PEER_BYTES_BURST, PEER_BYTES_PER_SECOND, PEER_REQUESTS_BURST,
    PEER_REQUESTS_PER_SECOND,
};

/// How often, in milliseconds, it is looked for peers that can be forgotten.
const SWEEP_MS: u64 = 100;

#[derive(Debug, Default)]
pub(super) struct Allowance {
    peers: HashMap<Bytes, Buckets>,
    swept: u64,
}

/// What a peer has left, in thousandths; bytes may be owed.
#[derive(Clone, Copy, Debug)]
struct Buckets {
    requests: i64,
    bytes: i64,
    at: u64,
}

const REQUESTS_FULL: i64 = PEER_REQUESTS_BURST as i64 * 1_000;
const BYTES_FULL: i64 = PEER_BYTES_BURST as i64 * 1_000;

impl Allowance {
    /// Whether the peer may have a request answered now; it is counted.
    pub(super) fn take(&mut self, peer: &Bytes, now: u64) -> bool {
        if !self.peers.contains_key(peer) && !self.has_room(now) {
            return false;
        }
        let full = Buckets { requests: REQUESTS_FULL, bytes: BYTES_FULL, at: now };
        let buckets = self.peers.entry(peer.clone()).or_insert(full);
        buckets.fill(now);
        if buckets.requests < 1_000 || buckets.bytes <= 0 {
            return false;
        }
        buckets.requests -= 1_000;
        true
    }

    /// Charges a peer for what it was given.
    pub(super) fn charge(&mut self, peer: &Bytes, bytes: u64) {
        if let Some(buckets) = self.peers.get_mut(peer) {
            buckets.bytes -= i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(1_000);
        }
    }

    /// Whether one more peer can be known. Those whose buckets are full again are forgotten.
    fn has_room(&mut self, now: u64) -> bool {
        if self.peers.len() >= HOLDER_PEERS_MAX && now >= self.swept + SWEEP_MS {
            self.swept = now;
            self.peers.retain(|_, buckets| {
                buckets.fill(now);
                buckets.requests < REQUESTS_FULL || buckets.bytes < BYTES_FULL
            });
        }
        self.peers.len() < HOLDER_PEERS_MAX
    }
}

impl Buckets {
    fn fill(&mut self, now: u64) {
        let millis = i64::try_from(now.saturating_sub(self.at)).unwrap_or(i64::MAX);
        let more = |per_second: u64| millis.saturating_mul(per_second as i64);
        let filled = |left: i64, per_second| left.saturating_add(more(per_second));
        self.requests = filled(self.requests, PEER_REQUESTS_PER_SECOND).min(REQUESTS_FULL);
        self.bytes = filled(self.bytes, PEER_BYTES_PER_SECOND).min(BYTES_FULL);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: usize) -> Bytes {
        Bytes::from(n.to_string())
    }

    #[test]
    fn a_peer_gets_its_burst_then_its_rate_and_others_do_not_notice() {
        let mut allowance = Allowance::default();
        let granted = |allowance: &mut Allowance, now| {
            (0..10 * PEER_REQUESTS_BURST).filter(|_| allowance.take(&peer(1), now)).count() as u64
        };
        assert_eq!(granted(&mut allowance, 5), PEER_REQUESTS_BURST);
        assert!(allowance.take(&peer(2), 5));
        assert_eq!(granted(&mut allowance, 505), PEER_REQUESTS_PER_SECOND / 2);
        assert_eq!(granted(&mut allowance, 400), 0, "a clock that goes back gives nothing");
        assert_eq!(granted(&mut allowance, 3_600_000), PEER_REQUESTS_BURST, "and no more");
    }

    #[test]
    fn bytes_that_are_owed_are_waited_for() {
        let mut allowance = Allowance::default();
        assert!(allowance.take(&peer(1), 0));
        allowance.charge(&peer(1), PEER_BYTES_BURST + PEER_BYTES_PER_SECOND);
        assert!(!allowance.take(&peer(1), 999));
        assert!(allowance.take(&peer(1), 1_001));
    }

    #[test]
    fn peers_are_bounded_and_those_that_went_make_room() {
        let mut allowance = Allowance::default();
        assert!((0..HOLDER_PEERS_MAX).all(|n| allowance.take(&peer(n), 1_000)));
        assert!(!allowance.take(&peer(HOLDER_PEERS_MAX), 1_000), "no room for a stranger");
        assert!(allowance.take(&peer(0), 1_000), "who is known has its own");
        assert!(allowance.take(&peer(HOLDER_PEERS_MAX), 60_000));
        assert_eq!(allowance.peers.len(), 1, "all others were idle");
    }
}
