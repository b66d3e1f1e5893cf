//! A journal as one file, taken elsewhere and put into a folder again.

use std::path::Path;
use std::sync::Arc;

use fedmsg::journal::{
    ArchiveError, ArchiveReader, ArchiveWriter, Body, Break, Continuity, Disk, Journal,
    JournalError, Numbered, OsDisk, Piece, Range, Reader, Restore, Settings, check, survey,
};
use fedmsg::merkle::Leaf;

use crate::story::{at, epoch, numbered, sealed, settings, stream};

/// Few bytes are kept, so that retention gives up what is old.
fn small() -> Settings {
    Settings { segment_bytes: 4_096, keep_bytes: 10_000, ..settings() }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(OsDisk)
}

/// Two epochs, the first of which has lost its beginning; with a tombstone at the end.
fn journal(folder: &Path) {
    let mut journal = Journal::open(disk(), folder, &stream(), small()).expect("opened");
    journal.begin_epoch(epoch(1), &sealed(1).wires[0], at(0)).expect("begun");
    for i in (1..=40).step_by(2) {
        journal.append(&numbered(1, i..=i + 1), at(10 * i)).expect("appended");
    }
    journal.trim(at(1_000), |_, _| false).expect("trimmed");
    journal.begin_epoch(epoch(2), &sealed(2).wires[0], at(2_000)).expect("begun");
    journal.append(&numbered(2, 1..=3), at(2_010)).expect("appended");
    let gone = Body::Gone { leaf: Leaf([7; 32]), reason: "refused".into() };
    journal.append(&[Numbered { i: 4, body: gone }], at(2_020)).expect("appended");
    journal.close().expect("closed");
}

fn pieces(folder: &Path) -> Vec<Piece> {
    let mut reader = Reader::new(disk(), folder);
    let mut pieces = Vec::new();
    for range in reader.ranges().expect("ranges") {
        let genesis = reader.genesis(range.epoch).expect("reads").expect("a genesis record");
        pieces.push(Piece::Epoch { range, genesis });
        let batch = reader.read(range.epoch, range.first, range.last, 1_000, 1 << 24);
        pieces.extend(batch.expect("reads").entries.into_iter().map(Piece::Entry));
    }
    pieces
}

fn written(pieces: &[Piece]) -> Vec<u8> {
    let mut archive = ArchiveWriter::new(Vec::new(), &stream()).expect("written");
    for piece in pieces {
        match piece {
            Piece::Epoch { range, genesis } => archive.epoch(range, genesis),
            Piece::Entry(entry) => archive.entry(entry),
            other => panic!("{other:?}"),
        }
        .expect("written");
    }
    let (bytes, entries) = archive.finish().expect("written");
    assert_eq!(
        entries,
        pieces.iter().filter(|piece| matches!(piece, Piece::Entry(_))).count() as u64
    );
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Piece>, ArchiveError> {
    let mut archive = ArchiveReader::open(bytes)?;
    let mut pieces = Vec::new();
    while let Some(piece) = archive.next_piece()? {
        pieces.push(piece);
    }
    Ok(pieces)
}

fn restore(folder: &Path, pieces: &[Piece]) -> Result<(), JournalError> {
    let mut restore = Restore::begin(folder, &stream(), small())?;
    for piece in pieces {
        match piece {
            Piece::Epoch { range, genesis } => restore.epoch(*range, genesis)?,
            Piece::Entry(entry) => restore.entry(entry.clone())?,
            other => panic!("{other:?}"),
        }
    }
    restore.finish().map(drop)
}

#[test]
fn a_journal_is_put_elsewhere_with_its_times_and_does_not_go_on_there() {
    let root = tempfile::tempdir().expect("folder");
    let (from, to) = (root.path().join("from"), root.path().join("to/0/journal"));
    journal(&from);
    let all = pieces(&from);
    let Piece::Epoch { range, .. } = &all[0] else { panic!("an epoch first") };
    assert!(range.first > 1 && range.last == 40, "the beginning was given up: {range:?}");
    let there = read(&written(&all)).expect("read");
    assert_eq!(there, all);
    restore(&to, &there).expect("restored");
    assert_eq!(pieces(&to), all);
    let report = check(&disk(), &to).expect("checked");
    assert!(report.is_good() && report.segments.len() > 2, "{report:?}");
    assert!(!root.path().join("to/0/journal.import").exists());

    let mut restored = Journal::open(disk(), &to, &stream(), small()).expect("opened");
    let rewound = Break::Rewound { epoch: epoch(2), last: 5 };
    assert_eq!(*restored.continuity(), Continuity::Broken(rewound));
    let refused = restored.append(&numbered(2, 5..=5), at(3_000)).expect_err("no more");
    assert!(matches!(refused, JournalError::NewEpochNeeded { .. }), "{refused}");
    restored.begin_epoch(epoch(3), &sealed(3).wires[0], at(3_000)).expect("a new one");
    let mut reader = restored.reader();
    let last = Range { epoch: epoch(2), first: 0, last: 4 };
    assert_eq!(reader.ranges().expect("ranges")[1], last);
}

#[test]
fn every_cut_and_every_flipped_bit_of_an_archive_is_found() {
    let root = tempfile::tempdir().expect("folder");
    journal(root.path());
    let all = pieces(root.path());
    // One small epoch is enough to try every byte of it.
    let second = all.iter().rposition(|piece| matches!(piece, Piece::Epoch { .. })).expect("one");
    let bytes = written(&all[second..]);
    assert_eq!(read(&bytes).expect("good"), all[second..]);
    for end in 0..bytes.len() {
        let error = read(&bytes[..end]).expect_err("cut");
        let cut = matches!(error, ArchiveError::CutOff(_) | ArchiveError::NotAnArchive);
        assert!(cut, "{end}: {error}");
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        read(&flipped).expect_err("flipped");
    }
    assert!(matches!(read(&[&bytes[..], b"x"].concat()), Err(ArchiveError::Damaged(_))));
    let other = written(&all[..second]);
    let joined = [&bytes[..bytes.len() - 21], &other[other.len() - 21..]].concat();
    assert!(matches!(read(&joined), Err(ArchiveError::Damaged(_))), "the end of another one");
}

#[test]
fn what_is_not_whole_is_not_put_anywhere() {
    let root = tempfile::tempdir().expect("folder");
    let from = root.path().join("from");
    journal(&from);
    let all = pieces(&from);
    let to = root.path().join("to");
    let without = |at: usize| {
        let mut some = all.clone();
        some.remove(at);
        some
    };
    for (pieces, why) in [
        (without(3), "is next"),
        (without(0), "it is in no epoch"),
        (without(all.len() - 1), "it is missing"),
        (vec![], "there are no records"),
        ([&all[..], &all[..]].concat(), "is not above"),
    ] {
        let error = restore(&to, &pieces).expect_err(why).to_string();
        assert!(error.contains(why), "{why}: {error}");
        let left: Vec<_> = std::fs::read_dir(root.path()).expect("folder").collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
    let mut altered = all.clone();
    let Some(Piece::Entry(entry)) = altered.get_mut(5) else { panic!("an entry") };
    entry.body = Body::Record(sealed(1).wires[1].clone());
    let error = restore(&to, &altered).expect_err("another record").to_string();
    assert!(error.contains("it says number 1"), "{error}");
    restore(&from, &all).expect_err("there is something");
    assert_eq!(pieces(&from), all);
}

#[test]
fn a_survey_shows_what_a_check_shows_without_reading_everything() {
    let root = tempfile::tempdir().expect("folder");
    journal(root.path());
    let (seen, report) = (survey(&disk(), root.path()), check(&disk(), root.path()));
    let (seen, report) = (seen.expect("seen"), report.expect("checked"));
    assert_eq!((&seen.stream, &seen.ranges), (&report.stream, &report.ranges));
    assert_eq!(seen.segments, report.segments.len() as u64);
    assert_eq!(seen.bytes, report.segments.iter().map(|segment| segment.bytes).sum::<u64>());
    assert_eq!(seen.newest, Some(at(2_020)));
    assert!(seen.oldest.is_some_and(|oldest| oldest < at(400)) && seen.damage.is_empty());

    let newest = &report.segments.last().expect("a segment").path;
    let mut bytes = std::fs::read(newest).expect("read");
    let middle = bytes.len() - 400;
    bytes[middle] ^= 1;
    std::fs::write(newest, bytes).expect("written");
    let seen = survey(&disk(), root.path()).expect("seen");
    assert_eq!(seen.damage.len(), 1, "{seen:?}");
    assert_eq!(&seen.damage[0].path, newest);
}
