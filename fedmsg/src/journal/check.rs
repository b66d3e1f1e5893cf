//! Looking at everything that a journal has: checksums, numbers, and the chain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::error::{JournalError, io_error};
use super::format::SegmentName;
use super::record::{Body, Damage, Range};
use super::scan::{NO_LIMIT, Scan, Tail, Window, seek};
use super::segment::{Segment, is_gone, limit, load, names_beside_writer};
use crate::envelope::{Envelope, Epoch};
use crate::limits::JOURNAL_DAMAGE_MAX;
use crate::merkle::Leaf;

/// What is in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The stream, as the newest readable header has it.
    pub stream: Option<String>,
    /// Every segment, oldest first.
    pub segments: Vec<SegmentReport>,
    /// What there is of each epoch, oldest first; damaged numbers are not taken out.
    pub ranges: Vec<Range>,
    /// Numbers that cannot be read, at most 1,000 ranges of them.
    pub damage: Vec<Damage>,
    /// Records that do not follow the one before: their `prev` is not its leaf, or they say another epoch or
    /// number than their place. At most 1,000.
    pub broken_links: Vec<BrokenLink>,
    /// What the bounds of the two lists above kept out.
    pub left_out: u64,
}

/// What is in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// The file.
    pub path: PathBuf,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its first number.
    pub first: u64,
    /// Good records that count.
    pub records: u64,
    /// Its length.
    pub bytes: u64,
    /// Whether its header can be read. Its records are found without it.
    pub header: bool,
    /// Bytes at its end that do not count: a torn write, or one that failed.
    pub behind: u64,
    /// Whether nothing says where the segment must end, and it ends in the middle of an append.
    pub torn: bool,
}

/// A record that does not follow the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenLink {
    /// The epoch.
    pub epoch: Epoch,
    /// The number.
    pub i: u64,
    /// What is wrong.
    pub why: String,
}

impl Report {
    /// Whether every record is there and follows the one before. A torn tail is what a crash leaves, and no
    /// fault of the journal.
    pub fn is_good(&self) -> bool {
        let headers = self.segments.iter().all(|segment| segment.header);
        headers && self.damage.is_empty() && self.broken_links.is_empty()
    }
}

/// Reads every record of a journal. Changes nothing, and can run beside the writer: of the newest segment it
/// says what was there when it came to it.
pub fn check(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Report, JournalError> {
    check_with(disk, folder, |_, _| {})
}

/// Like [`check`], and says before each segment how many were read, and how many there are.
pub fn check_with(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<Report, JournalError> {
    let names = names_beside_writer(&**disk, folder, None)?;
    let mut report = Report::default();
    let mut segments = Vec::with_capacity(names.len());
    for name in names {
        match load(&**disk, folder, name) {
            Ok(loaded) => {
                report.stream = loaded.header.map(|header| header.stream).or(report.stream);
                segments.push(loaded.segment);
            }
            Err(error) if is_gone(&error) => segments.clear(),
            Err(error) => return Err(error),
        }
    }
    let mut chain = Chain::default();
    for at in 0..segments.len() {
        progress(at, segments.len());
        match report.look(&**disk, folder, &segments, at, &mut chain) {
            Err(error) if is_gone(&error) => {}
            looked => looked?,
        }
    }
    Ok(report)
}

impl Report {
    fn look(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        segments: &[Segment],
        at: usize,
        chain: &mut Chain,
    ) -> Result<(), JournalError> {
        let Segment { name, bytes, start } = segments[at].clone();
        let path = folder.join(name.file());
        let reading = |error| io_error("reading", &path)(error);
        let file = load(disk, folder, name)?.file;
        let mut scan = Scan::new(name.epoch, name.first, segments[at].records_at());
        let limit = limit(segments, at);
        let tail = scan.run(&*file, bytes, limit).map_err(reading)?;
        self.walk(&*file, &segments[at], &scan, chain).map_err(reading)?;
        for (from, to) in &scan.holes {
            self.lost(Damage { epoch: name.epoch, from: *from, to: *to, path: path.clone() });
        }
        self.range(name, &scan);
        let behind = bytes.saturating_sub(scan.at);
        let torn = limit == NO_LIMIT && tail == Tail::Torn;
        let (epoch, first, records) = (name.epoch, name.first, scan.records);
        let header = start.is_some();
        let segment = SegmentReport { path, epoch, first, records, bytes, header, behind, torn };
        self.segments.push(segment);
        Ok(())
    }

    /// Follows the chain through the records that count.
    fn walk(
        &mut self,
        file: &dyn DiskFile,
        segment: &Segment,
        scan: &Scan,
        chain: &mut Chain,
    ) -> io::Result<()> {
        let epoch = segment.name.epoch;
        let mut window = Window::new(file, segment.bytes);
        let (mut next, mut place) = (segment.name.first, segment.records_at());
        while let Some(head) = seek(&mut window, epoch, place, next)? {
            let i = head.place.i;
            if i >= scan.next {
                break;
            }
            let record = window.record(epoch, head.place.at)?;
            let body = record.and_then(|(raw, _)| raw.body());
            if let Some(why) = chain.follow(epoch, i, body) {
                self.link(BrokenLink { epoch, i, why });
            }
            (next, place) = (i + 1, head.end);
        }
        Ok(())
    }

    fn range(&mut self, name: SegmentName, scan: &Scan) {
        let Some(last) = scan.next.checked_sub(1).filter(|last| *last >= name.first) else {
            return;
        };
        match self.ranges.last_mut().filter(|range| range.epoch == name.epoch) {
            Some(range) => range.last = last,
            None => self.ranges.push(Range { epoch: name.epoch, first: name.first, last }),
        }
    }

    fn lost(&mut self, damage: Damage) {
        if self.damage.len() < JOURNAL_DAMAGE_MAX {
            self.damage.push(damage);
        } else {
            self.left_out += 1;
        }
    }

    fn link(&mut self, link: BrokenLink) {
        if self.broken_links.len() < JOURNAL_DAMAGE_MAX {
            self.broken_links.push(link);
        } else {
            self.left_out += 1;
        }
    }
}

/// The last record that was seen, and its leaf.
#[derive(Default)]
struct Chain(Option<(Epoch, u64, Leaf)>);

impl Chain {
    /// What is wrong with a record that comes next, if something is.
    fn follow(&mut self, epoch: Epoch, i: u64, body: Option<Body>) -> Option<String> {
        let before = self.0.take();
        let Some(body) = body else { return Some("its form is wrong".into()) };
        let Some(leaf) = body.leaf() else { return Some("it is no envelope".into()) };
        self.0 = Some((epoch, i, leaf));
        let Body::Record(wire) = &body else { return None };
        let text = match std::str::from_utf8(&wire.envelope) {
            Ok(text) => text,
            Err(_) => return Some("it is not UTF-8".into()),
        };
        let envelope = match Envelope::parse(text) {
            Ok(envelope) => envelope,
            Err(fault) => return Some(fault.to_string()),
        };
        if (envelope.epoch, envelope.i) != (epoch, i) {
            return Some(format!("it says number {} of epoch {}", envelope.i, envelope.epoch));
        }
        let prev = envelope.prev;
        let follows = match before {
            Some((of, last, leaf)) if of == epoch && last + 1 == i => prev == leaf,
            // The one before is damaged or trimmed. How epochs follow each other is in their genesis.
            _ => true,
        };
        (!follows).then(|| format!("`prev` is {prev}, which is not the leaf of the one before"))
    }
}
