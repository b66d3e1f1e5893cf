//! A log on a disk that works.

use std::collections::BTreeSet;
use std::sync::Arc;

use fedmsg::frames::{Completeness, Range};
use fedmsg::holder::{Absent, Part};
use fedmsg::identity::StreamName;
use fedmsg::journal::Body;
use fedmsg::limits::LOG_BATCH_RECORDS_MAX;
use fedmsg::log::{Item, Keep, Log, LogError, Settings};
use fedmsg::merkle::Leaf;
use fedmsg::testing::MemoryDisk;

use crate::world::{
    RECORDS, Relay, at, body, epoch, folder, heartbeat, item, sealed, serve, settings, stream,
};

fn open() -> (MemoryDisk, Log) {
    let disk = MemoryDisk::new();
    let log = Log::open(Arc::new(disk.clone()), folder(), settings()).expect("opens");
    (disk, log)
}

fn reopen(disk: &MemoryDisk) -> Log {
    Log::open(Arc::new(disk.clone()), folder(), settings()).expect("opens")
}

#[test]
fn streams_go_on_where_they_ended() {
    let mut relay = Relay::new(MemoryDisk::new());
    for life in 0..5 {
        let log = relay.live(&[1, 7, 3, 12]).expect("lives");
        relay.verify(&log);
        let metrics = log.metrics(at(relay.time));
        assert_eq!((metrics.records, metrics.appends, metrics.damage), (23, 4, 0));
        if life % 2 == 0 {
            log.close().expect("closes");
        }
    }
    let log = relay.open().expect("opens");
    relay.verify(&log);
    let metrics = log.metrics(at(relay.time));
    assert!(metrics.segments > 5 && metrics.covers_ms > 100, "{metrics:?}");
    let spots = log.reader().heads();
    assert!(spots.is_sorted_by(|a, b| a.stream < b.stream));
    for spot in spots {
        let head = log.head(&spot.stream).expect("a head");
        assert_eq!((spot.epoch, spot.i), (head.epoch, head.last));
    }
    assert_eq!(log.heads().count() as u64, metrics.streams);
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let (disk, mut log) = open();
    let items: Vec<_> = (0..10).map(|i| item((0, 1, i))).collect();
    log.append(&items[..6], at(1)).expect("appends");
    let bytes = log.metrics(at(1)).bytes;
    let calls = disk.calls();
    log.append(&items[2..5], at(2)).expect("appends");
    assert_eq!((disk.calls(), log.metrics(at(2)).bytes), (calls, bytes), "nothing to do");
    log.append(&items, at(3)).expect("appends");
    let metrics = log.metrics(at(3));
    assert_eq!((metrics.records, metrics.duplicates, metrics.appends), (10, 9, 2));
    log.append(&[], at(4)).expect("nothing to do");
    let (good, holes) = serve(&log.reader(), 0, 1, 0, 4);
    assert_eq!((good, holes), ((0..10).collect(), BTreeSet::new()));
}

#[test]
fn what_cannot_be_kept_is_refused_and_changes_nothing() {
    let (disk, mut log) = open();
    let calls = disk.calls();
    let reason = "not one word";
    let gone = Item { keep: Keep::Gone { leaf: Leaf::NONE, reason }, ..item((0, 1, 1)) };
    let refused = log.append(&[item((0, 1, 0)), gone], at(0));
    assert!(matches!(refused, Err(LogError::Item { i: 1, .. })), "{refused:?}");
    let wire = &sealed(0, 1, 1).wire;
    let no_beat = Item { keep: Keep::Heartbeat { wire }, ..item((0, 1, 1)) };
    let refused = log.append(&[no_beat], at(0)).expect_err("no heartbeat");
    assert!(refused.to_string().contains("number 1 of stream bodhi.backend01/0"), "{refused}");
    let many = vec![item((0, 1, 0)); LOG_BATCH_RECORDS_MAX + 1];
    assert!(matches!(log.append(&many, at(0)), Err(LogError::BatchCount { .. })));
    assert_eq!(disk.calls(), calls);
    assert!(!log.set_heartbeat(stream(0), &heartbeat(0, 0, 1)), "nothing of it was ever here");
    let small = Settings { segment_bytes: 100, ..settings() };
    let opened = Log::open(Arc::new(disk), folder(), small);
    assert!(matches!(opened, Err(LogError::Setting { name: "segment_bytes", .. })), "{opened:?}");
}

#[test]
fn a_part_is_read_as_it_is_asked_for() {
    let (_, mut log) = open();
    let reader = log.reader();
    assert_eq!(reader.stand(stream(0)), Err(Absent::Stream));
    for i in 0..40 {
        log.append(&[item((0, 1, i)), item((1, 1, i))], at(i * 10)).expect("appends");
    }
    assert!(log.metrics(at(0)).segments > 3);
    let part = |from, to| Part { epoch: epoch(1), from, to };
    let batch = reader.read(stream(0), part(3, 9), 1_000, 1 << 20).expect("reads");
    assert_eq!((batch.entries.len(), batch.upto, batch.more), (7, 9, false));
    let batch = reader.read(stream(0), part(3, 9), 1_000, 1).expect("reads");
    assert_eq!((batch.entries.len(), batch.upto, batch.more), (1, 3, true), "at least one");
    let batch = reader.read(stream(0), part(3, 30), 5, 1 << 20).expect("reads");
    assert_eq!((batch.entries.len(), batch.upto, batch.more), (5, 7, true));
    let batch = reader.read(stream(0), part(40, 50), 10, 10).expect("reads");
    assert_eq!((batch.entries.len(), batch.upto, batch.more), (0, 39, false), "not yet there");
    let batch = reader.read(stream(0), part(0, 39), 1_000, 1 << 20).expect("reads");
    let times: Vec<_> = batch.entries.iter().map(|entry| entry.time).collect();
    assert_eq!(times, (0..40).map(|i| at(i * 10)).collect::<Vec<_>>());
    let unknown = Part { epoch: epoch(2), from: 0, to: 1 };
    assert_eq!(reader.read(stream(0), unknown, 1, 1), Err(Absent::Epoch));
    assert_eq!(reader.read(stream(2), part(0, 1), 1, 1), Err(Absent::Stream));
    let genesis = reader.genesis(stream(1), epoch(1)).expect("reads");
    assert_eq!(genesis.as_ref(), Some(&sealed(1, 1, 0).wire));
    let epochs = vec![Range { epoch: epoch(1), first: 0, last: 39 }];
    let stand = reader.stand(stream(1)).expect("there");
    assert_eq!((stand.completeness, stand.epochs), (Completeness::Complete, epochs));
}

#[test]
fn numbers_with_holes_and_epochs_in_any_order_are_kept() {
    let (disk, mut log) = open();
    let put = |log: &mut Log, positions: &[(u64, u64)], ms| {
        let items: Vec<_> = positions.iter().map(|(n, i)| item((0, *n, *i))).collect();
        log.append(&items, at(ms)).expect("appends");
    };
    // A relay that came late, an epoch that followed, and an old one that was filled up.
    put(&mut log, &[(2, 5), (2, 6), (2, 7)], 10);
    put(&mut log, &[(3, 0), (3, 1)], 20);
    put(&mut log, &[(2, 12), (1, 40), (2, 8)], 30);
    put(&mut log, &[(3, 2), (2, 20)], 40);
    let check = |log: &Log| {
        let reader = log.reader();
        let stand = reader.stand(stream(0)).expect("there");
        let range = |n, first, last| Range { epoch: epoch(n), first, last };
        assert_eq!(stand.epochs, [range(1, 40, 40), range(2, 5, 20), range(3, 0, 2)]);
        assert_eq!(stand.completeness, Completeness::Partial);
        let (good, holes) = serve(&reader, 0, 2, 5, 2);
        assert_eq!(good, BTreeSet::from([5, 6, 7, 8, 12, 20]));
        assert_eq!(holes, (9..=11).chain(13..=19).collect());
        let head = log.head(stream(0)).expect("a head");
        assert_eq!((head.epoch, head.last, head.leaf), (epoch(3), 2, Some(sealed(0, 3, 2).leaf)));
        let before = Part { epoch: epoch(2), from: 3, to: 9 };
        assert_eq!(reader.read(stream(0), before, 9, 1 << 20), Err(Absent::Trimmed { first: 5 }));
        assert_eq!(reader.genesis(stream(0), epoch(2)), Ok(None));
        assert!(log.has(stream(0), epoch(2), 12) && !log.has(stream(0), epoch(2), 13));
        let batch = reader.read(stream(0), Part { epoch: epoch(2), from: 9, to: 11 }, 5, 99);
        let batch = batch.expect("reads");
        let holes: Vec<_> = batch.holes.iter().map(|hole| (hole.from, hole.to)).collect();
        assert_eq!((batch.entries.len(), holes), (0, vec![(9, 11)]));
        assert_eq!((batch.upto, batch.more), (11, false));
    };
    check(&log);
    drop(log);
    check(&reopen(&disk));
    let mut log = reopen(&disk);
    put(&mut log, &[(2, 9), (2, 10), (2, 11)], 50);
    let (good, holes) = serve(&log.reader(), 0, 2, 5, 3);
    assert_eq!((good, holes), ((5..=12).chain([20]).collect(), (13..=19).collect()));
}

#[test]
fn records_are_found_by_the_time_at_which_they_came() {
    let (disk, mut log) = open();
    assert_eq!(log.reader().find(stream(0), at(0)), Err(Absent::Stream));
    for i in 0..RECORDS {
        let items = [item((0, 1, i)), item((1, 1, i))];
        log.append(&items, at(1_000 + i * 10)).expect("appends");
    }
    log.append(&[item((0, 2, 0)), item((0, 2, 1))], at(5_000)).expect("appends");
    for log in [log, reopen(&disk)] {
        let found = |ms| log.reader().find(stream(0), at(ms)).expect("there");
        assert_eq!(found(0), (epoch(1), 1), "the genesis record is no message");
        for i in 1..RECORDS {
            assert_eq!(found(1_000 + i * 10), (epoch(1), i));
            assert_eq!(found(995 + i * 10), (epoch(1), i));
        }
        assert_eq!(found(4_000), (epoch(2), 1));
        assert_eq!(found(5_001), (epoch(2), 2), "the number that the next one will have");
        assert_eq!(log.reader().find(stream(1), at(5_000)), Ok((epoch(1), RECORDS)));
    }
}

#[test]
fn the_newest_heartbeat_is_kept_and_survives() {
    let (disk, mut log) = open();
    log.append(&[item((0, 1, 0)), item((0, 1, 1)), item((1, 1, 0))], at(0)).expect("appends");
    let beat = |log: &Log, s| log.head(stream(s)).and_then(|head| head.heartbeat);
    assert!(log.set_heartbeat(stream(0), &heartbeat(0, 1, 100)));
    assert!(!log.set_heartbeat(stream(0), &heartbeat(0, 0, 200)), "its number is lower");
    assert!(!log.set_heartbeat(stream(0), &heartbeat(0, 1, 50)), "it is older");
    assert!(log.set_heartbeat(stream(0), &heartbeat(0, 1, 300)));
    assert_eq!(beat(&log, 0), Some(heartbeat(0, 1, 300)));
    assert_eq!(log.reader().stand(stream(0)).expect("there").heartbeat, beat(&log, 0));
    let wire = heartbeat(1, 0, 400);
    let closed = Item { keep: Keep::Heartbeat { wire: &wire }, ..item((1, 1, 0)) };
    log.append(&[closed], at(10)).expect("appends");
    assert_eq!(beat(&log, 1), Some(wire.clone()));
    // Killed: what was appended is there, and what was in memory alone is not.
    let killed = reopen(&disk);
    assert_eq!((beat(&killed, 0), beat(&killed, 1)), (None, Some(wire.clone())));
    log.reader().save_heads().expect("saves");
    let killed = reopen(&disk);
    assert_eq!(beat(&killed, 0), Some(heartbeat(0, 1, 300)));
    assert_eq!(beat(&killed, 1), Some(wire));
    assert_eq!(killed.head(stream(1)).map(|head| head.last), Some(0), "it takes no number");
    let batch = killed.reader().read(stream(1), Part { epoch: epoch(1), from: 0, to: 9 }, 9, 9);
    assert_eq!(batch.expect("reads").entries.len(), 1);
}

#[test]
fn a_reader_in_another_thread_sees_all_of_an_append_or_nothing_of_it() {
    let (_, mut log) = open();
    log.append(&[item((0, 1, 0)), item((1, 1, 0))], at(0)).expect("appends");
    let reader = log.reader();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut looks = 0_u64;
            while !done.load(std::sync::atomic::Ordering::Acquire) || looks == 0 {
                let mut last = 0;
                for s in [1, 0] {
                    let (good, holes) = serve(&reader, s, 1, 0, 9);
                    assert_eq!(
                        (good.len() as u64, holes.len()),
                        (good.last().expect("some") + 1, 0)
                    );
                    // Stream 0 is looked at later, so it is never behind.
                    assert!(good.len() >= last, "{} of {last}", good.len());
                    last = good.len();
                }
                looks += 1;
            }
        });
        for i in 1..RECORDS {
            log.append(&[item((0, 1, i)), item((1, 1, i))], at(i)).expect("appends");
        }
        done.store(true, std::sync::atomic::Ordering::Release);
        watch.join().expect("it saw nothing wrong");
    });
}

#[test]
fn many_streams_are_found_in_a_segment() {
    let disk = MemoryDisk::new();
    let settings = Settings { segment_bytes: 1 << 20, ..settings() };
    let mut log = Log::open(Arc::new(disk.clone()), folder(), settings).expect("opens");
    let names: Vec<_> = (0..1_500)
        .map(|n| StreamName::parse(&format!("a.h{n}/{}", n % 10)).expect("a stream"))
        .collect();
    for i in 0..4 {
        let of = |stream| Item { stream, ..item((0, 1, i)) };
        let items: Vec<_> = names.iter().map(of).collect();
        log.append(&items, at(i)).expect("appends");
    }
    log.close().expect("closes");
    let log = Log::open(Arc::new(disk), folder(), settings).expect("opens");
    let metrics = log.metrics(at(0));
    assert_eq!((metrics.streams, metrics.indexes_made), (1_500, 0));
    assert!(metrics.memory_bytes / 1_500 < 2_500, "{metrics:?}");
    for name in &names {
        let part = Part { epoch: epoch(1), from: 0, to: 9 };
        let batch = log.reader().read(name, part, 9, 1 << 20).expect("reads");
        let bodies: Vec<Body> = batch.entries.into_iter().map(|entry| entry.body).collect();
        assert_eq!(bodies, (0..4).map(|i| body((0, 1, i))).collect::<Vec<_>>(), "{name}");
    }
}
