//! Cursors of streams that have ended are forgotten in the end, and nothing else is.

use std::fs;
use std::time::Duration;

use fedmsg::consumer::{Bounds, Start};
use fedmsg::durable::{DurableBuilder, DurableEvent, Trouble};
use fedmsg::testing::{MemoryDisk, MemoryStore};

use crate::world::{PATIENCE, Stores, World, find, n, name, next, publish, take, wait_for};

/// Streams that ended so long ago are forgotten.
const SHORT: Duration = Duration::from_millis(20);

/// The streams of which the store has a cursor.
fn streams(world: &World) -> Vec<String> {
    let cursors = world.store().load(&name()).expect("cursors");
    cursors.iter().map(|cursor| cursor.position.stream.to_string()).collect()
}

/// Services that come and go.
fn service(world: &World, identity: &str, place: u16) {
    world.endpoint(identity, place);
    world.trust(identity);
}

/// Nobody can be asked for what it has published any more.
fn retire(world: &World, identity: &str) {
    fs::remove_file(world.path(&format!("etc/20-{identity}.toml"))).expect("removed");
}

fn begin(world: &World) -> DurableBuilder {
    world.builder().start(Start::Earliest)
}

#[test]
fn a_silent_stream_is_forgotten_when_nobody_keeps_it_and_not_before() {
    for stores in Stores::all() {
        let world = World::with(stores);
        service(&world, "app.two", 2);
        let (one, two) = (world.publisher("app.one"), world.publisher("app.two"));
        let badges = begin(&world).forget_after(SHORT).build().expect("a consumer");
        publish(&one, "app.n", 1);
        take(&badges, [1]);
        publish(&two, "app.n", 2);
        take(&badges, [2]);
        drop(badges);
        assert_eq!(streams(&world), ["app.one/0", "app.two/0"]);
        one.close();
        two.close();
        // Both are silent; one of them has somebody who could hand it out again, and a third one is heard.
        retire(&world, "app.two");
        service(&world, "app.three", 3);
        let three = world.publisher("app.three");
        let badges = begin(&world).forget_after(SHORT).build().expect("a consumer");
        publish(&three, "app.n", 3);
        take(&badges, [3]);
        wait_for(|| badges.metrics().forgotten == 1, || format!("{:?}", badges.metrics()));
        assert!(badges.flush(PATIENCE));
        assert_eq!(streams(&world), ["app.one/0", "app.three/0"]);
        publish(&three, "app.n", 4);
        take(&badges, [4]);
    }
}

/// One service with so many slots.
fn slots(world: &World, identity: &str, count: u16) {
    let ports = |first: u16| {
        let one = |slot| format!("\"tcp://127.0.0.1:{}\"", first + slot);
        (0..count).map(one).collect::<Vec<_>>().join(", ")
    };
    let text = format!(
        "[endpoints.{identity:?}]\npublish = [{}]\nreplay = [{}]\n",
        ports(11_000),
        ports(21_000)
    );
    world.write(&format!("etc/20-{identity}.toml"), &text);
}

#[test]
fn a_stream_that_a_holder_lists_is_kept_and_one_that_no_holder_lists_is_not() {
    for is_elsewhere in [false, true] {
        let world = World::new();
        slots(&world, "app.two", 2);
        world.trust("app.two");
        let own = MemoryDisk::new();
        let first = world.publisher("app.two");
        // The second one is on another disk, or on the same.
        let second = match is_elsewhere {
            true => world.publisher_on(&own, "app.two"),
            false => world.publisher("app.two"),
        };
        assert_eq!(second.stream().as_str(), "app.two/1");
        let badges = begin(&world).build().expect("a consumer");
        publish(&first, "app.n", 1);
        take(&badges, [1]);
        publish(&second, "app.n", 2);
        take(&badges, [2]);
        drop(badges);
        second.close();
        let one = world.publisher("app.one");
        publish(&one, "app.n", 3);
        let badges = begin(&world).build().expect("a consumer");
        take(&badges, [3]);
        drop(badges);
        one.close();
        retire(&world, "app.one");
        slots(&world, "app.two", 1);
        let badges = begin(&world).forget_after(SHORT).build().expect("a consumer");
        let (count, left) = match is_elsewhere {
            true => (2, &["app.two/0"][..]),
            false => (1, &["app.two/0", "app.two/1"][..]),
        };
        wait_for(|| badges.metrics().forgotten == count, || format!("{:?}", badges.metrics()));
        // Whoever has a stream has said so by now: its messages are there.
        publish(&first, "app.n", 4);
        take(&badges, [4]);
        assert!(badges.flush(PATIENCE));
        assert_eq!(streams(&world), left);
    }
}

#[test]
fn what_waits_for_a_rule_or_for_another_try_keeps_its_cursor() {
    let world = World::new();
    service(&world, "app.two", 2);
    let (one, two) = (world.publisher("app.one"), world.publisher("app.two"));
    world.rules("app", "{prefix}.{env}.{service}.m");
    let badges = begin(&world).pattern("app.m").build().expect("a consumer");
    publish(&one, "app.n", 1);
    publish(&one, "app.m", 2);
    take(&badges, [2]);
    publish(&two, "app.m", 3);
    take(&badges, [3]);
    drop(badges);
    one.close();
    two.close();
    retire(&world, "app.one");
    retire(&world, "app.two");
    let badges = begin(&world).pattern("app.m").forget_after(SHORT).build().expect("a consumer");
    wait_for(|| badges.metrics().forgotten == 1, || format!("{:?}", badges.metrics()));
    assert_eq!(streams(&world), ["app.one/0"], "one of its messages is refused");
}

#[test]
fn where_the_store_has_no_room_for_a_new_stream_old_ones_make_room() {
    let mut bounds = Bounds::default();
    bounds.streams = 1;
    let world = World::with(Stores::Memory(MemoryStore::new().with_bounds(bounds)));
    let one = world.publisher("app.one");
    let badges = begin(&world).build().expect("a consumer");
    publish(&one, "app.n", 1);
    take(&badges, [1]);
    drop(badges);
    one.close();
    retire(&world, "app.one");
    service(&world, "app.two", 2);
    let two = world.publisher("app.two");
    publish(&two, "app.n", 2);
    // Long enough that the bound is met first.
    let wait = Duration::from_millis(1_500);
    let badges = begin(&world).forget_after(wait).build().expect("a consumer");
    let delivery = next(&badges);
    assert_eq!(n(&delivery), 2);
    delivery.ack();
    let trouble = find(&badges, |event| match event {
        DurableEvent::Trouble(trouble) => Some(trouble),
        _ => None,
    });
    assert!(matches!(trouble, Trouble::NoCursor { .. }), "{trouble}");
    assert_eq!(streams(&world), ["app.one/0"]);
    wait_for(|| streams(&world) == ["app.two/0"], || format!("{:?}", streams(&world)));
    drop(badges);
    publish(&two, "app.n", 3);
    take(&world.badges(), [3]);
}
