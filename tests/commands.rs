//! The other commands of `fedmsg`, run as a person runs them.

use std::process::Output;

use crate::harness::command;

fn run(arguments: &[&str]) -> Output {
    command("fedmsg").args(arguments).output().expect("fedmsg runs")
}

/// Two publishing services, a relay and a tail: the demo compares its own counts, and its exit code says
/// whether they agree.
#[test]
fn the_demo_of_the_readme_counts_what_it_published() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/harness");
    let demo = run(&["demo", "--once", "--repo", folder, "--watch", folder, "--limit", "20"]);
    let (out, err) = (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
    assert!(demo.status.success(), "{err}");
    assert!(err.contains("every count agrees"), "{err}");
    assert!(out.contains("org.example.demo.fs.file.create"), "{out}");
}

#[test]
fn the_demo_of_an_empty_folder_shows_that_it_is_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a path");
    let demo = run(&["demo", "--once", "--repo", path, "--watch", path]);
    let (out, err) = (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
    assert!(demo.status.success(), "{err}");
    assert_eq!(out.matches("fs.folder.open").count(), 2, "one from each service: {out}");
    assert!(err.contains("published 2 ") && err.contains("every count agrees"), "{err}");
    assert!(err.contains("no commits and no files"), "{err}");

    let missing = run(&["demo", "--once", "--watch", "no/such/folder"]);
    let err = String::from_utf8_lossy(&missing.stderr);
    assert_eq!(missing.status.code(), Some(1));
    assert!(err.contains("--watch no/such/folder: there is no such folder"), "{err}");
}

#[test]
fn the_sample_configuration_is_checked_and_explained() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../etc-fedmsg.d");
    let ask = |arguments: &[&str]| {
        let output = run(&[&["--config-dir", sample], arguments].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = ask(&["config", "check"]);
    assert!(code == Some(0) && said.starts_with("ok: "), "{said}");
    let topic = "org.example.prod.bodhi.update.new";
    let (code, said) = ask(&["policy", "explain", "bodhi.backend01", topic]);
    assert!(code == Some(0) && said.contains("policy.d"), "{said}");
    let (code, said) = ask(&["policy", "explain", "koji.hub01", topic]);
    assert!(code == Some(6) && said.starts_with("denied"), "{said}");
}

#[test]
fn completions_and_man_pages_are_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a path");
    for what in ["completions", "man"] {
        assert!(run(&["generate", what, "--out", path]).status.success(), "{what}");
    }
    let names: Vec<String> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    let expected =
        ["fedmsg.1", "fedmsg-publish.1", "fedmsg-relay.1", "fedmsg.bash", "_fedmsg-tail"];
    for expected in expected {
        assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
    }
}
