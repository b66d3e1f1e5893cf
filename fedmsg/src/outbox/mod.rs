//! What producers without an endpoint keep until relays have it: the journals of their slots, and beside each the
//! marks that say how far every relay is.
//!
//! A message is safe on this host when it is in the journal, and is delivered when a relay has it. Everybody who
//! publishes through relays at level `local` uses this: a [`Publisher`](crate::Publisher) without an endpoint, which
//! has a slot of its own, and short commands, which share an [`Outbox`]. Whatever a process left undone is done by the
//! next one of its slot, or by [`flush`]. One process at a time delivers a stream; the lock for that is another one
//! than that for adding to it.

mod backlog;
#[cfg(feature = "net")]
mod commands;
#[cfg(feature = "net")]
pub(crate) mod exchange;
#[cfg(feature = "net")]
mod flush;
pub(crate) mod marks;
/// For the simulator; no part of what is promised.
#[cfg(feature = "net")]
#[doc(hidden)]
pub mod post;
#[cfg(feature = "net")]
pub(crate) mod sender;
mod slots;
#[cfg(feature = "net")]
mod turn;

#[cfg(feature = "net")]
pub use commands::Outbox;
#[cfg(feature = "net")]
pub use flush::{FlushError, flush, give_up};
pub use slots::{ListError, Waiting, list, look};
