//! A reader of a journal, beside its writer: in another thread or another process.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aside;
use super::disk::Disk;
use super::error::{JournalError, io_error};
use super::mark::Mark;
use super::record::{Body, Damage, Entry, Range};
use super::scan::NO_LIMIT;
use super::segment::{Segment, is_gone, limit, load, names_beside_writer};
use super::view::{Taken, View};
use super::writer::Journal;
use crate::envelope::{Epoch, Wire};
use crate::limits::JOURNAL_OPEN_FILES_MAX;
use crate::timestamp::Timestamp;

/// Reads a journal while it grows, begins new segments and is trimmed. Writes nothing.
///
/// It never hands out what may not be durable: in the writer's process it follows the writer's [`Mark`], in
/// another one it syncs the newest segment itself before it reads what is new there.
pub struct Reader {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    mark: Option<Mark>,
    /// Where the mark was before it was looked which segments there are, here or as its writer wrote it down: up to
    /// here they have everything.
    durable: Option<(Epoch, u64)>,
    /// Where the journal ended when its writer closed it last.
    ended: Option<(Epoch, u64)>,
    /// Oldest first.
    segments: Vec<Segment>,
    /// Most recently used last.
    views: Vec<View>,
}

/// A part of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What could be read, in order.
    pub entries: Vec<Entry>,
    /// What could not, in order.
    pub holes: Vec<Damage>,
    /// The last number that this covers; one less than was asked for when there is nothing yet.
    pub upto: u64,
    /// Whether there is more of what was asked for.
    pub more: bool,
}

impl Reader {
    /// A reader of a journal that another process writes, or nobody.
    pub fn new(disk: Arc<dyn Disk>, folder: &Path) -> Reader {
        let (segments, views) = (Vec::new(), Vec::new());
        Reader {
            disk,
            folder: folder.into(),
            mark: None,
            durable: None,
            ended: None,
            segments,
            views,
        }
    }

    /// A reader that hands out what is durable by this mark: that of the journal's writer.
    pub fn with_mark(disk: Arc<dyn Disk>, folder: &Path, mark: Mark) -> Reader {
        Reader { mark: Some(mark), ..Reader::new(disk, folder) }
    }

    /// What there is of each epoch, oldest first. Damaged numbers are not taken out.
    pub fn ranges(&mut self) -> Result<Vec<Range>, JournalError> {
        self.refresh()?;
        let mut ranges: Vec<Range> = Vec::new();
        for at in 0..self.segments.len() {
            let name = self.segments[at].name;
            let Some(last) = self.last_of(at)?.filter(|last| *last >= name.first) else { continue };
            match ranges.last_mut().filter(|range| range.epoch == name.epoch) {
                Some(range) => range.last = last,
                None => ranges.push(Range { epoch: name.epoch, first: name.first, last }),
            }
        }
        Ok(ranges)
    }

    /// Numbers `from` to `to` of an epoch, at most so many records and bytes of them, at least one.
    ///
    /// Damage is reported as holes, and what is behind is handed out. Fails with
    /// [`Trimmed`](JournalError::Trimmed) when retention has passed `from`.
    pub fn read(
        &mut self,
        epoch: Epoch,
        from: u64,
        to: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, JournalError> {
        self.refresh()?;
        let of_epoch = self.of_epoch(epoch)?;
        let first = self.segments[of_epoch.start].name.first;
        if from < first {
            return Err(JournalError::Trimmed { epoch, first });
        }
        let mut taken = Taken {
            entries: Vec::new(),
            holes: Vec::new(),
            next: from,
            records_left: max_records,
            bytes_left: max_bytes,
            full: false,
        };
        let mut last = None;
        for at in of_epoch {
            last = self.last_of(at)?.map(|last| last.min(to)).max(last);
            let Some(end) = last.filter(|last| *last >= taken.next && !taken.full) else {
                continue;
            };
            let (folder, name) = (self.folder.clone(), self.segments[at].name);
            let Some(view) = self.view(at)? else {
                // It was trimmed while this was going on.
                return self.read(epoch, from, to, max_records, max_bytes);
            };
            view.take(&mut taken, end).map_err(io_error("reading", folder.join(name.file())))?;
        }
        let more = last.is_some_and(|last| last >= taken.next);
        let holes = taken.holes.into_iter().map(|(from, to, name)| Damage {
            epoch,
            from,
            to,
            path: self.folder.join(name.file()),
        });
        Ok(Batch {
            entries: taken.entries,
            holes: holes.collect(),
            upto: taken.next.saturating_sub(1),
            more,
        })
    }

    /// Bytes of the segments that hold something behind this place; of all where there is none.
    pub fn bytes_after(&mut self, after: Option<(Epoch, u64)>) -> Result<u64, JournalError> {
        self.refresh()?;
        let mut bytes = 0;
        for at in 0..self.segments.len() {
            let last = self.last_of(at)?;
            let epoch = self.segments[at].name.epoch;
            if last.is_some_and(|last| Some((epoch, last)) > after) {
                bytes += self.segments[at].bytes;
            }
        }
        Ok(bytes)
    }

    /// The first record, of whichever epoch, that was appended at this time or later by the writer's clock.
    pub fn find(&mut self, time: Timestamp) -> Result<Option<(Epoch, u64)>, JournalError> {
        self.refresh()?;
        for at in 0..self.segments.len() {
            let next = self.segments.get(at + 1).and_then(|next| next.start);
            let Some(end) = self.last_of(at)?.filter(|_| next.is_none_or(|next| next.made >= time))
            else {
                continue;
            };
            let (path, epoch) = (self.path(at), self.segments[at].name.epoch);
            let Some(view) = self.view(at)? else { continue };
            if let Some(i) = view.find(time, end).map_err(io_error("reading", path))? {
                return Ok(Some((epoch, i)));
            }
        }
        Ok(None)
    }

    /// The genesis record of an epoch; nothing when it is damaged wherever it stood.
    pub fn genesis(&mut self, epoch: Epoch) -> Result<Option<Wire>, JournalError> {
        self.refresh()?;
        let of_epoch = self.of_epoch(epoch)?;
        for at in of_epoch.clone() {
            match load(&*self.disk, &self.folder, self.segments[at].name) {
                Ok(loaded) => {
                    if let Some(header) = loaded.header {
                        return Ok(Some(header.genesis));
                    }
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if self.segments[of_epoch.start].name.first > 0 {
            return Ok(None);
        }
        let entry = self.read(epoch, 0, 0, 1, 0)?.entries.pop();
        Ok(entry.and_then(|entry| match entry.body {
            Body::Record(wire) => Some(wire),
            Body::Gone { .. } => None,
        }))
    }

    /// The last record of an epoch that can be read; its leaf is that of its body.
    pub fn last(&mut self, epoch: Epoch) -> Result<Option<Entry>, JournalError> {
        self.refresh()?;
        for at in self.of_epoch(epoch)?.rev() {
            let Some(end) = self.last_of(at)? else { continue };
            let Some(last) = self.view(at)?.and_then(|view| view.last_good(end)) else { continue };
            return Ok(self.read(epoch, last, last, 1, 0)?.entries.pop());
        }
        Ok(None)
    }

    /// Looks which segments there are.
    fn refresh(&mut self) -> Result<(), JournalError> {
        self.durable = match &self.mark {
            None => aside::read_mark(&*self.disk, &self.folder),
            Some(mark) => mark.get(),
        };
        self.ended = aside::read_end(&*self.disk, &self.folder);
        let newest = self.segments.last().map(|segment| segment.name);
        let names = names_beside_writer(&*self.disk, &self.folder, newest)?;
        let mut known = std::mem::take(&mut self.segments).into_iter().peekable();
        let mut segments = Vec::with_capacity(names.len());
        for name in names {
            while known.next_if(|known| known.name < name).is_some() {}
            match known.next_if(|known| known.name == name) {
                Some(segment) => segments.push(segment),
                None => match load(&*self.disk, &self.folder, name) {
                    Ok(loaded) => segments.push(loaded.segment),
                    // It was trimmed since it was listed, and so was everything before it.
                    Err(error) if is_gone(&error) => segments.clear(),
                    Err(error) => return Err(error),
                },
            }
        }
        self.segments = segments;
        if self.mark.is_none() && self.segments.last().map(|segment| segment.name) != newest {
            // The name itself may not be durable yet, and with it all that the file holds.
            let synced = self.disk.sync_folder(&self.folder);
            synced.map_err(io_error("syncing", &self.folder))?;
        }
        let Reader { views, segments, .. } = self;
        views.retain(|view| segments.binary_search_by_key(&view.name, |known| known.name).is_ok());
        Ok(())
    }

    /// Where the segments of an epoch are.
    fn of_epoch(&self, epoch: Epoch) -> Result<std::ops::Range<usize>, JournalError> {
        let start = self.segments.partition_point(|segment| segment.name.epoch < epoch);
        let end = self.segments.partition_point(|segment| segment.name.epoch <= epoch);
        if start == end { Err(JournalError::UnknownEpoch(epoch)) } else { Ok(start..end) }
    }

    /// The last number of a segment that can be handed out, lost or not.
    fn last_of(&mut self, at: usize) -> Result<Option<u64>, JournalError> {
        let epoch = self.segments[at].name.epoch;
        let durable = match self.mark.as_ref().map(Mark::get) {
            Some(None) => return Ok(None),
            Some(Some((newest, _))) if epoch > newest => return Ok(None),
            Some(Some((newest, last))) if epoch == newest => last,
            _ => NO_LIMIT,
        };
        match limit(&self.segments, at) {
            NO_LIMIT => {
                let last = self.view(at)?.and_then(|view| view.last());
                Ok(last.map(|last| last.min(durable)))
            }
            limit => Ok(Some(limit.min(durable))),
        }
    }

    /// A segment, looked at to its end; nothing when it is gone.
    fn view(&mut self, at: usize) -> Result<Option<&mut View>, JournalError> {
        let path = self.path(at);
        match self.try_view(at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("reading", path)(error)),
            Ok(()) => Ok(self.views.last_mut()),
        }
    }

    /// Puts the segment behind the views that were used before.
    fn try_view(&mut self, at: usize) -> io::Result<()> {
        let (limit, segment) = (limit(&self.segments, at), &self.segments[at]);
        let (disk, folder) = (&*self.disk, &self.folder);
        let known = self.views.iter().position(|view| view.name == segment.name);
        let known = known.map(|known| self.views.remove(known));
        let mut view = match known {
            // One that was looked at to its end is what it was; another one may have its name by now, also when a
            // segment behind it is there already.
            Some(view) if view.is_complete() || !view.is_replaced(disk, folder)? => view,
            _ => View::open(disk, folder, segment, limit)?,
        };
        // What a later segment says of this one counts more than what its writer wrote down.
        let durable =
            self.durable.filter(|(epoch, _)| *epoch == segment.name.epoch && limit == NO_LIMIT);
        let durable = durable.map(|(_, last)| last);
        let ended = self.ended.filter(|(epoch, _)| *epoch == segment.name.epoch);
        view.follow(limit, self.mark.is_none(), durable)?;
        if let Some((_, last)) = ended {
            view.believe(last)?;
        }
        if self.views.len() >= JOURNAL_OPEN_FILES_MAX {
            self.views.remove(0);
        }
        self.views.push(view);
        Ok(())
    }

    fn path(&self, at: usize) -> PathBuf {
        self.folder.join(self.segments[at].name.file())
    }
}

impl Journal {
    /// A reader for this process.
    pub fn reader(&self) -> Reader {
        Reader::with_mark(Arc::clone(&self.disk), &self.folder, self.mark())
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({}, {} segments)", self.folder.display(), self.segments.len())
    }
}
