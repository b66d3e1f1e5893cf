//! A machine that comes back from a snapshot, or with an empty disk, while readers know more than it does.

use std::fs;
use std::process::Command;

use crate::harness::{Bus, Program};

/// The epoch of `sent STREAM EPOCH I RELAY`, and the number.
fn place(sent: &str) -> (String, u64) {
    let words: Vec<&str> = sent.split(' ').collect();
    let ["sent", _, epoch, i, _] = words[..] else { panic!("{sent}") };
    (epoch.into(), i.parse().expect("a number"))
}

/// The epoch and the number of the next message.
fn line(tail: &mut Program) -> (String, u64) {
    let line = tail.json();
    (line["epoch"].as_str().expect("an epoch").into(), line["i"].as_u64().expect("a number"))
}

/// A tail that has seen two messages, a snapshot of the state after the first, and the epoch.
fn seen_two(bus: &Bus) -> (Program, String) {
    let mut tail = bus.tail(&["--json"]);
    let (mut publisher, _) = bus.process("app.one");
    assert_eq!(publisher.ask("subscribers 1"), "subscribers true");
    let (epoch, _) = place(&publisher.ask("app.n {\"n\":1}"));
    assert_eq!(line(&mut tail), (epoch.clone(), 1));
    publisher.kill();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(bus.path("state")).arg(bus.path("snapshot"));
    assert!(copy.status().expect("cp runs").success());
    let (mut publisher, _) = bus.process("app.one");
    assert_eq!(place(&publisher.ask("app.n {\"n\":2}")), (epoch.clone(), 2));
    assert_eq!(line(&mut tail), (epoch.clone(), 2));
    publisher.kill();
    (tail, epoch)
}

#[test]
fn a_publisher_from_a_snapshot_is_shown_by_a_reader_that_it_was_set_back() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    let (mut tail, old) = seen_two(&bus);
    fs::remove_dir_all(bus.path("state")).expect("removed");
    fs::rename(bus.path("snapshot"), bus.path("state")).expect("restored");
    let (mut publisher, ready) = bus.process("app.one");
    assert!(ready.contains(&old), "it does not know that it was set back: {ready}");
    // The reader shows it the second message at once, and hears of the new epoch before it would raise an alarm.
    tail.says("goes on in epoch");
    let (new, i) = place(&publisher.ask("app.n {\"n\":3}"));
    assert!(new > old && i == 1, "{new} {i}");
    assert_eq!(line(&mut tail), (new.clone(), 1));
    publisher.kill();
    let (_publisher, ready) = bus.process("app.one");
    assert!(ready.contains(&new), "{ready}");
}

#[test]
fn a_publisher_whose_disk_was_wiped_begins_anew_and_claims_nothing_of_what_was_before() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    let (mut tail, old) = seen_two(&bus);
    fs::remove_dir_all(bus.path("state")).expect("removed");
    let (mut publisher, _) = bus.process("app.one");
    let (new, i) = place(&publisher.ask("app.n {\"n\":3}"));
    assert!(new > old && i == 1, "{new} {i}");
    assert_eq!(line(&mut tail), (new.clone(), 1));
    tail.says(&format!("how epoch {old} ended is not proven"));
}
