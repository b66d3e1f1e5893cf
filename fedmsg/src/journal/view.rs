//! One segment, as a reader has it.

use std::io;
use std::path::Path;

use super::disk::{Access, Disk, DiskFile};
use super::format::SegmentName;
use super::index;
use super::record::Entry;
use super::scan::{NO_LIMIT, Place, Scan, Window, seek};
use super::segment::Segment;
use crate::timestamp::Timestamp;

/// A segment that is open for reading, and what is known of it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) name: SegmentName,
    file: Box<dyn DiskFile>,
    records_at: u64,
    /// How long it was when it was last looked at; what is behind is not served.
    bytes: u64,
    scan: Scan,
    /// An index stands for the scan, so damage is not known yet.
    indexed: bool,
    /// The limit up to which the segment was looked at.
    limit: u64,
}

/// What is read from one segment or several, up to a bound.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) entries: Vec<Entry>,
    pub(super) holes: Vec<(u64, u64, SegmentName)>,
    /// The number that comes next.
    pub(super) next: u64,
    pub(super) records_left: usize,
    pub(super) bytes_left: usize,
    /// The next record did not fit.
    pub(super) full: bool,
}

impl View {
    /// Opens a segment. Up to `limit` all numbers were acknowledged; without a limit it may still grow.
    pub(super) fn open(
        disk: &dyn Disk,
        folder: &Path,
        segment: &Segment,
        limit: u64,
    ) -> io::Result<View> {
        let name = segment.name;
        let file = disk.open(&folder.join(name.file()), Access::Read)?;
        let records_at = segment.records_at();
        let fresh = Scan::new(name.epoch, name.first, records_at);
        let mut view =
            View { name, file, records_at, bytes: 0, scan: fresh, indexed: false, limit };
        if limit != NO_LIMIT {
            view.bytes = view.file.len()?;
            match index::read(disk, folder, name, limit, view.bytes) {
                Some(scan) => (view.scan, view.indexed) = (scan, true),
                None => view.look(limit)?,
            }
        }
        Ok(view)
    }

    /// Whether it was looked at up to where it ends for good.
    pub(super) fn is_complete(&self) -> bool {
        self.limit != NO_LIMIT
    }

    /// Whether the name belongs to another file by now: an append that failed behind the name's being
    /// given was repeated.
    pub(super) fn is_replaced(&self, disk: &dyn Disk, folder: &Path) -> io::Result<bool> {
        let before = self.file.len()?;
        let named = disk.open(&folder.join(self.name.file()), Access::Read)?.len()?;
        Ok(!(before..=self.file.len()?).contains(&named))
    }

    /// Looks at what was added. With `sync`, nothing is looked at that is not durable. Up to `durable`, where
    /// that is known, all numbers were acknowledged.
    pub(super) fn follow(
        &mut self,
        limit: u64,
        sync: bool,
        durable: Option<u64>,
    ) -> io::Result<()> {
        if self.limit != NO_LIMIT {
            return Ok(());
        }
        let bytes = self.file.len()?;
        if sync && bytes > self.bytes {
            self.file.sync()?;
        }
        self.bytes = bytes;
        if let Some(durable) = durable {
            // What is damaged of the last append does not take the rest of it away.
            self.scan.run(&*self.file, self.bytes, durable)?;
        }
        self.look(limit)
    }

    /// Its writer closed it behind this number, so that a bad record before it is damage and no torn tail, if that
    /// number is here. Where it is not, the last append is as it would be without this: an import says one more than
    /// there is.
    pub(super) fn believe(&mut self, last: u64) -> io::Result<()> {
        if self.is_complete() || self.scan.next > last {
            return Ok(());
        }
        let mut whole = self.scan.clone();
        whole.run(&*self.file, self.bytes, last)?;
        if whole.last.is_some_and(|found| found.place.i == last) {
            self.scan = whole;
        }
        Ok(())
    }

    fn look(&mut self, limit: u64) -> io::Result<()> {
        self.limit = limit;
        self.scan.run(&*self.file, self.bytes, limit)?;
        Ok(())
    }

    /// The last number that is known, lost or not.
    pub(super) fn last(&self) -> Option<u64> {
        self.scan.next.checked_sub(1)
    }

    /// Takes records from `taken.next` up to `end`, as many as fit.
    pub(super) fn take(&mut self, taken: &mut Taken, end: u64) -> io::Result<()> {
        if !self.take_known(taken, end)? {
            self.rescan()?;
            self.take_known(taken, end)?;
        }
        if taken.next <= end && !taken.full {
            // Nothing that can be read is behind it.
            taken.lose(end, self.name);
        }
        Ok(())
    }

    /// Something is wrong in a segment whose index was believed, or that changed after it was looked at: what
    /// is good behind it is found by looking again. Numbers that were known once count, whatever became of
    /// them.
    fn rescan(&mut self) -> io::Result<()> {
        let limit = if self.limit == NO_LIMIT { self.last() } else { Some(self.limit) };
        self.scan = Scan::new(self.name.epoch, self.name.first, self.records_at);
        self.indexed = false;
        self.scan.run(&*self.file, self.bytes, limit.unwrap_or(NO_LIMIT))?;
        Ok(())
    }

    /// Says whether everything was as it is known to be.
    fn take_known(&mut self, taken: &mut Taken, end: u64) -> io::Result<bool> {
        let mut window = Window::new(&*self.file, self.bytes);
        let mut at = self.scan.start(taken.next).map_or(self.records_at, |place| place.at);
        while taken.next <= end && !taken.full {
            if let Some((_, last)) = self.scan.hole(taken.next) {
                taken.lose(last.min(end), self.name);
                continue;
            }
            let head = seek(&mut window, self.name.epoch, at, taken.next)?;
            let Some(head) = head.filter(|head| head.place.i == taken.next) else {
                return Ok(false);
            };
            let record = window.record(self.name.epoch, head.place.at)?;
            let body = record.and_then(|(raw, _)| raw.body());
            match body {
                Some(body) => taken.take(Entry { i: head.place.i, time: head.place.time, body }),
                None => taken.lose(taken.next, self.name),
            }
            at = head.end;
        }
        Ok(true)
    }

    /// The first record up to `end` that was appended at this time or later.
    pub(super) fn find(&self, time: Timestamp, end: u64) -> io::Result<Option<u64>> {
        let mut window = Window::new(&*self.file, self.bytes);
        let behind = self.scan.places.partition_point(|place| place.time < time);
        let start = self.scan.places.get(behind.saturating_sub(1));
        let Some(Place { i, at, .. }) = start.copied() else { return Ok(None) };
        let (mut i, mut at) = (i, at);
        while let Some(head) = seek(&mut window, self.name.epoch, at, i)? {
            if head.place.i > end {
                break;
            }
            if head.place.time >= time {
                return Ok(Some(head.place.i));
            }
            (i, at) = (head.place.i + 1, head.end);
        }
        Ok(None)
    }

    /// The last good number up to `end`.
    pub(super) fn last_good(&self, end: u64) -> Option<u64> {
        let mut last = self.last()?.min(end);
        while let Some((from, _)) = self.scan.hole(last) {
            last = from.checked_sub(1)?;
        }
        (last >= self.name.first).then_some(last)
    }
}

impl Taken {
    fn take(&mut self, entry: Entry) {
        let bytes = match &entry.body {
            super::record::Body::Record(wire) => wire.len(),
            super::record::Body::Gone { reason, .. } => 32 + reason.len(),
        };
        let fits = self.records_left > 0 && bytes <= self.bytes_left;
        if !fits && !self.entries.is_empty() {
            self.full = true;
            return;
        }
        self.records_left = self.records_left.saturating_sub(1);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.next = entry.i + 1;
        self.entries.push(entry);
    }

    fn lose(&mut self, to: u64, name: SegmentName) {
        self.holes.push((self.next, to, name));
        self.next = to + 1;
    }
}
