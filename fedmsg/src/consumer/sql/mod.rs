//! One store over two kinds of database: what is said to them is the same, who says it and how differs.
//!
//! `schema` holds the tables, `leases`, `cursors`, `refusals`, `failures` and `people` the statements;
//! `sqlite` and `postgres` are the connections. Statements number their values `?1`, `?2` …; times are
//! milliseconds, epochs 16 bytes, leaves 32.

mod cursors;
mod failures;
mod leases;
mod people;
#[cfg(feature = "postgres")]
pub mod postgres;
mod refusals;
pub(crate) mod row;
mod schema;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod store;

use self::row::{Row, Value};
use super::{ConsumerName, StoreError};

/// What a transaction is for.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// Looking: the same state for all of its statements.
    Read,
    /// Changing what belongs to this consumer: nobody else does at the same time.
    Write(&'a ConsumerName),
}

/// A connection that can be made again.
pub trait Database: Send {
    /// Runs `work` in one transaction: all of it is on the disk when this returns `Ok`, nothing of it was
    /// done when `work` failed. Connects first, and brings the tables up to date, where that is needed.
    fn transaction<T>(
        &mut self,
        access: Access<'_>,
        work: impl FnOnce(&mut dyn Statements) -> Result<T, StoreError>,
    ) -> Result<T, StoreError>;
}

/// What can be done within a transaction.
pub trait Statements {
    /// Changes rows, and says how many.
    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError>;

    /// Reads rows.
    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError>;

    /// The name of the store in errors.
    fn place(&self) -> &str;
}

/// The only row of an answer.
pub(crate) fn only(
    to: &mut dyn Statements,
    sql: &str,
    values: &[Value<'_>],
) -> Result<Row, StoreError> {
    let row = to.query(sql, values)?.into_iter().next();
    row.ok_or_else(|| StoreError::Damaged {
        place: to.place().into(),
        detail: "a row is missing that every store has".into(),
    })
}
