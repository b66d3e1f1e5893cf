//! Where a reader takes a stream up.

use crate::steps::{Reader, Writer, at};

#[test]
fn a_fresh_heartbeat_is_the_base_and_what_leads_up_to_it_is_handed_on() {
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    let sealed = writer.seal(5);
    reader.take_all(&sealed[2..]);
    reader.says("");
    reader.take(&writer.beat(0));
    reader.says("live 3 3 4 5");
}

#[test]
fn what_is_not_joined_to_the_base_is_shown_as_stale() {
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    let sealed = writer.seal(5);
    reader.take_all([&sealed[0], &sealed[4]]);
    reader.take(&writer.beat(0));
    reader.says("live 5 stale:1 5");
}

#[test]
fn old_messages_do_not_become_news_because_a_fresh_heartbeat_follows_them() {
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    let old = writer.seal_at(3, at(-86_400_000));
    let new = writer.seal_at(1, at(0));
    reader.take_all(old.iter().chain(&new));
    reader.take(&writer.beat(0));
    reader.says("live 4 stale:1 stale:2 stale:3 4");
}

#[test]
fn a_stale_heartbeat_is_no_base_until_a_second_holder_sends_it() {
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    reader.days = 365;
    let sealed = writer.seal(2);
    reader.take_all(&sealed);
    reader.take(&writer.beat(0));
    reader.says("stale:1 stale:2");
    reader.take(&writer.seal(1)[0]);
    reader.says("stale:3");
    let beat = writer.beat(1);
    reader.take(&beat);
    reader.says("");
    reader.take_from(&beat, "relay.a");
    reader.says("live 4");
    reader.take(&writer.seal(1)[0]);
    reader.says("4");
}

#[test]
fn without_a_heartbeat_messages_become_stale_after_two_that_did_not_come() {
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    reader.take_all(&writer.seal(2));
    reader.pass(9_999);
    reader.says("");
    reader.pass(1);
    reader.says("stale:1 stale:2");
    assert!(!reader.sequencer.is_waiting());
}

#[test]
fn each_epoch_that_waits_gets_its_word() {
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    let mut later = writer.next(2);
    reader.take_all(&writer.seal(1));
    reader.take_all(&later.seal(2));
    reader.pass(10_000);
    reader.says("stale:1 stale:1 stale:2");
    assert!(!reader.sequencer.is_waiting());
}

#[test]
fn a_fresh_genesis_record_is_a_base_and_an_old_one_is_not() {
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    reader.take(&writer.genesis);
    reader.take_all(&writer.seal(1));
    reader.says("live 1 1");
    let mut late = Reader::new();
    late.days = 1;
    late.take(&Writer::new().genesis);
    late.says("");
}
