//! What can happen to the file of a store.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fedmsg::consumer::{Bounds, CursorStore, SqliteSettings, SqliteStore, StoreError};
use tempfile::TempDir;

use crate::fixtures::{advance, at, claim, failure, name, numbers};

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep").join("state").join("consumers.db");
    (folder, path)
}

fn cursor(store: &mut SqliteStore) -> Vec<u64> {
    numbers(&store.load(&name("badges")).expect("cursors"))
}

/// Fills the store until it says no, and shows that nothing is lost and all works again when there is room.
fn fill(store: &mut SqliteStore, make_room: impl FnOnce()) {
    let fence = claim(store, "badges", "host1", 0);
    store.advance(&fence, &[advance(0, 1)], at(1)).expect("moved");
    let mut kept = 0;
    let error = loop {
        match store.failed(&fence, &failure(0, kept + 1, 100_000), at(1), at(1)) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1_000, "it is never full");
    };
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
    assert!(error.to_string().contains("make room"), "{error}");
    assert_eq!(cursor(store), [1]);
    assert_eq!(store.show(&name("badges")).map(|summary| summary.retries), Ok(kept));
    make_room();
    assert_eq!(store.advance(&fence, &[advance(0, 2)], at(2)), Ok(1), "without a new start");
    assert_eq!(store.failed(&fence, &failure(0, 999, 10_000), at(1), at(1)), Ok(()));
    assert_eq!(cursor(store), [2]);
}

#[test]
fn a_file_at_its_bound_says_so_and_takes_more_when_there_is_room() {
    let (_folder, path) = file();
    let mut settings = SqliteSettings::default();
    settings.bytes_max = 1 << 20;
    let mut store = SqliteStore::open_with(&path, settings).expect("opened");
    // Room comes from another process that throws something away.
    let mut other = SqliteStore::open(&path).expect("opened");
    claim(&mut other, "old", "host2", 0);
    let fence = claim(&mut other, "old", "host2", 0);
    other.dead(&fence, &failure(0, 1, 200_000), at(1)).expect("kept");
    fill(&mut store, || assert_eq!(other.discard(&name("old"), &[1]), Ok(1)));
}

/// On a file system of its own, where this process may make one.
#[test]
fn a_full_disk_says_so_and_takes_more_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(folder.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        crate::not_run("no file system can be mounted here, so no disk is full");
        return;
    }
    let ballast = folder.path().join("ballast");
    let unmount = || Command::new("umount").arg(folder.path()).status().expect("umount");
    let result = std::panic::catch_unwind(|| {
        std::fs::write(&ballast, vec![1; 900_000]).expect("written");
        let mut store = SqliteStore::open(&folder.path().join("consumers.db")).expect("opened");
        fill(&mut store, || std::fs::remove_file(&ballast).expect("removed"));
    });
    assert!(unmount().success());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn the_file_is_for_its_owner_alone() {
    let (_folder, path) = file();
    let mut store = SqliteStore::open(&path).expect("opened");
    claim(&mut store, "badges", "host1", 0);
    let names = std::fs::read_dir(path.parent().expect("a folder")).expect("listed");
    let mut names: Vec<_> = names.map(|entry| entry.expect("an entry")).collect();
    names.sort_by_key(std::fs::DirEntry::file_name);
    for entry in &names {
        let mode = entry.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
    }
    let names: Vec<_> = names.iter().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["consumers.db", "consumers.db-shm", "consumers.db-wal"]);
}

#[test]
fn whoever_keeps_the_lock_for_too_long_is_not_waited_for_for_ever() {
    let (_folder, path) = file();
    let mut settings = SqliteSettings::default();
    settings.wait_ms = 20;
    let mut store = SqliteStore::open_with(&path, settings).expect("opened");
    let fence = claim(&mut store, "badges", "host1", 0);
    let other = rusqlite::Connection::open(&path).expect("opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let busy = store.advance(&fence, &[advance(0, 1)], at(1));
    assert!(matches!(busy, Err(StoreError::Busy { waited_ms: 20, .. })), "{busy:?}");
    assert!(cursor(&mut store).is_empty(), "who reads is not in anybody's way");
    other.execute_batch("COMMIT").expect("unlocked");
    assert_eq!(store.advance(&fence, &[advance(0, 1)], at(2)), Ok(1));
}

#[test]
fn a_damaged_file_is_named_and_nothing_is_written_into_it() {
    let (_folder, path) = file();
    let mut store = SqliteStore::open(&path).expect("opened");
    let fence = claim(&mut store, "badges", "host1", 0);
    store.advance(&fence, &[advance(0, 1)], at(1)).expect("moved");
    drop(store);
    let good = std::fs::read(&path).expect("read");
    for (what, bad) in [
        ("no SQLite file", b"this is not a database, whatever its name says".repeat(100)),
        ("cut off", good[..good.len() / 2].to_vec()),
        ("overwritten", [&good[..4_096], &vec![0xee; good.len() - 4_096]].concat()),
    ] {
        std::fs::write(&path, &bad).expect("written");
        let said = SqliteStore::open(&path).and_then(|mut store| store.load(&name("badges")));
        let Err(error @ StoreError::Damaged { .. }) = said else {
            panic!("{what}: {said:?}");
        };
        assert!(error.to_string().contains("consumers.db is damaged"), "{error}");
        assert_eq!(std::fs::read(&path).expect("read"), bad, "{what}");
    }
    std::fs::write(&path, &good).expect("written");
    assert_eq!(cursor(&mut SqliteStore::open(&path).expect("opened")), [1]);
}

#[test]
fn a_file_that_is_moved_away_is_noticed() {
    let (_folder, path) = file();
    let mut store = SqliteStore::open(&path).expect("opened");
    let fence = claim(&mut store, "badges", "host1", 0);
    store.advance(&fence, &[advance(0, 1)], at(1)).expect("moved");
    std::fs::remove_dir_all(path.parent().expect("a folder")).expect("removed");
    let lost = store.advance(&fence, &[advance(0, 2)], at(2));
    assert!(matches!(lost, Err(StoreError::Fenced { .. })), "not written into a file without name");
    claim(&mut store, "badges", "host1", 3);
    assert!(cursor(&mut store).is_empty(), "a new store");
}

/// Runs this test again as a user who may be refused something: root never is.
fn as_nobody(test: &str, folder: &Path) -> bool {
    let program = folder.join("test");
    std::fs::copy(std::env::current_exe().expect("this program"), &program).expect("copied");
    for path in [folder, &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("mode");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(program).args([test, "--exact", "--nocapture"]);
    command.env(FOLDER, folder).current_dir("/").status().expect("setpriv").success()
}

const FOLDER: &str = "FEDMSG_TEST_FOLDER";

#[test]
fn a_file_that_cannot_be_written_says_so_and_works_when_it_can() {
    let given = std::env::var_os(FOLDER);
    let own = tempfile::tempdir().expect("a folder");
    let folder = given.as_ref().map_or(own.path(), Path::new);
    if given.is_none() && is_root() {
        std::os::unix::fs::chown(folder, Some(65_534), Some(65_534)).expect("given away");
        assert!(as_nobody(
            "damage::a_file_that_cannot_be_written_says_so_and_works_when_it_can",
            folder
        ));
        return;
    }
    let state = folder.join("state");
    let path = state.join("consumers.db");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode");
    };
    std::fs::create_dir(&state).expect("made");
    mode(&state, 0o500);
    let error = SqliteStore::open(&path).map(drop).expect_err("no file can be made");
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    mode(&state, 0o700);
    let mut store = SqliteStore::open(&path).expect("opened");
    let fence = claim(&mut store, "badges", "host1", 0);
    store.advance(&fence, &[advance(0, 1)], at(1)).expect("moved");
    drop(store);
    mode(&path, 0o400);
    let error = SqliteStore::open(&path).and_then(|mut store| store.renew(&fence, at(2)));
    assert!(matches!(error, Err(StoreError::ReadOnly { .. })), "{error:?}");
    mode(&path, 0o600);
    let mut store = SqliteStore::open(&path).expect("opened").with_bounds(Bounds::default());
    assert_eq!(store.advance(&fence, &[advance(0, 2)], at(3)), Ok(1));
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
