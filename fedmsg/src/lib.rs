//! A publish/subscribe bus without a broker: every service publishes a signed, hash-chained stream on a
//! ZeroMQ socket of its own, and everybody finds everybody through the files in `/etc/fedmsg.d`.
//!
//! Publishing:
//!
//! ```no_run
//! use fedmsg::{Draft, Publisher};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let publisher = Publisher::new()?;
//! let body = serde_json::json!({"update": "kernel-6.1", "karma": 1});
//! let receipt = publisher.publish(Draft::new("bodhi.update.comment").body(&body)).wait()?;
//! println!("{} is number {} of {}", receipt.msg_id, receipt.i, receipt.stream);
//! # Ok(())
//! # }
//! ```
//!
//! Subscribing:
//!
//! ```no_run
//! use fedmsg::Subscriber;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let subscriber = Subscriber::new(&["bodhi.update"])?;
//! for message in subscriber.messages() {
//!     println!("{} says {}: {}", message.signer(), message.topic(), message.msg());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! In the order in which a message travels: a [`Draft`] is checked by [`seal::check`], waits in the queue of a
//! [`Publisher`], is numbered, chained and signed by a [`seal::Sealer`] and leaves through an outlet of the
//! [`transport`]. It arrives at an inlet, is opened by an [`open::Opener`] against the [`trust::Trust`] that
//! [`config`] gives, is put into order by a [`sequence::Sequencer`], and is handed out by a [`Subscriber`] as
//! an [`Event`].
//!
//! A plain file is pure (time, randomness and bytes are arguments); the folders `config`, `journal`, `log`,
//! `net`, `outbox`, `outbox_table`, `publisher`, `replay`, `subscriber` and `durable` touch the world.
#![deny(unsafe_code)]

mod clock;
pub mod config;
pub mod consumer;
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only what has sockets delivers"))]
mod copies;
mod dedup;
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only what has sockets delivers"))]
pub mod delivered;
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only what has sockets delivers"))]
mod delivery;
pub mod durable;
pub mod endpoint;
pub mod envelope;
pub mod escape;
pub mod event;
pub mod followed;
mod frame_fields;
mod frame_parts;
pub mod frames;
pub mod history;
pub mod holder;
pub mod identity;
pub mod journal;
pub mod json;
pub mod keys;
pub mod limits;
pub mod log;
pub mod merkle;
pub mod need;
#[cfg(feature = "net")]
pub mod net;
pub mod open;
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only what has sockets delivers"))]
pub mod outbox;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod outbox_table;
mod pacing;
/// For the tests of the bus itself; no part of what is promised.
#[doc(hidden)]
pub mod planted;
pub mod policy;
/// For the simulator; no part of what is promised.
#[doc(hidden)]
pub mod progress;
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only what has sockets delivers"))]
pub mod publisher;
mod queue;
pub mod reception;
pub mod record;
pub mod rejection;
pub mod repair;
pub mod replay;
pub mod seal;
mod sealer;
pub mod sequence;
mod signing;
pub mod stored;
mod stream;
pub mod subscriber;
pub mod testing;
pub mod timestamp;
pub mod topic;
pub mod transport;
pub mod trust;

pub use config::Config;
pub use durable::{Delivery, Durable};
pub use endpoint::Endpoint;
pub use event::{Event, Lost, Message};
pub use identity::{Identity, StreamName};
pub use keys::KeyId;
pub use publisher::{PublishError, Publisher, Receipt};
pub use seal::{Draft, Severity};
pub use subscriber::Subscriber;
pub use topic::{Pattern, Topic};
