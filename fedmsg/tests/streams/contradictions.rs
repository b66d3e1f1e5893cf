//! Duplicates, forks, and what only looks like one.

use fedmsg::sequence::Begin;

use crate::steps::{Reader, Writer, at, epoch};

#[test]
fn the_same_record_again_is_a_duplicate() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let sealed = writer.seal(3);
    reader.take_all([&sealed[0], &sealed[0], &sealed[2], &sealed[2], &sealed[1], &sealed[1]]);
    reader.says("1 2 3");
    let counts = reader.sequencer.counts();
    assert_eq!((counts.duplicates, counts.late, counts.forks), (3, 0, 0));
}

#[test]
fn what_a_stream_says_of_itself_again_is_no_message_that_came_late() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    reader.take_all(&writer.seal(100));
    reader.take(&writer.genesis);
    let counts = reader.sequencer.counts();
    assert_eq!((counts.duplicates, counts.late), (0, 0));
}

#[test]
fn another_record_at_the_same_position_is_a_fork() {
    let (mut writer, mut twin) = (Writer::new(), Writer::twin());
    let mut reader = Reader::of(&mut writer);
    let sealed = writer.seal(2);
    reader.take(&sealed[0]);
    reader.take(&twin.seal(1)[0]);
    reader.take(&sealed[1]);
    reader.says("1 same:1 stale:2");
}

#[test]
fn a_record_that_does_not_follow_the_one_before_is_a_fork() {
    let (mut writer, mut twin) = (Writer::new(), Writer::twin());
    let mut reader = Reader::of(&mut writer);
    reader.take(&writer.seal(1)[0]);
    reader.take(&twin.seal(2)[1]);
    reader.says("1 chain:2 stale:2");
}

#[test]
fn a_head_that_contradicts_what_is_held_or_comes_is_a_fork() {
    let (mut writer, mut twin) = (Writer::new(), Writer::twin());
    twin.seal(3);
    let sealed = writer.seal(3);
    let mut held = Reader::of(&mut Writer::new());
    held.take(&sealed[2]);
    held.take(&twin.beat(1));
    held.says("same:3 stale:3");
    let mut coming = Reader::of(&mut Writer::new());
    coming.take(&twin.beat(1));
    coming.take_all(&sealed);
    coming.says("1 2 same:3 stale:3");
    let mut base = Reader::new();
    base.take(&sealed[2]);
    base.take(&twin.beat(1));
    base.says("live 4 same:3 stale:3");
}

#[test]
fn an_earlier_head_that_contradicts_is_a_fork_even_when_it_is_old() {
    let (mut writer, mut twin) = (Writer::new(), Writer::twin());
    twin.seal(1);
    let mut reader = Reader::of(&mut writer);
    reader.take_all(&writer.seal_at(2, at(10_000)));
    reader.take(&twin.beat(1));
    reader.says("1 2 same:1");
}

#[test]
fn a_newer_heartbeat_that_shows_less_is_a_publisher_that_was_set_back() {
    let (mut writer, mut rewound) = (Writer::new(), Writer::new());
    let mut reader = Reader::of(&mut writer);
    reader.take_all(&writer.seal(3));
    rewound.beat(0);
    rewound.seal(1);
    reader.take(&rewound.beat(60_000));
    reader.says("1 2 3");
    reader.take(&rewound.beat(65_000));
    reader.says("rewound:1");
}

#[test]
fn a_heartbeat_from_before_a_refused_message_is_not_a_publisher_that_was_set_back() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    reader.take_all(&writer.seal(2));
    let (old, next) = (writer.beat(100), writer.beat(101));
    let refused = writer.seal_at(2, at(200));
    refused.iter().for_each(|refused| reader.use_up(refused));
    reader.take(&old);
    reader.says("1 2");
    // The clock of the publisher may be wrong, but not by so much.
    reader.pass(599_999);
    reader.take(&old);
    reader.pass(1);
    reader.take(&old);
    reader.take(&old);
    reader.says("");
    reader.take(&next);
    reader.says("rewound:2");
}

#[test]
fn a_heartbeat_from_before_the_place_where_a_reader_goes_on_proves_nothing() {
    let mut writer = Writer::new();
    writer.seal(1);
    let (old, next) = (writer.beat(100), writer.beat(101));
    let more = writer.seal_at(3, at(200));
    let mut reader = Reader::new();
    let begin = Begin::At { epoch: epoch(1), next: 4, leaf: None };
    reader.sequencer.set_beginning(move |_| begin);
    reader.take(&old);
    reader.take(&more[2]);
    reader.says("live 4 4");
    let mut idle = Reader::new();
    idle.sequencer.set_beginning(move |_| begin);
    idle.take(&old);
    idle.says("live 4");
    idle.pass(600_000);
    idle.take(&old);
    idle.take(&next);
    idle.says("rewound:1");
}

#[test]
fn heartbeats_and_messages_of_one_millisecond_are_told_apart_in_any_order() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    reader.take_all(&writer.seal(1));
    let beats: Vec<_> = (0..3).map(|_| writer.beat(0)).collect();
    reader.take_all(&writer.seal(2));
    reader.take_all(&beats);
    reader.says("1 2 3");
}

#[test]
fn a_late_old_heartbeat_is_not_a_publisher_that_was_set_back() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    writer.seal(2);
    let old = writer.beat(100);
    writer.seal_at(2, at(200));
    let new = writer.beat(300);
    reader.take(&new);
    reader.pass(250);
    reader.take(&old);
    reader.says("lost:1-4");
    let mut joining = Reader::new();
    joining.take(&new);
    joining.take(&old);
    joining.says("live 5");
    assert_eq!(reader.sequencer.counts().forks + joining.sequencer.counts().forks, 0);
}
