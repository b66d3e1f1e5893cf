//! The tables, as steps from nothing to now. A step that was ever released is never changed again.

use super::row::Value;
use super::{Statements, only};
use crate::consumer::StoreError;

/// How a kind of database writes what differs between them.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// A number of 64 bits.
    pub int: &'static str,
    /// A text that is ordered by its bytes.
    pub text: &'static str,
    /// Bytes.
    pub bytes: &'static str,
    /// What stands behind a table.
    pub table: &'static str,
    /// Counts the tables `fedmsg_store` that there are.
    pub exists: &'static str,
}

/// What makes version 1, 2, 3 … from the version before.
const STEPS: &[&[&str]] = &[
    // Who runs a consumer, and how far it is.
    &[
        "CREATE TABLE fedmsg_consumers (
            name {text} PRIMARY KEY, created {int} NOT NULL, start {text} NOT NULL, owner {text},
            lease_ms {int} NOT NULL, lease_until {int} NOT NULL, fence {int} NOT NULL) {table}",
        "CREATE TABLE fedmsg_cursors (
            consumer {text} NOT NULL, stream {text} NOT NULL, epoch {bytes} NOT NULL, i {int} NOT NULL,
            leaf {bytes}, updated {int} NOT NULL, PRIMARY KEY (consumer, stream)) {table}",
    ],
    // What was refused and may be cured.
    &[
        "CREATE TABLE fedmsg_refusals (
            consumer {text} NOT NULL, stream {text} NOT NULL, epoch {bytes} NOT NULL, i {int} NOT NULL,
            leaf {bytes}, reason {text} NOT NULL, key_id {text} NOT NULL, first_seen {int} NOT NULL,
            seen {int} NOT NULL, PRIMARY KEY (consumer, stream, epoch, i)) {table}",
        "ALTER TABLE fedmsg_consumers ADD COLUMN refusals_dropped {int} NOT NULL DEFAULT 0",
    ],
    // What failed, and what was given up.
    &[
        "CREATE TABLE fedmsg_retries (
            consumer {text} NOT NULL, stream {text} NOT NULL, epoch {bytes} NOT NULL, i {int} NOT NULL,
            topic {text} NOT NULL, envelope {bytes} NOT NULL, size {int} NOT NULL, error {text} NOT NULL,
            attempts {int} NOT NULL, first_failed {int} NOT NULL, next_at {int} NOT NULL,
            PRIMARY KEY (consumer, stream, epoch, i)) {table}",
        "CREATE INDEX fedmsg_retries_size ON fedmsg_retries (consumer, size)",
        "CREATE INDEX fedmsg_retries_next
            ON fedmsg_retries (consumer, next_at, stream, epoch, i, size)",
        "CREATE TABLE fedmsg_letters (
            consumer {text} NOT NULL, stream {text} NOT NULL, epoch {bytes} NOT NULL, i {int} NOT NULL,
            topic {text} NOT NULL, envelope {bytes} NOT NULL, size {int} NOT NULL, error {text} NOT NULL,
            attempts {int} NOT NULL, first_failed {int} NOT NULL, died {int} NOT NULL, id {int} NOT NULL,
            PRIMARY KEY (consumer, stream, epoch, i)) {table}",
        "CREATE UNIQUE INDEX fedmsg_letters_id ON fedmsg_letters (consumer, id, size)",
        "ALTER TABLE fedmsg_consumers ADD COLUMN letter_ids {int} NOT NULL DEFAULT 0",
        "ALTER TABLE fedmsg_consumers ADD COLUMN letters_dropped {int} NOT NULL DEFAULT 0",
    ],
];

/// The version that this program writes.
pub const VERSION: u64 = STEPS.len() as u64;

/// Whether the tables are those of this program: then nothing needs to be written.
pub fn is_current(to: &mut dyn Statements, dialect: &Dialect) -> Result<bool, StoreError> {
    if only(to, dialect.exists, &[])?.count()? == 0 {
        return Ok(false);
    }
    let Some(mut row) = to.query("SELECT version FROM fedmsg_store", &[])?.into_iter().next()
    else {
        return Ok(false);
    };
    let found = row.count()?;
    check(found, to.place())?;
    Ok(found == VERSION)
}

/// Brings the tables to the version of this program, within a transaction that nobody else is in.
pub fn migrate(to: &mut dyn Statements, dialect: &Dialect) -> Result<(), StoreError> {
    let store = write(
        "CREATE TABLE IF NOT EXISTS fedmsg_store (version {int} NOT NULL, fence {int} NOT NULL) {table}",
        dialect,
    );
    to.execute(&store, &[])?;
    let empty = only(to, "SELECT count(*) FROM fedmsg_store", &[])?.count()? == 0;
    if empty {
        to.execute("INSERT INTO fedmsg_store (version, fence) VALUES (0, 0)", &[])?;
    }
    let found = version(to)?;
    check(found, to.place())?;
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        for statement in *step {
            to.execute(&write(statement, dialect), &[])?;
        }
    }
    to.execute("UPDATE fedmsg_store SET version = ?1", &[Value::from(VERSION)])?;
    Ok(())
}

fn version(to: &mut dyn Statements) -> Result<u64, StoreError> {
    only(to, "SELECT version FROM fedmsg_store", &[])?.count()
}

/// A store of a later version is left alone, also when a newer program took it over while this one runs.
pub fn check(found: u64, place: &str) -> Result<(), StoreError> {
    match found > VERSION {
        true => Err(StoreError::Newer { place: place.into(), found, known: VERSION }),
        false => Ok(()),
    }
}

fn write(statement: &str, dialect: &Dialect) -> String {
    let parts = [("int", dialect.int), ("text", dialect.text), ("bytes", dialect.bytes)];
    let parts = parts.into_iter().chain([("table", dialect.table)]);
    parts.fold(statement.into(), |sql: String, (name, word)| {
        sql.replace(&format!("{{{name}}}"), word)
    })
}
