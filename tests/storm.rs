//! A relay that carries thousands of streams, and everybody who comes back at the same moment when it does.
//! `FEDMSG_STORM=10000x4 cargo test --release -p fedmsg-tests storm` does it with 10,000 streams and 4 readers.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fedmsg::config::Config;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::frames::{Answer, Ask, Reply, Request, RequestId};
use fedmsg::merkle::Leaf;
use fedmsg::record::{After, Level};
use fedmsg::seal::{Sealer, check};
use fedmsg::{Draft, Identity, StreamName};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::usage::{Usage, most_descriptors};
use crate::harness::{Bus, Program, command, not_run, say};

const IDENTITIES: usize = 20;
/// Requests that are on their way at the same time.
const ON_THEIR_WAY: usize = 64;
/// Nothing takes longer, however much there is.
const PATIENCE: Duration = Duration::from_secs(200);
/// What a relay may need in memory, in KiB: 20 for each stream, and what every program needs.
const STREAM_KB: u64 = 20;
const PROGRAM_KB: u64 = 64 << 10;
/// Descriptors of a reader.
const DESCRIPTORS: u64 = 256;

#[derive(Clone, Copy, Debug)]
struct Size {
    streams: usize,
    readers: usize,
}

impl Size {
    fn from_environment() -> Size {
        let text = std::env::var("FEDMSG_STORM").unwrap_or_else(|_| "300x3".into());
        let numbers: Vec<usize> =
            text.split('x').filter_map(|number| number.parse().ok()).collect();
        let [streams, readers] = numbers[..] else { panic!("FEDMSG_STORM={text}: like 10000x4") };
        Size { streams, readers }
    }
}

/// Producers behind the relay, each with a stream of its own.
struct Producers {
    config: Config,
    socket: zmq::Socket,
    streams: Vec<(Identity, Sealer, Option<Wire>)>,
    on_their_way: usize,
}

impl Producers {
    fn new(bus: &Bus, streams: usize) -> Producers {
        let config = Config::load(&bus.load()).expect("loads");
        let socket = zmq::Context::new().socket(zmq::DEALER).expect("a socket");
        socket.set_sndhwm(0).expect("set");
        socket.set_rcvhwm(0).expect("set");
        socket.set_rcvtimeo(PATIENCE.as_millis() as i32).expect("set");
        let relay = &config.endpoints[&Identity::parse("relay.one").expect("a name")];
        socket.connect(&relay.submit[0].to_string()).expect("connects");
        let open = |at: usize| {
            let identity = Identity::parse(&format!("app.pod{}", at % IDENTITIES)).expect("a name");
            let key = Arc::new(config.secret_key(&identity).expect("a key"));
            let slot = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + at as u128);
            let name = StreamName::parse(&format!("{identity}/{slot}")).expect("a name");
            let now = SystemTime::now().into();
            let epoch = Epoch::next(now, [7; 10], None);
            let before = (After::Nothing, Leaf::NONE);
            let (sealer, genesis) =
                Sealer::open_epoch(key, name, epoch, before, Level::Memory, now);
            (identity, sealer, Some(genesis.wire))
        };
        let streams = (0..streams).map(open).collect();
        Producers { config, socket, streams, on_their_way: 0 }
    }

    /// Puts message number `n` of every stream; returns when the relay has stored all of them.
    fn publish(&mut self, n: u64) {
        for at in 0..self.streams.len() {
            let (identity, sealer, genesis) = &mut self.streams[at];
            let draft = Draft::new("app.n").body(&json!({ "n": n }));
            let id = format!("2026-{}-{n}", sealer.stream());
            let checked = check(draft, identity, &self.config.trust, || id).expect("allowed");
            let sealed = sealer.seal(&[checked], SystemTime::now().into());
            let messages = sealed.into_iter().map(|sealed| sealed.wire);
            let messages: Vec<Wire> = genesis.take().into_iter().chain(messages).collect();
            let id = RequestId::new(&(at as u64).to_be_bytes()).expect("an id");
            let frames = Request { id, ask: Ask::Put { messages } }.encode();
            let frames = frames.iter().map(|frame| &frame[..]);
            self.socket.send_multipart(frames, 0).expect("sent");
            self.on_their_way += 1;
            while self.on_their_way >= ON_THEIR_WAY {
                self.answer();
            }
        }
        while self.on_their_way > 0 {
            self.answer();
        }
    }

    fn answer(&mut self) {
        let frames = self.socket.recv_multipart(0).expect("the relay answers");
        let answer = Answer::parse(&frames).expect("an answer");
        assert!(matches!(answer.reply, Reply::Stored { .. }), "{:?}", answer.reply);
        self.on_their_way -= 1;
    }
}

fn readers(bus: &Bus, size: Size, next: u64) -> Vec<Program> {
    let start = |at: usize| {
        let mut readers = command("examples/many_readers");
        readers.arg(bus.etc()).arg(bus.path("stores"));
        readers.args([at, 1, size.streams].map(|number| number.to_string()));
        readers.arg(next.to_string());
        Program::start(readers)
    };
    (0..size.readers).map(start).collect()
}

fn all_have(readers: &mut [Program], to: u64) {
    readers.iter_mut().for_each(|reader| reader.tell(&format!("expect {to}")));
    for reader in readers {
        let line = reader.line_within(PATIENCE);
        assert!(line.starts_with("caught "), "{line}");
    }
}

fn seen(readers: &mut [Program]) -> u64 {
    let of = |reader: &mut Program| {
        reader.tell("seen");
        let seen = reader.json();
        assert_eq!(seen["wrong"], Value::Null, "{seen}");
        let counts = seen["messages"].as_array().expect("a list").iter();
        counts.map(|count| count.as_u64().expect("a number")).sum::<u64>()
    };
    readers.iter_mut().map(of).sum()
}

#[test]
fn everybody_comes_back_to_a_relay_of_many_streams_and_lacks_nothing() {
    let size = Size::from_environment();
    if most_descriptors().is_some_and(|most| most < DESCRIPTORS) {
        return not_run("descriptors", &format!("a reader needs {DESCRIPTORS} (ulimit -Hn)"));
    }
    let bus = Bus::new(&["relay.one"]);
    (0..IDENTITIES).for_each(|at| drop(bus.key(&format!("app.pod{at}"))));
    fs::create_dir(bus.path("stores")).expect("a folder");
    let mut relay = bus.relay("relay.one");
    let mut producers = Producers::new(&bus, size.streams);
    producers.publish(1);
    let mut all = readers(&bus, size, 1);
    all.iter_mut().for_each(|reader| assert_eq!(reader.line_within(PATIENCE), "ready"));
    all_have(&mut all, 1);
    all.iter_mut().for_each(|reader| reader.tell("flush"));
    all.iter_mut().for_each(|reader| assert_eq!(reader.line_within(PATIENCE), "flushed"));

    // The relay alone is gone, with everybody connected.
    producers.publish(2);
    relay.kill();
    let start = Instant::now();
    relay = bus.relay("relay.one");
    let ready = start.elapsed();
    producers.publish(3);
    all_have(&mut all, 3);
    let alone = start.elapsed();
    let count = seen(&mut all);
    assert_eq!(count, (3 * size.streams * size.readers) as u64, "every message once");
    all.iter_mut().for_each(|reader| reader.tell("flush"));
    all.iter_mut().for_each(|reader| assert_eq!(reader.line_within(PATIENCE), "flushed"));

    // Everybody is gone, and everything that came meanwhile is missing to everybody.
    all.iter_mut().for_each(Program::kill);
    producers.publish(4);
    relay.kill();
    let start = Instant::now();
    all = readers(&bus, size, 4);
    relay = bus.relay("relay.one");
    producers.publish(5);
    all.iter_mut().for_each(|reader| assert_eq!(reader.line_within(PATIENCE), "ready"));
    all_have(&mut all, 5);
    let together = start.elapsed();
    assert_eq!(seen(&mut all), (2 * size.streams * size.readers) as u64, "every message once");
    let used = Usage::of(&relay).unwrap_or_default();
    say(&format!(
        "storm: {size:?}: a killed relay is ready after {ready:?}, and everybody has everything after {alone:?}; all \
         killed together: after {together:?}; the relay: {used:?}"
    ));
    let most = PROGRAM_KB + STREAM_KB * size.streams as u64;
    assert!(used.most_kb <= most, "{used:?}, at most {most} KiB");
}
