//! What can go wrong with a store of consumers.

use super::ConsumerName;
use crate::identity::StreamName;
use crate::timestamp::Timestamp;

/// Why a call to a store did not do what it was asked. Nothing of the call was done then, with one exception:
/// after [`StoreError::Unavailable`] a change may have been made all the same. Every change may be asked for
/// again.
///
/// `place` is the path of the file, or the server without its password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another owner runs the consumer.
    #[error(
        "consumer {consumer} is run by {owner} until {until} at least: stop that one first, or wait until its \
         lease has ended"
    )]
    Held {
        /// The consumer.
        consumer: ConsumerName,
        /// Who runs it.
        owner: String,
        /// When the lease ends, unless it is renewed.
        until: Timestamp,
    },
    /// Another one took the consumer over, or somebody moved its cursors: this one must stop.
    #[error(
        "consumer {consumer} was taken over: the claim {fence} is void, nothing was written; claim it again to go on"
    )]
    Fenced {
        /// The consumer.
        consumer: ConsumerName,
        /// The number of the void claim.
        fence: u64,
    },
    /// There is no such consumer.
    #[error("there is no consumer {0} in this store")]
    NoConsumer(ConsumerName),
    /// The consumer has no cursor in this stream.
    #[error("consumer {consumer} has no cursor in {stream}: seek to a number first")]
    NoCursor {
        /// The consumer.
        consumer: ConsumerName,
        /// The stream.
        stream: StreamName,
    },
    /// A bound of the store is reached.
    #[error("no room for more {what}: {bound} are kept at most")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        bound: u64,
    },
    /// One call with too much in it, or a value beyond its bound.
    #[error("{what}: {value}, at most {bound} are allowed")]
    OutOfBounds {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        value: u64,
        /// How large it may be.
        bound: u64,
    },
    /// A name of an owner that is empty or has control characters in it.
    #[error("{0:?} is no name of an owner: some text without control characters is expected")]
    BadOwner(String),
    /// The store was written by a later version of this program.
    #[error(
        "{place}: version {found} of a store of consumers, this program knows {known}: use a newer program"
    )]
    Newer {
        /// The store.
        place: String,
        /// Its version.
        found: u64,
        /// The highest one that is known here.
        known: u64,
    },
    /// The store holds what no store can hold.
    #[error(
        "{place} is damaged ({detail}): move it away and restore it from a backup, or let the consumers begin anew"
    )]
    Damaged {
        /// The store.
        place: String,
        /// What does not fit.
        detail: String,
    },
    /// No room on the disk, or the bound on the size of the file is reached. Works again when there is room.
    #[error(
        "{place}: no room on the disk, nothing was written ({detail}): make room, nothing else is needed"
    )]
    DiskFull {
        /// The store.
        place: String,
        /// What was said.
        detail: String,
    },
    /// The store can be read, but not written.
    #[error(
        "{place} cannot be written ({detail}): look at its owner, its rights, and where it is mounted"
    )]
    ReadOnly {
        /// The store.
        place: String,
        /// What was said.
        detail: String,
    },
    /// Another process kept the store locked for too long.
    #[error("{place} is locked by another process for more than {waited_ms} ms: try again")]
    Busy {
        /// The store.
        place: String,
        /// How long this one waited.
        waited_ms: u64,
    },
    /// The store cannot be reached, or the connection to it was lost. A change may have been made or not. The
    /// next call connects again.
    #[error("{place} cannot be reached: {detail}")]
    Unavailable {
        /// The store.
        place: String,
        /// What was said.
        detail: String,
    },
    /// A kind of store that this program was built without.
    #[error(
        "this program was built without stores of this kind: build it with the feature `{feature}`"
    )]
    NotBuilt {
        /// The feature of the library.
        feature: &'static str,
    },
    /// Not an address of a server. What was written is not repeated here: a password may be in it.
    #[error(
        "not an address of a PostgreSQL server: `postgres://USER:PASSWORD@HOST:PORT/DATABASE` is expected"
    )]
    BadUrl,
}
