//! `fedmsg journal`: what a publisher kept, seen, checked, and taken to another host.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Bus, Program};
use crate::publishing::publish;

/// Runs it: exit code, stdout, stderr.
fn journal(bus: &Bus, state: &Path, arguments: &[&str]) -> (i32, Vec<String>, Vec<String>) {
    let mut command = bus.program("fedmsg");
    command.env("FEDMSG__BUS__STATE_DIR", state).arg("journal").args(arguments);
    Program::start(command).end()
}

fn objects(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A service that published so many messages and ended.
fn published(count: u64) -> (Bus, PathBuf) {
    let bus = Bus::with(&["app.one"]);
    let publisher = bus.publisher("app.one");
    for n in 1..=count {
        assert_eq!(publish(&publisher, "app.n", n), n);
    }
    publisher.close();
    let state = bus.path("state");
    (bus, state)
}

fn folder(state: &Path) -> PathBuf {
    state.join("streams/app.one/0/journal")
}

fn segments(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(state)).expect("a journal");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect()
}

#[test]
fn a_journal_is_listed_checked_and_printed() {
    let (bus, state) = published(5);
    let (code, out, errors) = journal(&bus, &state, &["list", "--json"]);
    assert_eq!((code, out.len()), (0, 1), "{errors:?}");
    let listed = objects(&out).remove(0);
    assert_eq!(listed["stream"], "app.one/0");
    assert_eq!(
        (&listed["epochs"][0]["first"], &listed["epochs"][0]["last"]),
        (&0.into(), &5.into())
    );
    assert_eq!(listed["segments"], 1);
    let (_, out, _) = journal(&bus, &state, &["list"]);
    assert!(out[0].starts_with("STREAM") && out[1].starts_with("app.one/0 "), "{out:?}");

    let (code, out, errors) = journal(&bus, &state, &["check"]);
    let good = "app.one/0: good: 1 epoch, 1 segment, 6 records, all verified";
    assert_eq!((code, out), (0, vec![good.to_owned()]), "{errors:?}");

    let (code, out, _) = journal(&bus, &state, &["cat", "app.one/0", "--from", "2", "--to", "4"]);
    assert_eq!((code, out.len()), (0, 3));
    assert!(
        out[0].trim_start().starts_with("2 ") && out[0].contains("org.example.dev.app.n"),
        "{out:?}"
    );
    let (_, out, _) = journal(&bus, &state, &["cat", "app.one/0", "--json"]);
    let records = objects(&out);
    let numbers: Vec<&Value> = records.iter().map(|record| &record["i"]).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    assert!(records.iter().all(|record| record["verdict"] == "verified"), "{records:?}");
    let (_, out, _) = journal(&bus, &state, &["cat", "app.one/0", "--raw", "--from", "5"]);
    assert_eq!(objects(&out)[0]["i"], 5);

    let folder = folder(&state);
    let by_folder = ["check", "--folder", folder.to_str().expect("a path"), "--no-verify"];
    let (code, out, _) = journal(&bus, &state, &by_folder);
    assert!(code == 0 && out[0].ends_with("signatures left out"), "{out:?}");
    let (code, _, errors) = journal(&bus, &state, &["cat", "app.one/7"]);
    assert!(code == 1 && errors[0].contains("no journal of app.one/7"), "{errors:?}");
    assert_eq!(journal(&bus, &state, &["cat"]).0, 2);
}

#[test]
fn one_flipped_byte_is_found_with_its_file_and_its_number() {
    let (bus, state) = published(5);
    let path = segments(&state).remove(0);
    let mut bytes = fs::read(&path).expect("read");
    let body = br#"{"n":3}"#;
    let at = bytes.windows(body.len()).position(|window| window == body).expect("number 3");
    bytes[at + 5] ^= 1;
    fs::write(&path, bytes).expect("written");

    let (code, out, errors) = journal(&bus, &state, &["check"]);
    assert_eq!((code, out.len()), (3, 1), "{out:?} {errors:?}");
    assert!(out[0].starts_with("app.one/0: damage: numbers 3 to 3 of epoch "), "{out:?}");
    assert!(out[0].ends_with(path.to_str().expect("a path")), "{out:?}");
    let (code, out, _) = journal(&bus, &state, &["check", "--json"]);
    let found = objects(&out).remove(0);
    assert_eq!((code, &found["damaged"]), (3, &true.into()));
    assert_eq!((&found["unreadable"][0]["from"], &found["verified"]), (&3.into(), &5.into()));

    let (code, out, errors) = journal(&bus, &state, &["cat", "app.one/0"]);
    assert_eq!((code, out.len()), (3, 6), "{out:?}");
    assert_eq!(out[3].trim_start(), "3 UNREADABLE up to 3");
    assert!(errors[0].contains("numbers 3 to 3"), "{errors:?}");
    let file = bus.path("part.fmx");
    let name = file.to_str().expect("a path");
    let (code, _, errors) = journal(&bus, &state, &["export", "app.one/0", name]);
    assert!(code == 3 && errors[0].contains("numbers 3 to 3"), "{errors:?}");
    assert!(!file.exists());
    let (code, _, _) = journal(&bus, &state, &["export", "app.one/0", name, "--to", "2"]);
    assert_eq!(code, 0);
}

#[test]
fn what_a_host_does_not_trust_or_allow_is_reported_as_that_and_not_as_damage() {
    let (bus, state) = published(3);
    let rule = "[[deny]]\nservice = \"app\"\ntopics = [\"{prefix}.{env}.app.>\"]\n";
    fs::write(bus.path("etc/policy.d/deny.toml"), rule).expect("written");
    let (code, out, _) = journal(&bus, &state, &["check"]);
    assert!(code == 6 && out[0].contains("policy: 3 records refused"), "{out:?}");
    fs::remove_file(bus.path("etc/keys.d/app.one.toml")).expect("removed");
    let (code, out, _) = journal(&bus, &state, &["check"]);
    assert_eq!((code, out.len()), (5, 1));
    assert!(out[0].contains("key: 4 records refused, no trusted key of this id ("), "{out:?}");
    let (code, out, _) = journal(&bus, &state, &["cat", "app.one/0"]);
    assert!(code == 0 && out.iter().all(|line| line.contains("REJECTED")), "{out:?}");
}

#[test]
fn an_export_is_imported_elsewhere_once_and_never_over_something_else() {
    let (bus, state) = published(5);
    let (file, other) = (bus.path("app.fmx"), bus.path("elsewhere"));
    let name = file.to_str().expect("a path");
    let (code, out, errors) = journal(&bus, &state, &["export", "app.one/0", name]);
    assert!(code == 0 && out.is_empty(), "{errors:?}");
    assert_eq!(errors, ["app.one/0: 6 records exported"]);
    let (code, _, errors) = journal(&bus, &state, &["export", "app.one/0", name]);
    assert!(code == 1 && errors[0].contains(name), "nothing is overwritten: {errors:?}");

    let (code, _, errors) = journal(&bus, &other, &["import", name]);
    assert!(code == 0 && errors[0].starts_with("app.one/0: 6 records imported"), "{errors:?}");
    let raw = |state: &Path| journal(&bus, state, &["cat", "app.one/0", "--raw"]).1;
    assert_eq!(raw(&other), raw(&state));
    assert_eq!(journal(&bus, &other, &["check"]).0, 0);
    let (code, _, errors) = journal(&bus, &other, &["import", name]);
    assert!(code == 0 && errors[0].contains("is there already"), "{errors:?}");

    // A folder of somebody's own, by a relative path.
    let mut command = bus.program("fedmsg");
    command.args(["journal", "import", name, "--folder", "copy/"]).current_dir(bus.path("etc"));
    assert_eq!(Program::start(command).end().0, 0);
    let copy = bus.path("etc/copy");
    let by_folder = ["cat", "--raw", "--folder", copy.to_str().expect("a path")];
    assert_eq!(journal(&bus, &state, &by_folder).1, raw(&state));
    fs::remove_dir_all(copy).expect("removed");

    // The publisher went on; what is elsewhere is older and stays as it is.
    let publisher = bus.publisher("app.one");
    let (code, _, errors) = journal(&bus, &state, &["import", name]);
    assert!(code == 75 && errors[0].contains("a publisher is at work on app.one/0"), "{errors:?}");
    publish(&publisher, "app.n", 6);
    publisher.close();
    let more = bus.path("more.fmx");
    let more = more.to_str().expect("a path");
    assert_eq!(journal(&bus, &state, &["export", "app.one/0", more]).0, 0);
    let before = raw(&other);
    let (code, _, errors) = journal(&bus, &other, &["import", more]);
    assert!(code == 1 && errors[0].contains("number 6 of epoch"), "{errors:?}");
    assert_eq!(raw(&other), before);
}

#[test]
fn what_cannot_be_verified_is_not_imported() {
    let (bus, state) = published(3);
    let file = bus.path("app.fmx");
    let name = file.to_str().expect("a path");
    assert_eq!(journal(&bus, &state, &["export", "app.one/0", name]).0, 0);
    let bytes = fs::read(&file).expect("read");
    let other = bus.path("elsewhere");
    let nothing =
        || !folder(&other).exists() && !other.join("streams/app.one/0/journal.import").exists();

    fs::write(&file, &bytes[..bytes.len() - 1]).expect("written");
    let (code, _, errors) = journal(&bus, &other, &["import", name]);
    assert!(code == 3 && errors[0].contains("cut off") && nothing(), "{errors:?}");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    fs::write(&file, flipped).expect("written");
    let (code, _, errors) = journal(&bus, &other, &["import", name]);
    assert!(code == 3 && errors[0].contains("damaged") && nothing(), "{errors:?}");
    fs::write(&file, "hello").expect("written");
    let (code, _, errors) = journal(&bus, &other, &["import", name]);
    assert!(code == 1 && errors[0].contains("no export of a journal"), "{errors:?}");

    fs::write(&file, bytes).expect("written");
    fs::remove_file(bus.path("etc/keys.d/app.one.toml")).expect("removed");
    let (code, _, errors) = journal(&bus, &other, &["import", name]);
    assert!(code == 5 && errors[0].contains("no trusted key") && nothing(), "{errors:?}");
}
