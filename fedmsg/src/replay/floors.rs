//! How far named consumers are with a stream, as they said to its publisher: kept beside the journal, because who lags
//! most is who says nothing to the process that comes next. Retention goes by what is said to the process itself.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::small_file::{get, put};
use crate::envelope::Epoch;
use crate::frames::{Acknowledged, Word};
use crate::holder::Floor;
use crate::journal::Disk;
use crate::limits::{FLOOR_MS_MAX, FLOORS_FILE_BYTES_MAX, FLOORS_OF_STREAM_MAX, FLOORS_SAVE_MS};
use crate::timestamp::Timestamp;

const FILE: &str = "floors";

/// A floor, and when it was said the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    floor: Floor,
    at: Timestamp,
}

/// The floors of a stream that this process writes.
#[derive(Debug)]
pub(super) struct KeptFloors {
    disk: Arc<dyn Disk>,
    slot: PathBuf,
    floors: BTreeMap<Word, Said>,
    /// When they may be written down again.
    save_at: u64,
    is_saved: bool,
}

impl KeptFloors {
    /// With what was said to processes before this one.
    pub(super) fn load(disk: Arc<dyn Disk>, slot: PathBuf) -> KeptFloors {
        let floors = load(&*disk, &slot);
        KeptFloors { disk, slot, floors, save_at: 0, is_saved: true }
    }

    /// A consumer says how far it is. It is written down a little later; a consumer at work says it again. Of too many,
    /// the one that was silent for longest is forgotten.
    pub(super) fn note(&mut self, consumer: &Word, floor: Floor, at: Timestamp, now: u64) {
        let floor = self.floors.get(consumer).map_or(floor, |known| floor.max(known.floor));
        self.floors.insert(consumer.clone(), Said { floor, at });
        if self.floors.len() > FLOORS_OF_STREAM_MAX {
            let silent = self.floors.iter().min_by_key(|(_, said)| said.at);
            let silent = silent.map(|(consumer, _)| consumer.clone());
            silent.and_then(|silent| self.floors.remove(&silent));
        }
        self.is_saved = false;
        if now >= self.save_at {
            self.save_at = now.saturating_add(FLOORS_SAVE_MS);
            self.save(at);
        }
    }

    /// Writes down what is not. A failure costs what a later process shows, no more.
    pub(super) fn save(&mut self, now: Timestamp) {
        if std::mem::replace(&mut self.is_saved, true) {
            return;
        }
        forget(&mut self.floors, now);
        let path = self.slot.join(FILE);
        if let Err(error) =
            put(&*self.disk, &path, encode(&self.floors).as_bytes(), FLOORS_FILE_BYTES_MAX)
        {
            self.is_saved = false;
            tracing::debug!(path = %path.display(), %error, "writing down how far consumers are");
        }
    }

    pub(super) fn told(&self, now: Timestamp) -> Vec<Acknowledged> {
        told(self.floors.clone(), now)
    }
}

/// What is written down of a stream that another process writes, or none.
pub(super) fn kept(disk: &dyn Disk, slot: &Path, now: Timestamp) -> Vec<Acknowledged> {
    told(load(disk, slot), now)
}

fn told(mut floors: BTreeMap<Word, Said>, now: Timestamp) -> Vec<Acknowledged> {
    forget(&mut floors, now);
    let one = |(consumer, said): (Word, Said)| {
        let Floor { epoch, upto } = said.floor;
        let age_ms = u64::try_from(now.millis_since(said.at)).unwrap_or(0);
        Acknowledged { consumer, epoch, upto, age_ms }
    };
    floors.into_iter().map(one).collect()
}

/// A consumer that was taken out of service would lag for ever.
fn forget(floors: &mut BTreeMap<Word, Said>, now: Timestamp) {
    floors.retain(|_, said| now.millis_since(said.at) <= FLOOR_MS_MAX.cast_signed());
}

/// One line for each consumer: name, epoch, number, time.
fn encode(floors: &BTreeMap<Word, Said>) -> String {
    let lines = floors.iter().map(|(consumer, said)| {
        let Floor { epoch, upto } = said.floor;
        format!("{consumer} {epoch} {upto} {}\n", said.at.as_millis())
    });
    lines.collect()
}

fn load(disk: &dyn Disk, slot: &Path) -> BTreeMap<Word, Said> {
    let path = slot.join(FILE);
    let bytes = get(disk, &path, FLOORS_FILE_BYTES_MAX).unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::debug!(path = %path.display(), %error, "reading how far consumers are");
        }
        Vec::new()
    });
    let text = String::from_utf8_lossy(&bytes);
    text.lines().filter_map(parse).take(FLOORS_OF_STREAM_MAX).collect()
}

/// A line that makes no sense says nothing.
fn parse(line: &str) -> Option<(Word, Said)> {
    let mut words = line.split(' ');
    let (consumer, epoch) = (Word::parse(words.next()?)?, Epoch::parse(words.next()?)?);
    let (upto, at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let said = Said { floor: Floor { epoch, upto }, at: Timestamp::from_millis(at) };
    (words.next().is_none() && upto <= crate::limits::NUMBER_MAX).then_some((consumer, said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryDisk;

    const SLOT: &str = "/state/streams/a.b/0";

    fn word(text: &str) -> Word {
        Word::parse(text).expect("a word")
    }

    fn floor(upto: u64) -> Floor {
        Floor { epoch: Epoch::new(uuid::Uuid::from_u128(1)), upto }
    }

    fn opened(disk: &MemoryDisk) -> KeptFloors {
        disk.make_folder(Path::new(SLOT)).expect("a folder");
        KeptFloors::load(Arc::new(disk.clone()), SLOT.into())
    }

    fn seen(disk: &MemoryDisk, now: i64) -> Vec<(String, u64, u64)> {
        let kept = kept(disk, Path::new(SLOT), Timestamp::from_millis(now));
        kept.into_iter().map(|one| (one.consumer.to_string(), one.upto, one.age_ms)).collect()
    }

    #[test]
    fn who_said_something_is_known_to_the_next_process_and_never_sinks() {
        let (disk, at) = (MemoryDisk::new(), Timestamp::from_millis);
        let mut floors = opened(&disk);
        floors.note(&word("badges"), floor(7), at(1_000), 0);
        floors.note(&word("badges"), floor(9), at(2_000), 1_000);
        assert_eq!(seen(&disk, 5_000), [("badges".into(), 7, 4_000)], "written down now and then");
        floors.save(at(3_000));
        let mut floors = opened(&disk);
        floors.note(&word("mail"), floor(1), at(9_000), 0);
        floors.note(&word("badges"), floor(3), at(9_000), FLOORS_SAVE_MS);
        assert_eq!(seen(&disk, 9_500), [("badges".into(), 9, 500), ("mail".into(), 1, 500)]);
    }

    #[test]
    fn who_is_silent_for_long_is_forgotten_and_so_is_the_most_silent_of_too_many() {
        let (disk, at) = (MemoryDisk::new(), Timestamp::from_millis);
        let mut floors = opened(&disk);
        for n in 0..=FLOORS_OF_STREAM_MAX as i64 {
            floors.note(&word(&format!("c{n}")), floor(1), at(n), 0);
        }
        floors.save(at(1_000));
        assert_eq!(floors.told(at(1_000)).len(), FLOORS_OF_STREAM_MAX);
        assert!(seen(&disk, 1_000).iter().all(|(name, ..)| name != "c0"));
        assert_eq!(seen(&disk, FLOOR_MS_MAX.cast_signed() + 10).len(), FLOORS_OF_STREAM_MAX - 9);
    }

    #[test]
    fn what_makes_no_sense_says_nothing() {
        let disk = MemoryDisk::new();
        let (path, epoch) = (Path::new(SLOT).join(FILE), floor(0).epoch);
        let good = format!("badges {epoch} 7 1000\n");
        for bad in [
            "\u{0}\u{1}\n",
            "badges\n",
            "a b c d\n",
            "badges x 7 1000\n",
            &format!("ba/dges {epoch} 7 1000\n"),
            &format!("other {epoch} -7 1000\n"),
            &format!("other {epoch} 9007199254740992 1000\n"),
            &format!("other {epoch} 7 1000 more\n"),
        ] {
            disk.set_content(&path, format!("{bad}{good}").into_bytes());
            assert_eq!(seen(&disk, 1_000), [("badges".into(), 7, 0)], "{bad:?}");
        }
        disk.set_content(&path, vec![b'x'; FLOORS_FILE_BYTES_MAX + 1]);
        assert_eq!(seen(&disk, 1_000), []);
    }
}
