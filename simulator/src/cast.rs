//! Who takes part: the services, their keys, addresses and streams. The same in every run.

use std::sync::{Arc, OnceLock};

use fedmsg::config::EndpointEntry;
use fedmsg::endpoint::Endpoint;
use fedmsg::identity::{Identity, StreamName};
use fedmsg::keys::{KeyRing, SecretKey, TrustedKey};
use fedmsg::policy::{Action, Policy, Rule, Subject};
use fedmsg::topic::Naming;
use fedmsg::trust::Trust;

/// Hosts; each has a disk, and one service.
pub const HOSTS: usize = 2;
/// Slots of each service: processes that publish, each its own stream.
pub const SLOTS: usize = 2;
/// Processes that publish, of all hosts.
pub const WORKERS: usize = HOSTS * SLOTS;

/// A service and its host.
pub struct Service {
    pub identity: Identity,
    /// The key that it begins with, and the one that it may change to.
    pub keys: [Arc<SecretKey>; 2],
    pub publish: Vec<Endpoint>,
    pub replay: Vec<Endpoint>,
    pub streams: Vec<StreamName>,
}

/// All of them.
pub struct Cast {
    pub naming: Naming,
    pub services: Vec<Service>,
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
pub fn host_of(worker: usize) -> usize {
    worker / SLOTS
}

/// The processes of a host.
pub fn workers_of(host: usize) -> std::ops::Range<usize> {
    host * SLOTS..(host + 1) * SLOTS
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
            let stream = |slot| StreamName::parse(&format!("{identity}/{slot}")).expect("a stream");
            Service {
                keys: [key(10 + host as u8), key(20 + host as u8)],
                publish: (0..SLOTS).map(|slot| address(3000, slot)).collect(),
                replay: (0..SLOTS).map(|slot| address(3500, slot)).collect(),
                streams: (0..SLOTS).map(stream).collect(),
                identity,
            }
        };
        let services = ["bodhi", "koji"].into_iter().enumerate().map(service).collect();
        let naming = Naming::new("org.example", "dev").expect("names");
        Cast { naming, services, stranger: key(99) }
    }

    pub fn stream(&self, worker: usize) -> &StreamName {
        &self.services[host_of(worker)].streams[worker % SLOTS]
    }

    /// Whose stream this is.
    pub fn worker_of(&self, stream: &StreamName) -> Option<usize> {
        (0..WORKERS).find(|worker| self.stream(*worker) == stream)
    }

    /// Who answers at this address.
    pub fn worker_at(&self, replay: &Endpoint) -> Option<usize> {
        let address = |worker: &usize| &self.services[host_of(*worker)].replay[worker % SLOTS];
        (0..WORKERS).find(|worker| address(worker) == replay)
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

fn key(seed: u8) -> Arc<SecretKey> {
    Arc::new(SecretKey::from_seed(&[seed; 32]).expect("a key"))
}
