//! Publishing: a queue, and one thread that numbers, chains, seals and sends what is in it.
//!
//! A process with an entry in `[endpoints]` takes the first free slot of its identity and binds that
//! address. One without an entry, or without a free slot, publishes through relays; the calls are the same.

mod build;
mod callers;
#[cfg(feature = "net")]
mod copier;
mod copying;
/// For the simulator, which does without the thread; no part of what is promised.
#[doc(hidden)]
pub mod core;
mod direct;
#[cfg(feature = "net")]
mod entrusted;
#[cfg(feature = "net")]
mod holders;
mod journals;
mod keeping;
/// See [`core`].
#[doc(hidden)]
pub mod last_epoch;
pub(crate) mod opening;
mod orders;
mod own_stream;
pub(crate) mod past;
#[cfg(feature = "net")]
mod posted;
mod receipt;
#[cfg(feature = "net")]
mod relayed;
mod retention;
mod serving;
pub(crate) mod slot;
#[cfg(feature = "net")]
mod through_relays;
mod ticket;
mod ways;
/// See [`core`].
#[doc(hidden)]
pub mod witness;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::clock::Clock;
use crate::config::Config;
use crate::delivered::{Delivered, Point};
use crate::envelope::Epoch;
use crate::identity::{Identity, StreamName};
use crate::journal::{JournalMetrics, Mark};
use crate::limits::TREE_LEAVES_MAX;
use crate::queue::{PushError, Queue};
use crate::record::{Level, State};
use crate::seal::{self, Checked, Draft};
use crate::transport::Wake;

use copying::Handover;

pub use build::{BuildError, OnFull, PublisherBuilder};
pub use orders::{NewEpoch, OrderError, Retired, order_new_epoch, retire};
pub use own_stream::OwnStream;
pub use receipt::{PublishError, Receipt, Shortfall};
#[cfg(feature = "net")]
pub(crate) use retention::{Floor, Retention};
pub use ticket::{Publishing, Ticket};

/// The publishing end of a service. `Clone + Send + Sync`: one is shared by all threads.
///
/// Dropping the last clone sends what is queued, says `closed` in a last heartbeat, and waits for that.
#[derive(Clone)]
pub struct Publisher {
    handle: Arc<Handle>,
}

/// What the clones of a publisher share; the writer thread has only the inner part.
struct Handle {
    shared: Arc<Shared>,
    on_full: OnFull,
    thread: Mutex<Option<JoinHandle<()>>>,
    _watch: Option<crate::config::Watch>,
}

/// What callers and the writer thread share.
struct Shared {
    identity: Identity,
    queue: Queue<Job>,
    waker: Arc<dyn Wake>,
    config: InForce,
    position: Mutex<(StreamName, Epoch)>,
    subscribers: Mutex<usize>,
    subscribers_changed: Condvar,
    counts: Counts,
    level: Level,
    relayed: bool,
    /// Those who wait for copies on other machines, at levels that promise them.
    copying: Option<Handover>,
    pid: u32,
    /// The journal's counters as they were after its last append.
    journal: Mutex<Option<JournalMetrics>>,
    /// How far the journal is from which relays are given what it has, where there is one.
    posted: Option<Mark>,
    /// What relays have of it.
    delivered: Mutex<Delivered>,
    delivered_changed: Condvar,
    /// The writer looks into the queue soon by itself: one message alone need not wake it.
    writer_looks: AtomicBool,
}

/// One message on its way to the writer, and where its answer goes.
struct Job {
    message: Checked,
    answer: Answer,
}

/// The configuration in force, for all who follow it.
type InForce = Arc<RwLock<Arc<Config>>>;

type Answer = oneshot::Sender<Result<Receipt, PublishError>>;

#[derive(Default)]
struct Counts {
    published: AtomicU64,
    refused: AtomicU64,
    dropped_tickets: AtomicU64,
    left_out: AtomicU64,
    renewed: AtomicU64,
    relays_up: AtomicU64,
    short_of_copies: AtomicU64,
}

/// Counters of a publisher since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherMetrics {
    /// Messages that were sealed and sent.
    pub published: u64,
    /// Messages that relays refused.
    pub refused: u64,
    /// Tickets that nobody waited for.
    pub dropped_tickets: u64,
    /// Messages that were sent without some subscriber, because it was too slow.
    pub left_out: u64,
    /// New epochs that began while it ran, because somebody showed that the publisher was set back, or its
    /// operator wanted it.
    pub renewed: u64,
    /// Messages in the queue.
    pub queued: u64,
    /// Subscribers that are connected (directly, or in front of the relay: 0).
    pub subscribers: u64,
    /// Relays that answer.
    pub relays_up: u64,
    /// Messages whose callers wait for copies at other holders.
    pub waiting_for_copies: u64,
    /// Receipts and errors that were given with fewer copies than promised.
    pub short_of_copies: u64,
    /// Whether messages are known to have fewer copies than promised; heartbeats say `degraded` then.
    pub is_short_of_copies: bool,
    /// The journal's own counters; none at level `memory`.
    pub journal: Option<JournalMetrics>,
}

impl Publisher {
    /// A publisher with the configuration of this machine (`/etc/fedmsg.d`, or what `FEDMSG_CONFIG_DIR`
    /// names), and the identity that it or `FEDMSG_IDENTITY` gives.
    pub fn new() -> Result<Publisher, BuildError> {
        Publisher::builder().build()
    }

    /// A publisher with settings of your own.
    pub fn builder() -> PublisherBuilder {
        PublisherBuilder::default()
    }

    /// Publishes: `.wait()` blocks the thread, `.await` a task. Nothing happens before either.
    ///
    /// The draft is checked at once; what is wrong with it comes back from `.wait()` and `.await`.
    pub fn publish(&self, draft: Draft) -> Publishing {
        Publishing::new(self.clone(), self.check(draft))
    }

    /// Puts a message into the queue and gives a ticket, whose receipt comes later. With a full queue this
    /// blocks, or fails, as [`PublisherBuilder::on_full`] says. A ticket may be dropped; that is counted.
    pub fn enqueue(&self, draft: Draft) -> Result<Ticket, PublishError> {
        let message = self.check(draft)?;
        let bytes = message.len();
        let (answer, receipt) = oneshot::channel();
        let job = Job { message, answer };
        let queue = &self.handle.shared.queue;
        let pushed = match self.handle.on_full {
            OnFull::Block => queue.push(job, bytes, None),
            OnFull::Fail => queue.try_push(job, bytes),
        };
        self.pushed(pushed.map_err(|error| match error {
            PushError::Full(_) => PublishError::Full,
            PushError::Closed(_) => PublishError::Closed,
        }))?;
        Ok(Ticket::new(receipt))
    }

    /// Waits until so many subscribers are connected, or the time is over; says whether they are. Nothing
    /// in this library waits for subscribers by itself.
    pub fn wait_for_subscribers(&self, count: usize, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let shared = &self.handle.shared;
        let mut present = shared.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        while *present < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = shared.subscribers_changed.wait_timeout(present, left);
            present = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Sends what is queued, says `closed` in a last heartbeat, and waits for that, and for the copies that receipts
    /// wait for, each at most for its time. Clones can no longer publish. To call it again does nothing.
    pub fn close(&self) {
        self.handle.close();
    }

    /// Waits until some relay has everything of which a receipt was given, or the time is over; says whether one
    /// has. Without an endpoint, at level `local`, that is more than a receipt says; everywhere else nothing has to
    /// be waited for.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let shared = &self.handle.shared;
        let Some((epoch, i)) = shared.posted.as_ref().and_then(Mark::get) else { return true };
        let mut delivered = shared.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        while delivered.floor() < Some(Point { epoch, i }) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = shared.delivered_changed.wait_timeout(delivered, left);
            delivered = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// What relays have of what is kept here for them; nothing for a publisher with an endpoint, or at `memory`.
    pub fn delivered(&self) -> Option<Delivered> {
        let shared = &self.handle.shared;
        shared.posted.as_ref()?;
        Some(shared.delivered.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Who publishes.
    pub fn identity(&self) -> &Identity {
        &self.handle.shared.identity
    }

    /// The stream.
    pub fn stream(&self) -> StreamName {
        self.handle.shared.position().0
    }

    /// What receipts promise.
    pub fn level(&self) -> Level {
        self.handle.shared.level
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.handle.shared.position().1
    }

    /// Whether messages go through relays, for want of an own endpoint.
    pub fn is_relayed(&self) -> bool {
        self.handle.shared.relayed
    }

    /// The counters.
    pub fn metrics(&self) -> PublisherMetrics {
        let shared = &self.handle.shared;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let subscribers = *shared.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        PublisherMetrics {
            published: read(&shared.counts.published),
            refused: read(&shared.counts.refused),
            dropped_tickets: read(&shared.counts.dropped_tickets),
            left_out: read(&shared.counts.left_out),
            renewed: read(&shared.counts.renewed),
            queued: shared.queue.len() as u64,
            subscribers: subscribers as u64,
            relays_up: read(&shared.counts.relays_up),
            waiting_for_copies: shared.copying.as_ref().map_or(0, |copying| copying.waiting()),
            short_of_copies: read(&shared.counts.short_of_copies),
            is_short_of_copies: shared.is_short_of_copies(),
            journal: *shared.journal.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn check(&self, draft: Draft) -> Result<Checked, PublishError> {
        let shared = &self.handle.shared;
        if std::process::id() != shared.pid {
            return Err(PublishError::Forked);
        }
        let config = shared.config();
        let fresh_id = || format!("{}-{}", Clock::wall().year(), Uuid::new_v4());
        Ok(seal::check(draft, &shared.identity, &config.trust, fresh_id)?)
    }

    /// Wakes the writer for what was just pushed: for the first message, so that it knows that there is
    /// something to seal, and when a tree is full. What comes in between it finds by itself in time.
    fn pushed(&self, pushed: Result<usize, PublishError>) -> Result<(), PublishError> {
        let shared = &self.handle.shared;
        match pushed? {
            1 if !shared.writer_looks.load(Ordering::SeqCst) => shared.waker.wake(),
            TREE_LEAVES_MAX => shared.waker.wake(),
            _ => {}
        }
        Ok(())
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publisher({})", self.stream())
    }
}

impl Handle {
    fn close(&self) {
        if std::process::id() != self.shared.pid {
            return;
        }
        self.shared.queue.close();
        self.shared.waker.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(identity = %self.shared.identity, "the writer of a publisher panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_config(&self, config: Arc<Config>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn position(&self) -> (StreamName, Epoch) {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_epoch(&self, epoch: Epoch) {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).1 = epoch;
    }

    /// This is what relays have.
    #[cfg(feature = "net")]
    fn handed_over(&self, delivered: Delivered) {
        let mut known = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != delivered {
            *known = delivered;
            self.delivered_changed.notify_all();
        }
    }

    fn receipt(&self, epoch: Epoch, i: u64, msg_id: String, relay: Option<Identity>) -> Receipt {
        let stream = self.position().0;
        Receipt { stream, epoch, i, msg_id, level: self.level, relay, copies: Vec::new() }
    }

    /// Whether there is room for more messages that wait for copies.
    fn has_room_for_copies(&self) -> bool {
        self.copying.as_ref().is_none_or(Handover::has_room)
    }

    /// Whether messages have fewer copies than promised.
    fn is_short_of_copies(&self) -> bool {
        self.copying.as_ref().is_some_and(Handover::is_short)
    }

    /// What a heartbeat says of the publisher that is like this, where copies are missing.
    fn state_with_copies(&self, state: State) -> State {
        match state {
            State::Open if self.is_short_of_copies() => State::Degraded,
            state => state,
        }
    }

    /// Gives a caller the answer; counts those that nobody waits for.
    fn answer(&self, answer: Answer, result: Result<Receipt, PublishError>) {
        if answer.send(result).is_err() {
            self.counts.dropped_tickets.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn subscribers_changed(&self, joined: usize, left: usize) {
        let mut present = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        *present = (*present + joined).saturating_sub(left);
        self.subscribers_changed.notify_all();
    }
}
