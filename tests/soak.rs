//! R12: a bus that runs on and on while its network, its publishers and its configuration change all the time: nothing
//! is lost, and nobody uses more and more. `FEDMSG_SOAK_SECONDS=900 cargo test --release -p fedmsg-tests soak` watches
//! longer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fedmsg::envelope::Epoch;
use fedmsg_badnet::{Mode, Proxy};

use crate::harness::kept::{self, Place};
use crate::harness::usage::Watched;
use crate::harness::{Bus, Program, Rounds, atomically, command, free_port};

/// The first one is never killed, and watched.
const SERVICES: [&str; 3] = ["app.one", "web.two", "git.three"];
/// Messages of a service in a round, and bytes of each beside its names.
const MESSAGES: u64 = 60;
const BYTES: usize = 300;
/// Small journals, so that old segments are given up all the time.
const SEGMENT_BYTES: u64 = 64 << 10;
const KEEP_BYTES: u64 = 512 << 10;
/// How much more memory, in KiB, and how many more descriptors the last third of the time may need than the second.
const MEMORY_KB: u64 = 6 << 10;
const DESCRIPTORS: u64 = 12;

/// How far somebody is with each stream.
type Reached = BTreeMap<String, Place>;

struct Service {
    identity: &'static str,
    program: Program,
    /// The last message that was acknowledged.
    last: Option<(String, Place)>,
    proxies: [Proxy; 2],
}

/// Publishers, a durable consumer, and a tail that reaches them through bad networks.
struct Soak {
    bus: Bus,
    /// The configuration that the tail sees.
    seen: PathBuf,
    services: Vec<Service>,
    consumer: Program,
    tail: Program,
    done: Reached,
    shown: Reached,
    messages: u64,
    kills: u64,
}

impl Soak {
    fn new() -> Soak {
        let bus = Bus::new(&[]);
        let settings = format!(
            "[journal]\nsegment_bytes = {SEGMENT_BYTES}\nkeep_bytes = {KEEP_BYTES}\nhold_for = [\"soak\"]\n"
        );
        fs::write(bus.path("etc/15-journal.toml"), settings).expect("written");
        let mut proxies = Vec::new();
        let mut through = Vec::new();
        for identity in SERVICES {
            bus.key(identity);
            let [publish, replay] = [(); 2].map(|()| format!("tcp://127.0.0.1:{}", free_port()));
            fs::write(bus.entry_path(identity), entry(identity, [&publish, &replay]))
                .expect("written");
            let both = [&publish, &replay].map(|at| Proxy::to(at).expect("a proxy"));
            through.push(entry(identity, [both[0].address(), both[1].address()]));
            proxies.push(both);
        }
        let seen = bus.copy("seen");
        for (identity, text) in SERVICES.iter().zip(through) {
            fs::write(seen.join(format!("20-{identity}.toml")), text).expect("written");
        }
        let mut services: Vec<Service> = SERVICES
            .into_iter()
            .zip(proxies)
            .map(|(identity, proxies)| {
                let program = bus.process(identity).0;
                Service { identity, program, last: None, proxies }
            })
            .collect();
        let mut consumer = command("examples/consumer");
        consumer.arg(bus.etc()).arg("soak").arg(bus.path("effects"));
        let consumer = Program::start(consumer);
        let tail = bus.tail_in(&seen, &["--json", "--strict", "--summary"]);
        for service in &mut services {
            assert_eq!(service.program.ask("subscribers 2"), "subscribers true");
        }
        let (done, shown) = (Reached::new(), Reached::new());
        Soak { bus, seen, services, consumer, tail, done, shown, messages: 0, kills: 0 }
    }

    /// Bad networks, a kill, another configuration, by chance; then everybody has everything.
    fn round(&mut self, number: u64, rounds: &mut Rounds) {
        let mode = [Mode::Pass, Mode::Pass, Mode::Reset, Mode::Stall, Mode::CutAfter(5_000)]
            [rounds.chance(5) as usize];
        let which = rounds.chance(SERVICES.len() as u64) as usize;
        for proxy in &self.services[which].proxies {
            proxy.set_both(mode);
        }
        let killed = 1 + rounds.chance(5) as usize;
        let answers = 1 + rounds.chance(MESSAGES - 1);
        for (at, service) in self.services.iter_mut().enumerate() {
            let (topic, _) = service.identity.split_once('.').expect("an identity");
            service.program.tell(&format!("each {MESSAGES} {topic}.n round{number} {BYTES}"));
            let is_killed = at == killed;
            let count = if is_killed { answers } else { MESSAGES };
            let mut lines: Vec<String> = (0..count).map(|_| service.program.line()).collect();
            if is_killed {
                service.program.kill();
                lines.extend(service.program.last_lines());
                service.program = self.bus.process(service.identity).0;
                self.kills += 1;
            }
            service.last =
                lines.iter().rev().find_map(|line| acknowledged(line)).or(service.last.take());
            self.messages += lines.len() as u64;
        }
        if rounds.chance(4) == 0 {
            self.reload(number);
        }
        self.services.iter().flat_map(|service| &service.proxies).for_each(Proxy::heal);
        self.all_have_all();
    }

    /// A service comes that nobody needs, or goes, at every reader and publisher.
    fn reload(&mut self, number: u64) {
        let away = entry("away.one", ["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"]);
        let text = format!("# {number}\n{}", if number % 2 == 0 { &away } else { "" });
        atomically(&self.bus.path("etc/30-away.toml"), &text);
        atomically(&self.seen.join("30-away.toml"), &text);
        self.tail.says("is in force");
    }

    fn all_have_all(&mut self) {
        let lasts: Vec<_> =
            self.services.iter().filter_map(|service| service.last.clone()).collect();
        let is_there = |reached: &Reached| {
            lasts.iter().all(|(stream, place)| reached.get(stream).is_some_and(|at| at >= place))
        };
        while !is_there(&self.done) {
            let line = self.consumer.line();
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["done", stream, epoch, i, "1", "order", ..] => {
                    goes_on(&mut self.done, stream, epoch, i)
                }
                ["begin" | "flushed"] => {}
                _ => panic!("{line}"),
            }
        }
        while !is_there(&self.shown) {
            let line = self.tail.json();
            let text = |name: &str| line[name].as_str().expect("a text").to_owned();
            goes_on(&mut self.shown, &text("stream"), &text("epoch"), &line["i"].to_string());
        }
    }

    /// No journal has much more than it may.
    fn journals_are_small(&self) {
        for identity in SERVICES {
            let folder = self.bus.path(&format!("state/streams/{identity}/0/journal"));
            let bytes = bytes_of(&folder);
            assert!(
                bytes < KEEP_BYTES + 4 * SEGMENT_BYTES,
                "{bytes} bytes in {}",
                folder.display()
            );
        }
    }
}

fn entry(identity: &str, [publish, replay]: [&str; 2]) -> String {
    format!("[endpoints.{identity:?}]\npublish = {publish:?}\nreplay = {replay:?}\n")
}

/// The stream and the place of an answer; nothing of a line that a kill cut off.
fn acknowledged(line: &str) -> Option<(String, Place)> {
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["sent", stream, epoch, i, "-"] => {
            Some((stream.into(), (Epoch::parse(epoch)?, i.parse().ok()?)))
        }
        ["failed", ..] => panic!("{line}"),
        _ => None,
    }
}

/// The next message of a stream comes next, and no other one.
fn goes_on(reached: &mut Reached, stream: &str, epoch: &str, i: &str) {
    let place = (Epoch::parse(epoch).expect("an epoch"), i.parse().expect("a number"));
    let before = reached.insert(stream.into(), place);
    let expected = match before {
        Some((epoch, last)) if epoch == place.0 => last + 1,
        _ => 1,
    };
    assert!(before < Some(place) && place.1 == expected, "{stream}: {place:?} after {before:?}");
}

fn bytes_of(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).expect("a journal");
    // A segment may be given up meanwhile.
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

#[test]
fn nothing_is_lost_and_nobody_uses_more_and_more() {
    let mut rounds = Rounds::new("soak, seconds", "FEDMSG_SOAK_SECONDS", 15);
    let mut soak = Soak::new();
    let mut watched: [Watched; 3] = Default::default();
    let (start, seconds) = (Instant::now(), Duration::from_secs(rounds.count));
    let mut number = 0;
    while start.elapsed() < seconds {
        number += 1;
        soak.round(number, &mut rounds);
        let programs = [&soak.services[0].program, &soak.consumer, &soak.tail];
        for (watched, program) in watched.iter_mut().zip(programs) {
            watched.look(program, start.elapsed());
        }
        rounds.progress(start.elapsed().as_secs(), &format!("{} messages", soak.messages));
    }
    soak.journals_are_small();
    soak.tail.term();
    let (code, _, said) = soak.tail.end();
    assert_eq!(code, 143, "{said:?}");
    assert!(said.last().is_some_and(|summary| summary.contains("lost 0")), "{said:?}");
    soak.consumer.end_input();
    let (code, _, said) = soak.consumer.end();
    assert_eq!(code, 0, "{said:?}");
    kept::check(&soak.bus);
    let thirds = watched.each_ref().map(Watched::thirds);
    rounds.end(&format!(
        "{number} rounds, {} kills, {} messages; most KiB and descriptors of a publisher, a consumer, a tail in the \
         second third and the last: {thirds:?}",
        soak.kills, soak.messages
    ));
    for [before, after] in thirds.into_iter().flatten() {
        assert!(after.0 <= before.0 + MEMORY_KB, "{before:?} and then {after:?} KiB");
        assert!(after.1 <= before.1 + DESCRIPTORS, "{before:?} and then {after:?} descriptors");
    }
}
