//! R8: a full file system of 8 MiB under a publisher's journal, and under the store of consumers: whoever asks is told,
//! nothing acknowledged is missing, and it goes on when there is room. `FEDMSG_FILLS=50` fills it more often.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use fedmsg::consumer::{
    Advance, ConsumerName, CursorStore, Failure, Position, SqliteStore, Start, StoreError,
};
use fedmsg::envelope::Epoch;
use fedmsg::timestamp::Timestamp;
use fedmsg::{StreamName, Topic};

use crate::harness::kept::{self, Place, kept};
use crate::harness::{Bus, PATIENCE, Program, Rounds, command, not_run, succeeds};

const MEGABYTES: u64 = 8;
/// Room that is made after each fill, in megabytes.
const MORE: u64 = 2;
/// Messages that are published at once, and the bytes of each.
const MANY: u64 = 128;
const BYTES: usize = 1_000;

/// A file system of its own; it is gone when this is dropped.
pub struct Small {
    pub point: PathBuf,
    megabytes: u64,
}

impl Small {
    /// Mounted there, or nothing where this process may not mount.
    pub fn mount(point: PathBuf) -> Option<Small> {
        fs::create_dir_all(&point).expect("a folder");
        let size = format!("size={MEGABYTES}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&point);
        if !succeeds(&mut mount) {
            not_run("mount", "no file system can be mounted here, so none is full");
            return None;
        }
        Some(Small { point, megabytes: MEGABYTES })
    }

    fn make_room(&mut self) {
        self.megabytes += MORE;
        let size = format!("remount,size={}m", self.megabytes);
        let mut mount = Command::new("mount");
        assert!(succeeds(mount.args(["-o", &size]).arg(&self.point)), "mounted with more room");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What is still open there keeps it only until it ends.
        succeeds(Command::new("umount").arg("-l").arg(&self.point));
    }
}

/// A publisher, and what it acknowledged: which message each position is.
struct Filling<'a> {
    bus: &'a Bus,
    publisher: Program,
    acknowledged: BTreeMap<Place, (String, u64)>,
    tags: u64,
}

impl Filling<'_> {
    fn start(bus: &Bus) -> Program {
        let mut publisher = command("examples/publisher");
        publisher.arg(bus.etc()).arg("app.one");
        Program::start(publisher)
    }

    /// Kills the publisher and starts it again, which may need room: a torn record at the end of a journal means a new
    /// epoch. Says whether it runs; if not, it said why.
    fn starts_again(&mut self) -> bool {
        self.publisher.kill();
        self.publisher = Filling::start(self.bus);
        let Some(ready) = self.publisher.line_or_end() else {
            let (code, _, errors) = self.publisher.end();
            let said = errors.join(" ");
            assert!(code == 1 && said.contains("No space left"), "{said}");
            return false;
        };
        assert!(ready.starts_with("ready app.one/0 "), "{ready}");
        true
    }

    /// Publishes some messages; those that failed, with what was said.
    fn publish(&mut self, count: u64) -> Vec<String> {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.publisher.tell(&format!("each {count} app.n {tag} {BYTES}"));
        let mut failed = Vec::new();
        for n in 1..=count {
            let line = self.publisher.line();
            let words: Vec<&str> = line.split(' ').collect();
            let ["sent", "app.one/0", epoch, i, "-"] = words[..] else {
                assert!(line.starts_with("failed "), "{line}");
                failed.push(line);
                continue;
            };
            let place = (Epoch::parse(epoch).expect("an epoch"), i.parse().expect("a number"));
            let before = self.acknowledged.insert(place, (tag.clone(), n));
            assert_eq!(before, None, "{place:?} was acknowledged twice");
        }
        failed
    }

    /// Publishes until the disk takes nothing any more.
    fn fill(&mut self) {
        let most = self.acknowledged.len() + 64 * 1024;
        loop {
            let failed = self.publish(MANY);
            if let Some(line) = failed.first() {
                assert!(line.contains("not stored: "), "{line}");
                return;
            }
            assert!(self.acknowledged.len() < most, "the disk is never full");
        }
    }

    /// Publishes until something is stored: the disk is tried again every second.
    fn goes_on(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.publish(1).is_empty() {
            assert!(Instant::now() < deadline, "there is room, and the publisher does not go on");
        }
    }

    fn compare(&self) {
        let kept = kept(&self.bus.path("state/streams/app.one/0/journal"));
        for (place, (tag, n)) in &self.acknowledged {
            let record = kept.get(place);
            let record = record.unwrap_or_else(|| panic!("{place:?}: acknowledged and not kept"));
            let found = (&record.msg["tag"], &record.msg["n"]);
            assert_eq!(found, (&tag.as_str().into(), &(*n).into()), "{place:?}");
        }
    }
}

/// A relay whose disk is full takes nothing: what it cannot store stays in the outbox of whoever put it, and is
/// delivered once when there is room. What it stored before is still there.
#[test]
fn a_relay_on_a_full_disk_takes_nothing_and_loses_nothing() {
    let bus = Bus::new(&["relay.one"]);
    bus.key("log.one");
    let small = Small::mount(bus.path("small"));
    let Some(mut small) = small else { return };
    let other = bus.copy("other");
    let state = format!("[bus]\nstate_dir = {:?}\n", bus.path("small"));
    fs::write(other.join("15-state.toml"), state).expect("written");
    let mut relay = command("fedmsg-relay");
    relay.arg("--config-dir").arg(&other).args(["--identity", "relay.one"]);
    let mut relay = Program::start(relay);
    relay.says(" ready ");
    let mut tail = bus.tail(&["--format", "%m"]);
    tail.says("relay.one/0 is live");
    let publish = |n: u64| {
        let body = serde_json::json!({ "n": n, "pad": "x".repeat(600_000) }).to_string();
        let mut publish = bus.program("fedmsg");
        publish.env("FEDMSG_IDENTITY", "log.one");
        publish.args(["publish", "log.n", "--wait", "stored", "--timeout", "2s"]);
        let mut publish = Program::start(publish);
        publish.tell(&body);
        publish.end()
    };
    let mut sent = 0;
    let (code, _, errors) = loop {
        sent += 1;
        let ended = publish(sent);
        if ended.0 != 0 {
            break ended;
        }
        assert!(sent < 40, "it has no end");
    };
    assert_eq!(code, 75, "{errors:?}");
    relay.says("the log takes nothing");
    sent += 1;
    assert_eq!(publish(sent).0, 75, "nothing is taken behind it either");
    small.make_room();
    let mut flush = bus.program("fedmsg");
    flush.env("FEDMSG_IDENTITY", "log.one").args(["outbox", "flush"]);
    let (code, _, errors) = Program::start(flush).end();
    assert_eq!(code, 0, "{errors:?}");
    for n in 1..=sent {
        let line = tail.line();
        assert!(line.contains(&format!("\"n\":{n},")), "message {n} is next: {}", &line[..80]);
    }
    relay.kill();
}

#[test]
fn a_full_disk_under_a_journal_is_told_and_survived() {
    let bus = Bus::with(&["app.one"]);
    let Some(mut disk) = Small::mount(bus.path("state")) else { return };
    let mut rounds = Rounds::new("full disks of a publisher", "FEDMSG_FILLS", 4);
    fs::write(bus.path("etc/15-journal.toml"), "[journal]\nsegment_bytes = 1048576\n")
        .expect("written");
    let mut publisher = Filling::start(&bus);
    assert!(publisher.line().starts_with("ready app.one/0 "));
    let mut filling = Filling { bus: &bus, publisher, acknowledged: BTreeMap::new(), tags: 0 };
    for round in 1..=rounds.count {
        filling.fill();
        filling.compare();
        // Every other time it dies while the disk is full, and starts again.
        let dies = round % 2 == 0;
        let started = dies && filling.starts_again();
        disk.make_room();
        if dies && !started {
            assert!(filling.starts_again(), "there is room");
        }
        filling.goes_on();
        rounds.progress(round, &format!("{} acknowledged", filling.acknowledged.len()));
    }
    filling.publisher.end_input();
    assert_eq!(filling.publisher.line(), "closed");
    filling.compare();
    kept::check(&bus);
    rounds.end(&format!("{} acknowledged, 0 lost", filling.acknowledged.len()));
}

/// Something that a consumer could not handle, large enough to fill a disk soon.
fn failure(i: u64) -> Failure {
    Failure {
        position: position(i),
        topic: Topic::parse("org.example.dev.app.n").expect("a topic"),
        envelope: vec![b'x'; 100_000].into(),
        error: "no".into(),
        attempts: 1,
    }
}

fn position(i: u64) -> Position {
    let epoch = Epoch::parse("01997530-0000-7000-8000-000000000001").expect("an epoch");
    Position { stream: StreamName::parse("app.one/0").expect("a stream"), epoch, i }
}

/// The cursor and the number of failed messages, as somebody finds them who opens the file.
fn stored(path: &Path, consumer: &ConsumerName) -> (u64, u64) {
    let mut store = SqliteStore::open(path).expect("a store");
    let cursor = store.load(consumer).expect("cursors")[0].position.i;
    (cursor, store.show(consumer).expect("a consumer").retries)
}

#[test]
fn a_full_disk_under_the_store_of_consumers_is_told_and_survived() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut disk) = Small::mount(folder.path().join("state")) else { return };
    let mut rounds = Rounds::new("full disks of a store", "FEDMSG_FILLS", 4);
    let path = disk.point.join("consumers.db");
    let (badges, now) = (ConsumerName::parse("badges").expect("a name"), Timestamp::from_millis(1));
    let mut store = SqliteStore::open(&path).expect("a store");
    let fence = store.claim(&badges, "host1", Start::New, now, 600_000).expect("claimed").fence;
    let (mut cursor, mut failures) = (0, 0);
    for round in 1..=rounds.count {
        let error = loop {
            let advance = Advance { position: position(cursor + 1), leaf: None };
            match store.advance(&fence, &[advance], now) {
                Ok(moved) => cursor += moved as u64,
                Err(error) => break error,
            }
            match store.failed(&fence, &failure(failures + 1), now, now) {
                Ok(()) => failures += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
        assert_eq!(stored(&path, &badges), (cursor, failures), "what was said to be done");
        disk.make_room();
        let advance = Advance { position: position(cursor + 1), leaf: None };
        assert_eq!(store.advance(&fence, &[advance], now), Ok(1), "it goes on by itself");
        cursor += 1;
        rounds.progress(round, &format!("{cursor} acknowledged"));
    }
    drop(store);
    assert_eq!(stored(&path, &badges), (cursor, failures));
    rounds.end(&format!("{cursor} cursors and {failures} failures acknowledged, 0 lost"));
}
