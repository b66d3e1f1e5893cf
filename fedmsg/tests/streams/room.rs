//! Bounds: of what is held, of epochs that wait, of streams.

use fedmsg::limits::{FAR_JUMP, HELD_MESSAGES_MAX, STREAMS_MAX};
use fedmsg::merkle::Leaf;
use fedmsg::record::After;

use crate::steps::{Reader, Writer, epoch};

#[test]
fn a_stream_that_takes_all_the_room_does_not_cost_the_others_theirs() {
    let (mut greedy, mut other) = (Writer::new(), Writer::of("bodhi.backend01/1"));
    let mut reader = Reader::of(&mut greedy);
    reader.take(&other.beat(0));
    reader.says("live 1");
    let place = &greedy.seal(1)[0];
    for i in 0..=HELD_MESSAGES_MAX as u64 {
        reader.use_up_at(place, FAR_JUMP * 2 + i);
    }
    let sealed = other.seal(2);
    reader.take(&sealed[1]);
    reader.says("");
    reader.take(&sealed[0]);
    reader.says("1 2");
}

#[test]
fn without_room_a_hole_is_declared_at_once() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let place = &writer.seal(2)[1];
    for i in 0..=HELD_MESSAGES_MAX as u64 {
        reader.use_up_at(place, 2 * i + 2);
    }
    let words = reader.take_words();
    assert_eq!(words[0], "lost:1-1");
}

#[test]
fn of_many_epochs_the_oldest_is_shown_as_stale() {
    let mut reader = Reader::new();
    for n in 1..=5 {
        let mut writer = Writer::open("bodhi.backend01/0", n, (After::Unknown, Leaf::NONE));
        assert_eq!(writer.sealer.epoch(), epoch(n));
        reader.take_all(&writer.seal(1));
    }
    reader.says("stale:1");
}

#[test]
fn when_there_are_too_many_streams_a_part_is_forgotten_and_what_it_held_is_shown() {
    let mut reader = Reader::new();
    let sealed = Writer::new().seal(1);
    for n in 0..=STREAMS_MAX {
        reader.use_up_of(
            &sealed[0],
            &format!("bodhi.backend01/{}", uuid::Uuid::from_u128(n as u128)),
        );
    }
    let left = reader.sequencer.stream_count();
    assert!((STREAMS_MAX * 9 / 10..=STREAMS_MAX).contains(&left), "{left} are left");
}

#[test]
fn what_a_forgotten_stream_held_is_shown_as_stale() {
    let mut reader = Reader::new();
    reader.take(&Writer::of("bodhi.backend01/7").seal(1)[0]);
    reader.now += 1;
    let sealed = Writer::new().seal(1);
    for n in 0..=STREAMS_MAX {
        reader.use_up_of(
            &sealed[0],
            &format!("bodhi.backend01/{}", uuid::Uuid::from_u128(n as u128)),
        );
    }
    reader.says("stale:1");
}
