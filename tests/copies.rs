//! Receipts that wait for copies on other machines: `replicated(n)`, also when its publisher's disk is gone, and
//! `stored(n)`, for processes without a disk. `FEDMSG_PODS=60 cargo test -p fedmsg-tests copies` rolls more pods.
//!
//! Hosts are told apart by the text of their addresses: 127.0.0.1 is that of publishers, 127.0.0.2 and 127.0.0.3 are
//! other ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fedmsg::{Identity, Publisher};
use serde_json::{Value, json};

use crate::harness::{Bus, PATIENCE, Program, Rounds, atomically, command, free_port};

/// Stream, epoch, number.
type Place = (String, String, String);

/// A service with an endpoint, two archives on other hosts, and what else `[publisher]` says.
fn bus(publisher: &str) -> Bus {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    holder(&bus, "archive.a", "127.0.0.2", "archive = true");
    holder(&bus, "archive.b", "127.0.0.3", "archive = true");
    fs::write(bus.path("etc/15.toml"), format!("[publisher]\n{publisher}")).expect("written");
    bus
}

/// A relay or an archive on this host.
fn holder(bus: &Bus, identity: &str, host: &str, what: &str) {
    if !bus.path(&format!("etc/keys.d/{identity}.toml")).exists() {
        bus.key(identity);
    }
    let at = || format!("tcp://{host}:{}", free_port());
    let text = format!(
        "[endpoints.{identity:?}]\npublish = \"{}\"\nreplay = \"{}\"\nsubmit = \"{}\"\n{what}\n",
        at(),
        at(),
        at()
    );
    atomically(&bus.entry_path(identity), &text);
}

/// A relay or an archive that runs, with a disk of its own.
fn start(bus: &Bus, identity: &str) -> Program {
    let folder = bus.copy(&format!("of-{identity}"));
    let state = bus.path(&format!("state-of-{identity}"));
    fs::write(folder.join("90.toml"), format!("[bus]\nstate_dir = {state:?}\n")).expect("written");
    let mut relay = command("fedmsg-relay");
    relay.arg("--config-dir").arg(folder).args(["--identity", identity]);
    let mut relay = Program::start(relay);
    relay.says(" ready ");
    relay
}

/// What a line says that was published, and what its receipt says of copies.
fn sent(line: &str) -> (Place, String) {
    let words: Vec<&str> = line.split(' ').collect();
    let ["sent", stream, epoch, i, copies] = words[..] else { panic!("{line}") };
    ((stream.into(), epoch.into(), i.into()), copies.into())
}

/// The receipts among these lines, each for a place of its own; those that are cut off by a kill are none.
fn receipts(lines: impl IntoIterator<Item = String>, level: &str, all: &mut BTreeSet<Place>) {
    for line in lines {
        let is_whole = line.split(' ').count() == 5 && line.contains(&format!(" {level}:"));
        assert!(is_whole || !line.starts_with("failed"), "{line}");
        if is_whole {
            assert!(all.insert(sent(&line).0), "{line}: a second receipt");
        }
    }
}

/// Waits until a durable consumer has done all of these; how often it did each message that there is.
fn done(consumer: &mut Program, expected: &BTreeSet<Place>) -> BTreeMap<Place, u64> {
    let (mut done, mut left) = (BTreeMap::new(), expected.clone());
    while !left.is_empty() {
        let line = consumer.line();
        assert!(!line.starts_with("wrong"), "{line}");
        let words: Vec<&str> = line.split(' ').collect();
        if let ["done", stream, epoch, i, ..] = words[..] {
            let place = (stream.into(), epoch.into(), i.into());
            left.remove(&place);
            *done.entry(place).or_default() += 1;
        }
    }
    done
}

fn consumer(bus: &Bus) -> Program {
    let mut consumer = command("examples/consumer");
    consumer.arg(bus.etc()).arg("badges").arg(bus.path("effects"));
    Program::start(consumer)
}

/// What the publisher's newest heartbeat says of it.
fn state(bus: &Bus, stream: &str) -> Vec<Value> {
    let mut show = bus.program("fedmsg");
    show.args(["stream", "show", stream, "--json"]);
    let (_, lines, _) = Program::start(show).end();
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| line["heartbeat"]["state"].clone()).collect()
}

fn becomes(bus: &Bus, stream: &str, word: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let states = state(bus, stream);
        if states.contains(&json!(word)) {
            return;
        }
        assert!(Instant::now() < deadline, "{states:?}");
    }
}

#[test]
fn everything_that_was_acknowledged_survives_the_loss_of_the_disk() {
    let bus = bus("level = \"replicated(1)\"\n");
    let _archives = [start(&bus, "archive.a"), start(&bus, "archive.b")];
    let (mut app, ready) = bus.process("app.one");
    assert!(ready.ends_with(" direct"), "{ready}");
    let mut all = BTreeSet::new();
    app.tell("each 5000 app.n many 100");
    receipts((0..1_000).map(|_| app.line()), "replicated(1)", &mut all);
    app.kill();
    fs::remove_dir_all(bus.path("state/streams/app.one")).expect("removed");
    receipts(app.last_lines(), "replicated(1)", &mut all);
    assert!(all.len() >= 1_000);
    let mut consumer = consumer(&bus);
    let done = done(&mut consumer, &all);
    assert!(done.values().all(|count| *count == 1));
}

/// One archive is killed while the other one goes on: receipts come from it. With both of them, both are named.
#[test]
fn two_copies_are_two_different_holders_and_one_is_enough_for_one() {
    let bus = bus("level = \"replicated(2)\"\ncopies_wait_ms = 500\n");
    let _first = start(&bus, "archive.a");
    let mut second = start(&bus, "archive.b");
    let (mut app, _) = bus.process("app.one");
    assert_eq!(sent(&app.ask("app.n {\"n\":1}")).1, "replicated(2):archive.a,archive.b");
    second.kill();
    let said = app.ask("id two app.n {\"n\":2}");
    let expected = "failed number 2 of app.one/0 is in the journal of this host, and has 1 of 2 copies: \
                    stored by archive.a; not by archive.b (";
    assert!(said.starts_with(expected), "{said}");
    let _second = start(&bus, "archive.b");
    let again = loop {
        let again = app.ask("id two app.n {\"n\":2}");
        if again.starts_with("sent ") {
            break again;
        }
        assert!(again.starts_with(expected), "{again}");
    };
    let (place, copies) = sent(&again);
    assert_eq!((&place.2[..], &copies[..]), ("2", "replicated(2):archive.a,archive.b"));
    // A process that knows nothing of the first one's receipts asks the holders anew.
    app.end_input();
    assert_eq!(app.end().0, 0);
    let (mut app, _) = bus.process("app.one");
    let again = app.ask("id two app.n {\"n\":2}");
    assert_eq!(sent(&again), (place, copies));
}

#[test]
fn without_copies_a_receipt_is_an_error_that_says_what_was_reached_and_the_stream_goes_on() {
    let bus = bus("level = \"replicated(1)\"\ncopies_wait_ms = 300\n");
    let mut tail = bus.tail(&["--json"]);
    let (mut app, _) = bus.process("app.one");
    assert_eq!(app.ask("subscribers 1"), "subscribers true");
    let said = app.ask("id one app.n {\"n\":1}");
    let expected = "failed number 1 of app.one/0 is in the journal of this host, and has 0 of 1 copies: stored by \
                    nobody; not by archive.a (no answer), archive.b (no answer). Publish it again with the same \
                    msg_id for a receipt";
    assert_eq!(said, expected);
    assert_eq!(tail.json()["message"]["msg"]["n"], 1, "readers have it all the same");
    becomes(&bus, "app.one/0", "degraded");
    let _archive = start(&bus, "archive.b");
    let again = loop {
        let again = app.ask("id one app.n {\"n\":1}");
        if again.starts_with("sent ") {
            break again;
        }
        assert_eq!(again, expected);
    };
    let (place, copies) = sent(&again);
    assert_eq!((&place.2[..], &copies[..]), ("1", "replicated(1):archive.b"));
    becomes(&bus, "app.one/0", "open");
    app.ask("app.n {\"n\":2}");
    assert_eq!(tail.json()["message"]["msg"]["n"], 2, "nothing was published twice");
}

#[test]
fn a_publisher_may_be_told_to_go_on_with_what_was_reached() {
    let bus = bus("level = \"replicated(1)\"\ncopies_wait_ms = 200\non_unreachable = \"local\"\n");
    let (mut app, _) = bus.process("app.one");
    assert_eq!(sent(&app.ask("app.n {\"n\":1}")).1, "-", "it is on this host alone");
    becomes(&bus, "app.one/0", "degraded");
    let _archive = start(&bus, "archive.a");
    while sent(&app.ask("app.n {\"n\":2}")).1 != "replicated(1):archive.a" {}
}

#[test]
fn a_receipt_counts_only_when_its_key_is_trusted_here() {
    let bus = bus("level = \"replicated(1)\"\ncopies_wait_ms = 300\ncopies = [\"archive.a\"]\n");
    let _archive = start(&bus, "archive.a");
    let own = bus.copy("own");
    fs::remove_file(own.join("keys.d/archive.a.toml")).expect("removed");
    let (mut app, _) = bus.process_in(&own, "app.one");
    let said = loop {
        let said = app.ask("id one app.n {\"n\":1}");
        assert!(said.starts_with("failed "), "{said}");
        if !said.contains("(no answer)") {
            break said;
        }
    };
    assert!(
        said.contains("archive.a (the key fm1-") && said.contains("is not trusted here"),
        "{said}"
    );
    fs::copy(bus.path("etc/keys.d/archive.a.toml"), own.join("keys.d/archive.a.toml"))
        .expect("copied");
    let again = loop {
        let again = app.ask("id one app.n {\"n\":1}");
        if again.starts_with("sent ") {
            break again;
        }
    };
    assert_eq!((&sent(&again).0.2[..], &sent(&again).1[..]), ("1", "replicated(1):archive.a"));
}

#[test]
fn what_cannot_be_promised_is_refused_at_the_start() {
    let refuses = |bus: &Bus, why: &str| {
        let identity = Identity::parse("app.one").expect("an identity");
        let built = Publisher::builder().load(bus.load()).identity(identity).build();
        let error = built.expect_err("there are too few").to_string();
        assert!(error.contains(why), "{error}");
    };
    refuses(&bus("level = \"replicated(3)\"\n"), "2: archive.a, archive.b");
    let near = bus("level = \"replicated(2)\"\n");
    holder(&near, "archive.b", "127.0.0.1", "archive = true");
    refuses(&near, "1: archive.a; not counted, because on the same host: archive.b");
    let nobody = Bus::with(&["app.one"]);
    fs::write(nobody.path("etc/15.toml"), "[publisher.levels]\napp = \"replicated(1)\"\n")
        .expect("ok");
    refuses(&nobody, "none: name relays in `copies`");
}

/// A relay of the same host publishes what comes from there, and the copy is elsewhere.
#[test]
fn a_service_without_an_endpoint_waits_for_copies_on_other_hosts_too() {
    let bus = bus("relays = [\"relay.near\"]\nlevel = \"replicated(1)\"\n");
    holder(&bus, "relay.near", "127.0.0.1", "carries = [\"{prefix}.{env}.>\"]");
    bus.key("cron.daily");
    let _relays = [start(&bus, "relay.near"), start(&bus, "archive.a")];
    let mut tail = bus.tail(&["--json"]);
    tail.says("relay.near/0 ");
    let (mut cron, ready) = bus.process("cron.daily");
    assert!(ready.ends_with(" relayed"), "{ready}");
    assert_eq!(sent(&cron.ask("cron.n {\"n\":1}")).1, "replicated(1):archive.a");
    assert_eq!(tail.json()["message"]["msg"]["n"], 1);
}

/// Two relays, and pods that have no disk: a folder of state that cannot be made would stop them.
fn pods(level: &str) -> Bus {
    let bus = Bus::new(&["relay.one", "relay.two"]);
    bus.key("app.pod");
    let text =
        format!("[publisher]\ncopies_wait_ms = 20000\n[publisher.levels]\napp = {level:?}\n");
    fs::write(bus.path("etc/15.toml"), text).expect("written");
    bus
}

/// The configuration of pods, which have nowhere to write.
fn of_pods(bus: &Bus) -> PathBuf {
    let folder = bus.copy("pod");
    let nowhere = Path::new("/proc/nowhere");
    fs::write(folder.join("90.toml"), format!("[bus]\nstate_dir = {nowhere:?}\n"))
        .expect("written");
    folder
}

#[test]
fn pods_that_are_rolled_one_by_one_lose_nothing_while_a_relay_is_killed() {
    let mut rounds = Rounds::new("pods", "FEDMSG_PODS", 6);
    let bus = pods("stored(1)");
    let names = ["relay.one", "relay.two"];
    let mut relays = names.map(|name| bus.relay(name));
    let folder = of_pods(&bus);
    let mut consumer = consumer(&bus);
    let pod = || {
        let (pod, ready) = bus.process_in(&folder, "app.pod");
        assert!(ready.ends_with(" relayed"), "{ready}");
        pod
    };
    let mut running = [pod(), pod(), pod()];
    let (mut all, count) = (BTreeSet::new(), 200);
    for round in 0..rounds.count {
        let at = (round % 3) as usize;
        for (n, pod) in running.iter_mut().enumerate() {
            pod.tell(&format!("each {count} app.n r{round}p{n} 50"));
        }
        let killed = (round % 2) as usize;
        relays[killed].kill();
        // A new one comes, and the old one is told to end while it is at work.
        let mut old = std::mem::replace(&mut running[at], pod());
        old.end_input();
        let mut lines: Vec<String> = Vec::new();
        let (code, rest, errors) = old.end();
        assert_eq!((code, rest.last().map(String::as_str)), (0, Some("closed")), "{errors:?}");
        lines.extend(rest.into_iter().filter(|line| line != "closed"));
        relays[killed] = bus.relay(names[killed]);
        for (n, pod) in running.iter_mut().enumerate().filter(|(n, _)| *n != at) {
            lines.extend((0..count).map(|_| pod.line()));
            assert!(lines.len() >= count, "pod {n}");
        }
        let before = all.len();
        receipts(lines, "stored(1)", &mut all);
        assert_eq!(all.len() - before, 3 * count, "everything has a receipt");
        rounds.progress(round + 1, &format!("{} acknowledged", all.len()));
    }
    let done = done(&mut consumer, &all);
    assert_eq!(done.len(), all.len(), "what there is is what was acknowledged");
    assert!(done.values().all(|count| *count == 1), "each once");
    rounds.end(&format!("{} acknowledged, and each delivered once", all.len()));
}

#[test]
fn what_a_pod_has_a_receipt_for_outlives_it() {
    let mut rounds = Rounds::new("killed pods", "FEDMSG_POD_KILLS", 4);
    let bus = pods("stored(2)");
    let _relays = [bus.relay("relay.one"), bus.relay("relay.two")];
    let folder = of_pods(&bus);
    let mut all = BTreeSet::new();
    for round in 0..rounds.count {
        let (mut pod, _) = bus.process_in(&folder, "app.pod");
        pod.tell(&format!("each 2000 app.n r{round} 50"));
        let some = 1 + rounds.chance(500);
        receipts((0..some).map(|_| pod.line()), "stored(2)", &mut all);
        pod.kill();
        receipts(pod.last_lines(), "stored(2)", &mut all);
    }
    let mut consumer = consumer(&bus);
    let done = done(&mut consumer, &all);
    assert!(done.values().all(|count| *count == 1), "each once");
    rounds.end(&format!("{} acknowledged, 0 lost", all.len()));
}

#[test]
fn a_pod_without_relays_says_so_and_does_not_hang_when_it_ends() {
    let bus = pods("stored(2)");
    fs::write(bus.path("etc/16.toml"), "[publisher]\ncopies_wait_ms = 300\n").expect("written");
    let _relay = bus.relay("relay.one");
    let (mut pod, _) = bus.process_in(&of_pods(&bus), "app.pod");
    let said = pod.ask("id one app.n {\"n\":1}");
    let expected =
        "is published, and has 1 of 2 copies: stored by relay.one; not by relay.two (no answer)";
    assert!(said.starts_with("failed number 1 of app.pod/") && said.contains(expected), "{said}");
    let _second = bus.relay("relay.two");
    let again = loop {
        let again = pod.ask("id one app.n {\"n\":1}");
        if again.starts_with("sent ") {
            break again;
        }
        assert!(again.contains(expected), "{again}");
    };
    let (place, copies) = sent(&again);
    assert_eq!((&place.2[..], &copies[..]), ("1", "stored(2):relay.one,relay.two"));
    pod.end_input();
    let (code, _, errors) = pod.end();
    assert_eq!(code, 0, "{errors:?}");
}

#[test]
fn a_command_without_a_disk_waits_for_relays_and_one_with_an_outbox_for_what_it_is_told() {
    let bus = pods("stored(2)");
    let _relays = [bus.relay("relay.one"), bus.relay("relay.two")];
    let publish = |folder: &Path| {
        let mut publish = command("fedmsg");
        publish.arg("--config-dir").arg(folder).env("FEDMSG_IDENTITY", "app.pod");
        publish.args(["publish", "app.n", "{}", "--json", "--wait", "stored", "--timeout", "20s"]);
        let (code, lines, errors) = Program::start(publish).end();
        assert_eq!((code, lines.len()), (0, 1), "{errors:?}");
        serde_json::from_str::<Value>(&lines[0]).expect("JSON")
    };
    let said = publish(&of_pods(&bus));
    assert_eq!(said["level"], "stored(2)");
    assert_eq!(said["copies"], json!(["relay.one", "relay.two"]));
    let text = "[publisher.levels]\napp = \"replicated(2)\"\n";
    fs::write(bus.path("etc/16.toml"), text).expect("written");
    let said = publish(&bus.etc());
    assert_eq!((&said["level"], &said["state"]), (&json!("local"), &json!("stored")));
}
