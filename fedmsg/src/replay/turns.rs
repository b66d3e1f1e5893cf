//! Whose request is answered next: each peer has its turn, however much one of them asks.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::frames::Request;
use crate::limits::{
    WAITING_BYTES_MAX, WAITING_BYTES_OF_PEER_MAX, WAITING_MAX, WAITING_OF_PEER_MAX,
};

/// Requests that wait, bounded for each peer and for all.
#[derive(Debug, Default)]
pub(super) struct Turns {
    peers: HashMap<Bytes, Line>,
    /// Every peer of which something waits, once.
    order: VecDeque<Bytes>,
    count: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Line {
    requests: VecDeque<Waiting>,
    bytes: usize,
}

/// A request, and when it came.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: Request,
    pub(super) since: u64,
    bytes: usize,
}

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts a request of so many bytes behind the others of its peer; `false` when there is no room.
    pub(super) fn push(&mut self, peer: &Bytes, request: Request, bytes: usize, now: u64) -> bool {
        let line = self.peers.get(peer);
        let (count, used) = line.map_or((0, 0), |line| (line.requests.len(), line.bytes));
        let own_room = count < WAITING_OF_PEER_MAX && used + bytes <= WAITING_BYTES_OF_PEER_MAX;
        if !own_room || self.count >= WAITING_MAX || self.bytes + bytes > WAITING_BYTES_MAX {
            return false;
        }
        if count == 0 {
            self.order.push_back(peer.clone());
        }
        let line = self.peers.entry(peer.clone()).or_default();
        line.requests.push_back(Waiting { request, since: now, bytes });
        line.bytes += bytes;
        self.count += 1;
        self.bytes += bytes;
        true
    }

    /// The next request of the next peer that is ready; the peer comes last after it.
    pub(super) fn next(&mut self, is_ready: impl Fn(&Bytes) -> bool) -> Option<(Bytes, Waiting)> {
        let at = self.order.iter().position(is_ready)?;
        self.order.rotate_left(at);
        let peer = self.order.pop_front()?;
        let line = self.peers.get_mut(&peer)?;
        let waiting = line.requests.pop_front()?;
        line.bytes -= waiting.bytes;
        self.count -= 1;
        self.bytes -= waiting.bytes;
        if line.requests.is_empty() {
            self.peers.remove(&peer);
        } else {
            self.order.push_back(peer.clone());
        }
        Some((peer, waiting))
    }

    /// Forgets what a peer asked.
    pub(super) fn forget(&mut self, peer: &Bytes) {
        if let Some(line) = self.peers.remove(peer) {
            self.count -= line.requests.len();
            self.bytes -= line.bytes;
            self.order.retain(|other| other != peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{Ask, RequestId};

    fn request(n: usize) -> Request {
        let id = RequestId::new(n.to_string().as_bytes()).expect("an id");
        Request { id, ask: Ask::List { token: Bytes::new() } }
    }

    fn peer(name: &'static str) -> Bytes {
        Bytes::from_static(name.as_bytes())
    }

    fn all(turns: &mut Turns, is_ready: impl Fn(&Bytes) -> bool) -> Vec<String> {
        let mut all = Vec::new();
        while let Some((peer, waiting)) = turns.next(&is_ready) {
            let id = String::from_utf8_lossy(waiting.request.id.as_bytes()).into_owned();
            all.push(format!("{}{id}", String::from_utf8_lossy(&peer)));
        }
        all
    }

    #[test]
    fn peers_take_turns_and_each_is_served_in_its_order() {
        let mut turns = Turns::default();
        for (name, count) in [("a", 4), ("b", 1), ("c", 2)] {
            for n in 0..count {
                assert!(turns.push(&peer(name), request(n), 10, 0));
            }
        }
        assert_eq!(
            all(&mut turns, |peer| peer != "a"),
            ["b0", "c0", "c1"],
            "who is not ready waits"
        );
        assert!(turns.push(&peer("b"), request(7), 10, 0));
        assert_eq!(all(&mut turns, |_| true), ["a0", "b7", "a1", "a2", "a3"]);
        assert!(turns.is_empty() && turns.bytes == 0 && turns.order.is_empty());
    }

    #[test]
    fn one_peer_and_all_peers_have_bounds() {
        let mut turns = Turns::default();
        let fit = |turns: &mut Turns, name: &Bytes, bytes| {
            (0..100_000).take_while(|n| turns.push(name, request(*n), bytes, 0)).count()
        };
        assert_eq!(fit(&mut turns, &peer("a"), 1), WAITING_OF_PEER_MAX);
        assert_eq!(fit(&mut turns, &peer("b"), 1 << 20), WAITING_BYTES_OF_PEER_MAX >> 20);
        let others = (0..100).map(|n| Bytes::from(format!("other {n}")));
        let fitted: usize = others.map(|name| fit(&mut turns, &name, 1)).sum();
        assert!(fitted < WAITING_MAX && turns.count == WAITING_MAX);
        turns.forget(&peer("a"));
        turns.forget(&peer("nobody"));
        assert_eq!(turns.count, WAITING_MAX - WAITING_OF_PEER_MAX);
        assert!(turns.next(|peer| peer == "a").is_none());
        assert_eq!(fit(&mut turns, &peer("c"), 1), WAITING_OF_PEER_MAX, "there is room again");
        while turns.next(|_| true).is_some() {}
        assert_eq!((turns.bytes, turns.peers.len()), (0, 0));
    }
}
