//! How far every journal of a state folder is, for who asks what changed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::envelope::Epoch;
use crate::frames::Spot;
use crate::identity::{Identity, Slot, StreamName};
use crate::journal::{Access, Disk};
use crate::limits::{SHELF_LOOKS_MAX, STREAMS_MAX};

/// The folders are listed again after so many milliseconds, or after so many times what it took.
const REST_MS: u64 = 1_000;
const REST_FACTOR: u64 = 20;

/// What is known of the streams of a folder. What is new is looked at little by little, so that nobody waits
/// long for an answer about thousands of streams.
pub(super) struct Heads {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    known: BTreeMap<StreamName, Head>,
    /// Streams that were listed and not looked at since then.
    left: VecDeque<StreamName>,
    look_at: u64,
    /// The last look was at all that changed.
    knows_all: bool,
}

/// The newest epoch and last number of a stream, if it has any; nothing when it cannot be read now.
pub(super) type Looked = Option<Option<(Epoch, u64)>>;

/// A stream: by which sight of its folder it is known, and how far it is.
struct Head {
    sight: u64,
    newest: Option<(Epoch, u64)>,
}

impl Heads {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> Heads {
        let (known, left) = (BTreeMap::new(), VecDeque::new());
        Heads { disk, folder, known, left, look_at: 0, knows_all: false }
    }

    /// All streams, and how far each one was when it was last looked at; `newest` looks.
    pub(super) fn look(
        &mut self,
        now: impl Fn() -> u64,
        newest: impl FnMut(&StreamName) -> Looked,
    ) -> Vec<Spot> {
        let start = now();
        if start >= self.look_at {
            let rested = self.look_again(newest);
            let took = now().saturating_sub(start).saturating_mul(REST_FACTOR);
            self.knows_all = rested;
            let rest = if rested { REST_MS.max(took) } else { 0 };
            self.look_at = start.saturating_add(rest);
        }
        let known = self.known.iter();
        let spots = known.filter_map(|(stream, head)| {
            let (epoch, i) = head.newest?;
            Some(Spot { stream: stream.clone(), epoch, i })
        });
        spots.collect()
    }

    /// Whether the last look was at all that changed.
    pub(super) fn knows_all(&self) -> bool {
        self.knows_all
    }

    /// Looks at what changed, up to a bound; says whether that was all. The next look goes on where this one ended.
    fn look_again(&mut self, mut newest: impl FnMut(&StreamName) -> Looked) -> bool {
        if self.left.is_empty() {
            let streams: BTreeSet<_> = self.list().into_iter().collect();
            self.known.retain(|stream, _| streams.contains(stream));
            self.left.extend(streams);
        }
        let mut looks = 0;
        while let Some(stream) = self.left.pop_front() {
            let slot = self.folder.join(stream.identity().as_str()).join(stream.slot().to_string());
            let Ok(sight) = sight(&*self.disk, &slot.join("journal")) else {
                self.known.remove(&stream);
                continue;
            };
            if self.known.get(&stream).is_some_and(|head| head.sight == sight) {
                continue;
            }
            if looks == SHELF_LOOKS_MAX {
                self.left.push_front(stream);
                return false;
            }
            looks += 1;
            match newest(&stream) {
                Some(newest) => self.known.insert(stream, Head { sight, newest }),
                // What cannot be read now is looked at again.
                None => self.known.remove(&stream),
            };
        }
        true
    }

    /// The streams whose folders are there. What has another name than a stream is none.
    fn list(&self) -> Vec<StreamName> {
        let mut streams = Vec::new();
        for name in self.names(&self.folder) {
            let Ok(identity) = Identity::parse(&name) else { continue };
            for slot in self.names(&self.folder.join(&name)) {
                let Ok(slot) = Slot::parse(&slot) else { continue };
                if streams.len() == STREAMS_MAX {
                    tracing::warn!(folder = %self.folder.display(), "too many streams to list");
                    return streams;
                }
                streams.push(StreamName::new(identity.clone(), slot));
            }
        }
        streams
    }

    fn names(&self, folder: &Path) -> Vec<String> {
        self.disk.list(folder).unwrap_or_else(|error| {
            tracing::debug!(folder = %folder.display(), %error, "listing streams");
            Vec::new()
        })
    }
}

/// A number that is another one when a journal has changed: from its files, and the length of the last one.
fn sight(disk: &dyn Disk, journal: &Path) -> io::Result<u64> {
    let mut names = disk.list(journal)?;
    names.retain(|name| name.ends_with(".seg"));
    names.sort_unstable();
    let mut hash = DefaultHasher::new();
    names.hash(&mut hash);
    if let Some(newest) = names.last() {
        disk.open(&journal.join(newest), Access::Read)?.len()?.hash(&mut hash);
    }
    Ok(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryDisk;

    #[test]
    fn a_journal_that_could_not_be_read_once_is_looked_at_again() {
        let disk = MemoryDisk::new();
        let path = Path::new("/state/streams/a.b/0/journal/x.seg");
        disk.set_content(path, b"something".to_vec());
        let mut heads = Heads::new(Arc::new(disk), "/state/streams".into());
        let end = (Epoch::new(uuid::Uuid::from_u128(1)), 7);
        assert_eq!(heads.look(|| 0, |_| None), []);
        let spots = heads.look(|| 10_000, |_| Some(Some(end)));
        assert_eq!(spots.iter().map(|spot| (spot.epoch, spot.i)).collect::<Vec<_>>(), [end]);
        let known = heads.look(|| 20_000, |_| unreachable!("nothing has changed"));
        assert_eq!(known, spots);
    }

    #[test]
    fn thousands_are_looked_at_little_by_little_and_each_once() {
        let disk = MemoryDisk::new();
        let count = 3 * SHELF_LOOKS_MAX + 1;
        for n in 0..count {
            let path = format!("/state/streams/a.b/{n}/journal/x.seg");
            disk.set_content(Path::new(&path), b"something".to_vec());
        }
        let mut heads = Heads::new(Arc::new(disk), "/state/streams".into());
        let end = (Epoch::new(uuid::Uuid::from_u128(1)), 7);
        let mut seen = BTreeSet::new();
        for looks in 1..=4 {
            let spots = heads.look(
                || 0,
                |stream| {
                    assert!(seen.insert(stream.clone()), "{stream} again");
                    Some(Some(end))
                },
            );
            assert_eq!(spots.len(), count.min(looks * SHELF_LOOKS_MAX));
            assert_eq!(heads.knows_all(), looks == 4);
        }
    }
}
