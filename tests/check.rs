//! `fedmsg check` and what `fedmsg streams` shows of holders and consumers, on real processes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::full_disk::Small;
use crate::harness::{Bus, Program, command, until};

/// What a check said: exit code, findings, and the object about all.
struct Said {
    code: i32,
    findings: Vec<Value>,
    all: Value,
}

impl Said {
    /// The finding with this state about this subject, with this text in it.
    fn has(&self, state: &str, subject: &str, text: &str) -> &Value {
        let found = self.findings.iter().find(|one| {
            one["state"] == state
                && one["subject"] == subject
                && one["text"].as_str().is_some_and(|said| said.contains(text))
        });
        let Some(found) = found else {
            panic!("no {state} of {subject} with {text:?} in {:#?}", self.findings)
        };
        assert!(state == "ok" || found["do"].is_string(), "it says what to do: {found}");
        found
    }

    /// States that are worse than this.
    fn bad(&self) -> Vec<&Value> {
        self.findings.iter().filter(|one| one["state"] != "ok").collect()
    }
}

fn check_in(folder: &Path, arguments: &[&str]) -> Said {
    let mut fedmsg = command("fedmsg");
    fedmsg.arg("--config-dir").arg(folder).arg("check").args(arguments).arg("--json");
    let (code, out, errors) = Program::start(fedmsg).end();
    let objects: Vec<Value> = out
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let Some((all, findings)) = objects.split_last() else { panic!("{code} {errors:?}") };
    Said { code, findings: findings.to_vec(), all: all.clone() }
}

fn check(bus: &Bus, arguments: &[&str]) -> Said {
    check_in(&bus.etc(), arguments)
}

/// One publisher with an address for replay, and a relay on the same host that keeps nothing of it.
fn bus() -> Bus {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    bus
}

fn publish(publisher: &mut Program, count: u64, topic: &str) {
    publisher.tell(&format!("each {count} {topic} t 10"));
    for _ in 0..count {
        let line = publisher.line();
        assert!(line.starts_with("sent "), "{line}");
    }
}

/// A key that expires at this time, beside that of the service.
fn expires(bus: &Bus, identity: &str, end: &str) {
    let path = bus.path(&format!("etc/keys.d/{identity}.toml"));
    let text = fs::read_to_string(&path).expect("the file");
    fs::write(&path, text.replace("[[key]]", &format!("[[key]]\nnot_after = {end}")))
        .expect("written");
}

#[test]
fn all_is_well_on_a_bus_that_works() {
    let bus = bus();
    let (mut publisher, _) = bus.process("app.one");
    publish(&mut publisher, 3, "app.n");
    let said = check(&bus, &["all"]);
    // How much the disk of this machine has free is not this test's matter.
    let bad: Vec<_> = said.bad().into_iter().filter(|one| one["check"] != "disk").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    said.has("ok", "app.one", "its publisher is up");
    said.has("ok", "configuration", "the files load");
    assert_eq!(said.all["check"], "all");
    assert_eq!(said.all["figures"]["silence_watched"]["value"], 1);
}

#[test]
fn who_says_nothing_is_told_from_who_is_gone() {
    let bus = bus();
    bus.service_with_replay("web.two", 1);
    let (mut one, _) = bus.process("app.one");
    let (mut two, _) = bus.process("web.two");
    publish(&mut one, 2, "app.n");
    publish(&mut two, 1, "web.n");
    let thresholds = ["--warn", "1ms", "--crit", "1h"];
    let silent = [&["silence"][..], &thresholds].concat();
    let said = check(&bus, &silent);
    assert_eq!(
        (said.code, said.all["state"].as_str()),
        (3, Some("warning")),
        "{:#?}",
        said.findings
    );
    let found = said.has("warning", "app.one", "no messages since 20");
    assert!(
        found["text"].as_str().is_some_and(|text| text.contains("its publisher is up")),
        "{found}"
    );
    assert_eq!(found["host"], "127.0.0.1");
    let said = check(&bus, &["silence", "--crit", "1ms"]);
    assert_eq!((said.code, said.all["state"].as_str()), (3, Some("critical")));

    // One is killed: it left no heartbeat, or it is down when three of them are missing.
    two.kill();
    let said = until(|| {
        let said = check(&bus, &[&["silence", "--timeout", "2s"][..], &thresholds].concat());
        said.findings.iter().any(|one| one["subject"] == "web.two/0").then_some(said)
    });
    said.has("warning", "web.two/0", "its process is gone");
    said.has("warning", "web.two", "its publisher is down");
    said.has("warning", "app.one", "its publisher is up");

    // A clean end is no fault, and what is named counts alone.
    one.end_input();
    assert_eq!(one.line(), "closed");
    one.end();
    let said = check(&bus, &[&["silence", "app.one", "--timeout", "2s"][..], &thresholds].concat());
    said.has("warning", "app.one", "its publisher ended cleanly");
    assert!(said.findings.iter().all(|one| one["subject"] != "web.two/0"), "{:#?}", said.findings);
    let said = check(&bus, &["silence", "koji", "--timeout", "2s"]);
    said.has("unknown", "koji", "nobody knows it");
    assert_eq!(said.code, 4);
}

#[test]
fn the_last_message_of_a_topic_is_found_behind_thousands_of_others() {
    let bus = bus();
    let (mut publisher, _) = bus.process("app.one");
    publish(&mut publisher, 1, "app.rare.event");
    publish(&mut publisher, 6_000, "app.often");
    let topics = ["--topic", "org.example.dev.app.rare", "--topic", "org.example.dev.app.never"];
    let said = check(&bus, &[&["silence", "--warn", "1h"][..], &topics].concat());
    let found = said.has("ok", "org.example.dev.app.rare", "the last message is ");
    assert!(found["text"].as_str().is_some_and(|text| text.ends_with(", of app.one/0")), "{found}");
    said.has("critical", "org.example.dev.app.never", "no messages in the last");
    let said = check(&bus, &["silence", "--topic", "org.example.dev.app.rare", "--warn", "1ms"]);
    said.has("warning", "org.example.dev.app.rare", "the last message is ");
}

#[test]
fn a_consumer_that_lags_is_seen_in_its_store_and_by_what_it_told_the_publisher() {
    let bus = bus();
    let elsewhere = bus.copy("elsewhere");
    let text = fs::read_to_string(elsewhere.join("10-bus.toml")).expect("the file");
    let moved =
        text.replace(&format!("{:?}", bus.path("state")), &format!("{:?}", bus.path("none")));
    assert_ne!(moved, text);
    fs::write(elsewhere.join("10-bus.toml"), moved).expect("written");
    let (mut publisher, _) = bus.process("app.one");
    let mut consumer = command("examples/consumer");
    consumer.arg(bus.etc()).arg("badges").arg(bus.path("effects")).arg("fail");
    let mut consumer = Program::start(consumer);
    publish(&mut publisher, 45, "app.n");
    let floor = |said: &Said| {
        said.findings.iter().any(|one| one["subject"] == "badges" && one["state"] == "ok")
    };
    // It told the publisher how far it is: another host sees it, which has no store.
    until(|| {
        let said = check_in(&elsewhere, &["lag"]);
        floor(&said).then(|| said.has("ok", "badges", "it has everything; it runs").clone())
    });
    let said = until(|| {
        let said = check(&bus, &["lag"]);
        said.findings
            .iter()
            .any(|one| one["subject"] == "badges" && one["state"] == "warning")
            .then_some(said)
    });
    said.has("warning", "badges", "1 message that could not be handled");
    assert_eq!(consumer.end().0, 0);

    publish(&mut publisher, 7, "app.n");
    let said = check(&bus, &["lag", "--warn", "5", "--crit", "100"]);
    let found =
        said.has("warning", "badges", "7 messages behind in 1 stream, the first of them for ");
    assert!(found["text"].as_str().is_some_and(|text| text.ends_with("nobody runs it")), "{found}");
    let by_time = ["lag", "--consumer", "badges", "--warn", "1ms", "--crit", "1ms"];
    check_in(&elsewhere, &by_time).has("critical", "badges", "7 messages behind");
    assert_eq!(check_in(&elsewhere, &["lag", "--warn", "7"]).code, 0);
    check(&bus, &["lag", "--consumer", "mail"]).has("unknown", "mail", "told no holder");

    // The publisher is started again: what the consumer told the one before is known.
    publisher.kill();
    let (_publisher, _) = bus.process("app.one");
    check_in(&elsewhere, &by_time).has("critical", "badges", "7 messages behind");
    let streams = streams_in(&elsewhere, &["app.one/0"]);
    let consumer = &streams[0]["consumers"][0];
    assert_eq!((&consumer["consumer"], &consumer["behind"]), (&"badges".into(), &7.into()));
    assert!(consumer["behind_since"].is_string() && consumer["age_ms"].is_u64(), "{consumer}");
}

fn streams_in(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut fedmsg = command("fedmsg");
    fedmsg.arg("--config-dir").arg(folder).args(["streams", "--json"]).args(arguments);
    let (code, out, errors) = Program::start(fedmsg).end();
    assert_eq!(code, 0, "{errors:?}");
    out.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn streams_are_shown_with_who_keeps_them_also_when_nobody_publishes_them() {
    let bus = Bus::new(&["relay.local"]);
    bus.service_with_replay("app.one", 2);
    let _relay = bus.relay("relay.local");
    let (mut first, _) = bus.process("app.one");
    let (mut second, ready) = bus.process("app.one");
    assert!(ready.starts_with("ready app.one/1 "), "{ready}");
    publish(&mut first, 4, "app.n");
    publish(&mut second, 1, "app.n");
    first.kill();
    let seen = streams_in(&bus.etc(), &[]);
    let one = |name: &str| seen.iter().find(|one| one["stream"] == name).expect("the stream");
    let gone = one("app.one/0");
    assert_eq!((&gone["heard"], &gone["last"]), (&false.into(), &4.into()), "{gone}");
    assert!(
        gone["last_time"].is_string() && gone["last_topic"] == "org.example.dev.app.n",
        "{gone}"
    );
    let holders: Vec<(&str, &str)> = gone["holders"]
        .as_array()
        .expect("holders")
        .iter()
        .map(|one| (one["holder"].as_str().unwrap_or(""), one["answer"].as_str().unwrap_or("")))
        .collect();
    let expected = [("app.one/1", "info"), ("here", "info"), ("relay.local", "info")];
    for holder in expected {
        assert!(holders.contains(&holder), "{holder:?} in {holders:?}");
    }
    assert!(holders.contains(&("app.one/0", "none")), "its own process is gone: {holders:?}");
    assert_eq!((&one("app.one/1")["heard"], &one("app.one/1")["last"]), (&true.into(), &1.into()));

    let mut detail = bus.program("fedmsg");
    let (code, out, errors) = Program::start({
        detail.args(["streams", "app.one/0"]);
        detail
    })
    .end();
    assert_eq!(code, 0, "{errors:?}");
    assert!(out.iter().any(|line| line.starts_with("stream     app.one/0")), "{out:#?}");
    assert!(
        out.iter().any(|line| line.starts_with("app.one/0 ") && line.ends_with("no answer")),
        "{out:#?}"
    );
    let mut unknown = bus.program("fedmsg");
    unknown.args(["streams", "app.one/7", "--timeout", "500ms"]);
    assert_eq!(Program::start(unknown).end().0, 4);
}

/// Flips a byte in the middle of the journal of a stream.
fn damage(bus: &Bus, stream: &str) {
    let folder = bus.path(&format!("state/streams/{stream}/journal"));
    let files =
        fs::read_dir(&folder).expect("a journal").map(|entry| entry.expect("a file").path());
    let segment = files.filter(|path| path.extension().is_some_and(|e| e == "seg")).max();
    let segment = segment.expect("a segment");
    let mut bytes = fs::read(&segment).expect("read");
    let text = b"\"n\":50,";
    let at = bytes.windows(text.len()).position(|window| window == text).expect("number 50");
    bytes[at + 1] ^= 1;
    fs::write(&segment, bytes).expect("written");
}

#[test]
fn a_hole_that_nobody_can_fill_is_told_from_one_that_somebody_can() {
    let bus = bus();
    let (mut publisher, _) = bus.process("app.one");
    publish(&mut publisher, 100, "app.n");
    assert_eq!(check(&bus, &["gaps", "--read"]).code, 0);
    publisher.kill();
    damage(&bus, "app.one/0");
    let (publisher, _) = bus.process("app.one");
    let said = check(&bus, &["gaps", "--read"]);
    let found = said.has("critical", "app.one/0", "number 50 of epoch ");
    assert!(found["text"].as_str().is_some_and(|text| text.contains(": with nobody, ")), "{found}");
    assert_eq!((said.code, &said.all["figures"]["gaps_missing"]["value"]), (3, &1.into()));
    // Somebody who does not answer may have it.
    publisher.stop();
    let said = check(&bus, &["gaps", "--read", "--timeout", "1500ms"]);
    assert!(said.bad().iter().all(|one| one["state"] != "critical"), "{:#?}", said.findings);
    assert_ne!(said.code, 0, "silence is no answer");
    publisher.go_on();
}

#[test]
fn a_host_that_cannot_be_reached_and_one_with_other_files_are_named() {
    let bus = bus();
    let text = "[endpoints.\"web.two\"]\npublish = \"tcp://127.77.0.9:3001\"\nreplay = \"tcp://127.77.0.9:3501\"\n";
    fs::write(bus.entry_path("web.two"), text).expect("written");
    let other = bus.copy("other");
    fs::write(
        other.join("policy.d/50-more.toml"),
        "[[deny]]\nservice = \"x\"\ntopics = [\"a.b\"]\n",
    )
    .expect("written");
    let (mut publisher, _) = bus.process_in(&other, "app.one");
    publish(&mut publisher, 1, "app.n");
    let said = check(&bus, &["config", "--timeout", "2s"]);
    let found = said.has("warning", "app.one", "sees another configuration than this host");
    assert_eq!(found["host"], "127.0.0.1");
    let found = said.has(
        "critical",
        "host 127.77.0.9",
        "nobody answers there, and nothing is heard: web.two",
    );
    assert_eq!((&found["check"], said.code), (&"config".into(), 3));
    // Others say that they could not see all of it.
    check(&bus, &["gaps", "--timeout", "2s"]).has("unknown", "host 127.77.0.9", "nobody answers");
    expires(&bus, "app.one", "2020-01-01T00:00:00Z");
    let said = check(&bus, &["config", "--timeout", "1s"]);
    said.has("critical", "app.one", " expired at 2020-01-01T00:00:00.000Z");
    fs::write(bus.path("etc/90-wrong.toml"), "[bus]\nenvironment = 7\n").expect("written");
    let said = check(&bus, &["config"]);
    assert_eq!((said.code, said.findings.len()), (3, 1));
    said.has("critical", "configuration", "90-wrong.toml");
}

#[test]
fn what_waits_for_relays_and_free_space_are_looked_at() {
    let bus = Bus::new(&["relay.local"]);
    let publish = |bus: &Bus| {
        let mut publish = bus.program("fedmsg");
        publish.env("FEDMSG_IDENTITY", "log.web01").args(["publish", "log.line", "{}"]);
        Program::start(publish).end().0
    };
    bus.key("log.web01");
    assert_eq!(publish(&bus), 0, "it is kept");
    let said = check(&bus, &["disk", "--warn", "0%", "--crit", "0%"]);
    let waiting = said.findings.iter().find(|one| {
        one["text"].as_str().is_some_and(|text| text.starts_with("1 message that no relay has"))
    });
    assert!(waiting.is_some_and(|one| one["state"] == "ok"), "{:#?}", said.findings);
    assert_eq!((said.code, &said.all["figures"]["disk_waiting"]["value"]), (0, &1.into()));
    let said = check(&bus, &["disk", "--warn", "100%", "--crit", "0%"]);
    assert_eq!((said.code, said.all["state"].as_str()), (3, Some("warning")));
    let said = check(&bus, &["disk", "--crit", "9999999TiB"]);
    assert_eq!(said.all["state"], "critical");
    let _relay = bus.relay("relay.local");
    let said = check(&bus, &["disk", "--warn", "0%", "--crit", "0%"]);
    said.has("ok", "relay relay.local/0", "its log has ");
}

#[test]
fn a_full_disk_and_a_publisher_that_suffers_from_it_are_critical() {
    let bus = bus();
    let Some(_small) = Small::mount(bus.path("state")) else { return };
    let (mut publisher, _) = bus.process("app.one");
    publisher.tell("each 20000 app.n t 1000");
    while !publisher.line().starts_with("failed ") {}
    // Its next heartbeat says so.
    let said = until(|| {
        let said = check(&bus, &["disk"]);
        said.findings.iter().any(|one| one["subject"] == "app.one/0").then_some(said)
    });
    said.has("critical", "app.one/0", "its publisher is degraded");
    said.has("critical", &bus.path("state").display().to_string(), " are free (");
    assert_eq!(said.code, 3);
}

#[test]
fn nagios_gets_its_lines_and_its_codes() {
    let bus = bus();
    let (mut publisher, _) = bus.process("app.one");
    publish(&mut publisher, 1, "app.n");
    let run = |arguments: &[&str]| {
        let mut fedmsg = bus.program("fedmsg");
        fedmsg.args(["check", "--format", "nagios"]).args(arguments);
        let (code, out, _) = Program::start(fedmsg).end();
        (code, out)
    };
    let (code, out) = run(&["silence"]);
    assert_eq!((code, out.len()), (0, 1), "{out:?}");
    assert!(out[0].starts_with("FEDMSG SILENCE OK: silence is well"), "{out:?}");
    assert!(out[0].ends_with(" | silence_down=0 silence_watched=1"), "{out:?}");
    let (code, out) = run(&["silence", "--warn", "1ms"]);
    assert_eq!(code, 1);
    assert!(
        out[0].starts_with("FEDMSG SILENCE WARNING: app.one on 127.0.0.1: no messages since "),
        "{out:?}"
    );
    assert_eq!(out.iter().filter(|line| line.contains('|')).count(), 1, "{out:?}");
    let (code, _) = run(&["silence", "--crit", "1ms"]);
    assert_eq!(code, 2);
    let (code, out) = run(&["silence", "koji"]);
    assert!(code == 3 && out[0].starts_with("FEDMSG SILENCE UNKNOWN: koji: "), "{out:?}");
    fs::write(bus.path("etc/90-wrong.toml"), "[bus]\nenvironment = 7\n").expect("written");
    let (code, out) = run(&["silence"]);
    assert!(code == 3 && out[0].starts_with("FEDMSG SILENCE UNKNOWN: fedmsg: "), "{out:?}");
    let (code, out) = run(&["all"]);
    assert!(code == 2 && out[0].starts_with("FEDMSG ALL CRITICAL: configuration: "), "{out:?}");
}
