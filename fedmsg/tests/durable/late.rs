//! Keys and rules that arrive late lose nothing.

use fedmsg::consumer::{RefusalFilter, Start};

use crate::world::{PATIENCE, Stores, World, n, name, next, publish, publish_all, take, wait_for};

fn ledger(world: &World) -> Vec<(u64, &'static str)> {
    let refusals = world.store().refusals(&name(), &RefusalFilter::default()).expect("refusals");
    let row = |refusal: &fedmsg::consumer::Refusal| {
        (refusal.refused.position.i, refusal.refused.reason.name())
    };
    refusals.iter().map(row).collect()
}

#[test]
fn a_rule_that_comes_later_brings_the_refused_messages() {
    for stores in Stores::all() {
        let world = World::with(stores);
        let publisher = world.publisher("app.one");
        // The host of the consumer has an older policy than that of the publisher.
        world.rules("app", "{prefix}.{env}.{service}.m");
        let badges =
            world.builder().start(Start::Earliest).pattern("app.m").build().expect("a consumer");
        publish(&publisher, "app.m", 1);
        publish_all(&publisher, "app.n", 2..=8);
        publish(&publisher, "app.other", 9);
        publish(&publisher, "app.m", 10);
        take(&badges, [1, 10]);
        assert!(badges.flush(PATIENCE), "{:?}", badges.metrics());
        assert_eq!(world.cursor(), Some(10));
        let rows: Vec<_> = (2..=8).map(|i| (i, "no_rule")).collect();
        assert_eq!(ledger(&world), rows, "what is wanted, and no more");

        world.rules("app", "{prefix}.{env}.{service}.>");
        let mut late = Vec::new();
        for _ in 2..=8 {
            let delivery = next(&badges);
            assert!(delivery.is_late());
            late.push(n(&delivery));
            delivery.ack();
        }
        late.sort_unstable();
        assert_eq!(late, (2..=8).collect::<Vec<_>>());
        assert!(badges.flush(PATIENCE));
        assert_eq!((ledger(&world), badges.metrics().late), (vec![], 7));
    }
}

#[test]
fn a_rule_that_came_while_the_consumer_was_away_is_seen_when_it_begins() {
    let world = World::new();
    let publisher = world.publisher("app.one");
    world.rules("app", "{prefix}.{env}.{service}.m");
    let begin = || world.builder().start(Start::Earliest).pattern("app.m").build();
    let badges = begin().expect("a consumer");
    publish(&publisher, "app.n", 1);
    publish(&publisher, "app.m", 2);
    take(&badges, [2]);
    drop(badges);
    assert_eq!((world.cursor(), ledger(&world)), (Some(2), vec![(1, "no_rule")]));
    world.rules("app", "{prefix}.{env}.{service}.>");
    let badges = begin().expect("a consumer");
    let late = next(&badges);
    assert!(late.is_late() && n(&late) == 1);
    late.ack();
    drop(badges);
    assert_eq!(ledger(&world), []);
}

#[test]
fn a_stream_whose_key_comes_later_is_taken_from_where_it_would_have_begun() {
    let world = World::new();
    world.endpoint("app.two", 2);
    world.trust("app.two");
    let second = world.publisher("app.two");
    std::fs::remove_file(world.path("etc/keys.d/app.two.toml")).expect("removed");
    let badges = world.builder().start(Start::Earliest).build().expect("a consumer");
    publish_all(&second, "app.n", 1..=5);
    wait_for(|| badges.metrics().refused == 1, || format!("{:?}", badges.metrics()));
    assert_eq!(ledger(&world).len(), 1, "one note for the stream");
    assert_eq!(ledger(&world)[0].1, "unknown_key");
    drop(badges);
    let badges = world.badges();
    world.trust("app.two");
    take(&badges, 1..=5);
    wait_for(|| ledger(&world).is_empty(), || format!("{:?}", ledger(&world)));
}

#[test]
fn a_key_that_goes_and_comes_back_loses_nothing_that_was_refused_before() {
    for stores in Stores::all() {
        let world = World::with(stores);
        let publisher = world.publisher("app.one");
        world.rules("app", "{prefix}.{env}.{service}.m");
        let badges =
            world.builder().start(Start::Earliest).pattern("app.m").build().expect("a consumer");
        publish_all(&publisher, "app.n", 1..=3);
        publish(&publisher, "app.m", 4);
        take(&badges, [4]);
        // Now these are fetched again, because keys have changed, and nobody here can verify them.
        std::fs::remove_file(world.path("etc/keys.d/app.one.toml")).expect("removed");
        let noted = || ledger(&world).iter().any(|(_, reason)| *reason == "unknown_key");
        wait_for(noted, || format!("{:?}", ledger(&world)));
        world.trust("app.one");
        wait_for(|| !noted(), || format!("{:?}", ledger(&world)));
        world.rules("app", "{prefix}.{env}.{service}.>");
        let mut late = Vec::new();
        for _ in 1..=3 {
            let delivery = next(&badges);
            assert!(delivery.is_late());
            late.push(n(&delivery));
            delivery.ack();
        }
        late.sort_unstable();
        assert_eq!(late, [1, 2, 3]);
    }
}
