//! A transport in memory: outlets and inlets that meet by address, and faults between them on demand.

use std::collections::btree_map::Entry;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::faults::Faults;
use super::hub::{Bound, Hub, Reader, Signal};
use super::replies::Replies;
use crate::config::EndpointEntry;
use crate::endpoint::Endpoint;
use crate::envelope::Wire;
use crate::event::EndpointChange;
use crate::identity::Identity;
use crate::limits::FRAME_BYTES_MAX;
use crate::transport::{
    Arrival, Asker, Inlet, NetError, Outlet, OutletSettings, Responder, Subscribers, Transport,
    Wake,
};

/// Most frames that wait for one subscriber, unless a transport is told otherwise.
const FRAMES_MAX: usize = 16_384;
/// Most frames that an inlet takes in one go.
const ARRIVALS_MAX: usize = 4_096;

/// A transport in memory. Clones are the same transport. As with sockets, whoever comes late gets nothing
/// from before, and a subscriber that does not read loses what does not fit.
#[derive(Clone)]
pub struct MemoryTransport {
    shared: Arc<Shared>,
    replies: Replies,
}

struct Shared {
    hub: Mutex<Hub>,
    /// Somebody has read something.
    room: Condvar,
}

impl Shared {
    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryTransport {
    /// A transport without faults.
    pub fn new() -> MemoryTransport {
        MemoryTransport::with_bound(FRAMES_MAX)
    }

    /// A transport where at most so many frames wait for one subscriber: its high-water mark.
    pub fn with_bound(frames_max: usize) -> MemoryTransport {
        let hub = Mutex::new(Hub::new(frames_max.max(1)));
        let shared = Arc::new(Shared { hub, room: Condvar::new() });
        MemoryTransport { shared, replies: Replies::default() }
    }

    /// From now on this goes wrong. Prints the seed.
    pub fn set_faults(&self, faults: Faults) {
        eprintln!("faults in memory: {faults:?}");
        self.shared.hub().set_faults(faults);
        self.replies.set_faults(faults);
    }

    /// Loses everything that this endpoint sends, until it is healed.
    pub fn partition(&self, endpoint: &Identity) {
        let mut hub = self.shared.hub();
        hub.partitioned.insert(endpoint.clone());
        hub.look_at_all();
    }

    /// What this endpoint sends from now on arrives again.
    pub fn heal(&self, endpoint: &Identity) {
        let mut hub = self.shared.hub();
        hub.partitioned.remove(endpoint);
        hub.look_at_all();
    }

    /// Cuts the responder at this address off from its askers, until it is healed. What is on its way already
    /// arrives.
    pub fn partition_address(&self, address: &Endpoint) {
        self.replies.partition(address);
    }

    /// The responder at this address can be asked again.
    pub fn heal_address(&self, address: &Endpoint) {
        self.replies.heal(address);
    }

    /// Hands frames to everybody who follows this endpoint, as if they came from there, past all faults:
    /// forged, cut off, too many. Says how many subscribers they go to.
    pub fn inject(&self, endpoint: &Identity, frames: &[&[u8]]) -> usize {
        let frames = match frames {
            [topic, envelope] => Ok(Wire {
                topic: Bytes::copy_from_slice(topic),
                envelope: Bytes::copy_from_slice(envelope),
            }),
            _ => Err(frames.len()),
        };
        let mut hub = self.shared.hub();
        let follows = |reader: &Reader| {
            !reader.silent && reader.entries.iter().any(|entry| entry.identity == *endpoint)
        };
        let readers = hub.readers.iter().filter(|(_, reader)| follows(reader));
        let ids: Vec<u64> = readers.map(|(id, _)| *id).collect();
        for id in &ids {
            hub.put(*id, endpoint, frames.clone(), Instant::now());
        }
        ids.len()
    }

    /// An inlet that sees everything, and that nobody sees.
    pub(super) fn silent_inlet(&self) -> Box<dyn Inlet> {
        self.make_inlet(true)
    }

    fn make_inlet(&self, silent: bool) -> Box<dyn Inlet> {
        let mut hub = self.shared.hub();
        let (id, reader) = (hub.next_number(), Reader::new(silent));
        let signal = Arc::clone(&reader.signal);
        hub.readers.insert(id, reader);
        Box::new(MemoryInlet { shared: Arc::clone(&self.shared), id, signal })
    }
}

impl Default for MemoryTransport {
    fn default() -> MemoryTransport {
        MemoryTransport::new()
    }
}

impl std::fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hub = self.shared.hub();
        f.debug_struct("MemoryTransport")
            .field("outlets", &hub.outlets.len())
            .field("inlets", &hub.readers.len())
            .finish_non_exhaustive()
    }
}

impl Transport for MemoryTransport {
    fn outlet(
        &self,
        address: &Endpoint,
        settings: OutletSettings,
    ) -> Result<Box<dyn Outlet>, NetError> {
        let mut hub = self.shared.hub();
        let followers = hub.followers(address);
        let counted = |(id, _): &&(u64, Identity)| hub.readers.get(id).is_some_and(|r| !r.silent);
        let joined = followers.iter().filter(counted).count();
        let signal: Arc<Signal> = Arc::default();
        match hub.outlets.entry(address.clone()) {
            Entry::Occupied(_) => return Err(NetError::InUse { address: address.to_string() }),
            Entry::Vacant(place) => place.insert(Bound {
                subscribers: Subscribers { joined, left: 0 },
                signal: Arc::clone(&signal),
            }),
        };
        hub.look_at_all();
        drop(hub);
        let (shared, address) = (Arc::clone(&self.shared), address.clone());
        Ok(Box::new(MemoryOutlet { shared, address, settings, signal }))
    }

    fn inlet(&self) -> Result<Box<dyn Inlet>, NetError> {
        Ok(self.make_inlet(false))
    }

    fn responder(&self, address: &Endpoint) -> Result<Box<dyn Responder>, NetError> {
        self.replies.responder(address)
    }

    fn asker(&self) -> Result<Box<dyn Asker>, NetError> {
        Ok(self.replies.asker())
    }
}

struct MemoryOutlet {
    shared: Arc<Shared>,
    address: Endpoint,
    settings: OutletSettings,
    signal: Arc<Signal>,
}

impl Outlet for MemoryOutlet {
    fn send(&mut self, wire: &Wire) -> bool {
        if wire.topic.len().max(wire.envelope.len()) > FRAME_BYTES_MAX {
            tracing::debug!(address = %self.address, bytes = wire.len(), "a frame that is too long");
            return true;
        }
        let mut hub = self.shared.hub();
        let give_up = Instant::now() + self.settings.slow_subscriber_wait;
        let (bytes, bytes_max) = (wire.len(), self.settings.subscriber_bytes);
        let mut everybody = true;
        for (id, from) in hub.followers(&self.address) {
            while hub.is_full(id, bytes, bytes_max) && !hub.readers[&id].left_out {
                let left = give_up.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    if let Some(reader) = hub.readers.get_mut(&id) {
                        reader.left_out = true;
                        everybody = false;
                    }
                    break;
                }
                let waited = self.shared.room.wait_timeout(hub, left);
                hub = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if !hub.is_full(id, bytes, bytes_max) {
                hub.deliver(id, &from, wire);
            }
        }
        everybody
    }

    fn wait(&mut self, timeout: Duration) -> Subscribers {
        let take = |hub: &mut Hub| {
            let bound = hub.outlets.get_mut(&self.address);
            bound.map(|bound| std::mem::take(&mut bound.subscribers)).unwrap_or_default()
        };
        let known = take(&mut self.shared.hub());
        if known != Subscribers::default() {
            return known;
        }
        self.signal.wait(timeout);
        take(&mut self.shared.hub())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.signal.clone()
    }
}

impl Drop for MemoryOutlet {
    fn drop(&mut self) {
        let mut hub = self.shared.hub();
        hub.outlets.remove(&self.address);
        hub.look_at_all();
    }
}

struct MemoryInlet {
    shared: Arc<Shared>,
    id: u64,
    signal: Arc<Signal>,
}

impl MemoryInlet {
    /// Takes what is there; says how long to wait for more, and whether there is something to say.
    fn take(&self, arrivals: &mut Vec<Arrival>) -> (Option<Duration>, bool) {
        let mut hub = self.shared.hub();
        let Some(reader) = hub.readers.get_mut(&self.id) else { return (None, false) };
        let next = reader.take(ARRIVALS_MAX, arrivals);
        let news = !arrivals.is_empty() || !reader.changes.is_empty();
        drop(hub);
        if !arrivals.is_empty() {
            self.shared.room.notify_all();
        }
        (next, news)
    }
}

impl Inlet for MemoryInlet {
    fn follow(&mut self, endpoints: &[EndpointEntry]) {
        self.shared.hub().follow(self.id, endpoints);
    }

    fn receive(&mut self, timeout: Duration, arrivals: &mut Vec<Arrival>) {
        let (next, news) = self.take(arrivals);
        if news {
            return;
        }
        self.signal.wait(next.map_or(timeout, |next| next.min(timeout)));
        self.take(arrivals);
    }

    fn changes(&mut self) -> Vec<EndpointChange> {
        let mut hub = self.shared.hub();
        let reader = hub.readers.get_mut(&self.id);
        reader.map(|reader| std::mem::take(&mut reader.changes)).unwrap_or_default()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.signal.clone()
    }
}

impl Drop for MemoryInlet {
    fn drop(&mut self) {
        self.shared.hub().remove_reader(self.id);
        self.shared.room.notify_all();
    }
}
