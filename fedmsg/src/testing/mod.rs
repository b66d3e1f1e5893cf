//! The bus in memory, for the tests of services: the same publishers and subscribers, and no sockets.
//!
//! [`Bus`] makes a whole trusted bus. What a service published can be asserted:
//!
//! ```
//! use fedmsg::{Draft, testing::Bus};
//!
//! let bus = Bus::new();
//! let publisher = bus.publisher("bodhi.test");
//! let draft = Draft::new("bodhi.update.comment").body(&serde_json::json!({"karma": 1}));
//! publisher.publish(draft).wait()?;
//! bus.assert_published("bodhi.update.comment", |body| body["karma"] == 1);
//! # Ok::<(), fedmsg::PublishError>(())
//! ```
//!
//! and what it does with messages can be tried:
//!
//! ```
//! # use fedmsg::{Draft, testing::Bus};
//! let bus = Bus::new();
//! let publisher = bus.publisher("bodhi.test");
//! let subscriber = bus.subscriber(&["bodhi"]);
//! publisher.publish(Draft::new("bodhi.update.comment")).wait()?;
//! let message = subscriber.messages().next().expect("a message");
//! assert_eq!(message.signer().as_str(), "bodhi.test");
//! # Ok::<(), fedmsg::PublishError>(())
//! ```
//!
//! The layout: `bus` is what tests use, `tape` records what was published; `memory` is the transport below,
//! `hub` what its ends share, `replies` the same for requests and answers, `faults` what goes wrong on the way; `consumers` is a store of
//! durable consumers, `memory_disk` a disk for journals, and `memory_file` what becomes of a file's unsynced
//! bytes.

mod bus;
mod consumers;
mod faults;
mod folder;
mod hub;
mod memory;
mod memory_disk;
mod memory_file;
mod replies;
mod tape;

pub use bus::Bus;
pub use consumers::MemoryStore;
pub use faults::Faults;
pub use memory::MemoryTransport;
pub use memory_disk::{DiskFault, FaultKind, MemoryDisk};
