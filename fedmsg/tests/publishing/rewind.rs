//! A publisher that was set back, or that is not the only one, is shown a record that it does not know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedmsg::config::Config;
use fedmsg::endpoint::Endpoint;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::frames::{Answer, Ask, ErrorCode, Reply, Request, RequestId};
use fedmsg::identity::StreamName;
use fedmsg::merkle::Leaf;
use fedmsg::open::{Record, Verified};
use fedmsg::publisher::{PublishError, Receipt};
use fedmsg::record::{After, Level, State};
use fedmsg::seal::Sealer;
use fedmsg::testing::{Bus, DiskFault, FaultKind, MemoryDisk};
use fedmsg::timestamp::Timestamp;
use fedmsg::transport::{Asker, Transport};
use fedmsg::{Draft, Event, Publisher};
use serde_json::json;

use super::{PATIENCE, folder, kept, publish};

/// A bus on which `app.one` answers replay requests.
struct World {
    bus: Bus,
    disk: MemoryDisk,
    asker: Box<dyn Asker>,
    replay: Endpoint,
    asked: u64,
}

impl World {
    fn new() -> World {
        let bus = Bus::new();
        bus.declare("app.one");
        bus.declare("app.two");
        let replay = Endpoint::parse("tcp://memory:9000").expect("an address");
        let mut asker = bus.transport().asker().expect("an asker");
        asker.follow(std::slice::from_ref(&replay));
        World { bus, disk: MemoryDisk::new(), asker, replay, asked: 0 }
    }

    /// A publisher on this disk.
    fn open_on(&self, disk: &MemoryDisk) -> Publisher {
        let known = self.bus.config();
        let mut entries: Vec<_> = known.endpoints.values().cloned().collect();
        let own = entries.iter_mut().find(|entry| entry.identity.as_str() == "app.one");
        own.expect("declared").replay = vec![self.replay.clone()];
        let trust = known.trust.as_ref().clone();
        let config = Config::in_memory(trust, entries, known.state_dir.clone());
        let builder = self.bus.publisher_builder("app.one").config(Arc::new(config));
        let builder = builder.level(Level::Local).disk(Arc::new(disk.clone()));
        builder.build().expect("a publisher")
    }

    fn open(&self) -> Publisher {
        self.open_on(&self.disk)
    }

    /// Puts a record to the publisher; whether it took it.
    fn show(&mut self, wire: &Wire) -> bool {
        self.asked += 1;
        let id = RequestId::new(&self.asked.to_be_bytes()).expect("an id");
        let messages = vec![wire.clone()];
        let frames: Vec<Bytes> = Request { id: id.clone(), ask: Ask::Put { messages } }.encode();
        let (deadline, mut told) = (Instant::now() + PATIENCE, Vec::new());
        while !self.asker.ask(&self.replay, &frames) {
            assert!(Instant::now() < deadline, "the publisher can be asked");
            self.asker.receive(Duration::from_millis(5), &mut told);
        }
        while told.is_empty() {
            assert!(Instant::now() < deadline, "the publisher answers");
            self.asker.receive(Duration::from_secs(1), &mut told);
        }
        let answer = Answer::parse(&told[0].frames).expect("an answer");
        assert_eq!((answer.id, told.len()), (id, 1));
        match answer.reply {
            Reply::Accepted { .. } => true,
            Reply::Err { code: ErrorCode::Denied, .. } => false,
            other => panic!("{other:?}"),
        }
    }

    /// The message with this number in the journal on a disk.
    fn record(&self, disk: &MemoryDisk, epoch: Epoch, i: u64) -> Wire {
        let mut reader = fedmsg::journal::Reader::new(Arc::new(disk.clone()), &folder(&self.bus));
        let batch = reader.read(epoch, i, i, 1, 0).expect("read");
        match &batch.entries[..] {
            [entry] => match &entry.body {
                fedmsg::journal::Body::Record(wire) => wire.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// A publisher that has five messages; and one on a copy of its disk that was made after three.
    fn set_back(&self) -> (Publisher, Epoch) {
        let first = self.open();
        (1..=3).for_each(|n| drop(publish(&first, n).expect("stored")));
        let snapshot = self.disk.copy();
        (4..=5).for_each(|n| drop(publish(&first, n).expect("stored")));
        let epoch = first.epoch();
        drop(first);
        let again = self.open_on(&snapshot);
        assert_eq!(again.epoch(), epoch, "nothing on its own disk shows that it was set back");
        (again, epoch)
    }
}

fn stream() -> StreamName {
    StreamName::parse("app.one/0").expect("a stream")
}

/// The records of an epoch of `app.one/0`, signed with the key of an identity.
fn forged(bus: &Bus, signer: &str, epoch: Epoch) -> (Sealer, Wire) {
    let (now, after) = (Timestamp::from_millis(1_790_000_000_000), (After::Unknown, Leaf::NONE));
    let key = Arc::new(bus.key(signer));
    let (sealer, genesis) = Sealer::open_epoch(key, stream(), epoch, after, Level::Local, now);
    (sealer, genesis.wire)
}

fn later(epoch: Epoch) -> Epoch {
    let far = Timestamp::from_millis(4_000_000_000_000);
    Epoch::next(far, [9; 10], Some(epoch))
}

/// What a subscriber is given up to the message with this body.
fn up_to(subscriber: &fedmsg::Subscriber, n: u64) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = subscriber.recv(Some(PATIENCE)).expect("an event");
        let is_last = matches!(&event, Event::Message(m) if m.body::<serde_json::Value>().expect("JSON")["n"] == n);
        events.push(event);
        if is_last {
            return events;
        }
    }
}

#[test]
fn a_publisher_that_was_set_back_begins_a_new_epoch_and_keeps_the_old_one() {
    let mut world = World::new();
    let (publisher, old) = world.set_back();
    let subscriber = world.bus.subscriber_builder().internal(true).build().expect("a subscriber");
    assert!(publisher.wait_for_subscribers(1, PATIENCE));
    // It gives number 4 out a second time, and does not know it.
    let twice = publish(&publisher, 40).expect("stored");
    assert_eq!((twice.epoch, twice.i), (old, 4));
    let fifth = world.record(&world.disk, old, 5);
    assert!(world.show(&fifth));
    let next = publish(&publisher, 50).expect("stored");
    assert!(next.epoch > old && publisher.epoch() == next.epoch);
    assert_eq!((next.i, publisher.metrics().renewed), (1, 1));

    let events = up_to(&subscriber, 50);
    let opening = events.iter().find_map(|event| match event {
        Event::Internal(message) if message.epoch() == next.epoch => {
            let Record::Genesis(genesis) = message.verified.record() else { return None };
            Some(genesis.after)
        }
        _ => None,
    });
    assert_eq!(opening, Some(After::Unknown), "how the old epoch went on is not known here");

    // The same record says nothing new now, and neither does any other one of the old epoch.
    for i in [3, 4, 5] {
        let wire = world.record(&world.disk, old, i);
        assert!(!world.show(&wire), "{i}");
    }
    let after = publish(&publisher, 60).expect("stored");
    assert_eq!((after.epoch, after.i, publisher.metrics().renewed), (next.epoch, 2, 1));
}

#[test]
fn what_was_acknowledged_before_is_served_and_its_receipt_stays() {
    let mut world = World::new();
    let (publisher, old) = world.set_back();
    let draft = || Draft::new("app.n").body(&json!({ "n": 40 })).msg_id("forty");
    let first = publisher.publish(draft()).wait_timeout(PATIENCE).expect("stored");
    let fifth = world.record(&world.disk, old, 5);
    assert!(world.show(&fifth));
    let next = publish(&publisher, 50).expect("stored");
    let again = publisher.publish(draft()).wait_timeout(PATIENCE).expect("the first receipt");
    assert_eq!((again.epoch, again.i), (old, first.i));
    assert_ne!(next.epoch, old);

    let served: Vec<u64> = {
        let (epoch, to, id) = (old, 4, RequestId::new(b"get").expect("an id"));
        let ask = Ask::Get { stream: stream(), epoch, from: 1, to, max: 9, filters: Vec::new() };
        assert!(world.asker.ask(&world.replay, &Request { id, ask }.encode()));
        let (mut told, mut numbers) = (Vec::new(), Vec::new());
        while numbers.last() != Some(&u64::MAX) {
            world.asker.receive(PATIENCE, &mut told);
            numbers.extend(told.drain(..).map(|told| {
                match Answer::parse(&told.frames).expect("an answer").reply {
                    Reply::Msg { i, .. } => i,
                    Reply::End { .. } => u64::MAX,
                    other => panic!("{other:?}"),
                }
            }));
        }
        numbers
    };
    assert_eq!(served, [1, 2, 3, 4, u64::MAX]);
}

#[test]
fn callers_that_wait_get_numbers_of_the_new_epoch_and_nothing_is_lost() {
    let mut world = World::new();
    let (publisher, old) = world.set_back();
    let fifth = world.record(&world.disk, old, 5);
    let callers: Vec<_> = (0..4u64)
        .map(|caller| {
            let publisher = publisher.clone();
            std::thread::spawn(move || {
                let publish = |n| publish(&publisher, 1_000 + caller * 1_000 + n);
                (0..200).map(publish).collect::<Result<Vec<Receipt>, PublishError>>()
            })
        })
        .collect();
    let shown = world.show(&fifth);
    let mut receipts: Vec<Receipt> = Vec::new();
    for caller in callers {
        receipts.extend(caller.join().expect("it ends").expect("every message is stored"));
    }
    // Whether number 5 was given out before it was shown or after, it is another record.
    assert!(shown);
    let last = publish(&publisher, 9).expect("stored");
    assert_ne!(last.epoch, old);
    assert_eq!(publisher.metrics().renewed, 1);
    let mut places: Vec<_> = receipts.iter().map(|receipt| (receipt.epoch, receipt.i)).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), 800);
}

#[test]
fn another_record_at_a_number_that_is_known_is_news_and_the_same_one_is_not() {
    let mut world = World::new();
    let (publisher, old) = world.set_back();
    publish(&publisher, 40).expect("stored");
    let third = world.record(&world.disk, old, 3);
    assert!(!world.show(&third), "the copy has the same one");
    let genesis = world.record(&world.disk, old, 0);
    assert!(!world.show(&genesis));
    assert_eq!(publish(&publisher, 41).expect("stored").epoch, old);
    let fourth = world.record(&world.disk, old, 4);
    assert!(world.show(&fourth));
    assert!(publish(&publisher, 42).expect("stored").epoch > old);
}

#[test]
fn a_heartbeat_that_knows_more_is_news_and_one_that_knows_as_much_is_not() {
    let mut world = World::new();
    let subscriber = world.bus.subscriber_builder().internal(true).build().expect("a subscriber");
    let (publisher, old) = world.set_back();
    publish(&publisher, 40).expect("stored");
    let mut beats: Vec<Verified> = Vec::new();
    while !beats.iter().any(|beat| is_closed_at(beat, 5)) {
        if let Some(Event::Internal(message)) = subscriber.recv(Some(PATIENCE)) {
            beats.push(message.verified);
        }
    }
    let of = |n: u64| {
        let is_it = |beat: &&Verified| matches!(beat.record(), Record::Heartbeat(heartbeat) if heartbeat.last == n);
        beats.iter().find(is_it).map(|beat| beat.wire().clone())
    };
    if let Some(known) = of(3) {
        assert!(!world.show(&known), "it is the same on the copy");
    }
    let beyond = of(5).expect("the last words of the first publisher");
    assert!(world.show(&beyond));
    assert!(publish(&publisher, 41).expect("stored").epoch > old);
}

fn is_closed_at(beat: &Verified, n: u64) -> bool {
    matches!(beat.record(), Record::Heartbeat(b) if b.last == n && b.state == State::Closed)
}

#[test]
fn a_later_epoch_is_news_and_the_next_one_is_above_it() {
    let mut world = World::new();
    let (publisher, old) = world.set_back();
    let far = later(old);
    let (_, genesis) = forged(&world.bus, "app.one", far);
    assert!(world.show(&genesis));
    let next = publish(&publisher, 40).expect("stored");
    assert!(next.epoch > far);
    assert!(!world.show(&genesis), "that epoch is an old one now");
    assert_eq!(publish(&publisher, 41).expect("stored").epoch, next.epoch);
    assert_eq!(publisher.metrics().renewed, 1);
}

#[test]
fn garbage_other_keys_and_other_streams_change_nothing() {
    let mut world = World::new();
    let (publisher, old) = world.set_back();
    let (_, foreign) = forged(&world.bus, "app.two", later(old));
    let (_, unknown) = forged(&world.bus, "app.nobody", later(old));
    let fifth = world.record(&world.disk, old, 5);
    let mut altered = fifth.envelope.to_vec();
    let place = altered.windows(4).position(|four| four == b"\"n\":").expect("the body") + 4;
    altered[place] = b'7';
    let altered = Wire { topic: fifth.topic.clone(), envelope: altered.into() };
    let renamed = Wire { topic: Bytes::from("org.example.dev.app.m"), ..fifth.clone() };
    let highest = Epoch::new(uuid_max());
    let (_, highest) = forged(&world.bus, "app.one", highest);
    let garbage = Wire { topic: Bytes::from("x"), envelope: Bytes::from("{}") };
    for (wire, what) in [
        (foreign, "the key of another identity"),
        (unknown, "a key that nobody trusts"),
        (altered, "an altered record"),
        (renamed, "another topic frame"),
        (highest, "an epoch that has no next one"),
        (garbage, "no record"),
    ] {
        assert!(!world.show(&wire), "{what}");
    }
    let next = publish(&publisher, 40).expect("stored");
    assert_eq!((next.epoch, next.i, publisher.metrics().renewed), (old, 4, 0));
}

fn uuid_max() -> uuid::Uuid {
    uuid::Uuid::from_u128(u128::MAX)
}

#[test]
fn a_disk_that_does_not_take_the_new_epoch_is_tried_again_before_anything_is_published() {
    for kind in [FaultKind::Full, FaultKind::Io] {
        let mut world = World::new();
        let (publisher, old) = world.set_back();
        drop(publisher);
        let disk = world.disk.copy();
        let publisher = world.open_on(&disk);
        let (_, genesis) = forged(&world.bus, "app.one", later(old));
        disk.fail(Some(DiskFault { call: disk.calls() + 1, kind, for_ever: true }));
        assert!(world.show(&genesis));
        for n in 50..53 {
            let error = publish(&publisher, n).expect_err("the disk takes nothing");
            assert!(matches!(error, PublishError::NotStored(_)), "{error}");
        }
        disk.fail(None);
        let deadline = Instant::now() + PATIENCE;
        let next = loop {
            match publish(&publisher, 60) {
                Ok(receipt) => break receipt,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        assert!(next.epoch > later(old));
        assert_eq!((next.i, publisher.metrics().renewed), (1, 1));
        drop(publisher);
        let again = world.open_on(&disk);
        assert_eq!(again.epoch(), next.epoch, "the journal is whole");
        let bodies: Vec<u64> = kept(&disk, &folder(&world.bus)).iter().map(|k| k.2).collect();
        assert_eq!(bodies, [1, 2, 3, 4, 5, 60]);
    }
}

#[test]
fn what_the_disk_did_not_take_is_given_up_with_its_epoch_and_may_be_published_again() {
    let mut world = World::new();
    let (publisher, old) = world.set_back();
    drop(publisher);
    let disk = world.disk.copy();
    let publisher = world.open_on(&disk);
    let draft = || Draft::new("app.n").body(&json!({ "n": 50 })).msg_id("fifty");
    disk.fail(Some(DiskFault { call: disk.calls() + 1, kind: FaultKind::Full, for_ever: true }));
    let error = publisher.publish(draft()).wait_timeout(PATIENCE).expect_err("the disk is full");
    assert!(matches!(error, PublishError::NotStored(_)), "{error}");
    let (_, genesis) = forged(&world.bus, "app.one", later(old));
    assert!(world.show(&genesis));
    disk.fail(None);
    let deadline = Instant::now() + PATIENCE;
    let receipt = loop {
        match publisher.publish(draft()).wait_timeout(PATIENCE) {
            Ok(receipt) => break receipt,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert!(receipt.epoch > old && receipt.i == 1, "{receipt:?}");
    let bodies: Vec<u64> = kept(&disk, &folder(&world.bus)).iter().map(|k| k.2).collect();
    assert_eq!(bodies, [1, 2, 3, 4, 5, 50], "once, and nothing is missing");
}

#[test]
fn a_publisher_without_any_past_does_not_claim_that_there_was_none() {
    let world = World::new();
    let publisher = world.open();
    let genesis = world.record(&world.disk, publisher.epoch(), 0);
    let envelope: serde_json::Value = serde_json::from_slice(&genesis.envelope).expect("JSON");
    assert_eq!(envelope["msg"]["after"], "unknown", "its folder may have been wiped");
}
