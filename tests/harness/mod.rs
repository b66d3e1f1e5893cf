//! What all tests need: programs, configuration folders, raw peers.

pub mod effects;
mod folder;
pub mod kept;
mod needs;
pub mod netns;
mod peer;
mod program;
mod rounds;
pub mod service;
pub mod trace;
pub mod usage;
pub mod witness;

use std::time::{Duration, Instant};

pub use folder::{Bus, address_of, addresses, atomically, free_port, topic};
pub use needs::{not_run, say, succeeds};
pub use peer::{Answerer, Asker, Frames, Peer};
pub use program::{Program, command};
pub use rounds::Rounds;

/// Everything that is waited for comes within this time, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until there is something, at most for the usual time.
pub fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it does not come to what is waited for");
        std::thread::yield_now();
    }
}
