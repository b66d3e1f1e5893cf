//! Files of version 1, as they were written once: they can be read for ever, and are still written so.
//!
//! `FEDMSG_WRITE_GOLDEN=1 cargo test -p fedmsg --test journal golden` writes them. If that changes a file
//! that is under version control, the format has changed, and needs a new version.

use std::path::PathBuf;
use std::sync::Arc;

use fedmsg::journal::{Body, Disk, Journal, Numbered, OsDisk, Reader, check};
use fedmsg::testing::{DiskFault, FaultKind, MemoryDisk};

use crate::story::{at, epoch, folder, numbered, sealed, settings, stream};

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal-v1")
}

fn tombstone() -> Numbered {
    let leaf = numbered(1, 3..=3)[0].body.leaf().expect("a leaf");
    Numbered { i: 3, body: Body::Gone { leaf, reason: "policy".into() } }
}

/// Two epochs, several segments, a tombstone, an append that failed and was repeated in a new segment, and
/// a torn tail.
fn make() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut journal =
        Journal::open(Arc::new(disk.clone()), folder(), &stream(), settings()).expect("opens");
    let append = |journal: &mut Journal, records: &[Numbered], ms| {
        journal.append(records, at(ms)).expect("appends");
    };
    journal.begin_epoch(epoch(1), &sealed(1).wires[0], at(0)).expect("begins");
    append(&mut journal, &numbered(1, 1..=2), 10);
    append(&mut journal, &[tombstone()], 20);
    append(&mut journal, &numbered(1, 4..=9), 30);
    append(&mut journal, &numbered(1, 10..=12), 40);
    disk.fail(Some(DiskFault { call: disk.calls() + 1, kind: FaultKind::Io, for_ever: false }));
    append(&mut journal, &numbered(1, 13..=14), 50);
    journal.begin_epoch(epoch(2), &sealed(2).wires[0], at(60)).expect("begins");
    append(&mut journal, &numbered(2, 1..=5), 70);
    journal.close().expect("closes");
    let newest = folder().join(format!("{}-{:020}.seg", epoch(2), 0));
    let mut content = disk.content(&newest).expect("a segment");
    content.extend_from_slice(&[0xF5, b'f', b'j', 1, 0, 0, 1, 0, 7]);
    disk.set_content(&newest, content);
    disk
}

#[test]
fn golden_files_are_written_as_they_were() {
    let mut names = Vec::new();
    for (path, _) in make().files() {
        let name = path.file_name().expect("a name").to_owned();
        if name == "reserve" {
            continue;
        }
        let (content, kept) = (make().content(&path).expect("a file"), golden().join(&name));
        if std::env::var_os("FEDMSG_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(golden()).expect("folder");
            std::fs::write(&kept, &content).expect("writes");
        }
        assert!(std::fs::read(&kept).expect("a golden file") == content, "{}", kept.display());
        names.push(name);
    }
    let there =
        std::fs::read_dir(golden()).expect("reads").map(|entry| entry.expect("reads").file_name());
    let mut there: Vec<_> = there.collect();
    names.sort();
    there.sort();
    assert_eq!(names, there);
}

#[test]
fn golden_files_are_read() {
    let mut reader = Reader::new(Arc::new(OsDisk), &golden());
    let ranges = reader.ranges().expect("reads");
    let ranges: Vec<_> = ranges.into_iter().map(|r| (r.epoch, r.first, r.last)).collect();
    assert_eq!(ranges, [(epoch(1), 0, 14), (epoch(2), 0, 5)]);
    for (n, last) in [(1, 14), (2, 5)] {
        let batch = reader.read(epoch(n), 0, 1_000, 1_000, 1 << 20).expect("reads");
        assert_eq!((batch.entries.len() as u64, batch.more), (last + 1, false));
        for (i, entry) in (0..).zip(batch.entries) {
            let wire = sealed(n).wires[i as usize].clone();
            let expected = if (n, i) == (1, 3) { tombstone().body } else { Body::Record(wire) };
            assert_eq!((entry.i, entry.body), (i, expected), "epoch {n}");
        }
    }
    assert_eq!(reader.find(at(25)).expect("reads"), Some((epoch(1), 4)));
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let report = check(&disk, &golden()).expect("reads");
    assert!(report.is_good(), "{report:?}");
    assert!(report.segments.last().expect("segments").torn);
    let behind: Vec<_> = report.segments.iter().map(|segment| segment.behind > 0).collect();
    assert_eq!(behind.iter().filter(|behind| **behind).count(), 2, "{report:?}");
}
