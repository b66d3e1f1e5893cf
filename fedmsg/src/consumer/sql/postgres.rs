//! One PostgreSQL server for consumers that move between hosts.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres::config::Host;
use postgres::error::SqlState;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, IsolationLevel, NoTls, Statement, Transaction};

use super::row::{Cell, Row, Value};
use super::schema::{self, Dialect};
use super::store::SqlStore;
use super::{Access, Database, Statements, only};
use crate::consumer::StoreError;
use crate::limits::STORE_WAIT_MS;

/// A store in a database of a PostgreSQL server, version 12 or later, for consumers that may run on any of
/// several hosts.
///
/// A lost connection is an error of the call that was under way, and is made again by the next one. There is
/// no TLS: use a socket of the host, or a network that is trusted. Connection poolers that give every
/// transaction another session do not fit. Must not be used from within a tokio runtime.
pub type PostgresStore = SqlStore<PostgresServer>;

impl PostgresStore {
    /// Opens the store in the database of this address, `postgres://USER:PASSWORD@HOST:PORT/DATABASE` or
    /// `host=… user=… dbname=…`; makes its tables, in the first schema of the search path, when there are none.
    pub fn connect(address: &str) -> Result<PostgresStore, StoreError> {
        let (config, place) = settings(address)?;
        let mut server = PostgresServer { config, place, open: None };
        server.open = Some(server.connection()?);
        Ok(SqlStore::over(server))
    }
}

/// What this address says, with times after which a server that vanished is given up; and the server in words.
pub(crate) fn settings(address: &str) -> Result<(Config, Arc<str>), StoreError> {
    let mut config: Config = address.parse().map_err(|_| StoreError::BadUrl)?;
    let wait = Duration::from_millis(STORE_WAIT_MS);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(wait);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(2 * wait);
    }
    // A server that vanished is noticed while an answer is waited for, too.
    config.keepalives_idle(wait).keepalives_interval(wait / 2).keepalives_retries(3);
    if config.get_application_name().is_none() {
        config.application_name("fedmsg");
    }
    let place = place(&config).into();
    Ok((config, place))
}

/// The server in words, without the password.
fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".into(),
    };
    let database = config.get_dbname().or(config.get_user()).unwrap_or("postgres");
    format!("PostgreSQL database `{database}` on {host}")
}

const DIALECT: Dialect = Dialect {
    int: "BIGINT",
    text: "TEXT COLLATE \"C\"",
    bytes: "BYTEA",
    table: "",
    exists: "SELECT count(*) FROM pg_class WHERE oid = to_regclass('fedmsg_store')",
};

/// A transaction that is left open, by a process that was stopped, ends by itself and lets others go on. An
/// answer means that the change is on the disk, whatever the server's default is.
pub(crate) const SESSION: &str = "SET lock_timeout = '5s'; SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '30s'; SET client_min_messages = 'warning';
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') = 'off'";

/// Lets one process at a time change what belongs to one consumer, also when there is no row of it yet.
const LOCK: &str = "SELECT count(pg_advisory_xact_lock(
    hashtextextended(current_schema() || '/fedmsg/' || ?1, 0)))";

/// The server, and the connection to it while there is one.
pub struct PostgresServer {
    config: Config,
    place: Arc<str>,
    open: Option<Open>,
}

struct Open {
    client: Client,
    /// Prepared once for each connection; as many as there are different ones in this module.
    statements: HashMap<String, Statement>,
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresServer").field("place", &self.place).finish_non_exhaustive()
    }
}

impl PostgresServer {
    fn connection(&mut self) -> Result<Open, StoreError> {
        match self.open.take().filter(|open| !open.client.is_closed()) {
            Some(open) => Ok(open),
            None => self.make_connection(),
        }
    }

    fn make_connection(&self) -> Result<Open, StoreError> {
        let mut client = self.config.connect(NoTls).map_err(|error| fault(&self.place, &error))?;
        client.batch_execute(SESSION).map_err(|error| fault(&self.place, &error))?;
        let mut open = Open { client, statements: HashMap::new() };
        let current = |to: &mut dyn Statements| schema::is_current(to, &DIALECT);
        if !self.run(&mut open, None, current)? {
            self.run(&mut open, Some("schema"), |to| schema::migrate(to, &DIALECT))?;
        }
        Ok(open)
    }

    /// Without a lock, it only reads.
    fn run<T>(
        &self,
        open: &mut Open,
        lock: Option<&str>,
        work: impl FnOnce(&mut dyn Statements) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let begin = open.client.build_transaction();
        // What is read after the lock must be what others wrote before they gave it back.
        let begin = match lock {
            Some(_) => begin.isolation_level(IsolationLevel::ReadCommitted).read_only(false),
            None => begin.isolation_level(IsolationLevel::RepeatableRead).read_only(true),
        };
        let transaction = begin.start().map_err(|error| fault(&self.place, &error))?;
        // Dropped without a commit, it is rolled back.
        let mut within =
            Within { transaction, statements: &mut open.statements, place: &self.place };
        if let Some(lock) = lock {
            only(&mut within, LOCK, &[lock.into()])?;
        }
        let done = work(&mut within)?;
        within.transaction.commit().map_err(|error| fault(&self.place, &error))?;
        Ok(done)
    }
}

/// What an error of this server means.
pub(crate) fn fault(place: &str, error: &postgres::Error) -> StoreError {
    let place = place.to_owned();
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    let Some(server) = error.as_db_error() else {
        return StoreError::Unavailable { place, detail: format!("{error}{cause}") };
    };
    let detail = server.message().to_owned();
    let code = server.code();
    let busy = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::QUERY_CANCELED,
    ];
    let denied = [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::INSUFFICIENT_PRIVILEGE];
    if *code == SqlState::DISK_FULL {
        StoreError::DiskFull { place, detail }
    } else if busy.contains(code) {
        StoreError::Busy { place, waited_ms: STORE_WAIT_MS }
    } else if denied.contains(code) {
        StoreError::ReadOnly { place, detail }
    } else if AWAY.iter().any(|class| code.code().starts_with(class)) {
        StoreError::Unavailable { place, detail }
    } else {
        StoreError::Damaged { place, detail }
    }
}

/// Classes of errors that say nothing about what is stored: connection, transaction state, login, no such
/// database, resources, operator, system.
const AWAY: &[&str] = &["08", "25", "28", "3D", "53", "57", "58"];

impl Database for PostgresServer {
    fn transaction<T>(
        &mut self,
        access: Access<'_>,
        work: impl FnOnce(&mut dyn Statements) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut open = self.connection()?;
        let done = match access {
            Access::Read => self.run(&mut open, None, work),
            Access::Write(consumer) => {
                self.run(&mut open, Some(&format!("consumer/{consumer}")), work)
            }
        };
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
    pub(crate) transaction: Transaction<'a>,
    pub(crate) statements: &'a mut HashMap<String, Statement>,
    pub(crate) place: &'a Arc<str>,
}

impl Within<'_> {
    fn statement(&mut self, sql: &str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let prepared = self.transaction.prepare(&sql.replace('?', "$"));
        let statement = prepared.map_err(|error| fault(self.place, &error))?;
        self.statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }
}

impl Statements for Within<'_> {
    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let statement = self.statement(sql)?;
        let changed = self.transaction.execute(&statement, &parameters(values));
        changed.map_err(|error| fault(self.place, &error))
    }

    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let statement = self.statement(sql)?;
        let rows = self.transaction.query(&statement, &parameters(values));
        let rows = rows.map_err(|error| fault(self.place, &error))?;
        let read = |row: postgres::Row| {
            let cells = (0..row.len()).map(|at| row.try_get(at));
            let cells = cells.collect::<Result<_, _>>();
            let cells = cells.map_err(|error| fault(self.place, &error))?;
            Ok(Row::new(cells, Arc::clone(self.place)))
        };
        rows.into_iter().map(read).collect()
    }

    fn place(&self) -> &str {
        self.place
    }
}

fn parameters<'a>(values: &'a [Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(number) => number.to_sql(kind, out),
            Value::Text(text) => text.to_sql(kind, out),
            Value::Bytes(bytes) => bytes.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::TEXT, Type::BYTEA].contains(kind)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Cell, Box<dyn Error + Sync + Send>> {
        match *kind {
            Type::INT8 => i64::from_sql(kind, raw).map(Cell::Int),
            Type::BYTEA => Vec::from_sql(kind, raw).map(Cell::Bytes),
            _ => String::from_sql(kind, raw).map(Cell::Text),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Cell, Box<dyn Error + Sync + Send>> {
        Ok(Cell::Null)
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::TEXT, Type::BYTEA].contains(kind)
    }
}
