//! The past first, then the present, without a seam.

use fedmsg::history::Order;
use fedmsg::identity::StreamName;
use fedmsg::limits::{ASK_MS_MAX, LISTING_MS, LISTING_SIBLINGS_MS, STALL_MS};
use fedmsg::merkle::Leaf;
use fedmsg::record::{After, Level, State};
use fedmsg::seal::Sealer;
use fedmsg::sequence::Begin;

use crate::bus::{key, trust_in};
use crate::world::{Mode, STREAM, World, Writer, at, epoch, fetched};

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

#[test]
fn a_stream_whose_key_is_not_trusted_holds_no_past_up() {
    let (mut world, mut writer) = history(Order::Time, 2);
    let beat = writer.beat(0);
    for host in &mut world.hosts {
        host.shelf.heartbeat = Some(beat.wire.clone());
    }
    world.reception.set_trust(trust_in(Vec::new()));
    world.pass(LISTING_MS + 3_000);
    let mut said = world.words.clone();
    said.dedup();
    let over = ["caught-up:1", "incomplete:bodhi.backend01/0"].join(" ");
    assert!(said.contains(&over), "{said:?}");
}

#[test]
fn a_stream_that_no_holder_knows_yet_is_read_from_its_first_message() {
    let mut world = World::with(1, |reception| reception.set_beginning(|_| Begin::Earliest, 1_000));
    let (mut writer, genesis) = Writer::new();
    let records = writer.seal(3);
    // The clocks are far apart, and the messages got lost: only the heartbeat comes.
    world.arrive([&writer.beat(-86_400_000)]);
    world.pass(100);
    world.keep(std::iter::once(&genesis).chain(&records), 1);
    world.pass(2_000);
    world.says(&format!("live 1 {}", fetched(1, 3)));
}

#[test]
fn a_stream_that_is_kept_nowhere_is_read_as_it_comes() {
    let mut world = World::with(1, |reception| reception.set_beginning(|_| Begin::Earliest, 1_000));
    let stream = StreamName::parse(STREAM).expect("stream");
    let before = (After::Nothing, Leaf::NONE);
    let (mut sealer, _) =
        Sealer::open_epoch(key(1), stream, epoch(1), before, Level::Memory, at(0));
    let beat = sealer.heartbeat_at((7, Leaf([7; 32])), State::Open, "", at(1));
    world.arrive([&beat]);
    world.pass(2_000);
    world.says("live 8");
}

#[test]
fn a_stream_that_is_taken_up_live_has_no_past() {
    let (mut writer, genesis) = Writer::new();
    let mut world = World::with(1, |reception| {
        reception.set_beginning(|_| Begin::Live, 1_000);
        reception.read_history(Order::Time, 1_000);
    });
    let past = writer.seal(3);
    world.keep([&genesis], 1);
    world.keep(&past, 1);
    world.pass(100);
    world.says("caught-up:0");
    world.arrive([&writer.beat(0)]);
    world.arrive(&writer.seal(1));
    world.says("live 4 4");
}

#[test]
fn nothing_waits_for_the_past_of_others_that_is_taken_up_live() {
    let (mut writer, _) = Writer::new();
    let mut world = World::with(1, |reception| {
        reception.set_beginning(|_| Begin::Live, 1_000);
        reception.read_history(Order::Time, 1_000);
    });
    world.hosts[0].mode = Mode::Silent;
    world.arrive([&writer.beat(0)]);
    world.arrive(&writer.seal(2));
    world.says("live 1 1 2");
}

#[test]
fn what_a_second_holder_has_belongs_to_the_past_too() {
    for order in [Order::Arrival, Order::Time] {
        let (mut writer, genesis) = Writer::new();
        let mut world = World::with(2, |reception| {
            reception.set_beginning(|_| Begin::Earliest, 1_000);
            reception.read_history(order, 1_000);
        });
        let first = writer.seal(3);
        world.keep([&genesis], 1);
        world.keep(&first, 1);
        let more = writer.seal(3);
        for sealed in &more {
            let epoch = world.hosts[1].shelf.epochs.values_mut().next().expect("an epoch");
            epoch.insert(sealed.i, sealed.wire.clone());
        }
        world.pass(LISTING_SIBLINGS_MS + 100);
        world.says(&format!("live 1 {} caught-up:1", fetched(1, 6)));
    }
}

#[test]
fn what_comes_while_others_are_read_comes_after_the_past() {
    let (mut world, mut writer) = history(Order::Time, 2);
    // Nobody knows yet what the second holder has.
    world.hosts[1].mode = Mode::Silent;
    world.pass(LISTING_SIBLINGS_MS - 100);
    world.says("");
    let news = writer.seal(5);
    world.keep(&news, 1);
    world.arrive([&writer.beat(0)]);
    world.arrive(&news);
    world.pass(ASK_MS_MAX + 200);
    let said = world.words.join(" ");
    assert!(said.starts_with(&format!("live 1 {} ", fetched(1, 2_500))), "{said}");
    assert!(said.ends_with(&format!("+2500 caught-up:1 {}", fetched(2_501, 2_505))), "{said}");
}

#[test]
fn a_number_that_is_not_there_yet_is_the_next_one_and_one_that_is_gone_is_lost() {
    for (number, expected) in [
        (9, "live 4 caught-up:1".to_owned()),
        (4, "live 4 caught-up:1".to_owned()),
        (2, format!("live 2 {} caught-up:1", fetched(2, 3))),
    ] {
        let (mut writer, genesis) = Writer::new();
        let mut world = World::with(1, |reception| {
            reception.set_beginning(move |_| Begin::Number(number), 1_000);
            reception.read_history(Order::Time, 1_000);
        });
        let past = writer.seal(3);
        world.keep([&genesis], 1);
        world.keep(&past, 1);
        world.hosts[0].shelf.heartbeat = Some(writer.beat(0).wire);
        world.pass(300);
        world.says(&expected);
        world.arrive(&writer.seal(1));
        world.says("4");
    }
    let (mut writer, genesis) = Writer::new();
    let mut world = World::with(1, |reception| {
        reception.set_beginning(|_| Begin::Number(1), 1_000);
        reception.read_history(Order::Time, 1_000);
    });
    let past = writer.seal(3);
    world.keep([&genesis], 1);
    world.keep(&past, 1);
    world.hosts[0].shelf.first = 3;
    world.pass(1_000);
    world.says("live 1 lost:1-2:absent +3 caught-up:1");
}
