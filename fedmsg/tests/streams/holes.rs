//! Holes: filled late, declared with their exact range, or confirmed before anything moves.

use fedmsg::limits::FAR_JUMP;

use crate::steps::{Reader, Writer};

#[test]
fn a_hole_that_is_filled_in_time_is_none() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let sealed = writer.seal(5);
    reader.take_all([&sealed[0], &sealed[4], &sealed[2]]);
    reader.pass(249);
    reader.says("1");
    reader.take_all([&sealed[3], &sealed[1]]);
    reader.says("2 3 4 5");
    reader.pass(0);
    assert!(!reader.sequencer.is_waiting());
}

#[test]
fn holes_are_declared_after_their_time_with_their_exact_ranges() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let sealed = writer.seal(9);
    reader.take_all([&sealed[2], &sealed[6]]);
    reader.pass(250);
    reader.says("lost:1-2 3 lost:4-6 7");
    reader.take(&sealed[1]);
    reader.take_all(&sealed[7..]);
    reader.says("8 9");
    let counts = reader.sequencer.counts();
    assert_eq!((counts.gaps, counts.lost, counts.delivered, counts.late), (2, 5, 4, 1));
}

#[test]
fn a_hole_is_as_old_as_the_first_message_behind_it() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let sealed = writer.seal(9);
    reader.take(&sealed[8]);
    reader.pass(200);
    reader.take(&sealed[3]);
    reader.pass(50);
    reader.says("lost:1-3 4 lost:5-8 9");
}

#[test]
fn a_hole_before_a_heartbeat_is_declared_by_it_and_no_other() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let mut sealed = writer.seal(5);
    let beat = writer.beat(1);
    sealed.extend(writer.seal(5));
    reader.take_all([&sealed[2], &sealed[8]]);
    reader.take(&beat);
    reader.says("lost:1-2 3");
    reader.take_all(&sealed[3..]);
    reader.says("4 5 6 7 8 9 10");
}

#[test]
fn the_loss_of_the_last_messages_is_found_by_a_heartbeat() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let sealed = writer.seal(4);
    reader.take_all(&sealed[..2]);
    reader.take(&writer.beat(1));
    reader.pass(249);
    reader.says("1 2");
    reader.pass(1);
    reader.says("lost:3-4");
    reader.take_all(&writer.seal(1));
    reader.says("5");
}

#[test]
fn a_number_far_ahead_moves_nothing_and_hides_nothing() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let sealed = writer.seal(3);
    let beat = writer.beat(1);
    reader.use_up_at(&sealed[2], FAR_JUMP + 5);
    reader.pass(60_000);
    reader.says("");
    reader.take(&beat);
    reader.pass(250);
    reader.says("lost:1-3");
    assert!(reader.sequencer.is_waiting(), "it is still there");
}

#[test]
fn a_refused_message_uses_its_position_up() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let sealed = writer.seal(3);
    reader.take(&sealed[0]);
    reader.use_up(&sealed[1]);
    reader.take(&sealed[2]);
    reader.says("1 3");
    assert_eq!(reader.sequencer.counts().gaps, 0);
}

#[test]
fn a_heartbeat_from_before_a_refused_message_does_not_show_a_publisher_set_back() {
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let (late, sealed) = (writer.beat(1), writer.seal(2));
    reader.use_up(&sealed[0]);
    reader.take(&late);
    reader.take(&sealed[1]);
    reader.says("2");
}
