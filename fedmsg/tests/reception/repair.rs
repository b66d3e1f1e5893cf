//! Holes that are fetched, lost messages that are named, and when which.

use std::sync::Arc;

use fedmsg::endpoint::Endpoint;
use fedmsg::event::Event;
use fedmsg::followed::Followed;
use fedmsg::frames::{Answer, ErrorCode, Reply, RequestId};
use fedmsg::identity::StreamName;
use fedmsg::limits::{HELD_MESSAGES_MAX, SILENT_MS};
use fedmsg::need::{Need, What};
use fedmsg::repair::{Holders, Repair};

use crate::world::{Mode, STREAM, Shelf, World, Writer, epoch, fetched};

/// A reader of a stream that one holder keeps, from its first message on.
pub fn following(holders: usize) -> (World, Writer) {
    let (mut writer, genesis) = Writer::new();
    let mut world = World::new(holders);
    world.keep([&genesis], 1);
    world.arrive([&writer.beat(0), &genesis]);
    world.says("live 1");
    (world, writer)
}

#[test]
fn a_hole_is_fetched_in_order_and_without_duplicates() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(9);
    world.keep(&sealed, 1);
    world.arrive([&sealed[0], &sealed[4], &sealed[8]]);
    world.says("1");
    world.pass(200);
    assert_eq!(world.hosts[0].asked, 0, "what is late may still come");
    world.pass(100);
    world.says("+2 +3 +4 5 +6 +7 +8 9");
    let (counts, _) = world.reception.sequence_counts();
    assert_eq!((counts.gaps, counts.repaired, counts.lost, counts.duplicates), (2, 6, 0, 0));
    assert!(!world.reception.is_waiting());
}

#[test]
fn the_lost_end_of_a_burst_is_found_by_a_heartbeat_and_fetched() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(3);
    world.keep(&sealed, 1);
    world.arrive([&sealed[0], &writer.beat(1)]);
    world.pass(300);
    world.says("1 +2 +3");
}

#[test]
fn a_stream_that_falls_silent_is_asked_for() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(3);
    world.keep(&sealed, 1);
    world.arrive(&sealed[..1]);
    world.pass(SILENT_MS - 1_100);
    world.says("1");
    world.pass(2_200);
    world.says("+2 +3");
}

#[test]
fn ten_thousand_missing_messages_come_back_in_order() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(12_000);
    world.keep(&sealed, 1);
    world.arrive(&sealed[..1_000]);
    world.words.clear();
    world.arrive(&sealed[11_000..]);
    world.pass(300);
    let expected = format!("{} {}", fetched(1_001, 11_000), join(11_001, 12_000));
    assert!(world.words.join(" ") == expected, "{:?}", world.words.last());
}

#[test]
fn what_finds_no_room_behind_a_hole_is_fetched_with_it() {
    let (mut world, mut writer) = following(1);
    let count = HELD_MESSAGES_MAX + 2_000;
    let sealed = writer.seal(count);
    world.keep(&sealed, 1);
    world.hosts[0].mode = Mode::Down;
    world.arrive(&sealed[1..]);
    world.pass(500);
    world.says("");
    world.hosts[0].mode = Mode::Up;
    world.pass(5_000);
    let numbers: Vec<u64> = world
        .words
        .iter()
        .map(|word| word.trim_start_matches('+').parse().expect("a number"))
        .collect();
    assert!(numbers.iter().copied().eq(1..=count as u64), "everything, once, in order");
    let (counts, _) = world.reception.sequence_counts();
    assert!(counts.released > 0 && counts.lost == 0, "{counts:?}");
}

#[test]
fn live_messages_go_on_while_a_long_way_is_caught_up() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(5_000);
    world.keep(&sealed, 1);
    for part in sealed[2_000..].chunks(100) {
        world.arrive(part);
        world.pass(50);
    }
    world.pass(500);
    let numbers: Vec<u64> = world
        .words
        .iter()
        .map(|word| word.trim_start_matches('+').parse().expect("a number"))
        .collect();
    assert!(numbers.iter().copied().eq(1..=5_000), "everything, once, in order");
}

#[test]
fn nothing_is_lost_because_nobody_answers() {
    for mode in [Mode::Down, Mode::Silent, Mode::Torn, Mode::Hiding] {
        let (mut world, mut writer) = following(1);
        let sealed = writer.seal(3);
        world.keep(&sealed, 1);
        world.hosts[0].mode = mode;
        world.arrive([&sealed[0], &sealed[2]]);
        world.pass(120_000);
        world.says("1");
        assert_eq!(world.stalled.len(), 1, "{mode:?} is told once: {:?}", world.stalled);
        assert!(world.hosts[0].asked < 60, "{mode:?} was asked {} times", world.hosts[0].asked);
        world.hosts[0].mode = Mode::Up;
        // A request may be on its way; then a sign of life of the publisher ends the waiting at once.
        world.pass(2_000);
        world.arrive([&writer.beat(122_000)]);
        world.pass(50);
        world.says("+2 3");
    }
}

#[test]
fn what_the_publisher_says_it_keeps_no_more_is_lost_at_once() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(9);
    world.keep(&sealed[5..], 1);
    world.arrive([&sealed[0]]);
    writer.sealer.keeps_from(6);
    world.arrive([&writer.beat(1)]);
    world.pass(300);
    world.says("1 lost:2-5:not_kept +6 +7 +8 +9");
}

#[test]
fn what_every_holder_denies_is_lost_and_the_rest_is_not() {
    let (mut world, mut writer) = following(2);
    let sealed = writer.seal(9);
    world.keep(&sealed, 1);
    for host in &mut world.hosts {
        host.shelf.damaged = vec![4, 5];
    }
    world.arrive([&sealed[0], &sealed[8]]);
    world.pass(300);
    world.says("1 +2 +3 lost:4-5:absent +6 +7 +8 9");
}

#[test]
fn a_wiped_holder_makes_the_hole_lost_and_the_stream_goes_on() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(5);
    world.hosts[0].shelf = Shelf::default();
    world.arrive([&sealed[0], &sealed[4]]);
    world.pass(300);
    world.says("1 lost:2-4:absent 5");
}

#[test]
fn a_stream_without_holders_is_as_it_was() {
    let (mut world, mut writer) = following(0);
    let sealed = writer.seal(5);
    world.arrive([&sealed[0], &sealed[4]]);
    world.pass(300);
    world.says("1 lost:2-4:no_holder 5");
}

#[test]
fn an_endpoint_that_is_taken_out_of_the_configuration_loses_nothing() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(5);
    world.keep(&sealed, 1);
    world.hosts[0].mode = Mode::Down;
    world.arrive([&sealed[0], &sealed[4]]);
    world.pass(300);
    world.reception.follow(Followed::default(), world.now);
    world.pass(5_000);
    world.says("1");
    world.hosts[0].mode = Mode::Up;
    world.reception.follow(world.followed(), world.now);
    world.pass(300);
    world.says("+2 +3 +4 5");
}

#[test]
fn a_replay_address_that_is_taken_out_ends_the_waiting() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(5);
    world.hosts[0].mode = Mode::Down;
    world.arrive([&sealed[0], &sealed[4]]);
    world.pass(300);
    world.hosts.clear();
    world.reception.follow(world.followed(), world.now);
    world.pass(300);
    world.says("1 lost:2-4:no_holder 5");
}

#[test]
fn a_record_outside_of_the_order_comes_late_or_is_known_to_be_gone() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(3);
    world.keep(&sealed, 1);
    world.arrive(&sealed);
    world.words.clear();
    let stream = writer.sealer.stream().clone();
    world.reception.fetch(stream.clone(), writer.sealer.epoch(), 2, world.now);
    world.reception.fetch(stream, writer.sealer.epoch(), 7, world.now);
    world.pass(0);
    world.says("late:2 unfetched:7");
}

#[test]
fn a_heartbeat_is_not_the_message_whose_number_it_has() {
    let (mut world, mut writer) = following(2);
    let mut sealed = writer.seal(2);
    let beat = writer.beat(1);
    sealed.extend(writer.seal(1));
    world.keep(&sealed, 1);
    world.arrive(&sealed);
    world.words.clear();
    let of_epoch = world.hosts[0].shelf.epochs.get_mut(&epoch(1)).expect("an epoch");
    of_epoch.insert(2, beat.wire);
    let stream = StreamName::parse(STREAM).expect("stream");
    world.reception.fetch(stream, writer.sealer.epoch(), 2, world.now);
    world.pass(1_000);
    world.says("late:2");
    let late = world.log.iter().find_map(|event| match event {
        Event::Late(message) => Some(message.wire().clone()),
        _ => None,
    });
    assert_eq!(late, Some(sealed[1].wire.clone()), "from whom it is true");
}

#[test]
fn a_publisher_that_was_set_back_is_shown_its_own_later_record() {
    for known_by in ["a message", "a heartbeat"] {
        let (mut world, mut writer) = following(1);
        let sealed = writer.seal(5);
        world.keep(&sealed, 1);
        world.arrive(&sealed);
        let newest = match known_by {
            "a message" => sealed[4].clone(),
            _ => {
                let beat = writer.beat(1);
                world.arrive([&beat]);
                beat
            }
        };
        // Another life of the same writer, restored from the time before the last two messages.
        let (mut restored, _) = Writer::new();
        restored.beat(0);
        restored.seal(3);
        world.arrive([&restored.beat(60_000)]);
        world.pass(50);
        // A single heartbeat may have been overtaken, but it is shown what it has said at once.
        world.says("1 2 3 4 5");
        let shown = &world.hosts[0].shelf.shown;
        assert_eq!(shown, std::slice::from_ref(&newest.wire), "{known_by}");
        world.pass(2_000);
        world.arrive([&restored.beat(65_000)]);
        world.pass(50);
        world.says("rewound:3");
        assert_eq!(world.hosts[0].shelf.shown.len(), 2, "as long as it does not know");
    }
}

/// The clock of a publisher is set back by days between two messages, and a heartbeat from before that comes when both
/// have been fetched.
#[test]
fn a_late_heartbeat_from_before_a_clock_was_set_back_is_no_sign_of_another_life() {
    let (mut world, mut writer) = following(1);
    let before = writer.seal_at(2, 0);
    let late = writer.beat(10);
    let after = writer.seal_at(2, -9 * 86_400_000);
    let beat = writer.beat(-9 * 86_400_000);
    world.arrive(before.iter().chain(&after));
    world.arrive([&late]);
    world.arrive([&beat]);
    world.arrive(&writer.seal_at(1, -9 * 86_400_000));
    world.says("1 2 3 4 5");
}

#[test]
fn a_publisher_that_was_set_back_into_an_earlier_epoch_is_shown_a_later_one() {
    let (mut world, mut first) = following(1);
    let sealed = first.seal(1);
    let (mut second, genesis) = first.next(2);
    let news = second.seal(1);
    world.keep(&sealed, 1);
    world.keep([&genesis], 2);
    world.keep(&news, 2);
    world.arrive([&sealed[0], &genesis, &news[0]]);
    world.pass(300);
    world.says("1 proven 1 1");
    world.arrive([&first.beat(60_000)]);
    world.pass(50);
    world.says("");
    assert_eq!(world.hosts[0].shelf.shown, [news[0].wire.clone()]);
    world.arrive([&first.beat(65_000)]);
    world.says("rewound:1");
}

fn join(from: u64, to: u64) -> String {
    (from..=to).map(|i| i.to_string()).collect::<Vec<_>>().join(" ")
}

/// One holder of every stream.
struct One(Vec<Endpoint>);

impl Holders for One {
    fn of(&self, _: &StreamName) -> &[Endpoint] {
        &self.0
    }

    fn all(&self) -> Vec<Endpoint> {
        self.0.clone()
    }
}

#[test]
fn streams_that_wait_for_a_busy_holder_are_not_forgotten_when_the_configuration_is_read_again() {
    let holders = || Arc::new(One(vec![Endpoint::parse("tcp://127.0.0.1:9000").expect("one")]));
    let mut repair = Repair::new(holders(), 1);
    for slot in 0..10 {
        let stream = StreamName::parse(&format!("a.b/{slot}")).expect("a stream");
        repair.need(Need { stream, what: What::Head }, 1_000);
    }
    repair.asks().for_each(drop);
    repair.set_holders(holders(), 1_000);
    let mut asked = 0;
    loop {
        let asks: Vec<_> = repair.asks().collect();
        if asks.is_empty() {
            break;
        }
        for (holder, frames) in asks {
            asked += 1;
            let reply = Reply::Err { code: ErrorCode::UnknownStream, text: String::new() };
            let frames = Answer { id: RequestId::of(&frames), reply }.encode();
            repair.answer(&holder, &frames, 1_000);
        }
    }
    assert_eq!((asked, repair.is_busy()), (10, false));
}
