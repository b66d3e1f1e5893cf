//! One SQLite file for all consumers of a host.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, TransactionBehavior, ffi};

use super::row::{Cell, Row, Value};
use super::schema::{self, Dialect};
use super::store::SqlStore;
use super::{Access, Database, Statements};
use crate::consumer::StoreError;
use crate::limits::{STORE_BYTES_MAX, STORE_WAIT_MS};

/// A store in a file of this host, usually `consumers.db` in the folder of state, with all consumers of the
/// host in it. Any number of processes may use it at once.
///
/// What was answered is on the disk (write-ahead log, synced with each transaction). After an error of any
/// kind the store can be used again as soon as its cause is gone. The file is readable by its owner alone: it
/// holds whole messages, where some could not be handled. It must not be on a network file system.
pub type SqliteStore = SqlStore<SqliteFile>;

/// How a file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteSettings {
    /// How long a call waits for other processes, in milliseconds.
    pub wait_ms: u64,
    /// Largest size of the file, in bytes: beyond it calls fail with [`StoreError::DiskFull`].
    pub bytes_max: u64,
}

impl Default for SqliteSettings {
    fn default() -> SqliteSettings {
        SqliteSettings { wait_ms: STORE_WAIT_MS, bytes_max: STORE_BYTES_MAX }
    }
}

impl SqliteStore {
    /// Opens the store in this file; makes the file, and its folder, when there is none.
    pub fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        SqliteStore::open_with(path, SqliteSettings::default())
    }

    /// The same with other settings.
    pub fn open_with(path: &Path, settings: SqliteSettings) -> Result<SqliteStore, StoreError> {
        let place = Place::new(path, settings.wait_ms);
        let mut file = SqliteFile { place, settings, open: None };
        file.open = Some(file.connect()?);
        Ok(SqlStore::over(file))
    }
}

const DIALECT: Dialect = Dialect {
    int: "INTEGER",
    text: "TEXT",
    bytes: "BLOB",
    table: "STRICT",
    exists: "SELECT count(*) FROM sqlite_schema WHERE name = 'fedmsg_store'",
};

/// Bytes of a page: SQLite's default, and what its bound on the size of a file counts in.
const PAGE_BYTES: u64 = 4_096;
/// The write-ahead log is cut back to this size after a large transaction.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// Statements that stay prepared.
const STATEMENTS_MAX: usize = 64;

/// A file, and what errors mean that SQLite gives about it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    path: PathBuf,
    name: Arc<str>,
    wait_ms: u64,
}

/// The file, and the connection to it while there is one.
pub struct SqliteFile {
    place: Place,
    settings: SqliteSettings,
    open: Option<Open>,
}

struct Open {
    connection: Connection,
    /// Device and number of the file that was opened.
    file: (u64, u64),
}

impl fmt::Debug for SqliteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteFile").field("path", &self.place.path).finish_non_exhaustive()
    }
}

impl SqliteFile {
    /// The connection, made again after an error, or when the file under the path is another one than before:
    /// what is written into a file that was moved away would be lost.
    fn connect(&mut self) -> Result<Open, StoreError> {
        let there = identify(&self.place.path).ok();
        match self.open.take().filter(|open| Some(open.file) == there) {
            Some(open) => Ok(open),
            None => self.make_connection(there.is_some()),
        }
    }

    fn make_connection(&self, exists: bool) -> Result<Open, StoreError> {
        if !exists {
            self.make_file().map_err(|error| self.disk(&error))?;
        }
        let file = identify(&self.place.path).map_err(|error| self.disk(&error))?;
        let connection = self.connection_to(&self.place.path);
        let mut connection = connection.map_err(|error| self.place.fault(&error))?;
        self.migrate(&mut connection)?;
        Ok(Open { connection, file })
    }

    /// A new file appears under its name when it is complete, with its mode and its log, so that no process
    /// sees half of one. (To open and close the final file for its mode would drop SQLite's locks on it.)
    fn make_file(&self) -> io::Result<()> {
        let folder = self.place.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        make_folder(folder)?;
        let new = folder.join(format!(".consumers-{}.new", uuid::Uuid::new_v4().simple()));
        drop(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?);
        let made = self.connection_to(&new).and_then(|file| file.close().map_err(|(_, e)| e));
        let linked = made
            .map_err(io::Error::other)
            .and_then(|()| std::fs::hard_link(&new, &self.place.path));
        std::fs::remove_file(&new)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        File::open(folder)?.sync_all()
    }

    fn connection_to(&self, path: &Path) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let connection = Connection::open_with_flags(path, flags)?;
        // SQLite would go on with a file that it can only read, and leave a log and an index beside it that
        // nobody can write either, when the file can be written again.
        if connection.is_readonly("main")? {
            return Err(rusqlite::Error::SqliteFailure(
                ffi::Error::new(ffi::SQLITE_READONLY),
                None,
            ));
        }
        connection.busy_timeout(Duration::from_millis(self.settings.wait_ms))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        // In the log by default already, so this needs no lock: only a copy made by hand may have lost it.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX as i64)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        let pages = (self.settings.bytes_max / PAGE_BYTES).clamp(1, u64::from(u32::MAX - 1));
        connection.pragma_update(None, "max_page_count", pages as i64)?;
        Ok(connection)
    }

    fn migrate(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let current = self.run(connection, TransactionBehavior::Deferred, |to| {
            schema::is_current(to, &DIALECT)
        })?;
        if current {
            return Ok(());
        }
        self.run(connection, TransactionBehavior::Immediate, |to| schema::migrate(to, &DIALECT))
    }

    fn run<T>(
        &self,
        connection: &mut Connection,
        behavior: TransactionBehavior,
        work: impl FnOnce(&mut dyn Statements) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = connection.transaction_with_behavior(behavior);
        let transaction = transaction.map_err(|error| self.place.fault(&error))?;
        // Dropped without a commit, it is rolled back.
        let done = work(&mut Within { connection: &transaction, place: &self.place })?;
        transaction.commit().map_err(|error| self.place.fault(&error))?;
        Ok(done)
    }

    fn disk(&self, error: &io::Error) -> StoreError {
        let (place, detail) = (self.place.name.to_string(), error.to_string());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::DiskFull { place, detail }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreError::ReadOnly { place, detail }
            }
            _ => StoreError::Unavailable { place, detail },
        }
    }
}

impl Place {
    pub(crate) fn new(path: &Path, wait_ms: u64) -> Place {
        Place { path: path.into(), name: path.display().to_string().into(), wait_ms }
    }

    /// What this error means.
    pub(crate) fn fault(&self, error: &rusqlite::Error) -> StoreError {
        let (place, detail) = (self.name.to_string(), error.to_string());
        let rusqlite::Error::SqliteFailure(failure, _) = error else {
            // A value or a statement that does not fit the tables: they are not those of the version.
            return StoreError::Damaged { place, detail };
        };
        match failure.code {
            ErrorCode::DiskFull => StoreError::DiskFull { place, detail },
            ErrorCode::SystemIoFailure if failure.extended_code == SHARED_MEMORY_SIZE => {
                StoreError::DiskFull { place, detail }
            }
            ErrorCode::ReadOnly => StoreError::ReadOnly { place, detail },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                StoreError::Busy { place, waited_ms: self.wait_ms }
            }
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied
                if rustix::fs::access(&self.path, rustix::fs::Access::WRITE_OK).is_err() =>
            {
                StoreError::ReadOnly { place, detail }
            }
            ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory => StoreError::Unavailable { place, detail },
            _ => StoreError::Damaged { place, detail },
        }
    }
}

/// SQLITE_IOERR_SHMSIZE: there was no room for the index of the log.
const SHARED_MEMORY_SIZE: i32 = 10 | (19 << 8);

/// Makes a folder and those above it, on the disk, too.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("."));
    make_folder(above)?;
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(above)?.sync_all(),
    }
}

pub(crate) fn identify(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Database for SqliteFile {
    fn transaction<T>(
        &mut self,
        access: Access<'_>,
        work: impl FnOnce(&mut dyn Statements) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut open = self.connect()?;
        // SQLite has one writer at a time: to be it from the start is to never fail half-way.
        let behavior = match access {
            Access::Read => TransactionBehavior::Deferred,
            Access::Write(_) => TransactionBehavior::Immediate,
        };
        let done = self.run(&mut open.connection, behavior, work);
        let keep = !matches!(
            done,
            Err(StoreError::Damaged { .. }
                | StoreError::ReadOnly { .. }
                | StoreError::Unavailable { .. }
                | StoreError::Newer { .. })
        );
        self.open = keep.then_some(open);
        done
    }
}

/// A transaction that is under way.
pub(crate) struct Within<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) place: &'a Place,
}

impl Statements for Within<'_> {
    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let changed = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(rusqlite::params_from_iter(values)));
        changed.map(|rows| rows as u64).map_err(|error| self.place.fault(&error))
    }

    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let place = &self.place.name;
        let rows = self.connection.prepare_cached(sql).and_then(|mut statement| {
            let columns = statement.column_count();
            let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
                let cells = (0..columns).map(|at| row.get_ref(at).map(cell));
                Ok(Row::new(cells.collect::<rusqlite::Result<_>>()?, place.clone()))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.map_err(|error| self.place.fault(&error))
    }

    fn place(&self) -> &str {
        &self.place.name
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        // No table has such a column: shown as what it is, and refused by whoever expects something else.
        ValueRef::Real(number) => Cell::Text(number.to_string()),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.into()),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Cell::Text(text.into()),
            Err(_) => Cell::Bytes(bytes.into()),
        },
    }
}
