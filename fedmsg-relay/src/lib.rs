//! The relay: it takes what producers put, opens it (signature, policy), answers for each message, and
//! publishes the original bytes.
//!
//! [`core`] decides, without sockets and clocks; [`run`] is the loop around it.
#![forbid(unsafe_code)]

pub mod core;
mod run;
mod settings;

pub use run::run;
pub use settings::{Cli, Options, RelayError};
