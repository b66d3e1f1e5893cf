//! What every tool of fedmsg does first: options that all have, logs, signals, exit codes, output; and how daemons say
//! how they are: progress, metrics, status over HTTP, the service manager.
//!
//! A tool is a `run(options, common)` function in its library and a thin `main`:
//!
//! ```no_run
//! use fedmsg_tool::{Code, CommonOptions};
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("nothing to greet")]
//! struct Nobody;
//! impl fedmsg_tool::Fault for Nobody {}
//!
//! fn main() -> std::process::ExitCode {
//!     fedmsg_tool::main(|| -> Result<Code, Nobody> { Ok(Code::Ok) })
//! }
//! ```
#![forbid(unsafe_code)]

pub mod color;
pub mod duration;
pub mod exit;
pub mod logging;
pub mod metrics;
pub mod options;
pub mod output;
pub mod progress;
pub mod repeats;
pub mod service;
pub mod signals;
pub mod status;
pub mod terminal;

use std::sync::OnceLock;

pub use color::ColorChoice;
pub use exit::{Code, Fault, main};
pub use options::{CommonOptions, LogFormat};
pub use status::{Daemon, StatusOptions};

/// What `--version` prints: the version, and the commit where the build was told it (`FEDMSG_COMMIT`).
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| match option_env!("FEDMSG_COMMIT") {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").into(),
    })
}
