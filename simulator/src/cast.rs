//! Who takes part: the services, their keys, addresses and streams. The same in every run.

use std::sync::{Arc, OnceLock};

use fedmsg::config::EndpointEntry;
use fedmsg::endpoint::Endpoint;
use fedmsg::identity::{Identity, StreamName};
use fedmsg::keys::{KeyRing, SecretKey, TrustedKey};
use fedmsg::policy::{Action, Policy, Rule, Subject};
use fedmsg::topic::Naming;
use fedmsg::trust::Trust;

use crate::plan::RelayPlan;

/// Hosts whose services have endpoints; each has a disk, and one service.
pub const HOSTS: usize = 2;
/// Slots of each service: processes that publish, each its own stream.
pub const SLOTS: usize = 2;
/// Processes that publish at endpoints of their own, of all hosts.
pub const WORKERS: usize = HOSTS * SLOTS;
/// All processes that publish: behind those with endpoints come the producers, which share a host and have none.
pub const WRITERS: usize = WORKERS + SLOTS;
/// Relays, each on a host of its own.
pub const RELAYS: usize = 3;
/// All processes but readers: behind those that publish come the relays.
pub const NODES: usize = WRITERS + RELAYS;
/// All hosts: of services, of the producers, of relays.
pub const MACHINES: usize = HOSTS + 1 + RELAYS;

/// A service and its host.
pub struct Service {
    pub identity: Identity,
    /// The key that it begins with, and the one that it may change to.
    pub keys: [Arc<SecretKey>; 2],
    pub publish: Vec<Endpoint>,
    pub replay: Vec<Endpoint>,
    pub streams: Vec<StreamName>,
}

/// A relay and its host.
pub struct RelayPart {
    pub identity: Identity,
    pub key: Arc<SecretKey>,
    pub publish: Endpoint,
    pub replay: Endpoint,
    pub submit: Endpoint,
    pub stream: StreamName,
}

/// All of them.
pub struct Cast {
    pub naming: Naming,
    /// Those with endpoints, and behind them that of the producers.
    pub services: Vec<Service>,
    pub relays: Vec<RelayPart>,
    /// A key that nobody trusts.
    pub stranger: Arc<SecretKey>,
}

/// What a reader's configuration has of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub keys: [bool; 2],
    pub rule: bool,
    pub endpoint: bool,
}

impl Known {
    pub const ALL: Known = Known { keys: [true; 2], rule: true, endpoint: true };
}

/// The host of a process.
pub fn host_of(node: usize) -> usize {
    relay_of(node).map_or(node / SLOTS, |relay| HOSTS + 1 + relay)
}

/// The processes of a host.
pub fn nodes_of(host: usize) -> std::ops::Range<usize> {
    match host.checked_sub(HOSTS + 1) {
        Some(relay) => node_of(relay)..node_of(relay) + 1,
        None => host * SLOTS..(host + 1) * SLOTS,
    }
}

/// The process of a relay.
pub fn node_of(relay: usize) -> usize {
    WRITERS + relay
}

/// Which relay a process is, if it is one.
pub fn relay_of(node: usize) -> Option<usize> {
    node.checked_sub(WRITERS)
}

/// Whether a process publishes through relays.
pub fn is_producer(node: usize) -> bool {
    (WORKERS..WRITERS).contains(&node)
}

impl Cast {
    pub fn get() -> &'static Cast {
        static CAST: OnceLock<Cast> = OnceLock::new();
        CAST.get_or_init(Cast::new)
    }

    fn new() -> Cast {
        let service = |(host, name): (usize, &str)| {
            let identity = Identity::parse(&format!("{name}.host{host}")).expect("an identity");
            let address = |port: usize, slot: usize| {
                let text = format!("tcp://10.0.0.{}:{}", host + 1, port + slot);
                Endpoint::parse(&text).expect("an address")
            };
            // Of the producers one has a slot of its own in each life of its host, the other one a number.
            let stream = |slot| match (host, slot) {
                (HOSTS, 0) => {
                    parse_stream(&format!("{identity}/0198d3c4-0000-7000-8000-000000000001"))
                }
                (_, slot) => parse_stream(&format!("{identity}/{slot}")),
            };
            Service {
                keys: [key(10 + host as u8), key(20 + host as u8)],
                publish: (0..SLOTS).map(|slot| address(3000, slot)).collect(),
                replay: (0..SLOTS).map(|slot| address(3500, slot)).collect(),
                streams: (0..SLOTS).map(stream).collect(),
                identity,
            }
        };
        let services = ["bodhi", "koji", "fas"].into_iter().enumerate().map(service).collect();
        let relay = |relay: usize| {
            let identity = Identity::parse(&format!("relay.proxy{relay}")).expect("an identity");
            let address = |port: usize| {
                let text = format!("tcp://10.0.0.{}:{port}", HOSTS + 2 + relay);
                Endpoint::parse(&text).expect("an address")
            };
            let (publish, replay_at, submit) = (address(4001), address(4501), address(2003));
            let (key, stream) = (key(30 + relay as u8), parse_stream(&format!("{identity}/0")));
            RelayPart { identity, key, publish, replay: replay_at, submit, stream }
        };
        let naming = Naming::new("org.example", "dev").expect("names");
        let relays = (0..RELAYS).map(relay).collect();
        Cast { naming, services, relays, stranger: key(99) }
    }

    /// The stream of a process.
    pub fn stream(&self, node: usize) -> &StreamName {
        match relay_of(node) {
            Some(relay) => &self.relays[relay].stream,
            None => &self.services[host_of(node)].streams[node % SLOTS],
        }
    }

    /// Whose stream this is, of those that publish messages.
    pub fn worker_of(&self, stream: &StreamName) -> Option<usize> {
        (0..WRITERS).find(|worker| self.stream(*worker) == stream)
    }

    /// Under which identity a process publishes.
    pub fn identity(&self, node: usize) -> &Identity {
        self.stream(node).identity()
    }

    /// Who answers at this address.
    pub fn node_at(&self, replay: &Endpoint) -> Option<usize> {
        let address = |worker: &usize| &self.services[host_of(*worker)].replay[worker % SLOTS];
        let worker = (0..WORKERS).find(|worker| address(worker) == replay);
        let relay = || self.relays.iter().position(|relay| relay.replay == *replay);
        worker.or_else(|| relay().map(node_of))
    }

    /// The entry of a relay in `[endpoints]`.
    pub fn relay_entry(&self, relay: usize, plan: &RelayPlan) -> EndpointEntry {
        let part = &self.relays[relay];
        let mut entry = EndpointEntry::new(part.identity.clone(), vec![part.publish.clone()]);
        (entry.replay, entry.submit) = (vec![part.replay.clone()], vec![part.submit.clone()]);
        (entry.carries, entry.archive) = (plan.carries.patterns(), plan.is_archive);
        entry
    }

    /// The entry of a service in `[endpoints]`, with the replay addresses of these processes.
    pub fn entry(&self, host: usize, replay: &[usize]) -> EndpointEntry {
        let service = &self.services[host];
        let mut entry = EndpointEntry::new(service.identity.clone(), service.publish.clone());
        let address = |worker: &usize| service.replay[worker % SLOTS].clone();
        entry.replay = replay.iter().map(address).collect();
        entry
    }

    /// Keys and policy, as far as somebody has them.
    pub fn trust(&self, known: &[Known]) -> Arc<Trust> {
        let mut keys = KeyRing::default();
        let mut rules = Vec::new();
        for relay in &self.relays {
            let key = TrustedKey::new(relay.key.public().clone(), relay.identity.clone());
            keys.add(key).expect("each key speaks for one relay");
        }
        // What producers are is known to everybody.
        let known = known.iter().chain(std::iter::repeat(&Known::ALL));
        for (service, known) in self.services.iter().zip(known) {
            for (key, _) in service.keys.iter().zip(known.keys).filter(|(_, known)| *known) {
                let key = TrustedKey::new(key.public().clone(), service.identity.clone());
                keys.add(key).expect("each key speaks for one service");
            }
            if known.rule {
                let who = Subject::service(service.identity.service()).expect("a service");
                let topics = ["{prefix}.{env}.{service}.>"];
                let rule = Rule::new(Action::Publish, who, &topics, &self.naming, "simulator");
                rules.push(rule.expect("a rule"));
            }
        }
        Arc::new(Trust { naming: self.naming.clone(), keys, policy: Policy::new(rules) })
    }
}

fn parse_stream(text: &str) -> StreamName {
    StreamName::parse(text).expect("a stream")
}

fn key(seed: u8) -> Arc<SecretKey> {
    Arc::new(SecretKey::from_seed(&[seed; 32]).expect("a key"))
}
