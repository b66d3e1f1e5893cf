//! A bus of one test: a folder of configuration that can be changed, sockets and a disk in memory, and one
//! consumer, `badges`, with a store that outlives it.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedmsg::config::{Config, LoadOptions, public_text};
use fedmsg::consumer::{ConsumerName, CursorStore, SqliteStore};
use fedmsg::durable::{DurableBuilder, DurableEvent, Retrying};
use fedmsg::keys::SecretKey;
use fedmsg::record::Level;
use fedmsg::testing::{MemoryDisk, MemoryStore, MemoryTransport};
use fedmsg::{Delivery, Draft, Durable, Event, Identity, Publisher, Subscriber};
use serde_json::json;
use tempfile::TempDir;

/// Everything that is waited for comes within this time, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where the consumer keeps what it has done.
pub enum Stores {
    Memory(MemoryStore),
    Sqlite,
    /// A schema of its own on a server.
    #[cfg(feature = "postgres")]
    Postgres(String),
}

impl Stores {
    /// A new one of each kind; PostgreSQL where it is built in and there.
    pub fn all() -> Vec<Stores> {
        let all = vec![Stores::Memory(MemoryStore::new()), Stores::Sqlite];
        #[cfg(feature = "postgres")]
        let all = all.into_iter().chain(Stores::postgres()).collect();
        all
    }

    /// A new schema; nothing where there is no server.
    #[cfg(feature = "postgres")]
    pub fn postgres() -> Option<Stores> {
        Some(Stores::Postgres(crate::server::shared()?.schema()))
    }
}

pub struct World {
    folder: TempDir,
    transport: MemoryTransport,
    disk: MemoryDisk,
    pub stores: Stores,
}

impl World {
    /// A bus with the service `app.one`, and a consumer whose store is in memory.
    pub fn new() -> World {
        World::with(Stores::Memory(MemoryStore::new()))
    }

    pub fn with(stores: Stores) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let (transport, disk) = (MemoryTransport::new(), MemoryDisk::new());
        let world = World { folder, transport, disk, stores };
        fs::create_dir_all(world.path("etc/keys.d")).expect("a folder");
        fs::create_dir_all(world.path("etc/policy.d")).expect("a folder");
        let bus = format!(
            "[bus]\ntopic_prefix = \"org.example\"\nenvironment = \"dev\"\nstate_dir = {:?}\n",
            world.path("state")
        );
        world.write("etc/10-bus.toml", &bus);
        world.endpoint("app.one", 1);
        world.trust("app.one");
        world.rules("app", "{prefix}.{env}.{service}.>");
        world
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file there as configuration management should: at once.
    pub fn write(&self, name: &str, text: &str) {
        let (path, beside) = (self.path(name), self.path(&format!("{name}.new")));
        fs::write(&beside, text).expect("written");
        fs::rename(beside, path).expect("renamed");
    }

    pub fn endpoint(&self, identity: &str, place: u16) {
        let (publish, replay) = (10_000 + place, 20_000 + place);
        let text = format!(
            "[endpoints.{identity:?}]\npublish = \"tcp://127.0.0.1:{publish}\"\n\
             replay = \"tcp://127.0.0.1:{replay}\"\n"
        );
        self.write(&format!("etc/20-{identity}.toml"), &text);
    }

    pub fn key(identity: &str) -> SecretKey {
        let mut seed = [7; 32];
        seed[..identity.len()].copy_from_slice(identity.as_bytes());
        SecretKey::from_seed(&seed).expect("a key")
    }

    /// Trusts the key of this identity.
    pub fn trust(&self, identity: &str) {
        let name = Identity::parse(identity).expect("an identity");
        let text = public_text(&World::key(identity), &name);
        self.write(&format!("etc/keys.d/{identity}.toml"), &text);
    }

    /// What a service may publish.
    pub fn rules(&self, service: &str, topics: &str) {
        let text = format!("[[publish]]\nservice = {service:?}\ntopics = [{topics:?}]\n");
        self.write("etc/policy.d/10-rules.toml", &text);
    }

    pub fn load(&self) -> LoadOptions {
        LoadOptions { folder: Some(self.path("etc")), ..LoadOptions::default() }
    }

    pub fn publisher(&self, identity: &str) -> Publisher {
        self.publisher_on(&self.disk, identity)
    }

    /// One with a disk of its own.
    pub fn publisher_on(&self, disk: &MemoryDisk, identity: &str) -> Publisher {
        // It keeps what it has read: the host of a publisher is not that of the consumer.
        let config = Arc::new(Config::load(&self.load()).expect("a configuration"));
        let builder = Publisher::builder().config(config).key(World::key(identity));
        let builder = builder.identity(Identity::parse(identity).expect("an identity"));
        let builder = builder.transport(Arc::new(self.transport.clone())).level(Level::Local);
        builder.disk(Arc::new(disk.clone())).build().expect("a publisher")
    }

    /// A reader without a name.
    pub fn subscriber(&self) -> Subscriber {
        let builder = Subscriber::builder().load(self.load()).pattern("app.n");
        builder.transport(Arc::new(self.transport.clone())).build().expect("a subscriber")
    }

    pub fn store(&self) -> Box<dyn CursorStore> {
        match &self.stores {
            Stores::Memory(store) => Box::new(store.clone()),
            Stores::Sqlite => {
                fs::create_dir_all(self.path("state")).expect("a folder");
                Box::new(SqliteStore::open(&self.path("state/consumers.db")).expect("a store"))
            }
            #[cfg(feature = "postgres")]
            Stores::Postgres(url) => {
                Box::new(fedmsg::consumer::PostgresStore::connect(url).expect("a store"))
            }
        }
    }

    /// The consumer, with short times.
    pub fn builder(&self) -> DurableBuilder {
        let (base, max) = (Duration::from_millis(20), Duration::from_millis(100));
        let builder = Subscriber::durable("badges").load(self.load()).store(self.store());
        let builder = builder.transport(Arc::new(self.transport.clone()));
        builder.patterns(&["app.n"]).retrying(Retrying::new(3, base, max))
    }

    pub fn badges(&self) -> Durable {
        self.builder().build().expect("a consumer")
    }

    /// How far the consumer is in `app.one/0`, as the store has it.
    pub fn cursor(&self) -> Option<u64> {
        let cursors = self.store().load(&name()).expect("cursors");
        let cursor = cursors.iter().find(|cursor| cursor.position.stream.as_str() == "app.one/0");
        cursor.map(|cursor| cursor.position.i)
    }

    /// Waits until the cursor is there.
    pub fn cursor_comes_to(&self, i: u64) {
        wait_for(|| self.cursor() == Some(i), || format!("the cursor is at {:?}", self.cursor()));
    }
}

pub fn name() -> ConsumerName {
    ConsumerName::parse("badges").expect("a name")
}

/// Waits until it is so; the test fails when it is not so after all that time.
#[track_caller]
pub fn wait_for(is: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{}", otherwise());
        std::thread::yield_now();
    }
}

/// Publishes a message whose body is its number, and waits until it is on the disk.
pub fn publish(publisher: &Publisher, topic: &str, n: u64) -> u64 {
    let draft = Draft::new(topic).body(&json!({ "n": n }));
    publisher.publish(draft).wait_timeout(PATIENCE).expect("published").i
}

/// Publishes these, one after the other.
pub fn publish_all(publisher: &Publisher, topic: &str, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        publish(publisher, topic, n);
    }
}

/// The next event of which this makes something.
#[track_caller]
pub fn find<T>(badges: &Durable, mut wanted: impl FnMut(DurableEvent) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(event) = badges.recv(Some(left)) else {
            panic!("nothing more: {:?}", badges.metrics());
        };
        if let DurableEvent::Bus(event @ (Event::Fork(_) | Event::Lost(_) | Event::Stalled(_))) =
            &event
        {
            eprintln!("{event:?}");
        }
        if let Some(found) = wanted(event) {
            return found;
        }
    }
}

#[track_caller]
pub fn next(badges: &Durable) -> Delivery {
    find(badges, |event| match event {
        DurableEvent::Delivery(delivery) => Some(delivery),
        _ => None,
    })
}

/// The number in the body.
pub fn n(delivery: &Delivery) -> u64 {
    let body: serde_json::Value = delivery.body().expect("JSON");
    body["n"].as_u64().expect("a number")
}

/// Takes these, in this order, and acks each.
#[track_caller]
pub fn take(badges: &Durable, numbers: impl IntoIterator<Item = u64>) {
    for wanted in numbers {
        let delivery = next(badges);
        assert_eq!(n(&delivery), wanted, "{delivery:?}");
        delivery.ack();
    }
}
