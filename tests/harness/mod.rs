//! What all tests need: programs, configuration folders, raw peers.

mod folder;
mod peer;
mod program;

use std::time::Duration;

pub use folder::{Bus, atomically, free_port, topic};
pub use peer::Peer;
pub use program::{Program, command};

/// Everything that is waited for comes within this time, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);
