//! R5: kill -9 of everybody: services with sockets of their own, producers behind relays, shell commands, both relays,
//! and the durable consumer. `FEDMSG_KILLS=5000 cargo test -p fedmsg-tests everybody` does it longer.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::harness::effects::{Effects, body};
use crate::harness::kept;
use crate::harness::service::{Acknowledged, Service};
use crate::harness::{Bus, PATIENCE, Program, Rounds, command};

const BYTES: usize = 100;
/// So many messages at most are asked of each service in a round, and so many commands begun.
const MESSAGES_MAX: u64 = 30;
const COMMANDS_MAX: u64 = 3;
/// So long at most everybody is at work before the next kill.
const WORK_MS: u64 = 300;
/// Commands that were begun, and not waited for yet, at most.
const OPEN_MAX: usize = 8;
const RELAYS: [&str; 2] = ["relay.one", "relay.two"];
/// How often it is looked what the consumer has done while it says nothing.
const LOOK: Duration = Duration::from_millis(50);

struct Scene {
    bus: Bus,
    services: Vec<(Service, &'static str)>,
    relays: [Option<Program>; 2],
    consumer: Option<Program>,
    /// Commands that are running, with the tag of what each publishes.
    commands: Vec<(String, Program)>,
    begun: u64,
    all: Acknowledged,
    /// The tags of commands that have said that their message is kept.
    said: BTreeSet<String>,
    effects: Effects,
    kills: Kills,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kills {
    services: u64,
    relays: u64,
    consumers: u64,
    commands: u64,
}

impl Kills {
    fn sum(self) -> u64 {
        self.services + self.relays + self.consumers + self.commands
    }
}

impl Scene {
    fn new() -> Scene {
        let bus = Bus::new(&RELAYS);
        bus.service_with_replay("app.one", 2);
        bus.key("log.one");
        bus.key("cron.one");
        let services = [("app.one", "app.n"), ("app.one", "app.n"), ("log.one", "log.n")];
        let services = services.map(|(identity, topic)| (Service::of(identity), topic)).into();
        let effects = Effects::of(bus.path("effects"), BYTES, false);
        Scene {
            bus,
            services,
            relays: [None, None],
            consumer: None,
            commands: Vec::new(),
            begun: 0,
            all: Acknowledged::new(),
            said: BTreeSet::new(),
            effects,
            kills: Kills::default(),
        }
    }

    /// Whoever is not there is started.
    fn start(&mut self) {
        for (relay, name) in self.relays.iter_mut().zip(RELAYS) {
            relay.get_or_insert_with(|| self.bus.relay(name));
        }
        self.consumer.get_or_insert_with(|| {
            let mut consumer = command("examples/consumer");
            consumer.arg(self.bus.etc()).arg("badges").arg(self.bus.path("effects"));
            Program::start(consumer)
        });
    }

    fn round(&mut self, number: u64, rounds: &mut Rounds) -> Result<(), String> {
        // One time in four somebody stays away while the others go on.
        if rounds.chance(4) != 0 {
            self.start();
        }
        for (at, (service, topic)) in self.services.iter_mut().enumerate() {
            let count = 1 + rounds.chance(MESSAGES_MAX);
            service.ask(&self.bus, count, topic, format!("{at}x{number}"), BYTES);
        }
        for _ in 0..rounds.chance(COMMANDS_MAX + 1) {
            self.begin_command();
        }
        // Nothing is waited for here: the moment is by chance.
        std::thread::sleep(Duration::from_millis(rounds.chance(WORK_MS)));
        self.kill(rounds);
        self.services.iter_mut().for_each(|(service, _)| service.take(&mut self.all));
        while self.commands.len() > OPEN_MAX {
            self.end_command();
        }
        self.effects.read()
    }

    fn kill(&mut self, rounds: &mut Rounds) {
        for (service, _) in &mut self.services {
            if rounds.chance(5) == 0 {
                service.kill(&mut self.all);
                self.kills.services += 1;
            }
        }
        for relay in &mut self.relays {
            if rounds.chance(3) == 0
                && let Some(mut relay) = relay.take()
            {
                relay.kill();
                self.kills.relays += 1;
            }
        }
        if rounds.chance(3) == 0
            && let Some(mut consumer) = self.consumer.take()
        {
            consumer.kill();
            self.kills.consumers += 1;
        }
        if rounds.chance(2) == 0
            && let Some((tag, mut command)) = self.commands.pop()
        {
            command.kill();
            // What it had said before that counts.
            if !command.last_lines().is_empty() {
                self.said.insert(tag);
            }
            self.kills.commands += 1;
        }
    }

    fn begin_command(&mut self) {
        self.begun += 1;
        let tag = format!("c{}", self.begun);
        let body = body(&tag, 1, BYTES);
        let mut command = self.bus.program("fedmsg");
        command.env("FEDMSG_IDENTITY", "cron.one").args(["publish", "cron.n", &body]);
        self.commands.push((tag, Program::start(command)));
    }

    /// Waits for the oldest command: kept is what it says that is.
    fn end_command(&mut self) {
        let (tag, mut command) = self.commands.remove(0);
        let (code, out, errors) = command.end();
        assert_eq!((code, out.len()), (0, 1), "{errors:?}");
        self.said.insert(tag);
    }

    /// Lets everybody go on until everything that was acknowledged is done.
    fn end(&mut self) -> Result<(), String> {
        self.start();
        for (at, (service, topic)) in self.services.iter_mut().enumerate() {
            service.ask(&self.bus, 1, topic, format!("{at}last"), BYTES);
            service.catch_up(&mut self.all);
        }
        while !self.commands.is_empty() {
            self.end_command();
        }
        let mut flush = self.bus.program("fedmsg");
        flush.env("FEDMSG_IDENTITY", "cron.one").args(["outbox", "flush"]);
        let (code, _, errors) = Program::start(flush).end();
        assert_eq!(code, 0, "{errors:?}");
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            self.effects.read()?;
            let left = self.left();
            if left == 0 {
                break;
            }
            let consumer = self.consumer.as_mut().expect("it was started");
            match consumer.line_if_within(LOOK) {
                // As long as it does something there is hope.
                Some(_) => deadline = Instant::now() + PATIENCE,
                None if Instant::now() < deadline => {}
                None => return Err(format!("{left} of what was acknowledged are not done")),
            }
            drop(consumer.lines_now());
        }
        let consumer = self.consumer.as_mut().expect("it was started");
        let (code, _, errors) = consumer.end();
        assert_eq!(code, 0, "{errors:?}");
        self.effects.read()
    }

    /// How many messages were acknowledged and are not done.
    fn left(&self) -> usize {
        let is_done = |place| self.effects.all.get(place).is_some_and(|done| done.is_handled);
        let places = self.all.keys().filter(|place| !is_done(place)).count();
        let done: BTreeSet<&str> = self.effects.all.values().map(|done| &*done.tag).collect();
        places + self.said.iter().filter(|tag| !done.contains(&***tag)).count()
    }

    /// What was done is what was acknowledged, each position once, and nothing that nobody published.
    fn compare(&self) {
        for (place, (tag, n)) in &self.all {
            let done = &self.effects.all[place];
            assert_eq!((&done.tag, done.n), (tag, *n), "{place:?}");
        }
        let mut bodies = BTreeSet::new();
        for (place, done) in &self.effects.all {
            assert!(bodies.insert((&done.tag, done.n)), "{place:?}: {done:?} was published twice");
            if let Some(number) = done.tag.strip_prefix('c') {
                let number: u64 = number.parse().expect("a number");
                assert!((1..=self.begun).contains(&number), "{place:?}: {done:?}");
            }
        }
        kept::check(&self.bus);
        let outbox = self.bus.path("state/streams/cron.one/commands");
        assert!(fs::exists(outbox).expect("looked"), "commands have an outbox");
    }

    fn figures(&self) -> String {
        let Kills { services, relays, consumers, commands } = self.kills;
        let Effects { lives, doubles, .. } = &self.effects;
        format!(
            "{} kills ({services} of services, {relays} of relays, {consumers} of consumers, {commands} of commands); \
             {} acknowledged to services and {} to {} commands, 0 lost; {} done in {lives} lives, {doubles} doubles",
            self.kills.sum(),
            self.all.len(),
            self.said.len(),
            self.begun,
            self.effects.all.len(),
        )
    }
}

#[test]
fn what_was_acknowledged_arrives_although_everybody_is_killed() {
    let mut rounds = Rounds::new("kills of everybody", "FEDMSG_KILLS", 30);
    let mut scene = Scene::new();
    let (mut number, kills) = (0, rounds.count);
    while scene.kills.sum() < kills {
        number += 1;
        let round = scene.round(number, &mut rounds);
        round.unwrap_or_else(|what| panic!("round {number}: {what}"));
        rounds.progress(scene.kills.sum(), &scene.figures());
    }
    scene.end().unwrap_or_else(|what| panic!("at the end: {what}"));
    scene.compare();
    assert!(scene.effects.lives > 1 && scene.effects.lates == 0);
    rounds.end(&scene.figures());
}
