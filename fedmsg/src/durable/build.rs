//! How a durable consumer comes to its configuration, its store and its thread.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::shared::Shared;
use super::{Durable, DurableError, keeper};
use crate::config::{Config, LoadOptions};
use crate::consumer::{ConsumerName, CursorStore, Start, StoreError};
use crate::limits::{
    FORGET_MS, IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX, IN_FLIGHT_MESSAGES_MAX, LEASE_MS, LEASE_MS_MAX,
    UNWRITTEN_MAX,
};
use crate::progress::{Retrying, Room};
use crate::subscriber::{SubscribeError, Subscriber, SubscriberBuilder};
use crate::topic::Pattern;
use crate::transport::Transport;

/// Settings of a durable consumer; what is not set comes from the configuration.
#[must_use]
pub struct DurableBuilder {
    name: String,
    options: Option<LoadOptions>,
    config: Option<Arc<Config>>,
    texts: Vec<String>,
    patterns: Vec<Pattern>,
    start: Start,
    standby: bool,
    in_flight: usize,
    retrying: Retrying,
    lease: Duration,
    forget_after: Duration,
    store: Option<Box<dyn CursorStore>>,
    transport: Option<Arc<dyn Transport>>,
}

/// What a consumer is to do.
pub(super) struct Plan {
    pub(super) config: Arc<Config>,
    pub(super) reader: SubscriberBuilder,
    pub(super) patterns: Vec<Pattern>,
    pub(super) store: Option<Box<dyn CursorStore>>,
    pub(super) start: Start,
    pub(super) standby: bool,
    pub(super) lease_ms: u64,
    pub(super) forget_after_ms: u64,
    pub(super) room: Room,
    pub(super) retrying: Retrying,
}

impl DurableBuilder {
    pub(super) fn new(name: String) -> DurableBuilder {
        DurableBuilder {
            name,
            options: None,
            config: None,
            texts: Vec::new(),
            patterns: Vec::new(),
            start: Start::New,
            standby: false,
            in_flight: IN_FLIGHT_MAX,
            retrying: Retrying::default(),
            lease: Duration::from_millis(LEASE_MS),
            forget_after: Duration::from_millis(FORGET_MS),
            store: None,
            transport: None,
        }
    }

    /// Reads the configuration with these options, and follows it while the consumer runs.
    pub fn load(mut self, options: LoadOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// Uses this configuration, which does not change.
    pub fn config(mut self, config: Arc<Config>) -> Self {
        self.config = Some(config);
        self
    }

    /// Wants what this pattern matches, too. One that begins with neither the topic prefix nor a wildcard is
    /// relative. Without any, everything is wanted.
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.texts.push(pattern.into());
        self
    }

    /// Wants what these patterns match, too.
    pub fn patterns(mut self, patterns: &[&str]) -> Self {
        self.texts.extend(patterns.iter().map(|text| (*text).to_owned()));
        self
    }

    /// Wants what this pattern matches, too.
    pub fn parsed_pattern(mut self, pattern: Pattern) -> Self {
        self.patterns.push(pattern);
        self
    }

    /// Where it begins when it is created; later that counts no more. [`Start::New`] without this.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Waits while somebody else runs the consumer, and takes over when it is free. Otherwise that is an error:
    /// [`StoreError::Held`].
    pub fn standby(mut self, standby: bool) -> Self {
        self.standby = standby;
        self
    }

    /// Hands out at most so many messages that are not answered, 1 to 100,000; 1,000 without this. Their bytes are
    /// bounded, too, by 64 MiB.
    pub fn in_flight(mut self, messages: usize) -> Self {
        self.in_flight = messages.clamp(1, IN_FLIGHT_MESSAGES_MAX);
        self
    }

    /// How often and when a message is tried again that failed.
    pub fn retrying(mut self, retrying: Retrying) -> Self {
        self.retrying = retrying;
        self
    }

    /// For how long nobody else gets the consumer after this process was cut off from the store, 1 s to 10
    /// minutes; 30 s without this. A process that has died on the same host is not waited for.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Forgets the cursor of a stream that was not moved for so long; 30 days without this, and one day while the
    /// store has no room for another cursor. Only where nobody can hand out its messages again: everybody in the
    /// configuration who could have them has said which streams it has, and this one is not among them; nothing was
    /// heard of it for an hour (or for this time, if that is shorter) since the consumer began; and no refused or
    /// failed message of it waits. A stream that comes back all the same is new to the consumer.
    pub fn forget_after(mut self, time: Duration) -> Self {
        self.forget_after = time;
        self
    }

    /// Keeps what is done in this store instead of that of the configuration.
    pub fn store(mut self, store: Box<dyn CursorStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Receives by this transport instead of ZeroMQ.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Claims the consumer, connects, and starts. A standby is there at once, and waits.
    pub fn build(self) -> Result<Durable, DurableError> {
        let name = ConsumerName::parse(&self.name)?;
        let shared = Shared::new(name, self.in_flight);
        let plan = self.plan()?;
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::Builder::new().name("fedmsg-cursors".into()).spawn({
            let shared = Arc::clone(&shared);
            move || keeper::run(&shared, plan, &ready)
        });
        let thread = Some(thread.map_err(SubscribeError::Thread)?);
        let durable = Durable { shared, thread };
        // A thread that panicked has said nothing.
        let gone =
            StoreError::Unavailable { place: "the store".into(), detail: "see the log".into() };
        is_ready.recv().unwrap_or(Err(DurableError::Store(gone)))?;
        Ok(durable)
    }

    fn plan(self) -> Result<Plan, DurableError> {
        let mut reader = Subscriber::builder().internal(true);
        let config = match (self.config, self.options) {
            (Some(config), _) => {
                reader = reader.config(Arc::clone(&config));
                config
            }
            (None, options) => {
                let options = options.unwrap_or_else(LoadOptions::from_process_environment);
                let config = Arc::new(Config::load(&options).map_err(SubscribeError::Config)?);
                reader = reader.load(options);
                config
            }
        };
        let mut patterns = self.patterns;
        for text in &self.texts {
            let pattern = config.trust.naming.pattern(text).map_err(SubscribeError::Pattern)?;
            patterns.push(pattern);
        }
        reader = patterns.iter().cloned().fold(reader, SubscriberBuilder::parsed_pattern);
        if let Some(transport) = self.transport {
            reader = reader.transport(transport);
        }
        let lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(LEASE_MS_MAX);
        Ok(Plan {
            config,
            reader,
            patterns,
            store: self.store,
            start: self.start,
            standby: self.standby,
            lease_ms: lease_ms.clamp(1_000, LEASE_MS_MAX),
            forget_after_ms: u64::try_from(self.forget_after.as_millis()).unwrap_or(u64::MAX),
            room: Room {
                messages: self.in_flight,
                bytes: IN_FLIGHT_BYTES_MAX,
                unwritten: UNWRITTEN_MAX.max(self.in_flight),
            },
            retrying: self.retrying,
        })
    }
}
