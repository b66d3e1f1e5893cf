//! The tables, as steps from nothing to now. A step that was ever released is never changed again.

use crate::consumer::StoreError;
use crate::consumer::sql::{Statements, only};

/// The statements that make the table in SQLite, for applications that make their tables themselves.
pub const SQLITE_SCHEMA: &str = include_str!("sqlite.sql");
/// The statements that make the table in PostgreSQL, for applications that make their tables themselves.
pub const POSTGRES_SCHEMA: &str = include_str!("postgres.sql");

/// How a kind of database writes what differs between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// What makes version 1, 2, 3 … from the version before; each says its number itself.
    pub steps: &'static [&'static str],
    /// Counts the tables `fedmsg_outbox_version` that there are.
    pub exists: &'static str,
    /// The bytes of a row.
    pub bytes: &'static str,
    /// What is published of a row: msg_id, topic, body, headers, username.
    pub message: &'static str,
    /// The row is one of those whose numbers stand in the first value, with commas between them.
    pub among: &'static str,
    /// Its identifier is one of those that the second value has, as a JSON array.
    pub named: &'static str,
}

impl Dialect {
    /// A statement with these parts filled in.
    pub fn write(&self, statement: &str) -> String {
        let parts = [("bytes", self.bytes), ("message", self.message)];
        let parts = parts.into_iter().chain([("among", self.among), ("named", self.named)]);
        parts.fold(statement.into(), |sql: String, (name, text)| {
            sql.replace(&format!("{{{name}}}"), text)
        })
    }
}

/// The version of the tables, 0 where there are none.
pub(super) fn version(to: &mut dyn Statements, dialect: &Dialect) -> Result<u64, StoreError> {
    if only(to, dialect.exists, &[])?.count()? == 0 {
        return Ok(0);
    }
    let found = only(to, "SELECT max(version) FROM fedmsg_outbox_version", &[])?.count()?;
    let (known, place) = (dialect.steps.len() as u64, to.place().to_owned());
    match found > known {
        // Left alone, also when a newer program took it over while this one runs.
        true => Err(StoreError::Newer { place, found, known }),
        false => Ok(found),
    }
}

/// What has to be done to tables of this version.
pub(super) fn missing(dialect: &Dialect, version: u64) -> &'static [&'static str] {
    dialect.steps.get(usize::try_from(version).unwrap_or(usize::MAX)..).unwrap_or_default()
}
