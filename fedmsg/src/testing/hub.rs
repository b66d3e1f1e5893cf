//! What all outlets and inlets of a transport in memory share: who is bound, who follows whom, and what is
//! on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::faults::{Faults, Way};
use crate::config::EndpointEntry;
use crate::endpoint::Endpoint;
use crate::envelope::Wire;
use crate::event::{EndpointChange, EndpointStatus};
use crate::identity::Identity;
use crate::transport::{Arrival, Subscribers, Wake};

/// Everything, behind one lock.
pub(super) struct Hub {
    pub(super) outlets: BTreeMap<Endpoint, Bound>,
    pub(super) readers: BTreeMap<u64, Reader>,
    pub(super) partitioned: BTreeSet<Identity>,
    pub(super) faults: Faults,
    /// Most frames that wait for one reader.
    pub(super) frames_max: usize,
    made: u64,
}

/// An address that is bound.
pub(super) struct Bound {
    pub(super) subscribers: Subscribers,
    pub(super) signal: Arc<Signal>,
}

/// An inlet.
pub(super) struct Reader {
    /// Sees everything, without faults or bounds, and is not counted as a subscriber.
    pub(super) silent: bool,
    pub(super) entries: Vec<EndpointEntry>,
    pub(super) queue: BTreeMap<(Instant, u64), Arrival>,
    pub(super) changes: Vec<EndpointChange>,
    pub(super) signal: Arc<Signal>,
    /// What was said of each endpoint.
    up: BTreeMap<Identity, bool>,
    ways: BTreeMap<Identity, Way>,
    last_due: Option<Instant>,
    bytes: usize,
    /// Too slow: gets nothing until it has read something.
    pub(super) left_out: bool,
}

impl Hub {
    pub(super) fn new(frames_max: usize) -> Hub {
        Hub {
            outlets: BTreeMap::new(),
            readers: BTreeMap::new(),
            partitioned: BTreeSet::new(),
            faults: Faults::default(),
            frames_max,
            made: 0,
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.readers.values_mut().for_each(|reader| reader.ways.clear());
    }

    /// Who gets what is sent from this address: the reader, and the entry by which it follows.
    pub(super) fn followers(&self, address: &Endpoint) -> Vec<(u64, Identity)> {
        let follows = |(id, reader): (&u64, &Reader)| {
            let entry = reader.entries.iter().find(|entry| entry.publish.contains(address))?;
            Some((*id, entry.identity.clone()))
        };
        self.readers.iter().filter_map(follows).collect()
    }

    /// Whether this reader has no room for so many bytes more.
    pub(super) fn is_full(&self, id: u64, bytes: usize, bytes_max: usize) -> bool {
        self.readers.get(&id).is_some_and(|reader| {
            let full = reader.queue.len() >= self.frames_max || reader.bytes + bytes > bytes_max;
            !reader.silent && !reader.queue.is_empty() && full
        })
    }

    /// Puts a frame on its way to a reader, with what happens to it there.
    pub(super) fn deliver(&mut self, id: u64, from: &Identity, wire: &Wire) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let now = Instant::now();
        if reader.silent {
            self.put(id, from, Ok(wire.clone()), now);
            return;
        }
        if self.partitioned.contains(from) {
            return;
        }
        let faults = self.faults;
        let way = reader.ways.entry(from.clone());
        let fate = way.or_insert_with(|| Way::new(faults, from.as_str(), id)).fate();
        let in_order = reader.last_due.map_or(now, |last| last.max(now)).max(now + fate.delay);
        let due = match fate.overtaken {
            Some(late) => in_order + late,
            None => *reader.last_due.insert(in_order),
        };
        for _ in 0..fate.copies {
            self.put(id, from, Ok(wire.clone()), due);
        }
    }

    /// Puts something into a reader's queue.
    pub(super) fn put(
        &mut self,
        id: u64,
        from: &Identity,
        frames: Result<Wire, usize>,
        due: Instant,
    ) {
        let number = self.next_number();
        let Some(reader) = self.readers.get_mut(&id) else { return };
        reader.bytes += frames.as_ref().map_or(0, Wire::len);
        reader.queue.insert((due, number), Arrival { endpoint: from.clone(), frames });
        reader.signal.wake();
    }

    /// Looks again at which endpoints of a reader are bound, and counts it where it comes and goes.
    pub(super) fn follow(&mut self, id: u64, entries: &[EndpointEntry]) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let before = std::mem::replace(&mut reader.entries, entries.to_vec());
        let addresses = |entries: &[EndpointEntry]| -> BTreeSet<Endpoint> {
            entries.iter().flat_map(|entry| entry.publish.iter().cloned()).collect()
        };
        let (before, after) = (addresses(&before), addresses(entries));
        let count = usize::from(!reader.silent);
        let stays = |identity: &Identity| entries.iter().any(|entry| entry.identity == *identity);
        reader.up.retain(|identity, _| stays(identity));
        reader.forget_all_but(stays);
        for (address, bound) in &mut self.outlets {
            match (before.contains(address), after.contains(address)) {
                (false, true) => bound.subscribers.joined += count,
                (true, false) => bound.subscribers.left += count,
                _ => continue,
            }
            bound.signal.wake();
        }
        self.look_at(id);
    }

    /// Tells every reader what it does not know yet about its endpoints.
    pub(super) fn look_at_all(&mut self) {
        let ids: Vec<u64> = self.readers.keys().copied().collect();
        ids.into_iter().for_each(|id| self.look_at(id));
    }

    fn look_at(&mut self, id: u64) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        for entry in reader.entries.iter().filter(|entry| !entry.publish.is_empty()) {
            let bound = entry.publish.iter().any(|address| self.outlets.contains_key(address));
            let up = bound && !self.partitioned.contains(&entry.identity);
            if reader.up.insert(entry.identity.clone(), up) == Some(up) {
                continue;
            }
            let status = match up {
                true => EndpointStatus::Up,
                false => EndpointStatus::Down("nobody publishes there".into()),
            };
            let address = entry.publish[0].to_string();
            reader.changes.push(EndpointChange::new(entry.identity.clone(), address, status));
            reader.signal.wake();
        }
    }

    /// Ends a reader.
    pub(super) fn remove_reader(&mut self, id: u64) {
        self.follow(id, &[]);
        self.readers.remove(&id);
    }
}

impl Reader {
    pub(super) fn new(silent: bool) -> Reader {
        Reader {
            silent,
            entries: Vec::new(),
            queue: BTreeMap::new(),
            changes: Vec::new(),
            signal: Arc::default(),
            up: BTreeMap::new(),
            ways: BTreeMap::new(),
            last_due: None,
            bytes: 0,
            left_out: false,
        }
    }

    /// Throws away what waits, except from these endpoints.
    fn forget_all_but(&mut self, stays: impl Fn(&Identity) -> bool) {
        self.queue.retain(|_, arrival| stays(&arrival.endpoint));
        let lengths =
            self.queue.values().map(|arrival| arrival.frames.as_ref().map_or(0, Wire::len));
        self.bytes = lengths.sum();
    }

    /// Takes what has arrived by now, up to a bound; says how long until more arrives.
    pub(super) fn take(&mut self, most: usize, arrivals: &mut Vec<Arrival>) -> Option<Duration> {
        let now = Instant::now();
        for _ in 0..most {
            let (due, _) = *self.queue.keys().next()?;
            if due > now {
                return Some(due - now);
            }
            let (_, arrival) = self.queue.pop_first()?;
            self.bytes -= arrival.frames.as_ref().map_or(0, Wire::len);
            self.left_out = false;
            arrivals.push(arrival);
        }
        Some(Duration::ZERO)
    }
}

/// A wake-up that is not lost when nobody waits.
#[derive(Default)]
pub(super) struct Signal {
    up: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Waits until it is up, or the time is over, and takes it down.
    pub(super) fn wait(&self, timeout: Duration) {
        let up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(up, timeout, |up| !*up);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

impl Wake for Signal {
    fn wake(&self) {
        *self.up.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}
