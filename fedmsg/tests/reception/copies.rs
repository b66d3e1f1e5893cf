//! Holders that get what they have from others, and may be behind.

use fedmsg::limits::{BEHIND_MS_MAX, SILENT_MS};
use fedmsg::reception::Reception;
use fedmsg::sequence::Begin;

use crate::world::{Mode, Shelf, World, Writer};

/// A reader of a stream that its publisher keeps, and so many archives, from its first message on.
fn following(archives: usize) -> (World, Writer) {
    let (mut writer, genesis) = Writer::new();
    let mut world = World::new(1 + archives);
    world.archives = archives;
    let followed = world.followed();
    world.reception.follow(followed, world.now);
    world.keep([&genesis], 1);
    world.arrive([&writer.beat(0), &genesis]);
    world.says("live 1");
    (world, writer)
}

#[test]
fn what_its_publisher_keeps_no_more_is_asked_of_an_archive() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(9);
    world.keep(&sealed, 1);
    world.hosts[0].shelf.first = 6;
    writer.sealer.keeps_from(6);
    world.arrive([&sealed[0], &writer.beat(1)]);
    world.pass(300);
    world.says("1 +2 +3 +4 +5 +6 +7 +8 +9");
}

#[test]
fn what_an_archive_does_not_have_yet_is_not_lost() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(5);
    world.keep(&sealed[..1], 1);
    world.hosts[0].shelf = Shelf::default();
    world.arrive([&sealed[0], &sealed[4]]);
    world.pass(5_000);
    world.says("1");
    assert!(world.hosts[1].asked < 20, "it is asked again now and then");
    world.keep(&sealed, 1);
    world.hosts[0].shelf = Shelf::default();
    world.pass(1_000);
    world.says("+2 +3 +4 5");
}

#[test]
fn a_hole_in_a_copy_may_be_filled() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(3);
    world.keep(&sealed, 1);
    world.hosts[0].shelf = Shelf::default();
    world.hosts[1].shelf.damaged = vec![2];
    world.arrive([&sealed[0], &sealed[2]]);
    world.pass(5_000);
    world.says("1");
    world.hosts[1].shelf.damaged.clear();
    world.pass(1_000);
    world.says("+2 3");
}

#[test]
fn an_archive_that_stays_behind_is_waited_for_once() {
    let (mut world, mut writer) = following(1);
    let sealed = writer.seal(7);
    world.keep(&sealed[..1], 1);
    world.hosts[0].shelf = Shelf::default();
    world.arrive([&sealed[0], &sealed[2], &sealed[4]]);
    world.pass(BEHIND_MS_MAX);
    world.says("1");
    assert_eq!(world.stalled.len(), 1, "{:?}", world.stalled);
    world.pass(2_000);
    world.says("lost:2-2:absent 3 lost:4-4:absent 5");
    // Once it has caught up it is waited for again.
    world.keep(&sealed[..6], 1);
    world.hosts[0].shelf = Shelf::default();
    world.arrive([&sealed[6]]);
    world.pass(1_000);
    world.says("+6 7");
}

#[test]
fn the_end_of_a_silent_stream_is_asked_of_every_archive() {
    let (mut world, mut writer) = following(2);
    let sealed = writer.seal(3);
    world.keep(&sealed[..1], 1);
    let ahead = &mut world.hosts[2].shelf;
    let epoch = *ahead.epochs.keys().next().expect("an epoch");
    let known = ahead.epochs.entry(epoch).or_default();
    known.extend(sealed.iter().map(|sealed| (sealed.i, sealed.wire.clone())));
    world.hosts[0].mode = Mode::Down;
    world.arrive(&sealed[..1]);
    world.pass(SILENT_MS + 2_000);
    world.says("1 +2 +3");
}

#[test]
fn a_publisher_that_is_silent_keeps_nobody_from_reading_what_an_archive_has() {
    let (mut writer, genesis) = Writer::new();
    let sealed = writer.seal(5);
    let earliest = |reception: &mut Reception| reception.set_beginning(|_| Begin::Earliest, 1_000);
    let mut world = World::with(2, earliest);
    world.archives = 1;
    let followed = world.followed();
    world.reception.follow(followed, world.now);
    world.keep([&genesis], 1);
    world.keep(&sealed, 1);
    world.hosts[0].mode = Mode::Silent;
    // The head is asked for before it is known where to begin, and again behind that.
    world.pass(10_000);
    world.says("live 1 +1 +2 +3 +4 +5");
}
