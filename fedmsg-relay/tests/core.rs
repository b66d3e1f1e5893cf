//! The relay's decisions, on its real log.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use fedmsg::config::EndpointEntry;
use fedmsg::endpoint::Endpoint;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::followed::Followed;
use fedmsg::frames::{ErrorCode, Reply};
use fedmsg::identity::{Identity, StreamName};
use fedmsg::keys::{SecretKey, TrustedKey};
use fedmsg::log::Settings;
use fedmsg::merkle::Leaf;
use fedmsg::policy::{Action, Policy, Rule, Subject};
use fedmsg::reception::Reception;
use fedmsg::record::{After, Level, State};
use fedmsg::rejection::Rejection;
use fedmsg::seal::{Draft, Sealed, Sealer, check};
use fedmsg::sequence::Begin;
use fedmsg::stored;
use fedmsg::testing::MemoryDisk;
use fedmsg::timestamp::Timestamp;
use fedmsg::topic::Pattern;
use fedmsg::trust::Trust;
use fedmsg_relay::core::{Counts, Head, Kept, RelayCore, Stored, Unreadable};
use fedmsg_relay::keeping::{Keeping, OnDisk};
use fedmsg_relay::records::Records;
use fedmsg_relay::waiting::{Batch, Outside, Waiting};

fn identity(name: &str) -> Identity {
    Identity::parse(name).expect("identity")
}

fn key(n: u8) -> Arc<SecretKey> {
    Arc::new(SecretKey::from_seed(&[n; 32]).expect("key"))
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000)
}

/// Keys of the relay and of two producers; the producers may publish into these topics.
fn trust(topics: &str) -> Arc<Trust> {
    let mut trust = Trust::default();
    for (n, name) in (1..).zip(["relay.one", "a.x", "b.x"]) {
        let key = TrustedKey::new(key(n).public().clone(), identity(name));
        trust.keys.add(key).expect("a new key");
    }
    let subject = Subject::service("*").expect("everybody");
    let rule = Rule::new(Action::Publish, subject, &[topics], &trust.naming, "a test");
    trust.policy = Policy::new(vec![rule.expect("a rule")]);
    Arc::new(trust)
}

fn relay(carries: &str, is_archive: bool) -> RelayCore {
    let carries = vec![Pattern::policy(carries).expect("pattern")];
    RelayCore::new(identity("relay.one"), carries, is_archive, trust("org.example.dev.a.>"))
}

/// The real log, on a disk that can fail.
struct Disk {
    disk: MemoryDisk,
    log: Keeping,
}

impl Disk {
    fn new() -> Disk {
        let disk = MemoryDisk::new();
        let log = Disk::open(&disk);
        Disk { disk, log }
    }

    fn open(disk: &MemoryDisk) -> Keeping {
        let disk = Arc::new(disk.clone());
        Keeping::on(disk, Path::new("/log"), Settings::default()).expect("a log")
    }

    /// The process dies, and another one comes.
    fn restart(&mut self) {
        self.log = Disk::open(&self.disk);
    }
}

/// A producer without an endpoint.
struct Producer {
    sealer: Sealer,
    who: Identity,
    trust: Arc<Trust>,
}

impl Producer {
    fn new(n: u8, who: &str, epoch: u64, after: (After, Leaf)) -> (Producer, Sealed) {
        let stream = format!("{who}/0198d3c4-0000-7000-8000-000000000001");
        let stream = StreamName::parse(&stream).expect("stream");
        let epoch = format!("01997530-0000-7000-8000-{epoch:012}");
        let epoch = Epoch::parse(&epoch).expect("epoch");
        let (sealer, genesis) =
            Sealer::open_epoch(key(n), stream, epoch, after, Level::Local, now());
        (Producer { sealer, who: identity(who), trust: trust(">") }, genesis)
    }

    fn seal(&mut self, topic: &str, count: usize) -> Vec<Sealed> {
        let draft = |_| check(Draft::new(topic), &self.who, &self.trust, || "1".into());
        let drafts: Result<Vec<_>, _> = (0..count).map(draft).collect();
        self.sealer.seal(&drafts.expect("drafts"), now())
    }
}

fn wires(sealed: &[Sealed]) -> Vec<Wire> {
    sealed.iter().map(|sealed| sealed.wire.clone()).collect()
}

/// Puts, stores, and gives the answers; every receipt must hold.
fn put(relay: &mut RelayCore, disk: &mut Disk, sealed: &[Sealed]) -> (Vec<Reply>, usize) {
    let taken = relay.put(&wires(sealed), 0, &disk.log);
    disk.log.store(std::iter::once(&taken)).expect("stored");
    relay.stored();
    let answers = taken.answers(&key(1));
    for answer in &answers {
        if let Reply::Stored { span, receipt } = answer {
            let of = &sealed[span.at as usize..(span.at + span.count) as usize];
            let leaves: Vec<Leaf> = of.iter().map(|sealed| sealed.leaf).collect();
            let keys = &trust(">").keys;
            let who = stored::verify(receipt, &leaves, keys).expect("a receipt");
            assert_eq!(who, identity("relay.one"));
            for sealed in of {
                // What it says is so: this very record is on the disk.
                let (stream, epoch) = place(sealed);
                let stored = Stored { leaf: sealed.leaf, is_gone: false };
                assert_eq!(disk.log.at(&stream, epoch, sealed.i), Ok(Some(stored)));
            }
        }
    }
    (answers, taken.publish.len())
}

/// The stream and the epoch of a record, as its bytes say.
fn place(sealed: &Sealed) -> (StreamName, Epoch) {
    let envelope: serde_json::Value =
        serde_json::from_slice(&sealed.wire.envelope).expect("an envelope");
    let text = |name: &str| envelope[name].as_str().expect("text").to_owned();
    let stream = StreamName::parse(&text("stream")).expect("a stream");
    (stream, Epoch::parse(&text("epoch")).expect("an epoch"))
}

fn names(answers: &[Reply]) -> Vec<(&'static str, u64)> {
    let name = |answer: &Reply| match answer {
        Reply::Stored { span, .. } => ("stored", span.count),
        Reply::Accepted { span } => ("accepted", span.count),
        Reply::Refused { span, .. } => ("refused", span.count),
        Reply::Expect { span, .. } => ("expect", span.count),
        _ => ("other", 0),
    };
    answers.iter().map(name).collect()
}

fn new_producer() -> (Producer, Sealed) {
    Producer::new(2, "a.x", 1, (After::Nothing, Leaf::NONE))
}

const TOPIC: &str = "org.example.dev.a.thing.done";

#[test]
fn what_is_taken_is_stored_once_and_receipted_each_time() {
    let (mut relay, mut disk) = (relay(">", false), Disk::new());
    let (mut producer, genesis) = new_producer();
    let messages = producer.seal(TOPIC, 5);
    let beat = producer.sealer.heartbeat(State::Open, "", now());
    let all: Vec<Sealed> = [genesis].into_iter().chain(messages).chain([beat]).collect();
    let (answers, published) = put(&mut relay, &mut disk, &all);
    assert_eq!((names(&answers), published), (vec![("stored", 6), ("accepted", 1)], 7));
    let (answers, published) = put(&mut relay, &mut disk, &all[..6]);
    assert_eq!((names(&answers), published), (vec![("stored", 6)], 0));
    assert_eq!(relay.counts.duplicates, 6);
    // After a restart, with nothing but the disk.
    disk.restart();
    let mut relay = self::relay(">", false);
    let (answers, published) = put(&mut relay, &mut disk, &all[..6]);
    assert_eq!((names(&answers), published), (vec![("stored", 6)], 0));
}

#[test]
fn nothing_that_the_disk_did_not_take_counts() {
    let (mut relay, mut disk) = (relay(">", false), Disk::new());
    let (mut producer, genesis) = new_producer();
    put(&mut relay, &mut disk, &[genesis]);
    let messages = producer.seal(TOPIC, 3);
    relay.put(&wires(&messages), 0, &disk.log);
    relay.not_stored(&disk.log);
    assert_eq!(relay.counts.unstored, 3);
    // What comes behind it is not taken without it.
    let more = producer.seal(TOPIC, 1);
    assert_eq!(names(&put(&mut relay, &mut disk, &more).0), [("expect", 1)]);
    let (answers, published) = put(&mut relay, &mut disk, &messages);
    assert_eq!((names(&answers), published), (vec![("stored", 3)], 3));
}

#[test]
fn what_was_said_of_what_the_disk_did_not_take_is_not_announced() {
    let (mut relay, mut disk) = (relay(">", false), Disk::new());
    let (mut producer, genesis) = new_producer();
    let announced = |relay: &RelayCore| relay.announcements(0, 1).count();
    let beat = |producer: &mut Producer| producer.sealer.heartbeat(State::Open, "", now());
    relay.put(&wires(&[genesis.clone(), beat(&mut producer)]), 0, &disk.log);
    relay.not_stored(&disk.log);
    assert_eq!(announced(&relay), 0, "a reader would look for a stream that nobody has");
    put(&mut relay, &mut disk, &[genesis, beat(&mut producer)]);
    assert_eq!(announced(&relay), 2);
    let messages = [producer.seal(TOPIC, 2), vec![beat(&mut producer)]].concat();
    relay.put(&wires(&messages), 0, &disk.log);
    relay.not_stored(&disk.log);
    assert_eq!(announced(&relay), 1, "the genesis record is on the disk, two messages are not");
}

#[test]
fn a_heartbeat_is_no_base_and_no_receipt_is_given_for_what_is_not_here() {
    let (mut relay, mut disk) = (relay(">", false), Disk::new());
    let (mut producer, _) = new_producer();
    let messages = producer.seal(TOPIC, 3);
    let beat = producer.sealer.heartbeat(State::Open, "", now());
    assert_eq!(names(&put(&mut relay, &mut disk, &[beat]).0), [("accepted", 1)]);
    // The first message that comes is the base, whichever it is; one before it is taken as well.
    for message in [&messages[2], &messages[0], &messages[1]] {
        let (answers, published) = put(&mut relay, &mut disk, std::slice::from_ref(message));
        assert_eq!((names(&answers), published), (vec![("stored", 1)], 1));
    }
}

#[test]
fn another_record_at_the_same_position_is_never_receipted() {
    let (mut relay, mut disk) = (relay(">", false), Disk::new());
    let ((mut one, genesis), (mut other, _)) = (new_producer(), new_producer());
    put(&mut relay, &mut disk, &[genesis]);
    let (here, there) = (one.seal(TOPIC, 3), other.seal("org.example.dev.a.other.done", 4));
    put(&mut relay, &mut disk, &here);
    for message in &there {
        let taken = relay.put(&wires(std::slice::from_ref(message)), 0, &disk.log);
        assert_eq!(taken.keep, []);
        assert!(matches!(taken.refusals[..], [(Rejection::Fork, _)]), "{:?}", taken.refusals);
    }
}

#[test]
fn a_refused_record_leaves_its_leaf_and_is_never_receipted_also_when_the_rule_comes() {
    let (mut relay, mut disk) = (relay(">", false), Disk::new());
    let (mut producer, genesis) = new_producer();
    put(&mut relay, &mut disk, &[genesis]);
    let mut messages = producer.seal("org.example.dev.other.thing.done", 1);
    messages.extend(producer.seal(TOPIC, 1));
    let (answers, published) = put(&mut relay, &mut disk, &messages);
    assert_eq!((names(&answers), published), (vec![("refused", 1), ("stored", 1)], 1));
    let gone = Stored { leaf: messages[0].leaf, is_gone: true };
    let at = |disk: &Disk| disk.log.at(producer.sealer.stream(), producer.sealer.epoch(), 1);
    assert_eq!(at(&disk), Ok(Some(gone)));
    relay.set_config(vec![Pattern::policy(">").expect("pattern")], false, trust(">"));
    let (answers, published) = put(&mut relay, &mut disk, &messages);
    assert_eq!((names(&answers), published), (vec![("refused", 1), ("stored", 1)], 0));
    assert_eq!(at(&disk), Ok(Some(gone)));
}

/// A log that cannot be read where something stands.
struct Blind;

impl Kept for Blind {
    fn head(&self, _: &StreamName) -> Option<Head> {
        let (producer, _) = new_producer();
        Some(Head { epoch: producer.sealer.epoch(), last: 9, leaf: None })
    }

    fn at(&self, _: &StreamName, _: Epoch, _: u64) -> Result<Option<Stored>, Unreadable> {
        Err(Unreadable)
    }
}

#[test]
fn no_receipt_is_given_for_what_cannot_be_compared() {
    let mut relay = relay(">", false);
    let (mut producer, _) = new_producer();
    let messages = producer.seal(TOPIC, 3);
    let taken = relay.put(&wires(&messages), 0, &Blind);
    assert_eq!(taken.keep, []);
    let answers = taken.answers(&key(1));
    let is_busy = |reply: &Reply| matches!(reply, Reply::Err { code: ErrorCode::Busy, .. });
    assert!(answers.len() == 1 && is_busy(&answers[0]), "{answers:?}");
}

#[test]
fn an_archive_stores_what_it_does_not_publish() {
    let (mut relay, mut disk) = (relay("org.example.dev.b.>", true), Disk::new());
    let (mut producer, genesis) = new_producer();
    let messages = producer.seal(TOPIC, 2);
    let all: Vec<Sealed> = [genesis].into_iter().chain(messages).collect();
    let (answers, published) = put(&mut relay, &mut disk, &all);
    // The genesis record goes with whatever is carried of others.
    assert_eq!((names(&answers), published), (vec![("stored", 3)], 1));
}

#[test]
fn a_new_epoch_begins_with_its_genesis_record_and_the_old_one_does_not_go_on() {
    let (mut relay, mut disk) = (relay(">", false), Disk::new());
    let (mut old, genesis) = new_producer();
    put(&mut relay, &mut disk, &[genesis]);
    let before = old.seal(TOPIC, 2);
    put(&mut relay, &mut disk, &before);
    let (last, leaf) = old.sealer.last();
    let after = (After::Epoch { epoch: old.sealer.epoch(), last }, leaf);
    let (mut new, genesis) = Producer::new(2, "a.x", 2, after);
    let messages = new.seal(TOPIC, 1);
    assert_eq!(names(&put(&mut relay, &mut disk, &messages).0), [("expect", 1)]);
    let all: Vec<Sealed> = [genesis].into_iter().chain(messages).collect();
    assert_eq!(names(&put(&mut relay, &mut disk, &all).0), [("stored", 2)]);
    // What was stored of the old one is receipted again; nothing new of it is taken.
    assert_eq!(names(&put(&mut relay, &mut disk, &before).0), [("stored", 2)]);
    let late = old.seal(TOPIC, 1);
    assert_eq!(names(&put(&mut relay, &mut disk, &late).0), [("refused", 1)]);
}

#[test]
fn what_comes_back_from_who_follows_a_relay_is_not_shown_again() {
    let (mut relay, mut disk) = (relay(">", true), Disk::new());
    let (mut producer, genesis) = new_producer();
    put(&mut relay, &mut disk, &[vec![genesis.clone()], producer.seal("a.b.c", 1)].concat());
    let mut follow = |wire: &Wire| {
        let mut taken = fedmsg_relay::core::Taken::default();
        relay.follow(wire, 0, &disk.log, &mut taken);
        disk.log.store(std::iter::once(&taken)).expect("stored");
        relay.stored();
        taken.publish.len()
    };
    let beat = |producer: &mut Producer, after| {
        producer
            .sealer
            .heartbeat(State::Open, "", Timestamp::from_millis(now().as_millis() + after))
            .wire
    };
    let (first, second) = (beat(&mut producer, 0), beat(&mut producer, 5_000));
    assert_eq!(follow(&first), 1);
    assert_eq!(follow(&first), 0, "two relays that follow each other would hand it round for ever");
    assert_eq!((follow(&second), follow(&second), follow(&first)), (1, 0, 0));
    let next = producer.seal("a.b.c", 1).remove(0).wire;
    assert_eq!((follow(&next), follow(&next), follow(&genesis.wire)), (1, 0, 0));
}

#[test]
fn what_is_taken_while_the_disk_works_falls_with_what_it_stands_on() {
    let (mut relay, mut disk) = (relay(">", false), Disk::new());
    let (mut producer, genesis) = new_producer();
    put(&mut relay, &mut disk, &[genesis]);
    let (first, second) = (producer.seal(TOPIC, 3), producer.seal(TOPIC, 2));
    relay.put(&wires(&first), 0, &disk.log);
    relay.handed_over();
    let again = relay.put(&wires(&first), 0, &disk.log);
    assert!(again.keep.is_empty(), "it is on its way");
    assert_eq!(relay.put(&wires(&second), 0, &disk.log).keep.len(), 2);
    relay.not_stored(&disk.log);
    assert_eq!(relay.counts.unstored, 5);
    assert_eq!(names(&put(&mut relay, &mut disk, &second).0), [("expect", 2)]);
    // The same without a failure: what was handed over is stored alone.
    let taken = relay.put(&wires(&first), 0, &disk.log);
    relay.handed_over();
    let behind = relay.put(&wires(&second), 0, &disk.log);
    disk.log.store(std::iter::once(&taken)).expect("stored");
    relay.stored();
    assert_eq!(relay.put(&wires(&second), 0, &disk.log).keep.len(), 0, "it waits for its turn");
    disk.log.store(std::iter::once(&behind)).expect("stored");
    relay.stored();
    let (answers, published) = put(&mut relay, &mut disk, &[first, second].concat());
    assert_eq!((names(&answers), published), (vec![("stored", 5)], 0));
}

/// Everybody outside: whatever they are shown or told has to be on the disk by then.
struct Outsiders<'a> {
    log: OnDisk,
    all: &'a [Sealed],
    published: Vec<u64>,
    acknowledged: u64,
}

impl Outsiders<'_> {
    fn is_on_disk(&self, sealed: &Sealed) -> bool {
        let (stream, epoch) = place(sealed);
        let stored = Stored { leaf: sealed.leaf, is_gone: false };
        self.log.at(&stream, epoch, sealed.i) == Ok(Some(stored))
    }
}

impl Outside<Range<usize>> for Outsiders<'_> {
    fn publish(&mut self, wire: &Wire) {
        let sealed = self.all.iter().find(|sealed| sealed.wire == *wire).expect("one of ours");
        assert!(self.is_on_disk(sealed), "number {} is shown", sealed.i);
        self.published.push(sealed.i);
    }

    fn answer(&mut self, to: &Range<usize>, replies: Vec<Reply>) {
        for reply in replies {
            let Reply::Stored { span, receipt } = reply else { continue };
            let of = &self.all[to.clone()][span.at as usize..(span.at + span.count) as usize];
            let leaves: Vec<Leaf> = of.iter().map(|sealed| sealed.leaf).collect();
            stored::verify(&receipt, &leaves, &trust(">").keys).expect("a receipt for these");
            for sealed in of {
                assert!(self.is_on_disk(sealed), "number {} is acknowledged", sealed.i);
                self.acknowledged = self.acknowledged.max(sealed.i + 1);
            }
        }
    }
}

/// A relay that takes more while its disk works, at random, with a disk that fails now and then.
fn history(seed: u64, all: &[Sealed]) -> Counts {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut relay, mut disk) = (relay(">", false), Disk::new());
    let on_disk = disk.log.on_disk();
    let mut waiting = Waiting::<Range<usize>>::default();
    let mut outsiders =
        Outsiders { log: on_disk.clone(), all, published: Vec::new(), acknowledged: 0 };
    let (mut on_way, mut written) = (None::<Batch<_>>, None);
    let mut steps = 0;
    while outsiders.acknowledged < all.len() as u64 || on_way.is_some() {
        steps += 1;
        match random.u8(..8) {
            0..4 => {
                let next = outsiders.acknowledged as usize;
                // The first record that comes is the base, and has to be the first there is.
                let ahead = if next == 0 { 1 } else { (next + 8).min(all.len()) };
                let from = random.usize(next.saturating_sub(3).min(ahead - 1)..ahead);
                let range = from..random.usize(from..(from + 6).min(all.len())) + 1;
                let taken = relay.put(&wires(&all[range.clone()]), 0, &on_disk);
                let is_much = waiting.add(Some(range), taken);
                assert!(!is_much, "a few messages");
            }
            4 if on_way.is_none() => on_way = waiting.hand_over(&mut relay),
            5 | 6 if written.is_none() => {
                let Some(batch) = &mut on_way else { continue };
                let fails = random.u8(..4) == 0 && steps < 1_000;
                disk.disk.set_capacity(fails.then_some(0));
                let stored = disk.log.store(batch.taken());
                if stored.is_ok() && random.bool() {
                    batch.sign(&key(1));
                }
                written = Some(stored);
            }
            _ => {
                if let Some(stored) = written.take() {
                    let batch = on_way.take().expect("what was written");
                    let core = (&mut relay, &on_disk);
                    waiting.settle(batch, &stored, core, &key(1), &mut outsiders);
                }
            }
        }
        assert!(steps < 100_000, "seed {seed} comes to no end");
    }
    let expected: Vec<u64> = (0..all.len() as u64).collect();
    assert_eq!(outsiders.published, expected, "seed {seed}: each once, in order");
    relay.counts
}

#[test]
fn nothing_is_shown_or_acknowledged_before_it_is_on_the_disk_whatever_comes_meanwhile() {
    let (mut producer, genesis) = new_producer();
    let messages = producer.seal(TOPIC, 40);
    let all: Vec<Sealed> = [genesis].into_iter().chain(messages).collect();
    let counts: Vec<Counts> = (0..60).map(|seed| history(seed, &all)).collect();
    let sum = |of: fn(&Counts) -> u64| counts.iter().map(of).sum::<u64>();
    // It is about these.
    assert!(sum(|counts| counts.unstored) > 50);
    assert!(sum(|counts| counts.duplicates) > 50);
}

#[test]
fn the_beginning_of_an_epoch_is_not_kept_before_the_end_of_the_one_before_it() {
    let (mut producer, genesis) = new_producer();
    let sealed = producer.seal(TOPIC, 2);
    let (last, leaf) = producer.sealer.last();
    let (stream, first) = place(&genesis);
    let after = (After::Epoch { epoch: first, last }, leaf);
    let (mut next, second) = Producer::new(2, "a.x", 2, after);
    let mut reader = Reception::new(trust(">"), 1);
    reader.set_internal(true);
    reader.set_beginning(move |_| Begin::At { epoch: first, next: 1, leaf: None }, 0);
    // Its holder does not answer.
    let address = |port| Endpoint::parse(&format!("tcp://10.0.0.1:{port}")).expect("an address");
    let mut entry = EndpointEntry::new(stream.identity().clone(), vec![address(3_000)]);
    entry.replay = vec![address(3_500)];
    reader.follow(Followed::new([entry]), 0);
    let mut records = Records::default();
    let mut hears = |reader: &mut Reception, record: &Sealed, now: u64| {
        let from = [stream.identity().clone()];
        reader.arrived(&from, std::slice::from_ref(&record.wire), now, self::now());
        reader.tick(now, self::now());
        reader.events().flat_map(|event| records.take(event)).count()
    };
    assert_eq!(hears(&mut reader, &genesis, 10), 1);
    assert_eq!(hears(&mut reader, &sealed[1], 20), 0, "the first message is missing");
    let news = next.seal(TOPIC, 1).remove(0);
    assert_eq!(hears(&mut reader, &second, 30), 0);
    assert_eq!(hears(&mut reader, &news, 5_000), 0);
    assert_eq!(hears(&mut reader, &sealed[0], 5_010), 4, "both, the genesis record, and the news");
}
