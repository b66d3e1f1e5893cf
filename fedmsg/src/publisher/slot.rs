//! Slots: which of an identity's streams a process writes. A lock on a folder of the state folder, and the
//! endpoint of the same index; beside the lock, what is known of the stream's last epoch.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::last_epoch;
use crate::envelope::Epoch;
use crate::identity::Identity;
use crate::journal::OsDisk;
use crate::merkle::Leaf;
use crate::record::After;

/// A file in the folder of a slot: its operator wants a new epoch.
pub(super) const RENEW: &str = "renew";

/// A slot that this process holds until it is dropped.
#[derive(Debug)]
pub(super) struct SlotLock {
    folder: PathBuf,
    _lock: File,
}

/// Why a slot is not ours.
#[derive(Debug)]
pub(super) enum SlotError {
    /// Another process has it; its number, if it wrote one.
    Held(String),
    /// The state folder cannot be used.
    Io(PathBuf, std::io::Error),
}

impl SlotLock {
    /// Takes the lock of this slot.
    pub(super) fn take(
        state: &Path,
        identity: &Identity,
        index: usize,
    ) -> Result<SlotLock, SlotError> {
        let folder = folder(state, identity, &index.to_string());
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| SlotError::Io(path, error)
        };
        fs::create_dir_all(&folder).map_err(io(&folder))?;
        let path = folder.join("lock");
        let opened =
            File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut lock = opened.map_err(io(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // For people only: an unreadable number is no reason to fail.
                lock.take(32).read_to_string(&mut holder).ok();
                return Err(SlotError::Held(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(SlotError::Io(path, error)),
        }
        let write = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        write(&mut lock).map_err(io(&path))?;
        Ok(SlotLock { folder, _lock: lock })
    }

    /// What is known of the epoch before: what a new one comes after, its `prev`, and the name that the new
    /// one's must exceed.
    pub(super) fn before(&self) -> (After, Leaf, Option<Epoch>) {
        last_epoch::before(&OsDisk, &self.folder)
    }

    /// The folder of the slot.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the stream's journal is.
    pub(super) fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// Whether the operator wants a new epoch.
    pub(super) fn is_renewal_wanted(&self) -> bool {
        self.folder.join(RENEW).exists()
    }

    /// The new epoch has begun. When this fails, the wish stands, and must not be followed again and again.
    pub(super) fn renewal_done(&self) -> std::io::Result<()> {
        match fs::remove_file(self.folder.join(RENEW)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// An epoch begins: until it ends cleanly, how far it went is not known.
    pub(super) fn begin(&self, epoch: Epoch) -> std::io::Result<()> {
        last_epoch::begin(&OsDisk, &self.folder, epoch)
    }

    /// An epoch ended cleanly.
    pub(super) fn end(&self, epoch: Epoch, last: u64, leaf: Leaf) -> std::io::Result<()> {
        last_epoch::end(&OsDisk, &self.folder, epoch, last, leaf)
    }
}

/// The folder of a slot.
pub(super) fn folder(state: &Path, identity: &Identity, slot: &str) -> PathBuf {
    state.join("streams").join(identity.as_str()).join(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_held_by_one_and_remembers_how_its_last_epoch_ended() {
        let state = tempfile::tempdir().expect("folder");
        let identity = Identity::parse("a.b").expect("identity");
        let epoch = Epoch::parse("0192f0c1-7d2e-7000-8000-000000000001").expect("epoch");
        let leaf = Leaf([7; 32]);
        let slot = SlotLock::take(state.path(), &identity, 0).expect("free");
        assert_eq!(slot.before(), (After::Unknown, Leaf::NONE, None));
        let held = SlotLock::take(state.path(), &identity, 0).expect_err("held");
        assert!(matches!(held, SlotError::Held(pid) if pid == std::process::id().to_string()));
        SlotLock::take(state.path(), &identity, 1).expect("another slot is free");
        slot.begin(epoch).expect("write");
        assert_eq!(slot.before(), (After::Unknown, Leaf::NONE, Some(epoch)));
        slot.end(epoch, 7, leaf).expect("write");
        drop(slot);
        let again = SlotLock::take(state.path(), &identity, 0).expect("free again");
        assert_eq!(again.before(), (After::Epoch { epoch, last: 7 }, leaf, Some(epoch)));
    }
}
