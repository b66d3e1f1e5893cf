//! The proof must be able to fail: bugs that are built in on purpose are found.
//!
//! Only with `RUSTFLAGS="--cfg planted_bugs"`, into a folder of its own:
//!
//! ```text
//! RUSTFLAGS="--cfg planted_bugs" cargo test --release --target-dir target/planted -p fedmsg-simulator --test planted
//! ```
#![cfg(planted_bugs)]

use std::process::{Command, Output};

/// Each bug, and the seeds within which it is found.
const BUGS: &[(&str, u64)] = &[
    // The publisher.
    ("answer-before-sync", 2_000),
    ("show-before-sync", 2_000),
    ("heartbeat-beyond-the-disk", 2_000),
    // The journal.
    ("no-sync", 2_000),
    ("no-folder-sync", 2_000),
    ("number-reused-after-a-crash", 2_000),
    ("truncate-in-the-middle", 2_000),
    ("keep-behind-a-hole", 2_400),
    // Whoever asks for what is missing.
    ("silence-is-an-answer", 2_000),
    ("one-word-is-enough", 2_000),
    // The reader.
    ("signature-not-checked", 2_000),
    ("epoch-ignored", 2_000),
    ("old-epoch-left-early", 2_000),
    ("gap-off-by-one", 2_000),
    ("lost-without-asking", 2_000),
    ("heartbeat-without-the-tail", 2_000),
    ("chain-not-checked", 2_000),
    ("first-of-many-only", 2_000),
    ("behind-is-a-denial", 2_000),
    ("not-kept-although-copied", 2_000),
    // The durable consumer.
    ("cursor-before-effect", 2_000),
    // The relay.
    ("relay-answers-before-sync", 2_000),
    ("relay-publishes-before-sync", 2_000),
    ("relay-shows-before-it-verifies", 2_000),
    ("relay-allows-by-default", 2_000),
    ("relay-encodes-again", 2_000),
    ("receipt-for-another-record", 2_000),
    ("log-without-sync", 2_000),
    // Relays that follow.
    ("follow-never-ends", 2_000),
    // The outbox.
    ("delivered-when-asked", 2_000),
];

fn simulate(bug: &str, seeds: u64) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedmsg-simulator"));
    command.args(["--first", "--seeds", &seeds.to_string()]).env("FEDMSG_BUG", bug);
    command.output().expect("the simulator runs")
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for (bug, seeds) in BUGS {
        let output = simulate(bug, *seeds);
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{bug}: {}", text.lines().next().unwrap_or("nothing was said"));
        if output.status.code() != Some(1) {
            missed.push(*bug);
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn without_a_bug_the_same_seeds_are_right() {
    let most = BUGS.iter().map(|(_, seeds)| *seeds).max().expect("there are bugs");
    let output = simulate("none", most);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
}
