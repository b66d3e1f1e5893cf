//! Every byte of a small journal is changed, and every file is cut at every length.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fedmsg::journal::{Body, Break, Continuity, Disk, Journal, Reader, check};
use fedmsg::testing::MemoryDisk;

use crate::story::{Acknowledged, Writer, at, epoch, folder, numbered, sealed, settings, stream};

/// Two epochs in a few segments, and what was acknowledged of them.
fn journal() -> (MemoryDisk, Acknowledged) {
    let disk = MemoryDisk::new();
    let mut writer = Writer::new(disk.clone());
    writer.live(&[1, 2, 3, 6, 4, 5], true).expect("lives");
    writer.live(&[2, 3], false).expect("lives");
    let good = check(&shared(&disk), folder()).expect("reads");
    assert!(good.is_good(), "{good:?}");
    assert_eq!(good.stream.as_deref(), Some("bodhi.backend01/0"));
    assert!(good.segments.len() > 2);
    (disk, writer.acknowledged)
}

fn shared(disk: &MemoryDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// What a reader gets of an epoch: good numbers, and those that are named as lost.
fn read(disk: &MemoryDisk, n: u64) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let mut reader = Reader::new(shared(disk), folder());
    let (mut good, mut lost, mut next) = (BTreeSet::new(), BTreeSet::new(), 0);
    loop {
        let batch = match reader.read(epoch(n), next, 1_000, 5, 1 << 20) {
            Ok(batch) => batch,
            Err(error) => panic!("epoch {n}: {error}"),
        };
        for entry in batch.entries {
            assert!(entry.i >= next && entry.i <= batch.upto);
            let wire = &sealed(n).wires[entry.i as usize];
            assert_eq!(entry.body, Body::Record(wire.clone()), "wrong data: {}", entry.i);
            assert!(good.insert(entry.i), "twice");
        }
        lost.extend(batch.holes.iter().flat_map(|hole| hole.from..=hole.to));
        next = batch.upto + 1;
        if !batch.more {
            return (good, lost);
        }
    }
}

/// Opens a damaged journal and looks at everything; says how many records are gone, and how many of them
/// because the end does not count any more.
fn look(disk: &MemoryDisk, acknowledged: &Acknowledged, what: &str) -> (u64, u64) {
    let opened = Journal::open(shared(disk), folder(), &stream(), settings());
    let journal = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    let proven = *journal.continuity() == Continuity::Proven;
    let (newest, newest_last) = acknowledged.0.last_key_value().expect("epochs");
    if proven {
        let state = journal.state().expect("an epoch");
        assert_eq!((state.epoch, state.last), (epoch(*newest), *newest_last), "{what}");
    }
    let (mut gone, mut uncounted) = (0, 0);
    for (n, last) in &acknowledged.0 {
        let (good, lost) = read(disk, *n);
        for i in (0..=*last).filter(|i| !good.contains(i)) {
            gone += 1;
            if !lost.contains(&i) {
                assert!(!proven && n == newest, "{what}: {i} of {n} is gone, and not named");
                uncounted += 1;
            }
        }
        assert!(lost.iter().all(|i| !good.contains(i) && i <= last), "{what}");
    }
    let report = check(&shared(disk), folder()).unwrap_or_else(|error| panic!("{what}: {error}"));
    if gone > 0 {
        assert!(!report.is_good() || !proven, "{what}: {report:?}");
    }
    (gone, uncounted)
}

/// Every byte and every length when seeds are asked for, some of them otherwise.
fn stride() -> usize {
    if std::env::var_os("FEDMSG_JOURNAL_SEEDS").is_some() { 1 } else { 11 }
}

/// Lengths to cut a file at; where records begin, in any case.
fn cuts(content: &[u8]) -> Vec<usize> {
    let marker = |at: &usize| content[*at..].starts_with(&[0xF5, b'f', b'j', 1]);
    (0..content.len()).filter(|at| at % stride() == 0 || marker(at)).collect()
}

fn files(disk: &MemoryDisk) -> Vec<(PathBuf, u64)> {
    let mut files = disk.files();
    files.retain(|(path, _)| !path.ends_with("reserve"));
    files
}

#[test]
fn a_changed_byte_costs_the_record_that_it_hits_and_no_other() {
    let (disk, acknowledged) = journal();
    let last_batch = 3;
    let (mut hit, mut tried) = (0, 0);
    for (path, length) in files(&disk) {
        for at in (0..length as usize).step_by(stride()) {
            let damaged = disk.copy();
            damaged.flip(&path, at, 1 << (at % 8));
            let what = format!("{} byte {at}", path.display());
            let (gone, uncounted) = look(&damaged, &acknowledged, &what);
            assert!(gone <= if uncounted > 0 { last_batch } else { 1 }, "{what}: {gone} are gone");
            hit += gone;
            tried += 1;
        }
    }
    assert!(hit > tried / 2, "{hit} of {tried}: most bytes belong to records");
}

#[test]
fn a_file_that_is_cut_costs_what_was_behind_and_that_is_noticed() {
    let (disk, acknowledged) = journal();
    let mut unnoticed = 0;
    let files = files(&disk);
    let newest = files.iter().rev().find(|(path, _)| is_segment(path));
    let newest = newest.expect("a segment").0.clone();
    for (path, _) in &files {
        let content = disk.content(path).expect("a file");
        for cut in cuts(&content) {
            let damaged = disk.copy();
            damaged.set_content(path, content[..cut].to_vec());
            let what = format!("{} cut at {cut}", path.display());
            let opened = Journal::open(shared(&damaged), folder(), &stream(), settings());
            let journal = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
            let (n, last) = acknowledged.0.last_key_value().expect("epochs");
            let shorter = journal.state().is_some_and(|state| state.last < *last);
            if *journal.continuity() == Continuity::Proven && shorter {
                // Exactly between two appends: nothing in the file says that there was more.
                assert_eq!(*path, newest, "{what}");
                unnoticed += 1;
                let first = journal.state().expect("an epoch").last;
                let (good, _) = read(&damaged, *n);
                assert_eq!(good.into_iter().max(), Some(first), "{what}");
            } else {
                drop(journal);
                look(&damaged, &acknowledged, &what);
            }
        }
    }
    assert!(unnoticed <= 8, "{unnoticed} cuts look like an earlier state of the journal");
    assert!(unnoticed > 0, "the newest segment has several appends");
}

#[test]
fn a_journal_that_was_closed_notices_when_its_end_is_gone() {
    let (disk, acknowledged) = journal();
    let opened = Journal::open(shared(&disk), folder(), &stream(), settings());
    opened.expect("opens").close().expect("closes");
    let files = files(&disk);
    let newest = files.iter().rev().find(|(path, _)| is_segment(path));
    let (newest, _) = newest.expect("a segment");
    let content = disk.content(newest).expect("a file");
    let mut rewound = 0;
    for cut in cuts(&content) {
        let damaged = disk.copy();
        damaged.set_content(newest, content[..cut].to_vec());
        let opened = Journal::open(shared(&damaged), folder(), &stream(), settings());
        match opened.expect("opens").continuity() {
            Continuity::Broken(Break::Rewound { .. }) => rewound += 1,
            Continuity::Broken(_) => {}
            other => panic!("cut at {cut}: {other:?}"),
        }
        look(&damaged, &acknowledged, &format!("cut at {cut}"));
    }
    assert!(rewound > 0, "some cuts are between two appends");
}

#[test]
fn damage_under_a_reader_of_the_writers_process_hides_nothing_else() {
    for was_read in [true, false] {
        let disk = MemoryDisk::new();
        let (mut journal, wires) = (begun(&disk), &sealed(1).wires);
        journal.append(&numbered(1, 1..=4), at(1)).expect("appends");
        let mut reader = journal.reader();
        let numbers = |reader: &mut Reader| {
            let batch = reader.read(epoch(1), 1, 100, 100, 1 << 20).expect("reads");
            batch.entries.iter().map(|entry| entry.i).collect::<Vec<_>>()
        };
        if was_read {
            assert_eq!(numbers(&mut reader), [1, 2, 3, 4]);
        }
        damage(&disk, &wires[2].envelope);
        assert_eq!(numbers(&mut reader), [1, 3, 4], "nothing of a later append is behind it");
        journal.append(&numbered(1, 5..=5), at(2)).expect("appends");
        assert_eq!(numbers(&mut reader), [1, 3, 4, 5]);
    }
}

#[test]
fn damage_in_the_last_append_of_a_journal_hides_nothing_else_from_other_processes() {
    for (how, damaged, there) in [
        ("closed", 2, vec![1, 3, 4]),
        ("marked", 2, vec![1, 3, 4]),
        // Of one that was neither closed nor marked nobody else knows that the last append was acknowledged.
        ("left", 2, vec![1]),
        ("closed", 4, vec![1, 2, 3]),
        ("marked", 4, vec![1, 2, 3]),
    ] {
        let disk = MemoryDisk::new();
        let (mut journal, wires) = (begun(&disk), &sealed(1).wires);
        journal.append(&numbered(1, 1..=1), at(1)).expect("appends");
        journal.append(&numbered(1, 2..=4), at(1)).expect("appends");
        leave(journal, how);
        damage(&disk, &wires[damaged].envelope);
        let (good, _) = read(&disk, 1);
        let good: Vec<u64> = good.into_iter().filter(|i| *i > 0).collect();
        assert_eq!(good, there, "{how}, record {damaged}");
    }
}

#[test]
fn what_was_acknowledged_behind_damage_is_there_after_the_next_start() {
    for (how, there) in [("closed", vec![1, 3, 4]), ("marked", vec![1, 3, 4]), ("left", vec![1])] {
        let disk = MemoryDisk::new();
        let (mut journal, wires) = (begun(&disk), &sealed(1).wires);
        journal.append(&numbered(1, 1..=1), at(1)).expect("appends");
        journal.append(&numbered(1, 2..=4), at(1)).expect("appends");
        leave(journal, how);
        damage(&disk, &wires[2].envelope);
        let opened = Journal::open(shared(&disk), folder(), &stream(), settings());
        let mut journal = opened.expect("opens");
        if how == "left" {
            assert!(matches!(journal.continuity(), Continuity::Broken(Break::Torn { .. })));
        }
        journal.begin_epoch(epoch(2), &sealed(2).wires[0], at(3)).expect("begins");
        let here = journal.reader();
        for mut reader in [here, Reader::new(shared(&disk), folder())] {
            let batch = reader.read(epoch(1), 1, 100, 100, 1 << 20).expect("reads");
            let good: Vec<u64> = batch.entries.iter().map(|entry| entry.i).collect();
            assert_eq!(good, there, "{how}");
        }
    }
}

#[test]
fn an_epoch_ends_where_it_was_closed_when_the_header_behind_it_is_damaged_too() {
    let disk = MemoryDisk::new();
    let (mut journal, wires) = (begun(&disk), &sealed(1).wires);
    journal.append(&numbered(1, 1..=4), at(1)).expect("appends");
    journal.close().expect("closes");
    let opened = Journal::open(shared(&disk), folder(), &stream(), settings());
    let mut journal = opened.expect("opens");
    journal.begin_epoch(epoch(2), &sealed(2).wires[0], at(3)).expect("begins");
    damage(&disk, &wires[2].envelope);
    let behind = files(&disk).into_iter().rev().find(|(path, _)| is_segment(path));
    disk.flip(&behind.expect("a segment").0, 20, 1);
    for mut reader in [journal.reader(), Reader::new(shared(&disk), folder())] {
        let batch = reader.read(epoch(1), 1, 100, 100, 1 << 20).expect("reads");
        let good: Vec<u64> = batch.entries.iter().map(|entry| entry.i).collect();
        assert_eq!(good, [1, 3, 4]);
    }
}

#[test]
fn a_mark_that_nobody_can_believe_changes_nothing() {
    let (disk, acknowledged) = journal();
    let opened = Journal::open(shared(&disk), folder(), &stream(), settings());
    opened.expect("opens").save_mark();
    let path = folder().join("mark");
    let content = disk.content(&path).expect("a mark");
    for cut in 0..content.len() {
        disk.set_content(&path, content[..cut].to_vec());
        assert_eq!(look(&disk.copy(), &acknowledged, "a mark that is cut"), (0, 0));
        let mut flipped = content.clone();
        flipped[cut] ^= 1;
        disk.set_content(&path, flipped);
        assert_eq!(look(&disk.copy(), &acknowledged, "a mark that is damaged"), (0, 0));
    }
    disk.set_content(&path, content);
    assert_eq!(look(&disk.copy(), &acknowledged, "a mark"), (0, 0));
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

/// A new journal, with its first epoch.
fn begun(disk: &MemoryDisk) -> Journal {
    let opened = Journal::open(shared(disk), folder(), &stream(), settings());
    let mut journal = opened.expect("opens");
    journal.begin_epoch(epoch(1), &sealed(1).wires[0], at(0)).expect("begins");
    journal
}

/// Ends a life of the writer in one of three ways.
fn leave(mut journal: Journal, how: &str) {
    match how {
        "closed" => journal.close().expect("closes"),
        "marked" => journal.save_mark(),
        _ => {}
    }
}

/// Changes one byte of the record with this envelope.
fn damage(disk: &MemoryDisk, envelope: &[u8]) {
    for (path, _) in disk.files().into_iter().filter(|(path, _)| is_segment(path)) {
        let content = disk.content(&path).expect("content");
        let mut places = content.windows(envelope.len());
        if let Some(place) = places.position(|bytes| bytes == envelope) {
            return disk.flip(&path, place + 9, 1);
        }
    }
    panic!("no such record");
}
