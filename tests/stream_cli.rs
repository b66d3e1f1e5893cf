//! `fedmsg stream`: one stream, seen where it is kept, renewed and retired.

use serde_json::Value;

use crate::harness::{Bus, Program};

/// Runs it: exit code, stdout, stderr.
fn stream(bus: &Bus, arguments: &[&str]) -> (i32, Vec<String>, Vec<String>) {
    let mut command = bus.program("fedmsg");
    command.arg("stream").args(arguments);
    Program::start(command).end()
}

fn objects(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The epoch of `sent STREAM EPOCH I RELAY`, and the number.
fn place(sent: &str) -> (String, u64) {
    let words: Vec<&str> = sent.split(' ').collect();
    let ["sent", _, epoch, i, _] = words[..] else { panic!("{sent}") };
    (epoch.into(), i.parse().expect("a number"))
}

fn bus() -> Bus {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 2);
    bus
}

#[test]
fn a_stream_is_shown_by_its_publisher_by_the_other_worker_and_from_the_disk() {
    let bus = bus();
    let (mut first, _) = bus.process("app.one");
    let (_second, ready) = bus.process("app.one");
    assert!(ready.starts_with("ready app.one/1 "), "{ready}");
    let (epoch, _) = place(&first.ask("app.n {}"));
    place(&first.ask("app.n {}"));
    let (code, out, errors) = stream(&bus, &["show", "app.one/0", "--json"]);
    assert_eq!((code, out.len()), (0, 3), "{out:?} {errors:?}");
    for seen in objects(&out) {
        assert_eq!(seen["epochs"][0]["epoch"], epoch, "{seen}");
        assert_eq!(
            (&seen["epochs"][0]["last"], &seen["completeness"]),
            (&2.into(), &"complete".into())
        );
    }
    first.end_input();
    assert_eq!(first.line(), "closed");
    first.end();
    let (code, out, errors) = stream(&bus, &["show", "app.one/0", "--json", "--timeout", "500ms"]);
    assert_eq!((code, out.len()), (0, 3), "{errors:?}");
    let seen = objects(&out);
    assert_eq!(
        (&seen[0]["holder"], &seen[0]["heartbeat"]["state"]),
        (&"here".into(), &"closed".into())
    );
    assert_eq!(seen[1]["answer"], "none", "its own process is gone: {}", seen[1]);
    assert_eq!(seen[2]["heartbeat"]["state"], "closed", "the other worker serves it: {}", seen[2]);
    let (_, out, _) = stream(&bus, &["show", "app.one/0", "--timeout", "500ms"]);
    assert!(out[0].starts_with("HOLDER") && out[1].contains("closed"), "{out:?}");

    let (code, out, errors) = stream(&bus, &["show", "app.one/7", "--timeout", "500ms"]);
    assert_eq!((code, out.len()), (4, 0));
    assert!(
        errors.iter().any(|line| line.contains("nobody who was asked knows app.one/7")),
        "{errors:?}"
    );
}

#[test]
fn a_publisher_that_runs_renews_and_so_does_the_next_one() {
    let bus = bus();
    let (mut publisher, _) = bus.process("app.one");
    let (before, _) = place(&publisher.ask("app.n {}"));
    let (code, out, errors) = stream(&bus, &["renew", "app.one/0", "--json"]);
    assert_eq!(code, 0, "{errors:?}");
    let renewed = objects(&out).remove(0);
    assert_eq!(renewed["running"], true);
    let (after, i) = place(&publisher.ask("app.n {}"));
    assert_eq!((renewed["epoch"].as_str(), i), (Some(after.as_str()), 1));
    assert!(after > before);

    publisher.kill();
    let (code, out, errors) = stream(&bus, &["renew", "app.one/0"]);
    assert_eq!(code, 0, "{errors:?}");
    assert_eq!(out, ["the next publisher of app.one/0 begins a new epoch"]);
    let (mut publisher, ready) = bus.process("app.one");
    let (next, i) = place(&publisher.ask("app.n {}"));
    assert!(next > after && i == 1 && ready.contains(&next), "{ready}");
    publisher.kill();
    let (_again, ready) = bus.process("app.one");
    assert!(ready.contains(&next), "an order is followed once: {ready}");

    let (code, _, errors) = stream(&bus, &["renew", "app.one/1"]);
    assert_eq!(code, 1);
    assert!(errors.iter().any(|line| line.contains("was never published from here")), "{errors:?}");
}

#[test]
fn a_stream_whose_publisher_was_killed_is_retired_with_signed_last_words() {
    let bus = bus();
    let (mut publisher, _) = bus.process("app.one");
    let (epoch, _) = place(&publisher.ask("app.n {}"));
    place(&publisher.ask("app.n {}"));
    let (code, out, errors) = stream(&bus, &["retire", "app.one/0", "--for", "0s"]);
    assert_eq!((code, out.len()), (75, 0));
    assert!(errors.iter().any(|line| line.contains("is published by process")), "{errors:?}");

    publisher.kill();
    let (code, out, errors) = stream(&bus, &["retire", "app.one/0", "--for", "0s"]);
    assert_eq!(code, 0, "{errors:?}");
    assert_eq!(out, [format!("app.one/0 has ended with number 2 of epoch {epoch}")]);
    let (_, out, _) = stream(&bus, &["show", "app.one/0", "--json", "--timeout", "500ms"]);
    let here = objects(&out).remove(0);
    assert_eq!(here["heartbeat"]["state"], "closed");
    assert_eq!(
        (&here["heartbeat"]["last"], &here["heartbeat"]["epoch"]),
        (&2.into(), &epoch.clone().into())
    );

    // Whoever publishes there again goes on where it was.
    let (mut again, _) = bus.process("app.one");
    assert_eq!(place(&again.ask("app.n {}")), (epoch, 3));
}

#[test]
fn readers_that_can_ask_nobody_else_are_told_that_the_stream_has_ended() {
    let bus = bus();
    let (mut publisher, _) = bus.process("app.one");
    place(&publisher.ask("app.n {}"));
    publisher.kill();
    let mut retire = bus.program("fedmsg");
    retire.args(["stream", "retire", "app.one/0", "--for", "10s", "--json"]);
    let mut retire = Program::start(retire);
    // It listens as a subscriber: what it hears comes from the command that retires the stream.
    let mut streams = bus.program("fedmsg");
    streams.args(["streams", "--json"]);
    let heard = objects(&Program::start(streams).end().1);
    assert_eq!((&heard[0]["stream"], &heard[0]["state"]), (&"app.one/0".into(), &"closed".into()));
    let told = retire.json();
    assert_eq!((&told["last"], &told["subscribers"]), (&1.into(), &1.into()));
}
