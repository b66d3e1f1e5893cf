//! What can go wrong with the outbox of an application.

use std::path::PathBuf;

use crate::consumer::StoreError;
use crate::publisher::PublishError;

/// Why there is no [`OutboxTable`](super::OutboxTable), or what keeps one from its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxTableError {
    /// There is no such file. It is the application's to make: a wrong path must not become an empty database in
    /// which nobody ever puts anything.
    #[error("there is no database {0}: the application makes it first")]
    NoDatabase(PathBuf),
    /// The publisher keeps nothing, so a row could not be removed after it was published.
    #[error(
        "a publisher at level `memory` keeps nothing: an outbox table needs one at level `local` ([publisher] level)"
    )]
    NotKept,
    /// The table was made by a later version of this program.
    #[error(
        "{place}: version {found} of the outbox table, this program knows {known}: use a newer program"
    )]
    Newer {
        /// The database.
        place: String,
        /// The version of its tables.
        found: u64,
        /// The highest one that is known here.
        known: u64,
    },
    /// The tables are not what they should be, or the database is damaged.
    #[error(
        "{place}: the table fedmsg_outbox cannot be used ({detail}): compare it with the schema in docs/outbox-table.md, \
         and check the database"
    )]
    Table {
        /// The database.
        place: String,
        /// What does not fit.
        detail: String,
    },
    /// The file by which one process at a time publishes cannot be used.
    #[error("{path}: {error}; it is how processes agree which of them publishes")]
    Lock {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The database cannot be used now.
    #[error(transparent)]
    Database(StoreError),
    /// The publisher does not take messages now. Their rows stay where they are.
    #[error("the publisher takes nothing: {0}")]
    Publish(#[from] PublishError),
    /// The thread cannot be started.
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
}

impl From<StoreError> for OutboxTableError {
    /// What a store of consumers would advise does not fit an application's own database.
    fn from(error: StoreError) -> OutboxTableError {
        match error {
            StoreError::Newer { place, found, known } => {
                OutboxTableError::Newer { place, found, known }
            }
            StoreError::Damaged { place, detail } => OutboxTableError::Table { place, detail },
            other => OutboxTableError::Database(other),
        }
    }
}
