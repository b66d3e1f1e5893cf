//! A bus for one figure: a temporary configuration folder, with keys and free ports of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use fedmsg::Identity;
use fedmsg::config::create_key;
use tempfile::TempDir;

use super::Error;

/// Everything but keys and rules.
const BUS_FILE: &str = "10-bench.toml";

/// The configuration; it is removed when this is dropped.
pub(super) struct Bus {
    folder: TempDir,
    pub(super) identities: Vec<String>,
    /// Where each publishes, and answers for what it keeps.
    addresses: Vec<[String; 2]>,
    /// Where the relay takes messages; empty without one.
    submit: String,
}

/// The relay of a bus that has one.
const RELAY: &str = "relay.bench";

impl Bus {
    /// A bus of so many publishers, which keep nothing.
    pub(super) fn new(publishers: usize) -> Result<Bus, Error> {
        let folder = tempfile::Builder::new().prefix("fedmsg-bench-").tempdir()?;
        Bus::of(folder, publishers, "[publisher]\nlevel = \"memory\"\n", false)
    }

    /// A bus of so many publishers that keep all that they publish in this folder, and answer for it.
    pub(super) fn kept(publishers: usize, place: &Path) -> Result<Bus, Error> {
        let folder = tempfile::Builder::new().prefix("bus-").tempdir_in(place)?;
        Bus::of(folder, publishers, "[journal]\nkeep_bytes = 1_099_511_627_776\n", true)
    }

    /// A bus of so many publishers without an endpoint, behind a relay whose log is in this folder.
    pub(super) fn relayed(publishers: usize, place: &Path) -> Result<Bus, Error> {
        Bus::with_relay(publishers, 0, "", place)
    }

    /// The same with one more publisher, the last one, which everybody can connect to; none of them keeps anything.
    pub(super) fn both_ways(place: &Path) -> Result<Bus, Error> {
        Bus::with_relay(1, 1, "level = \"memory\"\n", place)
    }

    fn with_relay(
        behind: usize,
        direct: usize,
        publisher: &str,
        place: &Path,
    ) -> Result<Bus, Error> {
        let folder = tempfile::Builder::new().prefix("bus-").tempdir_in(place)?;
        let mut taken = free_addresses(3)?;
        let submit = taken.remove(2);
        let sections = format!(
            "[publisher]\nrelays = [\"{RELAY}\"]\n{publisher}\n[endpoints.\"{RELAY}\"]\npublish = \"{}\"\nreplay = \"{}\"\nsubmit = \"{submit}\"\ncarries = [\"{{prefix}}.{{env}}.>\"]\n",
            taken[0], taken[1],
        );
        let mut bus = Bus::of(folder, direct, &sections, false)?;
        let mut names: Vec<String> = (0..behind).map(|at| format!("bench.b{at}")).collect();
        for name in names.iter().map(String::as_str).chain([RELAY]) {
            let identity = Identity::parse(name).map_err(Error::other)?;
            let config = bus.config_dir();
            create_key(&config.join("private"), &config.join("keys.d"), &identity)
                .map_err(Error::other)?;
        }
        names.append(&mut bus.identities);
        (bus.identities, bus.submit) = (names, submit);
        Ok(bus)
    }

    fn of(folder: TempDir, publishers: usize, sections: &str, answers: bool) -> Result<Bus, Error> {
        let root = folder.path();
        let config = root.join("config");
        fs::create_dir_all(config.join("policy.d"))?;
        let state = root.join("state");
        let mut text = format!(
            "[bus]\ntopic_prefix = \"org.example\"\nenvironment = \"bench\"\nstate_dir = \"{}\"\n\n{sections}\n",
            state.display()
        );
        let mut identities = Vec::new();
        // All at one time, so that they differ.
        let mut addresses = free_addresses(2 * publishers)?;
        let replay = addresses.split_off(publishers);
        for (at, (address, replay)) in addresses.iter().zip(&replay).enumerate() {
            let name = format!("bench.p{at}");
            let identity = Identity::parse(&name).map_err(Error::other)?;
            create_key(&config.join("private"), &config.join("keys.d"), &identity)
                .map_err(Error::other)?;
            text.push_str(&format!("[endpoints.\"{name}\"]\npublish = \"{address}\"\n"));
            if answers {
                text.push_str(&format!("replay = \"{replay}\"\n"));
            }
            identities.push(name);
        }
        fs::write(config.join(BUS_FILE), text)?;
        let rule = "[[publish]]\nservice = \"*\"\ntopics = [\"{prefix}.{env}.{service}.>\"]\n";
        fs::write(config.join("policy.d/10-own.toml"), rule)?;
        let addresses = addresses.into_iter().zip(replay).map(<[String; 2]>::from).collect();
        Ok(Bus { folder, identities, addresses, submit: String::new() })
    }

    /// Where a publisher publishes, and answers for what it keeps.
    pub(super) fn addresses(&self, publisher: usize) -> &[String; 2] {
        &self.addresses[publisher]
    }

    /// The folder for `--config-dir` of a reader that reaches a publisher by these addresses instead.
    pub(super) fn reader_dir(&self, publisher: usize, by: [&str; 2]) -> Result<PathBuf, Error> {
        let (config, reader) = (self.config_dir(), self.folder.path().join("reader"));
        for name in ["keys.d", "policy.d"] {
            fs::create_dir_all(reader.join(name))?;
            for file in fs::read_dir(config.join(name))? {
                let file = file?;
                fs::copy(file.path(), reader.join(name).join(file.file_name()))?;
            }
        }
        let mut text = fs::read_to_string(config.join(BUS_FILE))?;
        for (address, by) in self.addresses(publisher).iter().zip(by) {
            text = text.replace(&format!("\"{address}\""), &format!("\"{by}\""));
        }
        fs::write(reader.join(BUS_FILE), text)?;
        Ok(reader)
    }

    /// Where a publisher keeps what it publishes.
    pub(super) fn journal(&self, publisher: usize) -> PathBuf {
        let identity = &self.identities[publisher];
        self.folder.path().join(format!("state/streams/{identity}/0/journal"))
    }

    /// Where the relay takes messages.
    pub(super) fn submit(&self) -> &str {
        &self.submit
    }

    /// Where the relay stores what it takes.
    pub(super) fn relay_log(&self) -> PathBuf {
        self.folder.path().join(format!("state/relay/{RELAY}/0"))
    }

    /// The folder for `--config-dir`.
    pub(super) fn config_dir(&self) -> PathBuf {
        self.folder.path().join("config")
    }
}

/// Addresses on loopback that nobody uses at the moment.
pub(super) fn free_addresses(count: usize) -> Result<Vec<String>, Error> {
    let bound = (0..count).map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners = bound.collect::<Result<Vec<_>, _>>()?;
    let address = |listener: &TcpListener| Ok(format!("tcp://{}", listener.local_addr()?));
    listeners.iter().map(address).collect()
}
