//! The relay: it takes what producers put, opens it (signature, policy), stores it with one sync for all that
//! waits, publishes the original bytes, and answers for each message. What it has it gives to whoever asks, with
//! the journals of its host.
//!
//! [`core`] decides, without sockets, disks and clocks; [`waiting`] is the order of storing, publishing and answering;
//! [`keeping`] is the log; [`run`] is the loop around them.
#![forbid(unsafe_code)]

pub mod core;
pub mod desk;
mod follow;
pub mod keeping;
pub mod records;
mod run;
mod settings;
mod standing;
pub mod waiting;
mod writer;

pub use run::run;
pub use settings::{Cli, Options, RelayError};
