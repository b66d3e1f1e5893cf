//! How a subscriber comes to its configuration, its transport and its thread.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::asking::Asking;
use super::run::Runner;
use super::{Guide, Shared, SubscribeError, Subscriber, Wanted};
use crate::config::{Config, LoadOptions, Watch};
use crate::history::Order;
use crate::identity::{Identity, StreamName};
use crate::limits::{QUEUE_BYTES, QUEUE_MESSAGES};
use crate::queue::Queue;
use crate::sequence::Begin;
use crate::stream::SequenceCounts;
use crate::topic::Pattern;
use crate::transport::{NetError, Transport};

/// Settings of a subscriber; what is not set comes from the configuration.
#[derive(Default)]
#[must_use]
pub struct SubscriberBuilder {
    options: Option<LoadOptions>,
    config: Option<Arc<Config>>,
    texts: Vec<String>,
    patterns: Vec<Pattern>,
    internal: bool,
    begin: Begin,
    begins: Vec<(StreamName, Begin)>,
    history: Option<Order>,
    guide: Option<Guide>,
    without: Option<Identity>,
    transport: Option<Arc<dyn Transport>>,
}

impl SubscriberBuilder {
    /// Reads the configuration with these options, and follows it while the subscriber lives.
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
    /// relative.
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.texts.push(pattern.into());
        self
    }

    /// Wants what this pattern matches, too.
    pub fn parsed_pattern(mut self, pattern: Pattern) -> Self {
        self.patterns.push(pattern);
        self
    }

    /// Hands out heartbeats and genesis records as [`Event::Internal`](crate::Event::Internal).
    pub fn internal(mut self, internal: bool) -> Self {
        self.internal = internal;
        self
    }

    /// Takes streams up here instead of with what comes next, and looks for those that have nothing to say
    /// now. Only streams with a replay holder have a past.
    pub fn begin(mut self, begin: Begin) -> Self {
        self.begin = begin;
        self
    }

    /// Takes up one stream here.
    pub fn begin_stream(mut self, stream: StreamName, begin: Begin) -> Self {
        self.begins.push((stream, begin));
        self
    }

    /// Reads the past first, in this order, and says [`Event::CaughtUp`](crate::Event::CaughtUp) when it has;
    /// then goes on live. Without [`begin`](Self::begin) there is none.
    pub fn history(mut self, order: Order) -> Self {
        self.history = Some(order);
        self
    }

    /// Leaves this endpoint out: a relay that follows everybody does not follow itself.
    pub fn without(mut self, identity: Identity) -> Self {
        self.without = Some(identity);
        self
    }

    /// Has this say where streams are taken up, and hands out everything.
    pub(crate) fn guide(mut self, guide: Guide) -> Self {
        self.guide = Some(guide);
        self
    }

    /// Receives by this transport instead of ZeroMQ.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Connects, and starts the thread. Endpoints that are down are no error: they are tried again.
    pub fn build(self) -> Result<Subscriber, SubscribeError> {
        let (config, options) = match (self.config, self.options) {
            (Some(config), _) => (config, None),
            (None, options) => {
                let options = options.unwrap_or_else(LoadOptions::from_process_environment);
                (Arc::new(Config::load(&options)?), Some(options))
            }
        };
        let mut patterns = self.patterns;
        for text in &self.texts {
            patterns.push(config.trust.naming.pattern(text)?);
        }
        let wanted = Wanted {
            patterns,
            internal: self.internal,
            begin: self.begin,
            begins: self.begins,
            history: self.history,
            guide: self.guide,
            without: self.without,
        };
        let transport = match self.transport {
            Some(transport) => transport,
            None => default_transport()?,
        };
        let inlet = transport.inlet()?;
        let asking = Asking::new(Arc::clone(&transport), inlet.waker());
        let shared = Arc::new(Shared {
            queue: Queue::new(QUEUE_MESSAGES, QUEUE_BYTES),
            waker: inlet.waker(),
            closed: AtomicBool::new(false),
            update: Mutex::new(None),
            updates: Mutex::new(0),
            updated: Condvar::new(),
            rejections: Arc::default(),
            received: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            sequence: Mutex::new((SequenceCounts::default(), 0)),
            endpoints: AtomicU64::new(0),
            repairing: AtomicU64::new(0),
            stalled: Mutex::default(),
            turns: AtomicU64::new(0),
            fetches: Mutex::default(),
            tells: Mutex::default(),
            questions: Mutex::default(),
            config: Mutex::new(Arc::clone(&config)),
            history: Mutex::new(None),
        });
        let watch = options.map(|options| {
            let shared = Arc::clone(&shared);
            let follow = move |update| {
                let mut place = shared.update.lock().unwrap_or_else(PoisonError::into_inner);
                *place = Some(update);
                drop(place);
                shared.waker.wake();
            };
            Watch::start(options, Arc::clone(&config), Box::new(follow))
        });
        let watch = watch.transpose().map_err(SubscribeError::Thread)?;
        let runner = Runner::new(Arc::clone(&shared), config, wanted, inlet, asking);
        let name = std::thread::Builder::new().name("fedmsg-receive".into());
        let thread = name.spawn(move || runner.run()).map_err(SubscribeError::Thread)?;
        Ok(Subscriber { shared, thread: Some(thread), watch })
    }
}

#[cfg(feature = "net")]
fn default_transport() -> Result<Arc<dyn Transport>, NetError> {
    Ok(Arc::new(crate::net::Zmq::new()))
}

#[cfg(not(feature = "net"))]
fn default_transport() -> Result<Arc<dyn Transport>, NetError> {
    Err(NetError::Socket("built without the feature `net`: give a transport".into()))
}
