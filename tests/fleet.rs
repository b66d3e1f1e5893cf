//! A day of a fleet: a dozen machines with their own copies of the configuration, twenty publishers, six durable
//! consumers, two relays and an archive. Configuration is rolled out machine by machine, keys are replaced, a machine
//! joins, one is put back from a snapshot, a service is retired, pods are rolled, a relay is lost with its disk, and
//! processes are killed with -9, while messages flow all the time. `FEDMSG_FLEET=20 cargo test -p fedmsg-tests fleet` has
//! so many such days.

mod dead_pods;
mod figures;
mod hosts;
mod readers;
mod scene;
mod workers;

use std::fs;
use std::slice::from_ref;
use std::time::SystemTime;

use fedmsg::consumer::Position;
use fedmsg::envelope::Epoch;
use fedmsg::timestamp::Timestamp;
use fedmsg::{Identity, StreamName, config};
use serde_json::Value;

use crate::harness::{Program, Rounds};
use figures::Figures;
use hosts::{Change, Host};
use scene::{
    Fleet, LATE_ENTRY, LATE_KEY, LATE_RULE, RELAYS, RULE, SET_BACK, relays, rule, shuffle,
};
use workers::Worker;

/// Messages of each process of the machine that is set back, which the snapshot does not have. It has to publish less
/// until somebody tells it.
const AFTER_SNAPSHOT: u64 = 300;
/// The machine that joins.
const NEW: (&str, &str) = ("new.app6", "app6");
/// The machine that hears of everything last, one of consumers; and how many others are late in the morning.
const LAST: &str = "read3";
const LATE: usize = 3;

/// What happens on a day, in an order by chance.
const STEPS: [fn(&mut Fleet, &mut Rounds); 7] = [
    a_service_gets_a_new_key,
    a_machine_joins,
    a_fifth_worker_comes,
    pods_are_rolled,
    a_machine_is_set_back,
    a_service_is_retired,
    a_relay_is_lost,
];

/// What comes late to some: the endpoint entry of a service, the key of another one, a rule for a third. Some machines
/// have none of it when these are long at work. The archive is the last: who knows the archive and not the service has
/// nobody else to ask, and takes what the archive has not fetched yet for lost.
fn configuration_is_rolled(fleet: &mut Fleet, rounds: &mut Rounds) {
    let entry = fleet.hosts["app5"].entry(LATE_ENTRY, 2, "");
    let key = fleet.new_key(LATE_KEY, "app2");
    let (service, _) = LATE_RULE.split_once('.').expect("an identity");
    let rule = Change::file(RULE, rule(service, &format!("{service}.m")));
    let changes = [entry, key, rule];
    changes.iter().for_each(|change| change.apply(&fleet.bus.etc()));
    let machines = fleet.machines(rounds);
    let others =
        machines.iter().filter(|name| !["app2", "app4", "app5", LAST, "archive1"].contains(name));
    let late: Vec<&str> = others.take(LATE).copied().chain([LAST]).collect();
    let early = machines.iter().filter(|name| !late.contains(name) && **name != "archive1");
    let early: Vec<&str> = early.copied().collect();
    fleet.roll(&changes, &early, rounds);
    fleet.until("those who were late are at work", rounds, |fleet| {
        let late = [(LATE_ENTRY, "n"), (LATE_KEY, "n"), (LATE_RULE, "m")];
        late.into_iter().all(|(identity, object)| fleet.ledger.has(identity, object))
    });
    fleet.roll(&changes, &late, rounds);
    fleet.roll(&changes, &["archive1"], rounds);
}

/// The service goes on with its new key when its own machine knows it, which others learn before or after that. The old
/// one ends, machine by machine, when everybody knows the new one.
fn a_service_gets_a_new_key(fleet: &mut Fleet, rounds: &mut Rounds) {
    let (identity, host) = ("bodhi.app2", "app2");
    let file = format!("keys.d/{identity}.toml");
    let old = fs::read_to_string(fleet.bus.etc().join(&file)).expect("a key");
    let (private, public) = (fleet.bus.path("new/private"), fleet.bus.path("new/keys.d"));
    let name = Identity::parse(identity).expect("an identity");
    let key = config::create_key(&private, &public, &name).expect("a key");
    let new = config::public_text(&key, &name);
    let (_, new) = new.split_once("\n\n").expect("a table behind the identity");
    let both = Change::file(&file, format!("{old}{new}"));
    both.apply(&fleet.bus.etc());

    let machines = fleet.machines(rounds);
    let own = machines.iter().position(|name| *name == host).expect("it is there");
    let (before, after) = machines.split_at(own + 1);
    fleet.roll(from_ref(&both), before, rounds);
    fleet.hosts[host].hold(&private.join(format!("{identity}.key")));
    for at in 0..fleet.workers.len() {
        if fleet.workers[at].identity == identity {
            fleet.workers[at].end(&mut fleet.ledger);
            fleet.turn(rounds);
        }
    }
    fleet.roll(&[both], after, rounds);

    let now = Timestamp::from(SystemTime::now());
    let ended = Change::file(&file, format!("{old}not_after = {now}\n{new}"));
    ended.apply(&fleet.bus.etc());
    let machines = fleet.machines(rounds);
    fleet.roll(&[ended], &machines, rounds);
}

/// It has the configuration of this moment, and publishes before anybody else knows it.
fn a_machine_joins(fleet: &mut Fleet, rounds: &mut Rounds) {
    let (identity, name) = NEW;
    let host = Host::new(&fleet.bus, name, fleet.hosts.len() as u8);
    let entry = host.entry(identity, 1, "");
    let machines = fleet.machines(rounds);
    fleet.hosts.insert(name, host);
    let both = entry.and(fleet.new_key(identity, name));
    both.apply(&fleet.bus.etc());
    both.apply(&fleet.hosts[name].etc());
    fleet.workers.push(Worker::of(identity, name));
    let machines: Vec<&str> = machines.into_iter().filter(|name| *name != LAST).collect();
    fleet.roll(&[both], &machines, rounds);
}

/// The last machine hears of the one that has joined.
fn everybody_knows_everybody(fleet: &mut Fleet, rounds: &mut Rounds) {
    let (identity, _) = NEW;
    let files = [format!("20-{identity}.toml"), format!("keys.d/{identity}.toml")];
    let changes = files.map(|file| {
        let text = fs::read_to_string(fleet.bus.etc().join(&file)).expect("it was decided");
        Change::file(&file, text)
    });
    let [entry, key] = changes;
    fleet.roll(&[entry.and(key)], &[LAST], rounds);
}

/// Its service has four addresses, and four processes have them: it goes through relays.
fn a_fifth_worker_comes(fleet: &mut Fleet, rounds: &mut Rounds) {
    let (identity, host) = ("app.app1", "app1");
    fleet.are_workers_spared = true;
    let ways = |fleet: &Fleet| -> Vec<String> {
        let workers = fleet.workers.iter().filter(|worker| worker.identity == identity);
        workers.filter_map(|worker| worker.stream.clone()).map(|(_, way)| way).collect()
    };
    fleet.until("four processes have their places", rounds, |fleet| ways(fleet).len() == 4);
    fleet.workers.push(Worker::of(identity, host));
    fleet.until("there is a fifth one", rounds, |fleet| ways(fleet).len() == 5);
    assert_eq!(ways(fleet), ["direct", "direct", "direct", "direct", "relayed"]);
    fleet.are_workers_spared = false;
}

/// A new one comes, then an old one is told to end while it is at work.
fn pods_are_rolled(fleet: &mut Fleet, rounds: &mut Rounds) {
    for at in 0..fleet.workers.len() {
        if fleet.workers[at].identity != "pod.cloud" {
            continue;
        }
        let (identity, host) = (fleet.workers[at].identity, fleet.workers[at].host);
        let mut old = std::mem::replace(&mut fleet.workers[at], Worker::of(identity, host));
        // It waits for relays, and nobody is started meanwhile.
        fleet.start(|| true);
        old.end(&mut fleet.ledger);
        fleet.turn(rounds);
    }
}

/// A snapshot from the beginning of the day is put back, when readers know more. They tell: until then messages have a
/// receipt for positions that are taken, and none of them is handed out.
fn a_machine_is_set_back(fleet: &mut Fleet, rounds: &mut Rounds) {
    for worker in fleet.workers.iter_mut().filter(|worker| worker.identity == SET_BACK) {
        worker.catch_up(&mut fleet.ledger);
        worker.start(&fleet.hosts["app3"]);
        worker.ask("n", AFTER_SNAPSHOT, &mut fleet.ledger);
        worker.catch_up(&mut fleet.ledger);
    }
    fleet.settle(SET_BACK, None, rounds);
    fleet.is_calm = true;
    fleet.switch_off("app3");
    fleet.hosts["app3"].restore();
    fleet.ledger.set_back(SET_BACK);
    fleet.switch_on("app3");
    fleet.quiet.remove(SET_BACK);
    fleet.until("it goes on in new epochs", rounds, |fleet| fleet.ledger.has_gone_on(SET_BACK));
    fleet.is_calm = false;
}

/// Its only process dies; the command signs its last words, and answers for its journal until everybody has all of it.
fn a_service_is_retired(fleet: &mut Fleet, rounds: &mut Rounds) {
    let (identity, host) = ("old.app4", "app4");
    let is_it = |worker: &Worker| worker.identity == identity;
    let at = fleet.workers.iter().position(is_it).expect("it is there");
    fleet.workers.remove(at).kill(&mut fleet.ledger);
    let stream = format!("{identity}/0");
    let host = &fleet.hosts[host];
    let said = host.run(&["stream", "retire", &stream, "--for", "0s", "--json"]);
    let last = last_words(&said[0]);
    let mut retire = host.program("fedmsg");
    retire.args(["stream", "retire", &stream, "--for", "90s"]);
    let mut retire = Program::start(retire);
    host.check_journals();
    fleet.settle(identity, Some(&last), rounds);
    retire.kill();
    let machines = fleet.machines(rounds);
    let gone = Change::default().without(&format!("20-{identity}.toml"));
    gone.apply(&fleet.bus.etc());
    fleet.roll(&[gone], &machines, rounds);
    fs::remove_dir_all(fleet.hosts["app4"].state().join("streams").join(identity))
        .expect("removed");
}

/// Where a stream has ended, as the command says.
fn last_words(line: &str) -> Position {
    let said: Value = serde_json::from_str(line).expect("JSON");
    let text = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("{line}"));
    Position {
        stream: StreamName::parse(text("stream")).expect("a stream"),
        epoch: Epoch::parse(text("epoch")).expect("an epoch"),
        i: said["last"].as_u64().expect("a number"),
    }
}

/// What pods have a receipt for is on one relay at least, and perhaps on no other one: they pause until it is done.
/// Everybody else goes on.
fn a_relay_is_lost(fleet: &mut Fleet, rounds: &mut Rounds) {
    let [(lost, host), (stays, _)] = RELAYS;
    fleet.settle("pod.cloud", None, rounds);
    fleet.keepers.retain(|keeper| keeper.identity != lost);
    fleet.hosts[host].lose_disk();
    fleet.quiet.remove("pod.cloud");
    let gone = relays(&[stays]).without(&format!("20-{lost}.toml"));
    gone.apply(&fleet.bus.etc());
    let machines = fleet.machines(rounds);
    fleet.roll(&[gone], &machines, rounds);
}

/// One day; what it and those before came to.
fn day(before: Figures, rounds: &mut Rounds) -> Figures {
    let mut fleet = Fleet::new(before);
    let mut steps = STEPS;
    shuffle(&mut steps, rounds);
    configuration_is_rolled(&mut fleet, rounds);
    fleet.switch_off("app3");
    fleet.hosts["app3"].save();
    fleet.switch_on("app3");
    for step in steps {
        step(&mut fleet, rounds);
    }
    everybody_knows_everybody(&mut fleet, rounds);
    fleet.end();
    fleet.compare();
    fleet.figures()
}

#[test]
fn after_a_day_of_a_fleet_every_consumer_has_done_everything() {
    let mut rounds = Rounds::new("days of a fleet", "FEDMSG_FLEET", 1);
    let days = 0..rounds.count;
    let figures = days.fold(Figures::default(), |before, _| day(before, &mut rounds));
    rounds.end(&figures.to_string());
}
