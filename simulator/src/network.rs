//! The network between processes that publish or relay and their peers, which are readers, relays that follow others
//! and producers: who is connected, what is lost and how long it takes. Each link keeps its order; different links do
//! not wait for each other.

use fastrand::Rng;

use crate::cast::{MACHINES, NODES, host_of};
use crate::plan::{NetworkPlan, Way, chance};

/// Messages that a slow link has room for.
const SLOW_LINK_MESSAGES: u64 = 8;

/// All links.
#[derive(Debug)]
pub struct Network {
    plan: NetworkPlan,
    readers: Vec<Links>,
    healed: bool,
}

#[derive(Clone, Debug, Default)]
struct Links {
    /// Until when each way to a host is cut.
    messages_cut: [u64; MACHINES],
    replay_cut: [u64; MACHINES],
    /// A connection to each process: whether it is there, and its number.
    connected: [Option<u64>; NODES],
    made: u64,
    /// When the last thing arrives that is on its way.
    arrival: [u64; NODES],
    answer: [u64; NODES],
}

impl Network {
    pub fn new(plan: NetworkPlan, readers: usize) -> Network {
        Network { plan, readers: vec![Links::default(); readers], healed: false }
    }

    /// From now on nothing is lost any more.
    pub fn heal(&mut self) {
        self.healed = true;
        for links in &mut self.readers {
            (links.messages_cut, links.replay_cut) = ([0; MACHINES], [0; MACHINES]);
        }
    }

    /// Cuts a way until a time; connections are gone.
    pub fn cut(&mut self, host: usize, reader: usize, way: Way, until: u64) {
        let links = &mut self.readers[reader];
        if way != Way::Replay {
            links.messages_cut[host] = links.messages_cut[host].max(until);
            for worker in (0..NODES).filter(|worker| host_of(*worker) == host) {
                links.connected[worker] = None;
            }
        }
        if way != Way::Messages {
            links.replay_cut[host] = links.replay_cut[host].max(until);
        }
    }

    pub fn is_cut(&self, host: usize, reader: usize, now: u64) -> bool {
        now < self.readers[reader].messages_cut[host]
    }

    pub fn is_connected(&self, worker: usize, reader: usize) -> bool {
        self.readers[reader].connected[worker].is_some()
    }

    pub fn connect(&mut self, worker: usize, reader: usize) {
        let links = &mut self.readers[reader];
        links.made += 1;
        links.connected[worker] = Some(links.made);
    }

    pub fn disconnect(&mut self, worker: usize, reader: usize) {
        self.readers[reader].connected[worker] = None;
    }

    /// When a message arrives, each copy of it; never when it is lost.
    pub fn send(&mut self, worker: usize, reader: usize, now: u64, random: &mut Rng) -> Vec<u64> {
        let plan = self.plan;
        let links = &mut self.readers[reader];
        if links.connected[worker].is_none() {
            return Vec::new();
        }
        if !self.healed && chance(random, plan.loss) {
            return Vec::new();
        }
        let slow = if self.healed || reader > 0 { 0 } else { plan.slow };
        let arrival = &mut links.arrival[worker];
        if slow > 0 && *arrival > now + slow * SLOW_LINK_MESSAGES {
            return Vec::new();
        }
        let copies = 1 + usize::from(!self.healed && chance(random, plan.doubles));
        let mut times = Vec::with_capacity(copies);
        for _ in 0..copies {
            let earliest = now + plan.delay + random.u64(0..=plan.jitter);
            *arrival = earliest.max(*arrival + slow);
            times.push(*arrival);
        }
        times
    }

    /// How long a request takes to its holder; nothing when the way is cut.
    pub fn ask(&self, worker: usize, reader: usize, now: u64, random: &mut Rng) -> Option<u64> {
        let open = now >= self.readers[reader].replay_cut[host_of(worker)];
        open.then(|| now + self.plan.delay + random.u64(0..=self.plan.jitter))
    }

    /// When a part of an answer arrives; nothing when the way is cut.
    pub fn answer(
        &mut self,
        worker: usize,
        reader: usize,
        now: u64,
        random: &mut Rng,
    ) -> Option<u64> {
        let at = self.ask(worker, reader, now, random)?;
        let answer = &mut self.readers[reader].answer[worker];
        *answer = at.max(*answer);
        Some(*answer)
    }

    /// Whether an answer breaks off.
    pub fn is_torn(&self, random: &mut Rng) -> bool {
        !self.healed && chance(random, self.plan.torn)
    }
}
