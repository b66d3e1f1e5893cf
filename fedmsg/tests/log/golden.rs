//! Files of version 1, as they were written once: they can be read for ever, and are still written so.
//!
//! `FEDMSG_WRITE_GOLDEN=1 cargo test -p fedmsg --test log golden` writes them. If that changes a file that is
//! under version control, the format has changed, and needs a new version.

use std::path::PathBuf;
use std::sync::Arc;

use fedmsg::journal::{Access, Disk, DiskFile, OsDisk};
use fedmsg::log::{Item, Keep, Log};
use fedmsg::testing::{DiskFault, FaultKind, MemoryDisk};

use crate::world::{at, epoch, folder, heartbeat, item, sealed, serve_all, settings, stream};

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/log-v1")
}

/// Three streams, two epochs, tombstones, a hole, heartbeats, an append that failed and was repeated in a new
/// segment, a close, and a torn tail.
fn make() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let open = || Log::open(Arc::new(disk.clone()), folder(), settings()).expect("opens");
    let put = |log: &mut Log, positions: &[(usize, u64, u64)], ms| {
        let items: Vec<_> = positions.iter().map(|position| item(*position)).collect();
        log.append(&items, at(ms)).expect("appends");
    };
    let mut log = open();
    put(&mut log, &[(0, 1, 0), (0, 1, 1), (1, 1, 0), (0, 1, 2)], 10);
    put(&mut log, &[(0, 1, 3), (2, 1, 20), (1, 1, 1)], 20);
    disk.fail(Some(DiskFault { call: disk.calls() + 1, kind: FaultKind::Io, for_ever: false }));
    put(&mut log, &[(0, 1, 4), (2, 1, 21), (2, 1, 30)], 30);
    let wire = heartbeat(1, 1, 40);
    let closed = Item { keep: Keep::Heartbeat { wire: &wire }, ..item((1, 1, 1)) };
    log.append(&[closed], at(40)).expect("appends");
    assert!(log.set_heartbeat(stream(0), &heartbeat(0, 4, 45)));
    log.close().expect("closes");
    let mut log = open();
    put(&mut log, &[(0, 2, 0), (0, 2, 1)], 50);
    put(&mut log, &[(0, 2, 2), (0, 2, 3)], 60);
    let newest = folder().join(format!("{:020}.seg", 3));
    let mut content = disk.content(&newest).expect("a segment");
    content.extend_from_slice(&[0xF5, b'f', b'l', 1, 0, 0, 1, 0, 7]);
    disk.set_content(&newest, content);
    disk
}

#[test]
fn golden_files_are_written_as_they_were() {
    let disk = make();
    let mut names = Vec::new();
    for (path, _) in disk.files() {
        let name = path.file_name().expect("a name").to_owned();
        let (content, kept) = (disk.content(&path).expect("a file"), golden().join(&name));
        if std::env::var_os("FEDMSG_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(golden()).expect("folder");
            std::fs::write(&kept, &content).expect("writes");
        }
        assert!(std::fs::read(&kept).expect("a golden file") == content, "{}", kept.display());
        names.push(name);
    }
    let there =
        std::fs::read_dir(golden()).expect("reads").map(|entry| entry.expect("reads").file_name());
    let mut there: Vec<_> = there.collect();
    names.sort();
    there.sort();
    assert_eq!(names, there);
}

#[test]
fn golden_files_are_read() {
    // Opening writes, so it is done with a copy.
    let disk = MemoryDisk::new();
    for name in OsDisk.list(&golden()).expect("lists") {
        let file = OsDisk.open(&golden().join(&name), Access::Read).expect("opens");
        disk.set_content(&folder().join(&name), content(&*file));
    }
    let log = Log::open(Arc::new(disk), folder(), settings()).expect("opens");
    let served: Vec<_> = serve_all(&log.reader()).into_iter().collect();
    let expected = [(0, 1, 0..5), (0, 2, 0..4), (1, 1, 0..2), (2, 1, 20..22), (2, 1, 30..31)];
    let expected = expected.into_iter().flat_map(|(s, n, all)| all.map(move |i| (s, n, i)));
    assert_eq!(served, expected.collect::<Vec<_>>());
    assert_eq!(log.metrics(at(0)).damage, 0, "a torn tail is none");
    let head = log.head(stream(0)).expect("a head");
    assert_eq!((head.epoch, head.last, head.leaf), (epoch(2), 3, Some(sealed(0, 2, 3).leaf)));
    assert_eq!(head.heartbeat, Some(heartbeat(0, 4, 45)));
    let head = log.head(stream(1)).expect("a head");
    assert_eq!(head.heartbeat, Some(heartbeat(1, 1, 40)));
    assert_eq!(log.reader().find(stream(0), at(25)), Ok((epoch(1), 4)));
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("a length") as usize];
    let mut done = 0;
    while done < bytes.len() {
        done += file.read_at(done as u64, &mut bytes[done..]).expect("reads");
    }
    bytes
}
