//! A configuration made in code, without files: for tests, and for programs that hold theirs elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{
    Config, ConsumerSection, EndpointEntry, JournalSection, PublisherSection, RelaySection,
    SubscribeSection,
};
use crate::endpoint::Endpoint;
use crate::identity::Identity;
use crate::record::Level;
use crate::trust::Trust;

impl Config {
    /// A snapshot of this trust and these endpoints. Locks and epochs are kept in `state_dir`; secret keys
    /// are looked for in its folder `private`, unless a publisher is given its own.
    /// Publishers have the level `memory` unless they are told otherwise.
    pub fn in_memory(trust: Trust, endpoints: Vec<EndpointEntry>, state_dir: PathBuf) -> Config {
        let endpoints: BTreeMap<_, _> =
            endpoints.into_iter().map(|entry| (entry.identity.clone(), entry)).collect();
        let mut config = Config {
            folder: None,
            trust: Arc::new(trust),
            endpoints,
            publisher: PublisherSection { level: Level::Memory, ..PublisherSection::default() },
            journal: JournalSection::default(),
            subscribe: SubscribeSection::default(),
            relay: RelaySection::default(),
            consumer: ConsumerSection::default(),
            private_dir: state_dir.join("private"),
            state_dir,
            revocations: BTreeMap::new(),
            digest: String::new(),
            warnings: Vec::new(),
            origins: Vec::new(),
            process_identity: None,
            credentials_dir: None,
            fingerprint: [0; 32],
        };
        config.digest = config.compute_digest();
        config
    }
}

impl EndpointEntry {
    /// An entry that publishes at these addresses, one for each slot, and does nothing else.
    pub fn new(identity: Identity, publish: Vec<Endpoint>) -> EndpointEntry {
        EndpointEntry {
            identity,
            publish,
            replay: Vec::new(),
            submit: Vec::new(),
            carries: Vec::new(),
            archive: false,
            origin: "made in code".into(),
        }
    }
}
