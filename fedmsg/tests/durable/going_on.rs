//! A consumer goes on where it was.

use std::time::SystemTime;

use fedmsg::consumer::Start;
use fedmsg::durable::DurableEvent;
use fedmsg::timestamp::Timestamp;

use crate::world::{PATIENCE, Stores, World, find, n, next, publish, publish_all, take, wait_for};

#[test]
fn what_comes_while_it_is_away_is_fetched_when_it_is_back() {
    for stores in Stores::all() {
        let world = World::with(stores);
        let publisher = world.publisher("app.one");
        let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
        (1..=3).for_each(|i| assert_eq!(publish(&publisher, "app.n", i), i));
        take(&badges, 1..=3);
        drop(badges);
        assert_eq!(world.cursor(), Some(3), "what was answered is written at the end");
        (4..=6).for_each(|i| assert_eq!(publish(&publisher, "app.n", i), i));
        let badges = world.badges();
        take(&badges, 4..=6);
        assert!(badges.flush(PATIENCE));
        assert_eq!(world.cursor(), Some(6));
    }
}

#[test]
fn what_was_not_answered_comes_again() {
    for stores in Stores::all() {
        let world = World::with(stores);
        let publisher = world.publisher("app.one");
        let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
        publish_all(&publisher, "app.n", 1..=4);
        let mut hands: Vec<_> = (0..4).map(|_| next(&badges)).collect();
        // All but the second one are answered, in another order.
        hands.remove(3).ack();
        hands.remove(2).ack();
        hands.remove(0).ack();
        assert!(badges.flush(PATIENCE));
        assert_eq!(world.cursor(), Some(1));
        drop(badges);
        drop(hands);
        let badges = world.badges();
        take(&badges, 2..=4);
    }
}

#[test]
fn a_cursor_goes_along_with_what_nobody_wants() {
    let world = World::new();
    let publisher = world.publisher("app.one");
    let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
    publish_all(&publisher, "app.other", 1..=5);
    publish(&publisher, "app.n", 6);
    take(&badges, [6]);
    assert!(badges.flush(PATIENCE));
    assert_eq!(world.cursor(), Some(6));
    publish_all(&publisher, "app.other", 7..=9);
    world.cursor_comes_to(9);
    assert_eq!(badges.metrics().lag, 0);
}

#[test]
fn a_consumer_that_is_new_gets_what_comes_after_its_creation_also_of_a_stream_born_later() {
    let world = World::new();
    let publisher = world.publisher("app.one");
    publish(&publisher, "app.n", 1);
    let before = Timestamp::from(SystemTime::now());
    // The clocks here tell milliseconds.
    wait_for(|| Timestamp::from(SystemTime::now()) > before, String::new);
    let badges = world.badges();
    let created = find(&badges, |event| match event {
        DurableEvent::Claimed(created) => Some(created),
        _ => None,
    });
    assert!(created > before);
    publish(&publisher, "app.n", 2);
    take(&badges, [2]);
    drop(badges);
    world.endpoint("app.two", 2);
    world.trust("app.two");
    let second = world.publisher("app.two");
    publish_all(&second, "app.n", 3..=4);
    let badges = world.badges();
    take(&badges, 3..=4);
}

#[test]
fn no_more_than_the_bound_is_handed_out() {
    let world = World::new();
    let publisher = world.publisher("app.one");
    let badges = world.builder().in_flight(3).start(Start::Earliest).build().expect("a consumer");
    publish_all(&publisher, "app.n", 1..=10);
    let hands: Vec<_> = (0..3).map(|_| next(&badges)).collect();
    assert_eq!(badges.metrics().in_flight, 3);
    assert!(badges.recv(Some(std::time::Duration::from_millis(50))).is_none());
    for (delivery, i) in hands.into_iter().zip(1..) {
        assert_eq!(n(&delivery), i);
        delivery.ack();
    }
    take(&badges, 4..=10);
}

#[test]
fn whoever_closes_it_gets_the_end_and_the_last_answers_count() {
    let world = World::new();
    let publisher = world.publisher("app.one");
    let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
    publish_all(&publisher, "app.n", 1..=5);
    let first = next(&badges);
    badges.closer().close();
    assert!(badges.recv(None).is_none());
    first.ack();
    drop(badges);
    assert_eq!(world.cursor(), Some(1));
    take(&world.badges(), 2..=5);
}

#[test]
fn acks_from_many_threads_move_one_cursor() {
    for stores in Stores::all() {
        let world = World::with(stores);
        let publisher = world.publisher("app.one");
        let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| badges.deliveries().for_each(|delivery| delivery.ack()));
            }
            publish_all(&publisher, "app.n", 1..=500);
            world.cursor_comes_to(500);
            badges.closer().close();
        });
        assert_eq!((badges.metrics().acked, badges.metrics().in_flight), (500, 0));
    }
}
