//! What a log gives up, and what stays known.

use std::sync::atomic::{AtomicBool, Ordering};

use fedmsg::holder::{Absent, Part};
use fedmsg::log::Settings;
use fedmsg::testing::{DiskFault, FaultKind, MemoryDisk};

use crate::world::{RECORDS, Relay, at, epoch, heartbeat, item, sealed, serve, settings, stream};

#[test]
fn whole_segments_are_given_up_the_oldest_first() {
    let mut relay = Relay::new(MemoryDisk::new());
    relay.settings = Settings { keep_bytes: 30_000, keep_ms: 100_000, ..settings() };
    let mut log = relay.live(&[9; 20]).expect("lives");
    let before = log.metrics(at(0));
    assert!(before.bytes > 60_000, "{before:?}");
    let trimmed = log.retain(at(0)).expect("trims");
    relay.trimmable = relay.acknowledged.len();
    let after = log.metrics(at(0));
    assert!(after.bytes <= 30_000 && after.bytes > 20_000, "{after:?}");
    assert_eq!(before.bytes - after.bytes, trimmed.bytes);
    assert_eq!(before.segments - after.segments, trimmed.segments);
    assert!(after.runs < before.runs && after.memory_bytes < before.memory_bytes);
    relay.verify(&log);
    drop(log);
    let mut log = relay.open().expect("opens");
    relay.verify(&log);
    log.retain(at(10_000_000)).expect("trims");
    assert_eq!(log.metrics(at(0)).segments, 1, "the newest stays, however old it is");
    relay.verify(&log);
    log.close().expect("closes");
    relay.verify_on_disk();
}

#[test]
fn of_a_stream_of_which_nothing_is_left_it_stays_known_how_far_it_was() {
    let mut relay = Relay::new(MemoryDisk::new());
    relay.settings = Settings { keep_bytes: 20_000, ..settings() };
    let mut log = relay.open().expect("opens");
    let items: Vec<_> = (0..10).map(|i| item((4, 1, i))).collect();
    log.append(&items, at(0)).expect("appends");
    assert!(log.set_heartbeat(stream(4), &heartbeat(4, 9, 5)));
    for i in 0..50 {
        log.append(&[item((0, 1, i)), item((1, 1, i))], at(i)).expect("appends");
    }
    log.retain(at(50)).expect("trims");
    let check = |log: &fedmsg::log::Log| {
        let reader = log.reader();
        let head = log.head(stream(4)).expect("a head");
        assert_eq!((head.epoch, head.last), (epoch(1), 9));
        assert_eq!(head.leaf, Some(sealed(4, 1, 9).leaf));
        assert_eq!(head.genesis.as_ref(), Some(&sealed(4, 1, 0).wire));
        assert_eq!(head.heartbeat, Some(heartbeat(4, 9, 5)));
        let stand = reader.stand(stream(4)).expect("known");
        assert!(stand.epochs.is_empty() && stand.heartbeat == head.heartbeat);
        let part = |from| Part { epoch: epoch(1), from, to: 9 };
        assert_eq!(reader.read(stream(4), part(1), 9, 9), Err(Absent::Trimmed { first: 10 }));
        let batch = reader.read(stream(4), part(0), 9, 9).expect("its genesis record");
        assert_eq!((batch.entries.len(), batch.upto, batch.more), (1, 0, true));
        let genesis = reader.genesis(stream(0), epoch(1)).expect("reads");
        assert_eq!(genesis.as_ref(), Some(&sealed(0, 1, 0).wire), "and of one that goes on");
        assert_eq!(reader.find(stream(4), at(0)), Ok((epoch(1), 10)));
        assert!(reader.heads().iter().any(|spot| spot.stream == *stream(4) && spot.i == 9));
    };
    check(&log);
    // Killed.
    drop(log);
    let mut log = relay.open().expect("opens");
    check(&log);
    let next: Vec<_> = (10..12).map(|i| item((4, 1, i))).collect();
    log.append(&next, at(60)).expect("it goes on");
    let stand = log.reader().stand(stream(4)).expect("there");
    assert_eq!(stand.epochs.iter().map(|r| (r.first, r.last)).collect::<Vec<_>>(), [(10, 11)]);
}

#[test]
fn nothing_is_given_up_before_it_is_written_down_how_far_streams_are() {
    let disk = MemoryDisk::new();
    let mut relay = Relay::new(disk.clone());
    relay.settings = Settings { keep_bytes: 20_000, ..settings() };
    let mut log = relay.live(&[9; 10]).expect("lives");
    let before = log.metrics(at(0));
    disk.set_capacity(Some(disk.files().iter().map(|(_, length)| length).sum()));
    let error = log.retain(at(0)).expect_err("there is no room for the heads");
    assert!(error.is_full(), "{error}");
    assert_eq!(log.metrics(at(0)).segments, before.segments);
    relay.verify(&log);
    disk.set_capacity(None);
    let trimmed = log.retain(at(0)).expect("trims");
    assert!(trimmed.segments > 1);
}

#[test]
fn a_file_that_could_not_be_removed_is_removed_later() {
    let disk = MemoryDisk::new();
    let mut relay = Relay::new(disk.clone());
    relay.settings = Settings { keep_bytes: 20_000, ..settings() };
    let mut log = relay.live(&[9; 10]).expect("lives");
    log.reader().save_heads().expect("saves");
    let reader = log.reader();
    disk.fail(Some(DiskFault { call: disk.calls(), kind: FaultKind::Io, for_ever: false }));
    log.retain(at(0)).expect_err("the removal fails");
    relay.trimmable = relay.acknowledged.len();
    relay.verify(&log);
    log.retain(at(0)).expect("trims");
    assert!(log.metrics(at(0)).bytes <= 20_000);
    relay.verify(&log);
    assert!(reader.stand(stream(0)).is_ok());
    let segments = disk
        .files()
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "seg"))
        .count();
    assert_eq!(segments as u64, log.metrics(at(0)).segments);
}

#[test]
fn a_reader_beside_retention_gets_what_is_right_or_is_told_that_it_is_gone() {
    let mut relay = Relay::new(MemoryDisk::new());
    relay.settings = Settings { keep_bytes: 9_000, ..settings() };
    let mut log = relay.open().expect("opens");
    log.append(&[item((0, 1, 0))], at(0)).expect("appends");
    let reader = log.reader();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (mut looks, mut last) = (0_u64, 0);
            while !done.load(Ordering::Acquire) || looks == 0 {
                // Bodies are compared where they are read.
                let (good, _) = serve(&reader, 0, 1, 0, 3);
                let newest = good.last().copied().expect("the genesis record is always there");
                assert!(newest >= last, "{newest} of {last}");
                (last, looks) = (newest, looks + 1);
            }
        });
        for i in 1..=RECORDS {
            log.append(&[item((0, 1, i)), item((1, 1, i)), item((2, 1, i))], at(i))
                .expect("appends");
            log.retain(at(i)).expect("trims");
        }
        done.store(true, Ordering::Release);
        watch.join().expect("it saw nothing wrong");
    });
    assert!(log.metrics(at(0)).trimmed_segments > 5);
    assert_eq!(log.metrics(at(0)).damage, 0);
}

#[test]
fn a_genesis_record_that_could_not_be_read_once_is_read_before_it_is_given_up() {
    let kind = FaultKind::Io;
    let (mut opened, mut call) = (0, 0);
    loop {
        let disk = MemoryDisk::new();
        let mut relay = Relay::new(disk.clone());
        relay.settings = Settings { keep_bytes: 9_000, ..settings() };
        let mut log = relay.live(&[6, 6, 6, 6]).expect("lives");
        drop(log);
        let first = disk.calls();
        disk.fail(Some(DiskFault { call: first + call, kind, for_ever: false }));
        let Ok(found) = relay.open() else {
            call += 1;
            continue;
        };
        log = found;
        let calls = disk.calls() - first;
        disk.fail(None);
        relay.append(&mut log, 12).expect("appends");
        relay.append(&mut log, 12).expect("appends");
        relay.trimmable = relay.acknowledged.len();
        assert!(log.retain(at(0)).expect("trims").segments > 2);
        relay.verify(&log);
        drop(log);
        relay.verify_on_disk();
        (opened, call) = (opened + 1, call + 1);
        if call >= calls {
            break;
        }
    }
    assert!(opened > 10, "{opened} of {call} opens went on all the same");
}
