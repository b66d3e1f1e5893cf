//! One owner at a time.

use std::time::Duration;

use fedmsg::consumer::{Start, StoreError};
use fedmsg::durable::{DurableError, DurableEvent};

use crate::world::{Stores, World, find, n, name, next, publish_all, take};

#[test]
fn a_second_one_of_the_same_name_is_refused_and_told_who_runs_it() {
    for stores in Stores::all() {
        let world = World::with(stores);
        let first = world.badges();
        let refused = world.builder().build().expect_err("it is run");
        let text = refused.to_string();
        assert!(matches!(refused, DurableError::Store(StoreError::Held { .. })), "{text}");
        let process = format!("process {}", std::process::id());
        assert!(text.contains(&process) && text.contains("until 20"), "{text}");
        drop(first);
        assert!(world.builder().build().is_ok(), "given back at the end");
    }
}

#[test]
fn a_standby_waits_and_goes_on_where_the_first_one_was() {
    for stores in Stores::all() {
        let world = World::with(stores);
        let publisher = world.publisher("app.one");
        let first = world.builder().start(Start::Earliest).build().expect("a consumer");
        let second = world.builder().standby(true).build().expect("a standby");
        let held = find(&second, |event| match event {
            DurableEvent::Standby(held) => Some(held),
            other => panic!("{other:?}"),
        });
        assert!(matches!(held, StoreError::Held { .. }), "{held}");
        publish_all(&publisher, "app.n", 1..=3);
        take(&first, 1..=2);
        assert!(
            !second.metrics().is_owner && second.recv(Some(Duration::from_millis(1))).is_none()
        );
        drop(first);
        take(&second, [3]);
        assert!(second.metrics().is_owner);
    }
}

#[test]
fn a_standby_that_is_not_needed_ends_at_once() {
    let world = World::new();
    let first = world.badges();
    let second = world.builder().standby(true).build().expect("a standby");
    drop(second);
    drop(first);
}

#[test]
fn whoever_was_taken_over_is_told_and_hands_out_nothing_more() {
    for stores in Stores::all() {
        let world = World::with(stores);
        let publisher = world.publisher("app.one");
        let first = world.builder().start(Start::Earliest).build().expect("a consumer");
        publish_all(&publisher, "app.n", 1..=3);
        let in_hand = next(&first);
        world.store().evict(&name()).expect("evicted");
        let second = world.badges();
        in_hand.ack();
        let ended = find(&first, |event| match event {
            DurableEvent::Ended(error) => Some(error),
            _ => None,
        });
        assert!(matches!(ended, DurableError::Store(StoreError::Fenced { .. })), "{ended}");
        assert!(first.recv(None).is_none(), "the last event");
        let delivery = next(&second);
        assert_eq!(n(&delivery), 1, "what the first one answered too late comes again");
        delivery.ack();
        take(&second, 2..=3);
    }
}

#[test]
fn a_process_that_died_on_this_host_is_not_waited_for() {
    for stores in Stores::all() {
        let world = World::with(stores);
        let alive = world.badges();
        let held = world.builder().build().expect_err("it is run");
        let DurableError::Store(StoreError::Held { owner, .. }) = held else { panic!("{held}") };
        drop(alive);
        // The same name with the number of a process that is not there.
        let own = format!("process {} ", std::process::id());
        let gone = owner.replace(&own, &format!("process {} ", u32::MAX));
        assert_ne!(owner, gone, "{owner}");
        let now = std::time::SystemTime::now().into();
        world.store().claim(&name(), &gone, Start::New, now, 600_000).expect("claimed");
        assert!(world.builder().build().is_ok());
        let elsewhere = owner.replace(&own, "process 7 ").replace(" of ", " of 1");
        world.store().claim(&name(), &elsewhere, Start::New, now, 600_000).expect("claimed");
        assert!(world.builder().build().is_err(), "nobody knows whether that one is gone");
    }
}
