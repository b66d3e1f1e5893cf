//! R6: partitions between a publisher and a reader, by a proxy that makes the network bad and by a cable that is pulled.
//! `FEDMSG_PARTITIONS=500 cargo test -p fedmsg-tests partitions` makes more of them.

use std::fs;
use std::time::{Duration, Instant};

use fedmsg_badnet::{Mode, Proxy, Way};

use crate::harness::netns::Host;
use crate::harness::{Bus, Program, Rounds, command, free_port, say};

/// Messages of one partition.
const COUNT: u64 = 100;
/// Messages that are published while a cable is pulled.
const MISSING: u64 = 10_000;
/// What has to be there after the network is back, in order.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// A publisher, and a tail that reaches it through two proxies.
struct Scene {
    publisher: Program,
    tail: Program,
    publish: Proxy,
    replay: Proxy,
    last: u64,
    _bus: Bus,
}

impl Scene {
    fn new() -> Scene {
        let bus = Bus::new(&[]);
        let publish = bus.service("app.one", 1).remove(0);
        let replay = format!("tcp://127.0.0.1:{}", free_port());
        let entry = |publish: &str, replay: &str| {
            format!("[endpoints.\"app.one\"]\npublish = {publish:?}\nreplay = {replay:?}\n")
        };
        fs::write(bus.entry_path("app.one"), entry(&publish, &replay)).expect("written");
        let proxy = |address: &str| Proxy::to(address).expect("a proxy");
        let proxies = (proxy(&publish), proxy(&replay));
        let reader = bus.copy("reader");
        let text = entry(proxies.0.address(), proxies.1.address());
        fs::write(reader.join("20-app.one.toml"), text).expect("written");
        let (mut publisher, ready) = bus.process("app.one");
        assert!(ready.ends_with(" direct"), "{ready}");
        let tail = bus.tail_in(&reader, &["--format", "%i", "--summary", "--strict"]);
        assert_eq!(publisher.ask("subscribers 1"), "subscribers true");
        let (publish, replay) = proxies;
        let mut scene = Scene { publisher, tail, publish, replay, last: 0, _bus: bus };
        scene.publish(1);
        scene.all_came(1);
        scene
    }

    fn publish(&mut self, count: u64) {
        publish(&mut self.publisher, &mut self.last, count);
    }

    fn all_came(&mut self, from: u64) -> Duration {
        all_came(&mut self.tail, from, self.last)
    }

    fn proxies(&self) -> [&Proxy; 2] {
        [&self.publish, &self.replay]
    }
}

fn publish(publisher: &mut Program, last: &mut u64, count: u64) {
    *last += count;
    let sent = publisher.ask(&format!("many {count} app.n {{}}"));
    assert!(sent.ends_with(&format!(" {last} -")), "{sent}");
}

/// Waits for these numbers, in this order and nothing else; says how long that took.
fn all_came(tail: &mut Program, from: u64, to: u64) -> Duration {
    let start = Instant::now();
    for i in from..=to {
        assert_eq!(tail.line(), i.to_string());
    }
    let took = start.elapsed();
    assert!(took < BACK_WITHIN, "{took:?} until everything was back");
    took
}

/// Ends a tail, and shows that it found nothing lost.
fn nothing_lost(tail: &mut Program, count: u64) {
    tail.term();
    let (code, _, said) = tail.end();
    assert_eq!(code, 143, "{said:?}");
    let summary = said.last().expect("a summary");
    assert!(summary.contains(&format!("verified {count} rejected 0 lost 0")), "{summary}");
}

/// What the network does, by chance.
fn trouble(rounds: &mut Rounds) -> Mode {
    match rounds.chance(4) {
        0 => Mode::Stall,
        1 => Mode::Reset,
        2 => Mode::CutAfter(rounds.chance(20_000)),
        _ => Mode::Drip(Duration::from_micros(rounds.chance(2_000))),
    }
}

#[test]
fn nothing_is_lost_and_order_holds_whatever_the_network_does() {
    let mut rounds = Rounds::new("partitions", "FEDMSG_PARTITIONS", 12);
    let mut scene = Scene::new();
    let mut longest = Duration::ZERO;
    for round in 1..=rounds.count {
        let mode = trouble(&mut rounds);
        // One or both of the addresses, one or both of the directions.
        let (which, ways) = (1 + rounds.chance(3), 1 + rounds.chance(3));
        let waits_for_death = rounds.chance(4) == 0;
        for (at, proxy) in scene.proxies().into_iter().enumerate() {
            for way in [Way::Up, Way::Down] {
                if which & (1 << at) != 0 && ways & (1 << way as u64) != 0 {
                    proxy.set(way, mode);
                }
            }
        }
        let before = scene.last + 1;
        scene.publish(COUNT);
        // A reader that hears nothing gives the connection up, and makes another one.
        let silent = mode == Mode::Stall && which & 1 != 0 && ways & (1 << Way::Down as u64) != 0;
        if silent && waits_for_death {
            let made = scene.publish.accepted();
            scene.publish.wait_accepted(made + 1).expect("in time");
        }
        scene.publish(COUNT);
        scene.proxies().into_iter().for_each(Proxy::heal);
        let took = scene.all_came(before);
        longest = longest.max(took);
        rounds.progress(round, &format!("back after {longest:?} at most, the last was {mode:?}"));
    }
    nothing_lost(&mut scene.tail, scene.last);
    assert!(
        scene.replay.passed(Way::Down) > 0,
        "nothing had to be fetched: there was no partition"
    );
    rounds.end(&format!(
        "{} messages, 0 lost, in order; all back {longest:?} after the network at most",
        scene.last
    ));
}

#[test]
fn what_is_published_while_a_cable_is_pulled_comes_when_it_is_back() {
    let Some(host) = Host::new() else { return };
    let bus = Bus::new(&[]);
    bus.key("app.one");
    let address = || format!("tcp://{}:{}", host.near(), free_port());
    let (publish_at, replay) = (address(), address());
    let entry = format!("[endpoints.\"app.one\"]\npublish = {publish_at:?}\nreplay = {replay:?}\n");
    fs::write(bus.entry_path("app.one"), entry).expect("written");
    let (mut publisher, ready) = bus.process("app.one");
    assert!(ready.ends_with(" direct"), "{ready}");
    let mut tail = command("fedmsg-tail");
    tail.arg("-v").arg("--config-dir").arg(bus.etc());
    tail.args(["--format", "%i", "--summary", "--strict"]);
    let mut tail = Program::start(host.command(&tail));
    assert_eq!(publisher.ask("subscribers 1"), "subscribers true");
    let mut last = 0;
    publish(&mut publisher, &mut last, 1);
    all_came(&mut tail, 1, 1);
    host.cut();
    publish(&mut publisher, &mut last, MISSING / 2);
    // The tail notices by itself that the other end is silent.
    tail.says("is down: no heartbeat");
    publish(&mut publisher, &mut last, MISSING / 2);
    host.heal();
    let took = all_came(&mut tail, 2, last);
    nothing_lost(&mut tail, last);
    say(&format!("{MISSING} missing messages are back {took:?} after a cable"));
}
