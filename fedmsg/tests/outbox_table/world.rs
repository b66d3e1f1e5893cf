//! The world of one test: the database of an application, and a service whose journals are files.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedmsg::config::{Config, LoadOptions, public_text};
use fedmsg::consumer::StoreAddress;
use fedmsg::journal::{Body, Disk, OsDisk, Reader};
use fedmsg::keys::SecretKey;
use fedmsg::outbox_table::{OutboxRows, OutboxTable, Step};
use fedmsg::record::Level;
use fedmsg::testing::MemoryTransport;
use fedmsg::{Identity, Publisher};
use serde_json::Value;
use tempfile::TempDir;

/// Everything that is waited for comes within this time, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The service that publishes.
pub const SERVICE: &str = "app.one";

pub struct World {
    folder: TempDir,
    transport: MemoryTransport,
    pub address: StoreAddress,
}

/// A connection of the application itself.
pub enum Application {
    Sqlite(rusqlite::Connection),
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::Client>),
}

impl Application {
    pub fn run(&mut self, script: &str) {
        match self {
            Application::Sqlite(connection) => connection.execute_batch(script).expect(script),
            #[cfg(feature = "postgres")]
            Application::Postgres(client) => client.batch_execute(script).expect(script),
        }
    }

    /// Puts a row there whose body is this number.
    pub fn insert(&mut self, n: u64) {
        self.insert_as("app.n", &format!("{{\"n\":{n}}}"));
    }

    pub fn insert_as(&mut self, topic: &str, body: &str) {
        self.run(&format!("INSERT INTO fedmsg_outbox (topic, body) VALUES ('{topic}', '{body}')"));
    }
}

/// A message as it is in a journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub stream: String,
    pub msg_id: String,
    pub topic: String,
    pub envelope: Value,
}

impl World {
    /// One world with each kind of database that there is.
    pub fn all() -> Vec<World> {
        let all = vec![World::sqlite()];
        #[cfg(feature = "postgres")]
        let all = all.into_iter().chain(World::postgres()).collect();
        all
    }

    pub fn sqlite() -> World {
        let world = World::at(StoreAddress::Sqlite(PathBuf::new()));
        let path = world.path("app.db");
        // As applications do.
        let connection = rusqlite::Connection::open(&path).expect("a database");
        connection.pragma_update(None, "journal_mode", "WAL").expect("set");
        let world = World { address: StoreAddress::Sqlite(path), ..world };
        world.rows();
        world
    }

    /// In a schema of its own; nothing where there is no server.
    #[cfg(feature = "postgres")]
    pub fn postgres() -> Option<World> {
        let world = World::at(StoreAddress::Postgres(crate::server::shared()?.schema()));
        world.rows();
        Some(world)
    }

    pub fn at(address: StoreAddress) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World { folder, transport: MemoryTransport::new(), address };
        fs::create_dir_all(world.path("etc/keys.d")).expect("a folder");
        let name = Identity::parse(SERVICE).expect("an identity");
        let key = public_text(&key(), &name);
        fs::write(world.path(&format!("etc/keys.d/{SERVICE}.toml")), key).expect("written");
        world.rules("app.>");
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the service may publish from its next start on.
    pub fn rules(&self, topics: &str) {
        let text = format!(
            "[bus]\ntopic_prefix = \"org.example\"\nenvironment = \"dev\"\nstate_dir = {:?}\n\
             [endpoints.{SERVICE:?}]\npublish = \"tcp://127.0.0.1:10001-10009\"\n\
             [[publish]]\nservice = \"app\"\ntopics = [\"{{prefix}}.{{env}}.{topics}\"]\n",
            self.path("state")
        );
        fs::write(self.path("etc/10-bus.toml"), text).expect("written");
    }

    /// The publisher of a process: it takes the first slot that is free.
    pub fn publisher(&self) -> Publisher {
        self.publisher_at(Level::Local)
    }

    pub fn publisher_at(&self, level: Level) -> Publisher {
        self.publisher_on(Arc::new(OsDisk), level)
    }

    pub fn publisher_on(&self, disk: Arc<dyn Disk>, level: Level) -> Publisher {
        let load = LoadOptions { folder: Some(self.path("etc")), ..LoadOptions::default() };
        let config = Arc::new(Config::load(&load).expect("a configuration"));
        let identity = Identity::parse(SERVICE).expect("an identity");
        let builder = Publisher::builder().config(config).key(key()).identity(identity);
        let builder = builder.transport(Arc::new(self.transport.clone()));
        builder.disk(disk).level(level).build().expect("a publisher")
    }

    pub fn application(&self) -> Application {
        match &self.address {
            StoreAddress::Sqlite(path) => {
                Application::Sqlite(rusqlite::Connection::open(path).expect("a database"))
            }
            #[cfg(feature = "postgres")]
            StoreAddress::Postgres(url) => {
                let client = postgres::Client::connect(url, postgres::NoTls).expect("connected");
                Application::Postgres(Box::new(client))
            }
            other => panic!("{other}"),
        }
    }

    pub fn rows(&self) -> OutboxRows {
        OutboxRows::open(&self.address).expect("a table")
    }

    /// One that is at work with a publisher of its own.
    pub fn table(&self) -> OutboxTable {
        self.table_of(&self.publisher())
    }

    pub fn table_of(&self, publisher: &Publisher) -> OutboxTable {
        OutboxTable::start(&self.address, publisher.clone()).expect("it starts")
    }

    /// One whose thread dies after the given step of its first batch, as if its process did; waits until it is dead.
    pub fn crash_after(&self, publisher: &Publisher, step: Step) {
        let builder = OutboxTable::builder(&self.address, publisher.clone());
        let crash = move |done: Step| assert!(done != step, "a crash that is wanted");
        let table = builder.after_each_step(crash).start().expect("it starts");
        assert!(!table.flush(PATIENCE), "it dies before that");
    }

    /// All messages in all journals of the service, those of the first slot first.
    pub fn kept(&self) -> Vec<Kept> {
        self.kept_on(&(Arc::new(OsDisk) as Arc<dyn Disk>))
    }

    fn kept_on(&self, disk: &Arc<dyn Disk>) -> Vec<Kept> {
        let mut kept = Vec::new();
        for slot in 0..9 {
            let folder = self.path(&format!("state/streams/{SERVICE}/{slot}/journal"));
            let mut reader = Reader::new(Arc::clone(disk), &folder);
            for range in reader.ranges().unwrap_or_default() {
                let mut from = range.first.max(1);
                while from <= range.last {
                    let batch = reader.read(range.epoch, from, range.last, 1_000, 1 << 24);
                    let batch = batch.expect("a journal");
                    for entry in batch.entries {
                        let Body::Record(wire) = entry.body else { panic!("{entry:?}") };
                        let envelope: Value = serde_json::from_slice(&wire.envelope).expect("JSON");
                        let text = |name: &str| envelope[name].as_str().expect(name).to_owned();
                        let (stream, msg_id) = (format!("{SERVICE}/{slot}"), text("msg_id"));
                        kept.push(Kept { stream, msg_id, topic: text("topic"), envelope });
                    }
                    from = batch.upto + 1;
                }
            }
        }
        kept
    }

    /// The numbers in the bodies of what is kept.
    pub fn numbers(&self) -> Vec<u64> {
        self.numbers_on(&(Arc::new(OsDisk) as Arc<dyn Disk>))
    }

    pub fn numbers_on(&self, disk: &Arc<dyn Disk>) -> Vec<u64> {
        let n = |kept: &Kept| kept.envelope["msg"]["n"].as_u64();
        self.kept_on(disk).iter().filter_map(n).collect()
    }
}

pub fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32]).expect("a key")
}

#[track_caller]
pub fn flush(table: &OutboxTable) {
    assert!(table.flush(PATIENCE), "{table:?}");
}

/// Waits until it is so; the test fails when it is not so after all that time.
#[track_caller]
pub fn wait_for(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}
