//! The power is cut at every call of a story, and again inside the recovery.

use fedmsg::testing::{DiskFault, FaultKind, MemoryDisk};

use crate::story::{Writer, seeds, verify};

fn story(writer: &mut Writer) -> bool {
    for (batches, trim) in [(&[1, 3, 9][..], false), (&[20, 2, 1, 17], true), (&[5, 5, 40], false)]
    {
        match writer.live(batches, trim) {
            Ok(journal) if trim => {
                if journal.close().is_err() {
                    return false;
                }
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    true
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_is_cut() {
    let disk = MemoryDisk::new();
    let mut writer = Writer::new(disk.clone());
    assert!(story(&mut writer), "without faults the story goes to its end");
    let calls = disk.calls();
    verify(&disk, &writer.acknowledged);
    assert!(calls > 100, "{calls} calls");
    let mut went_on = 0;
    for call in 0..calls {
        for seed in 0..seeds(3) {
            went_on += check(call, seed);
        }
    }
    assert!(went_on > calls, "a clean tail mostly goes on in its epoch: {went_on}");
}

fn check(call: u64, seed: u64) -> u64 {
    let disk = MemoryDisk::new();
    let mut writer = Writer::new(disk.clone());
    let fault = DiskFault { call, kind: FaultKind::Crash, for_ever: false };
    disk.fail(Some(fault));
    // What fails may be something that a journal can do without, such as an index.
    story(&mut writer);
    assert!(disk.is_down(), "call {call}");
    disk.restart(seed);
    // Once more inside the recovery, or soon after it.
    let again = disk.calls() + seed * 5;
    disk.fail(Some(DiskFault { call: again, ..fault }));
    if writer.live(&[2, 1], false).is_err() {
        disk.restart(seed + 1_000);
    }
    disk.fail(None);
    let journal = writer.live(&[3, 1], seed.is_multiple_of(2));
    journal.unwrap_or_else(|error| panic!("call {call}, seed {seed}: {error}"));
    verify(&disk, &writer.acknowledged);
    disk.restart(seed + 2_000);
    verify(&disk, &writer.acknowledged);
    writer.went_on
}
