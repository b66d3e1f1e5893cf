//! R4 and R5: kill -9 of a durable consumer's process, and of publishers at the same time, again and again.
//! `FEDMSG_KILLS=3000 cargo test -p fedmsg-tests consumer_kills` does it longer.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fedmsg::consumer::{ConsumerName, CursorStore, Position, RefusalFilter, SqliteStore, Summary};

use crate::harness::effects::{Effects, TRIES};
use crate::harness::kept::{self, kept};
use crate::harness::service::{Acknowledged, Service};
use crate::harness::{Bus, PATIENCE, Program, Rounds, atomically, command};

const BYTES: usize = 100;
/// So many messages at most are asked of each publisher in a round.
const MESSAGES_MAX: u64 = 60;
/// So many lines at most, and so many milliseconds, are waited for before a kill.
const LINES_MAX: u64 = 400;
const WAIT_MS: u64 = 400;
/// So long a consumer that has something to do is waited for, in most rounds.
const FIRST: Duration = Duration::from_secs(2);
/// Where a start is interrupted, so many microseconds.
const START_US: u64 = 60_000;
/// How often it is looked what the store has while the consumer says nothing.
const LOOK: Duration = Duration::from_millis(50);
/// For so many rounds at most a rule or a key is missing: what is refused has to find room.
const MISSING_MAX: u64 = 6;

/// Two publishers, and one consumer.
struct Scene {
    bus: Bus,
    services: [Service; 2],
    consumer: Option<Program>,
    options: &'static [&'static str],
    /// The configuration that the consumer sees.
    folder: PathBuf,
    all: Acknowledged,
    effects: Effects,
    kills: (u64, u64),
}

impl Scene {
    fn new(identities: [&'static str; 2], options: &'static [&'static str]) -> Scene {
        let bus = Bus::new(&[]);
        match identities {
            [one, other] if one == other => drop(bus.service_with_replay(one, 2)),
            both => both.iter().for_each(|one| drop(bus.service_with_replay(one, 1))),
        }
        let settings = "[journal]\nsegment_bytes = 524288\nkeep_bytes = 1099511627776\n";
        fs::write(bus.path("etc/15-journal.toml"), settings).expect("written");
        let effects = Effects::of(bus.path("effects"), BYTES, options.contains(&"late"));
        let folder = bus.copy("seen");
        let services = identities.map(Service::of);
        let (all, kills) = (Acknowledged::new(), (0, 0));
        Scene { bus, services, consumer: None, options, folder, all, effects, kills }
    }

    fn start(&mut self) {
        if self.consumer.is_none() {
            let mut consumer = command("examples/consumer");
            consumer.arg(&self.folder).arg("badges").arg(self.bus.path("effects"));
            consumer.args(self.options);
            self.consumer = Some(Program::start(consumer));
        }
    }

    /// Has both publish, and kills somebody, somewhere.
    fn round(&mut self, number: u64, rounds: &mut Rounds) -> Result<(), String> {
        self.start();
        for (at, who) in self.services.iter_mut().enumerate() {
            let topic = ["app.n", "app.m"][rounds.chance(2) as usize];
            let count = 1 + rounds.chance(MESSAGES_MAX);
            who.ask(&self.bus, count, topic, format!("{at}x{number}"), BYTES);
        }
        if rounds.chance(4) == 0 {
            // While somebody begins, or wherever he is: the moment is by chance.
            std::thread::sleep(Duration::from_micros(rounds.chance(START_US)));
        } else {
            self.wait_a_while(rounds);
        }
        let victims = rounds.chance(4);
        if victims != 0
            && let Some(mut consumer) = self.consumer.take()
        {
            consumer.kill();
            self.kills.0 += 1;
        }
        for (at, who) in (0_u64..).zip(&mut self.services) {
            who.take(&mut self.all);
            if victims == 0 && rounds.chance(2) == at || victims == 1 {
                who.kill(&mut self.all);
                self.kills.1 += 1;
            }
        }
        self.effects.read()
    }

    /// Until the consumer has done some more, if there is something that it can do.
    fn wait_a_while(&mut self, rounds: &mut Rounds) {
        let lines = 1 + rounds.chance(LINES_MAX);
        let consumer = self.consumer.as_mut().expect("it was started");
        let is_behind = self.effects.all.len() < self.all.len();
        if is_behind && !self.options.contains(&"late") {
            // Or it would never get further than its start.
            consumer.line_if_within(FIRST);
        }
        let deadline = Instant::now() + Duration::from_millis(20 + rounds.chance(WAIT_MS));
        for _ in 0..lines {
            let left = deadline.saturating_duration_since(Instant::now());
            if consumer.line_if_within(left).is_none() {
                return;
            }
        }
    }

    /// Lets everybody go on until everything is done; what may not be, in words.
    fn end(&mut self) -> Result<(), String> {
        self.start();
        for (at, who) in self.services.iter_mut().enumerate() {
            who.ask(&self.bus, 1, "app.n", format!("{at}last"), BYTES);
            who.catch_up(&mut self.all);
        }
        self.wait_until("everything acknowledged is done", |scene| {
            let done = |(place, _): (&Position, _)| {
                let done = scene.effects.all.get(place);
                done.is_some_and(|done| done.is_handled || done.failed >= TRIES)
            };
            scene.all.iter().all(done) && scene.summary().retries == 0
        })?;
        let consumer = self.consumer.as_mut().expect("it was started");
        let (code, _, errors) = consumer.end();
        assert_eq!(code, 0, "{errors:?}");
        self.effects.read()
    }

    /// Waits until it is so: whenever the consumer says something, and now and then.
    fn wait_until(&mut self, what: &str, is: impl Fn(&mut Scene) -> bool) -> Result<(), String> {
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            self.effects.read()?;
            if is(self) {
                return Ok(());
            }
            let consumer = self.consumer.as_mut().expect("it was started");
            match consumer.line_if_within(LOOK) {
                // As long as it does something there is hope.
                Some(_) => deadline = Instant::now() + PATIENCE,
                None if Instant::now() < deadline => {}
                None => return Err(format!("{what}: not so; {}", self.standing())),
            }
            drop(consumer.lines_now());
        }
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.bus.path("state/consumers.db")).expect("a store")
    }

    fn summary(&self) -> Summary {
        self.store().show(&badges()).expect("it is there")
    }

    /// Nothing is refused that may be accepted later; not so either while there is no consumer.
    fn is_cured(&self) -> bool {
        let all = RefusalFilter::default();
        self.store().refusals(&badges(), &all).is_ok_and(|refusals| refusals.is_empty())
    }

    /// Everything is what it was acknowledged as, is in the journals, and is in the store as done.
    fn compare(&self) {
        for (place, (tag, n)) in &self.all {
            let done = &self.effects.all[place];
            assert_eq!((&done.tag, done.n), (tag, *n), "{place:?}");
        }
        let (summary, mut streams) = (self.summary(), 0);
        let cursors = self.store().load(&badges()).expect("cursors");
        for cursor in &cursors {
            let stream = &cursor.position.stream;
            let folder = format!("state/streams/{stream}/journal");
            let kept = kept(&self.bus.path(&folder));
            let end = kept.last_key_value().map(|(place, _)| *place);
            assert_eq!(end, Some((cursor.position.epoch, cursor.position.i)), "{stream}");
            for ((epoch, i), record) in &kept {
                let place = Position { stream: stream.clone(), epoch: *epoch, i: *i };
                let done = self.effects.all.get(&place);
                let done =
                    done.unwrap_or_else(|| panic!("{place:?} is kept and was not handed out"));
                assert_eq!(record.msg["tag"], *done.tag, "{place:?}");
            }
            streams += kept.len();
        }
        assert_eq!(streams, self.effects.all.len(), "as much as is in the journals");
        let dead = self.effects.all.values().filter(|done| done.failed >= TRIES).count();
        assert_eq!((summary.retries, summary.letters, summary.refusals), (0, dead as u64, 0));
        assert!(summary.lease.is_none(), "{:?}", summary.lease);
        kept::check(&self.bus);
    }

    /// What is not done, and what the store says of it.
    fn standing(&self) -> String {
        let done = |place| self.effects.all.get(place).is_some_and(|done| done.is_handled);
        let left: Vec<&Position> = self.all.keys().filter(|place| !done(place)).collect();
        let refusals = self.store().refusals(&badges(), &RefusalFilter::default());
        let refusals: Vec<Position> =
            refusals.into_iter().flatten().map(|refusal| refusal.refused.position).collect();
        let cursors = self.store().load(&badges()).unwrap_or_default();
        let cursors: Vec<Position> = cursors.into_iter().map(|cursor| cursor.position).collect();
        format!(
            "of {} acknowledged {} are not done, from {:?} to {:?}; {} are refused, from {:?}; cursors {cursors:?}",
            self.all.len(),
            left.len(),
            left.first(),
            left.last(),
            refusals.len(),
            refusals.first(),
        )
    }

    fn figures(&self) -> String {
        let (of_consumer, of_publishers) = self.kills;
        let Effects { lives, doubles, lates, unsettled_max, .. } = &self.effects;
        let dead = self.effects.all.values().filter(|done| done.failed >= TRIES).count();
        format!(
            "{of_consumer} kills of the consumer, {of_publishers} of publishers; {} acknowledged, 0 lost; {} done in \
             {lives} lives, {dead} dead letters, {lates} late, {doubles} doubles, at most {unsettled_max} answers not \
             in the store",
            self.all.len(),
            self.effects.all.len(),
        )
    }
}

fn badges() -> ConsumerName {
    ConsumerName::parse("badges").expect("a name")
}

#[test]
fn what_was_acknowledged_reaches_a_consumer_that_is_killed_again_and_again() {
    let mut rounds = Rounds::new("kills of a durable consumer", "FEDMSG_KILLS", 40);
    let mut scene = Scene::new(["app.one", "app.one"], &["fail"]);
    for number in 1..=rounds.count {
        scene.round(number, &mut rounds).unwrap_or_else(|what| panic!("round {number}: {what}"));
        rounds.progress(number, &scene.figures());
    }
    scene.end().unwrap_or_else(|what| panic!("at the end: {what}"));
    scene.compare();
    assert!(scene.effects.lives > 1 && scene.effects.lates == 0);
    rounds.end(&scene.figures());
}

#[test]
fn an_ack_before_the_effect_is_found() {
    let mut rounds = Rounds::new("acks before the effect", "FEDMSG_ACKS_BEFORE", 100);
    let mut scene = Scene::new(["app.one", "app.one"], &["ack-first"]);
    let found = (1..=rounds.count)
        .find_map(|number| scene.round(number, &mut rounds).err().map(|what| (number, what)));
    let Some((number, what)) = found else { panic!("{} rounds found nothing", rounds.count) };
    assert!(what.contains("has not come"), "round {number}: {what}");
    rounds.end(&format!("found in round {number}"));
}

/// Rules and keys that the consumer sees: what is missing, and since which round.
#[derive(Default)]
struct Missing {
    rule: Option<u64>,
    key: Option<u64>,
}

impl Missing {
    /// Takes a rule or a key away, or puts it back.
    fn change(
        &mut self,
        scene: &mut Scene,
        number: u64,
        rounds: &mut Rounds,
    ) -> Result<(), String> {
        let over = |since: u64| number >= since + MISSING_MAX;
        let chance = rounds.chance(3) == 0;
        self.rule = match self.rule {
            None if chance => {
                // What was refused before has to come first, or the store has no room for it.
                if self.key.take().is_some() {
                    key(scene, true);
                }
                scene.start();
                // Each is the only one who has what it published.
                let Scene { services, bus, .. } = &mut *scene;
                services.iter_mut().for_each(|who| {
                    who.start(bus);
                });
                scene.wait_until("what was refused has come", |scene| scene.is_cured())?;
                rule(scene, false);
                Some(number)
            }
            Some(since) if chance || over(since) => {
                rule(scene, true);
                None
            }
            rule => rule,
        };
        let chance = rounds.chance(3) == 0;
        self.key = match self.key {
            None if chance => {
                key(scene, false);
                Some(number)
            }
            Some(since) if chance || over(since) => {
                key(scene, true);
                None
            }
            key => key,
        };
        Ok(())
    }
}

/// Whether the consumer knows the rule for `app.m`.
fn rule(scene: &Scene, is_there: bool) {
    let rule = "[[publish]]\nservice = \"*\"\ntopics = [\"{prefix}.{env}.app.m\"]\n";
    let text = if is_there { rule } else { "" };
    atomically(&scene.folder.join("policy.d/20-m.toml"), text);
}

/// Whether the consumer knows the key of `app.two`.
fn key(scene: &Scene, is_there: bool) {
    let file = "keys.d/app.two.toml";
    let (from, to) = (scene.bus.etc().join(file), scene.folder.join(file));
    match is_there {
        true => atomically(&to, &fs::read_to_string(from).expect("a key")),
        false => fs::remove_file(to).expect("removed"),
    }
}

#[test]
fn keys_and_rules_that_come_late_lose_nothing_though_everybody_is_killed() {
    let mut rounds = Rounds::new("kills with late keys and rules", "FEDMSG_KILLS", 30);
    let mut scene = Scene::new(["app.one", "app.two"], &["late"]);
    // The policy of the consumer is its own: one rule stands, the other one comes and goes.
    let bus = fs::read_to_string(scene.folder.join("10-bus.toml")).expect("the file");
    let (bus, _) = bus.split_once("[[publish]]").expect("a policy");
    atomically(&scene.folder.join("10-bus.toml"), bus);
    let always = "[[publish]]\nservice = \"*\"\ntopics = [\"{prefix}.{env}.app.n\"]\n";
    fs::write(scene.folder.join("policy.d/10-n.toml"), always).expect("written");
    rule(&scene, true);
    let mut missing = Missing::default();
    for number in 1..=rounds.count {
        let round = missing.change(&mut scene, number, &mut rounds);
        let round = round.and_then(|()| scene.round(number, &mut rounds));
        round.unwrap_or_else(|what| panic!("round {number}: {what}"));
        rounds.progress(number, &scene.figures());
    }
    rule(&scene, true);
    key(&scene, true);
    scene.end().unwrap_or_else(|what| panic!("at the end: {what}"));
    scene.start();
    scene.wait_until("nothing is refused", |scene| scene.is_cured()).expect("cured");
    let (code, _, errors) = scene.consumer.as_mut().expect("started").end();
    assert_eq!(code, 0, "{errors:?}");
    scene.compare();
    rounds.end(&scene.figures());
}
