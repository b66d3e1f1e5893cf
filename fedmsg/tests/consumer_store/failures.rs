//! What could not be handled.

use fedmsg::consumer::{Bounds, DeadLetter, Failure, LetterFilter, Page, Retry, StoreError};
use fedmsg::limits::{ENVELOPE_BYTES_MAX, ERROR_TEXT_BYTES_MAX};
use fedmsg::topic::{Pattern, Topic};

use crate::fixtures::{at, claim, failure, name, position};
use crate::places::Place;

const ALL: Page = Page { after: 0, limit: usize::MAX };

pub fn a_failed_message_waits_until_it_is_due(place: &Place) {
    let (badges, mut store) = (name("badges"), place.open());
    let fence = claim(&mut *store, "badges", "host1", 0);
    store.failed(&fence, &failure(0, 1, 100), at(50), at(1)).expect("kept");
    store.failed(&fence, &failure(0, 2, 100), at(20), at(2)).expect("kept");
    let again = Failure { error: "no\0again".into(), attempts: 2, ..failure(0, 1, 100) };
    store.failed(&fence, &again, at(60), at(3)).expect("kept");
    drop(store);
    let mut store = place.open();
    let early = store.due(&badges, at(19)).expect("due");
    assert_eq!((early.retries.len(), early.next_at), (0, Some(at(20))));
    let first = Retry { failure: failure(0, 2, 100), first_failed: at(2), next_at: at(20) };
    let due = store.due(&badges, at(20)).expect("due");
    assert_eq!((due.retries, due.next_at), (vec![first.clone()], Some(at(60))));
    let again = Failure { error: "no again".into(), ..again };
    let second = Retry { failure: again, first_failed: at(1), next_at: at(60) };
    let due = store.due(&badges, at(60)).expect("due");
    assert_eq!((due.retries, due.next_at), (vec![first, second], None), "the longest due first");
    assert_eq!(store.succeeded(&fence, &[position(0, 1), position(0, 2), position(0, 3)]), Ok(2));
    assert_eq!(store.due(&badges, at(99)), Ok(fedmsg::consumer::Due::default()));
}

pub fn a_full_waiting_room_stops_the_consumer(place: &Place) {
    let mut bounds = Bounds::default();
    (bounds.retries, bounds.retry_bytes) = (2, 100);
    let mut store = place.open_with(bounds);
    let fence = claim(&mut *store, "badges", "host1", 0);
    let mut fail = |i, bytes| store.failed(&fence, &failure(0, i, bytes), at(9), at(1));
    assert_eq!(fail(1, 60), Ok(()));
    let what = "bytes of messages to be tried again";
    assert_eq!(fail(2, 41), Err(StoreError::Full { what, bound: 100 }));
    assert_eq!(fail(2, 40), Ok(()));
    let what = "messages to be tried again";
    assert_eq!(fail(3, 0), Err(StoreError::Full { what, bound: 2 }));
    assert_eq!(fail(2, 40), Ok(()), "it is there already");
    let beyond = fail(4, ENVELOPE_BYTES_MAX + 1);
    assert!(matches!(beyond, Err(StoreError::OutOfBounds { .. })), "{beyond:?}");
    assert_eq!(store.show(&name("badges")).map(|summary| summary.retries), Ok(2));
}

pub fn a_message_given_up_keeps_its_bytes(place: &Place) {
    let (badges, mut store) = (name("badges"), place.open());
    let fence = claim(&mut *store, "badges", "host1", 0);
    store.failed(&fence, &failure(0, 1, 10), at(9), at(1)).expect("kept");
    let long = "é".repeat(ERROR_TEXT_BYTES_MAX);
    let last = Failure { error: long.clone(), attempts: 8, ..failure(0, 1, 10) };
    assert_eq!(store.dead(&fence, &last, at(2)), Ok(1));
    assert_eq!(
        store.dead(&fence, &last, at(3)),
        Ok(1),
        "asked again after an answer that was lost"
    );
    assert_eq!(store.dead(&fence, &failure(0, 2, ENVELOPE_BYTES_MAX), at(4)), Ok(2), "at once");
    drop(store);
    let mut store = place.open();
    let kept = Failure { error: long[..ERROR_TEXT_BYTES_MAX].into(), ..last };
    let at_once = failure(0, 2, ENVELOPE_BYTES_MAX);
    let expected = [
        DeadLetter { id: 1, failure: kept, first_failed: at(1), died: at(3) },
        DeadLetter { id: 2, failure: at_once, first_failed: at(4), died: at(4) },
    ];
    let letters = store.dead_letters(&badges, &LetterFilter::default(), ALL);
    assert_eq!(letters.as_deref(), Ok(&expected[..]));
    assert_eq!(store.show(&badges).map(|summary| summary.retries), Ok(0));
}

pub fn the_oldest_letters_fall_out_and_are_counted(place: &Place) {
    let (badges, mut bounds) = (name("badges"), Bounds::default());
    (bounds.letters, bounds.letter_bytes) = (3, 100);
    let mut store = place.open_with(bounds);
    let fence = claim(&mut *store, "badges", "host1", 0);
    for i in 1..=4 {
        assert_eq!(store.dead(&fence, &failure(0, i, 20), at(1)), Ok(i));
    }
    assert_eq!(store.show(&badges).map(|s| (s.letters, s.letters_dropped)), Ok((3, 1)));
    assert_eq!(store.dead(&fence, &failure(0, 2, 70), at(2)), Ok(2), "the number stays");
    assert_eq!(store.show(&badges).map(|s| (s.letters, s.letters_dropped)), Ok((2, 2)));
    let left = store.dead_letters(&badges, &LetterFilter::default(), ALL).expect("letters");
    assert_eq!(left.iter().map(|letter| letter.id).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(store.dead(&fence, &failure(0, 9, 5_000), at(3)), Ok(5), "never the newest one");
    assert_eq!(store.show(&badges).map(|s| (s.letters, s.letters_dropped)), Ok((1, 4)));
}

pub fn letters_are_paged_filtered_retried_and_discarded(place: &Place) {
    let (badges, mut store) = (name("badges"), place.open());
    let fence = claim(&mut *store, "badges", "host1", 0);
    let topic = Topic::parse("org.example.prod.koji.build.done").expect("a topic");
    for i in 1..=5 {
        let mut dead = failure(u16::from(i == 5), i, 10);
        if i == 2 {
            dead.topic = topic.clone();
        }
        assert_eq!(store.dead(&fence, &dead, at(1)), Ok(i));
    }
    let mut ids = |filter: &LetterFilter, after, limit| {
        let page = store.dead_letters(&badges, filter, Page { after, limit }).expect("a page");
        page.into_iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    let all = LetterFilter::default();
    assert_eq!(
        (ids(&all, 0, 2), ids(&all, 2, 2), ids(&all, 4, 2)),
        (vec![1, 2], vec![3, 4], vec![5])
    );
    assert_eq!((ids(&all, 5, 2), ids(&all, u64::MAX, 2)), (vec![], vec![]));
    let koji = Pattern::subscription("org.example.*.koji").expect("a pattern");
    assert_eq!(ids(&LetterFilter { topic: Some(koji), stream: None }, 0, 9), [2]);
    let other = Some(position(1, 5).stream);
    assert_eq!(ids(&LetterFilter { topic: None, stream: other }, 0, 9), [5]);
    assert_eq!(store.retry(&badges, &[3, 1, 77, 1], at(5)), Ok(2));
    let due = store.due(&badges, at(5)).expect("due");
    let expected = [1, 3].map(|i| Retry {
        failure: Failure { attempts: 0, ..failure(0, i, 10) },
        first_failed: at(1),
        next_at: at(5),
    });
    assert_eq!(due.retries, expected, "from the first attempt on");
    assert_eq!(store.discard(&badges, &[2, 3, 4]), Ok(2));
    assert_eq!(
        store.dead(&fence, &failure(0, 1, 10), at(6)),
        Ok(6),
        "numbers are never used again"
    );
    let left = store.dead_letters(&badges, &all, ALL).expect("letters");
    assert_eq!(left.iter().map(|letter| letter.id).collect::<Vec<_>>(), [5, 6]);
}

pub fn pages_are_bounded_by_bytes(place: &Place) {
    let (badges, mut store) = (name("badges"), place.open());
    let fence = claim(&mut *store, "badges", "host1", 0);
    for i in 1..=17 {
        store.failed(&fence, &failure(0, i, ENVELOPE_BYTES_MAX), at(2), at(1)).expect("kept");
        store.dead(&fence, &failure(1, i, ENVELOPE_BYTES_MAX), at(1)).expect("kept");
    }
    let due = store.due(&badges, at(3)).expect("due");
    assert_eq!((due.retries.len(), due.next_at), (16, Some(at(2))));
    let letters = store.dead_letters(&badges, &LetterFilter::default(), ALL).expect("letters");
    assert_eq!(letters.len(), 16);
    for i in 100..170 {
        store.failed(&fence, &failure(2, i, 1), at(0), at(0)).expect("kept");
    }
    let due = store.due(&badges, at(3)).expect("due");
    assert_eq!((due.retries.len(), due.next_at), (64, Some(at(0))));
}
