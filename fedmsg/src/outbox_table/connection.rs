//! A connection to the database of an application, whichever it is.

use super::error::OutboxTableError;
use super::schema::Dialect;
use crate::consumer::sql::Statements;
use crate::consumer::{StoreAddress, StoreError};

/// What a transaction does.
pub(super) type Work<'a> = dyn FnMut(&mut dyn Statements) -> Result<(), StoreError> + 'a;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Looking: nobody is kept waiting.
    Read,
    /// Changing rows.
    Write,
}

/// A connection that is made again when it was lost.
pub(super) trait Connection: Send {
    /// Runs `work` in one transaction: all of it is on the disk when this returns `Ok`, with everything that was
    /// committed before it, by whomever; nothing of it was done when `work` failed. Connects first, and brings the
    /// tables up to date, where that is needed.
    fn transaction(&mut self, access: Access, work: &mut Work<'_>) -> Result<(), OutboxTableError>;

    /// Whether this is the one connection that publishes: it becomes that if no other one is. It remains so until it
    /// is lost, its process ends, or it is dropped.
    fn try_lock(&mut self) -> Result<bool, OutboxTableError>;

    /// Lets another one publish.
    fn unlock(&mut self);

    /// How this kind of database writes things.
    fn dialect(&self) -> &'static Dialect;
}

/// Runs a transaction that has a result.
pub(super) fn run<T>(
    connection: &mut dyn Connection,
    access: Access,
    mut work: impl FnMut(&mut dyn Statements, &Dialect) -> Result<T, StoreError>,
) -> Result<T, OutboxTableError> {
    let dialect = connection.dialect();
    let mut done = None;
    connection.transaction(access, &mut |to| {
        done = Some(work(to, dialect)?);
        Ok(())
    })?;
    done.ok_or_else(|| OutboxTableError::Table {
        place: "the database".into(),
        detail: "a transaction that was not run".into(),
    })
}

/// Connects, and makes the tables where there are none.
pub(super) fn open(address: &StoreAddress) -> Result<Box<dyn Connection>, OutboxTableError> {
    match address {
        #[cfg(feature = "sqlite")]
        StoreAddress::Sqlite(path) => Ok(Box::new(super::sqlite::SqliteTable::open(path)?)),
        #[cfg(not(feature = "sqlite"))]
        StoreAddress::Sqlite(_) => Err(StoreError::NotBuilt { feature: "sqlite" }.into()),
        #[cfg(feature = "postgres")]
        StoreAddress::Postgres(address) => {
            Ok(Box::new(super::postgres::PostgresTable::open(address)?))
        }
        #[cfg(not(feature = "postgres"))]
        StoreAddress::Postgres(_) => Err(StoreError::NotBuilt { feature: "postgres" }.into()),
    }
}
