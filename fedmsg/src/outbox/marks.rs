//! What relays have of a stream, beside its journal.

use std::io;
use std::path::Path;

use crate::delivered::Delivered;
use crate::journal::{Access, Disk, read_full, write_all};
use crate::limits::DELIVERED_FILE_BYTES_MAX;

const FILE: &str = "delivered";
const NEW: &str = "delivered.new";

/// What is written down in the folder of a slot. What cannot be read says nothing: then all that is kept is
/// delivered again, and is a duplicate wherever it was.
pub(crate) fn load(disk: &dyn Disk, slot: &Path) -> Delivered {
    let read = || {
        let file = disk.open(&slot.join(FILE), Access::Read)?;
        let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(DELIVERED_FILE_BYTES_MAX)];
        let read = read_full(&*file, 0, &mut bytes)?;
        bytes.truncate(read);
        Ok::<_, io::Error>(bytes)
    };
    match read() {
        Ok(bytes) => Delivered::parse(&bytes),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(slot = %slot.display(), %error, "reading what was delivered");
            }
            Delivered::default()
        }
    }
}

/// Writes it down, beside and then into place. It is synced only when asked to: after a power cut it may say too
/// little, or nothing.
pub(crate) fn save(
    disk: &dyn Disk,
    slot: &Path,
    delivered: &Delivered,
    durable: bool,
) -> io::Result<()> {
    let new = slot.join(NEW);
    match disk.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&new)?;
    write_all(&*file, 0, &delivered.encode()).map_err(|(_, error)| error)?;
    if durable {
        file.sync()?;
    }
    disk.rename(&new, &slot.join(FILE))?;
    if durable { disk.sync_folder(slot) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivered::Point;
    use crate::envelope::Epoch;
    use crate::identity::Identity;
    use crate::testing::MemoryDisk;

    #[test]
    fn marks_are_read_as_they_were_written_and_a_power_cut_leaves_no_other_ones() {
        let slot = Path::new("/state/streams/a.b/slot");
        let relay = Identity::parse("relay.one").expect("an identity");
        let at = |i| {
            let mut delivered = Delivered::default();
            let epoch = Epoch::new(uuid::Uuid::from_u128(1));
            delivered.advance(&relay, Point { epoch, i }, true, 0);
            delivered
        };
        for seed in 0..20 {
            let disk = MemoryDisk::new();
            disk.make_folder(slot).expect("a folder");
            assert_eq!(load(&disk, slot), Delivered::default());
            save(&disk, slot, &at(1), true).expect("saved");
            save(&disk, slot, &at(2), false).expect("saved");
            assert_eq!(load(&disk, slot), at(2));
            disk.restart(seed);
            let now = load(&disk, slot);
            assert!([Delivered::default(), at(1), at(2)].contains(&now), "{now:?}");
        }
    }
}
