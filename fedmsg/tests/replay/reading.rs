//! What is given: what the journal has, as it was signed, while it grows, is trimmed, and afterwards.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedmsg::envelope::Wire;
use fedmsg::frames::{Acknowledged, Ask, ErrorCode, Reply, Spot, Word};
use fedmsg::journal::{Mark, Settings};
use fedmsg::limits::SHELF_LOOKS_MAX;
use fedmsg::record::State;
use fedmsg::replay::save_heartbeat;
use fedmsg::topic::Pattern;

use crate::client::{Client, PATIENCE, code, name};
use crate::host::{Host, STREAM, small};
use crate::{bus, host};

fn with_numbers(wires: &[Wire], from: u64) -> Vec<(u64, Wire)> {
    (from..).zip(wires[from as usize..].iter().cloned()).collect()
}

pub fn a_journal_is_read_while_another_thread_writes_it(host: &Host) {
    // First as one of this process, then as one of another process would be.
    for (stream, is_live) in [(STREAM, true), ("koji.hub/0", false)] {
        let shelf = host.shelf();
        let server = host.serve(&shelf);
        let mut writer = host.writer(stream, small(1 << 30));
        let heartbeat = Arc::default();
        let live = || shelf.live(name(stream), writer.journal.mark(), Arc::clone(&heartbeat));
        let live = is_live.then(live);
        let (epoch, done) = (writer.epoch(), AtomicBool::new(false));
        let (read, parts, written) = thread::scope(|scope| {
            let writing = scope.spawn(|| {
                (0..40).for_each(|n| writer.append(100 + n, 300));
                done.store(true, Ordering::SeqCst);
                std::mem::take(&mut writer.wires)
            });
            let (mut client, mut read, mut parts) = (host.client(), Vec::new(), 0);
            loop {
                // Asked before it is read: what is read after the end is all there is.
                let was_done = done.load(Ordering::SeqCst);
                let before = read.len();
                read.extend(client.catch_up(stream, epoch, before as u64));
                parts += usize::from(read.len() > before);
                if read.len() == before {
                    client.pause();
                }
                if was_done {
                    break (read, parts, writing.join().expect("the writer is well"));
                }
            }
        });
        assert!(read == with_numbers(&written, 0), "{} of {}", read.len(), written.len());
        assert!(parts > 1, "it was read while it grew");
        assert_eq!(server.counts().records, written.len() as u64, "nothing was given twice");
        drop((live, server));
        host.wait_until_free();
    }
}

pub fn what_is_trimmed_is_said_and_the_rest_is_given(host: &Host) {
    let shelf = host.shelf();
    let _server = host.serve(&shelf);
    let mut writer = host.writer(STREAM, small(400 << 10));
    let (epoch, mut client) = (writer.epoch(), host.client());
    let mut trimmed = 0;
    for round in 0..10 {
        writer.append(300, 300);
        let removed = writer.journal.trim(writer.time, |_, _| false).expect("trimmed");
        trimmed += usize::from(removed.segments > 0);
        let (_, epochs) = client.head(STREAM).expect("it is there");
        let first = epochs[0].first;
        assert_eq!((epochs.len(), epochs[0].last), (1, writer.last()));
        assert_eq!(first > 0, trimmed > 0, "round {round}");
        if first > 0 {
            let (records, last) = client.get(STREAM, epoch, first - 1);
            assert_eq!((records.len(), code(&last)), (0, ErrorCode::Trimmed));
        }
        assert!(client.catch_up(STREAM, epoch, first) == with_numbers(&writer.wires, first));
    }
    assert!(trimmed > 3, "it was trimmed between answers: {trimmed}");
}

pub fn a_stream_is_given_when_its_writer_is_gone(host: &Host) {
    let shelf = host.shelf();
    let _server = host.serve(&shelf);
    let mut writer = host.writer(STREAM, small(1 << 30));
    writer.append(500, 300);
    let beat = writer.sealer.heartbeat(State::Open, "", bus::NOW).wire;
    let heartbeat = Arc::new(Mutex::new(Some(beat.clone())));
    let live = shelf.live(name(STREAM), writer.journal.mark(), heartbeat);
    let mut client = host.client();
    assert_eq!(client.head(STREAM).expect("it is there").0, Some(beat), "the one in memory");
    writer.append(500, 300);
    let (epoch, last) = (writer.epoch(), writer.last());
    let closing = writer.sealer.heartbeat(State::Closed, "", bus::NOW).wire;
    save_heartbeat(&fedmsg::journal::OsDisk, &host.slot(STREAM), &closing).expect("saved");
    writer.journal.close().expect("closed");
    drop(live);
    let (heartbeat, epochs) = client.head(STREAM).expect("it is still there");
    assert_eq!(heartbeat, Some(closing), "the saved one");
    assert_eq!((epochs[0].epoch, epochs[0].last), (epoch, last));
    assert!(client.catch_up(STREAM, epoch, 0) == with_numbers(&writer.wires, 0));
    // The next process begins another epoch; both can be read.
    let mut writer = host.writer(STREAM, small(1 << 30));
    writer.append(10, 300);
    let (_, epochs) = client.head(STREAM).expect("it is there");
    assert_eq!(epochs.iter().map(|range| range.last).collect::<Vec<_>>(), [last, 10]);
    assert!(client.catch_up(STREAM, writer.epoch(), 0) == with_numbers(&writer.wires, 0));
    assert_eq!(client.catch_up(STREAM, epoch, last).len(), 1);
}

pub fn a_stream_of_this_process_is_given_as_far_as_its_writer_says(host: &Host) {
    let shelf = host.shelf();
    let _server = host.serve(&shelf);
    let mut writer = host.writer(STREAM, Settings::default());
    writer.append(10, 10);
    let mut client = host.client();
    let nothing_durable = shelf.live(name(STREAM), Mark::default(), Arc::default());
    assert_eq!(client.head(STREAM), Err(ErrorCode::UnknownStream), "its mark says nothing yet");
    // A later call counts, and the end of the earlier one does not end it.
    let live = shelf.live(name(STREAM), writer.journal.mark(), Arc::default());
    drop(nothing_durable);
    assert_eq!(client.head(STREAM).expect("it is there").1[0].last, 10);
    writer.append(5, 10);
    assert_eq!(client.catch_up(STREAM, writer.epoch(), 0).len(), 16);
    drop(live);
}

pub fn streams_are_found_when_they_come(host: &Host) {
    let shelf = host.shelf();
    let _server = host.serve(&shelf);
    let mut client = host.client();
    assert_eq!(client.head(STREAM), Err(ErrorCode::UnknownStream), "no folder yet");
    let mut writer = host.writer(STREAM, Settings::default());
    writer.append(3, 10);
    let start = Instant::now();
    while client.head(STREAM).is_err() {
        // That it was not there is remembered for a second.
        assert!(start.elapsed() < PATIENCE, "it is found in time");
        client.pause();
    }
    assert!(client.catch_up(STREAM, writer.epoch(), 0) == with_numbers(&writer.wires, 0));
    // More streams than are kept open at a time, round and round.
    let streams: Vec<String> = (0..40).map(|slot| format!("koji.hub/{slot}")).collect();
    let epochs: Vec<_> = streams
        .iter()
        .map(|stream| {
            let mut writer = host.writer(stream, Settings::default());
            writer.append(2, 10);
            writer.epoch()
        })
        .collect();
    for _ in 0..3 {
        for (stream, epoch) in streams.iter().zip(&epochs) {
            assert_eq!(client.catch_up(stream, *epoch, 0).len(), 3);
        }
    }
}

pub fn changes_are_listed_and_times_found(host: &Host) {
    let shelf = host.shelf();
    let _server = host.serve(&shelf);
    let mut writers = [STREAM, "koji.hub/0"].map(|stream| host.writer(stream, small(1 << 30)));
    let times = writers.each_mut().map(|writer| {
        writer.append(100, 10);
        writer.append(100, 10);
        writer.time
    });
    let mut client = host.client();
    let list = |client: &mut Client, token: &Bytes| match client
        .ask(Ask::List { token: token.clone() })
        .remove(0)
    {
        Reply::Page { next, more: false, streams } => (next, streams),
        other => panic!("no page: {other:?}"),
    };
    let spot = |writer: &host::Writer| Spot {
        stream: writer.sealer.stream().clone(),
        epoch: writer.epoch(),
        i: writer.last(),
    };
    let (token, streams) = list(&mut client, &Bytes::new());
    assert_eq!(streams, writers.each_ref().map(spot));
    writers[1].append(1, 10);
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "the change is noticed in time");
        let (_, changed) = list(&mut client, &token);
        if !changed.is_empty() {
            assert_eq!(changed, [spot(&writers[1])], "only what changed");
            break;
        }
        client.pause();
    }
    for (time, i) in [(0, 101), (1, 201), (-1_000, 1), (-1_500, 1), (i64::from(i32::MIN), 1)] {
        let time = fedmsg::timestamp::Timestamp::from_millis(times[0].as_millis() + time);
        let found = client.ask(Ask::Find { stream: name(STREAM), time }).remove(0);
        assert_eq!(found, Reply::Found { epoch: writers[0].epoch(), i }, "{time}");
    }
    let filters = vec![Pattern::subscription("org.example.prod.bodhi.update.kind3").expect("one")];
    let (stream, epoch) = (name(STREAM), writers[0].epoch());
    let ask = Ask::Get { stream, epoch, from: 1, to: 200, max: 10, filters };
    let replies = client.ask(ask);
    let numbers = replies.iter().filter_map(|reply| match reply {
        Reply::Msg { i, .. } => Some(*i),
        _ => None,
    });
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=10).map(|n| 4 * n).collect::<Vec<_>>());
    assert_eq!(replies.last(), Some(&Reply::End { upto: 43, more: true }));
}

pub fn a_list_is_over_when_every_stream_was_looked_at(host: &Host) {
    let shelf = host.shelf();
    let streams: BTreeSet<_> =
        (0..2 * SHELF_LOOKS_MAX + 2).map(|n| name(&format!("koji.hub/{n}"))).collect();
    for stream in &streams {
        host.writer(&stream.to_string(), Settings::default()).append(1, 10);
    }
    let _server = host.serve(&shelf);
    let (mut client, mut token, mut listed) = (host.client(), Bytes::new(), BTreeSet::new());
    loop {
        let page = client.ask(Ask::List { token }).remove(0);
        let Reply::Page { next, more, streams } = page else { panic!("no page: {page:?}") };
        listed.extend(streams.into_iter().map(|spot| spot.stream));
        token = next;
        if !more {
            break;
        }
    }
    assert_eq!(listed, streams);
}

pub fn what_is_put_is_handed_on_and_floors_are_noted(host: &Host) {
    let (shelf, taken) = (host.shelf(), Arc::new(Mutex::new(Vec::new())));
    let same = Arc::clone(&taken);
    let _server = host.serve_with(&shelf, move |wire| {
        let takes = wire.topic.starts_with(b"org.example");
        same.lock().expect("unharmed").extend(takes.then_some(wire));
        takes
    });
    let mut writer = host.writer(STREAM, Settings::default());
    writer.append(2, 10);
    let mut client = host.client();
    let replies = client.ask(Ask::Put { messages: writer.wires.clone() });
    assert!(matches!(replies[0], Reply::Refused { span, .. } if (span.at, span.count) == (0, 1)));
    assert!(matches!(replies[1], Reply::Accepted { span } if (span.at, span.count) == (1, 2)));
    assert_eq!(taken.lock().expect("unharmed")[..], writer.wires[1..]);
    let denied = client.ask(Ask::Put { messages: writer.wires[..1].to_vec() });
    assert_eq!(code(&denied[0]), ErrorCode::Denied);
    let consumer = Word::parse("stats").expect("a word");
    let (stream, epoch) = (name(STREAM), writer.epoch());
    assert_eq!(client.ask(Ask::Ack { stream, epoch, upto: 2, consumer }), [Reply::Ok]);
}

/// Consumers of a stream, the number that each is done with, and whether it said so lately.
fn floors(client: &mut Client) -> Vec<(String, u64, bool)> {
    let mut replies = client.ask(Ask::Floors { stream: name(STREAM) });
    let Reply::Floors { floors } = replies.remove(0) else { panic!("{replies:?}") };
    let told = |one: Acknowledged| (one.consumer.to_string(), one.upto, one.age_ms < 60_000);
    floors.into_iter().map(told).collect()
}

pub fn how_far_consumers_are_is_known_when_their_publisher_is_gone(host: &Host) {
    let shelf = host.shelf();
    let server = host.serve(&shelf);
    let mut writer = host.writer(STREAM, Settings::default());
    writer.append(9, 10);
    let live = shelf.live(name(STREAM), writer.journal.mark(), Arc::default());
    let mut client = host.client();
    assert_eq!(floors(&mut client), []);
    for (consumer, upto) in [("stats", 4), ("mail", 9), ("stats", 7)] {
        let consumer = Word::parse(consumer).expect("a word");
        let ask = Ask::Ack { stream: name(STREAM), epoch: writer.epoch(), upto, consumer };
        assert_eq!(client.ask(ask), [Reply::Ok]);
    }
    let told = [("mail".to_owned(), 9, true), ("stats".to_owned(), 7, true)];
    assert_eq!(floors(&mut client), told);
    drop((live, server, shelf, client));
    // Another process of the host, and then the next one of the slot.
    let shelf = host.shelf();
    let _server = host.serve(&shelf);
    assert_eq!(floors(&mut host.client()), told);
    let _live = shelf.live(name(STREAM), writer.journal.mark(), Arc::default());
    assert_eq!(floors(&mut host.client()), told);
    let unknown = host.client().ask(Ask::Floors { stream: name("app.other/0") });
    assert_eq!(code(&unknown[0]), ErrorCode::UnknownStream);
}

pub fn damage_is_named_and_the_rest_is_given(host: &Host) {
    let shelf = host.shelf();
    let _server = host.serve(&shelf);
    let mut writer = host.writer(STREAM, small(1 << 30));
    (0..5).for_each(|_| writer.append(200, 300));
    let (epoch, last) = (writer.epoch(), writer.last());
    writer.journal.close().expect("closed");
    // A byte in the middle of the second segment.
    let mut segments: Vec<_> = std::fs::read_dir(host.slot(STREAM).join("journal"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[1]).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segments[1], bytes).expect("written");
    let mut client = host.client();
    let (mut from, mut read, mut gone) = (0, Vec::new(), Vec::new());
    loop {
        let (records, end) = client.part(STREAM, epoch, from);
        for record in records {
            match record {
                Reply::Msg { i, wire } => read.push((i, wire)),
                Reply::Gone { i, reason, .. } if reason.as_str() == "damaged" => gone.push(i),
                other => panic!("{other:?}"),
            }
        }
        match end {
            Reply::End { upto, more } => {
                from = upto + 1;
                if !more {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(from, last + 1, "it is stepped over by name alone");
    assert!(!gone.is_empty() && gone.len() < 200, "{gone:?}");
    let mut expected = with_numbers(&writer.wires, 0);
    expected.retain(|(i, _)| !gone.contains(i));
    assert!(read == expected, "around it everything is there");
}

impl Host {
    /// Waits until nobody has the address: a socket is closed by a thread of its own.
    pub fn wait_until_free(&self) {
        let start = Instant::now();
        while self.transport.responder(&self.address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "the address is free again");
            thread::yield_now();
        }
    }
}
