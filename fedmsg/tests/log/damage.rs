//! Every byte of a small log is changed, and every file is cut at every length.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fedmsg::log::Log;
use fedmsg::testing::MemoryDisk;

use crate::world::{
    Position, Relay, at, folder, heartbeat, item, number, sealed, seeds, serve, serve_all,
    settings, stream,
};

const LAST_APPEND: usize = 3;

/// A few segments of a relay that was killed or closed, and what it acknowledged.
fn story(closed: bool) -> Relay {
    let mut relay = Relay::new(MemoryDisk::new());
    relay.live(&[1, 2, 14, 6, 4, 5]).expect("lives");
    let mut log = relay.live(&[9, 3, 12, 4, 2, LAST_APPEND]).expect("lives");
    assert!(log.set_heartbeat(stream(0), &heartbeat(0, 2, 50)));
    relay.verify(&log);
    let newest = relay.disk.content(&newest(&relay.disk)).expect("a segment").len();
    assert!((4_000..8_192).contains(&newest), "{newest} bytes are the last three appends");
    match closed {
        true => log.close().expect("closes"),
        false => log.reader().save_heads().expect("saves"),
    }
    let files = relay.disk.files().len();
    assert!(files >= 7, "{files} files");
    relay
}

fn open(disk: &MemoryDisk, what: &str) -> Log {
    let opened = Log::open(Arc::new(disk.clone()), folder(), settings());
    opened.unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Which acknowledged records are not served, and whether each of them is named as a hole. What is served is
/// right: that is looked at while it is read.
fn gone(relay: &Relay, log: &Log) -> (BTreeSet<Position>, bool) {
    let served = serve_all(&log.reader());
    let gone: BTreeSet<_> =
        relay.acknowledged.iter().copied().filter(|position| !served.contains(position)).collect();
    // What was the first number of an epoch is not there any more: what is left begins behind it. Neither is
    // what was the last one of an epoch that another one followed.
    let is_outside = |(s, n, i): &Position| {
        let epochs = log.reader().stand(stream(*s)).expect("it is known").epochs;
        epochs
            .iter()
            .all(|range| number(range.epoch) != *n || !(range.first..=range.last).contains(i))
    };
    let named = |position: &Position| {
        let (s, n, i) = *position;
        serve(&log.reader(), s, n, 0, 5).1.contains(&i) || is_outside(position)
    };
    let all_named = gone.iter().all(named);
    for (s, n, i) in &gone {
        assert!(!log.has(stream(*s), crate::world::epoch(*n), *i), "it says that it has {i}");
    }
    (gone, all_named)
}

/// What is said of streams is true, however little it is.
fn check_heads(relay: &Relay, log: &Log, what: &str) {
    for (name, head) in log.heads() {
        let s = (0..crate::world::STREAMS).find(|s| *stream(*s) == name).expect("a stream of ours");
        let n = number(head.epoch);
        assert!(relay.acknowledged.contains(&(s, n, head.last)), "{what}: {s} {n} {}", head.last);
        if let Some(leaf) = head.leaf {
            assert_eq!(leaf, sealed(s, n, head.last).leaf, "{what}");
        }
        if let Some(genesis) = head.genesis {
            assert_eq!(genesis, sealed(s, n, 0).wire, "{what}");
        }
    }
}

/// Every byte and every length with `FEDMSG_LOG_STRIDE=1`, some of them otherwise.
fn stride() -> usize {
    let wanted = std::env::var("FEDMSG_LOG_STRIDE").ok();
    wanted.map_or(41, |text| text.parse().expect("FEDMSG_LOG_STRIDE is a number"))
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn newest(disk: &MemoryDisk) -> PathBuf {
    let files = disk.files();
    let newest = files.iter().rev().find(|(path, _)| is(path, "seg"));
    newest.expect("a segment").0.clone()
}

#[test]
fn a_changed_byte_costs_the_record_that_it_hits_and_no_other() {
    for closed in [true, false] {
        let relay = story(closed);
        let (mut hit, mut tried) = (0, 0);
        for (path, length) in relay.disk.files() {
            for place in (0..length as usize).step_by(stride()) {
                let damaged = relay.disk.copy();
                damaged.flip(&path, place, 1 << (place % 8));
                let what = format!("{} byte {place}, closed {closed}", path.display());
                let log = open(&damaged, &what);
                check_heads(&relay, &log, &what);
                let (gone, named) = gone(&relay, &log);
                // The end of a segment that was never sealed may be a write that was torn.
                let is_torn = !closed && path == newest(&relay.disk);
                assert!(gone.len() <= if is_torn { LAST_APPEND } else { 1 }, "{what}: {gone:?}");
                if !is_torn {
                    assert!(named, "{what}: {gone:?} is not named");
                }
                let damage = log.metrics(at(0)).damage;
                assert!(gone.is_empty() || damage > 0 || is_torn, "{what}: not counted");
                hit += gone.len();
                tried += 1;
                drop(log);
                let again = open(&damaged, &what);
                assert_eq!(self::gone(&relay, &again).0, gone, "{what}: the second time");
            }
        }
        assert!(hit > tried / 2, "{hit} of {tried}: most bytes belong to records");
    }
}

#[test]
fn a_file_that_is_cut_costs_what_was_behind_alone() {
    for closed in [true, false] {
        let relay = story(closed);
        let files = relay.disk.files();
        for (path, length) in &files {
            let content = relay.disk.content(path).expect("a file");
            for cut in (0..*length as usize).step_by(stride()) {
                let damaged = relay.disk.copy();
                damaged.set_content(path, content[..cut].to_vec());
                let what = format!("{} cut at {cut}, closed {closed}", path.display());
                let log = open(&damaged, &what);
                check_heads(&relay, &log, &what);
                let (gone, _) = gone(&relay, &log);
                // What stood behind the cut in this file, and nothing else.
                let behind = positions_behind(&content, cut);
                let lost: Vec<_> = gone.iter().filter(|position| !behind(position)).collect();
                let is_torn = *path == newest(&relay.disk);
                assert!(is(path, "seg") || gone.is_empty(), "{what}: {gone:?}");
                assert!(
                    lost.is_empty() || is_torn && lost.len() <= LAST_APPEND,
                    "{what}: {lost:?}"
                );
                for (s, _, _) in &gone {
                    // How far the stream was is known all the same: it was written down.
                    assert!(log.head(stream(*s)).is_some(), "{what}");
                }
            }
        }
    }
}

/// Says whether the bytes of a record are not wholly before a place of a file.
fn positions_behind(content: &[u8], cut: usize) -> impl Fn(&Position) -> bool {
    let before = content[..cut].to_vec();
    move |position| {
        let item = item(*position);
        let needle = match item.keep {
            fedmsg::log::Keep::Record { wire, .. } => wire.envelope.to_vec(),
            fedmsg::log::Keep::Gone { leaf, reason } => [&leaf.0, reason.as_bytes()].concat(),
            fedmsg::log::Keep::Heartbeat { .. } => unreachable!("none here"),
        };
        !before.windows(needle.len()).any(|bytes| bytes == needle)
    }
}

#[test]
fn without_indexes_and_heads_everything_is_found_again() {
    for closed in [true, false] {
        let relay = story(closed);
        for (indexes, heads) in [(true, false), (false, true), (true, true)] {
            let disk = relay.disk.copy();
            for (path, _) in disk.files() {
                if is(&path, "idx") && indexes || path.ends_with("heads") && heads {
                    fedmsg::journal::Disk::remove(&disk, &path).expect("removes");
                }
            }
            let log = open(&disk, "without");
            relay.verify(&log);
            let made = log.metrics(at(0)).indexes_made;
            assert_eq!(made > 1, indexes, "{made} indexes were made");
            let beat = log.head(stream(0)).expect("a head").heartbeat;
            assert_eq!(beat.is_some(), !heads, "a heartbeat is in the heads alone");
            drop(log);
            let again = open(&disk, "again");
            relay.verify(&again);
            assert_eq!(again.metrics(at(0)).indexes_made, 0, "they are there again");
        }
    }
}

#[test]
fn an_index_that_changes_under_a_reader_leads_nowhere_wrong() {
    let relay = story(true);
    for (path, length) in relay.disk.files().into_iter().filter(|(path, _)| is(path, "idx")) {
        for place in (0..length as usize).step_by(stride().div_ceil(6)) {
            let disk = relay.disk.copy();
            let log = open(&disk, "good");
            disk.flip(&path, place, 1 << (place % 8));
            relay.verify(&log);
            assert_eq!(log.metrics(at(0)).damage, 0, "byte {place}");
        }
        let disk = relay.disk.copy();
        let log = open(&disk, "good");
        fedmsg::journal::Disk::remove(&disk, &path).expect("removes");
        relay.verify(&log);
        assert_eq!(log.metrics(at(0)).indexes_made, 1);
    }
}

#[test]
fn a_record_that_is_damaged_under_a_reader_is_a_hole_until_it_comes_again() {
    for sealed in [false, true] {
        let mut relay = Relay::new(MemoryDisk::new());
        let mut log = relay.live(&[30]).expect("lives");
        if sealed {
            relay.append(&mut log, 20).expect("appends");
            assert!(log.metrics(at(0)).segments > 1);
        }
        let (s, n, i) =
            *relay.acknowledged[..12].iter().rfind(|p| !crate::world::is_gone(p.2)).expect("one");
        let wire = &crate::world::sealed(s, n, i).wire;
        let path = relay.disk.files()[0].0.clone();
        let path = if is(&path, "seg") { path } else { relay.disk.files()[1].0.clone() };
        let content = relay.disk.content(&path).expect("a file");
        let place = content.windows(wire.envelope.len()).position(|bytes| *bytes == wire.envelope);
        relay.disk.flip(&path, place.expect("it is there") + 9, 1);
        let (good, holes) = serve(&log.reader(), s, n, 0, 3);
        assert!(!good.contains(&i) && holes == BTreeSet::from([i]), "{good:?} {holes:?}");
        assert_eq!(log.metrics(at(0)).damage, 1);
        assert!(!log.has(stream(s), crate::world::epoch(n), i));
        log.append(&[item((s, n, i))], at(900)).expect("it comes again");
        relay.verify(&log);
        assert_eq!(log.metrics(at(0)).duplicates, 0);
        log.close().expect("closes");
        relay.verify_on_disk();
    }
}

#[test]
fn a_torn_append_counts_up_to_where_it_is_torn() {
    let mut relay = Relay::new(MemoryDisk::new());
    let mut log = relay.open().expect("opens");
    log.append(&[item((0, 1, 0)), item((1, 1, 0))], at(0)).expect("appends");
    let items: Vec<_> = [(0, 1, 1), (1, 1, 1), (0, 1, 2), (1, 1, 2)].map(item).into();
    log.append(&items, at(1)).expect("appends");
    drop(log);
    let path = newest(&relay.disk);
    let content = relay.disk.content(&path).expect("a segment");
    let second = &sealed(1, 1, 1).wire.envelope;
    let place = content.windows(second.len()).position(|bytes| bytes == second);
    relay.disk.flip(&path, place.expect("it is there") + 9, 1);
    relay.acknowledged = vec![(0, 1, 0), (1, 1, 0), (0, 1, 1)];
    let mut log = relay.open().expect("opens");
    let all: BTreeSet<Position> = relay.acknowledged.iter().copied().collect();
    assert_eq!(serve_all(&log.reader()), all);
    assert_eq!(log.metrics(at(0)).damage, 0, "nobody was told that it is there");
    log.append(&items[1..], at(2)).expect("it comes again");
    relay.acknowledged.extend([(1, 1, 1), (0, 1, 2), (1, 1, 2)]);
    relay.verify(&log);
    drop(log);
    relay.verify_on_disk();
}

#[test]
fn bytes_at_random_places_never_make_anything_wrong() {
    let relay = story(true);
    for seed in 0..seeds(40) {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = relay.disk.copy();
        for _ in 0..random.usize(1..20) {
            let files = disk.files();
            let (path, length) = &files[random.usize(0..files.len())];
            let (place, bits) = (random.usize(0..*length as usize), random.u8(1..));
            disk.flip(path, place, bits);
        }
        let log = open(&disk, "random");
        check_heads(&relay, &log, "random");
        gone(&relay, &log);
    }
}
