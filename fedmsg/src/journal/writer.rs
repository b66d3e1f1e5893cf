//! The writer of a journal: appends, new segments, new epochs, and what happens when the disk fails.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aside;
use super::batch::{Batch, Unproven};
use super::disk::{Disk, DiskFile, write_all};
use super::error::{JournalError, io_error};
use super::format::{Header, NEW, SegmentName};
use super::index;
use super::mark::Mark;
use super::record::{Body, Break, Continuity, Damage, EpochState, Numbered, leaf_of};
use super::scan::Scan;
use super::segment::{Segment, Start};
use super::settings::{JournalMetrics, Settings};
use crate::envelope::{Epoch, Kind, Wire};
use crate::identity::StreamName;
use crate::limits::{JOURNAL_HEADER_BYTES_MAX, JOURNAL_LAST_WORDS_BYTES_MAX};
use crate::planted::bug;
use crate::timestamp::Timestamp;

/// The journal of one stream, as its only writer has it. That nobody else writes is for the lock on the
/// slot to see to, not for the journal.
pub struct Journal {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) stream: StreamName,
    pub(super) settings: Settings,
    /// Oldest first; the last one is the newest.
    pub(super) segments: Vec<Segment>,
    /// The newest segment, when it can be appended to.
    pub(super) current: Option<Current>,
    pub(super) state: Option<EpochState>,
    pub(super) continuity: Continuity,
    /// The newest epoch that has a name here, and the last number that counts.
    pub(super) newest: Option<Epoch>,
    pub(super) end: Option<(Epoch, u64)>,
    pub(super) unproven: Option<Unproven>,
    pub(super) damage: Vec<Damage>,
    pub(super) mark: Mark,
    pub(super) marking: Option<Marking>,
    pub(super) metrics: JournalMetrics,
}

/// The file that says how far the journal is, and what it says.
#[derive(Debug)]
pub(super) struct Marking {
    file: Box<dyn DiskFile>,
    written: Option<(Epoch, u64)>,
}

/// The segment that is open for appending.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) name: SegmentName,
    pub(super) made: Timestamp,
    /// What was appended, and where the next record goes.
    pub(super) scan: Scan,
}

/// A write that failed, and whether somebody may have seen what it wrote.
pub(super) struct Failed {
    pub(super) error: JournalError,
    exposed: bool,
}

impl Journal {
    /// Begins an epoch: its genesis record is number 0 of a new segment, and durable when this returns.
    /// The epoch's name must be above every one before.
    ///
    /// After a failure the epoch may have begun on disk all the same: then only the same record, or an epoch
    /// above it, can follow.
    pub fn begin_epoch(
        &mut self,
        epoch: Epoch,
        genesis: &Wire,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let refused = |why: &str| JournalError::Record { i: 0, why: why.into() };
        if Kind::of_topic(&genesis.topic) != Kind::Genesis {
            return Err(refused("not a genesis record"));
        }
        let leaf = leaf_of(genesis).ok_or_else(|| refused("not an envelope"))?;
        let records = [Numbered { i: 0, body: Body::Record(genesis.clone()) }];
        let again = self
            .unproven
            .as_ref()
            .filter(|unproven| unproven.epoch == epoch && unproven.first == 0);
        match (self.newest, again) {
            (_, Some(unproven)) => unproven.check(&records)?,
            (Some(newest), None) if epoch <= newest => {
                return Err(JournalError::EpochOrder { newest, found: epoch });
            }
            _ => {}
        }
        let batch = Batch::new(epoch, &records, now)?;
        if let Err(Failed { error, exposed }) = self.start_segment(&batch, genesis, now) {
            self.metrics.degraded = true;
            if exposed {
                self.newest = Some(epoch);
                self.unproven = Some(Unproven::of(&batch, &records));
                self.continuity = Continuity::Broken(Break::Beginning { epoch });
            }
            return Err(error);
        }
        self.state = Some(EpochState {
            epoch,
            first: 0,
            last: 0,
            leaf,
            time: now,
            genesis: genesis.clone(),
            genesis_leaf: leaf,
        });
        (self.newest, self.continuity) = (Some(epoch), Continuity::Proven);
        self.unproven = None;
        self.commit(&batch);
        Ok(())
    }

    /// Appends 1 to 1,024 records, at most 4 MiB, in one write and one sync. They are durable when this
    /// returns; after an error none of them counts.
    ///
    /// A write or sync that failed is not repeated on the same file: the records go to a new segment. When
    /// that fails too, they may be on disk all the same, so the same records must be appended again, or a
    /// new epoch begun ([`Indeterminate`](JournalError::Indeterminate) says so).
    pub fn append(&mut self, records: &[Numbered], now: Timestamp) -> Result<(), JournalError> {
        self.append_with(records, now, false)
    }

    /// Like [`append`](Self::append), for at most 32 KiB that should fit on a full disk: the last words of a
    /// publisher. Uses the bytes that were set aside for that.
    pub fn append_last_words(
        &mut self,
        records: &[Numbered],
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.append_with(records, now, true)
    }

    fn append_with(
        &mut self,
        records: &[Numbered],
        now: Timestamp,
        reserve: bool,
    ) -> Result<(), JournalError> {
        let (batch, genesis) = self.batch(records, now)?;
        let most = JOURNAL_LAST_WORDS_BYTES_MAX;
        if reserve && batch.bytes.len() > most {
            return Err(JournalError::BatchBytes { bytes: batch.bytes.len(), most });
        }
        let (mut exposed, mut moved) = (false, false);
        if self.fits(&batch, now) {
            match self.append_to_current(&batch) {
                Ok(()) => {
                    self.appended(&batch);
                    return Ok(());
                }
                Err(failed) => {
                    (exposed, moved) = (failed.exposed, true);
                    tracing::warn!(error = %failed.error, "the journal goes on in a new segment");
                }
            }
        }
        let mut done = self.start_segment(&batch, &genesis, now);
        if reserve && done.as_ref().is_err_and(|failed| failed.error.is_full()) {
            exposed |= done.is_err_and(|failed| failed.exposed);
            done = self.start_segment_on_reserve(&batch, &genesis, now);
        }
        if let Err(failed) = done {
            self.metrics.degraded = true;
            if exposed || failed.exposed {
                let known = self.unproven.get_or_insert_with(|| Unproven::of(&batch, records));
                known.extend(&batch, records);
            }
            return Err(failed.error);
        }
        self.metrics.moved += u64::from(moved);
        self.appended(&batch);
        Ok(())
    }

    /// The records as they are written, and the genesis record of their epoch.
    fn batch(&self, records: &[Numbered], now: Timestamp) -> Result<(Batch, Wire), JournalError> {
        let needed = |why: String| JournalError::NewEpochNeeded { why };
        match &self.continuity {
            Continuity::Proven => {}
            Continuity::Fresh => return Err(needed("the journal is empty".into())),
            Continuity::Broken(why) => return Err(needed(why.to_string())),
        }
        let Some(state) = &self.state else { return Err(needed("the journal is empty".into())) };
        for (expected, record) in (state.last + 1..).zip(records) {
            if record.i != expected {
                let (epoch, found) = (state.epoch, record.i);
                return Err(JournalError::NotDense { epoch, expected, found });
            }
        }
        if let Some(unproven) = &self.unproven {
            unproven.check(records)?;
        }
        Ok((Batch::new(state.epoch, records, now)?, state.genesis.clone()))
    }

    /// Whether the newest segment takes this append.
    fn fits(&self, batch: &Batch, now: Timestamp) -> bool {
        let Settings { segment_bytes, segment_ms, .. } = self.settings;
        self.current.as_ref().is_some_and(|current| {
            let young = u64::try_from(now.millis_since(current.made)).unwrap_or(0) < segment_ms;
            young && current.scan.at + batch.bytes.len() as u64 <= segment_bytes
        })
    }

    fn append_to_current(&mut self, batch: &Batch) -> Result<(), Failed> {
        let Some(current) = &mut self.current else { unreachable!("asked for by `fits` alone") };
        let path = self.folder.join(current.name.file());
        let failed = match write_all(&*current.file, current.scan.at, &batch.bytes) {
            Ok(()) => match sync(&*current.file) {
                Ok(took) => {
                    self.metrics.synced(took);
                    batch.note(&mut current.scan);
                    if let Some(newest) = self.segments.last_mut() {
                        newest.bytes = current.scan.at;
                    }
                    return Ok(());
                }
                Err(error) => Failed { error: io_error("syncing", path)(error), exposed: true },
            },
            Err((done, error)) => {
                let exposed = batch.ends.first().is_some_and(|end| done >= *end);
                Failed { error: io_error("writing", path)(error), exposed }
            }
        };
        self.metrics.failures += 1;
        let bytes = current.file.len().unwrap_or(current.scan.at);
        if let Some(newest) = self.segments.last_mut() {
            newest.bytes = bytes;
        }
        self.seal();
        Err(failed)
    }

    /// Nothing is appended to the newest segment any more.
    fn seal(&mut self) {
        if let Some(current) = self.current.take() {
            index::write(&*self.disk, &self.folder, current.name, &current.scan);
        }
    }

    fn start_segment_on_reserve(
        &mut self,
        batch: &Batch,
        genesis: &Wire,
        now: Timestamp,
    ) -> Result<(), Failed> {
        self.metrics.reserve = false;
        let released = aside::release_reserve(&*self.disk, &self.folder);
        released.map_err(|error| Failed {
            error: io_error("giving up the reserve in", &self.folder)(error),
            exposed: false,
        })?;
        self.start_segment(batch, genesis, now)
    }

    /// A new segment that begins with this append. It gets its name when all of it is durable, so a segment
    /// is never without a record that counts.
    pub(super) fn start_segment(
        &mut self,
        batch: &Batch,
        genesis: &Wire,
        now: Timestamp,
    ) -> Result<(), Failed> {
        let name = SegmentName { epoch: batch.epoch, first: batch.first };
        let before = self.end.map(|(epoch, last)| match batch.first.checked_sub(1) {
            Some(last) if epoch == batch.epoch => (epoch, last),
            _ => (epoch, last),
        });
        let stream = self.stream.to_string();
        let header = Header { stream, name, before, made: now, genesis: genesis.clone() };
        let Some(mut bytes) = header.encode() else {
            let most = JOURNAL_HEADER_BYTES_MAX;
            let error = JournalError::BatchBytes { bytes: genesis.len(), most };
            return Err(Failed { error, exposed: false });
        };
        let at = bytes.len() as u64;
        bytes.extend_from_slice(&batch.bytes);
        let file = self.write_segment(name, &bytes).inspect_err(|_| self.metrics.failures += 1)?;
        self.seal();
        let mut scan = Scan::new(batch.epoch, batch.first, at);
        batch.note(&mut scan);
        let start = Some(Start { at, before, made: now });
        self.segments.push(Segment { name, start, bytes: bytes.len() as u64 });
        self.current = Some(Current { file, name, made: now, scan });
        Ok(())
    }

    fn write_segment(
        &mut self,
        name: SegmentName,
        bytes: &[u8],
    ) -> Result<Box<dyn DiskFile>, Failed> {
        let path = self.folder.join(name.file());
        let new = self.folder.join(name.file() + NEW);
        let written = (|| {
            let file = self.disk.create(&new).or_else(|error| match error.kind() {
                // What an attempt left that could not even be removed: nobody else makes files here.
                io::ErrorKind::AlreadyExists => {
                    self.disk.remove(&new)?;
                    self.disk.create(&new)
                }
                _ => Err(error),
            })?;
            write_all(&*file, 0, bytes).map_err(|(_, error)| error)?;
            let took = sync(&*file)?;
            Ok((file, took))
        })();
        let failed = |error, exposed| Failed { error: io_error("writing", &path)(error), exposed };
        let (file, took) = written.map_err(|error| {
            // What is left of it says nothing to anybody; the next open removes it, if not now.
            self.disk.remove(&new).ok();
            failed(error, false)
        })?;
        self.metrics.synced(took);
        self.disk.rename(&new, &path).map_err(|error| failed(error, true))?;
        if !bug("no-folder-sync") {
            self.disk.sync_folder(&self.folder).map_err(|error| failed(error, true))?;
        }
        Ok(file)
    }

    fn appended(&mut self, batch: &Batch) {
        if let Some(state) = &mut self.state {
            (state.last, state.leaf, state.time) = (batch.last, batch.leaf, batch.time);
        }
        self.unproven = self.unproven.take().and_then(|unproven| unproven.behind(batch.last));
        self.commit(batch);
    }

    pub(super) fn commit(&mut self, batch: &Batch) {
        self.end = Some((batch.epoch, batch.last));
        self.mark.set(batch.epoch, batch.last);
        self.metrics.records += batch.ends.len() as u64;
        self.metrics.degraded = false;
    }

    /// Writes down, not durably, how far the journal is, for those who read it in another process, and for the next
    /// open: a bad record before that is damage, and no torn tail. To be called now and then; where the disk does not
    /// take it, nothing is lost but that.
    pub fn save_mark(&mut self) {
        if self.end.is_none()
            || self.marking.as_ref().is_some_and(|marking| marking.written == self.end)
        {
            return;
        }
        let (Some((epoch, last)), folder) = (self.end, &self.folder) else { return };
        let opened = match self.marking.take() {
            Some(marking) => Ok(marking.file),
            None => aside::open_mark(&*self.disk, folder),
        };
        let written = opened.and_then(|file| {
            aside::write_mark(&*file, epoch, last)?;
            Ok(Marking { file, written: self.end })
        });
        match written {
            Ok(marking) => self.marking = Some(marking),
            Err(error) => {
                tracing::debug!(%error, stream = %self.stream, "writing down how far the journal is")
            }
        }
    }

    /// Writes down how far the journal is, so that the next open notices when its end is gone.
    pub fn close(self) -> Result<(), JournalError> {
        match self.end {
            Some((epoch, last)) => aside::write_end(&*self.disk, &self.folder, epoch, last),
            None => Ok(()),
        }
    }
}

/// What the journal says about itself.
impl Journal {
    /// Whether the newest epoch may go on. When it may not, only [`begin_epoch`](Self::begin_epoch) helps.
    pub fn continuity(&self) -> &Continuity {
        &self.continuity
    }

    /// The newest epoch; nothing when there is none, or when its last or genesis record cannot be read.
    pub fn state(&self) -> Option<&EpochState> {
        self.state.as_ref()
    }

    /// The newest epoch that has a name here, readable or not: the next one's must be above it.
    pub fn newest_epoch(&self) -> Option<Epoch> {
        self.newest
    }

    /// Numbers that a failed append may have left on disk. Other records cannot be appended at them; when a
    /// new epoch begins instead, how far this one went is unknown to its readers.
    pub fn indeterminate(&self) -> Option<(u64, u64)> {
        self.unproven.as_ref().map(Unproven::range)
    }

    /// What cannot be read in the newest segment. Sealed ones are looked at when somebody reads them.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// The stream.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How far the journal is durable, for readers in this process.
    pub fn mark(&self) -> Mark {
        self.mark.clone()
    }

    /// What it did, and how it is.
    pub fn metrics(&self) -> JournalMetrics {
        let bytes = self.segments.iter().map(|segment| segment.bytes).sum();
        let (segments, damage) = (self.segments.len() as u64, self.damage.len() as u64);
        JournalMetrics { bytes, segments, damage, ..self.metrics }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({} in {}, {:?})", self.stream, self.folder.display(), self.end)
    }
}

/// Makes a file durable.
fn sync(file: &dyn DiskFile) -> io::Result<std::time::Duration> {
    if bug("no-sync") { Ok(std::time::Duration::ZERO) } else { file.sync() }
}
