//! What a journal keeps beyond, or below, its own bounds: consumers that it waits for, and a budget for all
//! journals of the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::JournalSection;
use crate::consumer::ConsumerName;
use crate::delivered::Point;
use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::replay::Shelf;

/// Up to where some relay has everything, for the journal that keeps what none has.
pub(crate) type Floor = Arc<Mutex<Option<Point>>>;

/// The retention of one publisher's journal.
#[derive(Debug)]
pub(crate) struct Retention {
    stream: StreamName,
    /// Where consumers that are waited for say how far they are.
    shelf: Option<Arc<Shelf>>,
    hold_for: Vec<ConsumerName>,
    /// Up to where some relay has everything, where there are relays.
    floor: Option<Floor>,
    host_bytes: u64,
    /// The folder of all journals of the host.
    streams: PathBuf,
    /// It was said that the consumers are waited for.
    told: bool,
}

impl Retention {
    pub(super) fn new(
        section: &JournalSection,
        stream: StreamName,
        shelf: Arc<Shelf>,
        state_dir: &Path,
    ) -> Retention {
        let (hold_for, host_bytes) = (section.hold_for.clone(), section.host_bytes);
        let streams = state_dir.join("streams");
        let (shelf, floor) = (Some(shelf), None);
        Retention { stream, shelf, hold_for, floor, host_bytes, streams, told: false }
    }

    /// That of a journal from which relays are given what it has. Consumers do not know its publisher, and tell
    /// it nothing.
    pub(crate) fn until_delivered(
        section: &JournalSection,
        stream: StreamName,
        floor: Floor,
        state_dir: &Path,
    ) -> Retention {
        let (hold_for, host_bytes) = (Vec::new(), section.host_bytes);
        let streams = state_dir.join("streams");
        let (shelf, floor) = (None, Some(floor));
        Retention { stream, shelf, hold_for, floor, host_bytes, streams, told: false }
    }

    /// Whether a segment that ends here must stay, because a consumer has not said that it is done with it. One
    /// that has said nothing since this process began has not.
    pub(super) fn holds(&mut self, epoch: Epoch, last: u64) -> bool {
        if let Some(floor) = &self.floor {
            let floor = *floor.lock().unwrap_or_else(PoisonError::into_inner);
            return floor < Some(Point { epoch, i: last });
        }
        let waits_for = |consumer: &&ConsumerName| {
            let shelf = self.shelf.as_ref();
            let floor = shelf.and_then(|shelf| shelf.floor(&self.stream, consumer.as_str()));
            floor.is_none_or(|floor| (floor.epoch, floor.upto) < (epoch, last))
        };
        let Some(consumer) = self.hold_for.iter().find(waits_for) else {
            self.told = false;
            return false;
        };
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(stream = %self.stream, %consumer,
                "the journal keeps more than it is to, because a consumer of `hold_for` has not acknowledged it");
        }
        true
    }

    /// How many bytes the journal may have when the host has no room for more: an equal share of the budget.
    pub(super) fn share(&self, own: u64) -> u64 {
        let (journals, bytes) = measure(&self.streams);
        if bytes <= self.host_bytes {
            return u64::MAX;
        }
        let share = self.host_bytes / journals.max(1);
        // No more than what is too much is given up at once: others do their part.
        share.max(own.saturating_sub(bytes - self.host_bytes))
    }
}

/// How many journals there are, and their bytes.
fn measure(streams: &Path) -> (u64, u64) {
    let below = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let (mut journals, mut total) = (0, 0);
    for slot in below(streams).iter().flat_map(|identity| below(identity)) {
        let files = below(&slot.join("journal"));
        let segments = files.iter().filter(|file| file.extension().is_some_and(|e| e == "seg"));
        let bytes: u64 = segments.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        journals += u64::from(bytes > 0);
        total += bytes;
    }
    (journals, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Word;
    use crate::holder::Floor;
    use crate::journal::{Journal, OsDisk, Settings};

    fn epoch(n: u128) -> Epoch {
        Epoch::new(uuid::Uuid::from_u128(n))
    }

    fn retention(folder: &Path, hold_for: &[&str], host_bytes: u64) -> (Retention, Arc<Shelf>) {
        let shelf = Arc::new(Shelf::new(folder));
        let stream = StreamName::parse("app.one/0").expect("a stream");
        let names = hold_for.iter().map(|name| ConsumerName::parse(name).expect("a name"));
        let section =
            JournalSection { hold_for: names.collect(), host_bytes, ..JournalSection::default() };
        (Retention::new(&section, stream, Arc::clone(&shelf), folder), shelf)
    }

    #[test]
    fn what_a_consumer_has_not_acknowledged_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut retention, shelf) = retention(folder.path(), &["a", "b"], 1 << 40);
        assert!(retention.holds(epoch(1), 5), "nobody has said anything yet");
        let stream = retention.stream.clone();
        let settings = Settings::default();
        let journal = Journal::open(Arc::new(OsDisk), &folder.path().join("j"), &stream, settings);
        let mark = journal.expect("a journal").mark();
        let _live = shelf.live(stream.clone(), mark, Arc::default());
        let says = |name: &str, epoch, upto| {
            let word = Word::parse(name).expect("a word");
            shelf.note_floor(&stream, &word, Floor { epoch, upto });
        };
        says("a", epoch(2), 1);
        assert!(retention.holds(epoch(1), 5), "the other one has not");
        says("b", epoch(1), 4);
        assert!(retention.holds(epoch(1), 5));
        says("b", epoch(1), 5);
        assert!(!retention.holds(epoch(1), 5));
        says("b", epoch(1), 3);
        assert!(!retention.holds(epoch(1), 5), "a floor never sinks");
        assert!(retention.holds(epoch(2), 9));
    }

    #[test]
    fn beyond_the_budget_of_the_host_those_with_more_than_their_share_give_up() {
        let folder = tempfile::tempdir().expect("a folder");
        for (slot, bytes) in [("0", 9_000), ("1", 1_000)] {
            let journal = folder.path().join("streams/app.one").join(slot).join("journal");
            fs::create_dir_all(&journal).expect("made");
            fs::write(journal.join("x.seg"), vec![0; bytes]).expect("written");
            fs::write(journal.join("x.idx"), vec![0; 50_000]).expect("written");
        }
        let share = |host_bytes, own| retention(folder.path(), &[], host_bytes).0.share(own);
        assert_eq!(share(10_000, 9_000), u64::MAX, "there is room");
        assert_eq!(share(8_000, 9_000), 7_000, "what is too much");
        assert_eq!(share(8_000, 1_000), 4_000, "less than an equal share");
        assert_eq!(share(4_096, 9_000), 3_096);
    }
}
