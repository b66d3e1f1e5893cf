//! The SUB side: one SUB socket for each endpoint entry, so that it is known who sent what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::context::Context;
use super::link::Link;
use super::raw::descriptor;
use super::resolve::Resolver;
use super::wait::Sleeper;
use crate::config::EndpointEntry;
use crate::envelope::Wire;
use crate::event::EndpointChange;
use crate::transport::{Arrival, Inlet, NetError, Wake};

/// Most that is taken in one go: the rest waits in 0mq, and then in the publisher.
const ARRIVALS_MAX: usize = 4_096;
const ARRIVAL_BYTES_MAX: usize = 16 << 20;
/// Most that is taken from one link before the others have their turn.
const TURN: usize = 1_024;
/// Few messages, for which the reader hardly had to wait, mean that many publishers send one by one: what comes
/// within the next millisecond is then taken together. To be woken for each would cost more than the messages
/// do.
const FEW: usize = 64;
const SOON: Duration = Duration::from_micros(300);
const GATHER: Duration = Duration::from_millis(1);
/// How often links are looked after: names, silence.
const CARE: Duration = Duration::from_millis(250);

pub(super) struct ZmqInlet {
    context: Context,
    links: Vec<Link>,
    sleeper: Sleeper,
    resolver: Resolver,
    changes: Vec<EndpointChange>,
    cared: Option<Instant>,
    /// Messages come one by one, and fast.
    dense: bool,
}

impl ZmqInlet {
    pub(super) fn new(context: &Context) -> Result<ZmqInlet, NetError> {
        let sleeper = Sleeper::new()?;
        let resolver = Resolver::new(sleeper.waker());
        let context = context.clone();
        let (links, changes) = (Vec::new(), Vec::new());
        Ok(ZmqInlet { context, links, sleeper, resolver, changes, cared: None, dense: false })
    }

    fn take_care(&mut self, now: Instant) {
        for (address, numbers) in self.resolver.answers() {
            for link in &mut self.links {
                link.resolved(&address, &numbers, now, &mut self.changes);
            }
        }
        if self.cared.is_some_and(|cared| now.duration_since(cared) < CARE) {
            return;
        }
        self.cared = Some(now);
        for link in &mut self.links {
            link.take_care(now, &mut self.resolver, &mut self.changes);
        }
    }

    /// Empties every link that has something, each in turn.
    fn drain(&mut self, now: Instant, arrivals: &mut Vec<Arrival>) {
        let mut bytes = 0;
        for link in self.links.iter_mut().filter(|link| link.ready) {
            link.ready = false;
            for turn in 0.. {
                if turn == TURN || arrivals.len() >= ARRIVALS_MAX || bytes >= ARRIVAL_BYTES_MAX {
                    link.ready = true;
                    break;
                }
                let Some(frames) = read(link) else { break };
                bytes += frames.as_ref().map_or(0, Wire::len);
                link.heard(now, &mut self.changes);
                arrivals.push(Arrival { endpoint: link.entry.identity.clone(), frames });
            }
        }
        // Whoever came last this time comes first the next time.
        if let Some(first) = self.links.iter().position(|link| link.ready) {
            self.links.rotate_left(first);
        }
    }
}

/// Reads one message, if there is one; a wrong number of frames is counted, and read to its end.
fn read(link: &mut Link) -> Option<Result<Wire, usize>> {
    let socket = &link.socket;
    let frame = &mut link.frame;
    socket.recv(frame, zmq::DONTWAIT).ok()?;
    let topic = Bytes::copy_from_slice(frame);
    if !frame.get_more() {
        return Some(Err(1));
    }
    socket.recv(frame, zmq::DONTWAIT).ok()?;
    let envelope = Bytes::copy_from_slice(frame);
    let mut count = 2;
    while frame.get_more() {
        socket.recv(frame, zmq::DONTWAIT).ok()?;
        count += 1;
    }
    Some(if count == 2 { Ok(Wire { topic, envelope }) } else { Err(count) })
}

impl Inlet for ZmqInlet {
    fn follow(&mut self, endpoints: &[EndpointEntry]) {
        let wanted = |link: &Link| endpoints.iter().any(|e| e.identity == link.entry.identity);
        self.links.retain(wanted);
        for entry in endpoints.iter().filter(|entry| !entry.publish.is_empty()) {
            let known = self.links.iter_mut().find(|link| link.entry.identity == entry.identity);
            match known {
                Some(link) => link.change(entry),
                None => match Link::open(&self.context, entry) {
                    Ok(link) => self.links.push(link),
                    Err(error) => {
                        tracing::error!(endpoint = %entry.identity, %error, "opening a socket");
                    }
                },
            }
        }
        // Addresses in numbers are connected at once, and not when somebody comes to receive.
        self.cared = None;
        self.take_care(Instant::now());
    }

    fn receive(&mut self, timeout: Duration, arrivals: &mut Vec<Arrival>) {
        // Links that have more than one turn's worth must not keep the others from being looked at.
        let waits = self.changes.is_empty() && !self.links.iter().any(|link| link.ready);
        let timeout = if waits { timeout.min(CARE) } else { Duration::ZERO };
        if waits && self.dense {
            self.sleeper.wait(&[], GATHER);
        }
        let fds: Vec<_> = self.links.iter().map(|link| descriptor(&link.socket)).collect();
        let start = Instant::now();
        let readable = self.sleeper.wait(&fds, timeout);
        for (link, readable) in self.links.iter_mut().zip(readable) {
            link.ready |= readable;
        }
        let now = Instant::now();
        self.drain(now, arrivals);
        self.dense = match arrivals.len() {
            // Whether to gather was worth it shows by what came meanwhile.
            count if self.dense => (FEW / 8..=FEW).contains(&count),
            count => (1..=FEW).contains(&count) && now.duration_since(start) < SOON,
        };
        self.take_care(now);
    }

    fn changes(&mut self) -> Vec<EndpointChange> {
        std::mem::take(&mut self.changes)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.sleeper.waker()
    }
}
