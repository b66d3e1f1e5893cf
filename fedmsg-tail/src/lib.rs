//! `fedmsg-tail`: the verified messages of a bus, in a terminal or as lines for other programs.
//!
//! # Layout
//!
//! | file | what it knows |
//! |---|---|
//! | `options.rs` | the command line |
//! | `filter.rs`, `jq.rs` | which messages are kept, and what is projected out of them: pure |
//! | `render/` | from an event to the bytes of one record: pure |
//! | `past.rs`, `when.rs` | what is to be read of the past, and who keeps it: pure |
//! | `follow.rs`, `reading.rs`, `newest.rs` | the loop: events in, records out; what is held back while the past is read |
//! | `tell.rs`, `counts.rs` | troubles to the log, and all of it in numbers |
//! | `progress.rs` | how far the reading of the past is, for a person at a terminal |
//! | `run.rs` | the real subscriber, stdout and signals |
#![forbid(unsafe_code)]

pub mod counts;
pub mod error;
pub mod filter;
pub mod follow;
pub mod item;
pub mod jq;
pub mod newest;
pub mod options;
pub mod past;
mod progress;
pub mod reading;
pub mod render;
mod run;
mod tell;
pub mod when;

#[cfg(test)]
mod testing;

pub use error::TailError;
pub use options::{Cli, Options};
pub use run::run;
