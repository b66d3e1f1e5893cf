//! What a seed decides in advance: who is there, how the network is, what goes wrong and when.
//!
//! Each seed leaves most kinds of faults out, so that those which are there meet one another often.

mod relays;

use fastrand::Rng;
use fedmsg::journal::Settings;

use crate::cast::{HOSTS, Known, SLOTS, host_of, nodes_of};
pub use relays::{Carries, RelayPlan};

/// Virtual time begins here, in milliseconds.
pub const START: u64 = 10_000;
/// A day, in milliseconds.
pub const DAY: i64 = 86_400_000;

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// The processes that publish.
    pub workers: Vec<usize>,
    /// The processes of each host whose replay addresses are in the configuration of readers.
    pub replay: [Vec<usize>; HOSTS],
    pub readers: Vec<ReaderPlan>,
    pub journal: Settings,
    pub relays: Vec<RelayPlan>,
    /// What the logs of relays keep.
    pub log: fedmsg::log::Settings,
    pub network: NetworkPlan,
    /// When everything is mended.
    pub heal: u64,
    pub faults: Vec<(u64, Fault)>,
    /// When which process is given so many messages.
    pub messages: Vec<(u64, usize, usize)>,
}

/// A subscriber.
#[derive(Clone, Debug)]
pub struct ReaderPlan {
    /// It keeps a cursor, and begins with the first message of a stream; otherwise with what comes.
    pub durable: bool,
    /// What its configuration has at first; everything from `complete` on.
    pub known: [Known; HOSTS],
    pub complete: u64,
}

/// How messages travel. Chances are in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkPlan {
    pub delay: u64,
    pub jitter: u64,
    pub loss: u32,
    pub doubles: u32,
    /// Answers that break off.
    pub torn: u32,
    /// Milliseconds for each message; one link that is so slow has room for a few.
    pub slow: u64,
}

/// Which way is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Both,
    Messages,
    Replay,
}

/// How a holder lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It changes a byte of what it gives.
    Forges,
    /// It leaves records out.
    Hides,
    /// It says that it has nothing.
    Denies,
    /// It gives another record than the one that was asked for.
    Shuffles,
    /// It answers nothing.
    Silent,
}

/// What a stranger on the way sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// A message with a changed byte.
    Changed,
    /// A message under another topic.
    Retopiced,
    /// A message as if another endpoint had sent it.
    Misplaced,
    /// A message that was sent before.
    Again,
    /// A message of a stream, signed by a key that nobody trusts.
    Stranger,
    /// A message of a stream, signed by another service.
    Neighbour,
}

/// What somebody puts to a relay that must not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rogue {
    /// A message with a changed byte.
    Changed,
    /// One that is signed by a key that nobody trusts.
    Stranger,
    /// One that another service has signed.
    Neighbour,
    /// One with a good signature whose topic its signer may not publish.
    Unallowed,
}

/// Something that goes wrong. Numbers of calls count from then on.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    PowerCut { host: usize, calls: u64, down: u64 },
    Kill { worker: usize, shows: u64, down: u64 },
    Stop { worker: usize, down: u64 },
    DiskError { host: usize, calls: u64, kind: u8, lasts: u64 },
    DiskFull { host: usize, room: u64, lasts: u64 },
    Partition { host: usize, reader: usize, way: Way, lasts: u64 },
    KillReader { reader: usize, down: u64 },
    HostClock { host: usize, by: i64 },
    ReaderClock { reader: usize, by: i64 },
    Damage { host: usize },
    Wipe { host: usize, down: u64 },
    Snapshot { host: usize },
    Restore { host: usize, down: u64 },
    Retire { worker: usize },
    Rotate { worker: usize, down: u64 },
    Lie { worker: usize, lie: Lie, lasts: u64 },
    Attack { reader: usize, attack: Attack },
    Rogue { relay: usize, rogue: Rogue },
}

impl Plan {
    /// What this seed decides.
    pub fn of(seed: u64) -> Plan {
        let mut random = Rng::with_seed(seed);
        let r = &mut random;
        let (relays, log, mut of_relays) = relays::relays(seed);
        let workers = some_workers(r);
        let replay = [replay(&workers, 0, r), replay(&workers, 1, r)];
        let heal = START + r.u64(8_000..30_000);
        let readers = (0..r.usize(1..=2)).map(|_| reader(r, heal)).collect::<Vec<_>>();
        let journal = journal(r);
        let network = network(r);
        let mut plan = Plan {
            seed,
            workers,
            replay,
            readers,
            journal,
            relays,
            log,
            network,
            heal,
            faults: Vec::new(),
            messages: Vec::new(),
        };
        plan.choose_writers(&mut of_relays);
        plan.messages(r);
        plan.faults(r, &mut of_relays);
        plan
    }

    fn messages(&mut self, r: &mut Rng) {
        // Now and then so many that what is missing must come in portions, not one by one.
        let (all, most) =
            if chance(r, 30) { (r.usize(150..300), 60) } else { (r.usize(20..110), 9) };
        let mut left = all;
        while left > 0 {
            let count = r.usize(1..=most).min(left);
            left -= count;
            let worker = self.workers[r.usize(0..self.workers.len())];
            self.messages.push((r.u64(START..self.heal), worker, count));
        }
        // Afterwards most streams go on; the loss of the last message of another one is found all the same.
        for worker in &self.workers {
            if chance(r, 400) {
                continue;
            }
            self.messages.push((self.heal + r.u64(3_000..6_000), *worker, r.usize(1..=2)));
        }
    }

    fn faults(&mut self, r: &mut Rng, of_relays: &mut Rng) {
        let kinds: Vec<usize> = (0..KINDS).filter(|_| chance(r, 250)).collect();
        for kind in kinds {
            for _ in 0..r.usize(1..=3) {
                let at = r.u64(START + 500..self.heal);
                if let Some(fault) = self.fault(kind, r) {
                    self.faults.push((at, fault));
                }
            }
        }
        self.faults_of_relays(of_relays);
        // A clock that runs ahead in one life and not in the next makes epochs that nobody can put into order.
        let set_back = |fault: &Fault| matches!(fault, Fault::Wipe { .. } | Fault::Restore { .. });
        if self.faults.iter().any(|(_, fault)| set_back(fault)) {
            self.faults.retain(|(_, fault)| !matches!(fault, Fault::HostClock { .. }));
        }
        // Of the last append only its own writer knows what damage took away: nobody else stands in for a liar.
        if self.faults.iter().any(|(_, fault)| matches!(fault, Fault::Damage { .. })) {
            self.faults.retain(|(_, fault)| !matches!(fault, Fault::Lie { .. }));
        }
        // What is restored was saved before.
        let restored = self.faults.iter().filter_map(|(at, fault)| match fault {
            Fault::Restore { host, .. } => {
                Some((r.u64(START..*at), Fault::Snapshot { host: *host }))
            }
            _ => None,
        });
        let saved: Vec<_> = restored.collect();
        self.faults.extend(saved);
        self.faults.sort_by_key(|(at, _)| *at);
    }

    fn fault(&self, kind: usize, r: &mut Rng) -> Option<Fault> {
        let worker = self.workers[r.usize(0..self.workers.len())];
        let (host, reader) = (host_of(worker), r.usize(0..self.readers.len()));
        let down = r.u64(100..6_000);
        let lasts = r.u64(200..8_000);
        let calls = if r.bool() { 0 } else { r.u64(0..40) };
        Some(match kind {
            0 | 1 => Fault::PowerCut { host, calls, down },
            2 => Fault::Kill { worker, shows: r.u64(0..12), down },
            3 => Fault::Stop { worker, down },
            4 => Fault::DiskError { host, calls, kind: r.u8(0..3), lasts: lasts * r.u64(0..2) },
            5 => Fault::DiskFull { host, room: r.u64(0..4_000), lasts },
            6 | 7 => {
                let way = [Way::Both, Way::Messages, Way::Replay][r.usize(0..3)];
                Fault::Partition { host, reader, way, lasts }
            }
            8 => Fault::KillReader { reader, down },
            9 => Fault::HostClock { host, by: jump(r) },
            10 => Fault::ReaderClock { reader, by: jump(r) },
            11 => Fault::Damage { host },
            12 if chance(r, 300) => Fault::Wipe { host, down },
            13 if chance(r, 500) => Fault::Restore { host, down },
            14 => self.retire(worker)?,
            15 => Fault::Rotate { worker, down },
            16 => self.lie(worker, lasts, r)?,
            17 => {
                let all = [
                    Attack::Changed,
                    Attack::Retopiced,
                    Attack::Misplaced,
                    Attack::Again,
                    Attack::Stranger,
                    Attack::Neighbour,
                ];
                Fault::Attack { reader, attack: all[r.usize(0..all.len())] }
            }
            _ => return None,
        })
    }

    /// A process goes for good where another one of its host answers for its journal.
    fn retire(&self, worker: usize) -> Option<Fault> {
        let host = host_of(worker);
        let other = nodes_of(host).find(|other| *other != worker)?;
        let answers = self.replay.get(host).is_some_and(|replay| replay.contains(&other));
        answers.then_some(Fault::Retire { worker })
    }

    /// A holder lies where there is another one.
    fn lie(&self, worker: usize, lasts: u64, r: &mut Rng) -> Option<Fault> {
        let host = host_of(worker);
        let lies = [Lie::Forges, Lie::Hides, Lie::Denies, Lie::Shuffles, Lie::Silent];
        let lie = lies[r.usize(0..lies.len())];
        let answer = self.replay.get(host).map_or(0, Vec::len);
        (answer == SLOTS).then_some(Fault::Lie { worker, lie, lasts })
    }
}

/// Kinds of faults.
const KINDS: usize = 18;

/// Whether something happens that does in so many of a thousand cases.
pub fn chance(random: &mut Rng, thousandths: u32) -> bool {
    random.u32(0..1_000) < thousandths
}

fn jump(random: &mut Rng) -> i64 {
    let days = [1, 2, 9][random.usize(0..3)] * DAY;
    let by = if random.bool() { days } else { random.i64(1_000..3_600_000) };
    if random.bool() { by } else { -by }
}

fn some_workers(random: &mut Rng) -> Vec<usize> {
    match random.usize(0..6) {
        0 => vec![0],
        1 => vec![0, 2],
        2 | 3 => vec![0, 1],
        4 => vec![0, 1, 2],
        _ => vec![0, 1, 2, 3],
    }
}

/// Who of a host answers: all who are there, one of them, or nobody.
fn replay(workers: &[usize], host: usize, random: &mut Rng) -> Vec<usize> {
    let here = workers.iter().copied().filter(|worker| host_of(*worker) == host);
    let most = if chance(random, 850) { SLOTS } else { random.usize(0..SLOTS) };
    here.take(most).collect()
}

fn reader(random: &mut Rng, heal: u64) -> ReaderPlan {
    let mut known = [Known::ALL; HOSTS];
    if chance(random, 250) {
        let late = &mut known[random.usize(0..HOSTS)];
        match random.usize(0..4) {
            0 => late.keys = [false; 2],
            1 => late.keys[1] = false,
            2 => late.rule = false,
            _ => late.endpoint = false,
        }
    }
    let durable = chance(random, 800);
    ReaderPlan { durable, known, complete: random.u64(START..heal) }
}

fn journal(random: &mut Rng) -> Settings {
    let segment_bytes = [4_096, 8_192, 65_536][random.usize(0..3)];
    let segment_ms = [2_000, 3_600_000][random.usize(0..2)];
    let (mut keep_bytes, mut keep_ms) = (1 << 30, 7 * DAY as u64);
    match random.usize(0..8) {
        0 => keep_bytes = random.u64(4_096..20_000),
        1 => keep_ms = random.u64(2_000..20_000),
        _ => {}
    }
    Settings { segment_bytes, segment_ms, keep_bytes, keep_ms }
}

fn network(random: &mut Rng) -> NetworkPlan {
    let mut or_none = |most: u32| if random.bool() { 0 } else { random.u32(0..most) };
    let (loss, doubles, torn) = (or_none(300), or_none(100), or_none(200));
    let slow = if chance(random, 150) { random.u64(20..300) } else { 0 };
    let (delay, jitter) = (random.u64(0..60), random.u64(0..60));
    NetworkPlan { delay, jitter, loss, doubles, torn, slow }
}
