//! The journals of the host of a process, for whoever asks.

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::frames::{Spot, Word};
use fedmsg::holder::{Absent, Floor, Holdings, Part, Stand};
use fedmsg::identity::StreamName;
use fedmsg::journal::{Batch, Mark};
use fedmsg::open::Opener;
use fedmsg::publisher::witness::Shown;
use fedmsg::replay::Shelf;
use fedmsg::timestamp::Timestamp;

/// The journals of the host, for whoever asks.
pub(super) struct Desk<'a> {
    pub(super) shelf: &'a Shelf,
    pub(super) stream: &'a StreamName,
    pub(super) mark: &'a Mark,
    pub(super) opener: &'a mut Opener,
    pub(super) shown: &'a mut Option<Shown>,
}

impl Holdings for Desk<'_> {
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

    fn acknowledged(&mut self, _stream: &StreamName, _consumer: &Word, _floor: Floor) {}

    fn put(&mut self, message: &Wire) -> bool {
        let Ok(verified) = self.opener.open(message) else { return false };
        let shown = Shown::new(*verified.place());
        let leaf_at = |epoch, i| {
            let part = Part { epoch, from: i, to: i };
            let batch = self.shelf.read(self.stream, part, 1, 0).ok()?;
            batch.entries.first()?.body.leaf()
        };
        let is_news = verified.stream() == self.stream && shown.is_news(self.mark.get(), leaf_at);
        if is_news {
            *self.shown = (*self.shown).max(Some(shown));
        }
        is_news
    }
}
