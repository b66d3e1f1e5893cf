//! The power is cut at every call of a story, and again inside the recovery.

use fedmsg::testing::{DiskFault, FaultKind, MemoryDisk};

use crate::world::{Relay, at, seeds, settings};

/// Three lives: killed, closed, and one with retention. Says whether it came to its end.
fn story(relay: &mut Relay) -> bool {
    if relay.live(&[1, 3, 9, 2]).is_err() {
        return false;
    }
    match relay.live(&[20, 2, 1]) {
        Ok(log) => {
            if log.close().is_err() {
                return false;
            }
        }
        Err(_) => return false,
    }
    let Ok(mut log) = relay.live(&[5, 12]) else { return false };
    relay.trimmable = relay.acknowledged.len();
    log.retain(at(relay.time)).is_ok() && relay.append(&mut log, 6).is_ok()
}

fn relay(disk: MemoryDisk) -> Relay {
    let settings = fedmsg::log::Settings { keep_bytes: 22_000, ..settings() };
    Relay { settings, ..Relay::new(disk) }
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_is_cut() {
    let disk = MemoryDisk::new();
    let mut quiet = relay(disk.clone());
    assert!(story(&mut quiet), "without faults the story goes to its end");
    let calls = disk.calls();
    quiet.verify_on_disk();
    assert!(calls > 100, "{calls} calls");
    for call in 0..calls {
        for seed in 0..seeds(6) {
            check(call, seed);
        }
    }
}

fn check(call: u64, seed: u64) {
    let disk = MemoryDisk::new();
    let mut relay = relay(disk.clone());
    let fault = DiskFault { call, kind: FaultKind::Crash, for_ever: false };
    disk.fail(Some(fault));
    // What fails may be something that a log can do without, such as an index.
    story(&mut relay);
    assert!(disk.is_down(), "call {call}");
    disk.restart(seed);
    // Once more inside the recovery, or soon after it.
    let again = disk.calls() + seed * 5;
    disk.fail(Some(DiskFault { call: again, ..fault }));
    if relay.live(&[2, 1]).is_err() {
        disk.restart(seed + 1_000);
    }
    disk.fail(None);
    let log = relay.live(&[3, 1]);
    let log = log.unwrap_or_else(|error| panic!("call {call}, seed {seed}: {error}"));
    relay.verify(&log);
    if seed.is_multiple_of(2) {
        log.close().unwrap_or_else(|error| panic!("call {call}, seed {seed}: {error}"));
    }
    disk.restart(seed + 2_000);
    relay.verify_on_disk();
}

#[test]
fn what_an_open_found_is_durable_before_it_is_told() {
    // The process dies between a write and its sync, and the next one finds the bytes in the system's memory.
    let disk = MemoryDisk::new();
    let mut relay = Relay::new(disk.clone());
    let mut log = relay.live(&[3, 4]).expect("lives");
    let before = relay.acknowledged.len();
    disk.fail(Some(DiskFault { call: disk.calls() + 1, kind: FaultKind::Io, for_ever: true }));
    let error = relay.append(&mut log, 5).expect_err("the sync fails, and everything behind it");
    assert!(error.to_string().contains("/state/log/"), "{error}");
    assert!(log.metrics(at(0)).degraded);
    drop(log);
    disk.fail(None);
    let log = relay.open().expect("opens");
    let found = crate::world::serve_all(&log.reader());
    assert!(found.len() >= before);
    disk.restart(0);
    let log = relay.open().expect("opens");
    assert_eq!(crate::world::serve_all(&log.reader()), found, "what was there once stays there");
    relay.verify(&log);
}
