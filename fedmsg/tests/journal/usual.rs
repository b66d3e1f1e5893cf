//! A journal on a disk that works.

use std::sync::Arc;

use fedmsg::identity::StreamName;
use fedmsg::journal::{
    Body, Continuity, Disk, Journal, JournalError, Numbered, Range, Reader, Settings, check,
};
use fedmsg::merkle::Leaf;
use fedmsg::testing::MemoryDisk;

use crate::story::{Writer, at, epoch, folder, numbered, read_all, sealed, settings, verify};

#[test]
fn an_epoch_goes_on_where_it_ended() {
    let disk = MemoryDisk::new();
    let mut writer = Writer::new(disk.clone());
    assert_eq!(*writer.open().expect("opens").continuity(), Continuity::Fresh);
    for _ in 0..5 {
        writer.live(&[1, 7, 3, 12], false).expect("lives");
    }
    assert_eq!((writer.epoch, writer.went_on), (1, 4));
    let journal = writer.open().expect("opens");
    let state = journal.state().expect("an epoch");
    assert_eq!((state.epoch, state.first, state.last), (epoch(1), 0, 5 * 23));
    assert_eq!(state.genesis, sealed(1).wires[0]);
    let last = Body::Record(sealed(1).wires[5 * 23].clone());
    assert_eq!(Some(state.leaf), last.leaf());
    assert!(journal.metrics().segments > 5, "{:?}", journal.metrics());
    verify(&disk, &writer.acknowledged);
    let mut reader = Reader::new(Arc::new(disk), folder());
    let range = Range { epoch: epoch(1), first: 0, last: 5 * 23 };
    assert_eq!(reader.ranges().expect("reads"), [range]);
    assert_eq!(reader.last(epoch(1)).expect("reads").map(|entry| entry.body), Some(last));
}

#[test]
fn what_cannot_follow_is_refused_and_changes_nothing() {
    let mut writer = Writer::new(MemoryDisk::new());
    let mut journal = writer.open().expect("opens");
    let early = journal.append(&numbered(1, 1..=1), at(0));
    assert!(matches!(early, Err(JournalError::NewEpochNeeded { .. })), "{early:?}");
    writer.begin(&mut journal).expect("begins");
    let no_genesis = journal.begin_epoch(epoch(2), &sealed(1).wires[1], at(0));
    assert!(matches!(no_genesis, Err(JournalError::Record { i: 0, .. })), "{no_genesis:?}");
    let again = journal.begin_epoch(epoch(1), &sealed(1).wires[0], at(0));
    assert!(matches!(again, Err(JournalError::EpochOrder { .. })), "{again:?}");
    for numbers in [0..=0, 2..=3] {
        let far = journal.append(&numbered(1, numbers), at(0));
        assert!(matches!(far, Err(JournalError::NotDense { expected: 1, .. })), "{far:?}");
    }
    let none = journal.append(&[], at(0));
    assert!(matches!(none, Err(JournalError::BatchCount { records: 0 })), "{none:?}");
    let reason = "not one word".to_owned();
    let gone = Numbered { i: 1, body: Body::Gone { leaf: Leaf::NONE, reason } };
    let gone = journal.append(&[gone], at(0));
    assert!(matches!(gone, Err(JournalError::Record { i: 1, .. })), "{gone:?}");
    writer.append(&mut journal, 4).expect("what follows is taken");
    assert_eq!(journal.metrics().failures, 0);
    verify(&writer.disk, &writer.acknowledged);
}

#[test]
fn retention_gives_up_whole_segments_and_no_held_one() {
    let disk = MemoryDisk::new();
    let mut writer = Writer::new(disk.clone());
    writer.settings = Settings { keep_bytes: 30_000, keep_ms: 100_000, ..settings() };
    let mut journal = writer.live(&[5; 20], false).expect("lives");
    let before = journal.metrics();
    let held = journal.trim(at(0), |_, last| last > 10).expect("trims");
    assert!(held.records <= 11, "{held:?}");
    let more = journal.trim(at(0), |_, _| false).expect("trims");
    assert!(journal.bytes() <= 30_000);
    let state = journal.state().expect("an epoch");
    assert_eq!(state.first, held.records + more.records);
    assert_eq!(before.bytes - held.bytes - more.bytes, journal.bytes());
    let mut reader = journal.reader();
    let first = state.first;
    let trimmed = reader.read(epoch(1), first - 1, 100, 1, 1);
    assert!(matches!(trimmed, Err(JournalError::Trimmed { first: f, .. }) if f == first));
    assert_eq!(reader.read(epoch(1), first, 100, 1, 1).expect("reads").entries[0].i, first);
    assert_eq!(reader.genesis(epoch(1)).expect("reads").as_ref(), Some(&sealed(1).wires[0]));
    journal.trim(at(1_000_000), |_, _| false).expect("trims");
    assert_eq!(journal.metrics().segments, 1, "the newest stays, however old it is");
    drop(journal);
    let journal = writer.open().expect("opens");
    assert_eq!(
        *journal.continuity(),
        Continuity::Proven,
        "the genesis record outlives its segment"
    );
}

#[test]
fn records_are_found_by_time_and_by_pages() {
    let mut writer = Writer::new(MemoryDisk::new());
    let journal = writer.live(&[1, 2, 30, 4, 5], true).expect("lives");
    let mut reader = journal.reader();
    assert_eq!(read_all(&mut reader, 1).len(), 1 + 3);
    assert_eq!(read_all(&mut reader, 2).len(), 1 + 39);
    let mut found = |ms| reader.find(at(ms)).expect("reads");
    assert_eq!(found(0), Some((epoch(1), 0)));
    assert_eq!(found(11), Some((epoch(1), 1)));
    assert_eq!(found(25), Some((epoch(1), 2)));
    assert_eq!(found(35), Some((epoch(2), 0)));
    assert_eq!(found(51), Some((epoch(2), 31)));
    assert_eq!(found(1_000), None);
    let batch = reader.read(epoch(2), 3, 9, 1_000, 1 << 20).expect("reads");
    assert_eq!((batch.entries.len(), batch.upto, batch.more), (7, 9, false));
    let batch = reader.read(epoch(2), 3, 9, 1_000, 1).expect("reads");
    assert_eq!((batch.entries.len(), batch.upto, batch.more), (1, 3, true), "at least one");
    let batch = reader.read(epoch(2), 40, 50, 10, 10).expect("reads");
    assert_eq!((batch.entries.len(), batch.upto, batch.more), (0, 39, false), "not yet there");
    let unknown = reader.read(epoch(3), 0, 1, 1, 1);
    assert!(matches!(unknown, Err(JournalError::UnknownEpoch(_))));
}

#[test]
fn a_check_names_a_record_that_does_not_follow() {
    let mut writer = Writer::new(MemoryDisk::new());
    let mut journal = writer.live(&[3], false).expect("lives");
    let mut wrong = numbered(1, 4..=6);
    wrong[1].body = numbered(1, 9..=9)[0].body.clone();
    journal.append(&wrong, at(100)).expect("a journal believes its publisher");
    let disk: Arc<dyn Disk> = Arc::new(writer.disk.clone());
    let report = check(&disk, folder()).expect("reads");
    assert!(!report.is_good());
    let links: Vec<_> =
        report.broken_links.iter().map(|link| (link.i, link.why.as_str())).collect();
    let [(5, number), (6, prev)] = links[..] else { panic!("{links:?}") };
    assert!(number.contains("says number 9") && prev.contains("`prev`"), "{links:?}");
    assert_eq!(report.ranges, [Range { epoch: epoch(1), first: 0, last: 6 }]);
    assert_eq!(report.segments.iter().map(|segment| segment.records).sum::<u64>(), 7);
}

#[test]
fn a_journal_of_another_stream_is_not_opened() {
    let mut writer = Writer::new(MemoryDisk::new());
    writer.live(&[3], false).expect("lives");
    let other = StreamName::parse("bodhi.backend01/1").expect("stream");
    let opened = Journal::open(Arc::new(writer.disk.clone()), folder(), &other, settings());
    assert!(matches!(opened, Err(JournalError::OtherStream { .. })), "{opened:?}");
}
