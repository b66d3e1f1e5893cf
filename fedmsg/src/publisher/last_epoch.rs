//! What is kept beside a journal of the stream's last epoch: all of it after a clean end, only its name after
//! a crash. It is there for streams without a journal, too, and is more than a journal can tell whose folder
//! was put back to an earlier state.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::envelope::Epoch;
use crate::journal::{Access, Disk, read_full, write_all};
use crate::limits::LAST_EPOCH_FILE_BYTES_MAX;
use crate::merkle::Leaf;
use crate::record::After;

const FILE: &str = "epoch";
const NEW: &str = "epoch.new";

#[derive(Serialize, Deserialize)]
struct LastEpoch {
    epoch: String,
    end: Option<End>,
}

#[derive(Serialize, Deserialize)]
struct End {
    last: u64,
    leaf: Leaf,
}

/// What is known of the epoch before, in the folder of a slot: what a new one comes after, its `prev`, and
/// the name that the new one's must exceed.
pub fn before(disk: &dyn Disk, slot: &Path) -> (After, Leaf, Option<Epoch>) {
    let path = slot.join(FILE);
    let bytes = match read(disk, &path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A new slot, or one whose folder was wiped: that nothing was before cannot be known from here.
            return (After::Unknown, Leaf::NONE, None);
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "reading the last epoch");
            return (After::Unknown, Leaf::NONE, None);
        }
    };
    let last: Option<LastEpoch> = serde_json::from_slice(&bytes).ok();
    let Some((epoch, end)) = last.and_then(|l| Some((Epoch::parse(&l.epoch)?, l.end))) else {
        tracing::warn!(path = %path.display(), "the file that names the last epoch is damaged");
        return (After::Unknown, Leaf::NONE, None);
    };
    match end {
        Some(End { last, leaf }) => (After::Epoch { epoch, last }, leaf, Some(epoch)),
        None => (After::Unknown, Leaf::NONE, Some(epoch)),
    }
}

/// An epoch begins: until it ends cleanly, how far it went is not known.
pub fn begin(disk: &dyn Disk, slot: &Path, epoch: Epoch) -> io::Result<()> {
    write(disk, slot, &LastEpoch { epoch: epoch.to_string(), end: None })
}

/// An epoch ended cleanly.
pub fn end(disk: &dyn Disk, slot: &Path, epoch: Epoch, last: u64, leaf: Leaf) -> io::Result<()> {
    write(disk, slot, &LastEpoch { epoch: epoch.to_string(), end: Some(End { last, leaf }) })
}

/// Written beside, synced, and put into place: a crash leaves the old or the new one.
fn write(disk: &dyn Disk, slot: &Path, last: &LastEpoch) -> io::Result<()> {
    let (path, new) = (slot.join(FILE), slot.join(NEW));
    match disk.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&new)?;
    write_all(&*file, 0, serde_json::to_string(last)?.as_bytes()).map_err(|(_, error)| error)?;
    file.sync()?;
    disk.rename(&new, &path)?;
    disk.sync_folder(slot)
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Access::Read)?;
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(LAST_EPOCH_FILE_BYTES_MAX)];
    let read = read_full(&*file, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DiskFault, FaultKind, MemoryDisk};

    #[test]
    fn a_crash_at_any_call_leaves_the_old_or_the_new_epoch() {
        let epoch =
            |n: u64| Epoch::parse(&format!("0192f0c1-7d2e-7000-8000-{n:012}")).expect("epoch");
        let slot = Path::new("/state/streams/a.b/0");
        let old = (After::Epoch { epoch: epoch(1), last: 7 }, Leaf([7; 32]), Some(epoch(1)));
        let new = (After::Unknown, Leaf::NONE, Some(epoch(2)));
        let mut seen = Vec::new();
        for (call, seed) in (0..10).flat_map(|call| (0..20).map(move |seed| (call, seed))) {
            let disk = MemoryDisk::new();
            assert_eq!(before(&disk, slot), (After::Unknown, Leaf::NONE, None));
            end(&disk, slot, epoch(1), 7, Leaf([7; 32])).expect("written");
            assert_eq!(before(&disk, slot), old);
            let (call, kind) = (disk.calls() + call, FaultKind::Crash);
            disk.fail(Some(DiskFault { call, kind, for_ever: true }));
            let done = begin(&disk, slot, epoch(2)).is_ok();
            disk.restart(seed);
            let now = before(&disk, slot);
            assert!(now == new || now == old && !done, "call {call}, seed {seed}: {now:?}");
            seen.push((done, now == new));
        }
        for case in [(true, true), (false, true), (false, false)] {
            assert!(seen.contains(&case), "{case:?} did not happen");
        }
    }
}
