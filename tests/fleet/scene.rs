//! A fleet at work: who runs where, and what happens to all of them from one moment to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fedmsg::consumer::Position;

use super::figures::Figures;
use super::hosts::{Change, Host};
use super::readers::Reader;
use super::workers::{Ledger, Worker};
use crate::harness::effects::{Allowed, Effects};
use crate::harness::{Bus, PATIENCE, Program, Rounds, atomically};

/// So many messages at most are asked of a publisher at once.
const MESSAGES_MAX: u64 = 10;
/// So long at most everybody is at work before something happens.
const WORK_MS: u64 = 150;
/// So many files at most reach their machines in one moment.
const AT_ONCE: u64 = 4;
/// Everything that is waited for while everybody is at work comes within this time.
const WAITED: Duration = PATIENCE.saturating_mul(3);

const MACHINES: [&str; 12] = [
    "app1", "app2", "app3", "app4", "app5", "pods", "relay1", "relay2", "archive1", "read1",
    "read2", "read3",
];
pub const RELAYS: [(&str, &str); 2] = [("relay.one", "relay1"), ("relay.two", "relay2")];
const ARCHIVE: (&str, &str) = ("archive.one", "archive1");
/// Identity, machine, processes. Those who come late have neither key nor endpoint entry yet.
const SERVICES: [(&str, &str, usize); 9] = [
    ("app.app1", "app1", 4),
    ("bodhi.app2", "app2", 2),
    (LATE_KEY, "app2", 1),
    (SET_BACK, "app3", 2),
    (LATE_RULE, "app4", 2),
    ("log.app4", "app4", 1),
    ("old.app4", "app4", 1),
    (LATE_ENTRY, "app5", 2),
    ("pod.cloud", "pods", 3),
];
pub const LATE_KEY: &str = "koji.app2";
pub const LATE_RULE: &str = "git.app4";
pub const LATE_ENTRY: &str = "ask.app5";
pub const SET_BACK: &str = "wiki.app3";
/// Their messages go through relays.
const WITHOUT_ENTRY: [&str; 2] = ["log.app4", "pod.cloud"];
const READERS: [(&str, &str); 6] = [
    ("badges", "read1"),
    ("mailer", "read1"),
    ("search", "read2"),
    ("feeds", "read2"),
    ("stats", "read3"),
    ("audit", "read3"),
];
pub const RULE: &str = "policy.d/20-m.toml";

/// A relay or an archive.
pub struct Keeper {
    pub identity: &'static str,
    pub host: &'static str,
    program: Option<Program>,
}

pub struct Fleet {
    pub bus: Bus,
    pub hosts: BTreeMap<&'static str, Host>,
    pub workers: Vec<Worker>,
    pub keepers: Vec<Keeper>,
    pub readers: Vec<Reader>,
    pub ledger: Ledger,
    /// Machines that are switched off.
    pub off: BTreeSet<&'static str>,
    /// Identities that are not asked for more.
    pub quiet: BTreeSet<&'static str>,
    /// Consumers, relays and the archive are not killed now: who is asked and silent again and again is left alone for up
    /// to 30 s, and something is waited for.
    pub is_calm: bool,
    /// Publishers are not.
    pub are_workers_spared: bool,
    figures: Figures,
    /// What the days before came to.
    before: Figures,
}

impl Fleet {
    /// The fleet of another day.
    pub fn new(before: Figures) -> Fleet {
        let bus = Bus::new(&[]);
        settings(&bus.etc());
        let mut hosts = BTreeMap::new();
        for (name, number) in MACHINES.into_iter().zip(0..) {
            hosts.insert(name, Host::new(&bus, name, number));
        }
        // A folder of state that cannot be made would stop whoever needs one.
        hosts["pods"].keeps_state_in(Path::new("/proc/nowhere"));
        let allowed = Allowed {
            late: |stream| stream.identity().as_str() == LATE_RULE,
            forks: |stream| stream.identity().as_str() == SET_BACK,
        };
        let reader = |(name, host)| Reader::of(&bus, name, host, allowed);
        let readers = READERS.into_iter().map(reader).collect();
        let mut fleet = Fleet {
            bus,
            hosts,
            workers: Vec::new(),
            keepers: Vec::new(),
            readers,
            ledger: Ledger::default(),
            off: BTreeSet::new(),
            quiet: BTreeSet::new(),
            is_calm: false,
            are_workers_spared: false,
            figures: Figures::default(),
            before,
        };
        fleet.keepers();
        fleet.services();
        fleet
    }

    fn keepers(&mut self) {
        for (identity, name) in RELAYS.into_iter().chain([ARCHIVE]) {
            let host = &self.hosts[name];
            let what = match identity == ARCHIVE.0 {
                true => "archive = true",
                false => "carries = [\"{prefix}.{env}.>\"]",
            };
            let rest = format!("submit = {:?}\n{what}\n", host.address());
            let entry = host.entry(identity, 1, &rest);
            let key = self.new_key(identity, name);
            self.everywhere(&[entry, key]);
            self.keepers.push(Keeper { identity, host: name, program: None });
        }
        self.everywhere(&[relays(&RELAYS.map(|(identity, _)| identity))]);
    }

    fn services(&mut self) {
        for (identity, host, slots) in SERVICES {
            if identity != LATE_ENTRY && !WITHOUT_ENTRY.contains(&identity) {
                let entry = self.hosts[host].entry(identity, slots, "");
                self.everywhere(&[entry]);
            }
            if identity != LATE_KEY {
                let key = self.new_key(identity, host);
                self.everywhere(&[key]);
            }
            self.workers.extend((0..slots).map(|_| Worker::of(identity, host)));
        }
    }

    fn everywhere(&self, changes: &[Change]) {
        let folders = self.hosts.values().map(Host::etc).chain([self.bus.etc()]);
        for folder in folders {
            changes.iter().for_each(|change| change.apply(&folder));
        }
    }

    /// Makes a key, which this machine has; what tells everybody of it.
    pub fn new_key(&self, identity: &str, host: &str) -> Change {
        self.bus.key(identity);
        self.hosts[host].hold(&self.bus.path(&format!("etc/private/{identity}.key")));
        let file = format!("keys.d/{identity}.toml");
        Change::file(&file, fs::read_to_string(self.bus.etc().join(&file)).expect("a key"))
    }

    /// Brings these changes to these machines: one machine and one change after the other, in an order by chance,
    /// while everybody is at work.
    pub fn roll(&mut self, changes: &[Change], hosts: &[&'static str], rounds: &mut Rounds) {
        let pairs = hosts.iter().flat_map(|host| changes.iter().map(|change| (*host, change)));
        let mut left: Vec<(&'static str, &Change)> = pairs.collect();
        shuffle(&mut left, rounds);
        while !left.is_empty() {
            for _ in 0..=rounds.chance(AT_ONCE) {
                let Some((host, change)) = left.pop() else { break };
                change.apply(&self.hosts[host].etc());
                self.figures.changes += 1;
            }
            self.turn(rounds);
        }
    }

    /// The machines, in an order by chance.
    pub fn machines(&self, rounds: &mut Rounds) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.hosts.keys().copied().collect();
        shuffle(&mut names, rounds);
        names
    }

    /// Everybody is at work for a moment, and then perhaps somebody is killed.
    pub fn turn(&mut self, rounds: &mut Rounds) {
        self.start(|| rounds.chance(2) == 0);
        self.ask(rounds);
        // Nothing is waited for here: the moment is by chance.
        std::thread::sleep(Duration::from_millis(rounds.chance(WORK_MS)));
        self.kill(rounds);
        self.workers.iter_mut().for_each(|worker| worker.take(&mut self.ledger));
        for reader in &mut self.readers {
            reader.read();
        }
        rounds.progress(self.before.days, &self.figures().to_string());
    }

    /// Whoever may run and does not is started, if chance will.
    pub fn start(&mut self, mut will: impl FnMut() -> bool) {
        for keeper in &mut self.keepers {
            if keeper.program.is_none() && will() {
                let mut relay = self.hosts[keeper.host].program("fedmsg-relay");
                relay.args(["--identity", keeper.identity]);
                keeper.program = Some(Program::start(relay));
            }
        }
        for worker in &mut self.workers {
            let host = &self.hosts[worker.host];
            let is_known = host.has(&format!("keys.d/{}.toml", worker.identity))
                && (WITHOUT_ENTRY.contains(&worker.identity)
                    || host.has(&format!("20-{}.toml", worker.identity)));
            if is_known && !self.off.contains(worker.host) && !worker.is_running() && will() {
                worker.start(host);
                self.figures.lives += 1;
            }
        }
        for reader in &mut self.readers {
            if will() {
                reader.start(&self.bus, &self.hosts[reader.host]);
            }
        }
    }

    fn ask(&mut self, rounds: &mut Rounds) {
        for worker in &mut self.workers {
            if worker.is_idle() && !self.quiet.contains(worker.identity) {
                let may_more = worker.identity == LATE_RULE && self.hosts[worker.host].has(RULE);
                let object = if may_more && rounds.chance(2) == 0 { "m" } else { "n" };
                worker.ask(object, 1 + rounds.chance(MESSAGES_MAX), &mut self.ledger);
            }
        }
    }

    fn kill(&mut self, rounds: &mut Rounds) {
        let which = rounds.chance(self.workers.len() as u64) as usize;
        if rounds.chance(2) == 0 && !self.are_workers_spared && self.workers[which].is_running() {
            self.workers[which].kill(&mut self.ledger);
            self.figures.workers += 1;
        }
        let which = rounds.chance(self.readers.len() as u64) as usize;
        if rounds.chance(5) == 0 && !self.is_calm && self.readers[which].kill() {
            self.figures.readers += 1;
        }
        let which = rounds.chance(self.keepers.len() as u64) as usize;
        if rounds.chance(6) == 0
            && !self.is_calm
            && let Some(mut program) = self.keepers[which].program.take()
        {
            program.kill();
            self.figures.keepers += 1;
        }
    }

    /// Goes on until it is so.
    pub fn until(&mut self, what: &str, rounds: &mut Rounds, is: impl Fn(&Fleet) -> bool) {
        let deadline = Instant::now() + WAITED;
        while !is(self) {
            assert!(Instant::now() < deadline, "{what}: not so; {}", self.figures());
            self.turn(rounds);
        }
    }

    /// Asks nothing more of this identity, and goes on until every consumer has done what it has acknowledged, and
    /// whatever else of it another one has done, and will not be given it again. It is as far as `last`, too, where that
    /// is known.
    pub fn settle(&mut self, identity: &'static str, last: Option<&Position>, rounds: &mut Rounds) {
        self.quiet.insert(identity);
        let was_calm = std::mem::replace(&mut self.is_calm, true);
        let deadline = Instant::now() + WAITED;
        while let Some(left) = self.unsettled(identity, last) {
            assert!(Instant::now() < deadline, "{identity}: {left}; {}", self.figures());
            self.turn(rounds);
        }
        self.is_calm = was_calm;
    }

    /// What is in the way, in words.
    fn unsettled(&self, identity: &str, last: Option<&Position>) -> Option<String> {
        let mut workers = self.workers.iter().filter(|worker| worker.identity == identity);
        if let Some(worker) = workers.find(|worker| !worker.is_idle()) {
            return Some(format!("{:?} has not answered", worker.stream));
        }
        let done = self.readers.iter().flat_map(|reader| reader.ends(identity));
        let last = last.map(|last| (last.stream.clone(), last.clone()));
        let mut ends = self.ledger.ends(identity);
        for (stream, end) in done.chain(last) {
            let known = ends.entry(stream).or_insert_with(|| end.clone());
            *known = end.max(known.clone());
        }
        self.readers.iter().find_map(|reader| reader.behind(&ends, &self.hosts[reader.host]))
    }

    /// A machine loses its power.
    pub fn switch_off(&mut self, host: &'static str) {
        self.off.insert(host);
        for worker in self.workers.iter_mut().filter(|worker| worker.host == host) {
            worker.kill(&mut self.ledger);
        }
    }

    pub fn switch_on(&mut self, host: &'static str) {
        self.off.remove(host);
    }

    /// Lets everybody go on until everything is done.
    pub fn end(&mut self) {
        self.start(|| true);
        self.quiet.clear();
        for worker in &mut self.workers {
            worker.ask("n", 1, &mut self.ledger);
            worker.catch_up(&mut self.ledger);
        }
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            let lines: usize = self.readers.iter_mut().map(Reader::read).sum();
            let left: Vec<usize> =
                self.readers.iter().map(|reader| reader.left(&self.ledger)).collect();
            if left.iter().all(|left| *left == 0) {
                break;
            }
            if lines > 0 {
                // As long as they do something there is hope.
                deadline = Instant::now() + PATIENCE;
            }
            let so_far = self.figures();
            assert!(Instant::now() < deadline, "{left:?} are not done by each; {so_far}");
            std::thread::yield_now();
        }
        self.readers.iter_mut().for_each(Reader::end);
        self.workers.iter_mut().for_each(|worker| worker.end(&mut self.ledger));
    }

    /// What everybody has done is what was acknowledged, and every journal is whole.
    pub fn compare(&self) {
        self.readers.iter().for_each(|reader| reader.compare(&self.ledger));
        for host in self.hosts.values().filter(|host| host.state().join("streams").exists()) {
            host.check_journals();
        }
    }

    /// What this day and those before came to.
    pub fn figures(&self) -> Figures {
        let sum = |number: fn(&Effects) -> u64| {
            self.readers.iter().map(|reader| number(&reader.effects)).sum::<u64>()
        };
        let today = Figures {
            days: 1,
            acknowledged: self.ledger.all.len() as u64,
            taken: self.ledger.taken,
            done: sum(|effects| effects.all.len() as u64),
            reader_lives: sum(|effects| effects.lives),
            doubles: sum(|effects| effects.doubles),
            lates: sum(|effects| effects.lates),
            forks: sum(|effects| effects.forks),
            ..self.figures
        };
        self.before + today
    }
}

/// What all machines begin with: one rule, and pods that have no disk.
fn settings(folder: &Path) {
    let bus = "[bus]\ntopic_prefix = \"org.example\"\nenvironment = \"dev\"\n\
               [publisher]\ncopies_wait_ms = 60000\n[publisher.levels]\npod = \"stored(1)\"\n";
    atomically(&folder.join("10-bus.toml"), bus);
    atomically(&folder.join("policy.d/10-n.toml"), &rule("*", "{service}.n"));
}

pub fn rule(service: &str, topic: &str) -> String {
    format!("[[publish]]\nservice = {service:?}\ntopics = [\"{{prefix}}.{{env}}.{topic}\"]\n")
}

/// Through whom goes what has no endpoint entry.
pub fn relays(identities: &[&str]) -> Change {
    Change::file("12-relays.toml", format!("[publisher]\nrelays = {identities:?}\n"))
}

/// Fisher and Yates.
pub fn shuffle<T>(list: &mut [T], rounds: &mut Rounds) {
    for at in (1..list.len()).rev() {
        list.swap(at, rounds.chance(at as u64 + 1) as usize);
    }
}
