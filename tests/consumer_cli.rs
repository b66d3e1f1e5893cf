//! `fedmsg consumer` and `fedmsg refused`: durable consumers as an operator sees and moves them.

use std::fs;
use std::time::SystemTime;

use fedmsg::consumer::{
    Advance, Claimed, ConsumerName, Curable, CursorStore, Failure, Position, Refused, SqliteStore,
    Start,
};
use fedmsg::envelope::Epoch;
use fedmsg::timestamp::Timestamp;
use fedmsg::{KeyId, StreamName, Topic};
use serde_json::Value;

use crate::harness::{Bus, Program};
use crate::publishing::publish;

const EPOCH: &str = "01997530-0000-7000-8000-000000000001";

/// Runs a command: exit code, stdout, stderr.
fn run(bus: &Bus, arguments: &[&str]) -> (i32, Vec<String>, Vec<String>) {
    let mut command = bus.program("fedmsg");
    command.args(arguments);
    Program::start(command).end()
}

/// The object that a command prints.
fn object(bus: &Bus, arguments: &[&str]) -> Value {
    let (code, out, errors) = run(bus, arguments);
    assert_eq!((code, out.len()), (0, 1), "{arguments:?} {out:?} {errors:?}");
    serde_json::from_str(&out[0]).expect("JSON")
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn badges() -> ConsumerName {
    ConsumerName::parse("badges").expect("a name")
}

fn position(stream: &str, epoch: &str, i: u64) -> Position {
    let stream = StreamName::parse(stream).expect("a stream");
    Position { stream, epoch: Epoch::parse(epoch).expect("an epoch"), i }
}

fn store(bus: &Bus) -> SqliteStore {
    SqliteStore::open(&bus.path("state/consumers.db")).expect("a store")
}

/// A consumer that did something, and runs.
fn claimed(store: &mut SqliteStore) -> Claimed {
    let claimed = store.claim(&badges(), "host1 4711", Start::Earliest, now(), 600_000);
    let claimed = claimed.expect("claimed");
    let advance = Advance { position: position("app.one/0", EPOCH, 7), leaf: None };
    assert_eq!(store.advance(&claimed.fence, &[advance], now()).expect("moved"), 1);
    claimed
}

#[test]
fn a_consumer_is_shown_and_moved_but_not_while_it_runs() {
    let bus = Bus::with(&["app.one"]);
    let (code, _, errors) = run(&bus, &["consumer", "list"]);
    assert!(code == 1 && errors[0].contains("no store of consumers"), "{errors:?}");
    assert!(!bus.path("state/consumers.db").exists(), "to look makes none");

    let mut store = store(&bus);
    let claimed = claimed(&mut store);
    let listed = object(&bus, &["consumer", "list", "--json"]);
    assert_eq!((&listed["consumer"], &listed["run_by"]), (&"badges".into(), &"host1 4711".into()));
    let seek = ["consumer", "seek", "badges", "app.one/0", "3"];
    for held in [
        &seek[..],
        &["consumer", "skip", "badges", "app.one/0", "1"],
        &["consumer", "delete", "badges"],
    ] {
        let (code, _, errors) = run(&bus, held);
        assert_eq!(code, 75, "{held:?} {errors:?}");
        assert!(errors[0].contains("badges is run by host1 4711 until 20"), "{errors:?}");
    }
    store.release(&claimed.fence).expect("released");

    assert_eq!(run(&bus, &seek).0, 0);
    let at = |i: u64| {
        let shown = object(&bus, &["consumer", "show", "badges", "--json"]);
        assert_eq!(shown["run_by"], Value::Null);
        assert_eq!(shown["cursors"][0]["epoch"], EPOCH);
        assert_eq!(shown["cursors"][0]["i"], i);
    };
    at(3);
    let (code, _, errors) = run(&bus, &["consumer", "skip", "badges", "app.one/0", "2"]);
    assert!(code == 0 && errors[0].contains("done up to number 5"), "{errors:?}");
    at(5);
    let (_, out, _) = run(&bus, &["consumer", "show", "badges"]);
    assert!(out.contains(&"run by    nobody".to_owned()), "{out:?}");
    assert!(out.last().is_some_and(|line| line.starts_with("app.one/0 ")), "{out:?}");

    let elsewhere = ["consumer", "seek", "badges", "app.one/1", "0"];
    let (code, _, errors) = run(&bus, &elsewhere);
    assert!(code == 1 && errors[0].contains("--epoch"), "{errors:?}");
    assert_eq!(run(&bus, &[&elsewhere[..], &["--epoch", EPOCH]].concat()).0, 0);
    assert_eq!(run(&bus, &["consumer", "delete", "badges"]).0, 0);
    let (code, _, errors) = run(&bus, &["consumer", "show", "badges"]);
    assert!(code == 1 && errors[0].contains("no consumer badges"), "{errors:?}");
    assert_eq!(run(&bus, &["consumer", "seek", "Badges", "app.one/0", "3"]).0, 2);
}

#[test]
fn dead_letters_are_listed_and_tried_again_while_the_consumer_runs() {
    let bus = Bus::with(&["app.one"]);
    let mut store = store(&bus);
    let claimed = claimed(&mut store);
    for (i, topic) in [(5, "org.example.dev.app.x"), (6, "org.example.dev.app.y")] {
        let failure = Failure {
            position: position("app.one/0", EPOCH, i),
            topic: Topic::parse(topic).expect("a topic"),
            envelope: "{}".into(),
            error: "the handler\u{1b}[2J said no".into(),
            attempts: 5,
        };
        store.dead(&claimed.fence, &failure, now()).expect("given up");
    }
    let (code, out, _) = run(&bus, &["consumer", "show", "badges", "--letters"]);
    assert_eq!((code, out.len()), (0, 2));
    let end = r"app.x number 5 of app.one/0, 5 tried, the handler\u{1b}[2J said no";
    assert!(out[0].starts_with("1 ") && out[0].ends_with(end), "{out:?}");

    let (code, _, errors) =
        run(&bus, &["consumer", "retry", "badges", "--all", "--topic", "app.y"]);
    assert!(code == 0 && errors[0].contains("1 dead letter to be tried again"), "{errors:?}");
    let due = store.due(&badges(), now()).expect("due").retries;
    assert_eq!((due.len(), due[0].failure.position.i), (1, 6));
    assert_eq!(run(&bus, &["consumer", "retry", "badges", "1"]).0, 0);
    assert_eq!(store.due(&badges(), now()).expect("due").retries.len(), 2);
    assert_eq!(object(&bus, &["consumer", "show", "badges", "--json"])["letters"], 0);
    let (code, _, errors) = run(&bus, &["consumer", "retry", "badges", "1"]);
    assert!(code == 1 && errors[0].contains("no such dead letter"), "{errors:?}");
    assert_eq!(run(&bus, &["consumer", "retry", "badges"]).0, 2);
}

#[test]
fn a_refused_message_is_given_to_the_consumer_when_its_key_is_there() {
    let bus = Bus::with(&["app.one"]);
    let publisher = bus.publisher("app.one");
    for n in 1..=3 {
        assert_eq!(publish(&publisher, "app.n", n), n);
    }
    publisher.close();
    let (_, out, _) = run(&bus, &["journal", "list", "--json"]);
    let listed: Value = serde_json::from_str(&out[0]).expect("JSON");
    let epoch = listed["epochs"][0]["epoch"].as_str().expect("an epoch");

    let mut store = store(&bus);
    let claimed = claimed(&mut store);
    let key = KeyId::of(&[7; 32]);
    let refused = |stream, i| Refused {
        position: position(stream, epoch, i),
        leaf: None,
        reason: Curable::UnknownKey,
        key,
    };
    let all = [refused("app.one/0", 2), refused("app.other/0", 1)];
    assert_eq!(store.refuse(&claimed.fence, &all, now()).expect("written"), 0);
    let (code, out, _) =
        run(&bus, &["refused", "list", "badges", "--json", "--stream", "app.one/0"]);
    assert_eq!((code, out.len()), (0, 1));
    assert!(out[0].contains("unknown_key") && out[0].contains(key.as_str()), "{out:?}");
    let (code, _, errors) = run(&bus, &["refused", "retry", "badges"]);
    assert!(code == 75 && errors[0].contains("host1 4711"), "{errors:?}");
    store.release(&claimed.fence).expect("released");

    let (file, away) = (bus.path("etc/keys.d/app.one.toml"), bus.path("app.one.toml"));
    fs::rename(&file, &away).expect("moved");
    let own = ["refused", "retry", "badges", "--stream", "app.one/0"];
    let (code, _, errors) = run(&bus, &own);
    assert!(code == 5 && errors[0].contains("1 still refused"), "{errors:?}");
    fs::rename(&away, &file).expect("moved");
    let (code, _, errors) = run(&bus, &own);
    assert!(code == 0 && errors[0].contains("1 message to be tried next"), "{errors:?}");
    let due = store.due(&badges(), now()).expect("due").retries;
    assert_eq!((due.len(), due[0].failure.position.i, due[0].failure.attempts), (1, 2, 0));
    let (code, _, errors) = run(&bus, &["refused", "retry", "badges"]);
    assert!(code == 1 && errors[0].contains("1 in no journal of this host"), "{errors:?}");
    let (code, _, errors) = run(&bus, &["refused", "list", "nobody"]);
    assert!(code == 1 && errors[0].contains("no consumer nobody"), "{errors:?}");
}

#[test]
fn a_server_without_its_feature_is_told_and_its_password_is_not() {
    let bus = Bus::with(&["app.one"]);
    let text = "[consumer]\nstore = \"postgres://bus:secret@127.0.0.1:1/bus\"\n";
    fs::write(bus.path("etc/30-consumer.toml"), text).expect("written");
    for arguments in
        [&["consumer", "list"][..], &["config", "show", "--origin"], &["config", "check"]]
    {
        let (code, out, errors) = run(&bus, arguments);
        assert_eq!(code, i32::from(arguments[0] == "consumer"), "{errors:?}");
        let said = [out, errors].concat().join("\n");
        assert!(!said.contains("secret"), "{said}");
        assert!(arguments[1] != "show" || said.contains("bus:…@127.0.0.1"), "{said}");
    }
}
