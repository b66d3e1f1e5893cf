//! Several holders: which is asked, which is believed.

use fedmsg::identity::StreamName;
use fedmsg::record::State;
use fedmsg::sequence::Begin;

use crate::repair::following;
use crate::world::{Mode, STREAM, World, Writer, at, epoch};

#[test]
fn the_next_holder_helps_where_the_first_cannot() {
    for mode in [Mode::Down, Mode::Silent, Mode::Torn, Mode::Hiding, Mode::Forging, Mode::Shuffling]
    {
        let (mut world, mut writer) = following(2);
        let sealed = writer.seal(5);
        world.keep(&sealed, 1);
        world.hosts[0].mode = mode;
        world.arrive([&sealed[0], &sealed[4]]);
        world.pass(5_000);
        world.words.retain(|word| word != "bad_signature");
        world.says("1 +2 +3 +4 5");
    }
}

#[test]
fn a_holder_that_lies_is_found_out_and_left_alone() {
    let (mut world, mut writer) = following(2);
    let sealed = writer.seal(5);
    world.keep(&sealed, 1);
    world.hosts[0].mode = Mode::Forging;
    world.arrive([&sealed[0], &sealed[4]]);
    world.pass(5_000);
    let asked = world.hosts[0].asked;
    let more = writer.seal(5);
    world.keep(&more, 1);
    world.arrive([&more[4]]);
    world.pass(5_000);
    assert_eq!(world.hosts[0].asked, asked, "it is not asked again for a while");
    assert!(world.words.ends_with(&["+6", "+7", "+8", "+9", "10"].map(String::from)));
    assert_eq!(world.reception.repair_counts().0.lies, 1);
}

#[test]
fn one_denial_is_not_enough() {
    let (mut world, mut writer) = following(2);
    let sealed = writer.seal(5);
    world.keep(&sealed, 1);
    world.hosts[0].shelf.damaged = vec![2, 3];
    world.hosts[1].mode = Mode::Silent;
    world.arrive([&sealed[0], &sealed[4]]);
    world.pass(60_000);
    world.says("1 +4 5".strip_prefix("1 ").map_or("", |_| "1"));
    world.hosts[1].mode = Mode::Up;
    world.pass(60_000);
    world.says("+2 +3 +4 5");
}

#[test]
fn what_one_has_trimmed_another_gives() {
    let (mut world, mut writer) = following(2);
    let sealed = writer.seal(9);
    world.keep(&sealed, 1);
    world.hosts[0].shelf.first = 6;
    world.arrive([&sealed[0], &sealed[8]]);
    world.pass(1_000);
    world.says("1 +2 +3 +4 +5 +6 +7 +8 9");
}

#[test]
fn the_last_words_of_an_earlier_life_do_not_show_that_the_publisher_was_set_back() {
    let (mut writer, genesis) = Writer::new();
    let records = writer.seal(6);
    let end = (4, records[3].leaf);
    let closed = writer.sealer.heartbeat_at(end, State::Closed, "", at(1));
    let (next, leaf) = (7, Some(records[5].leaf));
    let begin = move |_: &StreamName| Begin::At { epoch: epoch(1), next, leaf };
    let mut world = World::with(1, |reception| reception.set_beginning(begin, 1_000));
    world.keep(std::iter::once(&genesis).chain(&records), 1);
    world.hosts[0].shelf.heartbeat = Some(closed.wire);
    world.reception.begin(&StreamName::parse(STREAM).expect("stream"), 1_000);
    world.pass(2_000);
    world.says("live 7");
    let more = writer.seal(1);
    world.arrive(&more);
    world.says("7");
}

#[test]
fn a_publisher_whose_disk_failed_may_know_less_than_a_holder_has() {
    let (mut world, mut writer) = following(1);
    let records = writer.seal(3);
    world.arrive(&records);
    world.says("1 2 3");
    let end = (2, records[1].leaf);
    world.arrive([&writer.sealer.heartbeat_at(end, State::Degraded, "", at(5))]);
    world.arrive(&writer.seal(1));
    world.says("4");
    world.arrive([&writer.sealer.heartbeat_at(end, State::Open, "", at(100))]);
    world.says("");
    world.arrive([&writer.sealer.heartbeat_at(end, State::Open, "", at(200))]);
    world.says("rewound:2");
}
