//! Slots: which of an identity's streams a process writes. A lock on a folder of the state folder, and the
//! endpoint of the same index; beside the lock, what is known of the stream's last epoch.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::envelope::Epoch;
use crate::identity::Identity;
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

/// What is kept of the last epoch: all of it after a clean end, only the name after a crash.
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
        let path = self.folder.join("epoch");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // A new slot, or one whose folder was wiped: that nothing was before cannot be known from here.
                return (After::Unknown, Leaf::NONE, None);
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "reading the last epoch");
                return (After::Unknown, Leaf::NONE, None);
            }
        };
        let last: Option<LastEpoch> = serde_json::from_str(&text).ok();
        let Some((epoch, end)) = last.and_then(|l| Some((Epoch::parse(&l.epoch)?, l.end))) else {
            tracing::warn!(path = %path.display(), "the file that names the last epoch is damaged");
            return (After::Unknown, Leaf::NONE, None);
        };
        match end {
            Some(End { last, leaf }) => (After::Epoch { epoch, last }, leaf, Some(epoch)),
            None => (After::Unknown, Leaf::NONE, Some(epoch)),
        }
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
        self.write(&LastEpoch { epoch: epoch.to_string(), end: None })
    }

    /// An epoch ended cleanly.
    pub(super) fn end(&self, epoch: Epoch, last: u64, leaf: Leaf) -> std::io::Result<()> {
        self.write(&LastEpoch { epoch: epoch.to_string(), end: Some(End { last, leaf }) })
    }

    /// Written beside, synced, and put into place: a crash leaves the old or the new one.
    fn write(&self, last: &LastEpoch) -> std::io::Result<()> {
        let (path, new) = (self.folder.join("epoch"), self.folder.join("epoch.new"));
        let mut file = File::create(&new)?;
        file.write_all(serde_json::to_string(last)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.folder)?.sync_all()
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
