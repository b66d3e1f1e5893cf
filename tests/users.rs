//! Three users and one group on a host: a relay serves the journals of services that are gone, and nobody writes what
//! is another one's. Needs root, who alone can be everybody.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Bus, PATIENCE, Program, command, not_run, succeeds};

const GROUP: u32 = 5_000;
const RELAY: u32 = 5_001;
const APP: u32 = 5_002;
const LOG: u32 = 5_003;
/// Somebody who is not in the group.
const STRANGER: (u32, u32) = (5_004, 5_004);

/// The same command as another user of the group.
fn as_user(user: u32, command: &Command) -> Command {
    as_anybody((user, GROUP), command)
}

fn as_anybody((user, group): (u32, u32), command: &Command) -> Command {
    let mut other = Command::new("setpriv");
    other.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]);
    other.arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    // What root may read says nothing about others.
    other.current_dir("/");
    other
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("it is there").permissions().mode() & 0o7777
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// The host: its configuration is everybody's to read, each key is its owner's alone, and the folder for state is as
/// the group shares it.
fn bus() -> Bus {
    let bus = Bus::new(&["relay.one"]);
    bus.key("log.one");
    bus.service("app.one", 1);
    for folder in [bus.path(""), bus.etc()] {
        allow(&folder, 0o755);
    }
    // The sockets of the relay are made here, by the relay.
    chown(bus.path(""), None, Some(GROUP)).expect("chgrp");
    allow(&bus.path(""), 0o775);
    allow(&bus.path("etc/private"), 0o711);
    for (identity, user) in [("relay.one", RELAY), ("app.one", APP), ("log.one", LOG)] {
        let key = bus.path(&format!("etc/private/{identity}.key"));
        chown(key, Some(user), Some(GROUP)).expect("chown");
    }
    for (folder, named) in
        [("state", "/var/lib/fedmsg"), ("state/streams", "/var/lib/fedmsg/streams")]
    {
        fs::create_dir(bus.path(folder)).expect("a folder");
        chown(bus.path(folder), Some(RELAY), Some(GROUP)).expect("chown");
        // Everybody of the group makes folders in it, and removes his own alone; what is in them is the group's.
        allow(&bus.path(folder), packaged_mode(named));
    }
    bus
}

/// The mode of a folder in what packages install.
fn packaged_mode(folder: &str) -> u32 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/tmpfiles.d/fedmsg.conf");
    let text = fs::read_to_string(path).expect("systemd/tmpfiles.d/fedmsg.conf");
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mode = lines.filter(|words| words.first() == Some(&"d") && words[1] == folder);
    let modes: Vec<u32> =
        mode.map(|words| u32::from_str_radix(words[2], 8).expect("octal")).collect();
    assert_eq!(modes.len(), 1, "one line for {folder}");
    modes[0]
}

/// systemd gives the folder of state its mode at each start of a unit.
#[test]
fn units_leave_the_folder_of_state_as_it_was_made() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd");
    let mut seen = 0;
    for unit in ["fedmsg-relay.service", "fedmsg-outbox.service"] {
        let text = fs::read_to_string(units.join(unit)).expect(unit);
        for mode in text.lines().filter_map(|line| line.strip_prefix("StateDirectoryMode=")) {
            let mode = u32::from_str_radix(mode, 8).expect("octal");
            assert_eq!(mode, packaged_mode("/var/lib/fedmsg"), "{unit}");
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}

fn numbers(lines: &[String]) -> Vec<u64> {
    let number = |line: &String| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["message"]["msg"]["n"].as_u64().unwrap_or_else(|| panic!("{line}"))
    };
    let mut numbers: Vec<u64> = lines.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Whether this is root, and others may run the programs.
fn may_be_others(program: &Command) -> bool {
    let mut look = Command::new("test");
    look.arg("-x").arg(program.get_program());
    let may = succeeds(&mut as_user(APP, &look));
    if !may {
        not_run("users", "root and setpriv are needed, and programs that others may run");
    }
    may
}

fn start(user: u32, command: &Command) -> Program {
    Program::start(as_user(user, command))
}

#[test]
fn a_relay_serves_what_other_users_of_its_group_have_kept() {
    let publisher = command("examples/publisher");
    if !may_be_others(&publisher) {
        return;
    }
    let bus = bus();
    let mut relay = bus.program("fedmsg-relay");
    relay.args(["--identity", "relay.one"]);
    let mut relay = start(RELAY, &relay);
    relay.says(" ready ");
    let mut app = publisher;
    app.arg(bus.etc()).arg("app.one");
    let mut app = start(APP, &app);
    let ready = app.line();
    assert!(ready.starts_with("ready "), "{ready}");
    for n in 1..=3 {
        assert!(app.ask(&format!("app.n {{\"n\":{n}}}")).starts_with("sent "));
    }
    // It is gone, and has no address where it could be asked.
    app.kill();
    let mut publish = bus.program("fedmsg");
    publish.env("FEDMSG_IDENTITY", "log.one");
    publish.args(["publish", "log.n", "{\"n\":4}", "--wait", "stored", "--timeout", "20s"]);
    let (code, _, errors) = start(LOG, &publish).end();
    assert_eq!(code, 0, "{errors:?}");

    // A stranger reads from the bus, and nothing from the disk.
    let mut tail = bus.program("fedmsg-tail");
    tail.args(["--all", "--no-follow", "--strict", "--json"]);
    let state = bus.path("stranger");
    fs::create_dir(&state).expect("a folder");
    chown(&state, Some(STRANGER.0), Some(STRANGER.1)).expect("chown");
    tail.env("FEDMSG_STATE_DIR", &state);
    let (code, lines, errors) = Program::start(as_anybody(STRANGER, &tail)).end_within(PATIENCE);
    assert_eq!((code, numbers(&lines)), (0, vec![1, 2, 3, 4]), "{errors:?}");

    let journal = bus.path("state/streams/app.one/0/journal");
    for folder in
        [&journal, &bus.path("state/streams/app.one/0"), &bus.path("state/streams/app.one")]
    {
        assert_eq!(mode(folder), 0o2750, "{}", folder.display());
    }
    let may = |who, what: &str, path: &Path| {
        let mut test = Command::new("test");
        test.arg(what).arg(path);
        succeeds(&mut as_anybody(who, &test))
    };
    assert!(may((RELAY, GROUP), "-r", &journal) && !may((RELAY, GROUP), "-w", &journal));
    assert!(may((LOG, GROUP), "-r", &journal) && !may((LOG, GROUP), "-w", &journal));
    assert!(!may(STRANGER, "-r", &journal) && !may(STRANGER, "-x", &bus.path("state")));
}

/// Without a folder that the group shares, the second user is told what is missing.
#[test]
fn a_folder_that_is_another_users_alone_is_said() {
    if !may_be_others(&command("examples/publisher")) {
        return;
    }
    let bus = bus();
    chown(bus.path("state/streams"), Some(LOG), None).expect("chown");
    allow(&bus.path("state/streams"), 0o2750);
    let mut publish = bus.program("fedmsg");
    publish.env("FEDMSG_IDENTITY", "app.one").args(["publish", "app.n", "{\"n\":1}"]);
    let (code, _, errors) = start(APP, &publish).end();
    let path = bus.path("state/streams/app.one");
    let said = errors.join("\n");
    assert!(code != 0 && said.contains(&path.display().to_string()), "{code}: {said}");
    // Once the group shares it, nothing else is needed.
    allow(&bus.path("state/streams"), packaged_mode("/var/lib/fedmsg/streams"));
    let (code, _, errors) = start(APP, &publish).end();
    assert_eq!(code, 0, "{errors:?}");
}
