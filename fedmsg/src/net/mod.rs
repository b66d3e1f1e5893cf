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

/// For sockets that ask: a peer that is gone is noticed a few seconds after the next heartbeat (`ZMQ_HEARTBEAT_IVL`,
/// `_TIMEOUT`), and so is this one by the peer (`_TTL`). Only who asks sends heartbeats. Whoever has many such
/// sockets sends them less often on each: 0mq walks through all timers of its thread to stop one, so that a second
/// between them would keep a processor busy where there are thousands.
fn prepare_to_ask(socket: &zmq::Socket, sockets: usize) -> Result<(), NetError> {
    prepare(socket)?;
    let interval = heartbeat_ms(sockets);
    socket.set_heartbeat_ivl(interval)?;
    socket.set_heartbeat_timeout(HEARTBEAT_TIMEOUT_MS)?;
    socket.set_heartbeat_ttl(interval + HEARTBEAT_TIMEOUT_MS)?;
    Ok(())
}

/// An answer to a heartbeat has to come within this time, in milliseconds.
const HEARTBEAT_TIMEOUT_MS: i32 = 3_000;
/// Shortest and longest time between heartbeats, in milliseconds.
const HEARTBEAT_MS: (i32, i32) = (1_000, 15_000);
/// Heartbeats in a second, of all sockets of one asker together.
const HEARTBEATS_PER_SECOND: usize = 64;

/// The time between heartbeats of one of so many sockets, in milliseconds.
fn heartbeat_ms(sockets: usize) -> i32 {
    let shared = sockets.saturating_mul(1_000) / HEARTBEATS_PER_SECOND;
    i32::try_from(shared).unwrap_or(i32::MAX).clamp(HEARTBEAT_MS.0, HEARTBEAT_MS.1)
}

/// For sockets that answer: who asks sends heartbeats, and is cut off when they end; one who sends none is noticed by
/// TCP.
fn prepare_to_answer(socket: &zmq::Socket) -> Result<(), NetError> {
    prepare(socket)?;
    keep_alive(socket)
}

/// For PUB and SUB, which must not use ZMTP heartbeats. 0mq stops reading from a connection whose reader is
/// behind, so a reader that pauses for 3 s would be cut off, and lose what waits for it. And a publisher that
/// ends would lose what the kernel still holds for slow readers: the first `PING` that comes in after its
/// `close` makes the kernel reset the connection (RFC 9293, 3.6.1) instead of delivering the rest. A publisher
/// that is gone shows by its missing signed heartbeats; a subscriber that is gone, by TCP.
fn prepare_one_way(socket: &zmq::Socket) -> Result<(), NetError> {
    prepare(socket)?;
    keep_alive(socket)
}

/// TCP notices a peer that is gone within half a minute.
fn keep_alive(socket: &zmq::Socket) -> Result<(), NetError> {
    socket.set_tcp_keepalive(1)?;
    socket.set_tcp_keepalive_idle(10)?;
    socket.set_tcp_keepalive_intvl(5)?;
    socket.set_tcp_keepalive_cnt(3)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sockets_send_fewer_heartbeats_each() {
        for (sockets, expected) in
            [(0, 1_000), (1, 1_000), (64, 1_000), (128, 2_000), (500, 7_812), (usize::MAX, 15_000)]
        {
            assert_eq!(heartbeat_ms(sockets), expected, "{sockets}");
        }
    }
}
