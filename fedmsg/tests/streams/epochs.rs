//! From one epoch to the next.

use fedmsg::merkle::Leaf;
use fedmsg::record::After;

use crate::steps::{Reader, STREAM, Writer};

#[test]
fn an_epoch_that_names_the_end_of_the_one_before_is_proven() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    reader.take_all(&writer.seal(2));
    let mut next = writer.next(2);
    reader.take(&next.genesis);
    reader.take_all(&next.seal(1));
    reader.says("1 2 proven 1 1");
}

#[test]
fn the_missing_end_of_an_epoch_is_waited_for_and_then_declared() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let sealed = writer.seal(4);
    let mut next = writer.next(2);
    reader.take_all([&sealed[0], &sealed[2]]);
    reader.take(&next.genesis);
    reader.take_all(&next.seal(1));
    reader.says("1");
    reader.pass(250);
    reader.says("lost:2-2 3 lost:4-4 proven 1 1");
}

#[test]
fn an_epoch_whose_genesis_did_not_come_is_not_proven() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let mut next = writer.next(2);
    let sealed = next.seal(2);
    reader.take(&sealed[1]);
    reader.says("");
    reader.pass(250);
    reader.says("unproven 1 lost:1-1 2");
}

#[test]
fn an_epoch_after_the_unknown_is_not_proven() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let next = Writer::open(STREAM, 2, (After::Unknown, Leaf::NONE));
    reader.take(&next.genesis);
    reader.says("unproven 1");
}

#[test]
fn an_epoch_that_denies_what_was_seen_of_the_one_before_is_not_proven() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let sealed = writer.seal(3);
    let shorter = (After::Epoch { epoch: writer.sealer.epoch(), last: 1 }, sealed[0].leaf);
    reader.take_all(&sealed);
    reader.take(&Writer::open(STREAM, 2, shorter).genesis);
    reader.says("1 2 3 rewound:1 unproven 1");

    let mut reader = Reader::of(&mut Writer::new());
    reader.take_all(&sealed);
    let other = (After::Epoch { epoch: writer.sealer.epoch(), last: 3 }, sealed[0].leaf);
    reader.take(&Writer::open(STREAM, 2, other).genesis);
    reader.says("1 2 3 same:3 unproven 1");
}

#[test]
fn after_a_fork_the_next_epoch_is_followed_but_proves_nothing() {
    let (mut writer, mut twin) = (Writer::new(), Writer::twin());
    let mut reader = Reader::of(&mut writer);
    reader.take(&writer.seal(1)[0]);
    reader.take(&twin.seal(1)[0]);
    let mut next = writer.next(2);
    reader.take(&next.genesis);
    reader.take_all(&next.seal(1));
    reader.says("1 same:1 unproven 1 1");
}

#[test]
fn a_short_epoch_between_two_others_is_handed_on() {
    let mut first = Writer::new();
    let mut reader = Reader::of(&mut first);
    let lost = first.seal(1);
    let mut second = first.next(2);
    let sealed = second.seal(2);
    let mut third = second.next(3);
    reader.take(&second.genesis);
    reader.take_all(&sealed);
    reader.take(&third.genesis);
    reader.take_all(&third.seal(1));
    reader.says("");
    reader.take(&lost[0]);
    reader.pass(0);
    reader.says("1 proven 1 1 2 proven 1 1");
}

#[test]
fn an_ended_epoch_comes_too_late() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let late = writer.seal(1);
    reader.take(&Writer::open(STREAM, 2, (After::Unknown, Leaf::NONE)).genesis);
    reader.take(&late[0]);
    reader.says("unproven 1");
    assert_eq!(reader.sequencer.counts().late, 1);
}
