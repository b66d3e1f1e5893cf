//! Endpoints that are followed, moved and left, and what both ends are told of it.

use std::time::{Duration, Instant};

use fedmsg::config::EndpointEntry;
use fedmsg::event::EndpointStatus;

use crate::ends::{PATIENCE, Reader, Source, pair};
use crate::grounds::Ground;

pub fn an_endpoint_is_added_and_removed(ground: &Ground) {
    let (one, two) = (ground.entry("app.one", 1), ground.entry("web.two", 1));
    let (mut first, mut reader) = pair(ground, &one);
    let mut second = Source::bind(ground, &two);
    reader.inlet.follow(&[one.clone(), two.clone()]);
    second.joined(1);
    second.send("t", "added");
    assert_eq!(reader.texts(1), ["added"]);
    reader.inlet.follow(std::slice::from_ref(&two));
    first.left(1);
    first.outlet.send(&crate::ends::wire("t", "to nobody"));
    second.send("t", "still there");
    assert_eq!(reader.texts(1), ["still there"]);
    assert_eq!((second.seen.joined, second.seen.left), (1, 0), "it was not touched");
}

pub fn an_endpoint_moves(ground: &Ground) {
    let old = ground.entry("app.one", 1);
    let mut new = ground.entry("app.one", 1);
    let (mut before, mut reader) = pair(ground, &old);
    let mut after = Source::bind(ground, &new);
    // First it has a second address, then the first one goes.
    new.publish.insert(0, old.publish[0].clone());
    reader.inlet.follow(std::slice::from_ref(&new));
    after.joined(1);
    before.send("t", "from the old");
    assert_eq!(reader.texts(1), ["from the old"]);
    new.publish.remove(0);
    reader.inlet.follow(std::slice::from_ref(&new));
    // A socket lets go while it is read.
    before.left_while(1, || assert!(reader.turn(Duration::from_millis(10)).is_empty()));
    after.send("t", "from the new");
    assert_eq!(reader.texts(1), ["from the new"]);
    assert_eq!((after.seen.joined, after.seen.left), (1, 0), "it was not touched");
}

pub fn following_the_same_again_changes_nothing(ground: &Ground) {
    let entry = ground.entry("app.one", 1);
    let (mut source, mut reader) = pair(ground, &entry);
    for n in 0..20 {
        source.send("t", n.to_string());
        reader.inlet.follow(std::slice::from_ref(&entry));
    }
    assert_eq!(reader.texts(20), (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    // Somebody else comes and goes; nobody else did.
    let other = Reader::following(ground, &[entry]);
    source.joined(2);
    drop(other);
    source.left(1);
}

pub fn nothing_arrives_from_who_is_not_followed_any_more(ground: &Ground) {
    let (one, two) = (ground.entry("app.one", 1), ground.entry("web.two", 1));
    let (mut first, mut second) = (Source::bind(ground, &one), Source::bind(ground, &two));
    let both = [one.clone(), two.clone()];
    let mut reader = Reader::following(ground, &both);
    let mut witness = Reader::following(ground, &both);
    for source in [&mut first, &mut second] {
        source.joined(2);
    }
    first.send("t", "of the first");
    second.send("t", "of the second");
    witness.texts(2);
    reader.inlet.follow(std::slice::from_ref(&two));
    assert_eq!(reader.texts(1), ["of the second"]);
}

pub fn an_endpoint_that_is_down_is_told_once_and_harms_nobody(ground: &Ground) {
    let (up, down) = (ground.entry("app.one", 1), ground.entry("web.two", 1));
    let mut source = Source::bind(ground, &up);
    let mut reader = Reader::following(ground, &[up.clone(), down.clone()]);
    source.joined(1);
    let mut sent = 0;
    until(&mut reader, |reader, heard| {
        source.send("t", sent.to_string());
        sent += 1;
        assert!(heard < sent, "nothing comes twice");
        told(reader, &down).len() == 1
    });
    assert!(matches!(told(&reader, &down)[..], [EndpointStatus::Down(_)]));
    let mut late = Source::bind(ground, &down);
    late.joined(1);
    until(&mut reader, |reader, _| {
        late.outlet.send(&crate::ends::wire("t", "here I am"));
        told(reader, &down).len() == 2
    });
    assert!(matches!(told(&reader, &down)[..], [EndpointStatus::Down(_), EndpointStatus::Up]));
    assert_eq!(told(&reader, &up), [EndpointStatus::Up]);
}

pub fn subscribers_come_and_go(ground: &Ground) {
    let entry = ground.entry("app.one", 1);
    let mut source = Source::bind(ground, &entry);
    let follow = || Reader::following(ground, std::slice::from_ref(&entry));
    let (one, two) = (follow(), follow());
    source.joined(2);
    drop(one);
    source.left(1);
    let _three = follow();
    source.joined(3);
    drop(two);
    source.left(2);
}

/// What was said of an endpoint.
fn told(reader: &Reader, entry: &EndpointEntry) -> Vec<EndpointStatus> {
    let of_it = reader.changes.iter().filter(|change| change.endpoint == entry.identity);
    of_it.map(|change| change.status.clone()).collect()
}

/// Reads until this is true, which is asked with the count of messages so far.
fn until(reader: &mut Reader, mut enough: impl FnMut(&Reader, usize) -> bool) {
    let (start, mut heard) = (Instant::now(), 0);
    while !enough(reader, heard) {
        assert!(start.elapsed() < PATIENCE, "it came in time: {:?}", reader.changes);
        heard += reader.turn(Duration::from_millis(20)).len();
    }
}
