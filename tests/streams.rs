//! `fedmsg streams`: who is alive, how far, and who sees another configuration.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{Bus, Program};

/// Runs it: the exit code, one object for each stream, and what it says beside.
fn streams(bus: &Bus, arguments: &[&str]) -> (i32, BTreeMap<String, Value>, Vec<String>) {
    let mut command = bus.program("fedmsg");
    command.args(["streams", "--json"]).args(arguments);
    let (code, out, errors) = Program::start(command).end();
    let object = |line: &String| {
        let object: Value = serde_json::from_str(line).expect("JSON");
        (object["stream"].as_str().expect("a stream").to_owned(), object)
    };
    (code, out.iter().map(object).collect(), errors)
}

#[test]
fn it_shows_who_is_alive_how_far_and_who_sees_something_else() {
    let bus = Bus::with(&["app.one", "web.two", "idle.three"]);
    // The folder of one host was changed, or not yet.
    let other = bus.copy("other");
    fs::write(
        other.join("policy.d/50-more.toml"),
        "[[deny]]\nservice = \"x\"\ntopics = [\"a.b\"]\n",
    )
    .expect("written");
    let (mut one, _) = bus.process("app.one");
    let (mut two, ready) = bus.process_in(&other, "web.two");
    for (publisher, topic, count) in [(&mut one, "app.n", 3), (&mut two, "web.n", 1)] {
        for i in 1..=count {
            assert!(publisher.ask(&format!("{topic} {{}}")).ends_with(&format!(" {i} -")));
        }
    }
    let (code, seen, errors) = streams(&bus, &[]);
    assert_eq!((code, seen.len()), (0, 2), "the third one does not run: {seen:?}, {errors:?}");
    let (first, second) = (&seen["app.one/0"], &seen["web.two/0"]);
    assert_eq!((&first["last"], &second["last"]), (&json!(3), &json!(1)));
    assert_eq!((&first["state"], &first["level"]), (&json!("open"), &json!("local")));
    assert_ne!(first["head"], second["head"]);
    assert!(ready.contains(second["epoch"].as_str().expect("an epoch")), "{ready}");
    assert_eq!(second["endpoints"], json!(["web.two"]));
    assert_eq!(
        (&first["config_differs"], &second["config_differs"]),
        (&json!(false), &json!(true))
    );
    assert_ne!(first["config"], second["config"]);
    let summary = errors.last().expect("a summary");
    assert!(summary.contains("2 streams") && summary.contains("(web.two/0)"), "{summary}");
}

#[test]
fn that_nobody_is_alive_is_told_by_the_exit_code() {
    let bus = Bus::with(&["app.one"]);
    let (code, seen, errors) = streams(&bus, &["--timeout", "300ms"]);
    assert_eq!((code, seen.len()), (4, 0), "{errors:?}");
}
