//! How a publisher of level `local` answers for what it keeps.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::envelope::Wire;
use crate::journal::Disk;
use crate::replay::{Live, ReplayServer, save_heartbeat};

/// Answers replay requests, if the publisher's entry names an address for it.
///
/// It answers for all journals of the state folder: when four workers become two, the streams of the other two
/// can still be fetched.
pub(super) struct Serving {
    pub(super) newest: Arc<Mutex<Option<Wire>>>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) _live: Live,
    pub(super) _server: Option<ReplayServer>,
}

impl Serving {
    /// This is the newest heartbeat.
    pub(super) fn beaten(&self, beat: &Wire) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(beat.clone());
    }

    /// This is the last one: it stays beside the journal, for whoever answers when this process is gone.
    pub(super) fn end(&self, beat: &Wire) {
        self.beaten(beat);
        if let Err(error) = save_heartbeat(&*self.disk, &self.folder, beat) {
            tracing::warn!(%error, "readers will have to ask for the end of the stream");
        }
    }
}
