//! Durable consumers: they have a name, and go on where they were, whatever is restarted.
//!
//! ```no_run
//! use fedmsg::Subscriber;
//!
//! # fn handle(_: &fedmsg::Message) -> Result<(), std::fmt::Error> { Ok(()) }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let badges = Subscriber::durable("badges").patterns(&["bodhi.update"]).build()?;
//! for delivery in badges.deliveries() {
//!     match handle(&delivery) {
//!         Ok(()) => delivery.ack(),
//!         Err(error) => delivery.fail(error),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The layout: `build` is where one begins; `keeper` is the thread that owns the store, `claim` how it comes to be
//! the only one, `owner` what it calls itself, `again` what it hands out again, `forget` what it
//! keeps no longer; `intake` is the thread between the reader and whoever takes
//! deliveries; `shared` is what they have together. What is done is decided in `progress`, outside of this folder.

mod again;
mod build;
mod claim;
mod delivery;
mod forget;
mod intake;
mod keeper;
mod owner;
mod shared;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::shared::Shared;
use crate::consumer::{ConsumerName, ConsumerNameError, StoreError};
use crate::event::Event;
use crate::identity::StreamName;
pub use crate::progress::Retrying;
use crate::subscriber::{SubscribeError, Subscriber, SubscriberMetrics};
use crate::timestamp::Timestamp;

pub use build::DurableBuilder;
pub use delivery::Delivery;

/// A durable consumer at work: every message that it wants reaches it at least once, across restarts of
/// anything.
///
/// Messages of a stream come in their order, except for those that failed: while one waits for another try, later
/// ones go on. What was handed out and not [acked](Delivery::ack) when the process ended comes again. How far it
/// is stands in the [store](crate::consumer::CursorStore) of the configuration.
///
/// Threads use [`deliveries`](Durable::deliveries), [`recv`](Durable::recv) or [`events`](Durable::events), any
/// number of them; tasks use it as a `Stream` of events, which ends when it is closed. Dropping it writes down what was
/// answered, which waits for the store, and gives the name back: in a task that is work for a thread that may block,
/// such as tokio's `spawn_blocking`. So is [`build`](DurableBuilder::build).
pub struct Durable {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What a durable consumer hands out.
#[derive(Debug)]
#[non_exhaustive]
pub enum DurableEvent {
    /// A message, to be answered.
    Delivery(Delivery),
    /// What a reader has to say beside messages: losses, forks, refusals, endpoints, the configuration.
    Bus(Event),
    /// Somebody else runs the consumer: this one waits until it is free. Said once, with who that is.
    Standby(StoreError),
    /// The consumer is run here from now on; when it was created.
    Claimed(Timestamp),
    /// What was done cannot be kept as it should be. Said once, until it works again.
    Trouble(Trouble),
    /// The consumer is run by somebody else from now on, or was moved by hand; or a standby could not take over.
    /// This is the last event.
    Ended(DurableError),
}

/// What is in the way of keeping what was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The store fails; it is tried again. Deliveries go on up to the bound on what is not written down, and
    /// nothing is passed over.
    #[error("what consumer {consumer} has done cannot be written down, it is tried again: {error}")]
    Store {
        /// The consumer.
        consumer: ConsumerName,
        /// What the store says.
        error: StoreError,
    },
    /// Too many messages wait for another try: nothing new is handed out until some of them are handled or given
    /// up.
    #[error("consumer {consumer} stands still in front of a message that failed: {error}")]
    Full {
        /// The consumer.
        consumer: ConsumerName,
        /// What the store says.
        error: StoreError,
    },
    /// Refused messages found no room in the store: they will not come when their key or rule does.
    #[error(
        "consumer {consumer} has no room to remember {count} more refused messages: they do not come when they are \
         accepted; `fedmsg refused list {consumer}` shows what is missing"
    )]
    RefusalsDropped {
        /// The consumer.
        consumer: ConsumerName,
        /// How many.
        count: usize,
    },
    /// The store has no room for the cursor of another stream: after a restart it is taken from its beginning. That
    /// ends by itself when cursors can be forgotten: see [`DurableBuilder::forget_after`].
    #[error(
        "the cursor of {stream} cannot be kept, so that its messages come again after a restart: {error}"
    )]
    NoCursor {
        /// The stream.
        stream: StreamName,
        /// What the store says.
        error: StoreError,
    },
}

/// Why there is no durable consumer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// The name is wrong.
    #[error(transparent)]
    Name(#[from] ConsumerNameError),
    /// The store refuses, or cannot be used. [`StoreError::Held`] says who runs the consumer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to read with.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
}

/// Counters of a durable consumer since it was made, and how things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DurableMetrics {
    /// Messages that were handed out, each try once.
    pub delivered: u64,
    /// Those that were handed out because they had failed before.
    pub retried: u64,
    /// Those that were handed out because they had been refused before.
    pub late: u64,
    /// Messages that were handled.
    pub acked: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Messages that were given up.
    pub dead: u64,
    /// Messages that came again from the reader, and were not handed out again.
    pub repeated: u64,
    /// Refused messages that were written down.
    pub refused: u64,
    /// Refused messages that found no room.
    pub refusals_dropped: u64,
    /// Streams that have ended, whose cursors were forgotten.
    pub forgotten: u64,
    /// Messages that are handed out, or wait to be taken, and are not answered.
    pub in_flight: u64,
    /// Calls to the store that failed.
    pub store_failures: u64,
    /// How many messages its cursors are behind, for all streams together whose heads are known.
    pub lag: u64,
    /// Whether this process runs the consumer.
    pub is_owner: bool,
    /// The counters of its reader; none while it waits.
    pub reader: Option<SubscriberMetrics>,
}

impl Subscriber {
    /// A durable subscriber of this name: what it has done is kept, and it goes on there.
    pub fn durable(name: impl Into<String>) -> DurableBuilder {
        DurableBuilder::new(name.into())
    }
}

impl Durable {
    /// Its name.
    pub fn name(&self) -> &ConsumerName {
        &self.shared.name
    }

    /// The next event. Waits for it, at most so long if a time is given; `None` when the time is over, or at the
    /// end.
    pub fn recv(&self, timeout: Option<Duration>) -> Option<DurableEvent> {
        self.shared.out.take(timeout.map(|timeout| Instant::now() + timeout))
    }

    /// All events, until the end.
    pub fn events(&self) -> impl Iterator<Item = DurableEvent> + '_ {
        std::iter::from_fn(|| self.recv(None))
    }

    /// All messages, until the end. Losses, trouble and the rest are left out here, and logged.
    pub fn deliveries(&self) -> impl Iterator<Item = Delivery> + '_ {
        self.events().filter_map(|event| match event {
            DurableEvent::Delivery(delivery) => Some(delivery),
            _ => None,
        })
    }

    /// Waits until everything that was answered so far is in the store, at most so long. `false` when it is not.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.shared.flush(timeout)
    }

    /// Something that ends the handing out from another thread, such as one that handles signals. What was handed
    /// out can still be answered until this is dropped.
    pub fn closer(&self) -> DurableCloser {
        DurableCloser { shared: Arc::clone(&self.shared) }
    }

    /// The counters.
    pub fn metrics(&self) -> DurableMetrics {
        self.shared.metrics()
    }

    /// How many messages its cursor is behind in each stream whose head is known.
    pub fn lags(&self) -> Vec<(StreamName, u64)> {
        self.shared.lags()
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        self.shared.stop(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(consumer = %self.shared.name, "the thread of a durable consumer panicked");
        }
    }
}

impl futures_core::Stream for Durable {
    type Item = DurableEvent;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<DurableEvent>> {
        self.shared.out.poll_take(task)
    }
}

impl std::fmt::Debug for Durable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Durable")
            .field("name", self.name())
            .field("metrics", &self.metrics())
            .finish_non_exhaustive()
    }
}

/// Ends the handing out of a durable consumer. What nobody has taken comes again another time.
#[derive(Clone)]
pub struct DurableCloser {
    shared: Arc<Shared>,
}

impl DurableCloser {
    /// Ends it: whoever waits gets the end.
    pub fn close(&self) {
        self.shared.stop(false);
    }
}

impl std::fmt::Debug for DurableCloser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DurableCloser")
    }
}
