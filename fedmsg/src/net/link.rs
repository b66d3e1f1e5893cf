//! One SUB socket, and the addresses that it is connected to.
//!
//! A link is up when something is heard on it: every publisher sends a heartbeat to a new subscriber at
//! once, and at least every five seconds. A connection alone proves nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::context::Context;
use super::resolve::{Numbers, Resolver};
use crate::config::EndpointEntry;
use crate::endpoint::Endpoint;
use crate::event::{EndpointChange, EndpointStatus};
use crate::limits::HEARTBEAT_IDLE_MS;
use crate::transport::NetError;

/// Messages that may wait in the socket; beyond, they wait in the publisher.
const HIGH_WATER: i32 = 4_096;
/// A new link from which nothing was heard for so long is reported down.
const FIRST_WORD: Duration = Duration::from_secs(3);
/// A link is down after three missing heartbeats.
const SILENCE: Duration = Duration::from_millis(3 * HEARTBEAT_IDLE_MS + 500);
/// Names of a silent link are resolved again after 1 to 2 times this.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);

pub(super) struct Link {
    pub(super) entry: EndpointEntry,
    pub(super) socket: zmq::Socket,
    pub(super) frame: zmq::Message,
    /// It may have something to read.
    pub(super) ready: bool,
    addresses: BTreeMap<Endpoint, Address>,
    heard: Instant,
    up: Option<bool>,
    _context: Context,
}

/// What an address of the configuration is connected to.
#[derive(Default)]
struct Address {
    connected: Option<String>,
    resolve_at: Option<Instant>,
    /// How often it was resolved: which of several numbers is tried.
    tries: usize,
    failed: bool,
}

impl Link {
    pub(super) fn open(context: &Context, entry: &EndpointEntry) -> Result<Link, NetError> {
        let socket = context.socket(zmq::SUB)?;
        super::prepare_one_way(&socket)?;
        socket.set_rcvhwm(HIGH_WATER)?;
        // Subscriptions are sent again at each reconnection, and must never be dropped.
        socket.set_sndhwm(0)?;
        socket.set_maxmsgsize(super::FRAME_BYTES_MAX)?;
        socket.set_subscribe(b"")?;
        let mut link = Link {
            entry: entry.clone(),
            socket,
            frame: zmq::Message::new(),
            ready: true,
            addresses: BTreeMap::new(),
            heard: Instant::now(),
            up: None,
            _context: context.clone(),
        };
        link.change(entry);
        Ok(link)
    }

    /// Takes another entry of the same identity: only what differs is connected or disconnected.
    pub(super) fn change(&mut self, entry: &EndpointEntry) {
        self.entry = entry.clone();
        let gone = self.addresses.keys().filter(|address| !entry.publish.contains(address));
        for endpoint in gone.cloned().collect::<Vec<_>>() {
            let address = self.addresses.remove(&endpoint);
            self.disconnect(address.and_then(|address| address.connected).as_deref());
        }
        for address in &entry.publish {
            self.addresses.entry(address.clone()).or_default();
        }
        self.ready = true;
    }

    /// Something arrived.
    pub(super) fn heard(&mut self, now: Instant, changes: &mut Vec<EndpointChange>) {
        self.heard = now;
        if self.up != Some(true) {
            self.up = Some(true);
            changes.push(self.change_of(EndpointStatus::Up));
        }
    }

    /// Starts lookups that are due, and notices silence.
    pub(super) fn take_care(
        &mut self,
        now: Instant,
        resolver: &mut Resolver,
        changes: &mut Vec<EndpointChange>,
    ) {
        let due: Vec<Endpoint> = self
            .addresses
            .iter()
            .filter(|(_, a)| a.resolve_at.map_or(a.connected.is_none(), |at| at <= now))
            .map(|(endpoint, _)| endpoint.clone())
            .collect();
        for endpoint in due {
            if let Some(numbers) = resolver.resolve(&endpoint) {
                self.resolved(&endpoint, &numbers, now, changes);
            }
        }
        let patience = if self.up == Some(true) { SILENCE } else { FIRST_WORD };
        // Only of a link that was just read to its end is it known whether it is silent: whoever did not read
        // for a while has heard nothing either.
        if !self.ready && now.duration_since(self.heard) > patience {
            self.silent(now, changes);
        }
    }

    /// A lookup was answered.
    pub(super) fn resolved(
        &mut self,
        endpoint: &Endpoint,
        numbers: &Numbers,
        now: Instant,
        changes: &mut Vec<EndpointChange>,
    ) {
        let Some(address) = self.addresses.get_mut(endpoint) else { return };
        match numbers {
            Ok(numbers) if !numbers.is_empty() => {
                let number = numbers[address.tries % numbers.len()].clone();
                let old = address.connected.replace(number.clone());
                (address.resolve_at, address.failed) = (None, false);
                address.tries += 1;
                // A silent connection may be half open, or 0mq gave it up for good after a frame that was too
                // long: what was silent, and still is after everything that waited was read, is connected
                // anew, also to the same number.
                if old.as_ref() != Some(&number) || self.up == Some(false) {
                    self.disconnect(old.as_deref());
                    if let Err(error) = self.socket.connect(&number) {
                        tracing::error!(%endpoint, %error, "connecting");
                    }
                    self.ready = true;
                }
            }
            failure => {
                address.resolve_at = Some(now + with_jitter(RESOLVE_AGAIN));
                if !std::mem::replace(&mut address.failed, true) {
                    let why = failure.as_ref().err().cloned();
                    let why = why.unwrap_or_else(|| "the name has no address".into());
                    let status = EndpointStatus::Down(why);
                    let (who, at) = (self.entry.identity.clone(), endpoint.to_string());
                    changes.push(EndpointChange::new(who, at, status));
                    self.up = Some(false);
                }
            }
        }
    }

    /// Nothing was heard for too long: said once; and the host may have moved, so its name is looked up
    /// again.
    fn silent(&mut self, now: Instant, changes: &mut Vec<EndpointChange>) {
        for address in self.addresses.values_mut().filter(|address| address.connected.is_some()) {
            address.resolve_at.get_or_insert_with(|| now + with_jitter(RESOLVE_AGAIN));
        }
        if self.up != Some(false) {
            let why = match self.up {
                Some(_) => "no heartbeat for 15 s",
                None => "nothing is heard from it; is the service running, and can it be reached?",
            };
            self.up = Some(false);
            changes.push(self.change_of(EndpointStatus::Down(why.into())));
        }
    }

    fn change_of(&self, status: EndpointStatus) -> EndpointChange {
        let address = match &self.entry.publish[..] {
            [] => String::new(),
            [one] => one.to_string(),
            [first, more @ ..] => format!("{first} (and {} more)", more.len()),
        };
        EndpointChange::new(self.entry.identity.clone(), address, status)
    }

    fn disconnect(&mut self, number: Option<&str>) {
        let Some(number) = number else { return };
        if let Err(error) = self.socket.disconnect(number) {
            tracing::debug!(number, %error, "disconnecting");
        }
        self.ready = true;
    }
}

fn with_jitter(time: Duration) -> Duration {
    time.mul_f64(1.0 + fastrand::f64())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::identity::Identity;
    use crate::transport::Wake;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    #[test]
    fn a_name_that_does_not_resolve_is_told_once_and_tried_again() {
        let name = Endpoint::parse("tcp://no-such-host.invalid:3000").expect("endpoint");
        let identity = Identity::parse("app.one").expect("identity");
        let entry = EndpointEntry::new(identity, vec![name.clone()]);
        let mut link = Link::open(&Context::shared(), &entry).expect("a link");
        let mut resolver = Resolver::new(Arc::new(Nobody));
        let (start, mut changes) = (Instant::now(), Vec::new());
        let unknown = Err("no-such-host.invalid does not resolve".to_owned());
        for round in 0..5 {
            let now = start + round * 4 * RESOLVE_AGAIN;
            link.take_care(now, &mut resolver, &mut changes);
            assert!(resolver.is_asked(&name), "round {round}");
            link.resolved(&name, &unknown, now, &mut changes);
            resolver.forget(&name);
            link.take_care(now, &mut resolver, &mut changes);
            assert!(!resolver.is_asked(&name), "not again at once");
        }
        assert!(matches!(&changes[..], [one] if matches!(one.status, EndpointStatus::Down(_))));
        // Port 1 of this host: nobody is there, which is something else.
        link.resolved(&name, &Ok(vec!["tcp://127.0.0.1:1".into()]), start, &mut changes);
        link.heard(start, &mut changes);
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[1].status, EndpointStatus::Up);
    }
}
