//! Which streams of this host go through relays, and what of each no relay has.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::marks;
use crate::delivered::{Delivered, Point};
use crate::delivery::{count_after, place_after};
use crate::identity::{Identity, StreamName};
use crate::journal::{Disk, JournalError, Reader};
use crate::publisher::slot::{SlotError, folder, read_commands, unique_slots};
use crate::timestamp::Timestamp;

/// A stream that goes through relays, as it is on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// The stream.
    pub stream: StreamName,
    /// The folder of its slot.
    pub folder: PathBuf,
    /// It is the one that commands share.
    pub is_commands: bool,
    /// The process that publishes it, as it wrote its number down.
    pub publisher: Option<String>,
    /// The process that delivers it, as it wrote its number down.
    pub sender: Option<String>,
    /// Messages that no relay has.
    pub messages: u64,
    /// Their bytes, in whole segments of the journal.
    pub bytes: u64,
    /// When the oldest of them was published.
    pub oldest: Option<Timestamp>,
    /// The last record of the stream.
    pub end: Option<Point>,
    /// What relays have.
    pub delivered: Delivered,
}

impl Waiting {
    /// How many messages a relay lacks.
    pub fn lacks(&self, disk: &Arc<dyn Disk>, relay: &Identity) -> Result<u64, JournalError> {
        let mut reader = Reader::new(Arc::clone(disk), &self.folder.join("journal"));
        Ok(count_after(&reader.ranges()?, self.delivered.of(relay)))
    }
}

/// Why the outbox cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// A folder or a file cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Every stream of this host that goes through relays, in the order of their names: of this identity, or of all.
pub fn list(
    disk: &Arc<dyn Disk>,
    state_dir: &Path,
    identity: Option<&Identity>,
) -> Result<Vec<Waiting>, ListError> {
    let mut all = Vec::new();
    for identity in identities(state_dir, identity)? {
        let slots = unique_slots(state_dir, &identity).map_err(|error| match error {
            SlotError::Io(path, error) => ListError::Io { path, error },
            _ => unreachable!("nothing is taken"),
        })?;
        for slot in slots {
            let path = folder(state_dir, &identity, slot);
            if path.join("journal").is_dir() {
                all.push(look(disk, state_dir, StreamName::new(identity.clone(), slot))?);
            }
        }
    }
    Ok(all)
}

/// One stream of this host that goes through relays.
pub fn look(
    disk: &Arc<dyn Disk>,
    state_dir: &Path,
    stream: StreamName,
) -> Result<Waiting, ListError> {
    let (identity, slot) = (stream.identity(), stream.slot());
    let folder = folder(state_dir, identity, slot);
    let is_commands = read_commands(state_dir, identity) == Some(slot);
    let (publisher, sender) = (holder(&folder.join("lock"))?, holder(&folder.join("sender"))?);
    let delivered = marks::load(&**disk, &folder);
    let mut reader = Reader::new(Arc::clone(disk), &folder.join("journal"));
    let (ranges, floor) = (reader.ranges()?, delivered.floor());
    let messages = count_after(&ranges, floor);
    let bytes = match messages {
        0 => 0,
        _ => reader.bytes_after(floor.map(|floor| (floor.epoch, floor.i)))?,
    };
    let first = place_after(&ranges, floor).filter(|_| messages > 0);
    let oldest = match first {
        Some(Point { epoch, i }) => {
            let batch = reader.read(epoch, i, u64::MAX, 1, 0)?;
            batch.entries.first().map(|entry| entry.time)
        }
        None => None,
    };
    let end = ranges.last().map(|range| Point { epoch: range.epoch, i: range.last });
    Ok(Waiting {
        stream,
        folder,
        is_commands,
        publisher,
        sender,
        messages,
        bytes,
        oldest,
        end,
        delivered,
    })
}

/// The identities that have published from here.
fn identities(state_dir: &Path, only: Option<&Identity>) -> Result<Vec<Identity>, ListError> {
    if let Some(only) = only {
        return Ok(vec![only.clone()]);
    }
    let path = state_dir.join("streams");
    let failed = |error| ListError::Io { path: path.clone(), error };
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut identities = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        identities.extend(name.to_str().and_then(|name| Identity::parse(name).ok()));
    }
    identities.sort_unstable();
    Ok(identities)
}

/// The process that holds a lock, as it wrote its number down; nothing when nobody does.
fn holder(path: &Path) -> Result<Option<String>, ListError> {
    let failed = |error| ListError::Io { path: path.into(), error };
    let lock = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lock => lock.map_err(failed)?,
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // For people only: an unreadable number is no reason to fail.
            lock.take(32).read_to_string(&mut holder).ok();
            Ok(Some(holder.trim().to_owned()))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
