//! Where journals of this publisher's host are: for whoever must know what became of another process.

use std::path::PathBuf;

use super::{Publisher, slot};
use crate::identity::StreamName;

impl Publisher {
    /// The folder of a stream's journal, if the stream is of this host.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        allow(dead_code, reason = "only an outbox table asks")
    )]
    pub(crate) fn journal_of(&self, stream: &StreamName) -> PathBuf {
        let config = self.handle.shared.config();
        slot::folder(&config.state_dir, stream.identity(), stream.slot()).join("journal")
    }
}
