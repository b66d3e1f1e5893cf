//! `fedmsg bench`, at a small size: what it measures is there, and nothing is lost.

use std::fs;
use std::time::Duration;

use crate::harness::{Program, command};

/// A reader gives a silent connection up after 15 s, and that is waited for twice.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn what_was_published_without_a_path_is_back_in_time() {
    // A disk: where temporary files are may be memory, which is refused.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut bench = command("fedmsg");
    bench.args(["bench", "repair", "--json", "--messages", "20000", "--size", "200", "--folder"]);
    bench.arg(folder.path());
    let mut bench = Program::start(bench);
    let (code, said, errors) = bench.end_within(PATIENCE);
    assert_eq!(code, 0, "{said:?} {errors:?}");
    for (name, line) in ["repair", "repair last"].iter().zip(&said) {
        let figure: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(figure["figure"], *name, "{line}");
        assert_eq!((&figure["verdict"], &figure["lost"]), (&"pass".into(), &0.into()), "{line}");
    }
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left there");
}

/// The figures of a relay, at a size that says nothing about speed: what was put is stored, and what was stored comes.
#[test]
fn a_relay_is_measured() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    for (which, names) in [
        ("put", &["put"][..]),
        ("hop", &["hop"]),
        ("carried", &["carried", "carried growth"]),
        ("command", &["command"]),
    ] {
        let mut bench = command("fedmsg");
        bench.args(["bench", which, "--json", "--messages", "2000", "--size", "200", "--folder"]);
        bench.arg(folder.path());
        let (code, said, errors) = Program::start(bench).end_within(PATIENCE);
        // A figure that is short is code 1: an unoptimised build may be.
        assert!(code == 0 || code == 1, "{which}: {code} {said:?} {errors:?}");
        assert_eq!(said.len(), names.len(), "{which}: {said:?} {errors:?}");
        for (name, line) in names.iter().zip(&said) {
            let figure: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(figure["figure"], *name, "{line}");
            assert_eq!((&figure["lost"], &figure["duplicates"]), (&0.into(), &0.into()), "{line}");
            if which == "carried" {
                assert_eq!(figure["verdict"], "pass", "{line}");
            }
        }
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left there");
}
