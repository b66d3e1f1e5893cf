//! Readers beside a writer, on a real disk.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fedmsg::journal::{Body, Journal, JournalError, Mark, OsDisk, Reader, Settings};

use crate::story::{at, epoch, numbered, sealed, settings, stream};

const EPOCHS: u64 = 6;
const RECORDS: u64 = 100;

fn open(folder: &Path, settings: Settings) -> Result<Journal, JournalError> {
    Journal::open(Arc::new(OsDisk), folder, &stream(), settings)
}

/// Appends six epochs in appends of 1 to 9 records, and trims as it goes.
fn write(folder: &Path, settings: Settings, told: &std::sync::mpsc::Sender<Mark>) {
    let mut journal = open(folder, settings).expect("opens");
    told.send(journal.mark()).expect("somebody listens");
    let mut ms = 0;
    for n in 1..=EPOCHS {
        journal.begin_epoch(epoch(n), &sealed(n).wires[0], at(ms)).expect("begins");
        let mut next = 1;
        while next <= RECORDS {
            let last = (next + ms % 9).min(RECORDS);
            journal.append(&numbered(n, next..=last), at(ms)).expect("appends");
            (next, ms) = (last + 1, ms + 1);
            if ms % 20 == 0 {
                journal.trim(at(ms), |_, _| false).expect("trims");
            }
        }
    }
    journal.close().expect("closes");
}

/// Follows the journal to its end; says how many numbers were handed out and how many were trimmed before.
fn follow(mut reader: Reader, mark: Option<&Mark>, ended: &AtomicBool) -> (u64, u64) {
    let (mut n, mut next, mut read, mut trimmed) = (1, 0, 0, 0);
    while n <= EPOCHS {
        // Asked before it is read: what is read after the end is all there is.
        let over = ended.load(Ordering::SeqCst);
        match reader.read(epoch(n), next, u64::MAX >> 1, 11, 1 << 20) {
            Ok(batch) => {
                assert_eq!(batch.holes, []);
                for entry in batch.entries {
                    assert_eq!(entry.i, next, "epoch {n}");
                    let wire = &sealed(n).wires[next as usize];
                    assert_eq!(entry.body, Body::Record(wire.clone()), "epoch {n}");
                    (next, read) = (next + 1, read + 1);
                }
                // Whatever was handed out was durable before, and the mark never goes back.
                let durable = mark.and_then(Mark::get).is_none_or(|(newest, last)| {
                    newest > epoch(n) || (newest == epoch(n) && next <= last + 1)
                });
                assert!(durable || next == 0, "number {next} of {n} is not durable");
            }
            Err(JournalError::Trimmed { first, .. }) => {
                (trimmed, next) = (trimmed + first - next, first);
            }
            Err(JournalError::UnknownEpoch(_)) if over => {
                (trimmed, next) = (trimmed + RECORDS + 1 - next, RECORDS + 1);
            }
            // Not begun yet, or trimmed as a whole.
            Err(JournalError::UnknownEpoch(_)) => std::thread::yield_now(),
            Err(error) => panic!("epoch {n}, number {next}: {error}"),
        }
        if next > RECORDS {
            (n, next) = (n + 1, 0);
        }
    }
    (read, trimmed)
}

fn beside(settings: Settings) -> [(u64, u64); 2] {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("streams/bodhi.backend01/0/journal");
    let ended = AtomicBool::new(false);
    let (told, mark) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&path, settings, &told));
        let mark = mark.recv().expect("the writer opens");
        let other = scope.spawn(|| follow(Reader::new(Arc::new(OsDisk), &path), None, &ended));
        let with_mark = Reader::with_mark(Arc::new(OsDisk), &path, mark.clone());
        let ended = &ended;
        let same = scope.spawn(move || follow(with_mark, Some(&mark), ended));
        writer.join().expect("the writer ends well");
        ended.store(true, Ordering::SeqCst);
        [other, same].map(|reader| reader.join().expect("the reader ends well"))
    })
}

#[test]
fn readers_get_everything_once_while_it_is_written() {
    let all = (EPOCHS * (RECORDS + 1), 0);
    assert_eq!(beside(settings()), [all; 2]);
}

#[test]
fn readers_are_told_what_was_trimmed_under_them() {
    for (read, trimmed) in beside(Settings { keep_bytes: 30_000, ..settings() }) {
        assert_eq!(read + trimmed, EPOCHS * (RECORDS + 1));
        assert!(read > 0);
    }
}

#[test]
fn the_group_reads_and_the_owner_alone_writes() {
    let above = tempfile::tempdir().expect("folder");
    let folder = above.path().join("0/journal");
    let mut journal = open(&folder, settings()).expect("opens");
    journal.begin_epoch(epoch(1), &sealed(1).wires[0], at(0)).expect("begins");
    journal.close().expect("closes");
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o7777;
    assert_eq!((mode(&folder), mode(&above.path().join("0"))), (0o2750, 0o2750));
    let files: Vec<_> = std::fs::read_dir(&folder).expect("reads").collect();
    assert_eq!(files.len(), 3, "a segment, the reserve and the end: {files:?}");
    for file in files {
        let path = file.expect("reads").path();
        assert_eq!(mode(&path), 0o640, "{}", path.display());
    }
}

#[test]
fn links_are_not_followed() {
    let above = tempfile::tempdir().expect("folder");
    let (folder, victim) = (above.path().join("journal"), above.path().join("victim"));
    std::fs::write(&victim, "precious").expect("writes");
    drop(open(&folder, settings()).expect("opens"));
    let segment = format!("{}-{:020}.seg", epoch(1), 0);
    for name in [format!("{segment}.new"), "end.new".into(), "reserve.new".into(), segment.clone()]
    {
        symlink(&victim, folder.join(&name)).expect("links");
    }
    // A link that stands for a segment is nothing that this journal wrote.
    let refused = open(&folder, settings()).expect_err("a link");
    assert!(refused.to_string().contains(&segment), "{refused}");
    std::fs::remove_file(folder.join(&segment)).expect("removes");
    let mut journal = open(&folder, settings()).expect("opens");
    symlink(&victim, folder.join(&segment)).expect("links");
    journal.begin_epoch(epoch(1), &sealed(1).wires[0], at(0)).expect("begins");
    journal.append(&numbered(1, 1..=3), at(0)).expect("appends");
    journal.close().expect("closes");
    assert_eq!(std::fs::read_to_string(&victim).expect("reads"), "precious");
    let kind = folder.join(&segment).symlink_metadata().expect("there").file_type();
    assert!(kind.is_file(), "the segment took the place of the link");
}
