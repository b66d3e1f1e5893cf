//! What cannot be handled, and a store that fails.

use fedmsg::consumer::{Bounds, LetterFilter, Page, Start};
use fedmsg::durable::{DurableEvent, Trouble};
use fedmsg::testing::MemoryStore;

use crate::world::{
    PATIENCE, Stores, World, find, n, name, next, publish, publish_all, take, wait_for,
};

#[test]
fn a_failed_message_is_tried_again_and_then_given_up_while_others_go_on() {
    for stores in Stores::all() {
        let world = World::with(stores);
        let publisher = world.publisher("app.one");
        let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
        publish_all(&publisher, "app.n", 1..=3);
        let mut tries = Vec::new();
        while tries.len() < 3 {
            let delivery = next(&badges);
            match n(&delivery) {
                2 => {
                    tries.push(delivery.attempt());
                    delivery.fail("no");
                }
                _ => delivery.ack(),
            }
        }
        assert_eq!(tries, [1, 2, 3]);
        assert!(badges.flush(PATIENCE));
        assert_eq!(world.cursor(), Some(3));
        let page = Page { after: 0, limit: 10 };
        let mut store = world.store();
        let dead = store.dead_letters(&name(), &LetterFilter::default(), page).expect("letters");
        assert_eq!((dead.len(), dead[0].failure.position.i), (1, 2));
        assert_eq!((dead[0].failure.attempts, dead[0].failure.error.as_str()), (3, "no"));
        // Somebody has it tried again while the consumer runs.
        store.retry(&name(), &[dead[0].id], std::time::SystemTime::now().into()).expect("retried");
        let again = next(&badges);
        assert_eq!((n(&again), again.attempt()), (2, 1));
        again.ack();
        assert!(badges.flush(PATIENCE));
        let summary = world.store().show(&name()).expect("there");
        assert_eq!((summary.retries, summary.letters), (0, 0));
        let metrics = badges.metrics();
        assert_eq!((metrics.failed, metrics.dead, metrics.acked), (3, 1, 3));
    }
}

#[test]
fn a_failed_message_waits_across_a_restart() {
    for stores in Stores::all() {
        let world = World::with(stores);
        let publisher = world.publisher("app.one");
        let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
        publish_all(&publisher, "app.n", 1..=2);
        next(&badges).fail("not now");
        take_next_of(&badges, 2);
        drop(badges);
        assert_eq!(world.cursor(), Some(2));
        let badges = world.badges();
        let again = next(&badges);
        assert!(n(&again) == 1 && again.attempt() >= 2);
        again.ack();
    }
}

/// Acks this one; the other may come again before it.
fn take_next_of(badges: &fedmsg::Durable, wanted: u64) {
    loop {
        let delivery = next(badges);
        if n(&delivery) == wanted {
            return delivery.ack();
        }
        delivery.fail("not now");
    }
}

#[test]
fn one_that_is_dropped_without_an_answer_has_failed() {
    let world = World::new();
    let publisher = world.publisher("app.one");
    let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
    publish(&publisher, "app.n", 1);
    let panicked = std::thread::scope(|scope| {
        let handle = scope.spawn(|| {
            let _delivery = next(&badges);
            std::panic::resume_unwind(Box::new("the handler"));
        });
        handle.join().is_err()
    });
    assert!(panicked);
    let again = next(&badges);
    assert_eq!((n(&again), again.attempt()), (1, 2));
    again.ack();
}

#[test]
fn without_room_for_failed_messages_it_stands_still_in_front_of_one() {
    let mut bounds = Bounds::default();
    bounds.retries = 1;
    let world = World::with(Stores::Memory(MemoryStore::new().with_bounds(bounds)));
    let publisher = world.publisher("app.one");
    let badges = world.builder().start(Start::Earliest).in_flight(2).build().expect("a consumer");
    let long = std::time::Duration::from_secs(3_600);
    drop(badges);
    let patient = fedmsg::durable::Retrying::new(3, long, long);
    let badges = world.builder().in_flight(2).retrying(patient).build().expect("a consumer");
    publish_all(&publisher, "app.n", 1..=4);
    next(&badges).fail("no");
    next(&badges).fail("no");
    let full = find(&badges, |event| match event {
        DurableEvent::Trouble(trouble @ Trouble::Full { .. }) => Some(trouble),
        _ => None,
    });
    assert!(full.to_string().contains("badges stands still"), "{full}");
    assert!(!badges.flush(std::time::Duration::from_millis(1)));
    assert_eq!(world.cursor(), Some(1), "in front of the second one");
    // Once the first one is out of the way, all goes on.
    let later = fedmsg::timestamp::Timestamp::from_millis(i64::MAX / 2);
    let waiting = world.store().due(&name(), later).expect("due").retries;
    assert_eq!(waiting.len(), 1);
}

#[test]
fn while_the_store_fails_deliveries_stop_at_the_bound_and_nothing_is_lost() {
    let store = MemoryStore::new();
    let world = World::with(Stores::Memory(store.clone()));
    let publisher = world.publisher("app.one");
    let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
    publish_all(&publisher, "app.n", 1..=3);
    take(&badges, 1..=3);
    assert!(badges.flush(PATIENCE));
    store.set_broken(true);
    publish_all(&publisher, "app.n", 4..=6);
    // What is said and what is handed out come in any order.
    let (mut said, mut handled) = (false, 0);
    while !said || handled < 3 {
        find(&badges, |event| match event {
            DurableEvent::Trouble(trouble) => {
                assert!(matches!(trouble, Trouble::Store { .. }) && !said, "{trouble}");
                said = true;
                Some(())
            }
            DurableEvent::Delivery(delivery) => {
                handled += 1;
                assert_eq!(n(&delivery), 3 + handled);
                delivery.ack();
                Some(())
            }
            _ => None,
        });
    }
    wait_for(|| badges.metrics().store_failures > 2, || format!("{:?}", badges.metrics()));
    assert!(!badges.flush(std::time::Duration::from_millis(1)));
    store.set_broken(false);
    assert!(badges.flush(PATIENCE));
    assert_eq!(world.cursor(), Some(6), "by itself");
}
