//! `fedmsg-tail`: what its options and exit codes promise.

use std::process::Stdio;

use fedmsg::Draft;
use serde_json::json;

use crate::harness::{Bus, Peer, Program};
use crate::publishing::{publish, subscribed};

fn bus() -> (Bus, fedmsg::Publisher) {
    let bus = Bus::with(&["app.one"]);
    let publisher = bus.publisher("app.one");
    (bus, publisher)
}

#[test]
fn count_ends_it() {
    let (bus, publisher) = bus();
    let mut tail = bus.tail(&["--count", "2", "--format", "%i %t"]);
    subscribed(&publisher, 1);
    for n in 0..3 {
        publish(&publisher, "app.n", n);
    }
    let lines = vec!["1 org.example.dev.app.n".to_owned(), "2 org.example.dev.app.n".to_owned()];
    let (code, out, _) = tail.end();
    assert_eq!((code, out), (0, lines));
}

#[test]
fn a_timeout_without_messages_is_told_by_the_exit_code() {
    let (bus, _publisher) = bus();
    assert_eq!(bus.tail(&["--timeout", "300ms"]).end().0, 4);
}

#[test]
fn strict_tells_rejections_by_the_exit_code() {
    for (strict, expected) in [(true, 3), (false, 143)] {
        let bus = Bus::new(&[]);
        let address = bus.service("app.one", 1).remove(0);
        let peer = Peer::bind(&address);
        let arguments: &[&str] = if strict { &["--strict"] } else { &[] };
        let mut tail = bus.tail(arguments);
        peer.wait();
        peer.send(&[b"org.example.dev.app.n", b"{}"]);
        tail.says("rejected a message");
        tail.term();
        assert_eq!(tail.end().0, expected);
    }
}

#[test]
fn a_reader_that_leaves_is_success() {
    let (bus, publisher) = bus();
    let mut tail = bus.program("fedmsg-tail");
    tail.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = tail.spawn().expect("started");
    subscribed(&publisher, 1);
    drop(child.stdout.take());
    publish(&publisher, "app.n", 1);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn filters_and_excluded_patterns_choose() {
    let (bus, publisher) = bus();
    let filter = r#".headers.severity == "error" and .msg.n > 1"#;
    let mut tail =
        bus.tail(&["app", "--not", "app.noise", "--filter", filter, "--format", "%i %m"]);
    subscribed(&publisher, 1);
    for (n, topic, severity) in [
        (1, "app.real", "error"),
        (2, "app.noise.much", "error"),
        (3, "app.real", "info"),
        (4, "app.real", "error"),
    ] {
        let draft = Draft::new(topic).body(&json!({ "n": n })).header("severity", severity);
        publisher.publish(draft).wait().expect("published");
    }
    assert_eq!(tail.line(), r#"4 {"n":4}"#);
}

#[test]
fn a_wrong_command_line_or_folder_is_told() {
    let bus = Bus::with(&["app.one"]);
    assert_eq!(bus.tail(&["--count", "0"]).end().0, 2);
    let (code, _, errors) = bus.tail_in(&bus.path("nowhere"), &[]).end();
    assert_eq!(code, 1);
    assert!(errors.iter().any(|line| line.contains("nowhere")), "{errors:?}");
}

#[test]
fn the_summary_counts() {
    let (bus, publisher) = bus();
    let mut tail = Program::start({
        let mut tail = bus.program("fedmsg-tail");
        tail.args(["--summary", "--count", "3", "--topics-only"]);
        tail
    });
    subscribed(&publisher, 1);
    for n in 0..3 {
        publish(&publisher, "app.n", n);
    }
    let (code, out, errors) = tail.end();
    assert_eq!((code, out.len()), (0, 3));
    let last = errors.last().expect("a summary");
    assert_eq!(last, "received 3 verified 3 rejected 0 lost 0 stale 0");
}
