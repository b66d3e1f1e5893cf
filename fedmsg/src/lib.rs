//! A publish/subscribe bus without a broker.
#![forbid(unsafe_code)]

pub mod envelope;
pub mod escape;
pub mod event;
pub mod identity;
pub mod json;
pub mod keys;
pub mod limits;
pub mod merkle;
pub mod open;
pub mod policy;
pub mod record;
pub mod rejection;
pub mod seal;
mod signing;
pub mod timestamp;
pub mod topic;
pub mod trust;

pub use seal::Draft;
