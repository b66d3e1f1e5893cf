//! A publish/subscribe bus without a broker.
#![forbid(unsafe_code)]

pub mod envelope;
pub mod event;
mod frame_fields;
mod frame_parts;
pub mod frames;
pub mod identity;
pub mod json;
pub mod keys;
pub mod limits;
pub mod merkle;
pub mod open;
mod pacing;
pub mod policy;
mod queue;
pub mod record;
pub mod rejection;
pub mod seal;
pub mod sequence;
mod signing;
mod stream;
pub mod timestamp;
pub mod topic;
pub mod transport;
pub mod trust;

pub use seal::Draft;
