//! What a process uses, as Linux tells it.

use std::fs;
use std::time::Duration;

use super::Program;

/// What a process uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory that is really there (`VmRSS`), in KiB.
    pub memory_kb: u64,
    /// The most of it so far (`VmHWM`), in KiB.
    pub most_kb: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Time of processors that it took so far, in milliseconds.
    pub cpu_ms: u64,
}

impl Usage {
    /// Nothing where the system does not tell.
    pub fn of(program: &Program) -> Option<Usage> {
        let folder = format!("/proc/{}", program.id());
        let status = fs::read_to_string(format!("{folder}/status")).ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let descriptors = fs::read_dir(format!("{folder}/fd")).ok()?.count() as u64;
        let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
        // Behind the name, which may have blanks: user and system time are the 12th and the 13th word (proc(5)).
        let words = stat.rsplit_once(')')?.1.split_whitespace();
        let ticks: u64 = words.skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        let cpu_ms = ticks * 1_000 / rustix::param::clock_ticks_per_second();
        let (memory_kb, most_kb) = (number("VmRSS:")?, number("VmHWM:")?);
        Some(Usage { memory_kb, most_kb, descriptors, cpu_ms })
    }
}

/// How many descriptors a process may have, when it asks for all that it can get.
pub fn most_descriptors() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        most => most.parse().ok(),
    }
}

/// What one process used over time.
#[derive(Debug, Default)]
pub struct Watched {
    samples: Vec<(Duration, Usage)>,
}

impl Watched {
    /// Looks at it, so long after the beginning.
    pub fn look(&mut self, program: &Program, at: Duration) {
        self.samples.extend(Usage::of(program).map(|usage| (at, usage)));
    }

    /// The most memory in KiB, and the most descriptors, of the second third of the time and of the last one. The
    /// first third is for warming up. Nothing where the system does not tell.
    pub fn thirds(&self) -> Option<[(u64, u64); 2]> {
        let end = self.samples.last()?.0;
        let most = |from: Duration, to: Duration| {
            let within = self.samples.iter().filter(|(at, _)| *at > from && *at <= to);
            let used = within.map(|(_, usage)| (usage.memory_kb, usage.descriptors));
            used.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
        };
        Some([most(end / 3, end * 2 / 3)?, most(end * 2 / 3, end)?])
    }
}
