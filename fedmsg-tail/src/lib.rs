//! `fedmsg-tail`: the verified messages of a bus, in a terminal or as lines for other programs.
//!
//! # Layout
//!
//! | file | what it knows |
//! |---|---|
//! | `options.rs` | the command line |
//! | `filter.rs`, `jq.rs` | which messages are kept, and what is projected out of them: pure |
//! | `render/` | from an event to the bytes of one record: pure |
//! | `follow.rs` | the loop: events in, records out, troubles to the log, counts |
//! | `run.rs` | the real subscriber, stdout and signals |
#![forbid(unsafe_code)]

pub mod error;
pub mod filter;
pub mod follow;
pub mod item;
pub mod jq;
pub mod options;
pub mod render;
mod run;

#[cfg(test)]
mod testing;

pub use error::TailError;
pub use options::{Cli, Options};
pub use run::run;
