//! A host with a state folder, a writer, and a server.

use std::path::PathBuf;
use std::sync::Arc;

use fedmsg::Endpoint;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::identity::StreamName;
use fedmsg::journal::{Journal, Numbered, OsDisk, Settings};
use fedmsg::merkle::Leaf;
use fedmsg::record::{After, Level};
use fedmsg::replay::{Desk, ReplayServer, Shelf};
use fedmsg::seal::{Draft, Sealer};
use fedmsg::testing::MemoryTransport;
use fedmsg::timestamp::Timestamp;
use fedmsg::transport::Transport;
use tempfile::TempDir;

use crate::bus;
use crate::client::Client;

pub const STREAM: &str = "bodhi.backend01/0";

/// A transport, an address on it, and a folder.
pub struct Host {
    pub transport: Box<dyn Transport>,
    pub memory: Option<MemoryTransport>,
    pub address: Endpoint,
    pub state: TempDir,
}

pub fn memory() -> Host {
    let transport = MemoryTransport::new();
    let address = Endpoint::parse("tcp://memory:1").expect("endpoint");
    Host {
        memory: Some(transport.clone()),
        transport: Box::new(transport),
        address,
        state: tempfile::tempdir().expect("a folder"),
    }
}

#[cfg(feature = "net")]
pub fn sockets() -> Host {
    let state = tempfile::tempdir().expect("a folder");
    let address = format!("ipc://{}/replay", state.path().display());
    let address = Endpoint::parse(&address).expect("endpoint");
    Host { transport: Box::new(fedmsg::net::Zmq::new()), memory: None, address, state }
}

impl Host {
    pub fn shelf(&self) -> Arc<Shelf> {
        Arc::new(Shelf::new(self.state.path()))
    }

    /// A server that takes nothing that is put.
    pub fn serve(&self, shelf: &Arc<Shelf>) -> ReplayServer {
        self.serve_with(shelf, |_| false)
    }

    pub fn serve_with(
        &self,
        shelf: &Arc<Shelf>,
        on_put: impl Fn(Wire) -> bool + Send + 'static,
    ) -> ReplayServer {
        let desk = Desk::new(Arc::clone(shelf), on_put);
        let started = ReplayServer::start(&*self.transport, &self.address, desk);
        started.expect("a server")
    }

    pub fn client(&self) -> Client {
        Client::new(&*self.transport, &self.address)
    }

    pub fn slot(&self, stream: &str) -> PathBuf {
        self.state.path().join("streams").join(stream)
    }

    /// A writer of this stream, with its first epoch begun.
    pub fn writer(&self, stream: &str, settings: Settings) -> Writer {
        let name = StreamName::parse(stream).expect("stream");
        let folder = self.slot(stream).join("journal");
        let disk = Arc::new(OsDisk);
        let mut journal = Journal::open(disk, &folder, &name, settings).expect("a journal");
        let epoch = Epoch::next(bus::NOW, [7; 10], journal.newest_epoch());
        let before = (After::Unknown, Leaf::NONE);
        let seed = if stream.starts_with("koji") { 2 } else { 1 };
        let key = bus::key(seed);
        let (sealer, genesis) =
            Sealer::open_epoch(key, name, epoch, before, Level::Local, bus::NOW);
        journal.begin_epoch(epoch, &genesis.wire, bus::NOW).expect("begun");
        Writer { journal, sealer, wires: vec![genesis.wire], time: bus::NOW }
    }
}

/// A journal and what was written into it, by number.
pub struct Writer {
    pub journal: Journal,
    pub sealer: Sealer,
    pub wires: Vec<Wire>,
    /// When it last appended.
    pub time: Timestamp,
}

impl Writer {
    /// Appends so many messages, all at one time: a second after the ones before.
    pub fn append(&mut self, count: usize, bytes: usize) {
        self.time = Timestamp::from_millis(self.time.as_millis() + 1_000);
        let service = self.sealer.stream().identity().service().to_owned();
        let pad = "x".repeat(bytes);
        let draft = |n: usize| {
            let draft = Draft::new(format!("{service}.update.kind{}", n % 4));
            draft.body(&serde_json::json!({ "pad": pad, "n": n }))
        };
        let sealed = bus::seal_drafts(&mut self.sealer, (0..count).map(draft));
        let numbered: Vec<Numbered> = sealed.iter().map(Numbered::from).collect();
        self.journal.append(&numbered, self.time).expect("appended");
        self.wires.extend(sealed.into_iter().map(|sealed| sealed.wire));
    }

    pub fn epoch(&self) -> Epoch {
        self.sealer.epoch()
    }

    pub fn last(&self) -> u64 {
        self.sealer.last().0
    }
}

/// Small segments, so that a short journal has many.
pub fn small(keep_bytes: u64) -> Settings {
    Settings { segment_bytes: 64 << 10, keep_bytes, ..Settings::default() }
}
