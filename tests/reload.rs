//! The configuration changes while a tail runs.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Bus, atomically};
use crate::publishing::{publish, subscribed};

const IN_FORCE: &str = "is in force";

#[test]
fn an_endpoint_is_added_moved_and_removed() {
    let bus = Bus::with(&["app.one"]);
    let mut tail = bus.tail(&["--format", "%s %i"]);
    let one = bus.publisher("app.one");
    subscribed(&one, 1);

    bus.service("web.two", 1);
    let two = bus.publisher("web.two");
    subscribed(&two, 1);
    publish(&two, "web.n", 1);
    assert_eq!(tail.line(), "web.two 1");

    two.close();
    bus.entry("web.two", 1);
    let moved = bus.publisher("web.two");
    subscribed(&moved, 1);
    publish(&moved, "web.n", 2);
    assert_eq!(tail.line(), "web.two 2", "the stream goes on where it was");

    fs::remove_file(bus.entry_path("web.two")).expect("removed");
    tail.says(IN_FORCE);
    publish(&one, "app.n", 1);
    assert_eq!(tail.line(), "app.one 1", "the connection of another endpoint stays");
}

#[test]
fn a_key_is_added_and_removed() {
    let bus = Bus::with(&["app.one"]);
    let folder = bus.copy("tail");
    let key = folder.join("keys.d/app.one.toml");
    let text = fs::read_to_string(&key).expect("a key file");
    fs::remove_file(&key).expect("removed");
    let mut tail = bus.tail_in(&folder, &["--format", "%s %i", "--log-format", "json"]);
    let publisher = bus.publisher("app.one");
    subscribed(&publisher, 1);
    publish(&publisher, "app.n", 1);
    tail.says("no trusted key of this id");
    atomically(&key, &text);
    tail.says(IN_FORCE);
    publish(&publisher, "app.n", 2);
    assert_eq!(tail.line(), "app.one 2");
    fs::remove_file(&key).expect("removed");
    tail.says(IN_FORCE);
    publish(&publisher, "app.n", 3);
    atomically(&key, &text);
    tail.says(IN_FORCE);
    publish(&publisher, "app.n", 4);
    assert_eq!(tail.line(), "app.one 4");
}

#[test]
fn a_deny_rule_is_added() {
    let bus = Bus::with(&["app.one"]);
    let folder = bus.copy("tail");
    let mut tail = bus.tail_in(&folder, &["--format", "%s %i"]);
    let publisher = bus.publisher("app.one");
    subscribed(&publisher, 1);
    publish(&publisher, "app.secret", 1);
    assert_eq!(tail.line(), "app.one 1");
    let deny = "[[deny]]\nservice = \"*\"\ntopics = [\"{prefix}.{env}.app.secret\"]\n";
    atomically(&folder.join("policy.d/50-deny.toml"), deny);
    tail.says(IN_FORCE);
    publish(&publisher, "app.secret", 2);
    tail.says("the policy does not allow it");
    publish(&publisher, "app.n", 3);
    assert_eq!(tail.line(), "app.one 3");
}

#[test]
fn a_half_written_file_changes_nothing_and_is_told() {
    let bus = Bus::with(&["app.one"]);
    let mut tail = bus.tail(&["--format", "%s %i"]);
    let publisher = bus.publisher("app.one");
    subscribed(&publisher, 1);
    let path = bus.entry_path("app.one");
    let text = fs::read_to_string(&path).expect("the entry");
    fs::write(&path, &text[..text.len() / 2]).expect("written");
    tail.says("the configuration is broken, the last good one stays in force");
    publish(&publisher, "app.n", 1);
    assert_eq!(tail.line(), "app.one 1");
    atomically(&path, &text);
    tail.says(IN_FORCE);
    publish(&publisher, "app.n", 2);
    assert_eq!(tail.line(), "app.one 2");
}

#[test]
fn the_folder_is_swapped_by_a_symlink() {
    let bus = Bus::with(&["app.one"]);
    let old = bus.copy("release-1");
    bus.service("web.two", 1);
    let new = bus.copy("release-2");
    let current = bus.path("current");
    symlink(&old, &current).expect("a link");
    let mut tail = bus.tail_in(&current, &["--format", "%s %i"]);
    let one = bus.publisher("app.one");
    subscribed(&one, 1);
    symlink(&new, bus.path("next")).expect("a link");
    fs::rename(bus.path("next"), &current).expect("renamed");
    let two = bus.publisher("web.two");
    subscribed(&two, 1);
    publish(&two, "web.n", 1);
    assert_eq!(tail.line(), "web.two 1");
}
