//! Opening a journal: what a crash left, what may go on, and what may not.
//!
//! Nothing is cut or overwritten with something else. A torn tail stays where it is, and does not count: the
//! new epoch that has to begin then says in its first segment where the one before ended.

use std::path::Path;
use std::sync::Arc;

use super::aside;
use super::disk::{Access, Disk, DiskFile, read_full, write_all};
use super::error::{JournalError, io_error};
use super::format::{Header, SegmentName};
use super::mark::Mark;
use super::record::{Body, Break, Continuity, Damage, EpochState, leaf_of};
use super::scan::{NO_LIMIT, Place, Scan, Tail, Window};
use super::segment::{Loaded, Segment, load, names};
use super::settings::{JournalMetrics, Settings};
use super::writer::{Current, Journal};
use crate::envelope::{Epoch, Wire};
use crate::identity::StreamName;
use crate::planted::bug;

impl Journal {
    /// Opens the journal of a stream, and makes one when there is none. The newest segment is read from its
    /// start to its end, the others when somebody reads them. What is kept is durable when this returns.
    ///
    /// The caller holds the lock of the stream's slot. [`continuity`](Self::continuity) says whether the
    /// newest epoch may go on.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        stream: &StreamName,
        settings: Settings,
    ) -> Result<Journal, JournalError> {
        settings.check()?;
        disk.make_folder(folder).map_err(io_error("making", folder))?;
        let (mut names, left) = names(&*disk, folder)?;
        if bug("number-reused-after-a-crash") && names.len() > 1 {
            names.pop();
        }
        for name in left {
            let path = folder.join(name);
            disk.remove(&path).map_err(io_error("removing", path))?;
        }
        let mut journal = Journal {
            disk,
            folder: folder.into(),
            stream: stream.clone(),
            settings,
            segments: Vec::with_capacity(names.len()),
            current: None,
            state: None,
            continuity: Continuity::Fresh,
            newest: None,
            end: None,
            unproven: None,
            damage: Vec::new(),
            mark: Mark::default(),
            marking: None,
            metrics: JournalMetrics::default(),
        };
        let genesis = journal.load_all(&names)?;
        if !names.is_empty() {
            journal.recover(genesis)?;
        }
        journal.compare_with_end();
        journal.disk.sync_folder(folder).map_err(io_error("syncing", folder))?;
        if let Some((epoch, last)) = journal.end {
            journal.mark.set(epoch, last);
        }
        journal.metrics.reserve = aside::build_reserve(&*journal.disk, folder);
        Ok(journal)
    }

    /// Reads all headers; gives the genesis record of the newest epoch, if one of them has it.
    fn load_all(&mut self, names: &[SegmentName]) -> Result<Option<Wire>, JournalError> {
        let mut genesis = None;
        for (at, name) in names.iter().enumerate() {
            let (segment, header) = match load(&*self.disk, &self.folder, *name) {
                Ok(Loaded { segment, header, .. }) => (segment, header),
                // One bad place in an old segment is no reason not to start.
                Err(error @ JournalError::Io { .. }) if at + 1 < names.len() => {
                    tracing::error!(%error, stream = %self.stream, "a segment cannot be read");
                    (Segment { name: *name, start: None, bytes: 0 }, None)
                }
                Err(error) => return Err(error),
            };
            if let Some(header) = header {
                self.check_stream(&header)?;
                genesis = Some((header.name.epoch, header.genesis));
            }
            self.segments.push(segment);
        }
        self.newest = names.last().map(|name| name.epoch);
        Ok(genesis.filter(|(epoch, _)| Some(*epoch) == self.newest).map(|(_, genesis)| genesis))
    }

    fn check_stream(&self, header: &Header) -> Result<(), JournalError> {
        if header.stream == self.stream.as_str() {
            return Ok(());
        }
        let (path, found) = (self.folder.join(header.name.file()), header.stream.clone());
        Err(JournalError::OtherStream { path, found, expected: self.stream.clone() })
    }

    /// Reads the newest segment, and decides.
    fn recover(&mut self, genesis: Option<Wire>) -> Result<(), JournalError> {
        let Some(segment) = self.segments.last().cloned() else { return Ok(()) };
        let path = self.folder.join(segment.name.file());
        let reading = |error| io_error("reading", &path)(error);
        let file = self.disk.open(&path, Access::Write).map_err(io_error("opening", &path))?;
        let epoch = segment.name.epoch;
        let mut scan = self.start_of(&segment, &*file).map_err(reading)?;
        let tail = scan.run(&*file, segment.bytes, NO_LIMIT).map_err(reading)?;
        self.keep(&*file, &path, &scan)?;
        let lost = scan.holes.iter();
        let lost =
            lost.map(|(from, to)| Damage { epoch, from: *from, to: *to, path: path.clone() });
        self.damage = lost.collect();
        self.end = scan.next.checked_sub(1).map(|last| (epoch, last));
        let body = |place: Option<Place>| match place {
            Some(place) => body_at(&*file, epoch, place.at, segment.bytes),
            None => Ok(None),
        };
        let last = body(scan.last.map(|last| last.place)).map_err(reading)?;
        let genesis = match genesis {
            Some(genesis) => Some(genesis),
            // The only header that had it is damaged; the record itself may be there.
            None => match body(scan.start(0).filter(|place| place.i == 0)).map_err(reading)? {
                Some(Body::Record(wire)) => Some(wire),
                _ => None,
            },
        };
        let has_genesis = genesis.is_some();
        self.state = self.state_of(epoch, &scan, last, genesis);
        self.continuity = if tail == Tail::Torn && scan.last.is_some() {
            let bytes = segment.bytes.saturating_sub(scan.at);
            Continuity::Broken(Break::Torn { path, from: scan.next, bytes })
        } else if self.state.is_some() {
            Continuity::Proven
        } else if scan.last.is_some() && !has_genesis {
            Continuity::Broken(Break::GenesisUnreadable { epoch })
        } else {
            Continuity::Broken(Break::LastUnreadable { path })
        };
        // A damaged segment is left as it is.
        if let Some(start) = segment.start.filter(|_| scan.holes.is_empty())
            && self.continuity == Continuity::Proven
        {
            self.current = Some(Current { file, name: segment.name, made: start.made, scan });
        }
        Ok(())
    }

    /// Everything up to where its writer said that it is durable or closed it, if that number is there: a bad record before it is
    /// damage, and no torn tail.
    fn start_of(&self, segment: &Segment, file: &dyn DiskFile) -> std::io::Result<Scan> {
        let SegmentName { epoch, first } = segment.name;
        let fresh = Scan::new(epoch, first, segment.records_at());
        let (disk, folder) = (&*self.disk, &self.folder);
        let known = [aside::read_mark(disk, folder), aside::read_end(disk, folder)];
        for (_, last) in known.into_iter().flatten().filter(|(known, _)| *known == epoch) {
            let mut scan = fresh.clone();
            scan.run(file, segment.bytes, last)?;
            if scan.last.is_some_and(|found| found.place.i == last) {
                return Ok(scan);
            }
        }
        Ok(fresh)
    }

    fn state_of(
        &self,
        epoch: Epoch,
        scan: &Scan,
        last: Option<Body>,
        genesis: Option<Wire>,
    ) -> Option<EpochState> {
        let (place, genesis) = (scan.last?.place, genesis?);
        let first = self.segments.iter().find(|segment| segment.name.epoch == epoch)?.name.first;
        let (leaf, genesis_leaf) = (last?.leaf()?, leaf_of(&genesis)?);
        Some(EpochState {
            epoch,
            first,
            last: place.i,
            leaf,
            time: place.time,
            genesis,
            genesis_leaf,
        })
    }

    /// Makes the newest segment durable. Its last append is written again, byte for byte: when a sync of it
    /// failed once, the system may hold the bytes for clean, and a sync alone would do nothing.
    fn keep(&mut self, file: &dyn DiskFile, path: &Path, scan: &Scan) -> Result<(), JournalError> {
        let mut at = scan.last.map_or(scan.at, |last| last.batch_at);
        let mut bytes = vec![0; 1 << 20];
        while at < scan.at {
            let length = usize::try_from(scan.at - at).unwrap_or(usize::MAX).min(bytes.len());
            let read =
                read_full(file, at, &mut bytes[..length]).map_err(io_error("reading", path))?;
            let write = write_all(file, at, &bytes[..read]);
            write.map_err(|(_, error)| io_error("writing", path)(error))?;
            at += read.max(1) as u64;
        }
        let took = file.sync().map_err(io_error("syncing", path))?;
        self.metrics.synced(took);
        Ok(())
    }

    /// When the journal was further on than it is now, numbers behind its end were given out.
    fn compare_with_end(&mut self) {
        let (disk, folder) = (&*self.disk, &self.folder);
        let known = aside::read_end(disk, folder).max(aside::read_mark(disk, folder));
        let Some((epoch, last)) = known else { return };
        let there = self.newest.is_some_and(|newest| newest >= epoch)
            && self
                .end
                .is_some_and(|(newest, end)| newest > epoch || (newest == epoch && end >= last));
        if !there {
            self.newest = self.newest.max(Some(epoch));
            self.current = None;
            if !matches!(self.continuity, Continuity::Broken(_)) {
                self.continuity = Continuity::Broken(Break::Rewound { epoch, last });
            }
        }
    }
}

/// What the record at this place holds.
fn body_at(file: &dyn DiskFile, epoch: Epoch, at: u64, end: u64) -> std::io::Result<Option<Body>> {
    let mut window = Window::new(file, end);
    Ok(window.record(epoch, at)?.and_then(|(raw, _)| raw.body()))
}
