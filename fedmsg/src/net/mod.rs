//! ZeroMQ: the transport of real buses.
//!
//! Every socket is owned by one thread. Waiting is done on the file descriptors that 0mq gives out
//! (`ZMQ_FD`), which signal an edge: a socket is emptied before anybody waits for it again.

mod asker;
mod bind;
mod context;
mod inlet;
mod link;
mod messages;
mod outbox;
mod outlet;
mod raw;
mod resolve;
mod responder;
pub mod rpc;
mod wait;

use crate::endpoint::Endpoint;
use crate::limits;
use crate::transport::{Asker, Inlet, NetError, Outlet, OutletSettings, Responder, Transport};

pub use bind::Binding;
pub use context::Context;

/// Largest frame that a receiving socket takes (`ZMQ_MAXMSGSIZE`). A peer that sends more is disconnected.
const FRAME_BYTES_MAX: i64 = limits::FRAME_BYTES_MAX as i64;

/// The transport of real buses: tcp and ipc sockets of libzmq.
#[derive(Clone, Debug)]
pub struct Zmq {
    context: Context,
}

impl Zmq {
    /// Sockets in the context that this process shares.
    pub fn new() -> Zmq {
        Zmq { context: Context::shared() }
    }
}

impl Default for Zmq {
    fn default() -> Zmq {
        Zmq::new()
    }
}

impl Transport for Zmq {
    fn outlet(
        &self,
        address: &Endpoint,
        settings: OutletSettings,
    ) -> Result<Box<dyn Outlet>, NetError> {
        Ok(Box::new(outlet::ZmqOutlet::bind(&self.context, address, settings)?))
    }

    fn inlet(&self) -> Result<Box<dyn Inlet>, NetError> {
        Ok(Box::new(inlet::ZmqInlet::new(&self.context)?))
    }

    fn responder(&self, address: &Endpoint) -> Result<Box<dyn Responder>, NetError> {
        Ok(Box::new(responder::ZmqResponder::bind(&self.context, address)?))
    }

    fn asker(&self) -> Result<Box<dyn Asker>, NetError> {
        Ok(Box::new(asker::ZmqAsker::new(&self.context)?))
    }
}

impl From<zmq::Error> for NetError {
    fn from(error: zmq::Error) -> NetError {
        NetError::Socket(error.to_string())
    }
}

/// What all our sockets have in common: IPv6 as well as IPv4, a connection attempt lasts at most 2 s, and is
/// repeated within 1 s.
fn prepare(socket: &zmq::Socket) -> Result<(), NetError> {
    socket.set_ipv6(true)?;
    socket.set_connect_timeout(2_000)?;
    socket.set_handshake_ivl(2_000)?;
    socket.set_reconnect_ivl(100)?;
    socket.set_reconnect_ivl_max(1_000)?;
    socket.set_linger(0)?;
    Ok(())
}

/// For sockets that ask and answer: a peer that is gone is noticed within 3 s (`ZMQ_HEARTBEAT_IVL`,
/// `_TIMEOUT`).
fn prepare_for_answers(socket: &zmq::Socket) -> Result<(), NetError> {
    prepare(socket)?;
    socket.set_heartbeat_ivl(1_000)?;
    socket.set_heartbeat_timeout(3_000)?;
    socket.set_heartbeat_ttl(3_000)?;
    Ok(())
}

/// For PUB and SUB, which must not use ZMTP heartbeats. 0mq stops reading from a connection whose reader is
/// behind, so a reader that pauses for 3 s would be cut off, and lose what waits for it. And a publisher that
/// ends would lose what the kernel still holds for slow readers: the first `PING` that comes in after its
/// `close` makes the kernel reset the connection (RFC 9293, 3.6.1) instead of delivering the rest. A publisher
/// that is gone shows by its missing signed heartbeats; a subscriber that is gone, by TCP.
fn prepare_one_way(socket: &zmq::Socket) -> Result<(), NetError> {
    prepare(socket)?;
    socket.set_tcp_keepalive(1)?;
    socket.set_tcp_keepalive_idle(10)?;
    socket.set_tcp_keepalive_intvl(5)?;
    socket.set_tcp_keepalive_cnt(3)?;
    Ok(())
}
