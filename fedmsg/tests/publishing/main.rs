//! Publishers of level `local`: what their receipts promise, across restarts and failing disks.

mod rewind;
mod slow;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedmsg::journal::{Body, Continuity, Disk, Journal, Reader, Settings};
use fedmsg::publisher::{PublishError, Receipt};
use fedmsg::record::Level;
use fedmsg::testing::{Bus, DiskFault, FaultKind, MemoryDisk};
use fedmsg::{Draft, Event, Publisher, StreamName};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);

fn open(bus: &Bus, disk: &MemoryDisk) -> Publisher {
    let builder = bus.publisher_builder("app.one").level(Level::Local);
    builder.disk(Arc::new(disk.clone())).build().expect("a publisher")
}

fn publish(publisher: &Publisher, n: u64) -> Result<Receipt, PublishError> {
    let body = json!({ "n": n });
    publisher.publish(Draft::new("app.n").body(&body)).wait_timeout(PATIENCE)
}

fn folder(bus: &Bus) -> std::path::PathBuf {
    bus.config().state_dir.join("streams/app.one/0/journal")
}

/// What the journal holds, as (epoch, number, body) in order, the genesis records left out.
fn kept(disk: &MemoryDisk, folder: &Path) -> Vec<(String, u64, u64)> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut reader = Reader::new(disk, folder);
    let mut all = Vec::new();
    for range in reader.ranges().expect("ranges") {
        let mut from = range.first.max(1);
        while from <= range.last {
            let batch = reader.read(range.epoch, from, range.last, 1_000, 1 << 20).expect("read");
            assert!(batch.holes.is_empty() && !batch.entries.is_empty());
            for entry in &batch.entries {
                let Body::Record(wire) = &entry.body else { panic!("a tombstone") };
                let envelope: serde_json::Value =
                    serde_json::from_slice(&wire.envelope).expect("JSON");
                let n = envelope["msg"]["n"].as_u64().expect("a number");
                all.push((range.epoch.to_string(), entry.i, n));
            }
            from = batch.upto + 1;
        }
    }
    all
}

#[test]
fn a_receipt_says_local_and_the_stream_goes_on_in_its_epoch() {
    let (bus, disk) = (Bus::new(), MemoryDisk::new());
    let first = open(&bus, &disk);
    let receipts: Vec<Receipt> = (1..=3).map(|n| publish(&first, n).expect("stored")).collect();
    assert!(receipts.iter().all(|receipt| receipt.level == Level::Local));
    assert!(first.metrics().journal.expect("a journal").records >= 3);
    drop(first);
    let second = open(&bus, &disk);
    let next = publish(&second, 4).expect("stored");
    assert_eq!((next.epoch, next.i), (receipts[0].epoch, 4));
    let epoch = next.epoch.to_string();
    let expected: Vec<_> = (1..=4).map(|n| (epoch.clone(), n, n)).collect();
    assert_eq!(kept(&disk, &folder(&bus)), expected);
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_moment() {
    for seed in 0..40 {
        let (bus, disk) = (Bus::new(), MemoryDisk::new());
        let subscriber = bus.subscriber(&["app"]);
        let publisher = open(&bus, &disk);
        publish(&publisher, 0).expect("stored");
        // Every call from here on may be the last one.
        let call = disk.calls() + 1 + seed % 12;
        disk.fail(Some(DiskFault { call, kind: FaultKind::Crash, for_ever: true }));
        let tickets: Vec<_> = (1..=60)
            .filter_map(|n| {
                let body = json!({ "n": n });
                Some((n, publisher.enqueue(Draft::new("app.n").body(&body)).ok()?))
            })
            .collect();
        let acknowledged: Vec<(u64, Receipt)> =
            tickets.into_iter().filter_map(|(n, ticket)| Some((n, ticket.wait().ok()?))).collect();
        drop(publisher);
        disk.restart(seed);
        let again = open(&bus, &disk);
        let next = publish(&again, 1_000).expect("stored");
        let kept = kept(&disk, &folder(&bus));
        for (n, receipt) in &acknowledged {
            let place = (receipt.epoch.to_string(), receipt.i, *n);
            assert!(kept.contains(&place), "seed {seed}: {place:?} is gone");
        }
        // Nobody has seen what is not there: not in a message, and not in a heartbeat.
        let mut delivered = Vec::new();
        while delivered.last().is_none_or(|(_, n)| *n != 1_000) {
            match subscriber.recv(Some(PATIENCE)).expect("an event") {
                Event::Message(message) => {
                    let body: serde_json::Value = message.body().expect("JSON");
                    let place = (message.epoch().to_string(), message.i());
                    delivered.push((place, body["n"].as_u64().expect("a number")));
                }
                // What was stored and not shown yet when the power went is in the journal alone.
                Event::Lost(gap) => {
                    let stored =
                        |i| kept.iter().any(|(e, n, _)| (e, *n) == (&gap.epoch.to_string(), i));
                    assert!((gap.from..=gap.to).all(stored), "seed {seed}: {gap:?}");
                }
                Event::Fork(fork) => panic!("seed {seed}: {fork:?}"),
                _ => {}
            }
        }
        for ((epoch, i), n) in &delivered {
            let place = (epoch.clone(), *i, *n);
            assert!(kept.contains(&place), "seed {seed}: {place:?} was shown and is gone");
        }
        let used = acknowledged.iter().any(|(_, r)| (r.epoch, r.i) == (next.epoch, next.i));
        assert!(!used, "seed {seed}: a number was given out twice");
    }
}

#[test]
fn a_disk_that_fails_is_told_to_callers_and_heals_by_itself() {
    let (bus, disk) = (Bus::new(), MemoryDisk::new());
    let subscriber = bus.subscriber(&["app"]);
    let publisher = open(&bus, &disk);
    publish(&publisher, 1).expect("stored");
    let fault = DiskFault { call: disk.calls() + 1, kind: FaultKind::Full, for_ever: true };
    disk.fail(Some(fault));
    for n in 2..=4 {
        let error = publish(&publisher, n).expect_err("the disk is full");
        assert!(matches!(error, PublishError::NotStored(_)), "{error}");
    }
    disk.fail(None);
    // The disk is tried again every second; until then callers are told.
    let deadline = std::time::Instant::now() + PATIENCE;
    let healed = loop {
        match publish(&publisher, 5) {
            Ok(receipt) => break receipt,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    };
    // The first message that the disk did not take was numbered, and appears after all.
    let mut seen = Vec::new();
    while seen.last() != Some(&5) {
        match subscriber.recv(Some(PATIENCE)).expect("an event") {
            Event::Message(message) => {
                let body: serde_json::Value = message.body().expect("JSON");
                seen.push(body["n"].as_u64().expect("a number"));
            }
            Event::Lost(lost) => panic!("{lost:?}"),
            _ => {}
        }
    }
    assert_eq!(seen, [1, 2, 5]);
    assert_eq!(healed.i, 3);
    assert_eq!(kept(&disk, &folder(&bus)).len(), 3);
}

#[test]
fn another_level_and_another_key_begin_an_epoch_of_their_own() {
    let (bus, disk) = (Bus::new(), MemoryDisk::new());
    let stored = publish(&open(&bus, &disk), 1).expect("stored");
    let memory = bus.publisher_builder("app.one").level(Level::Memory).build().expect("built");
    let fleeting = publish(&memory, 2).expect("published");
    assert!(fleeting.epoch > stored.epoch && fleeting.level == Level::Memory);
    drop(memory);
    let again = publish(&open(&bus, &disk), 3).expect("stored");
    assert!(again.epoch > fleeting.epoch, "the journal's epoch is not the newest one");
    assert_eq!(again.i, 1);
    let epochs: Vec<u64> = kept(&disk, &folder(&bus)).iter().map(|(_, _, n)| *n).collect();
    assert_eq!(epochs, [1, 3]);
}

#[test]
fn a_journal_whose_end_is_torn_is_followed_by_a_new_epoch() {
    let (bus, disk) = (Bus::new(), MemoryDisk::new());
    let stored = publish(&open(&bus, &disk), 1).expect("stored");
    let segments =
        disk.files().into_iter().filter(|(path, _)| path.extension() == Some("seg".as_ref()));
    let (newest, len) = segments.max().expect("a segment");
    disk.flip(&newest, len as usize - 1, 1);
    let stream = StreamName::parse("app.one/0").expect("a stream");
    let looked: Arc<dyn Disk> = Arc::new(disk.copy());
    let journal = Journal::open(looked, &folder(&bus), &stream, Settings::default());
    assert!(matches!(journal.expect("opens").continuity(), Continuity::Broken(_)));
    let next = publish(&open(&bus, &disk), 2).expect("stored");
    assert!(next.epoch > stored.epoch, "the number of a damaged record is never used again");
}

#[test]
fn a_flood_of_messages_that_grow_when_they_are_written_is_stored_in_parts() {
    let (bus, disk) = (Bus::new(), MemoryDisk::new());
    let publisher = open(&bus, &disk);
    // Twice as long on the wire as in memory, and now and then one as long as a message may be.
    let quotes = "\"".repeat(4_000);
    let tickets: Vec<_> = (0..1_500)
        .map(|n| {
            let long = if n % 400 == 0 { "x".repeat(1_000_000) } else { String::new() };
            let draft = Draft::new("app.n").body(&json!({ "n": n, "long": long }));
            publisher.enqueue(draft.header("quotes", &quotes)).expect("queued")
        })
        .collect();
    for (n, ticket) in tickets.into_iter().enumerate() {
        let receipt = ticket.wait().unwrap_or_else(|error| panic!("message {n}: {error}"));
        assert_eq!(receipt.i, n as u64 + 1);
    }
    let counted = publisher.metrics();
    assert_eq!(counted.published, 1_500);
}

#[test]
fn an_identifier_is_known_after_a_power_cut_and_in_later_epochs_or_the_message_is_a_new_one() {
    for seed in 0..12 {
        let (bus, disk) = (Bus::new(), MemoryDisk::new());
        let draft = || Draft::new("app.n").body(&json!({ "n": 7, "text": "\u{1b}\"é" }));
        let publisher = open(&bus, &disk);
        publish(&publisher, 1).expect("stored");
        let call = disk.calls() + 1 + seed % 4;
        disk.fail(Some(DiskFault { call, kind: FaultKind::Crash, for_ever: true }));
        let first = publisher.publish(draft().msg_id("a \"7\"")).wait_timeout(PATIENCE);
        drop(publisher);
        disk.restart(seed);
        // Another epoch in between, of another level.
        drop(bus.publisher_builder("app.one").level(Level::Memory).build().expect("built"));
        let publisher = open(&bus, &disk);
        let again = publisher.publish(draft().msg_id("a \"7\"")).wait_timeout(PATIENCE);
        let again = again.expect("a receipt");
        if let Ok(first) = first {
            assert_eq!((again.epoch, again.i), (first.epoch, first.i), "seed {seed}");
        }
        let sevens = kept(&disk, &folder(&bus)).iter().filter(|(_, _, n)| *n == 7).count();
        assert_eq!(sevens, 1, "seed {seed}");
        let other = Draft::new("app.n").body(&json!({ "n": 8 })).msg_id("a \"7\"");
        let other = publisher.publish(other).wait_timeout(PATIENCE).expect_err("it is in use");
        assert!(matches!(other, PublishError::Seal(_)), "{other}");
    }
}
