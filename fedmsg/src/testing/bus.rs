//! A whole bus for a test.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::folder::Folder;
use super::memory::MemoryTransport;
use super::tape::Tape;
use crate::config::{Config, EndpointEntry};
use crate::endpoint::Endpoint;
use crate::event::Message;
use crate::identity::Identity;
use crate::keys::{KeyRing, SecretKey, TrustedKey};
use crate::policy::{Action, Policy, Rule, Subject};
use crate::publisher::{Publisher, PublisherBuilder};
use crate::subscriber::{Follower, Subscriber, SubscriberBuilder};
use crate::topic::Naming;
use crate::trust::Trust;

/// Longest time that anything here waits; then the test fails.
const PATIENCE: Duration = Duration::from_secs(5);
/// Publishers that one identity can have at once.
const SLOTS: usize = 8;
/// Most published messages that a failed assertion shows.
const SHOWN_MAX: usize = 20;

/// A bus in memory, for one test: it makes the keys, trusts them, and sees everything that is published.
///
/// Topic prefix and environment are `org.example` and `dev`; every service may publish below its own name.
/// What cannot be done panics, as suits a test.
pub struct Bus {
    transport: MemoryTransport,
    state: Mutex<State>,
    tape: Mutex<Tape>,
    folder: Folder,
}

struct State {
    config: Arc<Config>,
    subscribers: Vec<Follower>,
}

impl Bus {
    /// A bus on which nobody is yet.
    pub fn new() -> Bus {
        Bus::on(MemoryTransport::new())
    }

    /// A bus on this transport.
    pub fn on(transport: MemoryTransport) -> Bus {
        let folder = Folder::new().expect("a folder for the state of a test");
        let naming = Naming::default();
        let (own, all) = (["{prefix}.{env}.{service}.>"], Subject::Service(None));
        let rule = Rule::new(Action::Publish, all, &own, &naming, "the bus of a test");
        let policy = Policy::new(vec![rule.expect("a rule")]);
        let trust = Trust { naming, keys: KeyRing::default(), policy };
        let config = Config::in_memory(trust, Vec::new(), folder.path().into());
        let tape = Tape::new(transport.silent_inlet(), &config);
        let state = State { config: Arc::new(config), subscribers: Vec::new() };
        Bus { transport, state: Mutex::new(state), tape: Mutex::new(tape), folder }
    }

    /// The transport, for its faults.
    pub fn transport(&self) -> &MemoryTransport {
        &self.transport
    }

    /// What everybody on the bus has as configuration. It is another one after somebody new has come.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.state().config)
    }

    /// The key of an identity on this bus, the same one in each run.
    pub fn key(&self, identity: &str) -> SecretKey {
        let seed = Sha256::new().chain_update("fedmsg/testing/key\0").chain_update(identity);
        SecretKey::from_seed(&seed.finalize().into()).expect("a key from a hash")
    }

    /// Makes an identity known to all: its key and its endpoints. [`publisher`](Bus::publisher) does it too.
    #[track_caller]
    pub fn declare(&self, identity: &str) -> Identity {
        let name = Identity::parse(identity).unwrap_or_else(|error| panic!("{identity}: {error}"));
        let mut state = self.state();
        if state.config.endpoints.contains_key(&name) {
            return name;
        }
        let mut trust = Trust::clone(&state.config.trust);
        let key = TrustedKey::new(self.key(identity).public().clone(), name.clone());
        trust.keys.add(key).expect("a key of its own");
        let mut entries: Vec<_> = state.config.endpoints.values().cloned().collect();
        entries.push(entry(&name, entries.len()));
        let config = Arc::new(Config::in_memory(trust, entries, self.folder.path().into()));
        state.config = Arc::clone(&config);
        self.tape().follow(&config);
        state.subscribers.retain(|subscriber| subscriber.follow(Arc::clone(&config), PATIENCE));
        name
    }

    /// A publisher of this identity, such as `bodhi.test`. Every subscriber that the bus made is connected
    /// to it.
    #[track_caller]
    pub fn publisher(&self, identity: &str) -> Publisher {
        let built = self.publisher_builder(identity).build();
        built.unwrap_or_else(|error| panic!("no publisher {identity}: {error}"))
    }

    /// The same with settings of your own.
    #[track_caller]
    pub fn publisher_builder(&self, identity: &str) -> PublisherBuilder {
        let name = self.declare(identity);
        let transport = Arc::new(self.transport.clone());
        let builder = Publisher::builder().config(self.config()).transport(transport);
        builder.identity(name).key(self.key(identity))
    }

    /// A subscriber for these patterns, connected to every publisher; for everything when there are none.
    #[track_caller]
    pub fn subscriber(&self, patterns: &[&str]) -> Subscriber {
        let builder = patterns.iter().fold(self.subscriber_builder(), |b, text| b.pattern(*text));
        let subscriber = builder.build().unwrap_or_else(|error| panic!("no subscriber: {error}"));
        self.state().subscribers.push(subscriber.follower());
        subscriber
    }

    /// The same with settings of your own. One that is made with it knows the identities that are on the bus
    /// by now: [`declare`](Bus::declare) the others first.
    pub fn subscriber_builder(&self) -> SubscriberBuilder {
        let transport = Arc::new(self.transport.clone());
        Subscriber::builder().config(self.config()).transport(transport)
    }

    /// Everything that was published so far, whatever became of it on the way. What a publisher has a
    /// receipt for is there.
    pub fn published(&self) -> Vec<Message> {
        self.tape().messages().to_vec()
    }

    /// Waits until a message was published on this topic, of whose body this is true, and gives it. Panics
    /// after five seconds, and says what was published instead.
    #[track_caller]
    pub fn assert_published(
        &self,
        topic: &str,
        is_it: impl Fn(&serde_json::Value) -> bool,
    ) -> Message {
        let wanted = self.absolute(topic);
        let found = self.tape().find(PATIENCE, |message| is(message, &wanted, &is_it));
        // Not in a closure, which would hide the line of the test.
        let Some(found) = found else {
            panic!("nothing like it on {wanted}; {}", self.list(&wanted));
        };
        found
    }

    /// Panics if a message was published on this topic, of whose body this is true. Looks at what was
    /// published so far, and waits for nothing.
    #[track_caller]
    pub fn assert_not_published(&self, topic: &str, is_it: impl Fn(&serde_json::Value) -> bool) {
        let wanted = self.absolute(topic);
        if self.published().iter().any(|message| is(message, &wanted, &is_it)) {
            panic!("this was published on {wanted}; {}", self.list(&wanted));
        }
    }

    #[track_caller]
    fn absolute(&self, topic: &str) -> String {
        let topic = self.config().trust.naming.topic(topic);
        topic.unwrap_or_else(|error| panic!("{error}")).as_str().to_owned()
    }

    /// What was published, the last ones first where they are many; those on this topic are marked.
    fn list(&self, wanted: &str) -> String {
        let all = self.published();
        let mut text = format!("{} messages were published:", all.len());
        for message in all.iter().rev().take(SHOWN_MAX) {
            let mark = if message.topic().as_str() == wanted { '>' } else { ' ' };
            write!(text, "\n{mark} {} {}", message.topic(), message.msg())
                .expect("a String takes everything");
        }
        if all.len() > SHOWN_MAX {
            text.push_str("\n  …");
        }
        text
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Bus {
    fn default() -> Bus {
        Bus::new()
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// The endpoints of the identity that came as number `place`.
fn entry(identity: &Identity, place: usize) -> EndpointEntry {
    let first = 1 + place * SLOTS;
    let range = format!("tcp://memory:{first}-{}", first + SLOTS - 1);
    let addresses = Endpoint::parse_range(&range).expect("fewer than 8,000 identities");
    EndpointEntry::new(identity.clone(), addresses)
}

fn is(message: &Message, topic: &str, is_it: &impl Fn(&serde_json::Value) -> bool) -> bool {
    message.topic().as_str() == topic && message.body().is_ok_and(|body| is_it(&body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Draft;

    #[test]
    fn a_failed_assertion_says_what_was_published_instead() {
        let bus = Bus::new();
        let publisher = bus.publisher("bodhi.test");
        let draft = Draft::new("bodhi.a.b").body(&serde_json::json!({"n": 1}));
        publisher.publish(draft).wait().expect("publish");
        bus.assert_not_published("bodhi.a.b", |body| body["n"] == 2);
        assert_eq!(bus.published().len(), 1);
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            bus.assert_not_published("bodhi.a.b", |body| body["n"] == 1);
        }));
        let text = failed.expect_err("it was published");
        let text = text.downcast_ref::<String>().expect("a text");
        assert!(text.contains("\n> org.example.dev.bodhi.a.b {\"n\":1}"), "{text}");
    }

    #[test]
    fn the_folder_of_a_bus_goes_with_it() {
        let bus = Bus::new();
        drop(bus.publisher("bodhi.test"));
        let path = bus.folder.path().to_owned();
        assert!(path.is_dir());
        drop(bus);
        assert!(!path.exists());
    }
}
