//! What a publisher answers from: the journals of its host.

use std::sync::Arc;

use super::shelf::Shelf;
use crate::envelope::{Epoch, Wire};
use crate::frames::{Acknowledged, Spot, Word};
use crate::holder::{Absent, Floor, Holdings, Part, Stand};
use crate::identity::StreamName;
use crate::journal::Batch;
use crate::timestamp::Timestamp;

/// The journals of a host, and who takes what is put.
pub struct Desk<P> {
    shelf: Arc<Shelf>,
    on_put: P,
}

impl<P: Fn(Wire) -> bool> Desk<P> {
    /// These journals. Each message that somebody puts goes to `on_put`, which says whether it takes it; what it
    /// does not take is `denied`.
    pub fn new(shelf: Arc<Shelf>, on_put: P) -> Desk<P> {
        Desk { shelf, on_put }
    }
}

impl<P: Fn(Wire) -> bool> Holdings for Desk<P> {
    fn stand(&mut self, stream: &StreamName) -> Result<Stand, Absent> {
        self.shelf.stand(stream)
    }

    fn read(
        &mut self,
        stream: &StreamName,
        part: Part,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, Absent> {
        self.shelf.read(stream, part, max_records, max_bytes)
    }

    fn genesis(&mut self, stream: &StreamName, epoch: Epoch) -> Result<Option<Wire>, Absent> {
        self.shelf.genesis(stream, epoch)
    }

    fn find(&mut self, stream: &StreamName, time: Timestamp) -> Result<(Epoch, u64), Absent> {
        self.shelf.find(stream, time)
    }

    fn heads(&mut self) -> Vec<Spot> {
        self.shelf.streams()
    }

    fn knows_all(&self) -> bool {
        self.shelf.knows_all_streams()
    }

    fn acknowledged(&mut self, stream: &StreamName, consumer: &Word, floor: Floor) {
        self.shelf.note_floor(stream, consumer, floor);
    }

    fn floors(&mut self, stream: &StreamName) -> Vec<Acknowledged> {
        self.shelf.floors(stream)
    }

    fn put(&mut self, message: &Wire) -> bool {
        (self.on_put)(message.clone())
    }
}
