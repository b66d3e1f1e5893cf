//! The past of thousands of streams in one tail, and then the present. `FEDMSG_STREAMS=2000 cargo test --release -p
//! fedmsg-tests tail_many` reads that many.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fedmsg::config::Config;
use fedmsg::testing::MemoryTransport;
use fedmsg::{Draft, Identity, Publisher};

use crate::harness::usage::Usage;
use crate::harness::{Bus, Program, addresses, say};

/// Streams of one service; one process of it lives, and answers for all.
const SLOTS: usize = 125;
/// Messages of each stream.
const EACH: usize = 10;
const MEMORY_KB_MAX: u64 = 200 << 10;
const PATIENCE: Duration = Duration::from_secs(120);

/// How many services have streams; whole ones.
fn services() -> usize {
    let streams = std::env::var("FEDMSG_STREAMS").unwrap_or_else(|_| "250".into());
    let streams: usize = streams.parse().expect("FEDMSG_STREAMS is a number");
    streams.div_ceil(SLOTS)
}

/// A host with the journals of all these services, of which a few processes live.
struct Past {
    bus: Bus,
    holders: Vec<Program>,
    streams: usize,
}

impl Past {
    fn new() -> Past {
        let bus = Bus::new(&[]);
        let names: Vec<String> = (0..services()).map(|n| format!("app{n}.one")).collect();
        let mut addresses = addresses();
        let mut text = String::new();
        for name in &names {
            bus.key(name);
            let publish: Vec<String> = addresses.by_ref().take(SLOTS).collect();
            let replay = addresses.next().expect("a port");
            text += &format!("[endpoints.{name:?}]\npublish = {publish:?}\nreplay = {replay:?}\n");
        }
        fs::write(bus.path("etc/20-endpoints.toml"), text).expect("written");
        let config = Arc::new(Config::load(&bus.load()).expect("a configuration"));
        // A disk takes many at once.
        thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| keep(&config, name));
            }
        });
        let holders = names.iter().map(|name| bus.process(name).0).collect();
        Past { bus, holders, streams: names.len() * SLOTS }
    }

    /// One message more of each living process; the places of all.
    fn publish(&mut self) -> Vec<String> {
        let mut places = Vec::new();
        for (n, holder) in self.holders.iter_mut().enumerate() {
            let sent = holder.ask(&format!("app{n}.n {{}}"));
            let words: Vec<&str> = sent.split(' ').collect();
            places.push(format!("{}:{}", words[1], words[3]));
        }
        places
    }

    fn messages(&self) -> usize {
        self.streams * EACH
    }
}

/// Makes the journals of all slots of a service.
fn keep(config: &Arc<Config>, name: &str) {
    let transport = Arc::new(MemoryTransport::new());
    let identity = Identity::parse(name).expect("an identity");
    let publisher = || {
        let builder = Publisher::builder().config(Arc::clone(config)).transport(transport.clone());
        builder.identity(identity.clone()).build().expect("a publisher")
    };
    let publishers: Vec<Publisher> = (0..SLOTS).map(|_| publisher()).collect();
    let service = identity.as_str().split('.').next().unwrap_or_default();
    for _ in 0..EACH {
        for publisher in &publishers {
            drop(
                publisher
                    .enqueue(Draft::new(format!("{service}.n")).raw_body("{}"))
                    .expect("taken"),
            );
        }
    }
    publishers.iter().for_each(Publisher::close);
}

/// So many lines of a tail, and the most memory that it had by then.
fn lines(tail: &mut Program, count: usize) -> (Vec<String>, u64) {
    let mut most_kb = 0;
    let mut next = |n: usize| {
        if n % 1_000 == 0 {
            most_kb = most_kb.max(Usage::of(tail).map_or(0, |usage| usage.most_kb));
        }
        tail.line_within(PATIENCE)
    };
    let lines = (0..count).map(&mut next).collect();
    (lines, most_kb)
}

fn all_are_there(lines: &[String], past: &Past) {
    let distinct: BTreeSet<&String> = lines.iter().collect();
    assert_eq!((lines.len(), distinct.len()), (past.messages(), past.messages()));
    let mut streams: Vec<(&str, u64)> = Vec::new();
    for line in lines {
        let (stream, i) = line.rsplit_once(':').expect("a place");
        streams.push((stream, i.parse().expect("a number")));
    }
    // The sort is stable: the numbers of a stream stay in the order in which they came.
    streams.sort_by_key(|(stream, _)| *stream);
    for of_stream in streams.chunk_by(|a, b| a.0 == b.0) {
        assert!(of_stream.iter().map(|(_, i)| *i).eq(1..=EACH as u64), "{of_stream:?}");
    }
}

#[test]
fn the_past_of_thousands_of_streams_and_then_the_present() {
    let mut past = Past::new();
    let mut told = Vec::new();
    for begin in [&["--all"][..], &["--since", "1h"]] {
        let start = Instant::now();
        let arguments = [&["--no-follow", "--strict", "--format", "%n:%i"], begin].concat();
        let mut tail = past.bus.tail(&arguments);
        let (lines, most_kb) = lines(&mut tail, past.messages());
        let (code, more, said) = tail.end_within(PATIENCE);
        assert_eq!((code, more.len()), (0, 0), "{said:?}");
        all_are_there(&lines, &past);
        assert!(most_kb < MEMORY_KB_MAX, "{most_kb} KiB");
        told.push(format!("{} in {:?} and {most_kb} KiB", begin[0], start.elapsed()));
    }
    let start = Instant::now();
    let mut tail = past.bus.tail(&["--all", "--strict", "--format", "%n:%i"]);
    // While the past is read, and after that.
    let mut present = past.publish();
    let (mut shown, _) = lines(&mut tail, past.messages() + present.len());
    let took = start.elapsed();
    present.extend(past.publish());
    shown.extend((0..past.holders.len()).map(|_| tail.line()));
    let most_kb = Usage::of(&tail).map_or(0, |usage| usage.most_kb);
    assert!(most_kb < MEMORY_KB_MAX, "{most_kb} KiB");
    let present: BTreeSet<String> = present.into_iter().collect();
    let (new, old): (Vec<_>, Vec<_>) = shown.into_iter().partition(|line| present.contains(line));
    assert_eq!(new.len(), present.len(), "each once");
    all_are_there(&old, &past);
    told.push(format!("and live in {took:?} and {most_kb} KiB"));
    say(&format!("{} messages of {} streams: {}", past.messages(), past.streams, told.join(", ")));
}
