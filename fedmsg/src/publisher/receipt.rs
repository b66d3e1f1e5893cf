//! What whoever published is told.

use std::fmt;
use std::time::Duration;

use crate::envelope::Epoch;
use crate::identity::{Identity, StreamName};
use crate::record::Level;
use crate::seal::SealError;

/// What publishing one message came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The stream.
    pub stream: StreamName,
    /// Its epoch.
    pub epoch: Epoch,
    /// The message's number in it.
    pub i: u64,
    /// The message's identifier.
    pub msg_id: String,
    /// What was reached: [`Level::Memory`] survives nothing; [`Level::Local`] means that the message is on the
    /// publisher's disk, and survives kill -9 and a power cut; [`Level::Replicated`] that it is on the disks of so many
    /// other hosts, too, and [`Level::Stored`] that it is on those of so many relays.
    pub level: Level,
    /// The relay that accepted it: of a publisher without an endpoint at level `memory`. At level `local` a receipt
    /// is given before any relay has the message; [`Publisher::flush`](super::Publisher::flush) waits for that.
    pub relay: Option<Identity>,
    /// Who has signed to have stored it, where the receipt has waited for that: at levels `replicated(n)` and
    /// `stored(n)`. There may be more of them later.
    pub copies: Vec<Identity>,
}

/// Why a message was not published, or is not known to be.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The draft cannot be sealed: the caller's mistake. Nothing was published.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The queue is full, and the publisher was told to say so. Nothing was published.
    #[error("the queue is full")]
    Full,
    /// The publisher was closed. Nothing was published.
    #[error("the publisher is closed")]
    Closed,
    /// The process was forked: the writer thread is in the parent. Nothing was published.
    #[error("this process is a fork of the one that made the publisher: make another one here")]
    Forked,
    /// Every relay that answered refused the message.
    #[error("relay {relay} refused it: {reason}")]
    Refused {
        /// Who refused.
        relay: Identity,
        /// Why: the name of a rejection.
        reason: String,
    },
    /// The disk did not take it, and the publisher was told to keep what it publishes. The message may appear
    /// all the same, once the disk works again; publishing it again with the same `msg_id` to the same
    /// publisher, or the next one of its slot, is harmless.
    #[error("not stored: {0}")]
    NotStored(String),
    /// Relays have taken nothing for so long that the outbox is full: `outbox_bytes` in `[publisher]`. Nothing
    /// was published.
    #[error(
        "the outbox of {stream} is full: no relay has taken {most} bytes of it (`outbox_bytes` in [publisher]); \
         `fedmsg outbox list` shows what waits"
    )]
    OutboxFull {
        /// The stream.
        stream: StreamName,
        /// The bound, in bytes.
        most: u64,
    },
    /// Other commands hold the outbox, and held it until the time was over. Nothing was published.
    #[error(
        "the outbox of {stream} has been held by process {pid} for {waited:?}: nothing was published"
    )]
    OutboxHeld {
        /// The stream.
        stream: StreamName,
        /// The process, as it wrote its number down.
        pid: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Too few holders have said in time, or too many never will, that they have stored the message. It is published,
    /// and may reach every reader; publishing it again with the same `msg_id` to the same publisher (at
    /// `replicated(n)`, also to the next one of its slot) asks them once more, and gives the receipt when they have
    /// it.
    #[error(transparent)]
    NotCopied(Box<Shortfall>),
    /// It is not known whether the message was published; publishing it again with the same `msg_id` to
    /// the same publisher is harmless; at level `local` also to the next one of its slot.
    #[error("no answer in time: the message may have been published or not")]
    Indeterminate,
}

/// What was reached of the copies that were promised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shortfall {
    /// The stream.
    pub stream: StreamName,
    /// Its epoch.
    pub epoch: Epoch,
    /// The message's number in it.
    pub i: u64,
    /// The level that was promised.
    pub level: Level,
    /// How many copies it needs.
    pub wanted: u8,
    /// Who has the message.
    pub copies: Vec<Identity>,
    /// Who does not, and why, as far as that is known.
    pub missing: Vec<(Identity, String)>,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortfall { stream, i, wanted, copies, missing, .. } = self;
        let list = |words: Vec<String>| match words.is_empty() {
            true => "nobody".into(),
            false => words.join(", "),
        };
        let have = list(copies.iter().map(ToString::to_string).collect());
        let lack = list(missing.iter().map(|(holder, why)| format!("{holder} ({why})")).collect());
        let place = match self.level {
            Level::Stored(_) => "published, and has",
            _ => "in the journal of this host, and has",
        };
        write!(
            f,
            "number {i} of {stream} is {place} {} of {wanted} copies: stored by {have}; not by {lack}. Publish it \
             again with the same msg_id for a receipt",
            copies.len()
        )
    }
}

impl std::error::Error for Shortfall {}
