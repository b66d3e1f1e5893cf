//! What people ask and do.

use fedmsg::consumer::{
    CursorStore, Lease, LetterFilter, Page, RefusalFilter, Start, StoreError, Summary,
};

use crate::fixtures::{advance, at, claim, epoch, failure, name, refused, stream};
use crate::places::Place;

pub fn consumers_are_listed_shown_and_deleted(place: &Place) {
    let mut store = place.open();
    assert_eq!(store.consumers(), Ok(Vec::new()));
    let fence = claim(&mut *store, "badges", "host1", 0);
    store.advance(&fence, &[advance(0, 1), advance(1, 1)], at(7)).expect("moved");
    store.refuse(&fence, &[refused(0, 2)], at(8)).expect("written");
    store.failed(&fence, &failure(0, 3, 1), at(9), at(8)).expect("kept");
    store.dead(&fence, &failure(0, 4, 1), at(8)).expect("kept");
    claim(&mut *store, "a.first", "host2", 5);
    let badges = Summary {
        consumer: name("badges"),
        created: at(0),
        start: Start::New,
        lease: Some(Lease { owner: "host1".into(), until: at(30_000) }),
        streams: 2,
        moved: Some(at(7)),
        refusals: 1,
        refusals_dropped: 0,
        retries: 1,
        letters: 1,
        letters_dropped: 0,
    };
    let list = place.open().consumers().expect("a list");
    assert_eq!(
        list.iter().map(|one| one.consumer.as_str()).collect::<Vec<_>>(),
        ["a.first", "badges"]
    );
    assert_eq!((&list[1], &store.show(&name("badges")).expect("shown")), (&badges, &badges));
    assert_eq!((list[0].created, list[0].moved), (at(5), None));
    assert_eq!(store.delete(&name("badges"), at(30_000)), Ok(()));
    claim(&mut *store, "badges", "host3", 30_001);
    let anew = Summary {
        created: at(30_001),
        lease: Some(Lease { owner: "host3".into(), until: at(60_001) }),
        streams: 0,
        moved: None,
        refusals: 0,
        retries: 0,
        letters: 0,
        ..badges
    };
    assert_eq!(store.show(&name("badges")), Ok(anew), "nothing is left of the old one");
}

pub fn nothing_is_changed_while_somebody_runs_it(place: &Place) {
    let (badges, mut store) = (name("badges"), place.open());
    let fence = claim(&mut *store, "badges", "host1", 0);
    store.advance(&fence, &[advance(0, 5)], at(1)).expect("moved");
    let now = at(29_999);
    let held =
        StoreError::Held { consumer: badges.clone(), owner: "host1".into(), until: at(30_000) };
    let people: &mut dyn CursorStore = &mut *place.open();
    assert_eq!(people.seek(&badges, &stream(0), epoch(1), 0, now), Err(held.clone()));
    assert_eq!(people.skip(&badges, &stream(0), 1, now), Err(held.clone()));
    assert_eq!(people.delete(&badges, now), Err(held));
    assert_eq!(store.advance(&fence, &[advance(0, 6)], now), Ok(1), "who runs it is not disturbed");
    store.release(&fence).expect("released");
    assert_eq!(people.seek(&badges, &stream(0), epoch(1), 0, now), Ok(()), "given back early");
}

pub fn unknown_consumers_are_named(place: &Place) {
    let (nobody, mut store) = (name("nobody"), place.open());
    let unknown = StoreError::NoConsumer(nobody.clone());
    let page = Page { after: 0, limit: 1 };
    assert_eq!(store.load(&nobody), Err(unknown.clone()));
    assert_eq!(store.show(&nobody), Err(unknown.clone()));
    assert_eq!(store.refusals(&nobody, &RefusalFilter::default()), Err(unknown.clone()));
    assert_eq!(store.due(&nobody, at(0)), Err(unknown.clone()));
    assert_eq!(store.dead_letters(&nobody, &LetterFilter::default(), page), Err(unknown.clone()));
    assert_eq!(store.retry(&nobody, &[1], at(0)), Err(unknown.clone()));
    assert_eq!(store.discard(&nobody, &[1]), Err(unknown.clone()));
    assert_eq!(store.seek(&nobody, &stream(0), epoch(1), 0, at(0)), Err(unknown.clone()));
    assert_eq!(store.skip(&nobody, &stream(0), 1, at(0)), Err(unknown.clone()));
    assert_eq!(store.delete(&nobody, at(0)), Err(unknown.clone()));
    assert_eq!(store.evict(&nobody), Err(unknown));
}
