//! How far a consumer is.

use fedmsg::consumer::{Advance, Bounds, Cursor, Position, StoreError};
use fedmsg::limits::{NUMBER_MAX, STORE_BATCH_MAX};

use crate::fixtures::{
    advance, at, claim, epoch, failure, leaf, name, numbers, position, refused, stream,
};
use crate::places::Place;

pub fn cursors_move_forwards_only(place: &Place) {
    let mut store = place.open();
    let fence = claim(&mut *store, "badges", "host1", 0);
    let batch = [advance(2, 5), advance(0, 7), advance(2, 6), advance(2, 4)];
    assert_eq!(store.advance(&fence, &batch, at(1)), Ok(3));
    assert_eq!(store.advance(&fence, &[advance(0, 7), advance(2, 0)], at(2)), Ok(0));
    drop(store);
    let mut store = place.open();
    let cursors = store.load(&name("badges")).expect("cursors");
    let expected = [position(0, 7), position(2, 6)].map(|position| Cursor {
        position,
        leaf: None,
        updated: at(1),
    });
    assert_eq!(cursors, expected);
    claim(&mut *store, "mirror", "host1", 0);
    assert_eq!(store.load(&name("mirror")), Ok(Vec::new()), "each consumer has its own");
}

pub fn another_epoch_always_counts(place: &Place) {
    let mut store = place.open();
    let fence = claim(&mut *store, "badges", "host1", 0);
    store.advance(&fence, &[advance(0, 700)], at(1)).expect("moved");
    for (number, i) in [(2, 3), (1, 9)] {
        let position = Position { stream: stream(0), epoch: epoch(number), i };
        let to = [Advance { position: position.clone(), leaf: Some(leaf(1)) }];
        assert_eq!(store.advance(&fence, &to, at(2)), Ok(1));
        let cursor = Cursor { position, leaf: Some(leaf(1)), updated: at(2) };
        assert_eq!(store.load(&name("badges")), Ok(vec![cursor]));
    }
}

pub fn a_leaf_that_was_missing_is_added(place: &Place) {
    let mut store = place.open();
    let fence = claim(&mut *store, "badges", "host1", 0);
    let with = |byte| [Advance { position: position(0, 4), leaf: Some(leaf(byte)) }];
    assert_eq!(store.advance(&fence, &[advance(0, 4)], at(1)), Ok(1));
    assert_eq!(store.advance(&fence, &with(1), at(2)), Ok(0));
    assert_eq!(store.advance(&fence, &with(2), at(3)), Ok(0));
    assert_eq!(store.advance(&fence, &[advance(0, 4)], at(4)), Ok(0));
    let cursor = Cursor { position: position(0, 4), leaf: Some(leaf(1)), updated: at(1) };
    assert_eq!(store.load(&name("badges")), Ok(vec![cursor]));
}

pub fn a_call_that_fails_moves_nothing(place: &Place) {
    let mut bounds = Bounds::default();
    bounds.streams = 2;
    let mut store = place.open_with(bounds);
    let fence = claim(&mut *store, "badges", "host1", 0);
    store.advance(&fence, &[advance(0, 1)], at(1)).expect("moved");
    let three = [advance(0, 2), advance(1, 1), advance(2, 1)];
    let full = StoreError::Full { what: "streams of a consumer", bound: 2 };
    assert_eq!(store.advance(&fence, &three, at(2)), Err(full.clone()));
    assert_eq!(store.load(&name("badges")).map(|cursors| numbers(&cursors)), Ok(vec![1]));
    assert_eq!(store.advance(&fence, &three[..2], at(2)), Ok(2), "usable after an error");
    store.release(&fence).expect("released");
    let seek = store.seek(&name("badges"), &stream(2), epoch(1), 0, at(3));
    assert_eq!(seek, Err(full), "no way around");
    assert_eq!(store.seek(&name("badges"), &stream(1), epoch(1), 0, at(3)), Ok(()));
}

pub fn what_nobody_needs_is_forgotten(place: &Place) {
    let mut store = place.open();
    let fence = claim(&mut *store, "badges", "host1", 0);
    for of in 0..5 {
        store.advance(&fence, &[advance(of, 9)], at(i64::from(of))).expect("moved");
    }
    // Something waits of these.
    store.refuse(&fence, &[refused(1, 3)], at(1)).expect("refused");
    store.failed(&fence, &failure(2, 4, 10), at(9), at(2)).expect("kept");
    let streams: Vec<_> = (0..7).map(stream).collect();
    assert_eq!(store.forget(&fence, &streams, at(4)), Ok(vec![stream(0), stream(3)]));
    let kept: Vec<_> = store.load(&name("badges")).expect("cursors");
    let kept: Vec<_> = kept.into_iter().map(|cursor| cursor.position.stream).collect();
    assert_eq!(kept, [stream(1), stream(2), stream(4)]);
    store.cured(&fence, &[position(1, 3)]).expect("struck out");
    store.dead(&fence, &failure(2, 4, 10), at(10)).expect("given up");
    // A dead letter is kept without a cursor.
    assert_eq!(store.forget(&fence, &streams, at(4)), Ok(vec![stream(1), stream(2)]));
    assert_eq!(store.show(&name("badges")).map(|shown| (shown.streams, shown.letters)), Ok((1, 1)));
    claim(&mut *store, "badges", "host1", 5);
    assert!(matches!(store.forget(&fence, &streams, at(9)), Err(StoreError::Fenced { .. })));
    let too_many = vec![stream(0); STORE_BATCH_MAX + 1];
    assert!(matches!(store.forget(&fence, &too_many, at(9)), Err(StoreError::OutOfBounds { .. })));
}

pub fn people_seek_and_skip_when_nobody_runs(place: &Place) {
    let (badges, mut store) = (name("badges"), place.open());
    let fence = claim(&mut *store, "badges", "host1", 0);
    let to = [Advance { position: position(0, 10), leaf: Some(leaf(1)) }];
    store.advance(&fence, &to, at(1)).expect("moved");
    // The lease has ended; its holder may still run, and must not undo what people did.
    assert_eq!(store.seek(&badges, &stream(0), epoch(1), 3, at(30_000)), Ok(()));
    assert!(matches!(store.advance(&fence, &to, at(30_001)), Err(StoreError::Fenced { .. })));
    let cursor = Cursor { position: position(0, 3), leaf: None, updated: at(30_000) };
    assert_eq!(store.load(&badges), Ok(vec![cursor]));
    let skipped = Cursor { position: position(0, 8), leaf: None, updated: at(30_002) };
    assert_eq!(store.skip(&badges, &stream(0), 5, at(30_002)), Ok(skipped));
    let nowhere = StoreError::NoCursor { consumer: badges.clone(), stream: stream(1) };
    assert_eq!(store.skip(&badges, &stream(1), 5, at(30_003)), Err(nowhere));
    assert_eq!(store.seek(&badges, &stream(1), epoch(2), 0, at(30_004)), Ok(()));
    let far = store.skip(&badges, &stream(0), u64::MAX, at(30_005));
    assert!(matches!(far, Err(StoreError::OutOfBounds { .. })), "{far:?}");
    assert_eq!(store.load(&badges).map(|cursors| numbers(&cursors)), Ok(vec![8, 0]));
}

pub fn numbers_and_batches_are_bounded(place: &Place) {
    let mut store = place.open();
    let fence = claim(&mut *store, "badges", "host1", 0);
    assert_eq!(store.advance(&fence, &[advance(0, NUMBER_MAX)], at(1)), Ok(1));
    for i in [NUMBER_MAX + 1, u64::MAX] {
        let beyond = store.advance(&fence, &[advance(0, i)], at(1));
        assert!(matches!(beyond, Err(StoreError::OutOfBounds { .. })), "{beyond:?}");
    }
    let most = |more| vec![advance(1, 1); STORE_BATCH_MAX + more];
    assert_eq!(store.advance(&fence, &most(0), at(1)), Ok(1));
    let beyond = store.advance(&fence, &most(1), at(1));
    assert!(matches!(beyond, Err(StoreError::OutOfBounds { value: 1_025, .. })), "{beyond:?}");
}
