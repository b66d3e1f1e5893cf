//! A durable consumer at a PostgreSQL server that crashes, and at one that ends its sessions.

use fedmsg::consumer::Start;
use fedmsg::durable::{DurableEvent, Trouble};

use crate::server::{Server, psql};
use crate::world::{PATIENCE, Stores, World, find, n, publish_all, take};

/// Takes these, whatever the store says meanwhile, until it has said that it fails.
fn take_in_trouble(badges: &fedmsg::Durable, numbers: std::ops::RangeInclusive<u64>) {
    let (mut said, mut next) = (false, *numbers.start());
    while !said || next <= *numbers.end() {
        find(badges, |event| match event {
            DurableEvent::Trouble(trouble) => {
                assert!(matches!(trouble, Trouble::Store { .. }) && !said, "{trouble}");
                said = true;
                Some(())
            }
            DurableEvent::Delivery(delivery) => {
                assert_eq!(n(&delivery), next);
                next += 1;
                delivery.ack();
                Some(())
            }
            _ => None,
        });
    }
}

#[test]
fn a_server_that_crashes_and_comes_back_costs_nothing() {
    let Some(mut server) = Server::new() else { return };
    let world = World::with(Stores::Postgres(server.schema()));
    let publisher = world.publisher("app.one");
    let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
    publish_all(&publisher, "app.n", 1..=3);
    take(&badges, 1..=3);
    assert!(badges.flush(PATIENCE));
    server.stop();
    publish_all(&publisher, "app.n", 4..=6);
    take_in_trouble(&badges, 4..=6);
    assert!(!badges.flush(std::time::Duration::from_millis(1)), "nothing is written");
    server.start();
    assert!(badges.flush(PATIENCE), "{:?}", badges.metrics());
    assert_eq!(world.cursor(), Some(6), "by itself");
    publish_all(&publisher, "app.n", 7..=8);
    take(&badges, 7..=8);
    drop(badges);
    assert_eq!(world.cursor(), Some(8));
    publish_all(&publisher, "app.n", 9..=9);
    take(&world.badges(), 9..=9);
}

#[test]
fn a_session_that_is_ended_is_made_again_and_the_lease_is_kept() {
    let Some(server) = crate::server::shared() else { return };
    // Sessions of other tests have another name.
    let url = format!("{}&application_name=ended", server.schema());
    let world = World::with(Stores::Postgres(url.clone()));
    let publisher = world.publisher("app.one");
    let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
    for i in 1..=20 {
        publish_all(&publisher, "app.n", [i]);
        take(&badges, [i]);
        psql(
            &server.url(),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ended'",
        );
    }
    assert!(badges.flush(PATIENCE), "{:?}", badges.metrics());
    assert_eq!(world.cursor(), Some(20));
    let refused = world.builder().build().expect_err("it is run");
    assert!(badges.metrics().is_owner, "still the owner: {refused}");
}
