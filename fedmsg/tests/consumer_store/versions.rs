//! Stores of other versions, and rows that no version writes.

use fedmsg::consumer::{Bounds, Cursor, Position, Start, StoreError};

use crate::fixtures::{advance, at, claim, claimed, epoch, failure, leaf, name, refused, stream};
use crate::places::Place;

/// The tables of version 1 and a consumer in them, as they were: never changed.
const VERSION_1: &str = "
    CREATE TABLE fedmsg_store (version BIGINT NOT NULL, fence BIGINT NOT NULL);
    INSERT INTO fedmsg_store (version, fence) VALUES (1, 41);
    CREATE TABLE fedmsg_consumers (
        name TEXT PRIMARY KEY, created BIGINT NOT NULL, start TEXT NOT NULL, owner TEXT,
        lease_ms BIGINT NOT NULL, lease_until BIGINT NOT NULL, fence BIGINT NOT NULL);
    INSERT INTO fedmsg_consumers VALUES ('badges', 1790000000000, 'earliest', NULL, 0, 0, 40);
    CREATE TABLE fedmsg_cursors (
        consumer TEXT NOT NULL, stream TEXT NOT NULL, epoch BYTEA NOT NULL, i BIGINT NOT NULL,
        leaf BYTEA, updated BIGINT NOT NULL, PRIMARY KEY (consumer, stream));
    INSERT INTO fedmsg_cursors VALUES
        ('badges', 'bodhi.backend01/0', {epoch}, 4711, {leaf}, 1790000000007);";

pub fn a_store_of_an_older_version_is_brought_up_to_date(place: &Place) {
    let epoch_hex = epoch(1).uuid().simple().to_string();
    let script = VERSION_1.replace("{epoch}", &place.blob(&epoch_hex));
    place.sql(&script.replace("{leaf}", &place.blob(&"05".repeat(32))));
    let mut store = place.open();
    let position = Position { stream: stream(0), epoch: epoch(1), i: 4711 };
    let cursor = Cursor { position, leaf: Some(leaf(5)), updated: at(7) };
    assert_eq!(store.load(&name("badges")), Ok(vec![cursor]));
    let claimed = claimed(&mut *store, "badges", "host1", 9);
    assert_eq!((claimed.created, claimed.start), (at(0), Start::Earliest));
    assert_eq!(claimed.fence.number(), 42, "fences go on");
    let fence = claimed.fence;
    assert_eq!(store.advance(&fence, &[advance(0, 4712)], at(9)), Ok(1));
    assert_eq!(store.refuse(&fence, &[refused(0, 1)], at(9)), Ok(0));
    assert_eq!(store.failed(&fence, &failure(0, 2, 1), at(9), at(9)), Ok(()));
    assert_eq!(store.dead(&fence, &failure(0, 3, 1), at(9)), Ok(1));
    assert_eq!(place.open().load(&name("badges")).map(|cursors| cursors.len()), Ok(1), "once more");
}

pub fn a_store_of_a_later_version_is_left_alone(place: &Place) {
    let mut store = place.open();
    let fence = claim(&mut *store, "badges", "host1", 0);
    place.sql("UPDATE fedmsg_store SET version = 99");
    for (what, said) in [
        ("opened", place.try_open(Bounds::default()).map(drop)),
        ("written", store.advance(&fence, &[advance(0, 1)], at(1)).map(drop)),
        ("read", store.load(&name("badges")).map(drop)),
    ] {
        let Err(StoreError::Newer { found: 99, known: 3, .. }) = said else {
            panic!("{what}: {said:?}");
        };
    }
    place.sql("UPDATE fedmsg_store SET version = 3");
    assert_eq!(store.load(&name("badges")), Ok(Vec::new()), "nothing was written");
}

pub fn rows_that_make_no_sense_are_named(place: &Place) {
    let mut store = place.open();
    let fence = claim(&mut *store, "badges", "host1", 0);
    for (column, bad, part) in [
        ("stream", "'nonsense'".to_owned(), "\"nonsense\" is no stream"),
        ("epoch", place.blob("0102"), "an epoch of 2 bytes"),
        ("leaf", place.blob("05"), "a leaf of 1 bytes"),
        ("i", "-1".to_owned(), "-1 where a count"),
    ] {
        place.sql("DELETE FROM fedmsg_cursors");
        store.advance(&fence, &[advance(0, 1)], at(1)).expect("moved");
        place.sql(&format!("UPDATE fedmsg_cursors SET {column} = {bad}"));
        match store.load(&name("badges")) {
            Err(error @ StoreError::Damaged { .. }) => {
                assert!(error.to_string().contains(part), "{error}");
            }
            other => panic!("{column}: {other:?}"),
        }
    }
    assert_eq!(store.renew(&fence, at(2)), Ok(at(30_002)), "the rest can be used");
}
