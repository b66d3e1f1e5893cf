//! Epochs that end and begin while the reader is away; and where a reader begins.

use fedmsg::merkle::Leaf;
use fedmsg::record::After;
use fedmsg::sequence::Begin;

use crate::repair::following;
use crate::world::{Mode, Shelf, World, Writer, at, epoch, fetched};

#[test]
fn the_missing_end_of_an_epoch_is_fetched_before_the_next_one_begins() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(4);
    world.keep(&sealed, 1);
    let (mut next, genesis) = writer.next(2);
    let more = next.seal(2);
    world.keep([&genesis], 2);
    world.keep(&more, 2);
    world.arrive([&sealed[0], &genesis, &more[0], &more[1]]);
    world.pass(300);
    world.says("1 +2 +3 +4 proven 1 1 2");
}

#[test]
fn an_epoch_that_came_and_went_unseen_is_fetched() {
    let (mut world, mut first) = following(1);
    let sealed = first.seal(2);
    world.keep(&sealed, 1);
    let (mut second, second_genesis) = first.next(2);
    let unseen = second.seal(3);
    world.keep([&second_genesis], 2);
    world.keep(&unseen, 2);
    let (mut third, third_genesis) = second.next(3);
    let news = third.seal(1);
    world.keep([&third_genesis], 3);
    world.keep(&news, 3);
    world.arrive([&sealed[0], &sealed[1], &third_genesis, &news[0]]);
    world.pass(2_000);
    world.says("1 2 proven 1 +1 +2 +3 proven 1 1");
}

#[test]
fn a_publisher_that_went_on_unseen_is_followed_when_the_stream_falls_silent() {
    let (mut world, mut first) = following(1);
    let sealed = first.seal(2);
    world.keep(&sealed, 1);
    world.arrive(&sealed[..1]);
    let (mut second, genesis) = first.next(2);
    let unseen = second.seal(3);
    world.keep([&genesis], 2);
    world.keep(&unseen, 2);
    world.pass(20_000);
    world.says("1 +2 proven 1 +1 +2 +3");
}

#[test]
fn after_an_unknown_end_what_is_left_of_the_old_epoch_comes_first() {
    let (mut world, mut first) = following(1);
    let sealed = first.seal(3);
    world.keep(&sealed, 1);
    world.arrive(&sealed[..1]);
    let (mut second, genesis) = Writer::open(2, (After::Unknown, Leaf::NONE));
    let news = second.seal(1);
    world.keep([&genesis], 2);
    world.keep(&news, 2);
    world.arrive([&genesis, &news[0]]);
    world.pass(2_000);
    world.says("1 +2 +3 unproven 1 1");
}

#[test]
fn an_epoch_whose_first_record_nobody_can_read_is_not_passed_over() {
    let (mut world, mut first) = following(1);
    let sealed = first.seal(1);
    world.keep(&sealed, 1);
    let (mut second, _) = first.next(2);
    let unseen = second.seal(3);
    world.keep(&unseen, 2);
    let (mut third, genesis) = second.next(3);
    let news = third.seal(1);
    world.keep([&genesis], 3);
    world.keep(&news, 3);
    world.arrive([&sealed[0], &genesis, &news[0]]);
    world.pass(3_000);
    world.says("1 unproven 1 +1 +2 +3 proven 1 1");
}

#[test]
fn a_named_epoch_that_nobody_has_is_lost() {
    let (mut world, mut first) = following(1);
    let sealed = first.seal(1);
    world.keep(&sealed, 1);
    let (mut second, _) = first.next(2);
    second.seal(7);
    let (mut third, genesis) = second.next(3);
    let news = third.seal(1);
    world.keep([&genesis], 3);
    world.keep(&news, 3);
    world.arrive([&sealed[0], &genesis, &news[0]]);
    world.pass(2_000);
    world.says("1 lost:1-7:absent unproven 1 1");
}

#[test]
fn a_wiped_publisher_is_followed_into_its_new_epoch() {
    let (mut world, mut first) = following(1);
    world.arrive(&first.seal(1));
    world.hosts[0].shelf = Shelf::default();
    let (mut second, genesis) = Writer::open(2, (After::Unknown, Leaf::NONE));
    let news = second.seal(1);
    world.keep([&genesis], 2);
    world.keep(&news, 2);
    world.arrive([&genesis, &news[0]]);
    world.pass(2_000);
    world.says("1 unproven 1 1");
}

#[test]
fn an_epoch_whose_genesis_was_missed_is_tied_to_the_one_before() {
    let (mut world, mut first) = following(1);
    let sealed = first.seal(2);
    world.keep(&sealed, 1);
    let (mut second, genesis) = first.next(2);
    let news = second.seal(2);
    world.keep([&genesis], 2);
    world.keep(&news, 2);
    world.arrive([&sealed[0], &news[1]]);
    world.pass(2_000);
    world.says("1 +2 proven 1 +1 2");
}

fn beginning(begin: Begin, holders: usize) -> (World, Writer) {
    let (mut writer, genesis) = Writer::new();
    let mut world =
        World::with(holders, |reception| reception.set_beginning(move |_| begin, 1_000));
    let sealed = writer.seal(10);
    world.keep([&genesis], 1);
    world.keep(&sealed, 1);
    (world, writer)
}

#[test]
fn a_stream_that_says_nothing_is_found_and_read_from_where_it_is_to_begin() {
    for (begin, expected) in [
        (Begin::Earliest, format!("live 1 {}", fetched(1, 10))),
        (Begin::Last(3), format!("live 8 {}", fetched(8, 10))),
        (Begin::Last(99), format!("live 1 {}", fetched(1, 10))),
        (Begin::Since(at(7)), format!("live 7 {}", fetched(7, 10))),
        (Begin::At { epoch: epoch(1), next: 5, leaf: None }, format!("live 5 {}", fetched(5, 10))),
    ] {
        let (mut world, _) = beginning(begin, 1);
        world.pass(2_000);
        world.says(&expected);
    }
}

#[test]
fn live_messages_that_come_first_change_nothing_about_the_beginning() {
    let (mut world, mut writer) = beginning(Begin::Earliest, 1);
    world.hosts[0].mode = Mode::Down;
    let news = writer.seal(2);
    world.keep(&news, 1);
    world.arrive([&writer.beat(0), &news[0], &news[1]]);
    world.pass(60_000);
    world.says("");
    world.hosts[0].mode = Mode::Up;
    world.arrive([&writer.beat(60_000)]);
    world.pass(2_000);
    assert_eq!(world.words.join(" "), format!("live 1 {} 11 12", fetched(1, 10)));
}

#[test]
fn what_a_publisher_kept_and_nobody_has_is_said_to_be_lost() {
    let (mut world, mut writer) = beginning(Begin::Since(at(0)), 1);
    world.hosts[0].shelf = Shelf::default();
    world.arrive([&writer.beat(0)]);
    world.pass(2_000);
    world.says("live 1 lost:1-10:absent");
}

#[test]
fn a_history_of_several_epochs_is_read_to_its_end() {
    let (mut world, first) = beginning(Begin::Earliest, 1);
    let (mut second, genesis) = first.next(2);
    let more = second.seal(3);
    world.keep([&genesis], 2);
    world.keep(&more, 2);
    world.pass(2_000);
    world.says(&format!("live 1 {} proven 1 {}", fetched(1, 10), fetched(1, 3)));
}
