//! The outbox in the PostgreSQL database of an application.

use std::collections::HashMap;
use std::sync::Arc;

use postgres::{Client, Config, IsolationLevel, NoTls, Statement};

use super::connection::{Access, Connection, Work};
use super::error::OutboxTableError;
use super::schema::{self, Dialect, POSTGRES_SCHEMA};
use crate::consumer::StoreError;
use crate::consumer::sql::only;
use crate::consumer::sql::postgres::{SESSION, Within, fault, settings};

const DIALECT: Dialect = Dialect {
    steps: &[POSTGRES_SCHEMA],
    exists: "SELECT count(*) FROM pg_class WHERE oid = to_regclass('fedmsg_outbox_version')",
    bytes: "octet_length(topic)::bigint + octet_length(body::text)::bigint
        + coalesce(octet_length(headers::text), 0)::bigint + octet_length(msg_id)::bigint
        + coalesce(octet_length(username), 0)::bigint",
    message: "msg_id::text, topic::text, body::text, headers::text, username::text",
    among: "id = ANY (string_to_array(?1, ',')::bigint[])",
    named: "msg_id IN (SELECT json_array_elements_text(?2::text::json))",
};

/// The server notices within a quarter of a minute that the host of a session is gone, and gives its lock to another.
const NOTICE: &str =
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 10000";

/// One session at a time publishes: a lock that goes with its session, however that ends. Rows are not locked while
/// they are published, so no transaction is open meanwhile and the application waits for nobody; and with
/// `SKIP LOCKED` several sessions would publish at once, each its own part, in no order.
const LOCK: &str = "SELECT pg_try_advisory_lock(
    hashtextextended(current_schema() || '/fedmsg/outbox table', 0))::int::bigint";

/// Lets one session at a time make the tables.
const MAKING: &str = "SELECT count(pg_advisory_xact_lock(
    hashtextextended(current_schema() || '/fedmsg/outbox table/schema', 0)))";

/// The server, and the session while there is one.
pub(super) struct PostgresTable {
    config: Config,
    place: Arc<str>,
    open: Option<Open>,
}

struct Open {
    client: Client,
    /// Prepared once for each session; as many as there are different ones in this module.
    statements: HashMap<String, Statement>,
    is_locked: bool,
}

impl PostgresTable {
    pub(super) fn open(address: &str) -> Result<PostgresTable, OutboxTableError> {
        let (config, place) = settings(address)?;
        let mut table = PostgresTable { config, place, open: None };
        table.open = Some(table.connect()?);
        Ok(table)
    }

    fn connect(&mut self) -> Result<Open, StoreError> {
        if let Some(open) = self.open.take().filter(|open| !open.client.is_closed()) {
            return Ok(open);
        }
        let fails = |error: postgres::Error| fault(&self.place, &error);
        let mut client = self.config.connect(NoTls).map_err(fails)?;
        client.batch_execute(SESSION).map_err(fails)?;
        client.batch_execute(NOTICE).map_err(fails)?;
        let mut open = Open { client, statements: HashMap::new(), is_locked: false };
        let mut version = 0;
        self.run(&mut open, Access::Read, &mut |to| {
            version = schema::version(to, &DIALECT)?;
            Ok(())
        })?;
        if !schema::missing(&DIALECT, version).is_empty() {
            self.make_tables(&mut open)?;
        }
        Ok(open)
    }

    fn make_tables(&self, open: &mut Open) -> Result<(), StoreError> {
        let fails = |error: postgres::Error| fault(&self.place, &error);
        let mut transaction = open.client.transaction().map_err(fails)?;
        transaction.query(MAKING, &[]).map_err(fails)?;
        let statements = &mut open.statements;
        let mut within = Within { transaction, statements, place: &self.place };
        // Another session may have made them meanwhile.
        let version = schema::version(&mut within, &DIALECT)?;
        for step in schema::missing(&DIALECT, version) {
            within.transaction.batch_execute(step).map_err(fails)?;
        }
        within.transaction.commit().map_err(fails)
    }

    fn run(&self, open: &mut Open, access: Access, work: &mut Work<'_>) -> Result<(), StoreError> {
        let fails = |error: postgres::Error| fault(&self.place, &error);
        let begin = open.client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
        let begin = begin.read_only(access == Access::Read);
        let transaction = begin.start().map_err(fails)?;
        // Dropped without a commit, it is rolled back.
        let statements = &mut open.statements;
        let mut within = Within { transaction, statements, place: &self.place };
        work(&mut within)?;
        within.transaction.commit().map_err(fails)
    }

    /// What becomes of the session after this: who waited in vain, or may not write, goes on with the same one.
    fn keep<T>(&mut self, open: Open, done: Result<T, StoreError>) -> Result<T, OutboxTableError> {
        let keep =
            matches!(done, Ok(_) | Err(StoreError::Busy { .. } | StoreError::ReadOnly { .. }));
        self.open = keep.then_some(open);
        Ok(done?)
    }
}

impl Connection for PostgresTable {
    fn transaction(&mut self, access: Access, work: &mut Work<'_>) -> Result<(), OutboxTableError> {
        let mut open = self.connect()?;
        let done = self.run(&mut open, access, work);
        self.keep(open, done)
    }

    fn try_lock(&mut self) -> Result<bool, OutboxTableError> {
        let mut open = self.connect()?;
        if open.is_locked {
            self.open = Some(open);
            return Ok(true);
        }
        let mut got = false;
        let done = self.run(&mut open, Access::Read, &mut |to| {
            got = only(to, LOCK, &[])?.int()? == 1;
            Ok(())
        });
        open.is_locked = got;
        self.keep(open, done)?;
        Ok(got)
    }

    fn unlock(&mut self) {
        // The lock goes with the session.
        self.open = None;
    }

    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }
}
