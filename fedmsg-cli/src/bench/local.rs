//! Publishing at level `local` against the disk alone: the same bytes, written and synced as often, in turns.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedmsg::config::{Config, LoadOptions};
use fedmsg::publisher::Ticket;
use fedmsg::{Draft, Identity, Publisher};

use super::bus::Bus;
use super::place::Place;
use super::progress::Progress;
use super::tally::quantile;
use super::{Bound, Error, Figure};

/// Tickets that wait at any time.
const WAITING: usize = 64;
/// Publisher and disk take turns so often: whatever else the machine does hits both.
const SLICES: u64 = 40;
/// Messages that are published one by one, in turns of so many.
const SINGLES_MAX: u64 = 2_000;
const TURN: u64 = 10;
/// Part of a bare batch of [`WAITING`] records that publishing must reach, and times a bare sync that one message
/// may take.
const LEAST: f64 = 0.5;
const MOST: f64 = 1.3;
/// The file of the bare disk begins anew at so many bytes, as a journal's segments do.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What one slice of publishing came to.
#[derive(Clone, Copy)]
struct Slice {
    records: u64,
    syncs: u64,
    bytes: u64,
    sync_us: u64,
    took: Duration,
}

/// Both figures.
pub(super) fn measure(place: &Place, messages: u64, size: usize) -> Result<Vec<Figure>, Error> {
    let bus = Bus::kept(1, place.path())?;
    let publisher = open(&bus)?;
    let body = serde_json::json!({ "n": 1, "pad": "x".repeat(size.saturating_sub(20)) });
    let draft = || Draft::new("bench.message").body(&body);
    // The first message pays for the segment; it also shows how a record looks on disk.
    publisher.publish(draft()).wait().map_err(Error::other)?;
    let mut bare = Bare::like(&bus.journal(0), place.path())?;
    let together = together(&publisher, &draft, &mut bare, messages, place)?;
    let single = single(&publisher, &draft, &mut bare, messages.min(SINGLES_MAX), place)?;
    publisher.close();
    Ok(vec![together, single])
}

fn open(bus: &Bus) -> Result<Publisher, Error> {
    let options = LoadOptions { folder: Some(bus.config_dir()), ..LoadOptions::default() };
    let config = Arc::new(Config::load(&options).map_err(Error::other)?);
    let identity = Identity::parse(&bus.identities[0]).map_err(Error::other)?;
    let builder = Publisher::builder().config(config).identity(identity);
    builder.build().map_err(Error::other)
}

/// How far 64 waiting tickets come, against as many syncs of the same bytes.
fn together(
    publisher: &Publisher,
    draft: &dyn Fn() -> Draft,
    bare: &mut Bare,
    messages: u64,
    place: &Place,
) -> Result<Figure, Error> {
    let count = messages.div_ceil(SLICES);
    let progress = Progress::new("local", count * SLICES);
    let (mut ratios, mut full) = (Vec::new(), Vec::new());
    let (mut records, mut syncs, mut sync_us, mut took) = (0, 0, 0, [Duration::ZERO; 2]);
    for at in 0..SLICES {
        let ours = slice(publisher, draft, count)?;
        let same = bare.write(ours.bytes, ours.syncs)?;
        let batches = ours.records.div_ceil(WAITING as u64);
        let fuller = bare.write(ours.bytes, batches)?;
        ratios.push(same.as_secs_f64() / ours.took.as_secs_f64());
        full.push(fuller.as_secs_f64() / ours.took.as_secs_f64());
        (records, syncs) = (records + ours.records, syncs + ours.syncs);
        sync_us += ours.sync_us;
        took = [took[0] + ours.took, took[1] + same];
        progress.at((at + 1) * count);
    }
    let [low, middle, high] = [0.1, 0.5, 0.9].map(|part| quantile(&ratios, part));
    let rate = |took: Duration| records as f64 / took.as_secs_f64();
    let detail = format!(
        "{:.0}/s, of the time {:.0} % in syncs, the disk alone {:.0}/s with {:.1} records a sync; {low:.2} to {high:.2} in {SLICES} turns, {:.2} of batches of {WAITING}; {}",
        rate(took[0]),
        sync_us as f64 / took[0].as_secs_f64() / 1e4,
        rate(took[1]),
        records as f64 / syncs as f64,
        quantile(&full, 0.5),
        place.name(),
    );
    Ok(figure("local", middle, "of bare syncs", Bound::AtLeast(LEAST), detail))
}

/// Publishes so many messages with [`WAITING`] tickets open at any time.
fn slice(publisher: &Publisher, draft: &dyn Fn() -> Draft, count: u64) -> Result<Slice, Error> {
    let before = journal(publisher)?;
    let start = Instant::now();
    let mut waiting: VecDeque<Ticket> = VecDeque::with_capacity(WAITING);
    for _ in 0..count {
        if waiting.len() == WAITING
            && let Some(ticket) = waiting.pop_front()
        {
            ticket.wait().map_err(Error::other)?;
        }
        waiting.push_back(publisher.enqueue(draft()).map_err(Error::other)?);
    }
    for ticket in waiting {
        ticket.wait().map_err(Error::other)?;
    }
    let took = start.elapsed();
    let after = journal(publisher)?;
    let [records, syncs, bytes, sync_us] = [0, 1, 2, 3].map(|at| after[at] - before[at]);
    Ok(Slice { records, syncs, bytes, sync_us, took })
}

/// Records, syncs, bytes, and microseconds of syncs so far.
fn journal(publisher: &Publisher) -> Result<[u64; 4], Error> {
    let metrics = publisher.metrics().journal.ok_or_else(|| Error::other("nothing is kept"))?;
    Ok([
        metrics.records,
        metrics.syncs,
        metrics.bytes + metrics.trimmed_bytes,
        metrics.sync_us_total,
    ])
}

/// What one message takes that waits for its receipt alone, against one write and one sync.
fn single(
    publisher: &Publisher,
    draft: &dyn Fn() -> Draft,
    bare: &mut Bare,
    messages: u64,
    place: &Place,
) -> Result<Figure, Error> {
    let progress = Progress::new("local single", messages);
    let before = journal(publisher)?;
    let (mut ours, mut disk) = (Vec::new(), Vec::new());
    let micros = |took: Duration| took.as_secs_f64() * 1e6;
    while (ours.len() as u64) < messages {
        for _ in 0..TURN {
            let draft = draft();
            let start = Instant::now();
            publisher.publish(draft).wait().map_err(Error::other)?;
            ours.push(micros(start.elapsed()));
        }
        let after = journal(publisher)?;
        let bytes = (after[2] - before[2]) / (after[0] - before[0]).max(1);
        for _ in 0..TURN {
            disk.push(micros(bare.write(bytes, 1)?));
        }
        progress.at(ours.len() as u64);
    }
    let p50 = |times: &[f64]| quantile(times, 0.5);
    let detail = format!(
        "p50 {:.0} us, p99 {:.0}, the disk alone {:.0} and {:.0}; {}",
        p50(&ours),
        quantile(&ours, 0.99),
        p50(&disk),
        quantile(&disk, 0.99),
        place.name(),
    );
    let ratio = p50(&ours) / p50(&disk);
    Ok(figure("local single", ratio, "times a bare sync", Bound::AtMost(MOST), detail))
}

fn figure(
    name: &'static str,
    value: f64,
    unit: &'static str,
    bound: Bound,
    detail: String,
) -> Figure {
    Figure { name, value, unit, bound, whole: true, lost: 0, duplicates: 0, detail }
}

/// The disk alone: plain appends to a file beside the journal.
pub(super) struct Bare {
    path: PathBuf,
    file: File,
    at: u64,
    /// What a journal has in it, over and over.
    bytes: Vec<u8>,
}

impl Bare {
    /// Writes what the first segment of this journal has, to a file in this folder.
    pub(super) fn like(journal: &Path, folder: &Path) -> Result<Bare, Error> {
        let names = fs::read_dir(journal)?.collect::<Result<Vec<_>, _>>()?;
        let mut paths = names.iter().map(fs::DirEntry::path);
        let segment = paths.find(|path| path.extension().is_some_and(|end| end == "seg"));
        let bytes = fs::read(segment.ok_or_else(|| Error::other("a journal without a segment"))?)?;
        let path = folder.join("bare");
        let file = fresh(&path)?;
        Ok(Bare { path, file, at: 0, bytes })
    }

    /// Writes so many bytes in so many equal parts, each with a sync; the time of the writes and syncs alone.
    pub(super) fn write(&mut self, bytes: u64, parts: u64) -> Result<Duration, Error> {
        let mut took = Duration::ZERO;
        for part in 0..parts {
            let until = |part| bytes * part / parts;
            let length = usize::try_from(until(part + 1) - until(part)).map_err(Error::other)?;
            let batch: Vec<u8> = self.bytes.iter().copied().cycle().take(length).collect();
            if self.at + length as u64 > FILE_BYTES_MAX {
                (self.file, self.at) = (fresh(&self.path)?, 0);
            }
            let start = Instant::now();
            self.file.write_all_at(&batch, self.at)?;
            self.file.sync_data()?;
            took += start.elapsed();
            self.at += length as u64;
        }
        Ok(took)
    }
}

/// An empty file that is durably there.
fn fresh(path: &Path) -> Result<File, Error> {
    let _ = fs::remove_file(path);
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
    Ok(file)
}
