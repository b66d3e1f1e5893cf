//! The seam between the bus and what carries its frames: ZeroMQ ([`net`](crate::net)), or memory
//! ([`testing`](crate::testing)). One contract suite runs on both.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::EndpointEntry;
use crate::endpoint::Endpoint;
use crate::envelope::Wire;
use crate::event::EndpointChange;
use crate::identity::Identity;

/// What can go wrong with sockets: the machine's fault, or the address's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The address is taken.
    #[error("{address} is in use by another process")]
    InUse {
        /// The address.
        address: String,
    },
    /// An address cannot be bound.
    #[error("cannot bind {address}: {why}")]
    Bind {
        /// The address.
        address: String,
        /// What the system says.
        why: String,
    },
    /// A socket cannot be made or used.
    #[error("0mq: {0}")]
    Socket(String),
    /// Something else of the system's.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        error: std::io::Error,
    },
}

/// Interrupts somebody who waits on an outlet or an inlet; callable from any thread.
pub trait Wake: Send + Sync {
    /// Makes the current wait, or else the next one, return at once.
    fn wake(&self);
}

/// Where a publisher or a relay puts frames for whoever listens.
pub trait Outlet: Send {
    /// Sends to every subscriber that is there now. Waits for a slow one at most as long as the transport
    /// was told, then gives it up: it gets nothing until it has read, and nobody waits for it again. `false`
    /// when somebody was given up during this call; what is sent without it later is not told.
    ///
    /// A frame longer than [`FRAME_BYTES_MAX`](crate::limits::FRAME_BYTES_MAX) arrives nowhere, and may cost
    /// those who follow their connection for a moment.
    fn send(&mut self, wire: &Wire) -> bool;
    /// Waits until woken, until a subscriber comes or goes, or until the time is over.
    fn wait(&mut self, timeout: Duration) -> Subscribers;
    /// Interrupts [`wait`](Outlet::wait).
    fn waker(&self) -> Arc<dyn Wake>;
}

/// How many subscribers came and went during one wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscribers {
    /// Came.
    pub joined: usize,
    /// Went.
    pub left: usize,
}

/// What an inlet received.
#[derive(Debug)]
pub struct Arrival {
    /// Whose endpoint sent it.
    pub endpoint: Identity,
    /// Two frames; otherwise how many there were.
    pub frames: Result<Wire, usize>,
}

/// Where a subscriber gets frames from.
pub trait Inlet: Send {
    /// Connects to these endpoints and disconnects from all others; those that stay are not touched. When it
    /// returns, nothing arrives any more from an identity that is not among them.
    fn follow(&mut self, endpoints: &[EndpointEntry]);
    /// Waits until woken, until something arrives, or until the time is over, or shorter; takes all that
    /// waits, up to a bound.
    fn receive(&mut self, timeout: Duration, arrivals: &mut Vec<Arrival>);
    /// What became of the endpoints since the last call. That one is down, or cannot be found, is told once,
    /// and that it is there is told when something arrived from it at the latest.
    fn changes(&mut self) -> Vec<EndpointChange>;
    /// Interrupts [`receive`](Inlet::receive).
    fn waker(&self) -> Arc<dyn Wake>;
}

/// What a peer asked.
#[derive(Debug)]
pub struct Asked {
    /// Who asked: what an answer begins with. It means nothing beyond this connection.
    pub peer: Bytes,
    /// The request. Of one with too many frames so many are there that it shows.
    pub frames: Vec<Bytes>,
}

/// Answers requests of many peers.
pub trait Responder: Send {
    /// Waits until woken, until a request arrives, until a peer that was behind has read, or until the time
    /// is over; takes the requests that wait, up to a bound.
    fn receive(&mut self, timeout: Duration, asked: &mut Vec<Asked>);
    /// Sends one message to a peer, and never waits for it: what the peer does not read at once is kept for
    /// it, up to a bound. `false` when the peer is gone, or has so much to read that this is dropped.
    fn answer(&mut self, peer: &Bytes, frames: &[Bytes]) -> bool;
    /// Whether answers wait here for this peer to read. It is better asked again after
    /// [`receive`](Responder::receive) than given more.
    fn is_behind(&self, peer: &Bytes) -> bool;
    /// Interrupts [`receive`](Responder::receive).
    fn waker(&self) -> Arc<dyn Wake>;
}

/// What a holder answered.
#[derive(Debug)]
pub struct Told {
    /// By which address it was asked.
    pub holder: Endpoint,
    /// The answer. Of one with too many frames so many are there that it shows.
    pub frames: Vec<Bytes>,
}

/// Asks holders; each is named by its address.
pub trait Asker: Send {
    /// Connects to these and disconnects from all others; those that stay are not touched. When it returns,
    /// nothing arrives any more from a holder that is not among them.
    fn follow(&mut self, holders: &[Endpoint]);
    /// Sends a request; `false` when the holder is not connected by now, or does not read. Nothing is kept
    /// for later. `true` says only that it is on its way: whoever gets no answer asks again.
    fn ask(&mut self, holder: &Endpoint, frames: &[Bytes]) -> bool;
    /// Waits until woken, until an answer arrives, or until the time is over, or shorter; takes the answers
    /// that wait, up to a bound. The answers of one holder come in the order in which it gave them.
    fn receive(&mut self, timeout: Duration, answers: &mut Vec<Told>);
    /// Interrupts [`receive`](Asker::receive).
    fn waker(&self) -> Arc<dyn Wake>;
}

/// Makes outlets, inlets, responders and askers.
pub trait Transport: Send + Sync {
    /// Binds an address for publishing.
    fn outlet(
        &self,
        address: &Endpoint,
        settings: OutletSettings,
    ) -> Result<Box<dyn Outlet>, NetError>;
    /// Makes a place to receive.
    fn inlet(&self) -> Result<Box<dyn Inlet>, NetError>;
    /// Binds an address for answering.
    fn responder(&self, address: &Endpoint) -> Result<Box<dyn Responder>, NetError>;
    /// Makes a place to ask from.
    fn asker(&self) -> Result<Box<dyn Asker>, NetError>;
}

/// How an outlet treats slow subscribers.
#[derive(Clone, Copy, Debug)]
pub struct OutletSettings {
    /// Longest wait for one message, 0 to 500 ms.
    pub slow_subscriber_wait: Duration,
    /// Bytes that may wait for one subscriber, roughly.
    pub subscriber_bytes: usize,
}

impl Default for OutletSettings {
    fn default() -> OutletSettings {
        OutletSettings {
            slow_subscriber_wait: Duration::from_millis(500),
            subscriber_bytes: 64 << 20,
        }
    }
}
