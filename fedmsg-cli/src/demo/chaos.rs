//! `fedmsg demo --chaos`: two publishers, one on a socket of its own and one behind a relay, the relay and the tail
//! are killed at random (SIGKILL) and started again. What got a receipt is counted, and so is what a tail shows that
//! reads the past whenever it starts: the counts have to agree.

use std::collections::HashSet;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use fedmsg::escape::escape;
use fedmsg::timestamp::Timestamp;
use fedmsg_tool::{Code, signals};
use serde_json::{Value, json};

use super::bus::Bus;
use super::children::{Child, Lines};
use super::source::{Found, Order, found};
use super::{Error, Options, PATIENCE, Role, check, io};

/// Most messages between two kills.
const CALM_MAX: u64 = 20;
/// A publisher is killed at most so long after it was told to publish something.
const HURRY: Duration = Duration::from_millis(4);

pub(super) fn run(options: &Options) -> Result<Code, Error> {
    check(options)?;
    let bus = Bus::new(&options.repo)?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let stop = signals::on_stop(|| {}).map_err(io("signals"))?;
    let mut chaos = Chaos::new(&bus, options, seed)?;
    for _ in 0..options.rounds {
        let round = chaos.round();
        // Ctrl-C ends the children, too: what they lack then is no failure.
        if let Some(code) = stop.code() {
            return Ok(code);
        }
        round?;
    }
    chaos.end(seed)
}

struct Chaos<'a> {
    bus: &'a Bus,
    options: &'a Options,
    rng: Rng,
    /// Since when the tail is to show everything.
    since: String,
    relay: Child,
    services: [Service; 2],
    tail: Child,
    relays_killed: u64,
    tails_killed: u64,
    /// What the tails have shown: positions in streams, and what stands there.
    positions: HashSet<String>,
    identifiers: HashSet<String>,
}

/// A service that publishes what it is told.
struct Service {
    name: &'static str,
    found: Vec<Found>,
    process: Child,
    /// How many messages have a receipt; the next one has this number.
    published: u64,
    killed: u64,
}

impl Service {
    fn start(
        name: &'static str,
        role: Role,
        bus: &Bus,
        options: &Options,
    ) -> Result<Service, Error> {
        let (found, process) = (found(role, options)?, start_publisher(name, bus, options)?);
        Ok(Service { name, found, process, published: 0, killed: 0 })
    }

    /// Has the next message published. It has the same name however often it is told.
    fn tell(&mut self) -> Result<(), Error> {
        let at = self.published as usize % self.found.len();
        let order = Order { msg_id: self.msg_id(), found: self.found[at].clone() };
        self.process.say(&json!(order).to_string())
    }

    fn wait_for_receipt(&mut self) -> Result<(), Error> {
        let receipt = json!({"published": self.msg_id()}).to_string();
        self.process.wait_for_line(Lines::Stdout, "publish", |line| line == receipt)?;
        self.published += 1;
        Ok(())
    }

    fn msg_id(&self) -> String {
        format!("chaos-{}-{}", self.name, self.published)
    }
}

impl<'a> Chaos<'a> {
    fn new(bus: &'a Bus, options: &'a Options, seed: u64) -> Result<Chaos<'a>, Error> {
        let since = Timestamp::from(SystemTime::now()).to_string();
        let relay = start_relay(bus)?;
        let direct = Service::start(bus.direct_name(), bus.direct_role(), bus, options)?;
        let relayed = Service::start("fs.demo", Role::Files, bus, options)?;
        Ok(Chaos {
            bus,
            options,
            rng: Rng::with_seed(seed),
            relay,
            services: [direct, relayed],
            tail: start_tail(bus, &since)?,
            since,
            relays_killed: 0,
            tails_killed: 0,
            positions: HashSet::new(),
            identifiers: HashSet::new(),
        })
    }

    /// A few messages of each, and then somebody dies.
    fn round(&mut self) -> Result<(), Error> {
        for _ in 0..self.rng.u64(1..=CALM_MAX) {
            for service in &mut self.services {
                service.tell()?;
                service.wait_for_receipt()?;
            }
        }
        match self.rng.u8(..5) {
            0 => self.kill_publisher(0)?,
            1 => self.kill_publisher(1)?,
            2 => self.kill_relay()?,
            3 => self.kill_tail()?,
            _ => {
                self.kill_publisher(0)?;
                self.kill_publisher(1)?;
                self.kill_relay()?;
                self.kill_tail()?;
            }
        }
        self.show();
        Ok(())
    }

    /// How many messages have a receipt.
    fn published(&self) -> u64 {
        self.services.iter().map(|service| service.published).sum()
    }

    /// Kills a publisher while it is publishing, and has the next one publish the same again.
    fn kill_publisher(&mut self, at: usize) -> Result<(), Error> {
        let hurry = HURRY.mul_f64(self.rng.f64());
        let service = &mut self.services[at];
        service.tell()?;
        // What it says until then counts: it has promised.
        let is_published = service.process.next_line(hurry).is_some();
        service.published += u64::from(is_published);
        service.process.kill()?;
        service.process = start_publisher(service.name, self.bus, self.options)?;
        service.killed += 1;
        if !is_published {
            service.tell()?;
            service.wait_for_receipt()?;
        }
        tell_kill(self.services[at].name, self.published());
        Ok(())
    }

    /// Kills the relay while something is on its way to it.
    fn kill_relay(&mut self) -> Result<(), Error> {
        let hurry = HURRY.mul_f64(self.rng.f64());
        let relayed = &mut self.services[1];
        relayed.tell()?;
        let is_published = relayed.process.next_line(hurry).is_some();
        relayed.published += u64::from(is_published);
        self.relay.kill()?;
        self.relay = start_relay(self.bus)?;
        self.relays_killed += 1;
        if !is_published {
            self.services[1].wait_for_receipt()?;
        }
        tell_kill("the relay", self.published());
        Ok(())
    }

    /// Kills the tail when it has shown some of it all; the next one shows everything again.
    fn kill_tail(&mut self) -> Result<(), Error> {
        let published = self.published();
        let enough = self.rng.u64(..=published);
        let deadline = Instant::now() + PATIENCE;
        while (self.positions.len() as u64) < enough && Instant::now() < deadline {
            self.next_shown(deadline);
        }
        self.tail.kill()?;
        self.tail = start_tail(self.bus, &self.since)?;
        self.tails_killed += 1;
        tell_kill("the tail", published);
        Ok(())
    }

    /// Shows the next thing that the tail says. `false`: there is nothing until then.
    fn next_shown(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = self.tail.next_line(left);
        line.map(|line| self.see(&line)).is_some()
    }

    /// Shows what the tail says by now.
    fn show(&mut self) {
        while self.next_shown(Instant::now()) {}
    }

    /// Notes a message, and shows it when it comes for the first time. A line that ends with its tail is none.
    fn see(&mut self, line: &str) {
        let Ok(value) = serde_json::from_str::<Value>(line) else { return };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let position = format!("{} {} {}", value["stream"], value["epoch"], value["i"]);
        let message = &value["message"];
        self.identifiers.insert(text(&message["msg_id"]));
        if self.positions.insert(position) {
            let (topic, summary) = (text(&message["topic"]), text(&message["headers"]["summary"]));
            let signer = text(&value["signer"]);
            let line = format!("{signer} {} {topic} {}", value["i"], escape(&summary));
            // When stdout is closed, there is nobody left to show it to.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }

    /// Waits for what is still to come, and compares.
    fn end(mut self, seed: u64) -> Result<Code, Error> {
        let deadline = Instant::now() + PATIENCE;
        let published = self.published();
        while (self.positions.len() as u64) < published && self.next_shown(deadline) {}
        self.tail.terminate();
        let is_summary = |line: &str| line.starts_with("{\"received\"");
        let summary = self.tail.wait_for_line(Lines::Stderr, "sum up", is_summary)?;
        let summary: Value = serde_json::from_str(&summary).unwrap_or_default();
        self.show();
        let count = |name: &str| summary[name].as_u64().unwrap_or(u64::MAX);
        let (positions, identifiers) = (self.positions.len() as u64, self.identifiers.len() as u64);
        let agree = [positions, identifiers, count("received"), count("verified")]
            .iter()
            .all(|count| *count == published && published > 0)
            && count("rejected") == 0
            && count("lost") == 0;
        let [direct, relayed] = &self.services;
        eprintln!(
            "\npublished {published}  ({} by {} on its own socket, killed {} times; {} by {} through the relay, \
             killed {} times; each has a receipt)\n\
             relay     killed {} times\n\
             received  {positions}  (by a tail, killed {} times; the last one read all of them again: {})\n\
             verified  {}\nrejected  {}\nlost      {}\n{}\nthe same choices again: fedmsg demo --chaos --seed {seed} --rounds {}",
            direct.published,
            direct.name,
            direct.killed,
            relayed.published,
            relayed.name,
            relayed.killed,
            self.relays_killed,
            self.tails_killed,
            count("received"),
            count("verified"),
            count("rejected"),
            count("lost"),
            if agree { "every count agrees" } else { "the counts do NOT agree" },
            self.options.rounds,
        );
        Ok(if agree { Code::Ok } else { Code::General })
    }
}

fn start_relay(bus: &Bus) -> Result<Child, Error> {
    let mut relay = Child::start("relay", bus.command(&["relay", "--log-format", "json"]))?;
    relay.wait_for_line(Lines::Stderr, "be ready", |line| line.contains("ready"))?;
    Ok(relay)
}

fn start_publisher(name: &str, bus: &Bus, options: &Options) -> Result<Child, Error> {
    let mut publisher = Child::start(name, bus.source(Role::Told, name, options))?;
    publisher.wait_for_line(Lines::Stdout, "begin", |line| line.starts_with("{\"ready\""))?;
    Ok(publisher)
}

fn start_tail(bus: &Bus, since: &str) -> Result<Child, Error> {
    let mut tail = bus.command(&["tail", "--json", "--summary", "--log-format", "json"]);
    tail.args(["--since", since]);
    Child::start("tail", tail)
}

fn tell_kill(whom: &str, published: u64) {
    eprintln!("killed {whom} (-9) after {published} messages, and started it again");
}
