//! A configuration folder of a test's own, and everything that starts with it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use fedmsg::config::{LoadOptions, create_key, public_text};
use fedmsg::keys::SecretKey;
use fedmsg::{Identity, Publisher};
use tempfile::TempDir;

use super::program::{Program, command};

/// `org.example.dev.` and what is given.
pub fn topic(rest: &str) -> String {
    format!("org.example.dev.{rest}")
}

/// Writes beside the file and renames, as whoever changes a running system's files should.
pub fn atomically(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("written");
    fs::rename(&beside, path).expect("renamed");
}

/// A port of 127.0.0.1 that nobody has, below those that systems give out by themselves.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 10_000 + (std::process::id() % 200) as u16 * 100;
    loop {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Thousands of addresses that nobody has. Other processes would come across so many ports, so Linux gives this one a
/// host of its own.
pub fn addresses() -> impl Iterator<Item = String> {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    std::iter::repeat_with(|| {
        if !cfg!(target_os = "linux") {
            return format!("tcp://127.0.0.1:{}", free_port());
        }
        let (id, port) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let [high, low] = [(id >> 8) & 255, id & 255];
        format!("tcp://127.{}.{high}.{low}:{port}", 1 + (id >> 16) % 200)
    })
}

/// An address of one of many hosts, which nobody else has: as [`addresses`], with a part that says which host.
pub fn address_of(host: u8) -> String {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    if !cfg!(target_os = "linux") {
        return format!("tcp://127.0.0.1:{}", free_port());
    }
    let (id, port) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let [high, low] = [(id >> 8) & 255, id & 255];
    format!("tcp://127.{}.{high}.{low}:{port}", 201 + host)
}

/// The infrastructure of one test.
pub struct Bus {
    root: TempDir,
}

impl Bus {
    /// Environment `dev`, each service its own topics, relays for those who ask for one.
    pub fn new(relays: &[&str]) -> Bus {
        let bus = Bus { root: tempfile::tempdir().expect("a folder") };
        for name in ["etc/keys.d", "etc/policy.d", "etc/private"] {
            fs::create_dir_all(bus.path(name)).expect("folders");
        }
        private(&bus.path("etc/private"));
        let state = bus.path("state");
        let quoted: Vec<String> = relays.iter().map(|name| format!("{name:?}")).collect();
        let text = format!(
            "[bus]\ntopic_prefix = \"org.example\"\nenvironment = \"dev\"\nstate_dir = {state:?}\n\
             [publisher]\nrelays = [{}]\n\
             [[publish]]\nservice = \"*\"\ntopics = [\"{{prefix}}.{{env}}.{{service}}.>\"]\n",
            quoted.join(", ")
        );
        fs::write(bus.path("etc/10-bus.toml"), text).expect("written");
        for relay in relays {
            bus.key(relay);
            bus.relay_entry(relay);
        }
        bus
    }

    /// A bus with these services, one slot each.
    pub fn with(services: &[&str]) -> Bus {
        let bus = Bus::new(&[]);
        services.iter().for_each(|service| drop(bus.service(service, 1)));
        bus
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn etc(&self) -> PathBuf {
        self.path("etc")
    }

    pub fn key(&self, identity: &str) -> SecretKey {
        let identity = Identity::parse(identity).expect("identity");
        create_key(&self.path("etc/private"), &self.path("etc/keys.d"), &identity).expect("a key")
    }

    /// A key that the test knows.
    pub fn known_key(&self, identity: &str, seed: u8) -> SecretKey {
        let identity = Identity::parse(identity).expect("identity");
        let key = SecretKey::from_seed(&[seed; 32]).expect("a key");
        let file = self.path(&format!("etc/keys.d/{identity}.toml"));
        fs::write(file, public_text(&key, &identity)).expect("written");
        key
    }

    /// A service with a key and so many slots; its addresses.
    pub fn service(&self, identity: &str, slots: usize) -> Vec<String> {
        self.key(identity);
        self.entry(identity, slots)
    }

    /// The endpoint entry alone, written anew; its addresses.
    pub fn entry(&self, identity: &str, slots: usize) -> Vec<String> {
        let addresses: Vec<String> =
            (0..slots).map(|_| format!("tcp://127.0.0.1:{}", free_port())).collect();
        self.entry_at(identity, &addresses);
        addresses
    }

    /// The endpoint entry with these addresses.
    pub fn entry_at(&self, identity: &str, addresses: &[String]) {
        let text = format!("[endpoints.{identity:?}]\npublish = {addresses:?}\n");
        atomically(&self.entry_path(identity), &text);
    }

    /// A service with a key, so many slots, and an address for replay for each; these addresses.
    pub fn service_with_replay(&self, identity: &str, slots: usize) -> Vec<String> {
        self.key(identity);
        let address = |_| format!("tcp://127.0.0.1:{}", free_port());
        let publish: Vec<String> = (0..slots).map(address).collect();
        let replay: Vec<String> = (0..slots).map(address).collect();
        let text =
            format!("[endpoints.{identity:?}]\npublish = {publish:?}\nreplay = {replay:?}\n");
        atomically(&self.entry_path(identity), &text);
        replay
    }

    pub fn entry_path(&self, identity: &str) -> PathBuf {
        self.path(&format!("etc/20-{identity}.toml"))
    }

    fn relay_entry(&self, identity: &str) {
        let (publish, submit, replay) = (free_port(), free_port(), free_port());
        let ipc = self.path(&format!("{identity}.sock"));
        let text = format!(
            "[endpoints.{identity:?}]\npublish = \"tcp://127.0.0.1:{publish}\"\n\
             replay = \"tcp://127.0.0.1:{replay}\"\nsubmit = [\"tcp://127.0.0.1:{submit}\", \"ipc://{}\"]\ncarries = [\"{{prefix}}.{{env}}.>\"]\n",
            ipc.display()
        );
        fs::write(self.entry_path(identity), text).expect("written");
    }

    /// The same folder under another name, for somebody who sees something else.
    pub fn copy(&self, name: &str) -> PathBuf {
        let to = self.path(name);
        copy(&self.etc(), &to);
        to
    }

    pub fn load(&self) -> LoadOptions {
        LoadOptions { folder: Some(self.etc()), ..LoadOptions::default() }
    }

    /// A publisher in this process.
    pub fn publisher(&self, identity: &str) -> Publisher {
        let identity = Identity::parse(identity).expect("identity");
        let built = Publisher::builder().load(self.load()).identity(identity).build();
        built.unwrap_or_else(|error| panic!("{error}"))
    }

    /// A publisher in a process of its own; what it says of itself.
    pub fn process(&self, identity: &str) -> (Program, String) {
        self.process_in(&self.etc(), identity)
    }

    /// The same with another folder.
    pub fn process_in(&self, folder: &Path, identity: &str) -> (Program, String) {
        let mut publisher = command("examples/publisher");
        publisher.arg(folder).arg(identity);
        let mut program = Program::start(publisher);
        let ready = program.line();
        (program, ready)
    }

    pub fn tail(&self, arguments: &[&str]) -> Program {
        tail_in(&self.etc(), arguments)
    }

    pub fn tail_in(&self, folder: &Path, arguments: &[&str]) -> Program {
        tail_in(folder, arguments)
    }

    /// A relay that is ready.
    pub fn relay(&self, identity: &str) -> Program {
        let mut relay = self.program("fedmsg-relay");
        relay.args(["--identity", identity]);
        let mut program = Program::start(relay);
        program.says(" ready ");
        program
    }

    pub fn program(&self, name: &str) -> Command {
        let mut command = command(name);
        command.arg("--config-dir").arg(self.etc());
        command
    }
}

fn tail_in(folder: &Path, arguments: &[&str]) -> Program {
    let mut tail = command("fedmsg-tail");
    tail.arg("-v").arg("--config-dir").arg(folder).args(arguments);
    Program::start(tail)
}

/// What only its owner may enter.
fn private(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("chmod");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).expect("copied")),
        }
    }
    fs::set_permissions(to, fs::metadata(from).expect("there").permissions()).expect("chmod");
}
