//! What a seed decides of relays: how many there are, what each carries and follows, and what goes wrong with them.
//! From a source of chance of its own, so that seeds without relays are the runs that they were before.

use fastrand::Rng;
use fedmsg::log::Settings;
use fedmsg::topic::Pattern;

use super::{DAY, Fault, Plan, Rogue, START, Way, chance, jump};
use crate::cast::{RELAYS, SLOTS, WORKERS, host_of, node_of};

/// Runs with relays, of a thousand.
const SHARE: u32 = 420;
/// Kinds of faults that relays have.
const KINDS: usize = 14;

/// A relay.
#[derive(Clone, Debug)]
pub struct RelayPlan {
    pub carries: Carries,
    pub is_archive: bool,
    /// The relays that it follows, where it is no archive.
    pub follows: Vec<usize>,
}

/// What a relay carries of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    Everything,
    /// One topic of two: it holds streams in part.
    Things,
    /// It stores, and publishes nothing.
    Nothing,
}

impl Carries {
    pub fn patterns(self) -> Vec<Pattern> {
        let text = match self {
            Carries::Everything => "org.example.dev.>",
            Carries::Things => "org.example.dev.*.thing.*",
            Carries::Nothing => return Vec::new(),
        };
        vec![Pattern::policy(text).expect("a pattern")]
    }
}

/// Relays, and what their logs keep.
pub(super) fn relays(seed: u64) -> (Vec<RelayPlan>, Settings, Rng) {
    let mut random = Rng::with_seed(seed ^ 0x7e1a_7e1a);
    let r = &mut random;
    let count = if chance(r, SHARE) { r.usize(1..=RELAYS) } else { 0 };
    let relays = (0..count).map(|relay| one(relay, count, r)).collect();
    let settings = log(r);
    (relays, settings, random)
}

/// The first relay carries everything: somebody has to.
fn one(relay: usize, count: usize, r: &mut Rng) -> RelayPlan {
    let mut follows: Vec<usize> = (0..count).filter(|other| *other != relay && r.bool()).collect();
    if chance(r, 400) {
        follows.clear();
    }
    let carries = match r.usize(0..6) {
        _ if relay == 0 => Carries::Everything,
        0 | 1 => Carries::Things,
        2 => Carries::Nothing,
        _ => Carries::Everything,
    };
    let is_archive = carries == Carries::Nothing || chance(r, 350);
    RelayPlan { carries, is_archive, follows }
}

fn log(r: &mut Rng) -> Settings {
    let segment_bytes = [4_096, 16_384, 1 << 20][r.usize(0..3)];
    let segment_ms = [3_000, 3_600_000][r.usize(0..2)];
    let (mut keep_bytes, mut keep_ms) = (1 << 30, 7 * DAY as u64);
    match r.usize(0..10) {
        0 => keep_bytes = r.u64(8_192..60_000),
        1 => keep_ms = r.u64(5_000..20_000),
        _ => {}
    }
    Settings { segment_bytes, segment_ms, keep_bytes, keep_ms }
}

impl Plan {
    /// Whether there are two topics, because somebody carries but one.
    pub fn has_two_topics(&self) -> bool {
        self.relays.iter().any(|relay| relay.carries == Carries::Things)
    }

    /// The relays that producers put their messages to.
    pub fn carriers(&self) -> impl Iterator<Item = usize> {
        let carries = |relay: &usize| self.relays[*relay].carries != Carries::Nothing;
        (0..self.relays.len()).filter(carries)
    }

    /// Some processes with endpoints, and producers behind the relays.
    pub(super) fn choose_writers(&mut self, r: &mut Rng) {
        if self.relays.is_empty() {
            return;
        }
        self.workers.truncate(r.usize(0..=2));
        if chance(r, 900) || self.workers.is_empty() {
            self.workers.push(WORKERS);
        }
        if chance(r, 400) {
            self.workers.push(WORKERS + 1);
        }
        for replay in &mut self.replay {
            replay.retain(|worker| self.workers.contains(worker));
        }
    }

    /// What goes wrong with relays, and with the ways to them.
    pub(super) fn faults_of_relays(&mut self, r: &mut Rng) {
        if self.relays.is_empty() {
            return;
        }
        let kinds: Vec<usize> = (0..KINDS).filter(|_| chance(r, 280)).collect();
        for kind in kinds {
            for _ in 0..r.usize(1..=3) {
                let at = r.u64(START + 500..self.heal);
                if let Some(fault) = self.fault_of_relay(kind, r) {
                    self.faults.push((at, fault));
                }
            }
        }
    }

    fn fault_of_relay(&self, kind: usize, r: &mut Rng) -> Option<Fault> {
        let relay = r.usize(0..self.relays.len());
        let node = node_of(relay);
        let host = host_of(node);
        let (down, lasts) = (r.u64(100..6_000), r.u64(200..8_000));
        let calls = if r.bool() { 0 } else { r.u64(0..40) };
        Some(match kind {
            0 | 1 => Fault::PowerCut { host, calls, down },
            2 => Fault::Kill { worker: node, shows: r.u64(0..12), down },
            3 => Fault::Stop { worker: node, down },
            4 => Fault::DiskError { host, calls, kind: r.u8(0..3), lasts: lasts * r.u64(0..2) },
            5 => Fault::DiskFull { host, room: r.u64(0..4_000), lasts },
            6 | 7 => {
                let way = [Way::Both, Way::Messages, Way::Replay][r.usize(0..3)];
                // Readers, relays that follow, producers.
                let following = self.readers.len() + self.relays.len();
                let peer = r.usize(0..following + SLOTS);
                let beyond = if peer >= following { RELAYS - self.relays.len() } else { 0 };
                let reader = peer + beyond;
                // Of those that follow, also the ways to processes with endpoints.
                let worker = self.workers[r.usize(0..self.workers.len())];
                let host = if chance(r, 250) { host_of(worker) } else { host };
                Fault::Partition { host, reader, way, lasts }
            }
            8 => Fault::HostClock { host, by: jump(r) },
            9 if chance(r, 600) => Fault::Damage { host },
            10 if chance(r, 500) => Fault::Wipe { host, down },
            11 if chance(r, 500) => Fault::Restore { host, down },
            12 => self.gone(relay, r)?,
            13 => {
                let all = [Rogue::Changed, Rogue::Stranger, Rogue::Neighbour, Rogue::Unallowed];
                Fault::Rogue { relay, rogue: all[r.usize(0..all.len())] }
            }
            _ => return None,
        })
    }

    /// A relay goes for good, with its disk, where another one carries everything.
    fn gone(&self, relay: usize, r: &mut Rng) -> Option<Fault> {
        let is_whole = |other: &usize| self.relays[*other].carries == Carries::Everything;
        let other = (0..self.relays.len()).filter(|other| *other != relay).any(|o| is_whole(&o));
        (other && chance(r, 500)).then_some(Fault::Retire { worker: node_of(relay) })
    }
}
