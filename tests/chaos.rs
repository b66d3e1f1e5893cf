//! The demo that kills what it is made of.

use std::process::Output;

use crate::harness::command;

fn demo(arguments: &[&str]) -> (Output, String) {
    let folder = env!("CARGO_MANIFEST_DIR");
    let mut demo = command("fedmsg");
    demo.args(["demo", "--chaos", "--once", "--repo", folder, "--watch", folder]);
    let output = demo.args(arguments).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[test]
fn nothing_is_lost_though_publishers_relay_and_tail_are_killed() {
    let (output, said) = demo(&["--rounds", "6", "--seed", "4711"]);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("every count agrees") && said.contains("lost      0"), "{said}");
    // The seed decides who is killed.
    assert!(
        said.contains("relay     killed 4 times") && said.contains("a tail, killed 2 times"),
        "{said}"
    );
    let shown = String::from_utf8_lossy(&output.stdout).lines().count();
    let published = said.lines().find_map(|line| line.strip_prefix("published "));
    let published = published.and_then(|line| line.split(' ').next()?.parse().ok());
    assert_eq!(published, Some(shown), "each is shown once: {said}");
}

#[test]
fn chaos_has_options_of_its_own() {
    let mut demo = command("fedmsg");
    let output = demo.args(["demo", "--seed", "1"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "only --chaos has a seed");
}
