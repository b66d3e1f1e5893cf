//! The answering side: one ROUTER socket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::bind::{Binding, bind};
use super::context::Context;
use super::messages::{self, Sent};
use super::outbox::Outbox;
use super::raw::descriptor;
use super::wait::Sleeper;
use crate::endpoint::Endpoint;
use crate::transport::{Asked, NetError, Responder, Wake};

/// Most frames of one request that are looked at, the peer being the first: a `PUT` of 100 messages has 204.
const FRAMES_MAX: usize = 256;
/// Most requests that are taken in one go, and most bytes of them.
const TURN: usize = 256;
const TURN_BYTES: usize = 16 << 20;
/// Answers that 0mq holds for one peer. It counts messages and not bytes, so they are few; what is beyond
/// waits in the [`Outbox`].
const HIGH_WATER: i32 = 256;
/// Requests of one peer that 0mq holds; more wait in the kernel, and then in the peer.
const REQUESTS: i32 = 256;
/// How often peers that are behind are tried again: the report that one has read may be taken by a call that
/// was about another one.
const BEHIND_RETRY: Duration = Duration::from_millis(1);

pub(super) struct ZmqResponder {
    router: zmq::Socket,
    sleeper: Sleeper,
    outbox: Outbox,
    /// There may be something to read.
    ready: bool,
    _binding: Binding,
    _context: Context,
}

impl ZmqResponder {
    pub(super) fn bind(context: &Context, address: &Endpoint) -> Result<ZmqResponder, NetError> {
        let router = context.socket(zmq::ROUTER)?;
        super::prepare_to_answer(&router)?;
        router.set_maxmsgsize(super::FRAME_BYTES_MAX)?;
        router.set_sndhwm(HIGH_WATER)?;
        router.set_rcvhwm(REQUESTS)?;
        router.set_backlog(128)?;
        // A peer that is gone or full is an error, not a silent drop.
        router.set_router_mandatory(true)?;
        router.set_linger(1_000)?;
        let binding = bind(&router, address)?;
        Ok(ZmqResponder {
            router,
            sleeper: Sleeper::new()?,
            outbox: Outbox::default(),
            ready: true,
            _binding: binding,
            _context: context.clone(),
        })
    }

    fn drain(&mut self, asked: &mut Vec<Asked>) {
        if !std::mem::take(&mut self.ready) {
            return;
        }
        let (mut bytes, start) = (0, asked.len());
        while let Some(mut frames) = messages::receive(&self.router, FRAMES_MAX) {
            let peer = frames.remove(0);
            bytes += frames.iter().map(Bytes::len).sum::<usize>();
            asked.push(Asked { peer, frames });
            if asked.len() - start >= TURN || bytes >= TURN_BYTES {
                self.ready = true;
                return;
            }
        }
    }

    fn flush(&mut self) -> bool {
        if self.outbox.is_empty() {
            return false;
        }
        self.ready = true;
        let router = &self.router;
        self.outbox.flush(Instant::now(), |message| messages::send(router, message))
    }
}

impl Responder for ZmqResponder {
    fn receive(&mut self, timeout: Duration, asked: &mut Vec<Asked>) {
        // Reading makes 0mq look at what its I/O thread reports, also that a peer has room again.
        self.drain(asked);
        let news = self.flush() || !asked.is_empty();
        let timeout = match (news, self.outbox.is_empty()) {
            (true, _) => Duration::ZERO,
            (false, true) => timeout,
            (false, false) => timeout.min(BEHIND_RETRY),
        };
        let readable = self.sleeper.wait(&[descriptor(&self.router)], timeout);
        self.ready |= readable.first().copied().unwrap_or(true);
        if asked.is_empty() {
            self.drain(asked);
            self.flush();
        }
    }

    fn answer(&mut self, peer: &Bytes, frames: &[Bytes]) -> bool {
        let mut message = Vec::with_capacity(frames.len() + 1);
        message.push(peer.clone());
        message.extend_from_slice(frames);
        if self.outbox.has(peer) {
            return self.outbox.keep(message, Instant::now());
        }
        // Sending may have taken a report of 0mq's that there is something to read.
        self.ready = true;
        match messages::send(&self.router, &message) {
            Sent::Yes => true,
            Sent::Full => self.outbox.keep(message, Instant::now()),
            Sent::Gone => false,
        }
    }

    fn is_behind(&self, peer: &Bytes) -> bool {
        self.outbox.has(peer)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.sleeper.waker()
    }
}
