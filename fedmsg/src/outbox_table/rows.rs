//! The table for people: what waits, what cannot be published, and what is to become of it.

use super::connection::{Access, Connection, open, run};
use super::error::OutboxTableError;
use super::statements::{self, list};
use crate::consumer::sql::row::{Row, Value};
use crate::consumer::{StoreAddress, StoreError};
use crate::limits::OUTBOX_TABLE_PAGE_MAX;
use crate::timestamp::Timestamp;

/// The table itself, for whoever makes it or looks into it. Needs no publisher, and may be used while one is at work.
///
/// An application whose tables are made by tools of its own gives these [`SQLITE_SCHEMA`](super::SQLITE_SCHEMA) or
/// [`POSTGRES_SCHEMA`](super::POSTGRES_SCHEMA).
pub struct OutboxRows {
    connection: Box<dyn Connection>,
}

/// A row that cannot be published.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// Its number.
    pub id: i64,
    /// Its identifier.
    pub msg_id: String,
    /// Its topic, as it stands there.
    pub topic: String,
    /// When it was put there.
    pub created: Timestamp,
    /// Why it cannot be published.
    pub why: String,
    /// Since when that is known.
    pub since: Timestamp,
}

/// How much there is in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxCounts {
    /// Rows that wait; not counted beyond 100,000.
    pub waiting: u64,
    /// Rows that are set aside; not counted beyond 100,000.
    pub set_aside: u64,
    /// When the first of those that wait was put there.
    pub oldest: Option<Timestamp>,
}

impl OutboxRows {
    /// Connects, makes the table where there is none, and brings one of an older version up to date. The file of
    /// SQLite must be there.
    ///
    /// Blocks; for a server not to be called from within a tokio runtime.
    pub fn open(address: &StoreAddress) -> Result<OutboxRows, OutboxTableError> {
        Ok(OutboxRows { connection: open(address)? })
    }

    /// How much there is.
    pub fn counts(&mut self) -> Result<OutboxCounts, OutboxTableError> {
        let counts = run(&mut *self.connection, Access::Read, |to, _| statements::counts(to))?;
        let statements::Counts { waiting, aside, oldest } = counts;
        Ok(OutboxCounts { waiting, set_aside: aside, oldest })
    }

    /// Rows that are set aside, lowest number first, those behind this number: at most so many, and at most 1,000.
    pub fn set_aside(
        &mut self,
        behind: Option<i64>,
        most: usize,
    ) -> Result<Vec<SetAside>, OutboxTableError> {
        let most = most.min(OUTBOX_TABLE_PAGE_MAX) as u64;
        let behind = behind.unwrap_or(i64::MIN);
        run(&mut *self.connection, Access::Read, |to, _| {
            let sql = "SELECT id, CAST(created AS BIGINT), CAST(set_aside_at AS BIGINT),
                CAST(msg_id AS TEXT), CAST(topic AS TEXT), CAST(set_aside AS TEXT)
                FROM fedmsg_outbox WHERE set_aside IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2";
            let rows = to.query(sql, &[Value::Int(behind), most.into()])?;
            rows.into_iter().map(set_aside).collect()
        })
    }

    /// Has these rows tried again, in the order of their numbers: for when what was in their way is gone. Says how
    /// many of them were set aside.
    pub fn retry(&mut self, ids: &[i64]) -> Result<u64, OutboxTableError> {
        self.change(
            ids,
            "UPDATE fedmsg_outbox SET set_aside = NULL, set_aside_at = NULL
                WHERE set_aside IS NOT NULL AND {among}",
        )
    }

    /// The same for every row that is set aside.
    pub fn retry_all(&mut self) -> Result<u64, OutboxTableError> {
        run(&mut *self.connection, Access::Write, |to, _| {
            let sql = "UPDATE fedmsg_outbox SET set_aside = NULL, set_aside_at = NULL
                WHERE set_aside IS NOT NULL";
            to.execute(sql, &[])
        })
    }

    /// Gives up these rows of those that are set aside: they are gone. Says how many.
    pub fn discard(&mut self, ids: &[i64]) -> Result<u64, OutboxTableError> {
        self.change(ids, "DELETE FROM fedmsg_outbox WHERE set_aside IS NOT NULL AND {among}")
    }

    fn change(&mut self, ids: &[i64], statement: &str) -> Result<u64, OutboxTableError> {
        if ids.is_empty() {
            return Ok(0);
        }
        run(&mut *self.connection, Access::Write, |to, dialect| {
            to.execute(&dialect.write(statement), &[Value::Text(&list(ids))])
        })
    }
}

impl std::fmt::Debug for OutboxRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboxRows").finish_non_exhaustive()
    }
}

/// What makes no sense in the row is shown as such: it is set aside for that very reason.
fn set_aside(mut row: Row) -> Result<SetAside, StoreError> {
    let (id, created) = (row.int()?, row.time()?);
    let since = row.or_null(|row| row.time())?.unwrap_or(created);
    let mut text = || row.text().unwrap_or_else(|_| "(no text)".into());
    let (msg_id, topic, why) = (text(), text(), text());
    Ok(SetAside { id, msg_id, topic, created, why, since })
}
