//! The relay: it takes what producers put, opens it (signature, policy), stores it with one sync for all that
//! waits, publishes the original bytes, and answers for each message. What it has it gives to whoever asks, with
//! the journals of its host.
//!
//! [`core`] decides, without sockets, disks and clocks; [`run`] is the loop around it.
#![forbid(unsafe_code)]

pub mod core;
mod desk;
mod follow;
pub mod keeping;
mod run;
mod settings;
mod standing;

pub use run::run;
pub use settings::{Cli, Options, RelayError};
