//! A whole bus in one thread: hosts, processes, readers and the network between them, moved by one queue of
//! things that happen at virtual times.

mod faults;
mod hosts;
mod readers;
mod relays;
mod sight;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fastrand::Rng;
use fedmsg::endpoint::Endpoint;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::identity::Identity;
use fedmsg::journal::Settings;
use fedmsg::limits::FRESH_MS_MAX;
use fedmsg::merkle::Leaf;
use fedmsg::timestamp::Timestamp;

use self::hosts::Host;
use self::sight::Sight;
use crate::cast::{HOSTS, MACHINES, NODES, RELAYS, SLOTS, WRITERS, host_of, is_producer, node_of};
use crate::checker::{Allowed, Checker};
use crate::counts::Counts;
use crate::network::Network;
use crate::plan::{Fault, Lie, Plan, START};
use crate::reader::Reader;
use crate::relay::Relay;
use crate::trace::Trace;
use crate::worker::Worker;

/// The wall clock begins here: 2026-09-21.
const WALL: i64 = 1_790_000_000_000;
/// How long after everything is mended every reader must have everything, in milliseconds: holders that did
/// not answer are left alone for half a minute, and a stream that stays silent is asked for once a minute.
const PATIENCE_MS: u64 = 100_000;
/// The same where a holder has lied, or gave what seemed to be a lie: it is left alone for a minute more.
const PATIENCE_WITH_LIES_MS: u64 = 200_000;
/// The same where a machine was restored: a reader that went on from its cursor meanwhile does not know the
/// time of its newest record, and believes that its publisher was set back only when more time is over than
/// clocks may differ, twice.
const PATIENCE_WITH_RESTORES_MS: u64 = 2 * FRESH_MS_MAX + 100_000;
/// The same where there are relays: a reader waits for a minute for one that does not have yet what it lacks, and so
/// does one that follows others.
const PATIENCE_WITH_RELAYS_MS: u64 = 240_000;
/// How often it is looked whether they have, in milliseconds.
const LOOK_MS: u64 = 1_000;
/// What happens at most in one run: more is a circle.
const HAPPENINGS_MAX: u64 = 2_000_000;

/// Something that happens at a time.
enum Happening {
    Fault(Fault),
    /// A process is given so many messages.
    Messages(usize, usize),
    /// A process works, if it is still in this life.
    Work(usize, u64),
    StartWorker(usize),
    HostUp(usize),
    /// A connection is made, if it still can be.
    Connect {
        worker: usize,
        reader: usize,
    },
    Arrive {
        reader: usize,
        life: u64,
        endpoint: Identity,
        wire: Wire,
    },
    Ask {
        reader: usize,
        life: u64,
        worker: usize,
        holder: Endpoint,
        frames: Vec<Bytes>,
    },
    Answer {
        reader: usize,
        life: u64,
        holder: Endpoint,
        frames: Vec<Bytes>,
    },
    Unsent {
        reader: usize,
        life: u64,
        holder: Endpoint,
        frames: Vec<Bytes>,
    },
    Turn {
        reader: usize,
        life: u64,
    },
    /// A relay is asked to take messages.
    Put {
        relay: usize,
        peer: usize,
        life: u64,
        frames: Vec<Bytes>,
    },
    /// A producer is answered by a relay: one of its own, by their order.
    PutAnswer {
        worker: usize,
        life: u64,
        relay: usize,
        frames: Vec<Bytes>,
    },
    StartReader(usize),
    Configure(usize),
    DiskWell(usize),
    Honest(usize),
    Heal,
    Look,
}

/// A process, running or not.
#[derive(Default)]
struct Process {
    worker: Option<Worker>,
    life: u64,
    /// It goes on with its second key.
    rotated: bool,
    retired: bool,
    /// It is to be killed when it has shown so many messages more, for so long.
    doom: Option<(u64, u64)>,
    lie: Option<Lie>,
    has_lied: bool,
    /// When it works next.
    work_at: u64,
    /// Numbers its messages.
    made: u64,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// What is wrong, if something is.
    pub violation: Option<String>,
    pub counts: Counts,
    /// The hash of all that happened.
    pub trace: u64,
    /// How long it took, in virtual milliseconds.
    pub took: u64,
}

/// The bus.
pub struct World {
    plan: Plan,
    random: Rng,
    now: u64,
    clock: Arc<AtomicU64>,
    queue: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
    hosts: Vec<Host>,
    processes: Vec<Process>,
    relays: Vec<Option<Relay>>,
    readers: Vec<Reader>,
    reader_clocks: Vec<i64>,
    network: Network,
    checker: Checker,
    counts: Counts,
    trace: Trace,
    /// What was sent lately, for whoever sends it again.
    overheard: VecDeque<(usize, Wire)>,
    healed: bool,
    has_lies: bool,
    violation: Option<String>,
}

impl World {
    pub fn new(plan: Plan, trace: Trace) -> World {
        let readers: Vec<_> = plan
            .readers
            .iter()
            .enumerate()
            .map(|(n, reader)| Reader::new(n, reader.durable, reader.known))
            .collect();
        let (forgeries, late) = (forgeries(&plan), |f: fn(&crate::cast::Known) -> bool| {
            plan.readers.iter().flat_map(|reader| &reader.known).any(f)
        });
        let allowed = Allowed {
            forgeries,
            late_keys: late(|known| known.keys != [true; 2]),
            late_rules: late(|known| !known.rule),
        };
        let mut checker = Checker::new(allowed, plan.readers.iter().map(|reader| reader.durable));
        let has_archive = plan.relays.iter().any(|relay| relay.is_archive);
        for worker in 0..WRITERS {
            let fate = &mut checker.fates[worker];
            let replay = plan.replay.get(host_of(worker));
            fate.silent = replay.is_none_or(Vec::is_empty);
            fate.unheld = fate.silent && replay.is_some() && !has_archive;
            let by_relays = is_producer(worker) && trims(&plan);
            fate.destroyed = gives_up(&plan) || by_relays;
        }
        for relay in 0..plan.relays.len() {
            checker.relay_fate(relay).destroyed = trims(&plan);
        }
        let peers = readers.len() + RELAYS + SLOTS;
        World {
            random: Rng::with_seed(plan.seed ^ 0x5eed),
            now: START,
            clock: Arc::new(AtomicU64::new(START)),
            queue: BTreeMap::new(),
            scheduled: 0,
            hosts: (0..MACHINES).map(|_| Host::default()).collect(),
            processes: (0..NODES).map(|_| Process::default()).collect(),
            relays: (0..RELAYS).map(|_| None).collect(),
            reader_clocks: vec![0; readers.len()],
            network: Network::new(plan.network, peers),
            readers,
            checker,
            counts: Counts::default(),
            trace,
            overheard: VecDeque::new(),
            healed: false,
            has_lies: forgeries,
            violation: None,
            plan,
        }
    }

    /// Runs to the end, or to the first thing that is wrong.
    pub fn run(mut self) -> Outcome {
        self.begin();
        let mut happened = 0;
        while self.violation.is_none()
            && let Some(((at, _), happening)) = self.queue.pop_first()
        {
            self.now = at;
            self.clock.store(at, Ordering::Relaxed);
            if matches!(happening, Happening::Look) && self.is_over() {
                break;
            }
            self.happen(happening);
            happened += 1;
            if happened > HAPPENINGS_MAX {
                self.violation = Some("it goes on for ever".into());
            }
        }
        self.counts.acknowledged = self.checker.acknowledged_count();
        let took = self.now - START;
        let (violation, counts, trace) = (self.violation, self.counts, self.trace.hash());
        Outcome { violation, counts, trace, took }
    }

    fn begin(&mut self) {
        for worker in self.nodes() {
            let at = START + self.random.u64(0..500);
            self.schedule(at, Happening::StartWorker(worker));
        }
        for reader in 0..self.readers.len() {
            let at = START + self.random.u64(0..2_000);
            self.schedule(at, Happening::StartReader(reader));
            if self.readers[reader].known != [crate::cast::Known::ALL; HOSTS] {
                self.counts.late_configurations += 1;
                self.schedule(self.plan.readers[reader].complete, Happening::Configure(reader));
            }
        }
        for (at, fault) in std::mem::take(&mut self.plan.faults) {
            self.schedule(at, Happening::Fault(fault));
        }
        for (at, worker, count) in std::mem::take(&mut self.plan.messages) {
            self.schedule(at, Happening::Messages(worker, count));
        }
        let heal = self.plan.heal;
        self.schedule(heal, Happening::Heal);
        self.schedule(heal + 7_000, Happening::Look);
    }

    fn schedule(&mut self, at: u64, happening: Happening) {
        self.scheduled += 1;
        self.queue.insert((at.max(self.now), self.scheduled), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Fault(fault) => self.fault(fault),
            Happening::Messages(worker, count) => self.give(worker, count),
            Happening::Work(worker, life) => self.work(worker, life),
            Happening::StartWorker(worker) => self.start_worker(worker),
            Happening::HostUp(host) => self.host_up(host),
            Happening::Connect { worker, reader } => self.connect(worker, reader),
            Happening::Arrive { reader, life, endpoint, wire } => {
                self.arrived(reader, life, endpoint, wire);
            }
            Happening::Ask { reader, life, worker, holder, frames } => {
                self.asked(reader, life, worker, holder, frames);
            }
            Happening::Answer { reader, life, holder, frames } => {
                self.answered(reader, life, &holder, &frames, true);
            }
            Happening::Unsent { reader, life, holder, frames } => {
                self.answered(reader, life, &holder, &frames, false);
            }
            Happening::Put { relay, peer, life, frames } => self.put(relay, peer, life, frames),
            Happening::PutAnswer { worker, life, relay, frames } => {
                self.put_answered(worker, life, relay, &frames);
            }
            Happening::Turn { reader, life } => self.turn(reader, life),
            Happening::StartReader(reader) => self.start_reader(reader),
            Happening::Configure(reader) => self.configure(reader),
            Happening::DiskWell(host) => self.hosts[host].mend(),
            Happening::Honest(worker) => self.processes[worker].lie = None,
            Happening::Heal => self.heal(),
            Happening::Look => self.schedule(self.now + LOOK_MS, Happening::Look),
        }
    }

    /// Whether every reader has everything; it is a fault when that takes too long.
    fn is_over(&mut self) -> bool {
        let patience = match (self.counts.restores > 0, self.has_lies) {
            (true, _) => PATIENCE_WITH_RESTORES_MS,
            _ if !self.plan.relays.is_empty() => PATIENCE_WITH_RELAYS_MS,
            (false, true) => PATIENCE_WITH_LIES_MS,
            (false, false) => PATIENCE_MS,
        };
        match self.is_complete() {
            Ok(()) => true,
            Err(why) if self.now > self.plan.heal + patience => {
                let seconds = patience / 1_000;
                self.wrong(Err(format!("{why} in the {seconds} s after everything was mended")));
                true
            }
            Err(_) => false,
        }
    }

    fn is_complete(&mut self) -> Result<(), String> {
        let World { checker, hosts, plan, processes, .. } = self;
        let mut sight = Sight::new(hosts, plan, |relay| processes[node_of(relay)].retired);
        checker.is_complete(&mut sight)?;
        for relay in 0..plan.relays.len() {
            if !processes[node_of(relay)].retired {
                let streams = sight.due_at(relay);
                checker
                    .is_stored(relay, &streams, &mut |position| sight.on_relay(relay, position))?;
            }
        }
        Ok(())
    }

    /// Every process that takes part, readers left out.
    fn nodes(&self) -> Vec<usize> {
        let relays = (0..self.plan.relays.len()).map(node_of);
        self.plan.workers.iter().copied().chain(relays).collect()
    }

    /// Takes note of a verdict.
    fn wrong(&mut self, verdict: Result<(), String>) {
        if let Err(why) = verdict {
            self.trace.note(self.now, &[99], || format!("WRONG: {why}"));
            self.violation.get_or_insert(why);
        }
    }

    fn wall(&self, offset: i64) -> Timestamp {
        Timestamp::from_millis(WALL + self.now as i64 + offset)
    }

    fn leaf_number(leaf: &Leaf) -> u64 {
        leaf.0[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn epoch_number(epoch: Epoch) -> u64 {
        epoch
            .to_string()
            .bytes()
            .fold(7, |number: u64, byte| number.wrapping_mul(31).wrapping_add(u64::from(byte)))
    }
}

/// Whether something is sent in this run that nobody signed.
fn forgeries(plan: &Plan) -> bool {
    let forges = |fault: &Fault| matches!(fault, Fault::Lie { .. } | Fault::Attack { .. });
    plan.faults.iter().any(|(_, fault)| forges(fault))
}

/// Whether logs of relays may give up what is old.
fn trims(plan: &Plan) -> bool {
    let usual = fedmsg::log::Settings::default();
    let jumps = |fault: &Fault| matches!(fault, Fault::HostClock { .. });
    let narrow = plan.log.keep_bytes < 1 << 29 || plan.log.keep_ms < usual.keep_ms;
    narrow || plan.faults.iter().any(|(_, fault)| jumps(fault))
}

/// Whether journals may give up what is old: bounds are narrow, or clocks run ahead by days.
fn gives_up(plan: &Plan) -> bool {
    let usual = Settings::default();
    let narrow = plan.journal.keep_bytes < usual.keep_bytes || plan.journal.keep_ms < usual.keep_ms;
    let jumps = |fault: &Fault| matches!(fault, Fault::HostClock { .. });
    narrow || plan.faults.iter().any(|(_, fault)| jumps(fault))
}
