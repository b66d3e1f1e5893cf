//! Random histories against a map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;
use fedmsg::holder::{Absent, Part};
use fedmsg::journal::Disk;
use fedmsg::log::Log;
use fedmsg::testing::MemoryDisk;
use fedmsg::timestamp::Timestamp;

use crate::world::{
    EPOCHS, Position, RECORDS, STREAMS, at, body, epoch, folder, item, seeds, settings, stream,
};

/// What should be there, and when it came.
type Model = BTreeMap<Position, Timestamp>;

#[test]
fn a_log_has_what_a_map_would_have() {
    for seed in 0..seeds(200) {
        history(seed);
    }
}

fn history(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let disk = MemoryDisk::new();
    let mut model = Model::new();
    let mut log = open(&disk);
    let mut ms = 0;
    for _ in 0..40 {
        match random.u8(0..10) {
            0 => log = reopen(log, &disk, &mut random),
            1..5 => {
                ms += random.u64(0..20);
                let positions = positions(&mut random, &model);
                let items: Vec<_> = positions.iter().map(|position| item(*position)).collect();
                log.append(&items, at(ms)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                for position in positions {
                    model.entry(position).or_insert(at(ms));
                }
            }
            5..9 => compare(&log, &model, &mut random, seed),
            _ => find(&log, &model, at(random.u64(0..=ms + 1)), seed),
        }
    }
    let reader = log.reader();
    let served = crate::world::serve_all(&reader);
    assert_eq!(served, model.keys().copied().collect(), "seed {seed}");
}

fn open(disk: &MemoryDisk) -> Log {
    Log::open(Arc::new(disk.clone()), folder(), settings()).expect("opens")
}

/// Closed or killed, with or without a power cut, and files that can be made again are gone or not.
fn reopen(log: Log, disk: &MemoryDisk, random: &mut Rng) -> Log {
    match random.bool() {
        true => log.close().expect("closes"),
        false => drop(log),
    }
    if random.bool() {
        disk.restart(random.u64(..));
    }
    for (path, _) in disk.files() {
        if path.extension().is_none_or(|e| e != "seg") && random.u8(0..4) == 0 {
            disk.remove(&path).expect("removes");
        }
    }
    open(disk)
}

/// Numbers that follow each other, mostly.
fn positions(random: &mut Rng, model: &Model) -> Vec<Position> {
    let mut positions = Vec::new();
    for _ in 0..random.usize(1..6) {
        let (s, n) = (random.usize(0..STREAMS), random.u64(1..=EPOCHS.min(3)));
        let last = model.range((s, n, 0)..=(s, n, RECORDS)).next_back();
        let next = last.map_or(0, |((_, _, i), _)| i + 1);
        let first = if random.u8(0..5) == 0 { random.u64(0..=RECORDS) } else { next };
        let end = (first + random.u64(1..6)).min(RECORDS + 1);
        positions.extend((first..end).map(|i| (s, n, i)));
    }
    positions
}

fn compare(log: &Log, model: &Model, random: &mut Rng, seed: u64) {
    let (s, n) = (random.usize(0..STREAMS), random.u64(1..=3));
    let from = random.u64(0..=RECORDS);
    let to = random.u64(from..=RECORDS + 5);
    let most = random.usize(1..20);
    let what = format!("seed {seed}: {from} to {to} of epoch {n} of stream {s}, at most {most}");
    let there: Vec<u64> = numbers(model, s, n).collect();
    let part = Part { epoch: epoch(n), from, to };
    let read = log.reader().read(stream(s), part, most, 1 << 20);
    if !model.keys().any(|known| known.0 == s) {
        assert_eq!(read, Err(Absent::Stream), "{what}");
        return;
    }
    let Some(first) = there.first().copied() else {
        assert_eq!(read, Err(Absent::Epoch), "{what}");
        return;
    };
    if from < first {
        assert_eq!(read, Err(Absent::Trimmed { first }), "{what}");
        return;
    }
    let batch = read.unwrap_or_else(|error| panic!("{what}: {error}"));
    let wanted: Vec<u64> = there.iter().copied().filter(|i| (from..=to).contains(i)).collect();
    let expected = &wanted[..most.min(wanted.len())];
    let got: Vec<u64> = batch.entries.iter().map(|entry| entry.i).collect();
    assert_eq!(got, expected, "{what}");
    for entry in &batch.entries {
        assert_eq!(entry.body, body((s, n, entry.i)), "{what}");
        assert_eq!(Some(&entry.time), model.get(&(s, n, entry.i)), "{what}");
    }
    // Where it is not full, it is known of everything up to the last number that is there.
    let end = there.last().copied().unwrap_or(0).min(to);
    let is_full = expected.len() == most;
    let upto = if is_full { expected.last().copied() } else { Some(end) };
    let upto = upto.filter(|upto| *upto >= from).unwrap_or(from.saturating_sub(1));
    assert_eq!((batch.upto, batch.more), (upto, end > upto), "{what}");
    let holes: BTreeSet<u64> = batch.holes.iter().flat_map(|hole| hole.from..=hole.to).collect();
    let missing: BTreeSet<u64> = (from..=upto).filter(|i| !expected.contains(i)).collect();
    assert_eq!(holes, missing, "{what}");
}

fn numbers(model: &Model, s: usize, n: u64) -> impl Iterator<Item = u64> {
    model.range((s, n, 0)..=(s, n, RECORDS)).map(|((_, _, i), _)| *i)
}

/// What is found came at the time or later; and where times rise with numbers, nothing before it did.
fn find(log: &Log, model: &Model, time: Timestamp, seed: u64) {
    for s in 0..STREAMS {
        let all: Vec<_> = model.range((s, 0, 0)..(s + 1, 0, 0)).collect();
        let Some(((_, n, i), _)) = all.last() else { continue };
        let found = log.reader().find(stream(s), time).expect("there");
        let rises = all.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        let first = all.iter().find(|(_, came)| **came >= time);
        let expected = match first {
            Some(((_, n, i), _)) => (epoch(*n), (*i).max(1)),
            None => (epoch(*n), i + 1),
        };
        if rises {
            assert_eq!(found, expected, "seed {seed}, stream {s}, {time:?}");
        }
    }
}
