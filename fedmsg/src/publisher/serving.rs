//! How a publisher of level `local` answers for what it keeps.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::InForce;
use super::witness::{Shown, Witness};
use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::envelope::Wire;
use crate::identity::StreamName;
use crate::journal::{Disk, Mark};
use crate::replay::{Desk, Live, ReplayServer, Shelf, save_heartbeat};
use crate::transport::{NetError, Transport, Wake};

/// Answers replay requests, if the publisher's entry names an address for it.
///
/// It answers for all journals of the state folder: when four workers become two, the streams of the other two
/// can still be fetched.
pub(super) struct Serving {
    newest: Arc<Mutex<Option<Wire>>>,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    witness: Arc<Witness>,
    _live: Live,
    _server: Option<ReplayServer>,
}

/// What is served, and for whom.
pub(super) struct Served<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) state_dir: &'a Path,
    /// The folder of the slot.
    pub(super) slot: &'a Path,
    pub(super) stream: &'a StreamName,
    pub(super) mark: Mark,
    pub(super) config: InForce,
    /// Wakes the writer.
    pub(super) waker: Arc<dyn Wake>,
}

impl Serving {
    /// Answers at this address, if there is one. What somebody puts is a record that the publisher should know.
    pub(super) fn start(
        served: Served<'_>,
        transport: &dyn Transport,
        address: Option<&Endpoint>,
    ) -> Result<Serving, NetError> {
        let Served { disk, state_dir, slot, stream, mark, config, waker } = served;
        let shelf = Arc::new(Shelf::on(Arc::clone(disk), state_dir));
        let newest = Arc::default();
        let _live = shelf.live(stream.clone(), mark.clone(), Arc::clone(&newest));
        let (clock, stream) = (Clock::start(), stream.clone());
        let (state, seen) = (Mutex::default(), Arc::clone(&shelf));
        let witness = Witness { stream, config, shelf: seen, mark, waker, clock, state };
        let witness = Arc::new(witness);
        let shown = Arc::clone(&witness);
        let take_in = move |wire: Wire| shown.take_in(&wire);
        let start = |address| ReplayServer::start(transport, address, Desk::new(shelf, take_in));
        let _server = address.map(start).transpose()?;
        let (disk, folder) = (Arc::clone(disk), slot.to_owned());
        Ok(Serving { newest, disk, folder, witness, _live, _server })
    }

    /// What is served, and how far consumers are with it.
    pub(super) fn shelf(&self) -> &Arc<Shelf> {
        &self.witness.shelf
    }

    /// A record of this stream that the publisher does not know, if somebody has shown one.
    pub(super) fn shown(&self) -> Option<Shown> {
        self.witness.shown()
    }

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
