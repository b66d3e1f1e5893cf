//! A day of an operator: the scenes of `docs/operations.md`, with the command lines that stand there.
//!
//! "Another host" is another folder of configuration, and another folder of state where that matters.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::full_disk::Small;
use crate::harness::{Bus, Program, atomically, command, free_port, kept, succeeds, until};
use crate::operations_page::words;
use crate::relay_log;

/// What came of a command.
struct Did {
    code: i32,
    out: Vec<String>,
    said: String,
}

impl Did {
    /// Its lines as JSON.
    fn objects(&self) -> Vec<Value> {
        self.out.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// Starts a command line on the host that has this configuration.
fn start(folder: &Path, line: &str) -> Program {
    let words = words(line);
    let mut command = command(&words[0]);
    command.env("FEDMSG_CONFIG_DIR", folder).args(&words[1..]);
    Program::start(command)
}

/// Runs it to its end.
fn run(folder: &Path, line: &str) -> Did {
    let (code, out, errors) = start(folder, line).end();
    Did { code, out, said: errors.join("\n") }
}

/// Runs it, and it has to succeed.
fn does(folder: &Path, line: &str) -> Did {
    let did = run(folder, line);
    assert_eq!(did.code, 0, "{line}: {:?} {}", did.out, did.said);
    did
}

/// Has a publisher of the tests publish messages 1 to `count`; stream and epoch of the last one.
fn publish(program: &mut Program, count: u64, topic: &str) -> (String, String) {
    program.tell(&format!("each {count} {topic} tag 10"));
    let mut last = Default::default();
    for _ in 0..count {
        let line = program.line();
        let words: Vec<&str> = line.split(' ').collect();
        let ["sent", stream, epoch, _, _] = words[..] else { panic!("{line}") };
        last = (stream.to_owned(), epoch.to_owned());
    }
    last
}

/// A durable consumer, and how often each stream and number was handled by it.
struct Consumer(Program);

impl Consumer {
    fn start(bus: &Bus, folder: &Path) -> Consumer {
        let mut consumer = command("examples/consumer");
        consumer.arg(folder).arg("badges").arg(bus.path("effects")).arg("late");
        let mut consumer = Program::start(consumer);
        assert_eq!(consumer.line(), "begin");
        Consumer(consumer)
    }

    /// Waits for so many messages, none of them twice.
    fn handles(&mut self, count: usize) -> BTreeMap<String, Vec<u64>> {
        let mut all = BTreeMap::<String, Vec<u64>>::new();
        let mut handled = 0;
        while handled < count {
            let line = self.0.line();
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["done", stream, _, i, ..] => {
                    let i = i.parse().expect("a number");
                    let numbers = all.entry(stream.into()).or_default();
                    assert!(!numbers.contains(&i), "twice: {line}");
                    numbers.push(i);
                    handled += 1;
                }
                ["flushed"] => {}
                _ => panic!("{line}"),
            }
        }
        all
    }

    fn ends(mut self) {
        self.0.end_input();
        assert_eq!(self.0.end().0, 0);
    }
}

fn metadata_mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().expect("it is there").permissions().mode() & 0o777
}

/// Brings files from one folder of configuration to another one, as configuration management does: by rename.
fn deploy(from: &Path, to: &Path, names: &[&str]) {
    for name in names {
        atomically(&to.join(name), &fs::read_to_string(from.join(name)).expect("read"));
    }
}

#[test]
fn a_new_host_is_heard_from_its_first_message_by_who_learns_of_it_late() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("web.one", 1);
    let late = bus.copy("late");
    let state = format!("[bus]\nstate_dir = {:?}\n", bus.path("late-state"));
    fs::write(late.join("15-state.toml"), state).expect("written");
    let (mut web, _) = bus.process("web.one");
    let mut consumer = Consumer::start(&bus, &late);
    publish(&mut web, 1, "web.n");
    consumer.handles(1);

    let made = does(&bus.etc(), "fedmsg keys new app.two");
    assert_eq!(metadata_mode(&bus.path("etc/private/app.two.key")), 0o600, "{:?}", made.out);
    let address = || format!("tcp://127.0.0.1:{}", free_port());
    let entry = format!(
        "[endpoints.\"app.two\"]\npublish = \"{}\"\nreplay = \"{}\"\n",
        address(),
        address()
    );
    atomically(&bus.entry_path("app.two"), &entry);
    does(&bus.etc(), "fedmsg config check");
    let new = bus.copy("new");
    let state = format!("[bus]\nstate_dir = {:?}\n", bus.path("new-state"));
    fs::write(new.join("15-state.toml"), state).expect("written");
    let (mut app, ready) = bus.process_in(&new, "app.two");
    assert!(ready.ends_with(" direct"), "{ready}");
    publish(&mut app, 5, "app.n");

    // Who has the new files is told apart from who has not.
    until(|| {
        let streams = does(&late, "fedmsg streams --json").objects();
        let web = streams.iter().find(|one| one["stream"] == "web.one/0").expect("it is heard");
        assert!(!streams.iter().any(|one| one["stream"] == "app.two/0"), "nobody knows it there");
        (web["config_differs"] == true).then_some(())
    });
    // The key comes first, and alone it changes nothing; then comes where to listen.
    deploy(&bus.etc(), &late, &["keys.d/app.two.toml"]);
    does(&late, "fedmsg config check");
    deploy(&bus.etc(), &late, &["20-app.two.toml"]);
    assert_eq!(consumer.handles(5), BTreeMap::from([("app.two/0".into(), (1..=5).collect())]));
    until(|| {
        let streams = does(&late, "fedmsg streams --json").objects();
        let is_same = |one: &Value| one["config_differs"] == false;
        (streams.len() == 2 && streams.iter().all(is_same)).then_some(())
    });
    consumer.ends();
}

#[test]
fn a_fifth_worker_gets_a_slot_when_the_range_has_five_ports() {
    let bus = Bus::new(&[]);
    let replay = bus.service_with_replay("app.one", 4);
    let mut workers: Vec<Program> = (0..4).map(|_| bus.process("app.one").0).collect();
    let mut tail = bus.tail(&["--json"]);
    let mut fifth = command("examples/publisher");
    fifth.arg(bus.etc()).arg("app.one");
    let (code, _, errors) = Program::start(fifth).end();
    let said = errors.join("\n");
    assert!(code != 0 && said.contains("slot 0 is held by process"), "{said}");

    let entry = fs::read_to_string(bus.entry_path("app.one")).expect("read");
    let more = |line: &str| line.replace(']', &format!(", \"tcp://127.0.0.1:{}\"]", free_port()));
    let entry: Vec<String> = entry
        .lines()
        .map(|line| if line.contains(" = [") { more(line) } else { line.into() })
        .collect();
    atomically(&bus.entry_path("app.one"), &entry.join("\n"));
    assert_eq!(replay.len(), 4);
    does(&bus.etc(), "fedmsg config check");
    let (mut fifth, ready) = bus.process("app.one");
    assert!(ready.starts_with("ready app.one/4 ") && ready.ends_with(" direct"), "{ready}");
    // A reader that was there before follows the file, and the four go on.
    assert_eq!(fifth.ask("subscribers 1"), "subscribers true");
    publish(&mut fifth, 1, "app.n");
    assert_eq!(tail.json()["stream"], "app.one/4");
    assert_eq!(workers[3].ask("subscribers 1"), "subscribers true");
    publish(&mut workers[3], 1, "app.n");
    assert_eq!(tail.json()["stream"], "app.one/3");
}

#[test]
fn a_new_service_may_say_what_its_rules_allow_and_is_told_so_beforehand() {
    let bus = Bus::new(&["relay.one"]);
    let mut relay = bus.relay("relay.one");
    let mut tail = bus.tail(&["--json"]);
    tail.says("relay.one/0 ");
    does(&bus.etc(), "fedmsg keys new app.two");
    does(&bus.etc(), "fedmsg keys show app.two");
    does(&bus.etc(), "fedmsg policy explain app.two app.thing.create");
    assert_eq!(run(&bus.etc(), "fedmsg policy explain app.two web.page.create").code, 6);
    let publish = "fedmsg publish web.page.create '{}' --identity app.two --wait relay";
    let refused = run(&bus.etc(), publish);
    assert_eq!((refused.code, refused.out.len()), (6, 0), "it is kept nowhere: {}", refused.said);

    // A mistake is found before it goes anywhere.
    let rule = bus.path("etc/policy.d/50-app.toml");
    atomically(&rule, "[[publish]]\nidentity = \"app.two\"\ntopic = [\"{prefix}.{env}.web.>\"]\n");
    let wrong = run(&bus.etc(), "fedmsg config check");
    assert!(wrong.code == 1 && wrong.said.contains("50-app.toml"), "{}", wrong.said);
    atomically(&rule, "[[publish]]\nidentity = \"app.two\"\ntopics = [\"{prefix}.{env}.web.>\"]\n");
    does(&bus.etc(), "fedmsg policy explain app.two web.page.create");
    // The relay and the tail follow by themselves, and say which configuration it is.
    let checked = does(&bus.etc(), "fedmsg config check").out;
    let digest = checked[0].split_whitespace().last().expect("a digest");
    relay.says(digest);
    tail.says(digest);
    does(&bus.etc(), publish);
    let line = tail.json();
    assert_eq!((&line["signer"], &line["verdict"]), (&json!("app.two"), &json!("verified")));
}

#[test]
fn a_host_dies_and_its_past_is_read_from_its_relay_and_then_from_the_archive() {
    let (bus, far) = relay_log::archive_bus();
    // The relay of the host, which serves the journals there.
    bus.key("relay.host");
    let address = || format!("tcp://127.0.0.1:{}", free_port());
    let entry = format!(
        "[endpoints.\"relay.host\"]\npublish = \"{}\"\nreplay = \"{}\"\nsubmit = \"{}\"\n",
        address(),
        address(),
        address()
    );
    atomically(&bus.entry_path("relay.host"), &entry);
    deploy(&bus.etc(), &far, &["20-relay.host.toml", "keys.d/relay.host.toml"]);
    let mut relay = bus.relay("relay.host");
    let _archive = relay_log::start(&far, "relay.far");
    let (mut app, _) = bus.process("app.one");
    publish(&mut app, 7, "app.n");
    relay_log::holds(&bus, 7);
    app.kill();
    // Its process is gone: everything is there, on three disks.
    let shown = does(&bus.etc(), "fedmsg stream show app.one/0 --json --timeout 1s").objects();
    let holds = |one: &&Value| one["epochs"][0]["last"] == 7;
    assert_eq!(shown.iter().filter(holds).count(), 3, "here, relay, archive: {shown:?}");
    let past = "fedmsg tail --all --no-follow --json app";
    let did = run(&bus.etc(), past);
    assert_eq!((did.code, did.out.len()), (75, 7), "the service does not answer: {}", did.said);
    // The host is gone, its relay and its disk with it.
    relay.kill();
    fs::remove_dir_all(bus.path("state/streams/app.one")).expect("removed");
    let did = run(&far, past);
    assert_eq!((did.code, did.out.len()), (75, 7), "the service is out of reach: {}", did.said);
    let shown = does(&far, "fedmsg stream show app.one/0 --json --timeout 1s").objects();
    assert_eq!(shown.iter().filter(holds).count(), 1, "the archive: {shown:?}");
}

#[test]
fn a_disk_fills_which_the_stream_says_and_it_goes_on_when_there_is_room() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    let Some(mut disk) = Small::mount(bus.path("state")) else { return };
    fs::write(bus.path("etc/15.toml"), "[journal]\nsegment_bytes = 1048576\n").expect("written");
    let (mut app, _) = bus.process("app.one");
    let mut stored = 0;
    loop {
        app.tell("each 128 app.n tag 1000");
        let sent: Vec<bool> = (0..128).map(|_| app.line().starts_with("sent ")).collect();
        stored += sent.iter().filter(|is_stored| **is_stored).count();
        if sent.contains(&false) {
            break;
        }
        assert!(stored < 64 * 1024, "the disk is never full");
    }
    let state = |bus: &Bus| {
        let streams = does(&bus.etc(), "fedmsg streams --json").objects();
        streams[0]["state"].as_str().expect("a state").to_owned()
    };
    until(|| (state(&bus) == "degraded").then_some(()));
    // What is there can be looked at and read.
    does(&bus.etc(), "fedmsg journal list");
    // A message that was refused may be there all the same: an error says that nothing is known.
    let past = "fedmsg tail --all --no-follow --topics-only -q";
    let kept = does(&bus.etc(), past).out.len();
    assert!(kept >= stored, "{kept} are kept, and {stored} were acknowledged");
    disk.make_room();
    until(|| app.ask("app.n {\"tag\":\"after\",\"n\":1}").starts_with("sent ").then_some(()));
    until(|| (state(&bus) == "open").then_some(()));
    let kept = does(&bus.etc(), past).out.len();
    assert!(kept > stored, "{kept} are kept, and {stored} were acknowledged, and one more");
    kept::check(&bus);
}

#[test]
fn a_weekend_without_relay_and_without_consumer_loses_nothing() {
    const CRON: usize = 400;
    const APP: u64 = 600;
    let bus = Bus::new(&["relay.one"]);
    bus.key("log.one");
    bus.service_with_replay("app.one", 1);
    let relay = bus.relay("relay.one");
    let (mut app, _) = bus.process("app.one");
    publish(&mut app, 1, "app.n");
    let mut consumer = Consumer::start(&bus, &bus.etc());
    consumer.handles(1);
    consumer.ends();
    drop(relay);

    let mut lines =
        start(&bus.etc(), "fedmsg publish log.n --lines -q --identity log.one --timeout 200ms");
    (1..=CRON).for_each(|n| lines.tell(&json!({ "tag": "cron", "n": n }).to_string()));
    let (code, _, errors) = lines.end();
    assert_eq!(code, 0, "kept: {errors:?}");
    publish(&mut app, APP, "app.n");
    let waits = does(&bus.etc(), "fedmsg outbox list --json").objects();
    assert_eq!((waits.len(), &waits[0]["messages"]), (1, &CRON.into()), "{waits:?}");
    assert!(waits[0]["oldest"].is_string(), "{waits:?}");
    assert_eq!(run(&bus.etc(), "fedmsg outbox flush --timeout 1s").code, 75, "no relay answers");
    let shown = does(&bus.etc(), "fedmsg consumer show badges --json").objects();
    assert_eq!(shown[0]["cursors"][0]["behind"], APP, "{shown:?}");

    // Monday.
    let _relay = bus.relay("relay.one");
    let flushed = does(&bus.etc(), "fedmsg outbox flush");
    assert!(flushed.said.contains(&format!("{CRON} delivered")), "{}", flushed.said);
    let mut consumer = Consumer::start(&bus, &bus.etc());
    let handled = consumer.handles(CRON + APP as usize);
    assert_eq!(handled["app.one/0"], (2..=APP + 1).collect::<Vec<_>>());
    let cron = handled.iter().find(|(stream, _)| stream.starts_with("log.one/")).expect("it came");
    assert_eq!(cron.1, &(1..=CRON as u64).collect::<Vec<_>>());
    consumer.ends();
    let listed = does(&bus.etc(), "fedmsg consumer list --json").objects();
    assert_eq!((&listed[0]["behind"], &listed[0]["letters"]), (&json!(0), &json!(0)));
    assert_eq!(does(&bus.etc(), "fedmsg outbox list --json").objects()[0]["messages"], 0);
}

#[test]
fn a_machine_from_a_backup_begins_a_new_epoch_when_it_is_told_before_it_starts() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    let (mut app, _) = bus.process("app.one");
    let mut tail = bus.tail(&["--json"]);
    assert_eq!(app.ask("subscribers 1"), "subscribers true");
    let (_, old) = publish(&mut app, 1, "app.n");
    assert_eq!(tail.json()["i"], 1);
    app.kill();
    let copy = |from: &str, to: &str| {
        let mut copy = Command::new("cp");
        assert!(succeeds(copy.arg("-a").arg(bus.path(from)).arg(bus.path(to))), "copied");
    };
    copy("state", "backup");
    let (mut app, _) = bus.process("app.one");
    assert_eq!(publish(&mut app, 2, "app.n").1, old);
    assert_eq!((tail.json()["i"].as_u64(), tail.json()["i"].as_u64()), (Some(2), Some(3)));
    app.kill();
    fs::remove_dir_all(bus.path("state")).expect("removed");
    copy("backup", "state");
    does(&bus.etc(), "fedmsg journal check");
    does(&bus.etc(), "fedmsg stream renew app.one/0");
    let (mut app, ready) = bus.process("app.one");
    assert!(!ready.contains(&old), "a new epoch: {ready}");
    let (_, new) = publish(&mut app, 2, "app.n");
    assert!(new > old, "{new}");
    for i in 1..=2 {
        let line = tail.json();
        assert_eq!((&line["epoch"], &line["i"]), (&json!(new), &json!(i)));
    }
    tail.term();
    let said = tail.end().2.join("\n");
    assert!(!said.contains("fork") && said.contains("goes on in epoch"), "{said}");
    let shown = does(&bus.etc(), "fedmsg stream show app.one/0 --json").objects();
    let epochs = shown[0]["epochs"].as_array().expect("epochs").len();
    assert_eq!(epochs, 2, "what the backup had of the old one is kept: {shown:?}");
}

/// A service whose stream has ended, an archive that has it, and the folder of that host.
fn retired() -> (Bus, PathBuf, Program) {
    let (bus, far) = relay_log::archive_bus();
    let archive = relay_log::start(&far, "relay.far");
    let (mut app, _) = bus.process("app.one");
    publish(&mut app, 3, "app.n");
    relay_log::holds(&bus, 3);
    app.kill();
    let did = does(&bus.etc(), "fedmsg stream retire app.one/0 --for 2s");
    assert!(did.out[0].starts_with("app.one/0 has ended with number 3"), "{:?}", did.out);
    (bus, far, archive)
}

#[test]
fn a_retired_service_is_read_from_the_archive_until_its_key_goes() {
    let (bus, far, _archive) = retired();
    until(|| {
        let shown = does(&far, "fedmsg stream show app.one/0 --json --timeout 1s").objects();
        let is_closed = |one: &Value| one["heartbeat"]["state"] == "closed";
        shown.iter().filter(|one| one["holder"] != "here").any(is_closed).then_some(())
    });
    // The endpoint goes: nobody waits for it any more.
    fs::remove_file(bus.entry_path("app.one")).expect("removed");
    fs::remove_file(far.join("20-app.toml")).expect("removed");
    fs::remove_dir_all(bus.path("state/streams/app.one")).expect("removed");
    does(&bus.etc(), "fedmsg config check");
    let past = "fedmsg tail --all --no-follow --json app";
    assert_eq!(does(&bus.etc(), past).out.len(), 3, "the key is trusted, the archive has it");
    // The key goes last, because its past goes with it.
    fs::remove_file(bus.path("etc/keys.d/app.one.toml")).expect("removed");
    let did = run(&bus.etc(), past);
    assert_eq!(
        (did.code, did.out.len()),
        (75, 0),
        "without the key nobody believes it: {}",
        did.said
    );
    assert!(did.said.contains("no trusted key of this id"), "{}", did.said);
}
