//! The past first, then the present, without a seam.

use fedmsg::history::Order;
use fedmsg::limits::{LISTING_MS, STALL_MS};
use fedmsg::sequence::Begin;

use crate::world::{Mode, World, Writer, fetched};

fn history(order: Order, holders: usize) -> (World, Writer) {
    let (mut writer, genesis) = Writer::new();
    let mut world = World::with(holders, |reception| {
        reception.set_beginning(|_| Begin::Earliest, 1_000);
        reception.read_history(order, 1_000);
    });
    let sealed = writer.seal(2_500);
    world.keep([&genesis], 1);
    world.keep(&sealed, 1);
    (world, writer)
}

#[test]
fn the_past_is_followed_by_the_present_without_a_seam() {
    for order in [Order::Arrival, Order::Time] {
        let (mut world, mut writer) = history(order, 1);
        let news = writer.seal(5);
        world.keep(&news, 1);
        // While the past is read, what arrives by itself is left for later.
        world.arrive([&writer.beat(0), &news[0], &news[1]]);
        world.pass(1_000);
        let said = world.words.join(" ");
        assert!(said == format!("live 1 {} caught-up:1", fetched(1, 2_505)), "{order:?}: {said}");
        world.words.clear();
        world.arrive(&writer.seal(1));
        world.says("2506");
    }
}

#[test]
fn a_past_that_nobody_has_is_over_at_once() {
    let mut world = World::with(1, |reception| {
        reception.set_beginning(|_| Begin::Earliest, 1_000);
        reception.read_history(Order::Time, 1_000);
    });
    world.pass(100);
    world.says("caught-up:0");
}

#[test]
fn a_holder_that_is_silent_does_not_hold_the_past_up_for_ever() {
    let (mut world, _) = history(Order::Time, 1);
    world.hosts[0].mode = Mode::Silent;
    world.pass(LISTING_MS + 3_000);
    world.says("caught-up:0 unreachable:bodhi.backend01");
}

#[test]
fn a_stream_that_cannot_be_read_to_the_end_is_named() {
    let (mut world, _) = history(Order::Time, 1);
    world.hosts[0].mode = Mode::Torn;
    world.pass(STALL_MS + 40_000);
    world.says("live 1 caught-up:1 incomplete:bodhi.backend01/0");
    assert_eq!(world.stalled.len(), 1);
}
