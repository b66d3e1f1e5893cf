//! Putting an archive into a folder in which there is no journal yet.
//!
//! The journal is made beside its place, without a sync for each append, looked at as a whole, made durable,
//! and put into its place by one rename: a crash leaves all of it or nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::aside;
use super::batch::Batch;
use super::check::{Report, check};
use super::disk::{Access, Disk, DiskFile, OsDisk};
use super::error::{JournalError, io_error};
use super::record::{Body, Continuity, Entry, EpochState, Numbered, Range, leaf_of};
use super::settings::Settings;
use super::writer::Journal;
use crate::envelope::{Epoch, Kind, Wire};
use crate::identity::StreamName;
use crate::limits::TREE_LEAVES_MAX;
use crate::timestamp::Timestamp;

/// Bytes that are gathered for one append, as far as that is possible.
const BATCH_BYTES: usize = 1 << 20;
/// What the folder's name ends with before it is complete.
const IMPORT: &str = ".import";

/// A journal on its way into a folder. Dropped before its end, it leaves nothing behind.
#[derive(Debug)]
pub struct Restore {
    journal: Option<Journal>,
    beside: PathBuf,
    folder: PathBuf,
    part: Option<Part>,
    /// Records of one time, which are appended together.
    pending: Vec<Numbered>,
    pending_bytes: usize,
    time: Timestamp,
}

/// The epoch that is being written.
#[derive(Debug)]
struct Part {
    range: Range,
    genesis: Wire,
    next: u64,
    begun: bool,
}

impl Restore {
    /// Begins a journal that will be in this folder, which is missing or empty. The caller holds the lock of
    /// the stream's slot. What an earlier attempt left beside the folder is removed.
    pub fn begin(
        folder: &Path,
        stream: &StreamName,
        settings: Settings,
    ) -> Result<Restore, JournalError> {
        match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
            Ok(true) => return Err(JournalError::Exists { path: folder.into() }),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("listing", folder)(error));
            }
            _ => {}
        }
        let Some(mut name) = folder.file_name().map(ToOwned::to_owned) else {
            let error =
                io::Error::new(io::ErrorKind::InvalidInput, "a folder with a name is expected");
            return Err(io_error("making", folder)(error));
        };
        name.push(IMPORT);
        let beside = folder.with_file_name(name);
        remove(&beside).map_err(io_error("removing", &beside))?;
        let journal = Journal::open(Arc::new(Unsynced(OsDisk)), &beside, stream, settings)?;
        Ok(Restore {
            journal: Some(journal),
            beside,
            folder: folder.into(),
            part: None,
            pending: Vec::new(),
            pending_bytes: 0,
            time: Timestamp::from_millis(0),
        })
    }

    /// Begins an epoch, above those before. All numbers of the range must follow.
    pub fn epoch(&mut self, range: Range, genesis: &Wire) -> Result<(), JournalError> {
        self.end_part()?;
        let next = range.first;
        self.part = Some(Part { range, genesis: genesis.clone(), next, begun: false });
        Ok(())
    }

    /// Adds what stands at the next number.
    pub fn entry(&mut self, entry: Entry) -> Result<(), JournalError> {
        let refused = |why: &str| JournalError::Record { i: entry.i, why: why.into() };
        let Some(part) = &mut self.part else { return Err(refused("it is in no epoch")) };
        if entry.i != part.next || entry.i > part.range.last {
            let (epoch, expected, found) = (part.range.epoch, part.next, entry.i);
            return Err(JournalError::NotDense { epoch, expected, found });
        }
        if entry.i == 0 && entry.body != Body::Record(part.genesis.clone()) {
            return Err(refused("it is not the genesis record of its epoch"));
        }
        part.next += 1;
        let full = self.pending.len() >= TREE_LEAVES_MAX || self.pending_bytes >= BATCH_BYTES;
        if full || entry.time != self.time {
            self.flush()?;
        }
        self.time = entry.time;
        self.pending_bytes += match &entry.body {
            Body::Record(wire) => wire.len(),
            Body::Gone { reason, .. } => reason.len(),
        };
        self.pending.push(Numbered { i: entry.i, body: entry.body });
        Ok(())
    }

    /// Looks at all of it, and puts it into its place. The newest epoch never goes on from here: who wrote it
    /// may have been further on, or still be at work elsewhere.
    pub fn finish(mut self) -> Result<Report, JournalError> {
        self.end_part()?;
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let end = self.journal.take().and_then(|journal| journal.end);
        let Some((epoch, last)) = end else {
            return Err(JournalError::Record { i: 0, why: "there are no records".into() });
        };
        aside::write_end(&*disk, &self.beside, epoch, last + 1)?;
        let report = check(&disk, &self.beside)?;
        if let Some(link) = report.broken_links.first() {
            return Err(JournalError::Record { i: link.i, why: link.why.clone() });
        }
        if let Some(damage) = report.damage.first() {
            let why = format!("it cannot be read from {}", damage.path.display());
            return Err(JournalError::Record { i: damage.from, why });
        }
        let beside = self.beside.clone();
        self.publish(&*disk).map_err(io_error("putting into its place", beside))?;
        Ok(report)
    }

    fn publish(&self, disk: &dyn Disk) -> io::Result<()> {
        for name in disk.list(&self.beside)? {
            disk.open(&self.beside.join(name), Access::Read)?.sync()?;
        }
        disk.sync_folder(&self.beside)?;
        // An empty folder is replaced, one with something in it is not.
        fs::rename(&self.beside, &self.folder)?;
        let above = self.folder.parent().filter(|above| !above.as_os_str().is_empty());
        disk.sync_folder(above.unwrap_or(Path::new(".")))
    }

    fn end_part(&mut self) -> Result<(), JournalError> {
        self.flush()?;
        match self.part.take() {
            Some(Part { range, next, .. }) if next <= range.last => Err(JournalError::Record {
                i: next,
                why: format!("it is missing; epoch {} ends with {}", range.epoch, range.last),
            }),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        let (Some(part), Some(journal)) = (&mut self.part, &mut self.journal) else {
            return Ok(());
        };
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        if part.begun {
            return journal.append(&pending, self.time);
        }
        part.begun = true;
        journal.begin_epoch_at(part.range.epoch, &part.genesis, &pending, self.time)
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        self.journal = None;
        // After its end there is nothing of this name; what is left otherwise is removed by the next attempt.
        remove(&self.beside).ok();
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Journal {
    /// Begins an epoch with whatever is still there of it, at any number.
    fn begin_epoch_at(
        &mut self,
        epoch: Epoch,
        genesis: &Wire,
        records: &[Numbered],
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let refused = |why: &str| JournalError::Record { i: 0, why: why.into() };
        if Kind::of_topic(&genesis.topic) != Kind::Genesis {
            return Err(refused("not a genesis record"));
        }
        let genesis_leaf = leaf_of(genesis).ok_or_else(|| refused("not an envelope"))?;
        if let Some(newest) = self.newest.filter(|newest| epoch <= *newest) {
            return Err(JournalError::EpochOrder { newest, found: epoch });
        }
        let batch = Batch::new(epoch, records, now)?;
        self.start_segment(&batch, genesis, now).map_err(|failed| failed.error)?;
        self.state = Some(EpochState {
            epoch,
            first: batch.first,
            last: batch.last,
            leaf: batch.leaf,
            time: now,
            genesis: genesis.clone(),
            genesis_leaf,
        });
        (self.newest, self.continuity) = (Some(epoch), Continuity::Proven);
        self.commit(&batch);
        Ok(())
    }
}

/// The disk, with nothing durable before somebody else makes it so.
#[derive(Debug)]
struct Unsynced(OsDisk);

#[derive(Debug)]
struct UnsyncedFile(Box<dyn DiskFile>);

impl Disk for Unsynced {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.make_folder(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(UnsyncedFile(self.0.create(path)?)))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(UnsyncedFile(self.0.open(path, access)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for UnsyncedFile {
    fn read_at(&self, at: u64, to: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(at, to)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_at(at, bytes)
    }

    fn sync(&self) -> io::Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}
