//! Subscribing: one thread that receives, opens and orders, and a queue of what it has to say.

mod asking;
mod build;
mod run;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::{Config, ConfigUpdate, Reloaded, Reloader as FileReloader, Watch};
use crate::consumer::Position;
use crate::event::{Event, Message};
use crate::frames::Word;
use crate::history::Order;
use crate::identity::StreamName;
use crate::queue::Queue;
use crate::rejection::{Rejection, RejectionCounters};
use crate::sequence::Begin;
use crate::stream::SequenceCounts;
use crate::topic::{Pattern, TopicError};
use crate::transport::Wake;

pub use build::SubscriberBuilder;

/// The receiving end: everything that matches its patterns, verified, in order for each stream.
///
/// It takes whole streams and filters here, so that what is missing shows. When its queue is full it stops
/// reading; then 0mq and the publishers hold what they can, and the rest is fetched later from whoever keeps the
/// stream. What nobody keeps any more is said: [`Lost`](crate::Lost).
///
/// Threads use [`recv`](Subscriber::recv), [`events`](Subscriber::events) or
/// [`messages`](Subscriber::messages); tasks use it as a `Stream` of events.
pub struct Subscriber {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    watch: Option<Watch>,
}

/// Which of these streams nobody has, and where the answer goes.
type Question = (Vec<StreamName>, Sender<Vec<StreamName>>);

struct Shared {
    queue: Queue<Event>,
    waker: Arc<dyn Wake>,
    closed: AtomicBool,
    update: Mutex<Option<ConfigUpdate>>,
    /// How many updates are in force.
    updates: Mutex<u64>,
    updated: Condvar,
    rejections: Arc<RejectionCounters>,
    received: AtomicU64,
    verified: AtomicU64,
    sequence: Mutex<(SequenceCounts, usize)>,
    endpoints: AtomicU64,
    /// Streams for which something is being fetched.
    repairing: AtomicU64,
    /// Streams that stand still, and the names of some of them.
    stalled: Mutex<(u64, Vec<StreamName>)>,
    /// How often the thread went round.
    turns: AtomicU64,
    /// What is to be fetched outside of the order of its stream.
    fetches: Mutex<Vec<Position>>,
    /// How far a named consumer is, to be told to publishers.
    tells: Mutex<Vec<(Position, Word)>>,
    questions: Mutex<Vec<Question>>,
    /// The configuration in force.
    config: Mutex<Arc<Config>>,
    history: Mutex<Option<Past>>,
}

/// How far the reading of the past is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Past {
    /// Streams that have a past, as far as is known by now.
    pub streams: u64,
    /// How many of them have been read.
    pub read: u64,
    /// Messages that are to come at least.
    pub left: u64,
}

/// Counters of a subscriber since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberMetrics {
    /// Everything that arrived: messages, heartbeats, genesis records, garbage.
    pub received: u64,
    /// What of it was verified.
    pub verified: u64,
    /// What of it was refused.
    pub rejected: u64,
    /// What was refused, by reason.
    pub rejections: Vec<(Rejection, u64)>,
    /// Messages in order, before patterns were applied.
    pub delivered: u64,
    /// Gaps that were found.
    pub gaps: u64,
    /// Messages that were fetched from a holder, because they had not come by themselves.
    pub repaired: u64,
    /// Messages that were declared lost.
    pub lost: u64,
    /// Messages that came, found no room behind a gap, and are fetched later.
    pub released: u64,
    /// Streams for which something is being fetched.
    pub repairing: u64,
    /// Streams that stand still: what they lack exists, and cannot be fetched now.
    pub stalled: u64,
    /// How often its thread went round: at least once in a second, unless nobody takes what waits in its queue.
    pub turns: u64,
    /// The same message again, by another way.
    pub duplicates: u64,
    /// Messages that came too late for their place, or from before the base.
    pub late: u64,
    /// Contradictions in streams.
    pub forks: u64,
    /// Messages that were not handed on in their place: of forked streams, and of streams that nobody
    /// shows to be alive.
    pub withheld: u64,
    /// Streams that are known.
    pub streams: u64,
    /// Endpoints that are followed.
    pub endpoints: u64,
    /// Events that wait to be taken.
    pub queued: u64,
}

impl Subscriber {
    /// A subscriber with the configuration of this machine (`/etc/fedmsg.d`, or what `FEDMSG_CONFIG_DIR`
    /// names), for everything that these patterns match; for everything at all when there are none.
    pub fn new(patterns: &[&str]) -> Result<Subscriber, SubscribeError> {
        let builder = patterns.iter().fold(Subscriber::builder(), |b, text| b.pattern(*text));
        builder.build()
    }

    /// A subscriber with settings of your own.
    pub fn builder() -> SubscriberBuilder {
        SubscriberBuilder::default()
    }

    /// The next event. Waits for it, at most so long if a time is given; `None` when the time is over, or
    /// when the subscriber was closed and everything was taken.
    pub fn recv(&self, timeout: Option<Duration>) -> Option<Event> {
        self.shared.queue.take(timeout.map(|timeout| Instant::now() + timeout))
    }

    /// All events, until the subscriber is closed.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        std::iter::from_fn(|| self.recv(None))
    }

    /// All verified messages, until the subscriber is closed. Gaps, forks and rejections are left out here,
    /// and counted in [`metrics`](Subscriber::metrics).
    pub fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        self.events().filter_map(|event| match event {
            Event::Message(message) => Some(message),
            _ => None,
        })
    }

    /// Something that closes the subscriber from another thread, such as one that handles signals.
    pub fn closer(&self) -> Closer {
        Closer { shared: Arc::clone(&self.shared) }
    }

    /// Whether it was closed. What is queued can still be taken.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::SeqCst)
    }

    /// Gives the subscriber other configurations, as long as it lives.
    pub(crate) fn follower(&self) -> Follower {
        Follower { shared: Arc::downgrade(&self.shared) }
    }

    /// How far the reading of the past is, while it is read.
    pub fn past(&self) -> Option<Past> {
        *self.shared.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Streams that stand still now, at most [`STALLED_NAMES_MAX`](crate::limits::STALLED_NAMES_MAX) of them.
    pub fn stalled(&self) -> Vec<StreamName> {
        self.shared.stalled.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Something that has the files of the configuration read now; nothing where they are not followed.
    pub fn reloader(&self) -> Option<Reloader> {
        let files = self.watch.as_ref()?.reloader();
        Some(Reloader { files, shared: Arc::clone(&self.shared) })
    }

    /// Has these fetched outside of the order of their streams.
    pub(crate) fn fetch(&self, positions: Vec<Position>) {
        let shared = &self.shared;
        shared.fetches.lock().unwrap_or_else(PoisonError::into_inner).extend(positions);
        shared.waker.wake();
    }

    /// Asks which of these streams nobody has: see [`Reception::is_kept_by_nobody`](crate::reception::Reception). The
    /// answer comes when the reader has time for it.
    pub(crate) fn kept_by_nobody(&self, streams: Vec<StreamName>) -> Receiver<Vec<StreamName>> {
        let (answer, answered) = channel();
        let questions = &self.shared.questions;
        questions.lock().unwrap_or_else(PoisonError::into_inner).push((streams, answer));
        self.shared.waker.wake();
        answered
    }

    /// Tells publishers how far a named consumer is with their streams.
    pub(crate) fn tell(&self, positions: Vec<Position>, consumer: &Word) {
        let told = positions.into_iter().map(|position| (position, consumer.clone()));
        self.shared.tells.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
        self.shared.waker.wake();
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.shared.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The counters.
    pub fn metrics(&self) -> SubscriberMetrics {
        let shared = &self.shared;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (counts, streams) = *shared.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        SubscriberMetrics {
            received: read(&shared.received),
            verified: read(&shared.verified),
            rejected: shared.rejections.total(),
            rejections: shared.rejections.iter().collect(),
            delivered: counts.delivered,
            gaps: counts.gaps,
            repaired: counts.repaired,
            lost: counts.lost,
            released: counts.released,
            repairing: read(&shared.repairing),
            stalled: shared.stalled.lock().unwrap_or_else(PoisonError::into_inner).0,
            turns: read(&shared.turns),
            duplicates: counts.duplicates,
            late: counts.late,
            forks: counts.forks,
            withheld: counts.withheld,
            streams: streams as u64,
            endpoints: read(&shared.endpoints),
            queued: shared.queue.len() as u64,
        }
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.closer().close();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of a subscriber panicked");
        }
    }
}

impl futures_core::Stream for Subscriber {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Event>> {
        self.shared.queue.poll_take(task)
    }
}

/// Closes a subscriber. Whoever waits for it gets what is queued, and then the end.
#[derive(Clone)]
pub struct Closer {
    shared: Arc<Shared>,
}

impl Closer {
    /// Closes.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.queue.close();
        self.shared.waker.wake();
    }
}

impl std::fmt::Debug for Closer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Closer")
    }
}

/// Has the files of a subscriber's configuration read now, from another thread, such as one that handles signals.
#[derive(Clone)]
pub struct Reloader {
    files: FileReloader,
    shared: Arc<Shared>,
}

impl Reloader {
    /// Reads the files, and waits until what they say is in force, at most so long; nothing when the subscriber is
    /// gone, or when the time is over.
    pub fn reload(&self, patience: Duration) -> Option<Reloaded> {
        let lock = |updates| Mutex::lock(updates).unwrap_or_else(PoisonError::into_inner);
        let before = *lock(&self.shared.updates);
        let reloaded = self.files.reload()?;
        let waiting = |updates: &mut u64| reloaded.changed && *updates == before;
        let updates = lock(&self.shared.updates);
        let waited = self.shared.updated.wait_timeout_while(updates, patience, waiting);
        let (updates, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!reloaded.changed || *updates != before).then_some(reloaded)
    }
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reloader")
    }
}

/// Gives a subscriber other configurations without files that are watched.
pub(crate) struct Follower {
    shared: Weak<Shared>,
}

impl Follower {
    /// Puts a configuration into force, and waits for that, at most so long. `false`: the subscriber is
    /// gone.
    pub(crate) fn follow(&self, config: Arc<Config>, timeout: Duration) -> bool {
        let Some(shared) = self.shared.upgrade() else { return false };
        if shared.closed.load(Ordering::SeqCst) {
            return false;
        }
        let lock = |updates| Mutex::lock(updates).unwrap_or_else(PoisonError::into_inner);
        let before = *lock(&shared.updates);
        let mut place = shared.update.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(ConfigUpdate { config, error: None });
        drop(place);
        shared.waker.wake();
        let waiting = |updates: &mut u64| *updates == before;
        let waited = shared.updated.wait_timeout_while(lock(&shared.updates), timeout, waiting);
        drop(waited);
        true
    }
}

/// Why there is no subscriber.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// A pattern is wrong.
    #[error("pattern {0}")]
    Pattern(#[from] TopicError),
    /// Sockets cannot be made.
    #[error(transparent)]
    Net(#[from] crate::transport::NetError),
    /// A thread cannot be started.
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
}

/// Which messages a subscriber hands out.
#[derive(Clone, Debug, Default)]
struct Wanted {
    patterns: Vec<Pattern>,
    internal: bool,
    /// Where streams are taken up, and where these ones.
    begin: Begin,
    begins: Vec<(StreamName, Begin)>,
    history: Option<Order>,
    guide: Option<Guide>,
    /// An endpoint that is left out.
    without: Option<crate::identity::Identity>,
}

/// Says where streams are taken up. Whoever has one is handed everything, wanted or not: to know how far a
/// stream is one has to see all of it.
#[derive(Clone)]
pub(crate) struct Guide(pub(crate) Arc<dyn Fn(&StreamName) -> Begin + Send + Sync>);

impl std::fmt::Debug for Guide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guide")
    }
}

impl Wanted {
    fn topic(&self, topic: &str) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(topic))
    }
}
