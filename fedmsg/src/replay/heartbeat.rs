//! The newest heartbeat of a stream, kept beside its journal: what is shown of a stream whose process is
//! gone. It is signed, so whoever reads it need not trust the file, and neither does this.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::small_file::{get, put};
use crate::envelope::{Kind, Wire};
use crate::journal::Disk;
use crate::limits::{HEARTBEAT_FILE_BYTES_MAX, TOPIC_BYTES_MAX};

const FILE: &str = "heartbeat";

/// A heartbeat that could not be saved.
#[derive(Debug, thiserror::Error)]
#[error("saving the heartbeat {path}: {error}", path = path.display())]
pub struct SaveError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

/// Puts a heartbeat in the place of the one before, in the folder of a slot. A reader finds the old or the
/// new one.
///
/// It is synced before it gets its name: after a power cut there may be an older one or none, which readers
/// need only to know sooner how far the stream is, but never half of one, for which they would blame whoever
/// shows it. Fails for a heartbeat of more than 64 KiB.
pub fn save_heartbeat(disk: &dyn Disk, slot: &Path, heartbeat: &Wire) -> Result<(), SaveError> {
    let path = slot.join(FILE);
    let bytes = [&heartbeat.topic[..], b"\n", &heartbeat.envelope[..]].concat();
    put(disk, &path, &bytes, HEARTBEAT_FILE_BYTES_MAX).map_err(|error| SaveError { path, error })
}

/// The heartbeat in the folder of a slot; nothing where there is none that could be one. It is not verified.
pub fn load_heartbeat(disk: &dyn Disk, slot: &Path) -> Option<Wire> {
    let path = slot.join(FILE);
    match get(disk, &path, HEARTBEAT_FILE_BYTES_MAX) {
        Ok(bytes) => parse(Bytes::from(bytes)),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::debug!(path = %path.display(), %error, "reading a heartbeat");
            }
            None
        }
    }
}

fn parse(bytes: Bytes) -> Option<Wire> {
    let end = bytes.iter().take(TOPIC_BYTES_MAX + 1).position(|byte| *byte == b'\n')?;
    let wire = Wire { topic: bytes.slice(..end), envelope: bytes.slice(end + 1..) };
    let is_one = Kind::of_topic(&wire.topic) == Kind::Heartbeat
        && wire.envelope.starts_with(b"{")
        && wire.envelope.ends_with(b"}");
    is_one.then_some(wire)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryDisk;

    fn heartbeat(n: u64) -> Wire {
        let envelope = format!("{{\"i\":{n}}}").into();
        Wire { topic: Bytes::from("_heartbeat.a.b.0"), envelope }
    }

    #[test]
    fn the_newest_heartbeat_is_found_or_nothing() {
        let (disk, slot) = (MemoryDisk::new(), Path::new("/state/streams/a.b/0"));
        disk.make_folder(slot).expect("a folder");
        assert_eq!(load_heartbeat(&disk, slot), None);
        for n in 0..3 {
            save_heartbeat(&disk, slot, &heartbeat(n)).expect("saved");
            assert_eq!(load_heartbeat(&disk, slot), Some(heartbeat(n)));
        }
        let long = Wire { envelope: vec![b'x'; HEARTBEAT_FILE_BYTES_MAX].into(), ..heartbeat(1) };
        let refused = save_heartbeat(&disk, slot, &long).expect_err("too long");
        assert!(refused.to_string().contains("/state/streams/a.b/0/heartbeat: it is too long"));
        assert_eq!(
            load_heartbeat(&disk, slot),
            Some(heartbeat(2)),
            "the one before is still there"
        );
    }

    #[test]
    fn a_power_cut_leaves_a_whole_heartbeat_or_none() {
        let slot = Path::new("/state/streams/a.b/0");
        let long =
            |n| Wire { envelope: format!("{{\"i\":{}}}", "9".repeat(n)).into(), ..heartbeat(1) };
        for (call, seed) in (0..12).flat_map(|call| (0..20).map(move |seed| (call, seed))) {
            let disk = MemoryDisk::new();
            save_heartbeat(&disk, slot, &long(3_000)).expect("saved");
            let kind = crate::testing::FaultKind::Crash;
            let call = disk.calls() + call;
            disk.fail(Some(crate::testing::DiskFault { call, kind, for_ever: true }));
            save_heartbeat(&disk, slot, &long(2_000)).ok();
            disk.restart(seed);
            let now = load_heartbeat(&disk, slot);
            let whole = [None, Some(long(3_000)), Some(long(2_000))].contains(&now);
            assert!(whole, "call {call}, seed {seed}");
        }
    }

    #[test]
    fn what_is_no_heartbeat_is_nothing() {
        for bad in [
            &b""[..],
            b"_heartbeat.a.b.0",
            b"_heartbeat.a.b.0\n",
            b"_heartbeat.a.b.0\n{\"i\":",
            b"org.example.dev.a.b\n{}",
            &[b'x'; 1_000],
        ] {
            assert_eq!(parse(Bytes::copy_from_slice(bad)), None, "{bad:?}");
        }
    }
}
