//! The PUB side: one XPUB socket, which shows who subscribes.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bind::{Binding, bind};
use super::context::Context;
use super::raw::{XpubOption, descriptor, set};
use super::wait::Sleeper;
use crate::endpoint::Endpoint;
use crate::envelope::Wire;
use crate::transport::{NetError, Outlet, OutletSettings, Subscribers, Wake};

/// 0mq counts messages, we want to bound bytes: this is what a message is taken to have.
const USUAL_MESSAGE_BYTES: usize = 4_096;
/// Subscriptions are short; a peer that sends more is cut off (`ZMQ_MAXMSGSIZE`).
const SUBSCRIPTION_BYTES_MAX: i64 = 512;
/// How often a full subscriber is looked at while a message waits for it.
const FULL_RETRY: Duration = Duration::from_micros(200);

pub(super) struct ZmqOutlet {
    socket: zmq::Socket,
    sleeper: Sleeper,
    wait_max: Duration,
    subscribers: Subscribers,
    _binding: Binding,
    _context: Context,
}

impl ZmqOutlet {
    pub(super) fn bind(
        context: &Context,
        address: &Endpoint,
        settings: OutletSettings,
    ) -> Result<ZmqOutlet, NetError> {
        let mut socket = context.socket(zmq::XPUB)?;
        super::prepare_one_way(&socket)?;
        let high_water = settings.subscriber_bytes / USUAL_MESSAGE_BYTES;
        socket.set_sndhwm(i32::try_from(high_water.max(64)).unwrap_or(i32::MAX))?;
        // Subscriptions are never dropped for want of room: a reader would wait for ever.
        socket.set_rcvhwm(0)?;
        socket.set_maxmsgsize(SUBSCRIPTION_BYTES_MAX)?;
        socket.set_backlog(128)?;
        // What was sent goes out before the process ends, also to readers with a backlog; but a reader that
        // stands still does not keep it for ever.
        socket.set_linger(10_000)?;
        set(&mut socket, XpubOption::Verboser, true)?;
        set(&mut socket, XpubOption::NoDrop, true)?;
        let binding = bind(&socket, address)?;
        Ok(ZmqOutlet {
            socket,
            sleeper: Sleeper::new()?,
            wait_max: settings.slow_subscriber_wait,
            subscribers: Subscribers::default(),
            _binding: binding,
            _context: context.clone(),
        })
    }

    /// Both frames, or none: `false` when a subscriber is full.
    fn try_send(&mut self, wire: &Wire) -> bool {
        let more = zmq::DONTWAIT | zmq::SNDMORE;
        match self.socket.send(&wire.topic[..], more) {
            Ok(()) => {}
            Err(zmq::Error::EAGAIN) => return false,
            Err(error) => {
                tracing::error!(%error, "sending on an XPUB socket");
                return true;
            }
        }
        // Room is counted in whole messages, so the second frame follows the first.
        while let Err(error) = self.socket.send(&wire.envelope[..], zmq::DONTWAIT) {
            if error != zmq::Error::EAGAIN && error != zmq::Error::EINTR {
                tracing::error!(%error, "sending on an XPUB socket");
                break;
            }
        }
        true
    }

    /// Sends while `NODROP` is off: 0mq drops for the full subscribers and takes them out of its list until
    /// they have read something. So the next message does not wait for them again.
    fn send_without_the_full(&mut self, wire: &Wire) {
        let sent = set(&mut self.socket, XpubOption::NoDrop, false).map(|()| self.try_send(wire));
        if let Err(error) = sent.and_then(|_| set(&mut self.socket, XpubOption::NoDrop, true)) {
            tracing::error!(%error, "sending without the full subscribers");
        }
    }

    /// Waits for subscribers, for a wake-up, and for these descriptors; says which of them are readable.
    pub(super) fn wait_beside(
        &mut self,
        others: &[BorrowedFd<'_>],
        timeout: Duration,
    ) -> Vec<bool> {
        self.read_subscriptions();
        let nothing_new = self.subscribers == Subscribers::default();
        let timeout = if nothing_new { timeout } else { Duration::ZERO };
        let mut fds = others.to_vec();
        fds.push(descriptor(&self.socket));
        let readable = self.sleeper.wait(&fds, timeout);
        // Each look costs a system call, so it is spared where the descriptor shows that nothing came.
        if readable.last().copied().unwrap_or(true) {
            self.read_subscriptions();
        }
        readable
    }

    pub(super) fn take_subscribers(&mut self) -> Subscribers {
        std::mem::take(&mut self.subscribers)
    }

    fn read_subscriptions(&mut self) {
        let mut message = zmq::Message::new();
        while self.socket.recv(&mut message, zmq::DONTWAIT).is_ok() {
            match message.first() {
                Some(1) => self.subscribers.joined += 1,
                Some(0) => self.subscribers.left += 1,
                _ => {}
            }
        }
    }
}

impl Outlet for ZmqOutlet {
    fn send(&mut self, wire: &Wire) -> bool {
        if self.try_send(wire) {
            return true;
        }
        let give_up = Instant::now() + self.wait_max;
        while Instant::now() < give_up {
            // Reading makes 0mq look at what its I/O thread reports, and empties the descriptor.
            self.read_subscriptions();
            self.sleeper.wait(&[descriptor(&self.socket)], FULL_RETRY);
            if self.try_send(wire) {
                return true;
            }
        }
        self.send_without_the_full(wire);
        false
    }

    fn wait(&mut self, timeout: Duration) -> Subscribers {
        self.wait_beside(&[], timeout);
        self.take_subscribers()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.sleeper.waker()
    }
}
