//! The outbox in the SQLite file of an application.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{OpenFlags, TransactionBehavior};

use super::connection::{Access, Connection, Work};
use super::error::OutboxTableError;
use super::schema::{self, Dialect, SQLITE_SCHEMA};
use crate::consumer::StoreError;
use crate::consumer::sql::sqlite::{Place, Within, identify};
use crate::limits::STORE_WAIT_MS;

const DIALECT: Dialect = Dialect {
    steps: &[SQLITE_SCHEMA],
    exists: "SELECT count(*) FROM sqlite_schema WHERE name = 'fedmsg_outbox_version'",
    bytes: "octet_length(topic) + octet_length(body) + coalesce(octet_length(headers), 0)
        + octet_length(msg_id) + coalesce(octet_length(username), 0)",
    // Whatever an application put there: columns of SQLite take values of any type.
    message: "CAST(msg_id AS TEXT), CAST(topic AS TEXT), CAST(body AS TEXT), CAST(headers AS TEXT),
        CAST(username AS TEXT)",
    among: "id IN (SELECT value FROM json_each('[' || ?1 || ']'))",
    named: "CAST(msg_id AS TEXT) IN (SELECT value FROM json_each(?2))",
};

/// A connection of its own to the file. The application's settings (journal mode, sizes) are left as they are.
pub(super) struct SqliteTable {
    /// Without symbolic links: all processes must come to the same lock.
    path: PathBuf,
    place: Place,
    open: Option<Open>,
    /// A lock of the operating system: it goes with its process, however that ends, needs no clock, and keeps
    /// nobody from writing into the database.
    lock: Option<File>,
}

struct Open {
    connection: rusqlite::Connection,
    /// Device and number of the file that was opened.
    file: (u64, u64),
}

impl SqliteTable {
    pub(super) fn open(path: &Path) -> Result<SqliteTable, OutboxTableError> {
        let path = std::fs::canonicalize(path)
            .map_err(|_| OutboxTableError::NoDatabase(path.to_owned()))?;
        let place = Place::new(&path, STORE_WAIT_MS);
        let mut table = SqliteTable { path, place, open: None, lock: None };
        table.open = Some(table.connect()?);
        Ok(table)
    }

    /// The connection, made again after an error, or when the file under the path is another one than before.
    fn connect(&mut self) -> Result<Open, OutboxTableError> {
        let there = identify(&self.path);
        let there = there.map_err(|_| OutboxTableError::NoDatabase(self.path.clone()))?;
        if let Some(open) = self.open.take().filter(|open| open.file == there) {
            return Ok(open);
        }
        let fault = |error: rusqlite::Error| self.place.fault(&error);
        let mut connection = connection_to(&self.path).map_err(fault)?;
        let dialect = &DIALECT;
        let version = |connection: &rusqlite::Connection| {
            schema::version(&mut Within { connection, place: &self.place }, dialect)
        };
        if !schema::missing(dialect, version(&connection)?).is_empty() {
            let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
            let transaction = begun.map_err(fault)?;
            // Another process may have made them meanwhile.
            for step in schema::missing(dialect, version(&transaction)?) {
                transaction.execute_batch(step).map_err(fault)?;
            }
            transaction.commit().map_err(fault)?;
        }
        Ok(Open { connection, file: there })
    }

    fn run(&self, open: &mut Open, access: Access, work: &mut Work<'_>) -> Result<(), StoreError> {
        let behavior = match access {
            Access::Read => TransactionBehavior::Deferred,
            Access::Write => TransactionBehavior::Immediate,
        };
        let fault = |error: rusqlite::Error| self.place.fault(&error);
        let transaction = open.connection.transaction_with_behavior(behavior).map_err(fault)?;
        // Dropped without a commit, it is rolled back.
        work(&mut Within { connection: &transaction, place: &self.place })?;
        transaction.commit().map_err(fault)
    }

    /// Beside the database, and never the database itself: to open and close that one by other means than SQLite
    /// would drop SQLite's own locks on it.
    fn lock_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push("-fedmsg-outbox");
        name.into()
    }
}

fn connection_to(path: &Path) -> rusqlite::Result<rusqlite::Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(STORE_WAIT_MS))?;
    // What is offered to a publisher is on the disk by then, also where the application does not sync each of its
    // commits (`NORMAL`): nothing is published that a power cut could take back.
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

impl Connection for SqliteTable {
    fn transaction(&mut self, access: Access, work: &mut Work<'_>) -> Result<(), OutboxTableError> {
        let mut open = self.connect()?;
        let done = self.run(&mut open, access, work);
        // Who waited for another process in vain can go on with the same connection.
        let keep = matches!(done, Ok(()) | Err(StoreError::Busy { .. }));
        self.open = keep.then_some(open);
        Ok(done?)
    }

    fn try_lock(&mut self) -> Result<bool, OutboxTableError> {
        if self.lock.is_some() {
            return Ok(true);
        }
        let path = self.lock_path();
        let fails = |error| OutboxTableError::Lock { path: path.clone(), error };
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(fails)?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(fails(error)),
        }
        Ok(self.lock.is_some())
    }

    fn unlock(&mut self) {
        self.lock = None;
    }

    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }
}
