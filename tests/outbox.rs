//! R10: shell commands lose nothing. Relays that are down, killed commands, many at once, a full outbox.
//! `FEDMSG_SHELL=5000 cargo test -p fedmsg-tests outbox` publishes more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use fedmsg::{Draft, Publisher};
use serde_json::{Value, json};

use crate::harness::kept::{check, kept};
use crate::harness::{Bus, PATIENCE, Program, Rounds};

const AT_ONCE: usize = 8;

fn bus() -> Bus {
    let bus = Bus::new(&["relay.one"]);
    bus.key("log.one");
    bus
}

fn fedmsg(bus: &Bus, arguments: &[&str]) -> Program {
    let mut command = bus.program("fedmsg");
    command.env("FEDMSG_IDENTITY", "log.one").args(arguments);
    Program::start(command)
}

fn publish(bus: &Bus, n: u64, arguments: &[&str]) -> Program {
    let body = json!({ "n": n }).to_string();
    fedmsg(bus, &[&["publish", "log.n", &body], arguments].concat())
}

/// What waits in the outbox, a JSON object for each stream.
fn waiting(bus: &Bus) -> Vec<Value> {
    let (code, out, errors) = fedmsg(bus, &["outbox", "list", "--json"]).end();
    assert_eq!(code, 0, "{errors:?}");
    out.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn pending(bus: &Bus) -> u64 {
    waiting(bus).iter().map(|stream| stream["messages"].as_u64().expect("a number")).sum()
}

/// The journal of the stream that the commands share.
fn journal(bus: &Bus) -> PathBuf {
    let folder = bus.path("state/streams/log.one");
    let slot = fs::read_to_string(folder.join("commands")).expect("a command has run");
    folder.join(slot.trim()).join("journal")
}

/// A tail that shows the numbers of messages.
fn tail(bus: &Bus) -> Program {
    let mut tail = bus.tail(&["--json"]);
    tail.says("relay.one/0 ");
    tail
}

/// So many messages; how often each number came.
fn numbers(tail: &mut Program, count: usize) -> BTreeMap<u64, usize> {
    let mut came = BTreeMap::new();
    for _ in 0..count {
        let line = tail.json();
        let n = line["message"]["msg"]["n"].as_u64();
        *came.entry(n.unwrap_or_else(|| panic!("{line}"))).or_default() += 1;
    }
    came
}

fn once(numbers: impl IntoIterator<Item = u64>) -> BTreeMap<u64, usize> {
    numbers.into_iter().map(|n| (n, 1)).collect()
}

#[test]
fn without_a_relay_a_message_is_queued_and_the_next_command_delivers_it() {
    let bus = bus();
    let quick = ["--timeout", "200ms"];
    let (code, out, errors) = publish(&bus, 1, &quick).end();
    assert_eq!((code, out.len()), (0, 1), "{errors:?}");
    assert!(errors.iter().any(|line| line.starts_with("queued")), "{errors:?}");
    let (code, out, _) = publish(&bus, 2, &[&quick[..], &["--wait", "relay"]].concat()).end();
    assert_eq!((code, out.len()), (75, 1), "it is kept all the same");
    assert_eq!(pending(&bus), 2);
    let _relay = bus.relay("relay.one");
    let mut tail = tail(&bus);
    let (code, out, errors) = publish(&bus, 3, &["--wait", "relay", "--json"]).end();
    assert_eq!((code, errors.len()), (0, 0), "{errors:?}");
    let said: Value = serde_json::from_str(&out[0]).expect("JSON");
    assert_eq!((&said["relay"], &said["i"]), (&json!("relay.one"), &json!(3)));
    assert_eq!(numbers(&mut tail, 3), once(1..=3));
    assert_eq!(pending(&bus), 0);
}

#[test]
fn flush_delivers_once_what_commands_and_killed_publishers_left() {
    let bus = bus();
    publish(&bus, 1, &["--timeout", "100ms"]).end();
    let (mut publisher, ready) = bus.process("log.one");
    assert!(ready.ends_with(" relayed"), "{ready}");
    for n in 2..=3 {
        let sent = publisher.ask(&format!("log.n {{\"n\":{n}}}"));
        assert!(sent.starts_with("sent "), "kept without a relay: {sent}");
    }
    publisher.kill();
    assert_eq!(pending(&bus), 3);
    let (code, _, errors) = fedmsg(&bus, &["outbox", "flush"]).end();
    assert_eq!(code, 75, "no relay runs: {errors:?}");
    let _relay = bus.relay("relay.one");
    let mut tail = tail(&bus);
    let (code, _, errors) = fedmsg(&bus, &["outbox", "flush"]).end();
    assert_eq!(code, 0, "{errors:?}");
    assert!(errors.iter().any(|line| line == "3 delivered"), "{errors:?}");
    assert_eq!(numbers(&mut tail, 3), once(1..=3));
    assert_eq!(fedmsg(&bus, &["outbox", "flush"]).end().2, ["0 delivered"]);
    // The next process takes the slot up, and its numbers go on.
    let (mut again, ready_again) = bus.process("log.one");
    assert_eq!(ready, ready_again, "the same stream and epoch");
    assert!(again.ask("log.n {\"n\":4}").ends_with(" 3 -"));
    assert_eq!(numbers(&mut tail, 1), once([4]), "and nothing came twice");
}

#[test]
fn a_publisher_delivers_by_itself_when_its_relay_comes_back_and_says_what_relays_have() {
    let bus = bus();
    let publisher: Publisher = bus.publisher("log.one");
    let send = |n: u64| publisher.publish(Draft::new("log.n").body(&json!({ "n": n }))).wait();
    let receipt = send(1).expect("kept");
    assert_eq!((receipt.level.to_string().as_str(), receipt.relay), ("local", None));
    assert!(!publisher.flush(Duration::from_millis(50)), "no relay runs");
    let _relay = bus.relay("relay.one");
    let mut tail = tail(&bus);
    send(2).expect("kept");
    assert!(publisher.flush(PATIENCE), "the relay is there");
    let seen = numbers(&mut tail, 1);
    assert!(seen == once([1]) || seen == once([2]), "{seen:?}");
    let delivered = publisher.delivered().expect("it goes through relays");
    let upto = delivered.relays().next().and_then(|(_, at)| at.upto).expect("a relay has it");
    assert_eq!((upto.epoch, upto.i), (publisher.epoch(), 2));
}

#[test]
fn eight_commands_at_once_share_one_outbox() {
    let bus = bus();
    let _relay = bus.relay("relay.one");
    let mut tail = tail(&bus);
    let count = 40;
    let bus = &bus;
    thread::scope(|scope| {
        for lane in 0..AT_ONCE as u64 {
            scope.spawn(move || {
                for n in (lane..count).step_by(AT_ONCE) {
                    let (code, out, errors) =
                        publish(bus, n, &["--wait", "relay", "--timeout", "20s"]).end();
                    assert_eq!((code, out.len()), (0, 1), "{errors:?}");
                }
            });
        }
    });
    assert_eq!(numbers(&mut tail, count as usize), once(0..count));
    assert_eq!((waiting(bus).len(), pending(bus)), (1, 0), "one stream");
    assert_eq!(kept(&journal(bus)).len(), count as usize);
    check(bus);
}

/// Commands, eight at once, some of them killed, while the relay comes and goes.
#[test]
fn no_command_loses_what_it_kept_and_nothing_is_delivered_twice() {
    let mut rounds = Rounds::new("shell commands", "FEDMSG_SHELL", 120);
    let bus = bus();
    let mut acknowledged = BTreeSet::new();
    let mut relay = Some(bus.relay("relay.one"));
    // A reader that begins with the first message: one that takes streams up as they come need not have seen the
    // beginning of this one when a relay is killed just then.
    let mut tail = bus.tail(&["--all", "--json"]);
    tail.says("relay.one/0 ");
    let mut n = 0;
    while n < rounds.count {
        match relay.take() {
            Some(mut relay) => relay.kill(),
            None => relay = Some(bus.relay("relay.one")),
        }
        let numbers: Vec<u64> = (n..(n + 2 * AT_ONCE as u64).min(rounds.count)).collect();
        let kills: Vec<Option<u64>> = numbers
            .iter()
            .map(|_| (rounds.chance(4) == 0).then(|| rounds.chance(60_000)))
            .collect();
        n += numbers.len() as u64;
        acknowledged.extend(commands(&bus, &numbers, &kills));
        rounds.progress(n, &format!("{} acknowledged", acknowledged.len()));
    }
    let _relay = relay.unwrap_or_else(|| bus.relay("relay.one"));
    let (code, _, errors) = fedmsg(&bus, &["outbox", "flush"]).end();
    assert_eq!(code, 0, "{errors:?}");
    assert_eq!(pending(&bus), 0);
    // What is in the journal is what was published: all that was acknowledged is there, and nothing twice.
    let journal = kept(&journal(&bus));
    let there: Vec<u64> =
        journal.values().map(|record| record.msg["n"].as_u64().expect("n")).collect();
    let unique: BTreeSet<u64> = there.iter().copied().collect();
    assert_eq!(unique.len(), there.len(), "nothing is there twice");
    assert!(acknowledged.is_subset(&unique), "everything that was acknowledged is there");
    check(&bus);
    // A reader has seen all of it, once, although the relay was killed as often.
    assert_eq!(numbers(&mut tail, there.len()), once(there.iter().copied()));
    rounds.end(&format!(
        "{} acknowledged, {} kept, all delivered, none twice",
        acknowledged.len(),
        there.len()
    ));
}

/// Runs a command for each number, eight at once; kills some after so many microseconds. The numbers that were
/// acknowledged.
fn commands(bus: &Bus, numbers: &[u64], kills: &[Option<u64>]) -> Vec<u64> {
    thread::scope(|scope| {
        let lane = |lane: usize| {
            let mut acknowledged = Vec::new();
            for at in (lane..numbers.len()).step_by(AT_ONCE) {
                let mut command = publish(bus, numbers[at], &["--timeout", "300ms"]);
                let out = match kills[at] {
                    Some(micros) => {
                        // Nothing is waited for here: the moment is by chance.
                        thread::sleep(Duration::from_micros(micros));
                        command.kill();
                        command.last_lines()
                    }
                    None => command.end().1,
                };
                acknowledged.extend((!out.is_empty()).then_some(numbers[at]));
            }
            acknowledged
        };
        let lanes: Vec<_> = (0..AT_ONCE).map(|at| scope.spawn(move || lane(at))).collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("a lane")).collect()
    })
}

#[test]
fn a_full_outbox_refuses_and_says_how_to_look_and_drop_makes_room() {
    let bus = bus();
    fs::write(bus.path("etc/15-outbox.toml"), "[publisher]\noutbox_bytes = 4194304\n")
        .expect("written");
    let body = json!({ "pad": "x".repeat(900_000) }).to_string();
    fs::write(bus.path("body"), body).expect("written");
    let fill = || {
        let mut command = bus.program("fedmsg");
        command.env("FEDMSG_IDENTITY", "log.one");
        command.args(["publish", "log.n", "--timeout", "100ms"]);
        let mut program = Program::start(command);
        program.tell(&fs::read_to_string(bus.path("body")).expect("read"));
        program.end()
    };
    let mut kept = 0;
    let (code, _, errors) = loop {
        let ended = fill();
        if ended.0 != 0 {
            break ended;
        }
        kept += 1;
        assert!(kept < 20, "it has no bound");
    };
    assert_eq!(code, 75, "{errors:?}");
    let says = |text: &str| errors.iter().any(|line| line.contains(text));
    assert!(says("is full") && says("fedmsg outbox list"), "{errors:?}");
    let stream = waiting(&bus)[0]["stream"].as_str().expect("a name").to_owned();
    assert_eq!(pending(&bus), kept);
    let (code, _, errors) = fedmsg(&bus, &["outbox", "drop", &stream]).end();
    assert_eq!(code, 2, "not confirmed: {errors:?}");
    let wrong = (kept + 1).to_string();
    assert_eq!(fedmsg(&bus, &["outbox", "drop", &stream, "--messages", &wrong]).end().0, 2);
    let count = kept.to_string();
    let (code, _, errors) = fedmsg(&bus, &["outbox", "drop", &stream, "--messages", &count]).end();
    assert_eq!(code, 0, "{errors:?}");
    assert!(
        errors[0].starts_with(&format!("{kept} messages of {stream} were given up")),
        "{errors:?}"
    );
    assert_eq!(pending(&bus), 0);
    // What comes now is delivered, in a new epoch, and readers wait for nothing.
    let _relay = bus.relay("relay.one");
    let mut tail = tail(&bus);
    let (code, _, errors) = publish(&bus, 7, &["--wait", "relay"]).end();
    assert_eq!(code, 0, "{errors:?}");
    assert_eq!(numbers(&mut tail, 1), once([7]));
}

#[test]
fn what_a_relay_refuses_is_told_and_does_not_block_what_follows() {
    let bus = bus();
    // The relay has other rules than this host, and another disk: whoever can read the journal has what it holds.
    let other = bus.copy("other");
    let state = format!("[bus]\nstate_dir = {:?}\n", bus.path("other-state"));
    fs::write(other.join("15-state.toml"), state).expect("written");
    fs::write(
        other.join("30-deny.toml"),
        "[[deny]]\nservice = \"log\"\ntopics = [\"{prefix}.{env}.log.secret\"]\n",
    )
    .expect("written");
    let mut relay = crate::harness::command("fedmsg-relay");
    relay.arg("--config-dir").arg(&other).args(["--identity", "relay.one"]);
    let mut relay = Program::start(relay);
    relay.says(" ready ");
    let mut tail = tail(&bus);
    let (code, out, errors) = fedmsg(&bus, &["publish", "log.secret", "{}"]).end();
    assert_eq!((code, out.len()), (6, 1), "{errors:?}");
    let (code, _, errors) = publish(&bus, 1, &["--wait", "relay"]).end();
    assert_eq!(code, 0, "{errors:?}");
    assert_eq!(numbers(&mut tail, 1), once([1]));
    let stream = &waiting(&bus)[0];
    assert_eq!(stream["refusals"][0]["reason"], "policy");
    assert_eq!((&stream["messages"], &stream["relays"][0]["refused"]), (&json!(0), &json!(1)));
}

#[test]
fn lines_are_kept_and_delivered_by_one_process() {
    let bus = bus();
    let _relay = bus.relay("relay.one");
    let mut tail = tail(&bus);
    let mut lines = fedmsg(&bus, &["publish", "log.n", "--lines", "--wait", "relay", "-q"]);
    (0..500).for_each(|n| lines.tell(&json!({ "n": n }).to_string()));
    let (code, out, errors) = lines.end();
    assert_eq!((code, out.len()), (0, 0), "{errors:?}");
    assert_eq!(numbers(&mut tail, 500), once(0..500));
}

#[test]
fn an_identifier_is_published_once_by_however_many_commands() {
    let bus = bus();
    let _relay = bus.relay("relay.one");
    let mut tail = tail(&bus);
    for _ in 0..3 {
        let (code, out, errors) = publish(&bus, 1, &["--msg-id", "once", "--wait", "relay"]).end();
        assert_eq!((code, out), (0, vec!["once".to_owned()]), "{errors:?}");
    }
    assert_eq!(publish(&bus, 2, &["--msg-id", "once"]).end().0, 2, "another body");
    publish(&bus, 3, &["--wait", "relay"]).end();
    assert_eq!(numbers(&mut tail, 2), once([1, 3]));
}
