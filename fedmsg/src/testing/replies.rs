//! Requests and answers in memory: who answers at which address, who asks whom, and what is on its way.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::faults::{Faults, Way};
use super::hub::Signal;
use crate::endpoint::Endpoint;
use crate::limits::{ANSWER_BYTES_OF_PEER_MAX, FRAME_BYTES_MAX, GET_BYTES_MAX};
use crate::transport::{Asked, Asker, NetError, Responder, Told, Wake};

/// Most messages that are taken in one go.
const TURN: usize = 1_024;
/// Most requests that wait for one responder.
const REQUESTS_MAX: usize = 1_024;
/// An asker with more answers than this to read is behind; with so many times more, it gets no further ones.
const ANSWERS_BEHIND: usize = 1_024;
const ANSWERS_MAX: usize = 16 * ANSWERS_BEHIND;

/// What responders and askers of a transport in memory share.
#[derive(Clone, Default)]
pub(super) struct Replies(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    responders: BTreeMap<Endpoint, Line>,
    askers: BTreeMap<u64, (BTreeSet<Endpoint>, Line)>,
    partitioned: BTreeSet<Endpoint>,
    faults: Faults,
    /// From the first to the second; `true` for answers.
    ways: BTreeMap<(Endpoint, u64, bool), Way>,
    made: u64,
}

/// What is on its way to one end: the address and the number of the other one, and frames.
#[derive(Default)]
struct Line {
    queue: BTreeMap<(Instant, u64), (Endpoint, u64, Vec<Bytes>)>,
    bytes: usize,
    last_due: Option<Instant>,
    signal: Arc<Signal>,
}

impl Replies {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        let mut shared = self.lock();
        shared.faults = faults;
        shared.ways.clear();
    }

    pub(super) fn partition(&self, address: &Endpoint) {
        self.lock().partitioned.insert(address.clone());
    }

    pub(super) fn heal(&self, address: &Endpoint) {
        self.lock().partitioned.remove(address);
    }

    pub(super) fn responder(&self, address: &Endpoint) -> Result<Box<dyn Responder>, NetError> {
        let line = Line::default();
        let signal = Arc::clone(&line.signal);
        match self.lock().responders.entry(address.clone()) {
            Entry::Occupied(_) => return Err(NetError::InUse { address: address.to_string() }),
            Entry::Vacant(place) => place.insert(line),
        };
        Ok(Box::new(MemoryResponder { replies: self.clone(), address: address.clone(), signal }))
    }

    pub(super) fn asker(&self) -> Box<dyn Asker> {
        let mut shared = self.lock();
        shared.made += 1;
        let (id, line) = (shared.made, Line::default());
        let signal = Arc::clone(&line.signal);
        shared.askers.insert(id, (BTreeSet::new(), line));
        Box::new(MemoryAsker { replies: self.clone(), id, signal })
    }
}

impl Shared {
    /// Puts a message on its way, with what happens to it there. `false` when nobody is at the other end, or
    /// does not read.
    fn send(&mut self, holder: &Endpoint, asker: u64, answer: bool, frames: &[Bytes]) -> bool {
        if self.partitioned.contains(holder) || self.is_full(holder, asker, answer) {
            return false;
        }
        if frames.iter().any(|frame| frame.len() > FRAME_BYTES_MAX) {
            tracing::debug!(%holder, "a frame that is too long");
            return true;
        }
        let (faults, from) = (self.faults, holder.to_string());
        let way = self.ways.entry((holder.clone(), asker, answer));
        let number = asker * 2 + u64::from(answer);
        let fate = way.or_insert_with(|| Way::new(faults, &from, number)).fate();
        let line = match answer {
            true => self.askers.get_mut(&asker).map(|(_, line)| line),
            false => self.responders.get_mut(holder),
        };
        let Some(line) = line else { return false };
        let now = Instant::now();
        let in_order = line.last_due.map_or(now, |last| last.max(now)).max(now + fate.delay);
        let due = match fate.overtaken {
            Some(late) => in_order + late,
            None => *line.last_due.insert(in_order),
        };
        for _ in 0..fate.copies {
            self.made += 1;
            line.bytes += length(frames);
            line.queue.insert((due, self.made), (holder.clone(), asker, frames.to_vec()));
        }
        line.signal.wake();
        true
    }

    fn is_full(&self, holder: &Endpoint, asker: u64, answer: bool) -> bool {
        if !answer {
            let line = self.responders.get(holder);
            return line.is_none_or(|line| line.queue.len() >= REQUESTS_MAX);
        }
        let known = self.askers.get(&asker).filter(|(follows, _)| follows.contains(holder));
        known.is_none_or(|(_, line)| {
            line.queue.len() >= ANSWERS_MAX || line.bytes >= ANSWER_BYTES_OF_PEER_MAX
        })
    }

    /// Wakes who has something for an asker that has read.
    fn has_read(&self, asker: u64) {
        let follows = self.askers.get(&asker).map(|(follows, _)| follows);
        for holder in follows.into_iter().flatten() {
            if let Some(line) = self.responders.get(holder) {
                line.signal.wake();
            }
        }
    }
}

impl Line {
    fn is_behind(&self) -> bool {
        self.queue.len() >= ANSWERS_BEHIND || self.bytes >= GET_BYTES_MAX
    }

    /// Takes what has arrived by now, up to a bound; says how long until more arrives.
    fn take(&mut self, mut take: impl FnMut(Endpoint, u64, Vec<Bytes>)) -> Option<Duration> {
        let now = Instant::now();
        for _ in 0..TURN {
            let (due, _) = *self.queue.keys().next()?;
            if due > now {
                return Some(due - now);
            }
            let (_, (holder, asker, frames)) = self.queue.pop_first()?;
            self.bytes -= length(&frames);
            take(holder, asker, frames);
        }
        Some(Duration::ZERO)
    }
}

fn length(frames: &[Bytes]) -> usize {
    frames.iter().map(Bytes::len).sum()
}

struct MemoryResponder {
    replies: Replies,
    address: Endpoint,
    signal: Arc<Signal>,
}

impl MemoryResponder {
    fn take(&self, asked: &mut Vec<Asked>) -> Option<Duration> {
        let mut shared = self.replies.lock();
        let line = shared.responders.get_mut(&self.address)?;
        line.take(|_, asker, frames| {
            let peer = Bytes::copy_from_slice(&asker.to_be_bytes());
            asked.push(Asked { peer, frames });
        })
    }
}

impl Responder for MemoryResponder {
    fn receive(&mut self, timeout: Duration, asked: &mut Vec<Asked>) {
        let start = asked.len();
        let next = self.take(asked);
        if asked.len() == start {
            self.signal.wait(next.map_or(timeout, |next| next.min(timeout)));
            self.take(asked);
        }
    }

    fn answer(&mut self, peer: &Bytes, frames: &[Bytes]) -> bool {
        let Some(asker) = number(peer) else { return false };
        self.replies.lock().send(&self.address, asker, true, frames)
    }

    fn is_behind(&self, peer: &Bytes) -> bool {
        let shared = self.replies.lock();
        let line = number(peer).and_then(|asker| shared.askers.get(&asker));
        line.is_some_and(|(_, line)| line.is_behind())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.signal.clone()
    }
}

impl Drop for MemoryResponder {
    fn drop(&mut self) {
        self.replies.lock().responders.remove(&self.address);
    }
}

fn number(peer: &Bytes) -> Option<u64> {
    Some(u64::from_be_bytes(peer[..].try_into().ok()?))
}

struct MemoryAsker {
    replies: Replies,
    id: u64,
    signal: Arc<Signal>,
}

impl MemoryAsker {
    fn take(&self, answers: &mut Vec<Told>) -> Option<Duration> {
        let mut shared = self.replies.lock();
        let (_, line) = shared.askers.get_mut(&self.id)?;
        let was_behind = line.is_behind();
        let next = line.take(|holder, _, frames| answers.push(Told { holder, frames }));
        if was_behind && !line.is_behind() {
            shared.has_read(self.id);
        }
        next
    }
}

impl Asker for MemoryAsker {
    fn follow(&mut self, holders: &[Endpoint]) {
        let mut shared = self.replies.lock();
        let Some((follows, line)) = shared.askers.get_mut(&self.id) else { return };
        *follows = holders.iter().cloned().collect();
        line.queue.retain(|_, (holder, _, _)| follows.contains(holder));
        line.bytes = line.queue.values().map(|(_, _, frames)| length(frames)).sum();
    }

    fn ask(&mut self, holder: &Endpoint, frames: &[Bytes]) -> bool {
        let mut shared = self.replies.lock();
        let known = shared.askers.get(&self.id);
        let follows = known.is_some_and(|(follows, _)| follows.contains(holder));
        follows && shared.send(holder, self.id, false, frames)
    }

    fn receive(&mut self, timeout: Duration, answers: &mut Vec<Told>) {
        let start = answers.len();
        let next = self.take(answers);
        if answers.len() == start {
            self.signal.wait(next.map_or(timeout, |next| next.min(timeout)));
            self.take(answers);
        }
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.signal.clone()
    }
}

impl Drop for MemoryAsker {
    fn drop(&mut self) {
        let mut shared = self.replies.lock();
        shared.has_read(self.id);
        shared.askers.remove(&self.id);
        let id = self.id;
        shared.ways.retain(|(_, asker, _), _| *asker != id);
    }
}
