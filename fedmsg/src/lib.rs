//! A publish/subscribe bus without a broker.
#![deny(unsafe_code)]

mod clock;
pub mod config;
mod dedup;
pub mod endpoint;
pub mod envelope;
pub mod escape;
pub mod event;
mod frame_fields;
mod frame_parts;
pub mod frames;
pub mod identity;
pub mod json;
pub mod keys;
pub mod limits;
pub mod merkle;
#[cfg(feature = "net")]
pub mod net;
pub mod open;
mod pacing;
pub mod policy;
pub mod publisher;
mod queue;
pub mod record;
pub mod rejection;
pub mod seal;
pub mod sequence;
mod signing;
mod stream;
pub mod subscriber;
pub mod testing;
pub mod timestamp;
pub mod topic;
pub mod transport;
pub mod trust;

pub use config::Config;
pub use endpoint::Endpoint;
pub use event::{Event, Gap, Message};
pub use identity::{Identity, StreamName};
pub use keys::KeyId;
pub use publisher::{PublishError, Publisher, Receipt};
pub use seal::{Draft, Severity};
pub use subscriber::Subscriber;
pub use topic::{Pattern, Topic};
