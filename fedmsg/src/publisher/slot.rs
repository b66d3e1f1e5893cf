//! Slots: which of an identity's streams a process writes. A lock on a folder of the state folder, and the
//! endpoint of the same index; beside the lock, what is known of the stream's last epoch.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::last_epoch;
use crate::envelope::Epoch;
use crate::identity::{Identity, Slot};
use crate::journal::{Disk, OsDisk};
use crate::limits::UNIQUE_SLOTS_MAX;
use crate::merkle::Leaf;
use crate::record::After;

/// A file in the folder of a slot: its operator wants a new epoch.
pub(super) const RENEW: &str = "renew";

/// A slot that this process holds until it is dropped.
#[derive(Debug)]
pub(crate) struct SlotLock {
    folder: PathBuf,
    _lock: File,
}

/// Why a slot is not ours.
#[derive(Debug)]
pub(crate) enum SlotError {
    /// Another process has it; its number, if it wrote one.
    Held(String),
    /// The state folder cannot be used.
    Io(PathBuf, std::io::Error),
    /// There are too many slots already, and each is held.
    TooMany,
}

/// The file, beside the slots of an identity, that names the one which all commands share.
const COMMANDS: &str = "commands";

impl SlotLock {
    /// Takes the lock of this slot.
    pub(crate) fn take(
        state: &Path,
        identity: &Identity,
        slot: Slot,
    ) -> Result<SlotLock, SlotError> {
        let folder = folder(state, identity, slot);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| SlotError::Io(path, error)
        };
        // Others of the group read what is here, and nobody else does.
        OsDisk.make_folder(&folder).map_err(io(&folder))?;
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
    pub(crate) fn before(&self) -> (After, Leaf, Option<Epoch>) {
        last_epoch::before(&OsDisk, &self.folder)
    }

    /// The folder of the slot.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the stream's journal is.
    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// Whether the operator wants a new epoch.
    pub(crate) fn is_renewal_wanted(&self) -> bool {
        self.folder.join(RENEW).exists()
    }

    /// The new epoch has begun. When this fails, the wish stands, and must not be followed again and again.
    pub(crate) fn renewal_done(&self) -> std::io::Result<()> {
        match fs::remove_file(self.folder.join(RENEW)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// An epoch begins: until it ends cleanly, how far it went is not known.
    pub(crate) fn begin(&self, epoch: Epoch) -> std::io::Result<()> {
        last_epoch::begin(&OsDisk, &self.folder, epoch)
    }

    /// An epoch ended cleanly.
    pub(crate) fn end(&self, epoch: Epoch, last: u64, leaf: Leaf) -> std::io::Result<()> {
        last_epoch::end(&OsDisk, &self.folder, epoch, last, leaf)
    }
}

/// The folder of a slot.
pub(crate) fn folder(state: &Path, identity: &Identity, slot: Slot) -> PathBuf {
    of_identity(state, identity).join(slot.to_string())
}

/// The folder of all slots of an identity.
fn of_identity(state: &Path, identity: &Identity) -> PathBuf {
    state.join("streams").join(identity.as_str())
}

/// Takes a slot for a process without an endpoint: one that is there and free, so that its numbers go on and what
/// it could not deliver is delivered; otherwise a new one. Never that of the commands.
pub(crate) fn take_unique(
    state: &Path,
    identity: &Identity,
) -> Result<(SlotLock, Slot), SlotError> {
    let commands = read_commands(state, identity);
    let slots = unique_slots(state, identity)?;
    for slot in slots.iter().filter(|slot| Some(**slot) != commands) {
        match SlotLock::take(state, identity, *slot) {
            Ok(lock) => return Ok((lock, *slot)),
            Err(SlotError::Held(_)) => {}
            Err(error) => return Err(error),
        }
    }
    if slots.len() >= UNIQUE_SLOTS_MAX {
        return Err(SlotError::TooMany);
    }
    let slot = Slot::Unique(uuid::Uuid::now_v7());
    Ok((SlotLock::take(state, identity, slot)?, slot))
}

/// The slots of processes of this identity that have no endpoint, the oldest first.
pub(crate) fn unique_slots(state: &Path, identity: &Identity) -> Result<Vec<Slot>, SlotError> {
    let folder = of_identity(state, identity);
    let failed = |error| SlotError::Io(folder.clone(), error);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut slots = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let slot = name.to_str().and_then(|name| Slot::parse(name).ok());
        slots.extend(slot.filter(|slot| matches!(slot, Slot::Unique(_))));
    }
    slots.sort_unstable();
    Ok(slots)
}

/// The slot that all commands of an identity share, if one of them has run yet.
pub(crate) fn read_commands(state: &Path, identity: &Identity) -> Option<Slot> {
    let text = fs::read_to_string(of_identity(state, identity).join(COMMANDS)).ok()?;
    Slot::parse(text.trim()).ok().filter(|slot| matches!(slot, Slot::Unique(_)))
}

/// The slot that all commands of an identity share. The first one gives it a name.
pub(crate) fn commands_slot(state: &Path, identity: &Identity) -> Result<Slot, SlotError> {
    if let Some(slot) = read_commands(state, identity) {
        return Ok(slot);
    }
    let folder = of_identity(state, identity);
    let slot = Slot::Unique(uuid::Uuid::now_v7());
    let (path, new) = (folder.join(COMMANDS), folder.join(format!("{COMMANDS}.{slot}.new")));
    let write = || {
        OsDisk.make_folder(&folder)?;
        let mut file = File::create_new(&new)?;
        writeln!(file, "{slot}")?;
        file.sync_all()?;
        // Of two that come at once, one is first, and the other takes what that one chose.
        let linked = fs::hard_link(&new, &path);
        fs::remove_file(&new)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => File::open(&folder)?.sync_all(),
        }
    };
    write().map_err(|error| SlotError::Io(path.clone(), error))?;
    let unreadable = || std::io::Error::other("it names no slot: remove it");
    read_commands(state, identity).ok_or_else(|| SlotError::Io(path, unreadable()))
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
        let slot = SlotLock::take(state.path(), &identity, Slot::Index(0)).expect("free");
        assert_eq!(slot.before(), (After::Unknown, Leaf::NONE, None));
        let held = SlotLock::take(state.path(), &identity, Slot::Index(0)).expect_err("held");
        assert!(matches!(held, SlotError::Held(pid) if pid == std::process::id().to_string()));
        SlotLock::take(state.path(), &identity, Slot::Index(1)).expect("another slot is free");
        slot.begin(epoch).expect("write");
        assert_eq!(slot.before(), (After::Unknown, Leaf::NONE, Some(epoch)));
        slot.end(epoch, 7, leaf).expect("write");
        drop(slot);
        let again = SlotLock::take(state.path(), &identity, Slot::Index(0)).expect("free again");
        assert_eq!(again.before(), (After::Epoch { epoch, last: 7 }, leaf, Some(epoch)));
    }

    #[test]
    fn a_process_without_an_endpoint_takes_a_free_slot_up_again_but_not_that_of_the_commands() {
        let state = tempfile::tempdir().expect("folder");
        let identity = Identity::parse("a.b").expect("identity");
        let take = || take_unique(state.path(), &identity).expect("a slot");
        let commands = commands_slot(state.path(), &identity).expect("named");
        assert_eq!(commands_slot(state.path(), &identity).expect("the same"), commands);
        drop(SlotLock::take(state.path(), &identity, commands).expect("free"));
        let (first, slot) = take();
        let (second, other) = take();
        assert!(slot != commands && other != commands && slot != other);
        drop(first);
        assert_eq!(take().1, slot, "it is there and free");
        drop(second);
        assert_eq!(take().1, slot, "the oldest first");
        let mut all = vec![commands, slot, other];
        all.sort_unstable();
        assert_eq!(unique_slots(state.path(), &identity).expect("listed"), all);
    }

    #[test]
    fn commands_that_come_at_once_agree_on_their_slot() {
        let state = tempfile::tempdir().expect("folder");
        let identity = Identity::parse("a.b").expect("identity");
        let named: Vec<Slot> = std::thread::scope(|scope| {
            let name = || commands_slot(state.path(), &identity).expect("named");
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(name)).collect();
            threads.into_iter().map(|thread| thread.join().expect("named")).collect()
        });
        assert!(named.iter().all(|slot| *slot == named[0]), "{named:?}");
    }
}
