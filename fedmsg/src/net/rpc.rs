//! Requests and answers over DEALER and ROUTER: what producers and relays say to each other.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::bind::{Binding, bind};
use super::context::Context;
use super::messages::{self, Sent};
use super::outlet::ZmqOutlet;
use super::raw::descriptor;
use super::resolve::Resolver;
use super::wait::Sleeper;
use crate::config::EndpointEntry;
use crate::endpoint::Endpoint;
use crate::envelope::Wire;
use crate::identity::Identity;
pub use crate::transport::Asked;
use crate::transport::{NetError, Outlet, OutletSettings, Subscribers, Wake};

/// Most frames of one message that are looked at: a `PUT` of 100 messages has 203.
const FRAMES_MAX: usize = 256;
/// Most messages that are taken in one go.
const TURN: usize = 256;
/// How often unresolved names are looked at.
const CARE: Duration = Duration::from_millis(250);

/// A producer's connections to its relays, one DEALER socket for each.
pub struct Lines {
    lines: Vec<Line>,
    sleeper: Sleeper,
    resolver: Resolver,
    _context: Context,
}

struct Line {
    relay: Identity,
    socket: zmq::Socket,
    unresolved: Vec<Endpoint>,
    ready: bool,
}

impl Lines {
    /// Connects to the `submit` addresses of these relays.
    pub fn connect(relays: &[EndpointEntry]) -> Result<Lines, NetError> {
        let context = Context::shared();
        let sleeper = Sleeper::new()?;
        let resolver = Resolver::new(sleeper.waker());
        let open = |entry: &EndpointEntry| {
            let socket = context.socket(zmq::DEALER)?;
            super::prepare_to_ask(&socket, relays.len())?;
            // Nothing waits in a connection that does not exist: `send` says so instead.
            socket.set_immediate(true)?;
            socket.set_maxmsgsize(super::FRAME_BYTES_MAX)?;
            let (relay, unresolved) = (entry.identity.clone(), entry.submit.clone());
            Ok(Line { relay, socket, unresolved, ready: true })
        };
        let lines = relays.iter().map(open).collect::<Result<_, NetError>>()?;
        let mut lines = Lines { lines, sleeper, resolver, _context: context };
        lines.resolve();
        Ok(lines)
    }

    /// The relays, in the order of the numbers by which they are called here.
    pub fn relays(&self) -> impl Iterator<Item = &Identity> {
        self.lines.iter().map(|line| &line.relay)
    }

    /// Sends a message to a relay; `false` when it is not connected, or does not read.
    pub fn send(&mut self, relay: usize, frames: &[Bytes]) -> bool {
        let line = &mut self.lines[relay];
        line.ready = true;
        messages::send(&line.socket, frames) == Sent::Yes
    }

    /// Waits until an answer arrives, until woken, or until the time is over; the answers that are there,
    /// each with the number of its relay.
    pub fn receive(&mut self, timeout: Duration) -> Vec<(usize, Vec<Bytes>)> {
        self.resolve();
        let mut answers = self.drain();
        if answers.is_empty() {
            let unresolved = self.lines.iter().any(|line| !line.unresolved.is_empty());
            let timeout = if unresolved { timeout.min(CARE) } else { timeout };
            let fds: Vec<_> = self.lines.iter().map(|line| descriptor(&line.socket)).collect();
            let readable = self.sleeper.wait(&fds, timeout);
            for (line, readable) in self.lines.iter_mut().zip(readable) {
                line.ready |= readable;
            }
            answers = self.drain();
        }
        answers
    }

    /// Interrupts [`receive`](Lines::receive).
    pub fn waker(&self) -> Arc<dyn Wake> {
        self.sleeper.waker()
    }

    fn drain(&mut self) -> Vec<(usize, Vec<Bytes>)> {
        let mut answers = Vec::new();
        for (at, line) in self.lines.iter_mut().enumerate().filter(|(_, line)| line.ready) {
            line.ready = false;
            while let Some(frames) = messages::receive(&line.socket, FRAMES_MAX) {
                answers.push((at, frames));
            }
        }
        answers
    }

    /// Connects to what is resolved by now.
    fn resolve(&mut self) {
        for (address, numbers) in self.resolver.answers() {
            let found = numbers.unwrap_or_default();
            for line in self.lines.iter_mut().filter(|line| line.unresolved.contains(&address)) {
                connect(line, &address, &found);
            }
        }
        for line in &mut self.lines {
            for address in line.unresolved.clone() {
                if let Some(Ok(numbers)) = self.resolver.resolve(&address) {
                    connect(line, &address, &numbers);
                }
            }
        }
    }
}

fn connect(line: &mut Line, address: &Endpoint, numbers: &[String]) {
    let Some(number) = numbers.first() else { return };
    match line.socket.connect(number) {
        Ok(()) => line.unresolved.retain(|other| other != address),
        Err(error) => tracing::error!(relay = %line.relay, %address, %error, "connecting"),
    }
    line.ready = true;
}

/// A relay's sockets, owned by one thread: XPUB for everybody, ROUTER for producers.
pub struct RelaySockets {
    outlet: ZmqOutlet,
    router: zmq::Socket,
    room: messages::Room,
    ready: bool,
    _binding: Vec<Binding>,
}

impl RelaySockets {
    /// Binds the address for publishing and those for producers.
    pub fn bind(
        publish: &Endpoint,
        submit: &[Endpoint],
        settings: OutletSettings,
    ) -> Result<RelaySockets, NetError> {
        let context = Context::shared();
        let router = context.socket(zmq::ROUTER)?;
        super::prepare_to_answer(&router)?;
        router.set_maxmsgsize(super::FRAME_BYTES_MAX)?;
        router.set_backlog(128)?;
        // A producer that is gone is an error, not a silent drop.
        router.set_router_mandatory(true)?;
        router.set_linger(1_000)?;
        let outlet = ZmqOutlet::bind(&context, publish, settings)?;
        let bound =
            submit.iter().map(|address| bind(&router, address)).collect::<Result<_, _>>()?;
        let room = messages::Room::default();
        Ok(RelaySockets { outlet, router, room, ready: true, _binding: bound })
    }

    /// Sends to every subscriber, as [`Outlet::send`] does.
    pub fn publish(&mut self, wire: &Wire) -> bool {
        self.outlet.send(wire)
    }

    /// Answers; `false` when the producer is gone or does not read.
    pub fn answer(&mut self, peer: &Bytes, frames: &[Bytes]) -> bool {
        self.ready = true;
        let mut all = vec![peer.clone()];
        all.extend_from_slice(frames);
        messages::send(&self.router, &all) == Sent::Yes
    }

    /// Waits for producers and subscribers, at most so long.
    pub fn wait(&mut self, timeout: Duration, asked: &mut Vec<Asked>) -> Subscribers {
        self.drain(asked);
        let timeout = if asked.is_empty() { timeout } else { Duration::ZERO };
        let router: [BorrowedFd<'_>; 1] = [descriptor(&self.router)];
        let readable = self.outlet.wait_beside(&router, timeout);
        self.ready |= readable.first().copied().unwrap_or(false);
        if asked.is_empty() {
            self.drain(asked);
        }
        self.outlet.take_subscribers()
    }

    /// Interrupts [`wait`](RelaySockets::wait).
    pub fn waker(&self) -> Arc<dyn Wake> {
        self.outlet.waker()
    }

    fn drain(&mut self, asked: &mut Vec<Asked>) {
        if !self.ready {
            return;
        }
        self.ready = false;
        let (router, room) = (&self.router, &mut self.room);
        while let Some(mut frames) = messages::receive_together(router, FRAMES_MAX + 1, room) {
            let peer = frames.remove(0);
            asked.push(Asked { peer, frames });
            if asked.len() >= TURN {
                self.ready = true;
                return;
            }
        }
    }
}
