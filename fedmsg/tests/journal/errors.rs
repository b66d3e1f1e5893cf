//! Every call of a story fails, in every way, once and for ever.

use std::sync::Arc;

use fedmsg::journal::{Continuity, JournalError, Reader};
use fedmsg::testing::{DiskFault, FaultKind, MemoryDisk};

use crate::story::{Writer, at, epoch, folder, numbered, read_all, sealed, settings, verify};

const BATCHES: [&[u64]; 3] = [&[1, 3, 9, 4], &[20, 2, 11], &[5, 5, 40]];

/// Lives on through errors: an append that failed is repeated with the same records, an open and the
/// beginning of an epoch are tried again. Says how many calls failed.
fn story(writer: &mut Writer) -> u64 {
    let mut failed = 0;
    for (life, batches) in BATCHES.iter().enumerate() {
        let mut opened = writer.open();
        if opened.is_err() {
            failed += 1;
            opened = writer.open();
        }
        let Ok(mut journal) = opened else { continue };
        match journal.state().map(|state| state.epoch) {
            Some(newest) if *journal.continuity() == Continuity::Proven => {
                writer.epoch = (1..=writer.begun).find(|n| epoch(*n) == newest).expect("ours");
            }
            _ => failed += begin(writer, &mut journal),
        }
        if life == 1 {
            failed += begin(writer, &mut journal);
            failed += u64::from(journal.trim(at(writer.time), |_, _| false).is_err());
        }
        for size in *batches {
            for _ in 0..2 {
                let begun = *journal.continuity() == Continuity::Proven;
                if begun && writer.append(&mut journal, *size).is_ok() {
                    assert!(!journal.metrics().degraded);
                    break;
                }
                assert!(journal.metrics().degraded || !begun, "an error, and says nothing");
                failed += 1;
            }
        }
    }
    failed
}

fn begin(writer: &mut Writer, journal: &mut fedmsg::journal::Journal) -> u64 {
    let first = writer.begin(journal);
    u64::from(first.is_err() && writer.begin(journal).is_err()) + u64::from(first_failed(writer))
}

fn first_failed(writer: &Writer) -> bool {
    !writer.acknowledged.0.contains_key(&writer.begun)
}

#[test]
fn an_error_is_said_and_nothing_acknowledged_is_lost_by_it() {
    let kinds = [FaultKind::Io, FaultKind::Full, FaultKind::ShortWrite, FaultKind::Interrupted];
    let quiet = MemoryDisk::new();
    assert_eq!(story(&mut Writer::new(quiet.clone())), 0);
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
    let mut writer = Writer::new(disk.clone());
    disk.fail(Some(fault));
    let failed = story(&mut writer);
    if fault.kind == FaultKind::ShortWrite {
        assert_eq!(failed, 0, "{fault:?}: a short write goes on");
    }
    disk.fail(None);
    // The process dies, the machine does not: the next one sees what the system holds, and keeps it.
    let mut died =
        Writer { acknowledged: writer.acknowledged.clone(), ..Writer::new(disk.clone()) };
    (died.epoch, died.begun, died.time) = (writer.epoch, writer.begun, writer.time);
    died.live(&[2, 1], false).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
    verify(&disk, &died.acknowledged);
    disk.restart(fault.call);
    verify(&disk, &died.acknowledged);
    died.live(&[1], false).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
    verify(&disk, &died.acknowledged);
    failed
}

#[test]
fn numbers_that_may_be_on_disk_get_no_other_content() {
    let disk = MemoryDisk::new();
    let mut writer = Writer::new(disk.clone());
    let mut journal = writer.live(&[3], false).expect("lives");
    let kind = FaultKind::Io;
    // The write succeeds; its sync fails, and so does everything that is tried then.
    disk.fail(Some(DiskFault { call: disk.calls() + 1, kind, for_ever: true }));
    let failed = journal.append(&numbered(1, 4..=6), at(50));
    assert!(matches!(failed, Err(JournalError::Io { .. })), "{failed:?}");
    assert_eq!(journal.indeterminate(), Some((4, 6)));
    assert_eq!(journal.state().expect("an epoch").last, 3, "nothing of it counts");
    disk.fail(None);
    let mut other = numbered(1, 4..=4);
    other[0].body = numbered(1, 7..=7)[0].body.clone();
    let other = journal.append(&other, at(60));
    assert!(matches!(other, Err(JournalError::Indeterminate { from: 4, to: 6, .. })), "{other:?}");
    journal.append(&numbered(1, 4..=5), at(60)).expect("the same records");
    assert_eq!(journal.indeterminate(), Some((6, 6)));
    journal.append(&numbered(1, 6..=9), at(60)).expect("the same, and more");
    assert_eq!(journal.indeterminate(), None);
    assert!(!journal.metrics().degraded);
    writer.acknowledged.0.insert(1, 9);
    disk.restart(0);
    verify(&disk, &writer.acknowledged);
}

#[test]
fn a_failed_write_goes_on_in_a_new_segment_at_once() {
    let disk = MemoryDisk::new();
    let mut writer = Writer::new(disk.clone());
    let mut journal = writer.live(&[3], false).expect("lives");
    disk.fail(Some(DiskFault { call: disk.calls() + 1, kind: FaultKind::Io, for_ever: false }));
    writer.append(&mut journal, 4).expect("goes on");
    let metrics = journal.metrics();
    assert_eq!((metrics.moved, metrics.failures, metrics.segments), (1, 1, 2));
    assert!(!metrics.degraded);
    writer.append(&mut journal, 4).expect("goes on");
    drop(journal);
    // The old segment still holds the records whose sync failed; the new one wins.
    verify(&disk, &writer.acknowledged);
    writer.live(&[2], false).expect("lives");
    assert_eq!(writer.went_on, 1);
    verify(&disk, &writer.acknowledged);
}

/// A segment whose beginning failed leaves a file, and the next one has its name: who has looked into the first sees
/// the second, also when there is a third by then.
#[test]
fn a_reader_is_not_left_with_a_file_whose_name_another_one_has() {
    let mut failed = 0;
    for call in 0..8 {
        let disk = MemoryDisk::new();
        let mut writer = Writer::new(disk.clone());
        // The segment is full: the next append begins another one.
        let mut journal = writer.live(&[40], false).expect("lives");
        let mut reader = Reader::with_mark(Arc::new(disk.clone()), folder(), journal.mark());
        let fault = DiskFault { call: disk.calls() + call, kind: FaultKind::Io, for_ever: true };
        disk.fail(Some(fault));
        let is_failed = writer.append(&mut journal, 2).is_err();
        disk.fail(None);
        failed += u64::from(is_failed);
        assert_eq!(read_all(&mut reader, 1).len(), if is_failed { 41 } else { 43 });
        for size in [2, 3, 40, 40] {
            writer.append(&mut journal, size).expect("appends");
        }
        let there = read_all(&mut reader, 1);
        assert_eq!(there.last(), writer.acknowledged.0.get(&1), "call {call}");
    }
    assert!(failed > 3, "it failed {failed} times");
}

#[test]
fn a_full_disk_fails_loudly_loses_nothing_and_leaves_room_for_last_words() {
    let disk = MemoryDisk::new();
    let mut writer = Writer::new(disk.clone());
    let mut journal = writer.live(&[10], false).expect("lives");
    assert!(journal.metrics().reserve);
    let used: u64 = disk.files().iter().map(|(_, length)| length).sum();
    disk.set_capacity(Some(used + 200));
    let full = writer.append(&mut journal, 50).expect_err("no room");
    assert!(full.is_full(), "{full}");
    assert!(journal.metrics().degraded);
    let next = journal.state().expect("an epoch").last + 1;
    let full = journal.append(&numbered(1, next..=next), at(90)).expect_err("no room");
    assert!(full.is_full(), "{full}");
    journal.append_last_words(&numbered(1, next..=next), at(90)).expect("the reserve is there");
    writer.acknowledged.0.insert(1, next);
    assert!(!journal.metrics().reserve && !journal.metrics().degraded);
    verify(&disk, &writer.acknowledged);
    disk.set_capacity(None);
    journal.trim(at(100), |_, _| false).expect("trims");
    assert!(journal.metrics().reserve, "set aside again");
    let most = journal.append_last_words(&numbered(1, next + 1..=next + 60), at(90));
    assert!(matches!(most, Err(JournalError::BatchBytes { .. })), "{most:?}");
    drop(journal);
    disk.restart(1);
    verify(&disk, &writer.acknowledged);
}

#[test]
fn an_epoch_whose_beginning_failed_is_begun_again_or_followed_by_a_higher_one() {
    for again in [true, false] {
        let disk = MemoryDisk::new();
        let mut writer = Writer::new(disk.clone());
        let mut journal = writer.live(&[3], false).expect("lives");
        // create, write, sync, rename: the folder's sync is the fifth call.
        disk.fail(Some(DiskFault { call: disk.calls() + 4, kind: FaultKind::Io, for_ever: true }));
        writer.begin(&mut journal).expect_err("fails");
        disk.fail(None);
        let old = journal.append(&numbered(1, 4..=4), at(50));
        assert!(matches!(old, Err(JournalError::NewEpochNeeded { .. })), "{old:?}");
        if again {
            let other = journal.begin_epoch(epoch(2), &sealed(3).wires[0], at(60));
            assert!(matches!(other, Err(JournalError::Indeterminate { from: 0, .. })), "{other:?}");
            journal.begin_epoch(epoch(2), &sealed(2).wires[0], at(60)).expect("the same");
            writer.acknowledged.0.insert(2, 0);
        } else {
            writer.begin(&mut journal).expect("a higher one");
        }
        writer.append(&mut journal, 4).expect("appends");
        drop(journal);
        disk.restart(3);
        verify(&disk, &writer.acknowledged);
        writer.settings = settings();
        writer.live(&[1], false).expect("lives");
        assert_eq!(writer.went_on, 1);
    }
}
