//! What all tests need: programs, configuration folders, raw peers.

pub mod effects;
mod folder;
pub mod kept;
mod needs;
pub mod netns;
mod peer;
mod program;
mod rounds;
pub mod trace;
pub mod usage;
pub mod witness;

use std::time::Duration;

pub use folder::{Bus, addresses, atomically, free_port, topic};
pub use needs::{not_run, say, succeeds};
pub use peer::Peer;
pub use program::{Program, command};
pub use rounds::Rounds;

/// Everything that is waited for comes within this time, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);
