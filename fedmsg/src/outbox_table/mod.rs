//! Publishing out of an application's own database transaction: a row for each message, put into a table by plain SQL.
//!
//! An application that changes its database and publishes what it changed can do neither first: what it publishes
//! before it commits may never become true, and a crash after the commit takes the message away. So it inserts a row
//! into the table `fedmsg_outbox` in the same transaction, and an [`OutboxTable`] in the same or in another process
//! publishes what is committed, and removes it.
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")] {
//! use fedmsg::consumer::StoreAddress;
//! use fedmsg::outbox_table::{OutboxRows, OutboxTable};
//! use fedmsg::Publisher;
//!
//! let mut shop = rusqlite::Connection::open("/var/lib/shop/shop.db")?;
//! shop.execute_batch("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT)")?;
//! let address = StoreAddress::parse("sqlite:///var/lib/shop/shop.db")?;
//! // Makes fedmsg_outbox, where it is not there.
//! let outbox = OutboxTable::start(&address, Publisher::new()?)?;
//!
//! let order = shop.transaction()?;
//! order.execute("INSERT INTO orders (item) VALUES ('kettle')", [])?;
//! order.execute(
//!     "INSERT INTO fedmsg_outbox (topic, body) VALUES ('shop.order.create', json_object('item', 'kettle'))",
//!     [],
//! )?;
//! order.commit()?;
//! outbox.wake(); // Or nothing: the table is looked into five times a second.
//!
//! for row in OutboxRows::open(&address)?.set_aside(None, 100)? {
//!     println!("{} cannot be published: {}", row.topic, row.why);
//! }
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is promised, and what not, is in `docs/outbox-table.md`; `examples/outbox_table.rs` is an application that can
//! be killed at every step.

mod connection;
mod error;
mod journals;
#[cfg(feature = "postgres")]
mod postgres;
mod pump;
mod rows;
mod schema;
mod shared;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use error::OutboxTableError;
pub use rows::{OutboxCounts, OutboxRows, SetAside};
pub use schema::{POSTGRES_SCHEMA, SQLITE_SCHEMA};

use crate::consumer::StoreAddress;
use crate::limits::OUTBOX_TABLE_POLL_MS;
use crate::publisher::Publisher;
use crate::record::Level;
use crate::timestamp::Timestamp;
use pump::Pump;
use shared::Shared;

/// A thread that publishes the rows of a table of an application's database, in the order of their numbers, and removes
/// each when there is a receipt for it.
///
/// Of all processes that have one on the same table one publishes; the others wait, and one of them takes over when it
/// ends, however it ends. To drop it ends it: what was offered to the publisher is waited for, what waits in the table
/// stays there. The publisher stays usable.
pub struct OutboxTable {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Settings of an [`OutboxTable`].
#[must_use]
pub struct OutboxTableBuilder {
    address: StoreAddress,
    publisher: Publisher,
    poll: Duration,
    step: Box<dyn Fn(Step) + Send>,
}

/// What an [`OutboxTable`] does with each batch, and has just done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// It is on the disk of the database that the rows are offered to the publisher.
    Offered,
    /// The publisher has given a receipt for each row, or said why there is none.
    Published,
    /// Published rows are removed, and others set aside.
    Settled,
}

/// Counters of an [`OutboxTable`] since it was started, and how the table is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxTableMetrics {
    /// Rows for which the publisher gave a receipt.
    pub published: u64,
    /// Rows that were found in the journal of a process that ended between a receipt and the removal of the row.
    pub found: u64,
    /// Rows that were offered to a process of another host, or one whose journal cannot be read, and were taken back:
    /// readers may see them twice, by the same `msg_id`.
    pub doubtful: u64,
    /// Rows that were set aside.
    pub refused: u64,
    /// How often the database or the publisher failed.
    pub failures: u64,
    /// What is wrong now, in words.
    pub failing: Option<String>,
    /// Whether this is the one that publishes.
    pub is_owner: bool,
    /// Rows that wait, as they were last counted: at most once a second, and not beyond 100,000.
    pub waiting: u64,
    /// When the first of them was put there.
    pub oldest: Option<Timestamp>,
    /// Rows that are set aside, as they were last counted.
    pub set_aside: u64,
}

impl OutboxTable {
    /// Begins to publish what is in the table of this database; makes the table where there is none.
    ///
    /// Connects at once, so that what is wrong is said here; what fails later is tried again, from 0.1 to 5 s apart,
    /// said once in the log, and shown by [`metrics`](Self::metrics). Blocks; for a server not to be called from within
    /// a tokio runtime.
    pub fn start(
        address: &StoreAddress,
        publisher: Publisher,
    ) -> Result<OutboxTable, OutboxTableError> {
        OutboxTable::builder(address, publisher).start()
    }

    /// The same with settings.
    pub fn builder(address: &StoreAddress, publisher: Publisher) -> OutboxTableBuilder {
        OutboxTableBuilder {
            address: address.clone(),
            publisher,
            poll: Duration::from_millis(OUTBOX_TABLE_POLL_MS),
            step: Box::new(|_| {}),
        }
    }

    /// Looks into the table now: for an application that has just committed rows. Returns at once.
    pub fn wake(&self) {
        self.shared.wake();
    }

    /// Waits until every row that is committed now is published or set aside, or the time is over; says whether they
    /// are. Where another process is the one that publishes, that is never so.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.shared.flush(timeout)
    }

    /// The counters, and how the table is.
    pub fn metrics(&self) -> OutboxTableMetrics {
        self.shared.lock().metrics.clone()
    }

    /// Ends it: waits for what was offered, at most half a minute, and lets another process publish. To call it again
    /// does nothing.
    pub fn close(&self) {
        self.shared.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of an outbox table panicked");
        }
    }
}

impl Drop for OutboxTable {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for OutboxTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboxTable").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

impl OutboxTableBuilder {
    /// How often the table is looked into when nobody calls [`OutboxTable::wake`]: 200 ms unless it is set, 1 ms at
    /// least.
    pub fn poll_every(mut self, poll: Duration) -> Self {
        self.poll = poll.max(Duration::from_millis(1));
        self
    }

    /// Is called by the thread after each step: for tests of what a crash just then leaves behind.
    pub fn after_each_step(mut self, step: impl Fn(Step) + Send + 'static) -> Self {
        self.step = Box::new(step);
        self
    }

    /// Connects and starts the thread. See [`OutboxTable::start`].
    pub fn start(self) -> Result<OutboxTable, OutboxTableError> {
        let OutboxTableBuilder { address, publisher, poll, step } = self;
        if publisher.level() == Level::Memory {
            return Err(OutboxTableError::NotKept);
        }
        let connection = connection::open(&address)?;
        let shared = Arc::new(Shared::default());
        let pump = Pump::new(Arc::clone(&shared), connection, publisher, poll, step);
        let thread = std::thread::Builder::new().name("fedmsg-outbox-table".into());
        let thread = thread.spawn(move || pump.run()).map_err(OutboxTableError::Thread)?;
        Ok(OutboxTable { shared, thread: Mutex::new(Some(thread)) })
    }
}
