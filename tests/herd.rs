//! R13: hundreds of streams and dozens of readers that all begin again at the same moment, with messages missing.
//! `FEDMSG_HERD=500x20 cargo test --release -p fedmsg-tests herd` does it with 500 streams and 20 readers; a third
//! number says how many slots each identity has.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fedmsg::limits::TELLS_MAX;
use serde_json::Value;

use crate::harness::usage::{Usage, most_descriptors};
use crate::harness::{Bus, Program, addresses, command, not_run, say};

/// Each stream has so many messages when its readers are killed, so many when its publisher is, so many when
/// everything is back, and so many after the publishers were killed once more.
const BEFORE: u64 = 5;
const MISSED: u64 = 25;
const BACK: u64 = 30;
const AGAIN: u64 = 35;
/// Streams of one host, and readers of one process, at most.
const STREAMS_OF_HOST: usize = 50;
const READERS_OF_PROCESS: usize = 5;
/// Nothing takes longer, however much there is.
const PATIENCE: Duration = Duration::from_secs(200);

/// How many of each.
#[derive(Clone, Copy, Debug)]
struct Size {
    streams: usize,
    readers: usize,
    slots: usize,
}

impl Size {
    fn from_environment() -> Size {
        let text = std::env::var("FEDMSG_HERD").unwrap_or_else(|_| "50x4".into());
        let numbers: Vec<usize> =
            text.split('x').filter_map(|number| number.parse().ok()).collect();
        let (streams, readers, slots) = match numbers[..] {
            [streams, readers] => (streams, readers, 5),
            [streams, readers, slots] => (streams, readers, slots),
            _ => panic!("FEDMSG_HERD={text} is not like 500x20"),
        };
        assert!(slots > 0 && streams % slots == 0, "{streams} streams of {slots} slots each");
        Size { streams, readers, slots }
    }

    /// Two processes at least, so that not everything is in one.
    fn streams_of_host(self) -> usize {
        STREAMS_OF_HOST.min(self.streams / 2).next_multiple_of(self.slots)
    }

    fn readers_of_process(self) -> usize {
        READERS_OF_PROCESS.min(self.readers.div_ceil(2))
    }

    /// Descriptors that one process may need: of a host with its sockets, files and connections, and of readers, whose
    /// sockets have two beside the connection.
    fn descriptors(self) -> [u64; 2] {
        let host = self.streams_of_host() * (2 * self.readers + 60);
        let readers = self.readers_of_process() * (6 * self.streams + 60);
        [host as u64, readers as u64]
    }

    /// Memory that one process may need, in KiB: 100 for each connection of a host, 200 for each stream of a reader.
    fn memory_kb(self) -> [u64; 2] {
        let host = 100 * self.streams_of_host() * self.readers;
        let readers = 200 * self.readers_of_process() * self.streams;
        [(host + (96 << 10)) as u64, (readers + (96 << 10)) as u64]
    }

    /// Readers and what each of them has to fetch from.
    fn pairs(self) -> u64 {
        (self.streams * self.readers) as u64
    }
}

/// The infrastructure: hosts with their identities, and readers.
struct Herd {
    size: Size,
    bus: Bus,
    hosts: Vec<(PathBuf, Vec<String>)>,
}

impl Herd {
    fn new(size: Size) -> Herd {
        let bus = Bus::new(&[]);
        let name = |n: usize| format!("app{n}.host{}", n * size.slots / size.streams_of_host());
        let identities: Vec<String> = (0..size.streams / size.slots).map(name).collect();
        let (mut text, mut addresses) = (String::new(), addresses());
        for identity in &identities {
            bus.key(identity);
            let mut address = |_| addresses.next().expect("a port");
            let publish: Vec<String> = (0..size.slots).map(&mut address).collect();
            let replay: Vec<String> = (0..size.slots).map(address).collect();
            text +=
                &format!("[endpoints.{identity:?}]\npublish = {publish:?}\nreplay = {replay:?}\n");
        }
        fs::write(bus.path("etc/20-endpoints.toml"), text).expect("written");
        let hosts = identities.chunks(size.streams_of_host() / size.slots).enumerate();
        let host = |(n, identities): (usize, &[String])| {
            let folder = bus.copy(&format!("host{n}"));
            let state = bus.path(&format!("state{n}"));
            let text = format!("[bus]\nstate_dir = {state:?}\n");
            fs::write(folder.join("90-host.toml"), text).expect("written");
            (folder, identities.to_vec())
        };
        let hosts = hosts.map(host).collect();
        fs::create_dir(bus.path("stores")).expect("a folder");
        Herd { size, bus, hosts }
    }

    /// All publishers, starting.
    fn publishers(&self) -> Vec<Program> {
        let start = |(folder, identities): &(PathBuf, Vec<String>)| {
            let mut publishers = command("examples/many_publishers");
            publishers.arg(folder).arg(self.size.slots.to_string()).args(identities);
            Program::start(publishers)
        };
        self.hosts.iter().map(start).collect()
    }

    /// All readers, starting; this is the next message of each stream.
    fn readers(&self, next: u64) -> Vec<Program> {
        let most = self.size.readers_of_process();
        let start = |first: usize| {
            let count = most.min(self.size.readers - first);
            let mut readers = command("examples/many_readers");
            readers.arg(self.bus.etc()).arg(self.bus.path("stores"));
            readers.args([first, count, self.size.streams].map(|number| number.to_string()));
            readers.arg(next.to_string());
            Program::start(readers)
        };
        (0..self.size.readers).step_by(most).map(start).collect()
    }
}

fn all_say(programs: &mut [Program], answer: &str) {
    for program in programs {
        assert_eq!(program.line_within(PATIENCE), answer);
    }
}

fn tell(programs: &mut [Program], word: &str) {
    programs.iter_mut().for_each(|program| program.tell(word));
}

/// Has all of them do something, at the same time.
fn ask(programs: &mut [Program], word: &str, answer: &str) {
    tell(programs, word);
    all_say(programs, answer);
}

fn publish(publishers: &mut [Program], from: u64, to: u64) {
    ask(publishers, &format!("publish {from} {to}"), "published");
}

/// Waits until all readers have everything up to this number.
fn caught(readers: &mut [Program], to: u64) {
    tell(readers, &format!("expect {to}"));
    for reader in readers {
        let line = reader.line_within(PATIENCE);
        assert!(line.starts_with("caught "), "{line}");
    }
}

/// How many requests of each verb all holders were asked.
fn requests(publishers: &mut [Program]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for publisher in publishers {
        publisher.tell("requests");
        for (verb, count) in publisher.json().as_object().expect("an object") {
            *all.entry(verb.clone()).or_default() += count.as_u64().expect("a number");
        }
    }
    all
}

/// What the readers saw: how many messages, and what else.
fn seen(readers: &mut [Program]) -> (u64, BTreeMap<String, u64>) {
    let (mut messages, mut others) = (0, BTreeMap::new());
    for reader in readers {
        reader.tell("seen");
        let seen = reader.json();
        assert_eq!(seen["wrong"], Value::Null, "{seen}");
        let of_each = seen["messages"].as_array().expect("a list").iter();
        messages += of_each.map(|count| count.as_u64().expect("a number")).sum::<u64>();
        for (what, count) in seen["others"].as_object().expect("an object") {
            *others.entry(what.clone()).or_default() += count.as_u64().expect("a number");
        }
    }
    (messages, others)
}

/// The most that one of these processes uses, and the time that all of them took.
fn most(programs: &[Program]) -> Usage {
    let all: Vec<Usage> = programs.iter().filter_map(Usage::of).collect();
    let most = |number: fn(&Usage) -> u64| all.iter().map(number).max().unwrap_or(0);
    Usage {
        memory_kb: most(|usage| usage.memory_kb),
        most_kb: most(|usage| usage.most_kb),
        descriptors: most(|usage| usage.descriptors),
        cpu_ms: all.iter().map(|usage| usage.cpu_ms).sum(),
    }
}

/// Whatever the herd does: each reader needs one answer for each stream, and asks at most four times; it asks for
/// lists and tells where it is at the pace that it has without a herd.
fn is_bounded(size: Size, asked: &BTreeMap<String, u64>, took: Duration, used: [Usage; 2]) {
    let count = |verb: &str| asked.get(verb).copied().unwrap_or(0);
    let (pairs, seconds) = (size.pairs(), took.as_secs());
    let fetches = count("GET") + count("HEAD") + count("FIND");
    assert!(fetches >= pairs && fetches <= 4 * pairs, "{fetches} requests for {pairs} answers");
    assert!(count("LIST") <= pairs * (3 + seconds / 5), "{asked:?} in {seconds} s");
    let tells = (TELLS_MAX * size.readers) as u64 * (seconds + 2);
    assert!(count("ACK") <= tells, "{asked:?} in {seconds} s");
    let limits = size.descriptors().into_iter().zip(size.memory_kb());
    for (used, (descriptors, memory_kb)) in used.into_iter().zip(limits) {
        assert!(used.descriptors <= descriptors, "{used:?}, at most {descriptors} descriptors");
        assert!(used.most_kb <= memory_kb, "{used:?}, at most {memory_kb} KiB");
    }
}

#[test]
fn everything_begins_again_at_once_and_every_reader_has_every_message() {
    let size = Size::from_environment();
    let needed = size.descriptors().into_iter().max().unwrap_or(0);
    if most_descriptors().is_some_and(|most| most < needed) {
        let why = format!("{size:?} needs {needed} descriptors in one process (ulimit -Hn)");
        return not_run("descriptors", &why);
    }
    let herd = Herd::new(size);
    let (mut publishers, mut readers) = (herd.publishers(), herd.readers(1));
    all_say(&mut publishers, "ready");
    all_say(&mut readers, "ready");
    publish(&mut publishers, 1, BEFORE);
    caught(&mut readers, BEFORE);
    ask(&mut readers, "flush", "flushed");
    readers.iter_mut().for_each(Program::kill);
    publish(&mut publishers, BEFORE + 1, MISSED);
    publishers.iter_mut().for_each(Program::kill);

    let start = Instant::now();
    (publishers, readers) = (herd.publishers(), herd.readers(BEFORE + 1));
    all_say(&mut publishers, "ready");
    publish(&mut publishers, MISSED + 1, BACK);
    let published = start.elapsed();
    all_say(&mut readers, "ready");
    caught(&mut readers, BACK);
    let took = start.elapsed();
    let asked = requests(&mut publishers);
    let used = [most(&publishers), most(&readers)];
    say(&format!(
        "herd: {size:?}: published after {published:?}, all caught up after {took:?}; requests {asked:?}; \
         publishers {:?}, readers {:?}",
        used[0], used[1]
    ));
    is_bounded(size, &asked, took, used);

    publishers.iter_mut().for_each(Program::kill);
    let start = Instant::now();
    publishers = herd.publishers();
    all_say(&mut publishers, "ready");
    publish(&mut publishers, BACK + 1, AGAIN);
    caught(&mut readers, AGAIN);
    let (messages, others) = seen(&mut readers);
    say(&format!(
        "herd: publishers alone: all caught up after {:?}; requests {:?}; beside messages {others:?}",
        start.elapsed(),
        requests(&mut publishers)
    ));
    assert_eq!(messages, size.pairs() * (AGAIN - BEFORE), "every message once");
}
