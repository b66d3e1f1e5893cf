//! What a relay keeps: the past of producers that are gone, through kills of the relay, in one relay or several, on
//! another host, and what it does when its disk is full.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Bus, PATIENCE, Program, Rounds, command};

fn bus(relays: &[&str]) -> Bus {
    let bus = Bus::new(relays);
    bus.key("log.one");
    bus
}

fn publish(bus: &Bus, n: u64, arguments: &[&str]) -> Program {
    let mut command = bus.program("fedmsg");
    let body = json!({ "n": n }).to_string();
    command.env("FEDMSG_IDENTITY", "log.one").args(["publish", "log.n", &body]).args(arguments);
    Program::start(command)
}

/// Publishes, and waits until a relay has stored it.
fn stored(bus: &Bus, n: u64) {
    let (code, out, errors) = publish(bus, n, &["--wait", "relay", "--timeout", "20s"]).end();
    assert_eq!((code, out.len()), (0, 1), "{errors:?}");
}

/// The producer's host is gone, with everything that was on it.
fn forget_the_producer(bus: &Bus) {
    fs::remove_dir_all(bus.path("state/streams/log.one")).expect("removed");
}

/// The bodies that everybody who holds anything has.
fn past(bus: &Bus) -> Vec<u64> {
    let (code, lines, errors) = bus.tail(&["--all", "--no-follow", "--strict", "--json"]).end();
    assert_eq!(code, 0, "{errors:?}");
    lines.iter().map(|line| number(&serde_json::from_str(line).expect("JSON"))).collect()
}

fn number(line: &Value) -> u64 {
    line["message"]["msg"]["n"].as_u64().unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn a_relay_has_the_past_of_a_producer_that_is_gone_also_after_it_was_killed() {
    let bus = bus(&["relay.one"]);
    let mut relay = bus.relay("relay.one");
    (1..=5).for_each(|n| stored(&bus, n));
    forget_the_producer(&bus);
    assert_eq!(past(&bus), [1, 2, 3, 4, 5]);
    relay.kill();
    let mut relay = bus.relay("relay.one");
    assert_eq!(past(&bus), [1, 2, 3, 4, 5]);
    // A producer that knows nothing of that begins another stream.
    (6..=7).for_each(|n| stored(&bus, n));
    relay.term();
    assert_eq!(relay.end().0, 0);
    let _relay = bus.relay("relay.one");
    assert_eq!(past(&bus), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn what_was_published_while_nobody_listened_or_could_is_fetched_from_the_relay() {
    let bus = bus(&["relay.one"]);
    let mut relay = bus.relay("relay.one");
    let mut tail = bus.tail(&["--json"]);
    tail.says("relay.one/0 ");
    stored(&bus, 1);
    assert_eq!(number(&tail.json()), 1);
    tail.stop();
    (2..=4).for_each(|n| stored(&bus, n));
    relay.kill();
    tail.go_on();
    let _relay = bus.relay("relay.one");
    (2..=4).for_each(|n| assert_eq!(number(&tail.json()), n));
}

/// A producer that keeps nothing says so in its heartbeats, and the relay has it all the same.
#[test]
fn a_relay_has_what_its_producer_does_not_keep() {
    let bus = bus(&["relay.one"]);
    fs::write(bus.path("etc/15.toml"), "[publisher]\nlevel = \"memory\"\n").expect("written");
    let _relay = bus.relay("relay.one");
    let (mut producer, _) = bus.process("log.one");
    for n in 1..=5 {
        assert!(producer.ask(&format!("log.n {{\"n\":{n}}}")).starts_with("sent "));
    }
    assert_eq!(past(&bus), [1, 2, 3, 4, 5]);
    // A reader that stands still while more comes than it is sent lacks nothing either.
    let mut tail = bus.tail(&["--json"]);
    tail.says("log.one/");
    tail.stop();
    producer.ask("many 20000 log.n {\"n\":6}");
    producer.ask("log.n {\"n\":7}");
    tail.go_on();
    let last = (0..20_001).map(|_| number(&tail.json())).last();
    assert_eq!(last, Some(7));
}

/// Two relays for the same producers, one of them killed again and again, never both: nobody notices.
#[test]
fn either_of_two_relays_may_be_killed_at_any_time() {
    let mut rounds = Rounds::new("two relays", "FEDMSG_RELAY_KILLS", 6);
    let bus = bus(&["relay.one", "relay.two"]);
    let names = ["relay.one", "relay.two"];
    let mut relays = names.map(|name| bus.relay(name));
    let mut tail = bus.tail(&["--json"]);
    // Of both relays, in any order.
    tail.says("/0 is live");
    tail.says("/0 is live");
    let (mut producer, ready) = bus.process("log.one");
    assert!(ready.ends_with(" relayed"), "{ready}");
    let mut sent = 0;
    for round in 0..rounds.count {
        let at = (round % 2) as usize;
        let count = 20 + rounds.chance(200);
        let last = sent + count;
        for n in sent + 1..=last {
            producer.tell(&format!("log.n {{\"n\":{n}}}"));
        }
        // Nothing is waited for here: the moment is by chance.
        thread::sleep(Duration::from_millis(rounds.chance(50)));
        relays[at].kill();
        for _ in 0..count {
            assert!(producer.line().starts_with("sent "));
        }
        sent = last;
        relays[at] = bus.relay(names[at]);
        rounds.progress(round + 1, &format!("{sent} published"));
    }
    let mut came = BTreeMap::new();
    for _ in 0..sent {
        *came.entry(number(&tail.json())).or_insert(0) += 1;
    }
    let once: BTreeMap<u64, i32> = (1..=sent).map(|n| (n, 1)).collect();
    assert_eq!(came, once);
    producer.end_input();
    assert_eq!(producer.end().0, 0);
    // Nothing else comes: what follows is the next message.
    stored(&bus, sent + 1);
    assert_eq!(number(&tail.json()), sent + 1);
    rounds.end(&format!("{sent} published, {sent} delivered, none twice"));
}

/// A service, and the configuration of an archive that has a disk of its own.
pub fn archive_bus() -> (Bus, PathBuf) {
    let bus = bus(&["relay.far"]);
    let entry = fs::read_to_string(bus.entry_path("relay.far")).expect("read");
    let entry = entry.replace("carries = [\"{prefix}.{env}.>\"]", "archive = true");
    fs::write(bus.entry_path("relay.far"), entry).expect("written");
    let far = bus.copy("far");
    let text = format!("[bus]\nstate_dir = {:?}\n", bus.path("far-state"));
    bus.service_with_replay("app.one", 1);
    fs::copy(bus.entry_path("app.one"), far.join("20-app.toml")).expect("copied");
    fs::copy(bus.path("etc/keys.d/app.one.toml"), far.join("keys.d/app.one.toml")).expect("copied");
    fs::write(far.join("30.toml"), text).expect("written");
    (bus, far)
}

/// More than the log takes with one append waits for an archive that begins.
#[test]
fn an_archive_takes_much_that_is_big() {
    let (bus, far) = archive_bus();
    let (mut app, _) = bus.process("app.one");
    app.tell("each 24 app.n big 900000");
    (0..24).for_each(|_| assert!(app.line().starts_with("sent ")));
    let _archive = start(&far, "relay.far");
    holds(&bus, 24);
}

#[test]
fn an_archive_has_everything_when_a_disk_is_gone() {
    let (bus, far) = archive_bus();
    let start = || start(&far, "relay.far");
    let (mut app, _) = bus.process("app.one");
    let publish = |app: &mut Program, n: u64| {
        assert!(app.ask(&format!("app.n {{\"n\":{n}}}")).starts_with("sent "));
    };
    // What was before the archive came, and what comes then.
    (1..=3).for_each(|n| publish(&mut app, n));
    let mut archive = start();
    (4..=6).for_each(|n| publish(&mut app, n));
    holds(&bus, 6);
    archive.kill();
    (7..=9).for_each(|n| publish(&mut app, n));
    let _archive = start();
    holds(&bus, 9);
    app.kill();
    fs::remove_dir_all(bus.path("state/streams/app.one")).expect("removed");
    // Nobody but the archive has anything.
    let (code, lines, errors) = bus.tail(&["--all", "--no-follow", "--json"]).end();
    assert_eq!(code, 75, "the service is out of reach: {errors:?}");
    let found: Vec<u64> =
        lines.iter().map(|line| number(&serde_json::from_str(line).expect("JSON"))).collect();
    assert_eq!(found, (1..=9).collect::<Vec<_>>());
    // The host comes back with an empty disk; a reader that was at work goes on from one life to the other.
    let mut tail = bus.tail(&["--from", "app.one/0:8", "--json"]);
    assert_eq!(number(&tail.json()), 8);
    assert_eq!(number(&tail.json()), 9);
    let (mut app, _) = bus.process("app.one");
    publish(&mut app, 10);
    assert_eq!(number(&tail.json()), 10);
}

/// A relay with another configuration.
pub fn start(folder: &Path, identity: &str) -> Program {
    let mut relay = command("fedmsg-relay");
    relay.arg("--config-dir").arg(folder).args(["--identity", identity]);
    let mut relay = Program::start(relay);
    relay.says(" ready ");
    relay
}

/// Waits until the archive has so many messages of the first epoch, by its own word.
pub fn holds(bus: &Bus, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut show = bus.program("fedmsg");
        show.args(["stream", "show", "app.one/0", "--json"]);
        let (_, lines, errors) = Program::start(show).end();
        let entry = fs::read_to_string(bus.entry_path("relay.far")).expect("read");
        let address = entry.lines().find_map(|line| line.strip_prefix("replay = ")).expect("one");
        let address = address.trim_matches('"');
        let of_archive = lines.iter().find(|line| line.contains(address));
        let has = of_archive.is_some_and(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["epochs"][0]["last"].as_u64() == Some(count)
        });
        if has {
            return;
        }
        assert!(Instant::now() < deadline, "{lines:?} {errors:?}");
    }
}

#[test]
fn a_relay_follows_another_one_outwards_and_readers_need_not_know_it() {
    let bus = bus(&["relay.one", "relay.two"]);
    // The producer knows the first alone, and a reader the second.
    fs::write(bus.path("etc/15.toml"), "[publisher]\nrelays = [\"relay.one\"]\n").expect("written");
    let inner = bus.copy("inner");
    fs::write(inner.join("30.toml"), "[relay]\nfollow = [\"relay.one\"]\n").expect("written");
    let outside = bus.copy("outside");
    fs::write(outside.join("30.toml"), "[subscribe]\nfrom = [\"relay.two\"]\n").expect("written");
    let first = bus.relay("relay.one");
    stored(&bus, 1);
    let start = || start(&inner, "relay.two");
    let mut second = start();
    let mut tail = bus.tail_in(&outside, &["--all", "--json"]);
    assert_eq!(number(&tail.json()), 1);
    stored(&bus, 2);
    assert_eq!(number(&tail.json()), 2);
    second.kill();
    stored(&bus, 3);
    let _second = start();
    assert_eq!(number(&tail.json()), 3);
    drop(first);
}
