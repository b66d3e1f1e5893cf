//! Where durable consumers keep what they have done: their cursors, what was refused but may be cured, and
//! what could not be handled.
//!
//! A durable consumer has a name, and one owner at a time. The owner *claims* it and gets a [`Fence`], which
//! every write carries: when another one took over in the meantime, because the lease ran out while the
//! process stood still, the write fails and nothing is changed.
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use fedmsg::consumer::{ConsumerName, CursorStore, SqliteStore, Start};
//! use fedmsg::timestamp::Timestamp;
//!
//! # let folder = std::env::temp_dir().join(format!("fedmsg-doc-{}", std::process::id()));
//! let now = Timestamp::from_millis(1_790_000_000_000);
//! let mut store = SqliteStore::open(&folder.join("consumers.db"))?;
//! let badges = ConsumerName::parse("badges").expect("a name");
//! let claimed = store.claim(&badges, "host1 4711", Start::New, now, 30_000)?;
//! assert!(store.load(&badges)?.is_empty());
//! store.release(&claimed.fence)?;
//! # std::fs::remove_dir_all(folder).expect("removed");
//! # }
//! # Ok::<(), fedmsg::consumer::StoreError>(())
//! ```
//!
//! Each call is one transaction: what was answered with `Ok` is on the disk, what failed changed nothing. All
//! changes may be asked for again. The stores are `SqliteStore` (a file of this host; feature `sqlite`),
//! `PostgresStore` (a server, for consumers that move between hosts; feature `postgres`), and [`crate::testing::MemoryStore`] for tests.

mod address;
pub(crate) mod check;
mod error;
mod name;
mod rows;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) mod sql;
mod start;

pub(crate) use address::without_password;
pub use address::{StoreAddress, StoreAddressError};
pub use error::StoreError;
pub use name::{ConsumerName, ConsumerNameError};
pub use rows::{
    Bounds, Curable, Cursor, DeadLetter, Due, Failure, Lease, LetterFilter, Page, Position,
    Refusal, RefusalFilter, Refused, Retry, Summary,
};
#[cfg(feature = "postgres")]
pub use sql::postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sql::sqlite::{SqliteSettings, SqliteStore};
pub use start::{Start, StartError};

use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::merkle::Leaf;
use crate::timestamp::Timestamp;

/// The right to write for one consumer, until somebody takes it over. Numbers grow, and none is used twice in
/// a store, so a fence of a deleted consumer never fits a new one of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    consumer: ConsumerName,
    number: u64,
}

impl Fence {
    pub(crate) fn new(consumer: ConsumerName, number: u64) -> Fence {
        Fence { consumer, number }
    }

    /// Whose it is.
    pub fn consumer(&self) -> &ConsumerName {
        &self.consumer
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// A consumer that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// When the consumer was created: what [`Start::New`] counts from.
    pub created: Timestamp,
    /// Where it began; what it was created with counts, not what a later claim asks for.
    pub start: Start,
    /// For all writes.
    pub fence: Fence,
}

/// Where durable consumers keep what they have done. Time is always an argument, in milliseconds of the wall
/// clock; hosts that share a store need clocks that differ by less than a lease.
///
/// The calls block, for at most about [`crate::limits::STORE_WAIT_MS`] when another process is in the way.
/// `PostgresStore` must not be called from within a tokio runtime.
///
/// Calls that take a [`Fence`] are for the owner. Those with a [`ConsumerName`] are for people: they look, or
/// refuse with [`StoreError::Held`] while somebody runs the consumer; the exceptions are said.
pub trait CursorStore: Send {
    /// Takes a consumer for `lease_ms` (at most 600,000; 0 counts as 1), and creates it when there is none of this name. The
    /// same owner may take it again, anybody else when nobody has it or the lease has ended. `owner` is for
    /// people and should be different for each process, such as host and process id.
    fn claim(
        &mut self,
        consumer: &ConsumerName,
        owner: &str,
        start: Start,
        now: Timestamp,
        lease_ms: u64,
    ) -> Result<Claimed, StoreError>;

    /// Prolongs the lease by its length, from now on; says when it ends. Also one that has ended, as long as
    /// nobody else took the consumer.
    fn renew(&mut self, fence: &Fence, now: Timestamp) -> Result<Timestamp, StoreError>;

    /// Gives the consumer back: nothing can be written with this fence any more.
    fn release(&mut self, fence: &Fence) -> Result<(), StoreError>;

    /// All cursors of a consumer, in order of the streams. Also while somebody runs it.
    fn load(&mut self, consumer: &ConsumerName) -> Result<Vec<Cursor>, StoreError>;

    /// Moves cursors to these positions, at most 1,024 in one call, and says how many were moved. A number
    /// that is not higher than the one that is known in the same epoch moves nothing (but adds a leaf that was
    /// missing); another epoch always counts: which one follows which, only the streams know.
    fn advance(
        &mut self,
        fence: &Fence,
        cursors: &[Advance],
        now: Timestamp,
    ) -> Result<usize, StoreError>;

    /// Forgets the cursors of these streams, at most 1,024 in one call, where they were not moved since that time and
    /// neither refused nor failed messages of the stream wait. Says which ones it forgot.
    fn forget(
        &mut self,
        fence: &Fence,
        streams: &[StreamName],
        unmoved_since: Timestamp,
    ) -> Result<Vec<StreamName>, StoreError>;

    /// Writes curable refusals down, at most 1,024 in one call; for one that is there already, counts, and
    /// keeps the newest reason. Says how many found no room: these are counted at the consumer.
    fn refuse(
        &mut self,
        fence: &Fence,
        refused: &[Refused],
        now: Timestamp,
    ) -> Result<usize, StoreError>;

    /// The refusals that fit, in order of their positions. Also while somebody runs the consumer.
    fn refusals(
        &mut self,
        consumer: &ConsumerName,
        filter: &RefusalFilter,
    ) -> Result<Vec<Refusal>, StoreError>;

    /// Strikes refusals out, whose messages have been handled or were found to be void; says how many there
    /// were. At most 1,024 in one call.
    fn cured(&mut self, fence: &Fence, positions: &[Position]) -> Result<usize, StoreError>;

    /// Keeps a message that failed, to be tried again at `next_at`, or writes down that it failed again. With
    /// [`StoreError::Full`] too many wait already: the consumer has to stop in front of this message.
    fn failed(
        &mut self,
        fence: &Fence,
        failure: &Failure,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// What is to be tried again now. Stays until it has succeeded, fails again or is given up. Also while
    /// somebody runs the consumer.
    fn due(&mut self, consumer: &ConsumerName, now: Timestamp) -> Result<Due, StoreError>;

    /// Failed messages that were handled after all; says how many were waiting. At most 1,024 in one call.
    fn succeeded(&mut self, fence: &Fence, positions: &[Position]) -> Result<usize, StoreError>;

    /// Gives a message up: it is tried no more and kept as a dead letter, whose number is returned. It need
    /// not have waited for another try before. When there are too many, the oldest one falls out, and is
    /// counted.
    fn dead(&mut self, fence: &Fence, failure: &Failure, now: Timestamp)
    -> Result<u64, StoreError>;

    /// A page of the dead letters that fit, in order of their numbers; an empty one is the end. Also while
    /// somebody runs the consumer.
    fn dead_letters(
        &mut self,
        consumer: &ConsumerName,
        filter: &LetterFilter,
        page: Page,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// Has these dead letters tried again, from the first attempt on; says how many there were. At most 1,024
    /// in one call. Also while somebody runs the consumer, who then finds them among what is due.
    fn retry(
        &mut self,
        consumer: &ConsumerName,
        letters: &[u64],
        now: Timestamp,
    ) -> Result<usize, StoreError>;

    /// Throws these dead letters away; says how many there were. At most 1,024 in one call. Also while
    /// somebody runs the consumer.
    fn discard(&mut self, consumer: &ConsumerName, letters: &[u64]) -> Result<usize, StoreError>;

    /// All consumers of the store, in order of their names. Also while they are run.
    fn consumers(&mut self) -> Result<Vec<Summary>, StoreError>;

    /// One consumer. Also while somebody runs it.
    fn show(&mut self, consumer: &ConsumerName) -> Result<Summary, StoreError>;

    /// Puts the cursor of one stream here, backwards, too: `i` is done, the next one is not. Whoever ran the
    /// consumer with a lease that has ended cannot write any more.
    fn seek(
        &mut self,
        consumer: &ConsumerName,
        stream: &StreamName,
        epoch: Epoch,
        i: u64,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Passes over so many messages of a stream, and returns where the cursor is then. Fences like
    /// [`CursorStore::seek`].
    fn skip(
        &mut self,
        consumer: &ConsumerName,
        stream: &StreamName,
        count: u64,
        now: Timestamp,
    ) -> Result<Cursor, StoreError>;

    /// Forgets a consumer and everything that is kept for it.
    fn delete(&mut self, consumer: &ConsumerName, now: Timestamp) -> Result<(), StoreError>;

    /// Takes the consumer away from whoever runs it, whatever the lease says, and says who that was: for an
    /// owner that is known to be gone, or whose clock was wrong. It cannot write any more.
    fn evict(&mut self, consumer: &ConsumerName) -> Result<Option<Lease>, StoreError>;
}

/// What a cursor is to be moved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// All up to here is done.
    pub position: Position,
    /// The leaf of the record there, if it is known.
    pub leaf: Option<Leaf>,
}
