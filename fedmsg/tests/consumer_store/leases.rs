//! Who runs a consumer.

use fedmsg::consumer::{Lease, Start, StoreError};

use crate::fixtures::{
    LEASE_MS, advance, at, claim, claimed, failure, name, numbers, position, refused,
};
use crate::places::Place;

pub fn one_owner_at_a_time(place: &Place) {
    let (mut first, mut second) = (place.open(), place.open());
    claim(&mut *first, "badges", "host1", 0);
    let refused = second.claim(&name("badges"), "host2", Start::New, at(29_999), LEASE_MS);
    let held =
        StoreError::Held { consumer: name("badges"), owner: "host1".into(), until: at(30_000) };
    assert_eq!(refused, Err(held.clone()));
    assert!(held.to_string().contains("run by host1 until 2026-09-21T14:13:50.000Z"), "{held}");
    claim(&mut *second, "mirror", "host2", 0);
    claim(&mut *second, "badges", "host2", 30_000);
}

pub fn whoever_was_taken_over_writes_nothing(place: &Place) {
    let (mut first, mut second) = (place.open(), place.open());
    let old = claim(&mut *first, "badges", "host1", 0);
    assert_eq!(first.advance(&old, &[advance(0, 5)], at(1)), Ok(1));
    let late = at(40_000);
    assert_eq!(first.advance(&old, &[advance(0, 6)], late), Ok(1), "late, but nobody else came");
    let new = claim(&mut *second, "badges", "host2", 40_000);
    assert!(new.number() > old.number());
    let fenced = StoreError::Fenced { consumer: name("badges"), fence: old.number() };
    assert_eq!(first.advance(&old, &[advance(0, 7)], late), Err(fenced.clone()));
    assert_eq!(first.refuse(&old, &[refused(0, 7)], late), Err(fenced.clone()));
    assert_eq!(first.cured(&old, &[position(0, 7)]), Err(fenced.clone()));
    assert_eq!(first.failed(&old, &failure(0, 7, 1), late, late), Err(fenced.clone()));
    assert_eq!(first.succeeded(&old, &[position(0, 7)]), Err(fenced.clone()));
    assert_eq!(first.dead(&old, &failure(0, 7, 1), late), Err(fenced.clone()));
    assert_eq!(first.renew(&old, late), Err(fenced.clone()));
    assert_eq!(first.release(&old), Err(fenced));
    assert_eq!(numbers(&second.load(&name("badges")).expect("cursors")), [6]);
    let summary = second.show(&name("badges")).expect("shown");
    assert_eq!((summary.refusals, summary.retries, summary.letters), (0, 0, 0));
    assert_eq!(summary.lease, Some(Lease { owner: "host2".into(), until: at(70_000) }));
    // A restarted process is the same owner, and fences what is left of itself.
    let again = claim(&mut *second, "badges", "host2", 40_001);
    assert!(again.number() > new.number());
    assert!(matches!(second.renew(&new, late), Err(StoreError::Fenced { .. })));
}

pub fn a_lease_is_prolonged_given_back_and_taken_away(place: &Place) {
    let mut store = place.open();
    let fence = claim(&mut *store, "badges", "host1", 0);
    assert_eq!(store.renew(&fence, at(20_000)), Ok(at(50_000)));
    let other = store.claim(&name("badges"), "host2", Start::New, at(49_999), LEASE_MS);
    assert!(matches!(other, Err(StoreError::Held { .. })));
    assert_eq!(store.renew(&fence, at(60_000)), Ok(at(90_000)), "late, but nobody else came");
    assert_eq!(store.release(&fence), Ok(()));
    assert_eq!(store.release(&fence), Ok(()), "asked again after an answer that was lost");
    assert!(matches!(store.advance(&fence, &[], at(60_000)), Err(StoreError::Fenced { .. })));
    let fence = claim(&mut *store, "badges", "host2", 60_001);
    let lease = Lease { owner: "host2".into(), until: at(90_001) };
    assert_eq!(store.evict(&name("badges")), Ok(Some(lease)));
    assert_eq!(store.evict(&name("badges")), Ok(None));
    assert!(matches!(store.renew(&fence, at(60_002)), Err(StoreError::Fenced { .. })));
    assert!(matches!(store.release(&fence), Err(StoreError::Fenced { .. })));
}

pub fn what_a_consumer_was_created_with_counts(place: &Place) {
    let start = Start::Time(at(-5));
    let mut store = place.open();
    let first = store.claim(&name("badges"), "host1", start, at(0), LEASE_MS).expect("claimed");
    assert_eq!((first.created, first.start), (at(0), start));
    store.release(&first.fence).expect("released");
    drop(store);
    let again = claimed(&mut *place.open(), "badges", "host2", 99);
    assert_eq!((again.created, again.start), (at(0), start));
}

pub fn a_deleted_consumer_leaves_no_fence_that_fits(place: &Place) {
    let mut store = place.open();
    let old = claim(&mut *store, "badges", "host1", 0);
    store.delete(&name("badges"), at(30_000)).expect("deleted");
    assert!(matches!(store.renew(&old, at(30_001)), Err(StoreError::Fenced { .. })));
    let new = claim(&mut *store, "badges", "host1", 30_002);
    assert!(new.number() > old.number());
    assert!(matches!(store.renew(&old, at(30_003)), Err(StoreError::Fenced { .. })));
}

pub fn bounds_of_claims(place: &Place) {
    let mut bounds = fedmsg::consumer::Bounds::default();
    bounds.consumers = 2;
    let mut store = place.open_with(bounds);
    claim(&mut *store, "a", "host1", 0);
    claim(&mut *store, "b", "host1", 0);
    claim(&mut *store, "b", "host1", 1);
    let third = store.claim(&name("c"), "host1", Start::New, at(0), LEASE_MS);
    assert_eq!(third, Err(StoreError::Full { what: "consumers", bound: 2 }));
    let long = store.claim(&name("a"), "host1", Start::New, at(0), 600_001);
    assert!(matches!(long, Err(StoreError::OutOfBounds { value: 600_001, bound: 600_000, .. })));
    let owner = store.claim(&name("a"), "a\0b", Start::New, at(0), LEASE_MS);
    assert_eq!(owner, Err(StoreError::BadOwner("a\0b".into())));
}
