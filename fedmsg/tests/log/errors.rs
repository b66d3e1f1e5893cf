//! Every call of a story fails, in every way, once and for ever.

use fedmsg::log::Log;
use fedmsg::testing::{DiskFault, FaultKind, MemoryDisk};

use crate::world::{Relay, at, folder, serve_all, settings};

const BATCHES: [&[usize]; 3] = [&[1, 3, 9, 4], &[20, 2, 11], &[5, 12, 6]];

fn relay(disk: MemoryDisk) -> Relay {
    let settings = fedmsg::log::Settings { keep_bytes: 26_000, ..settings() };
    Relay { settings, ..Relay::new(disk) }
}

/// Lives on through errors: what failed is tried again. Says how many calls failed.
fn story(relay: &mut Relay) -> u64 {
    let mut failed = 0;
    for (life, batches) in BATCHES.iter().enumerate() {
        let mut opened = relay.open();
        if opened.is_err() {
            failed += 1;
            opened = relay.open();
        }
        let Ok(mut log) = opened else { continue };
        for size in *batches {
            failed += append(relay, &mut log, *size);
        }
        if life == 1 {
            failed += u64::from(log.close().is_err());
        } else {
            relay.trimmable = relay.acknowledged.len();
            failed += u64::from(log.retain(at(relay.time)).is_err());
        }
    }
    failed
}

fn append(relay: &mut Relay, log: &mut Log, size: usize) -> u64 {
    for attempt in 0..2 {
        if relay.append(log, size).is_ok() {
            assert!(!log.metrics(at(0)).degraded);
            return attempt;
        }
        assert!(log.metrics(at(0)).degraded, "an error, and says nothing");
    }
    2
}

#[test]
fn an_error_is_said_and_nothing_acknowledged_is_lost_by_it() {
    let kinds = [FaultKind::Io, FaultKind::Full, FaultKind::ShortWrite, FaultKind::Interrupted];
    let quiet = MemoryDisk::new();
    assert_eq!(story(&mut relay(quiet.clone())), 0);
    let (calls, mut failed) = (quiet.calls(), 0);
    for call in 0..calls {
        for kind in kinds {
            for for_ever in [false, true] {
                failed += check(DiskFault { call, kind, for_ever });
            }
        }
    }
    assert!(failed > calls, "{failed} failures");
}

fn check(fault: DiskFault) -> u64 {
    let disk = MemoryDisk::new();
    let mut relay = relay(disk.clone());
    disk.fail(Some(fault));
    let failed = story(&mut relay);
    if fault.kind == FaultKind::ShortWrite {
        assert_eq!(failed, 0, "{fault:?}: a short write goes on");
    }
    disk.fail(None);
    // The process dies, the machine does not: the next one sees what the system holds, and keeps it.
    let log = relay.live(&[2, 1]).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
    relay.verify(&log);
    drop(log);
    disk.restart(fault.call);
    relay.verify_on_disk();
    let log = relay.live(&[1]).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
    relay.verify(&log);
    failed
}

#[test]
fn a_failed_write_goes_on_in_a_new_segment_at_once() {
    let disk = MemoryDisk::new();
    let mut relay = Relay::new(disk.clone());
    let mut log = relay.live(&[3]).expect("lives");
    disk.fail(Some(DiskFault { call: disk.calls() + 1, kind: FaultKind::Io, for_ever: false }));
    relay.append(&mut log, 4).expect("goes on");
    let metrics = log.metrics(at(0));
    assert_eq!((metrics.moved, metrics.failures, metrics.segments), (1, 1, 2));
    assert!(!metrics.degraded);
    relay.append(&mut log, 4).expect("goes on");
    relay.verify(&log);
    drop(log);
    // The old segment still holds the records whose sync failed; they do not count.
    relay.verify_on_disk();
    disk.restart(3);
    relay.verify_on_disk();
}

#[test]
fn a_full_disk_fails_loudly_and_loses_nothing() {
    let disk = MemoryDisk::new();
    let mut relay = Relay::new(disk.clone());
    let mut log = relay.live(&[10]).expect("lives");
    let used: u64 = disk.files().iter().map(|(_, length)| length).sum();
    disk.set_capacity(Some(used + 200));
    let full = relay.append(&mut log, 50).expect_err("no room");
    assert!(full.is_full(), "{full}");
    assert!(log.metrics(at(0)).degraded);
    relay.verify(&log);
    disk.set_capacity(None);
    relay.append(&mut log, 50).expect("there is room again");
    relay.verify(&log);
    drop(log);
    disk.restart(1);
    relay.verify_on_disk();
    let names = disk.files();
    assert!(names.iter().all(|(path, _)| path.starts_with(folder())), "{names:?}");
}

#[test]
fn a_segment_whose_beginning_failed_does_not_count() {
    // The new segment has its name, and the sync of the folder fails. Then another one begins.
    let disk = MemoryDisk::new();
    let mut relay = Relay::new(disk.clone());
    let mut log = relay.live(&[2]).expect("lives");
    // The first one does not fit into the segment that is there.
    relay.time += 100_000;
    for call in [7, 3] {
        disk.fail(Some(DiskFault {
            call: disk.calls() + call,
            kind: FaultKind::Io,
            for_ever: true,
        }));
        relay.append(&mut log, 4).expect_err("fails");
        disk.fail(None);
    }
    assert_eq!(relay.acknowledged.len(), 2);
    relay.append(&mut log, 4).expect("appends");
    drop(log);
    let segment = |n: u64| folder().join(format!("{n:020}.seg"));
    assert!(disk.content(&segment(2)).is_some(), "it could not even be removed");
    let acknowledged = relay.acknowledged.iter().copied().collect();
    assert_eq!(serve_all(&relay.open().expect("opens").reader()), acknowledged);
    assert!(disk.content(&segment(2)).is_none());
    disk.restart(5);
    assert_eq!(serve_all(&relay.open().expect("opens").reader()), acknowledged);
}
