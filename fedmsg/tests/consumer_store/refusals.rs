//! What was refused, and may be cured.

use fedmsg::KeyId;
use fedmsg::consumer::{Bounds, Curable, Refusal, RefusalFilter, Refused};

use crate::fixtures::{at, claim, leaf, name, position, refused};
use crate::places::Place;

pub fn refusals_are_kept_counted_and_struck_out(place: &Place) {
    let (badges, mut store) = (name("badges"), place.open());
    let fence = claim(&mut *store, "badges", "host1", 0);
    let verified = Refused { leaf: Some(leaf(1)), ..refused(0, 5) };
    let later = Refused { reason: Curable::NoRule, ..refused(0, 5) };
    assert_eq!(
        store.refuse(&fence, &[refused(1, 2), refused(0, 9), verified.clone()], at(1)),
        Ok(0)
    );
    assert_eq!(store.refuse(&fence, std::slice::from_ref(&later), at(2)), Ok(0));
    drop(store);
    let mut store = place.open();
    let first_seen = at(1);
    let expected = [
        Refusal { refused: Refused { leaf: Some(leaf(1)), ..later }, first_seen, count: 2 },
        Refusal { refused: refused(0, 9), first_seen, count: 1 },
        Refusal { refused: refused(1, 2), first_seen, count: 1 },
    ];
    let all = RefusalFilter::default();
    assert_eq!(store.refusals(&badges, &all).as_deref(), Ok(&expected[..]));
    assert_eq!(store.cured(&fence, &[position(0, 5), position(0, 6), position(1, 2)]), Ok(2));
    assert_eq!(store.cured(&fence, &[position(0, 5)]), Ok(0));
    assert_eq!(store.refusals(&badges, &all).as_deref(), Ok(&expected[1..2]));
}

pub fn refusals_are_found_by_stream_reason_and_key(place: &Place) {
    let mut store = place.open();
    let fence = claim(&mut *store, "badges", "host1", 0);
    let key = KeyId::of(&[9; 32]);
    let rule = Refused { reason: Curable::NoRule, ..refused(0, 2) };
    let other = Refused { key, reason: Curable::NotYetValid, ..refused(1, 3) };
    store.refuse(&fence, &[refused(0, 1), rule, other], at(1)).expect("written");
    let stream = Some(position(0, 1).stream);
    for (filter, expected) in [
        (RefusalFilter { stream: stream.clone(), ..RefusalFilter::default() }, vec![1, 2]),
        (RefusalFilter { reason: Some(Curable::NoRule), ..RefusalFilter::default() }, vec![2]),
        (RefusalFilter { key: Some(key), ..RefusalFilter::default() }, vec![3]),
        (RefusalFilter { stream, reason: Some(Curable::NotYetValid), key: Some(key) }, vec![]),
    ] {
        let found = store.refusals(&name("badges"), &filter).expect("refusals");
        let numbers: Vec<_> = found.iter().map(|one| one.refused.position.i).collect();
        assert_eq!(numbers, expected, "{filter:?}");
    }
}

pub fn what_finds_no_room_is_counted(place: &Place) {
    let (badges, mut bounds) = (name("badges"), Bounds::default());
    (bounds.refusals, bounds.refusals_of_stream) = (4, 2);
    let mut store = place.open_with(bounds);
    let fence = claim(&mut *store, "badges", "host1", 0);
    let flood: Vec<_> = (1..=5).map(|i| refused(0, i)).collect();
    assert_eq!(store.refuse(&fence, &flood, at(1)), Ok(3), "one stream does not take all");
    let others = [refused(1, 1), refused(2, 1), refused(3, 1), refused(0, 1)];
    assert_eq!(store.refuse(&fence, &others, at(2)), Ok(1));
    let summary = store.show(&badges).expect("shown");
    assert_eq!((summary.refusals, summary.refusals_dropped), (4, 4));
    assert_eq!(store.cured(&fence, &[position(0, 1)]), Ok(1));
    assert_eq!(store.refuse(&fence, &[refused(0, 3)], at(3)), Ok(0), "there is room again");
    let left = store.refusals(&badges, &RefusalFilter::default()).expect("refusals");
    let positions: Vec<_> = left.iter().map(|one| one.refused.position.clone()).collect();
    assert_eq!(positions, [position(0, 2), position(0, 3), position(1, 1), position(2, 1)]);
}
