//! What arrives: everything, whole, in order, from whom it came; and what does not.

use std::time::Instant;

use fedmsg::limits::ENVELOPE_BYTES_MAX;

use crate::ends::{PATIENCE, Reader, Source, pair, wire};
use crate::grounds::Ground;

pub fn frames_arrive_whole_and_in_order(ground: &Ground) {
    let entry = ground.entry("app.one", 1);
    let (mut source, mut reader) = pair(ground, &entry);
    let lengths = [0, 1, 200_000, 255, ENVELOPE_BYTES_MAX, 256];
    for (n, length) in lengths.into_iter().enumerate() {
        source.send(&format!("t.{n}"), vec![n as u8; length]);
    }
    for n in 0..5_000 {
        source.send("many", n.to_string());
    }
    let heard: Vec<_> =
        reader.next(lengths.len() + 5_000).into_iter().map(Result::unwrap).collect();
    for (n, length) in lengths.into_iter().enumerate() {
        let (_, topic, envelope) = &heard[n];
        assert_eq!(*topic, format!("t.{n}"));
        assert!(*envelope == vec![n as u8; length], "{length} bytes came as {}", envelope.len());
    }
    for (n, (_, topic, envelope)) in heard[lengths.len()..].iter().enumerate() {
        assert_eq!((topic.as_str(), &envelope[..]), ("many", n.to_string().as_bytes()));
    }
    assert_eq!(heard.len(), lengths.len() + 5_000, "nothing came twice");
}

pub fn whoever_comes_late_gets_nothing_from_before(ground: &Ground) {
    let entry = ground.entry("app.one", 1);
    let (mut source, mut early) = pair(ground, &entry);
    source.send("t", "before");
    assert_eq!(early.texts(1), ["before"]);
    let mut late = Reader::following(ground, &[entry]);
    source.joined(2);
    source.send("t", "after");
    assert_eq!(late.texts(1), ["after"]);
    assert_eq!(early.texts(1), ["after"]);
}

pub fn every_subscriber_gets_everything(ground: &Ground) {
    let entry = ground.entry("app.one", 1);
    let mut source = Source::bind(ground, &entry);
    let follow = |_| Reader::following(ground, std::slice::from_ref(&entry));
    let mut readers: Vec<Reader> = (0..5).map(follow).collect();
    source.joined(5);
    let expected: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    expected.iter().for_each(|text| source.send("t", text.clone()));
    for reader in &mut readers {
        assert_eq!(reader.texts(300), expected);
    }
}

pub fn several_outlets_reach_one_inlet_and_are_told_apart(ground: &Ground) {
    // Two services, and one with two slots.
    let entries =
        [ground.entry("app.one", 1), ground.entry("web.two", 1), ground.entry("log.three", 2)];
    let places = [(0, 0), (1, 0), (2, 0), (2, 1)];
    let bind = |(at, slot): (usize, usize)| {
        let entry: &fedmsg::config::EndpointEntry = &entries[at];
        (entry.identity.to_string(), Source::with(ground, entry, slot, Default::default()))
    };
    let mut sources: Vec<(String, Source)> = places.into_iter().map(bind).collect();
    let mut reader = Reader::following(ground, &entries);
    sources.iter_mut().for_each(|(_, source)| source.joined(1));
    for n in 0..100 {
        for (slot, (name, source)) in sources.iter_mut().enumerate() {
            source.send(name, format!("{slot} {n}"));
        }
    }
    let heard: Vec<_> = reader.next(400).into_iter().map(Result::unwrap).collect();
    assert_eq!(heard.len(), 400);
    for (slot, (name, _)) in sources.iter().enumerate() {
        let mark = format!("{slot} ");
        let own = heard.iter().filter(|(_, _, envelope)| envelope.starts_with(mark.as_bytes()));
        for (n, (from, topic, envelope)) in own.clone().enumerate() {
            assert_eq!((from, topic), (name, name), "who sent it");
            assert_eq!(&envelope[..], format!("{slot} {n}").as_bytes(), "in order");
        }
        assert_eq!(own.count(), 100);
    }
}

pub fn what_was_sent_before_the_end_arrives(ground: &Ground) {
    let entry = ground.entry("app.one", 1);
    let (mut source, mut reader) = pair(ground, &entry);
    let expected: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    expected.iter().for_each(|text| source.send("t", text.clone()));
    drop(source);
    assert_eq!(reader.texts(1_000), expected);
}

pub fn a_frame_that_is_too_long_never_arrives_and_later_ones_do(ground: &Ground) {
    let entry = ground.entry("app.one", 1);
    let (mut source, mut reader) = pair(ground, &entry);
    source.outlet.send(&wire("long", vec![b'x'; 2 * ENVELOPE_BYTES_MAX]));
    // A socket pays for it with its connection: what is sent before it is back is lost, as for anybody who
    // comes late.
    let start = Instant::now();
    let heard = loop {
        assert!(start.elapsed() < PATIENCE, "something arrives again");
        source.outlet.send(&wire("short", "x"));
        let heard = reader.turn(std::time::Duration::from_millis(20));
        if !heard.is_empty() {
            break heard;
        }
    };
    assert!(heard.iter().all(|heard| heard.as_ref().is_ok_and(|(_, topic, _)| topic == "short")));
}

pub fn other_than_two_frames_are_counted(ground: &Ground) {
    let entry = ground.entry("app.one", 1);
    let mut reader = Reader::following(ground, std::slice::from_ref(&entry));
    let messages: [&[&[u8]]; 4] =
        [&[b"one"], &[b"t", b"two"], &[b"t", b"three", b"three"], &[b"t", b"again"]];
    let _open = (ground.raw)(&entry, &messages);
    let heard = reader.next(4);
    let counts: Vec<usize> =
        heard.iter().map(|heard| heard.as_ref().err().copied().unwrap_or(2)).collect();
    assert_eq!(counts, [1, 2, 3, 2]);
    assert_eq!(heard[3].as_ref().map(|(_, _, envelope)| &envelope[..]), Ok(&b"again"[..]));
}
