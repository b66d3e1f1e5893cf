//! The proof must be able to fail: bugs that are built in on purpose are found.
//!
//! Only with `RUSTFLAGS="--cfg planted_bugs"`, into a folder of its own:
//!
//! ```text
//! RUSTFLAGS="--cfg planted_bugs" cargo test --release --target-dir target/planted -p fedmsg-simulator --test planted
//! ```
#![cfg(planted_bugs)]

use std::process::{Command, Output};

/// So many seeds find a bug.
const SEEDS: u64 = 2_000;

/// Each bug, and the first of the seeds that find it.
const BUGS: &[(&str, u64)] = &[
    // The publisher.
    ("answer-before-sync", 0),
    ("show-before-sync", 0),
    ("heartbeat-beyond-the-disk", 0),
    // The journal.
    ("no-sync", 0),
    ("no-folder-sync", 0),
    ("number-reused-after-a-crash", 0),
    ("truncate-in-the-middle", 0),
    ("keep-behind-a-hole", 1_000),
    // Whoever asks for what is missing.
    ("silence-is-an-answer", 0),
    ("one-word-is-enough", 0),
    // The reader.
    ("signature-not-checked", 0),
    ("epoch-ignored", 0),
    ("old-epoch-left-early", 0),
    ("gap-off-by-one", 0),
    ("lost-without-asking", 0),
    ("heartbeat-without-the-tail", 0),
    ("chain-not-checked", 0),
    ("first-of-many-only", 0),
    ("behind-is-a-denial", 0),
    ("not-kept-although-copied", 0),
    // The durable consumer.
    ("cursor-before-effect", 0),
    // The relay.
    ("relay-answers-before-sync", 0),
    ("relay-publishes-before-sync", 0),
    ("relay-shows-before-it-verifies", 0),
    ("relay-allows-by-default", 0),
    ("relay-encodes-again", 0),
    ("receipt-for-another-record", 0),
    ("log-without-sync", 0),
    // Relays that follow.
    ("follow-never-ends", 0),
    // The outbox.
    ("delivered-when-asked", 0),
];

fn simulate(bug: &str, from: u64, seeds: u64) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedmsg-simulator"));
    let (from, seeds) = (from.to_string(), seeds.to_string());
    command.args(["--first", "--from", &from, "--seeds", &seeds]).env("FEDMSG_BUG", bug);
    command.output().expect("the simulator runs")
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for (bug, from) in BUGS {
        let output = simulate(bug, *from, SEEDS);
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
    let last = BUGS.iter().map(|(_, from)| *from).max().expect("there are bugs");
    let output = simulate("none", 0, last + SEEDS);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
}
