//! `fedmsg consumer` and `fedmsg refused` on what a real durable consumer has left in its store, while it runs and when
//! it has stopped.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Bus, Program, atomically, command};

/// So many messages that are wanted, of which numbers 41 and 82 always fail, and so many that are refused.
const WANTED: u64 = 90;
const REFUSED: u64 = 3;

struct Scene {
    bus: Bus,
    publisher: Program,
    /// What the consumer sees: a folder without the rule for `app.m`.
    seen: PathBuf,
    /// What somebody sees on another host: the same store, and no journals.
    elsewhere: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let bus = Bus::new(&[]);
        bus.service_with_replay("app.one", 1);
        let seen = bus.copy("seen");
        let text = fs::read_to_string(seen.join("10-bus.toml")).expect("the file");
        let (head, _) = text.split_once("[[publish]]").expect("a policy");
        fs::write(seen.join("10-bus.toml"), head).expect("written");
        let rule = "[[publish]]\nservice = \"*\"\ntopics = [\"{prefix}.{env}.app.n\"]\n";
        fs::write(seen.join("policy.d/10-n.toml"), rule).expect("written");
        let elsewhere = bus.copy("elsewhere");
        let state = |name| format!("state_dir = {:?}", bus.path(name));
        let moved = text.replace(&state("state"), &state("no-state"));
        assert_ne!(moved, text);
        let store = format!("sqlite://{}", bus.path("state/consumers.db").display());
        let moved = format!("{moved}\n[consumer]\nstore = {store:?}\n");
        fs::write(elsewhere.join("10-bus.toml"), moved).expect("written");
        let (publisher, ready) = bus.process("app.one");
        assert!(ready.starts_with("ready app.one/0 "), "{ready}");
        Scene { bus, publisher, seen, elsewhere }
    }

    fn publish(&mut self, count: u64, topic: &str, tag: &str) {
        self.publisher.tell(&format!("each {count} {topic} {tag} 10"));
        for _ in 0..count {
            let line = self.publisher.line();
            assert!(line.starts_with("sent app.one/0 "), "{line}");
        }
    }

    fn consumer(&self) -> Program {
        let mut consumer = command("examples/consumer");
        consumer.arg(&self.seen).arg("badges").arg(self.bus.path("effects"));
        consumer.args(["fail", "late"]);
        Program::start(consumer)
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> (i32, Vec<String>, Vec<String>) {
        let mut fedmsg = command("fedmsg");
        fedmsg.arg("--config-dir").arg(folder).args(arguments);
        Program::start(fedmsg).end()
    }

    /// Exit code, and what is said on stderr.
    fn code(&self, arguments: &[&str]) -> (i32, String) {
        let (code, _, errors) = self.run(&self.seen, arguments);
        (code, errors.join("\n"))
    }

    /// The object that a command prints.
    fn object(&self, folder: &Path, arguments: &[&str]) -> Value {
        let (code, out, errors) = self.run(folder, arguments);
        assert_eq!((code, out.len()), (0, 1), "{arguments:?} {out:?} {errors:?}");
        serde_json::from_str(&out[0]).expect("JSON")
    }

    fn listed(&self) -> Value {
        self.object(&self.seen, &["consumer", "list", "--json"])
    }

    fn shown(&self) -> Value {
        self.object(&self.seen, &["consumer", "show", "badges", "--json"])
    }

    fn refused(&self) -> usize {
        let (code, out, _) = self.run(&self.seen, &["refused", "list", "badges", "--json"]);
        assert_eq!(code, 0);
        out.len()
    }
}

/// Waits until so many messages have failed at this try.
fn fails(consumer: &mut Program, count: usize, attempt: u32) {
    let (attempt, mut failed) = (attempt.to_string(), 0);
    while failed < count {
        let line = consumer.line();
        assert!(!line.starts_with("wrong"), "{line}");
        let words: Vec<&str> = line.split(' ').collect();
        failed += usize::from(words[0] == "fail" && words[4] == attempt);
    }
}

/// It is seen while it runs, and only looking and giving dead letters back is allowed.
fn while_it_runs(scene: &mut Scene, consumer: &mut Program) {
    fails(consumer, 2, 3);
    // What was answered is written by and by.
    let listed = crate::harness::until(|| {
        let listed = scene.listed();
        (listed["letters"] == 2 && listed["retries"] == 0 && listed["behind"] == 0)
            .then_some(listed)
    });
    assert_eq!((&listed["refusals"], &listed["streams"]), (&REFUSED.into(), &1.into()));
    assert!(listed["run_by"].as_str().is_some_and(|by| by.contains("process ")), "{listed}");
    assert_eq!(
        (&listed["behind_since"], &listed["streams_unknown"]),
        (&Value::Null, &0.into()),
        "{listed}"
    );
    let cursor = &scene.shown()["cursors"][0];
    let last = WANTED + REFUSED + 1;
    assert_eq!((&cursor["i"], &cursor["behind"]), (&last.into(), &0.into()), "{cursor}");
    for held in [
        &["consumer", "seek", "badges", "app.one/0", "3"][..],
        &["consumer", "skip", "badges", "app.one/0", "1"],
        &["consumer", "delete", "badges"],
        &["refused", "retry", "badges"],
    ] {
        let (code, said) = scene.code(held);
        assert!(code == 75 && said.contains("badges is run by"), "{held:?} {said}");
    }
    assert_eq!(scene.refused(), REFUSED as usize);
    let (_, letters, _) = scene.run(&scene.seen, &["consumer", "show", "badges", "--letters"]);
    assert!(
        letters.iter().all(|line| line.contains(", 3 tried, it is said to fail")),
        "{letters:?}"
    );
    let (code, said) = scene.code(&["consumer", "retry", "badges", "--all", "--topic", "app.n"]);
    assert!(code == 0 && said.contains("2 dead letters to be tried again"), "{said}");
    fails(consumer, 2, 1);
    fails(consumer, 2, 3);
}

/// It lags; the journal of the host, a holder, and nobody at all are asked.
fn when_it_has_stopped(scene: &mut Scene) {
    scene.publish(5, "app.n", "later");
    let cursor = &scene.shown()["cursors"][0];
    assert_eq!(cursor["behind"], 5, "{cursor}");
    assert!(cursor["behind_since"].as_str().is_some_and(|at| at.starts_with("20")), "{cursor}");
    assert_eq!(scene.listed()["run_by"], Value::Null);
    let (_, out, _) = scene.run(&scene.seen, &["consumer", "list"]);
    let words: Vec<&str> = out[1].split_whitespace().collect();
    assert!(words[..3] == ["badges", "1", "5"] && words[3].ends_with('s'), "{out:?}");
    let far = ["consumer", "show", "badges", "--json"];
    let cursor = &scene.object(&scene.elsewhere, &far)["cursors"][0];
    assert_eq!(cursor["behind"], 5, "said by the publisher: {cursor}");
    assert!(cursor["behind_since"].is_string(), "{cursor}");
    scene.publisher.stop();
    let soon = [&far[..], &["--timeout", "300ms"]].concat();
    let cursor = &scene.object(&scene.elsewhere, &soon)["cursors"][0];
    assert_eq!(
        (&cursor["behind"], &cursor["behind_unknown"]),
        (&Value::Null, &"no answer".into()),
        "{cursor}"
    );
    let listed = ["consumer", "list", "--json", "--timeout", "300ms"];
    let listed = scene.object(&scene.elsewhere, &listed);
    assert_eq!((&listed["behind"], &listed["streams_unknown"]), (&0.into(), &1.into()), "{listed}");
    let (_, out, _) =
        scene.run(&scene.elsewhere, &["consumer", "show", "badges", "--timeout", "300ms"]);
    assert!(out.last().is_some_and(|line| line.ends_with("unknown  no answer")), "{out:?}");
    let offline = ["consumer", "list", "--offline", "--json"];
    assert_eq!(scene.object(&scene.elsewhere, &offline)["behind"], Value::Null);
    scene.publisher.go_on();
}

/// Refused messages are given when the rule is there, and cursors are moved.
fn what_an_operator_does(scene: &mut Scene) {
    let (code, said) = scene.code(&["refused", "retry", "badges"]);
    assert!(code == 5 && said.contains("3 still refused"), "{said}");
    let rule = "[[publish]]\nservice = \"*\"\ntopics = [\"{prefix}.{env}.app.m\"]\n";
    atomically(&scene.seen.join("policy.d/20-m.toml"), rule);
    let (code, said) = scene.code(&["refused", "retry", "badges"]);
    assert!(code == 0 && said.contains("3 messages to be tried next"), "{said}");
    let shown = scene.shown();
    assert_eq!((&shown["retries"], &shown["refusals"]), (&3.into(), &0.into()));
    let last = WANTED + REFUSED + 1 + 5;
    let to = (last - 10).to_string();
    assert_eq!(scene.code(&["consumer", "seek", "badges", "app.one/0", &to]).0, 0);
    let cursor = &scene.shown()["cursors"][0];
    assert_eq!((&cursor["i"], &cursor["behind"]), (&(last - 10).into(), &10.into()));
    assert_eq!(scene.code(&["consumer", "skip", "badges", "app.one/0", "6"]).0, 0);
    assert_eq!(scene.shown()["cursors"][0]["behind"], 4);
}

#[test]
fn an_operator_sees_and_moves_what_a_real_consumer_has_left() {
    let mut scene = Scene::new();
    let mut consumer = scene.consumer();
    scene.publish(WANTED, "app.n", "wanted");
    scene.publish(REFUSED, "app.m", "refused");
    scene.publish(1, "app.n", "end");
    while_it_runs(&mut scene, &mut consumer);
    assert_eq!(consumer.end().0, 0);
    when_it_has_stopped(&mut scene);
    what_an_operator_does(&mut scene);

    // The three that were refused, and the four behind what was skipped.
    let mut consumer = scene.consumer();
    let (mut refused, mut later) = (Vec::new(), Vec::new());
    while refused.len() < REFUSED as usize || later.len() < 4 {
        let line = consumer.line();
        assert!(!line.starts_with("wrong") && !line.starts_with("fail"), "{line}");
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["done", .., "refused", n] => refused.push(n.to_owned()),
            ["done", .., "later", n] => later.push(n.to_owned()),
            _ => {}
        }
    }
    refused.sort_unstable();
    assert_eq!((refused.join(" "), later.join(" ")), ("1 2 3".into(), "2 3 4 5".into()));
    assert_eq!(consumer.end().0, 0);
    let listed = scene.listed();
    let counts = ["behind", "retries", "refusals", "letters"].map(|name| listed[name].as_u64());
    assert_eq!(counts, [0, 0, 0, 2].map(Some), "{listed}");
    assert_eq!(scene.code(&["consumer", "delete", "badges"]).0, 0);
    let (code, out, _) = scene.run(&scene.seen, &["consumer", "list", "--json"]);
    assert_eq!((code, out.len()), (0, 0));
    let (code, said) = scene.code(&["refused", "list", "badges"]);
    assert!(code == 1 && said.contains("no consumer badges"), "{said}");
}
