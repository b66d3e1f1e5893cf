//! Answers that a peer does not read as fast as they are made.
//!
//! 0mq bounds what waits for a peer by messages, and we want to bound it by bytes. So 0mq gets few, and the
//! rest waits here, where each byte is counted.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::messages::Sent;
use crate::limits::{ANSWER_BYTES_MAX, ANSWER_BYTES_OF_PEER_MAX};

/// What a message costs beside its bytes, roughly.
const MESSAGE_COST: usize = 256;
/// A peer that reads nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What waits, in the order of each peer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    peers: HashMap<Bytes, Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    /// Each with the peer as its first frame.
    messages: VecDeque<Vec<Bytes>>,
    bytes: usize,
    moved: Instant,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Whether something waits for this peer.
    pub(super) fn has(&self, peer: &Bytes) -> bool {
        self.peers.contains_key(peer)
    }

    /// Keeps a message for a peer, behind what waits for it already; `false` when there is no room.
    pub(super) fn keep(&mut self, message: Vec<Bytes>, now: Instant) -> bool {
        let cost = cost(&message);
        let of_peer = self.peers.get(&message[0]).map_or(0, |waiting| waiting.bytes);
        if of_peer + cost > ANSWER_BYTES_OF_PEER_MAX || self.bytes + cost > ANSWER_BYTES_MAX {
            return false;
        }
        let fresh = || Waiting { messages: VecDeque::new(), bytes: 0, moved: now };
        let waiting = self.peers.entry(message[0].clone()).or_insert_with(fresh);
        waiting.messages.push_back(message);
        waiting.bytes += cost;
        self.bytes += cost;
        true
    }

    /// Sends what can be sent, and gives up who is gone or does not read. Says whether for somebody nothing
    /// waits any more.
    pub(super) fn flush(&mut self, now: Instant, mut send: impl FnMut(&[Bytes]) -> Sent) -> bool {
        let before = self.peers.len();
        let total = &mut self.bytes;
        self.peers.retain(|peer, waiting| {
            while let Some(message) = waiting.messages.front() {
                match send(message) {
                    Sent::Yes => {
                        let cost = cost(message);
                        waiting.bytes -= cost;
                        *total -= cost;
                        waiting.moved = now;
                        waiting.messages.pop_front();
                    }
                    Sent::Full if now.duration_since(waiting.moved) < PATIENCE => return true,
                    gone => {
                        let messages = waiting.messages.len();
                        tracing::debug!(?peer, ?gone, messages, "giving up answers nobody reads");
                        *total -= waiting.bytes;
                        return false;
                    }
                }
            }
            false
        });
        self.peers.len() < before
    }
}

fn cost(message: &[Bytes]) -> usize {
    MESSAGE_COST + message.iter().map(Bytes::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(peer: &'static str, bytes: usize) -> Vec<Bytes> {
        vec![Bytes::from(peer), Bytes::from(vec![0; bytes])]
    }

    #[test]
    fn what_waits_is_bounded_for_each_peer_and_for_all() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let most = ANSWER_BYTES_OF_PEER_MAX - MESSAGE_COST - 1;
        assert!(outbox.keep(message("a", most), now));
        assert!(!outbox.keep(message("a", 1), now), "the peer has no room");
        assert!(outbox.keep(message("b", most), now), "another one has");
        let names: Vec<String> = (0..200).map(|n| format!("peer {n}")).collect();
        let kept = names.iter().filter(|name| {
            let message = vec![Bytes::copy_from_slice(name.as_bytes()), Bytes::from(vec![0; most])];
            outbox.keep(message, now)
        });
        assert!(kept.count() < ANSWER_BYTES_MAX / ANSWER_BYTES_OF_PEER_MAX, "all have a bound");
        assert!(outbox.flush(now, |_| Sent::Yes));
        assert_eq!((outbox.bytes, outbox.is_empty()), (0, true));
    }

    #[test]
    fn each_peer_gets_its_messages_in_order_and_a_slow_one_holds_nobody_up() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        for n in 1..=3 {
            assert!(outbox.keep(message("slow", n), now) && outbox.keep(message("quick", n), now));
        }
        let mut got = Vec::new();
        let read = |message: &[Bytes]| match &message[0][..] {
            b"slow" => Sent::Full,
            _ => {
                got.push(message[1].len());
                Sent::Yes
            }
        };
        assert!(outbox.flush(now, read), "somebody got everything");
        assert_eq!(got, [1, 2, 3]);
        assert!(outbox.has(&Bytes::from("slow")) && !outbox.has(&Bytes::from("quick")));
        assert!(!outbox.flush(now + PATIENCE / 2, |_| Sent::Full));
        assert!(outbox.has(&Bytes::from("slow")), "it still has time");
        assert!(outbox.flush(now + PATIENCE, |_| Sent::Full), "nothing waits for it any more");
        assert_eq!((outbox.bytes, outbox.is_empty()), (0, true), "given up");
        assert!(outbox.keep(message("gone", 1), now));
        outbox.flush(now, |_| Sent::Gone);
        assert_eq!((outbox.bytes, outbox.is_empty()), (0, true));
    }
}
