//! One host after the other is upgraded, so programs of two versions are on the bus. What the version before spoke, and
//! what a later one may, is spoken here by peers without the library, to the programs of today.
//!
//! `FEDMSG_OLD_BIN=DIR cargo test -p fedmsg-tests upgrade` runs the programs of an older build, too: DIR is its
//! `target/debug`, after `cargo build --workspace --bins --example publisher --example consumer` there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use crate::harness::{
    Answerer, Asker, Bus, Frames, Peer, Program, atomically, command, free_port, say, topic, until,
};
use crate::independent::{self, GENESIS, HEARTBEAT, Hash, MESSAGE};

const EPOCH: &str = "01997530-0000-7000-8000-000000000001";
/// What a later version may say beside what is known.
const EXT: &str = r#""ext":{"later":{"deep":[1,{"more":null}]}},"#;

/// A stream that is written without the library.
struct Stream {
    key: SigningKey,
    name: &'static str,
    /// Topic and envelope of each number, 0 being the genesis record.
    records: Vec<(String, Vec<u8>)>,
    leaves: Vec<Hash>,
}

impl Stream {
    /// Its key is trusted on this bus from now on.
    fn new(bus: &Bus, identity: &str, name: &'static str) -> Stream {
        bus.known_key(identity, 7);
        let key = SigningKey::from_bytes(&[7; 32]);
        let mut stream = Stream { key, name, records: Vec::new(), leaves: Vec::new() };
        let (topic, prev) = (stream.own_topic("_genesis"), "A".repeat(43));
        let after = r#"{"after":null,"level":"local","later":1}"#;
        stream.push(GENESIS, topic, &prev, "", after);
        stream
    }

    fn own_topic(&self, kind: &str) -> String {
        format!("{kind}.{}", self.name.replace('/', "."))
    }

    fn content(
        &self,
        version: u8,
        i: usize,
        prev: &str,
        topic: &str,
        ext: &str,
        msg: &str,
    ) -> Vec<u8> {
        let id = independent::key_id(self.key.verifying_key().as_bytes());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        format!(
            r#"{{"v":{version},"crypto":"ed25519","certificate":"{id}","stream":"{}","epoch":"{EPOCH}","i":{i},"prev":"{prev}","topic":"{topic}","msg_id":"2026-{i}","timestamp":{now:.3},{ext}"msg":{msg}"#,
            self.name
        )
        .into_bytes()
    }

    fn sign(&self, domain: &str, content: &[u8]) -> Vec<u8> {
        independent::sign(&self.key, domain, &[content]).remove(0)
    }

    fn push(&mut self, domain: &str, topic: String, prev: &str, ext: &str, msg: &str) {
        let content = self.content(1, self.records.len(), prev, &topic, ext, msg);
        self.leaves.push(independent::leaf(domain, &content));
        self.records.push((topic, self.sign(domain, &content)));
    }

    fn head(&self) -> String {
        BASE64URL_NOPAD.encode(self.leaves.last().expect("there is genesis"))
    }

    /// One message more, with what a later version may add.
    fn message(&mut self, ext: &str) {
        let service = self.name.split('.').next().expect("a service");
        let (topic, prev) = (topic(&format!("{service}.n")), self.head());
        let msg = format!("{{\"n\":{}}}", self.records.len());
        self.push(MESSAGE, topic, &prev, ext, &msg);
    }

    fn heartbeat(&self) -> (String, Vec<u8>) {
        let (last, head) = (self.records.len() - 1, self.head());
        let genesis = BASE64URL_NOPAD.encode(&self.leaves[0]);
        let msg = format!(
            r#"{{"first":1,"last":{last},"head":"{head}","level":"local","state":"open","genesis":"{genesis}","config":"0","later":{{"x":1}}}}"#
        );
        let topic = self.own_topic("_heartbeat");
        let content = self.content(1, last, &head, &topic, EXT, &msg);
        (topic, self.sign(HEARTBEAT, &content))
    }

    /// What somebody says who has the stream and knows `HEAD`, `LIST` and `GET` alone.
    fn answer(&self, request: &[Vec<u8>]) -> Vec<Frames> {
        let [_, verb, id, rest @ ..] = request else { panic!("{request:?}") };
        let answer = |verb: &str, rest: &[&[u8]]| -> Frames {
            let head = [b"R1", verb.as_bytes(), id].map(<[u8]>::to_vec);
            head.into_iter().chain(rest.iter().map(|frame| frame.to_vec())).collect()
        };
        let number = |n: usize| (n as u64).to_be_bytes();
        let last = self.records.len() - 1;
        match &verb[..] {
            b"HEAD" => {
                let (topic, envelope) = self.heartbeat();
                let (first, last) = (number(1), number(last));
                let epoch: &[u8] = EPOCH.as_bytes();
                vec![answer(
                    "INFO",
                    &[topic.as_bytes(), &envelope, b"complete", epoch, &first, &last],
                )]
            }
            b"LIST" => {
                let (stream, more) = (self.name.as_bytes(), number(0));
                let epoch: &[u8] = EPOCH.as_bytes();
                vec![answer("PAGE", &[b"token", &more, stream, epoch, &number(last)])]
            }
            b"GET" => {
                let at = |n: usize| u64::from_be_bytes(rest[n][..].try_into().expect("8 bytes"));
                let (from, to) = (at(2) as usize, (at(3) as usize).min(last));
                let message = |i: usize| {
                    let (topic, envelope) = &self.records[i];
                    answer("MSG", &[&number(i), topic.as_bytes(), envelope])
                };
                let end = answer("END", &[&number(to), &number(0)]);
                (from..=to).map(message).chain([end]).collect()
            }
            _ => vec![answer("ERR", &[b"malformed", b"an unknown verb"])],
        }
    }
}

/// The endpoint of such a stream: where it publishes, and where it is asked.
fn endpoint(bus: &Bus, identity: &str) -> (String, String) {
    let address = || format!("tcp://127.0.0.1:{}", free_port());
    let (publish, replay) = (address(), address());
    let text = format!("[endpoints.{identity:?}]\npublish = {publish:?}\nreplay = {replay:?}\n");
    atomically(&bus.entry_path(identity), &text);
    (publish, replay)
}

fn number(line: &Value) -> u64 {
    line["message"]["msg"]["n"].as_u64().unwrap_or_else(|| panic!("{line}"))
}

fn text(frame: &[u8]) -> String {
    String::from_utf8_lossy(frame).into_owned()
}

#[test]
fn what_a_later_version_adds_is_passed_over_and_another_format_is_refused_by_name() {
    let bus = Bus::new(&[]);
    let (publish, replay) = endpoint(&bus, "later.one");
    let mut stream = Stream::new(&bus, "later.one", "later.one/0");
    stream.message(EXT);
    let peer = Peer::bind(&publish);
    let mut tail = bus.tail(&["--json", "--unverified", "show"]);
    peer.wait();
    let send = |(topic, envelope): &(String, Vec<u8>)| peer.send(&[topic.as_bytes(), envelope]);
    send(&stream.records[0]);
    tail.says("later.one/0 is live");
    send(&stream.records[1]);
    send(&stream.heartbeat());
    let line = tail.json();
    assert_eq!((number(&line), &line["verdict"]), (1, &json!("verified")));
    // Behind what its heartbeat says, which is understood as far as it is known.
    stream.message(EXT);
    send(&stream.records[2]);
    assert_eq!(number(&tail.json()), 2);
    assert_eq!(line["message"]["ext"]["later"]["deep"][0], 1, "shown as it was signed");
    // A record of another format, which says so at its first member.
    let (head, own) = (stream.head(), topic("later.n"));
    let second = stream.sign(MESSAGE, &stream.content(2, 3, &head, &own, "", "{\"n\":3}"));
    peer.send(&[own.as_bytes(), &second]);
    assert_eq!(tail.json()["reason"], "version");
    // What is missing is fetched, although the first answer is one that nobody understands.
    (0..2).for_each(|_| stream.message(EXT));
    let (asked, last) = (Arc::<AtomicUsize>::default(), stream.records[4].clone());
    let (count, beat) = (Arc::clone(&asked), stream.heartbeat());
    let _answerer = Answerer::bind(&replay, move |request| {
        let mut answers = stream.answer(request);
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            answers.iter_mut().for_each(|answer| answer.push(b"later".to_vec()));
        }
        answers
    });
    send(&last);
    send(&beat);
    assert_eq!((number(&tail.json()), number(&tail.json())), (3, 4));
    assert!(asked.load(Ordering::Relaxed) > 1, "it was asked again");
}

#[test]
fn a_holder_that_knows_less_is_asked_for_what_it_knows() {
    let bus = Bus::new(&[]);
    let (_, replay) = endpoint(&bus, "old.one");
    let mut stream = Stream::new(&bus, "old.one", "old.one/0");
    (0..5).for_each(|_| stream.message(""));
    let _answerer = Answerer::bind(&replay, move |request| stream.answer(request));
    let mut show = bus.program("fedmsg");
    show.args(["stream", "show", "old.one/0", "--json"]);
    let (code, out, errors) = Program::start(show).end();
    assert_eq!((code, out.len()), (0, 1), "{errors:?}");
    let shown: Value = serde_json::from_str(&out[0]).expect("JSON");
    assert_eq!((&shown["answer"], &shown["epochs"][0]["last"]), (&json!("info"), &json!(5)));
    // What it cannot say is not said, and is no failure.
    let mut check = bus.program("fedmsg");
    check.args(["check", "gaps", "--json"]);
    let (code, out, errors) = Program::start(check).end();
    assert!([0, 4].contains(&code), "{code} {out:?} {errors:?}");
    let mut tail = bus.tail(&["--from", "old.one/0:2", "--json"]);
    let numbers: Vec<u64> = (0..4).map(|_| number(&tail.json())).collect();
    assert_eq!(numbers, [2, 3, 4, 5]);
}

/// What nobody here knows is answered so, and the next request is served on the same connection.
#[test]
fn unknown_requests_are_answered_and_the_next_one_is_served() {
    let bus = Bus::new(&["relay.one"]);
    let replay = bus.service_with_replay("app.one", 1).remove(0);
    let _relay = bus.relay("relay.one");
    let (mut app, _) = bus.process("app.one");
    assert!(app.ask("app.n {\"n\":1}").starts_with("sent "));
    let entry = fs::read_to_string(bus.entry_path("relay.one")).expect("read");
    let relay: Vec<String> =
        entry.split('"').filter(|word| word.starts_with("tcp://")).map(str::to_owned).collect();
    let [_, relay_replay, submit] = &relay[..] else { panic!("{entry}") };
    for (address, serves) in [(&replay, true), (relay_replay, true), (submit, false)] {
        let asker = Asker::connect(address);
        let unknown: [&[&[u8]]; 4] = [
            &[b"R1", b"LATER", b"1", b"app.one/0", b"x"],
            &[b"R1", b"HEAD", b"2", b"app.one/0", b"a frame more"],
            &[b"R2", b"HEAD", b"3", b"app.one/0"],
            &[b"R1"],
        ];
        for frames in unknown {
            let answer = asker.ask(frames);
            let is = (text(&answer[1]), text(&answer[3]));
            assert_eq!(is, ("ERR".into(), "malformed".into()), "{address} {frames:?}");
        }
        let answer = asker.ask(&[b"R1", b"HEAD", b"4", b"app.one/0"]);
        assert_eq!(text(&answer[1]) == "INFO", serves, "{address}: {}", text(&answer[1]));
    }
    relay_takes_what_a_later_producer_adds(&bus, submit);
}

fn relay_takes_what_a_later_producer_adds(bus: &Bus, submit: &str) {
    let mut stream =
        Stream::new(bus, "later.one", "later.one/0197aaaa-0000-7000-8000-000000000001");
    stream.message(EXT);
    let mut tail = bus.tail(&["--json"]);
    tail.says("relay.one/0 ");
    let asker = Asker::connect(submit);
    let [genesis, message] = &stream.records[..] else { panic!("two records") };
    let put: [&[u8]; 7] =
        [b"R1", b"PUT", b"5", genesis.0.as_bytes(), &genesis.1, message.0.as_bytes(), &message.1];
    // Its key has come with this test, so the relay may not know it yet, and says so.
    let answer = until(|| {
        let answer = asker.ask(&put);
        (text(&answer[1]) == "STORED").then_some(answer)
    });
    assert_eq!(answer[5].len(), 94, "a receipt");
    let line = tail.json();
    assert_eq!((number(&line), &line["verdict"]), (1, &json!("verified")));
    assert!(line["message"]["ext"]["later"].is_object(), "the bytes are the producer's: {line}");
}

/// A relay that answers each `PUT` with this verb and these frames behind the count.
fn relay_that_says(address: &str, verb: &'static str, rest: &'static [&'static [u8]]) -> Answerer {
    Answerer::bind(address, move |request| {
        let [_, asked, id, messages @ ..] = request else { panic!("{request:?}") };
        if asked != b"PUT" {
            return vec![[&b"R1"[..], b"ERR", id, b"malformed", b""].map(<[u8]>::to_vec).to_vec()];
        }
        let count = (messages.len() as u64 / 2).to_be_bytes();
        let head = [b"R1", verb.as_bytes(), id, &0u64.to_be_bytes(), &count].map(<[u8]>::to_vec);
        vec![head.into_iter().chain(rest.iter().map(|frame| frame.to_vec())).collect()]
    })
}

fn fedmsg(bus: &Bus, arguments: &[&str]) -> (i32, Vec<String>, Vec<String>) {
    let mut command = bus.program("fedmsg");
    command.env("FEDMSG_IDENTITY", "log.one").args(arguments);
    Program::start(command).end()
}

#[test]
fn answers_of_relays_before_and_after_this_version_lose_nothing() {
    let bus = Bus::new(&["relay.one"]);
    bus.key("log.one");
    let entry = fs::read_to_string(bus.entry_path("relay.one")).expect("read");
    let submit = entry.split("submit = [\"").nth(1).and_then(|rest| rest.split('"').next());
    let submit = submit.expect("an address");
    let stored = ["publish", "log.n", "{\"n\":1}", "--wait", "stored"];
    // Before: it stored, and signed nothing.
    let relay = relay_that_says(submit, "STORED", &[b""]);
    assert_eq!(fedmsg(&bus, &stored).0, 0);
    drop(relay);
    // Later: a frame more, or a verdict that is not known here. The message stays where it is.
    const LATER: &[&[u8]] = &[b"", b"later"];
    for (verb, rest) in [("STORED", LATER), ("LATER", LATER)] {
        let _relay = relay_that_says(submit, verb, rest);
        let waits = [&stored[..], &["--timeout", "1s"]].concat();
        let (code, out, errors) = fedmsg(&bus, &waits);
        assert_eq!((code, out.len()), (75, 1), "{verb}: kept, {errors:?}");
    }
    let _relay = bus.relay("relay.one");
    let (code, _, errors) = fedmsg(&bus, &["outbox", "flush"]);
    assert_eq!(code, 0, "{errors:?}");
    let (code, out, errors) = bus.tail(&["--all", "--no-follow", "--json"]).end();
    assert_eq!((code, out.len()), (0, 3), "each once: {errors:?}");
}

#[test]
fn a_copy_without_a_receipt_is_none() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    bus.key("archive.a");
    let at = || format!("tcp://127.0.0.2:{}", free_port());
    let submit = at();
    let entry = format!(
        "[endpoints.\"archive.a\"]\npublish = \"{}\"\nreplay = \"{}\"\nsubmit = {submit:?}\narchive = true\n",
        at(),
        at()
    );
    atomically(&bus.entry_path("archive.a"), &entry);
    let level = "[publisher]\nlevel = \"replicated(1)\"\ncopies_wait_ms = 500\n";
    fs::write(bus.path("etc/15.toml"), level).expect("written");
    let _archive = relay_that_says(&submit, "STORED", &[b""]);
    let (mut app, _) = bus.process("app.one");
    let said = app.ask("app.n {\"n\":1}");
    assert!(said.starts_with("failed ") && said.contains("archive.a"), "{said}");
    assert!(said.contains("0 bytes are no receipt"), "{said}");
}

#[test]
fn configuration_of_a_later_version_warns_except_where_trust_is_at_stake() {
    let bus = Bus::new(&["relay.one"]);
    bus.key("log.one");
    atomically(&bus.path("etc/60-later.toml"), "[publisher]\nlater = 1\n[later]\nx = 1\n");
    let mut relay = bus.program("fedmsg-relay");
    relay.args(["--identity", "relay.one"]);
    let mut relay = Program::start(relay);
    relay.says("later");
    relay.says(" ready ");
    assert_eq!(fedmsg(&bus, &["publish", "log.n", "{}", "--wait", "relay"]).0, 0);
    let (code, _, errors) = fedmsg(&bus, &["config", "check"]);
    assert!(code == 1 && errors.iter().any(|line| line.contains("60-later.toml")), "{errors:?}");
    fs::remove_file(bus.path("etc/60-later.toml")).expect("removed");
    // In rules it could mean less than is written there: the last good state stays.
    let rule =
        "[[publish]]\nservice = \"log\"\ntopics = [\"{prefix}.{env}.web.>\"]\nonly_on = [\"x\"]\n";
    atomically(&bus.path("etc/policy.d/60-later.toml"), rule);
    let said = relay.says("the configuration is broken; the last good one stays");
    assert!(said.contains("60-later.toml"), "{said}");
    let refused = fedmsg(&bus, &["publish", "web.n", "{}"]);
    assert!(refused.0 == 1 && refused.1.is_empty(), "{refused:?}");
}

/// Programs of an older build.
struct Old(PathBuf);

impl Old {
    fn new() -> Option<Old> {
        let Some(folder) = std::env::var_os("FEDMSG_OLD_BIN") else {
            say(
                "NOT RUN: upgrade from an older build: FEDMSG_OLD_BIN names no folder with its programs",
            );
            return None;
        };
        let old = Old(folder.into());
        for name in
            ["fedmsg", "fedmsg-relay", "fedmsg-tail", "examples/publisher", "examples/consumer"]
        {
            assert!(old.0.join(name).exists(), "{}/{name} is not there", old.0.display());
        }
        Some(old)
    }

    /// The same command by the older program.
    fn command(&self, name: &str) -> Command {
        let mut old = Command::new(self.0.join(name));
        for (variable, value) in command(name).get_envs() {
            assert_eq!(value, None);
            old.env_remove(variable);
        }
        old
    }

    fn start(&self, is_old: bool, name: &str, folder: &Path, arguments: &[&str]) -> Program {
        let mut command = if is_old { self.command(name) } else { command(name) };
        match name.starts_with("examples/") {
            true => command.arg(folder),
            false => command.arg("--config-dir").arg(folder),
        };
        command.args(arguments);
        Program::start(command)
    }
}

/// Whoever is upgraded first: each program in turn is of the other version, and goes on where that one was, back and
/// forth, on the same journal, log, outbox and store.
#[test]
fn programs_of_an_older_build_and_of_this_one_are_on_one_bus() {
    let Some(old) = Old::new() else { return };
    let bus = Bus::new(&["relay.one"]);
    bus.key("log.one");
    bus.service_with_replay("app.one", 1);
    let etc = bus.etc();
    let (effects, mut sent) = (bus.path("effects").display().to_string(), 0);
    // Relay, service, command, readers.
    for turn in 0..=4_u32 {
        for bits in 0..16_u32 {
            if bits.count_ones() != turn {
                continue;
            }
            let is_old = |n: u32| bits & (1 << n) != 0;
            let mut relay =
                old.start(is_old(0), "fedmsg-relay", &etc, &["--identity", "relay.one"]);
            relay.says(" ready ");
            let mut tail = old.start(is_old(3), "fedmsg-tail", &etc, &["-v", "--json"]);
            tail.says("relay.one/0 ");
            let mut app = old.start(is_old(1), "examples/publisher", &etc, &["app.one"]);
            assert!(app.line().starts_with("ready app.one/0 "), "{bits:04b}");
            assert_eq!(app.ask("subscribers 1"), "subscribers true");
            app.tell("each 20 app.n tag 10");
            (0..20).for_each(|_| assert!(app.line().starts_with("sent "), "{bits:04b}"));
            let publish = ["publish", "log.n", "{\"tag\":\"t\",\"n\":1}", "--identity", "log.one"];
            let publish = [&publish[..], &["--wait", "stored", "--timeout", "20s"]].concat();
            let (code, _, errors) = old.start(is_old(2), "fedmsg", &etc, &publish).end();
            assert_eq!(code, 0, "{bits:04b}: {errors:?}");
            sent += 21;
            (0..21).for_each(|_| drop(tail.json()));
            tail.kill();
            // A consumer that goes on where that of the other version was.
            let arguments = ["badges", &effects, "late"];
            let mut consumer = old.start(is_old(3), "examples/consumer", &etc, &arguments);
            let mut handled = 0;
            while handled < 21 {
                let line = consumer.line();
                assert!(!line.starts_with("wrong"), "{bits:04b}: {line}");
                handled += usize::from(line.starts_with("done "));
            }
            consumer.end_input();
            assert_eq!(consumer.end().0, 0);
            let past = ["--all", "--no-follow", "--strict", "--json"];
            let (code, out, errors) = old.start(is_old(3), "fedmsg-tail", &etc, &past).end();
            assert_eq!((code, out.len()), (0, sent), "{bits:04b}: {errors:?}");
            app.end_input();
            assert_eq!(app.line(), "closed");
        }
    }
    say(&format!("upgrade: 16 mixtures with {}, {sent} messages, none lost", old.0.display()));
    crate::harness::kept::check(&bus);
}
