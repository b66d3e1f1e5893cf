//! The command: many seeds, and what came of them.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use fedmsg_simulator::{Counts, Outcome, run};

/// Runs a whole bus in one thread for each seed, with everything that can go wrong, and judges what readers are told.
#[derive(Parser)]
#[command(name = "fedmsg-simulator", version)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many at the same time; as many as there are processors without this.
    #[arg(long)]
    jobs: Option<usize>,
    /// Runs this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "from", "jobs"])]
    only: Option<u64>,
    /// Writes everything that happens to stdout; for one seed.
    #[arg(long, requires = "only")]
    trace: bool,
    /// Ends with the first seed that is wrong.
    #[arg(long)]
    first: bool,
}

/// More wrong seeds than these end the run.
const WRONG_MAX: u64 = 20;

/// What all threads work on.
struct Shared {
    next: AtomicU64,
    end: u64,
    done: AtomicU64,
    wrong: AtomicU64,
    wrong_max: u64,
    stop: AtomicBool,
    counts: Mutex<Counts>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let start = Instant::now();
    let (from, seeds) = match options.only {
        Some(seed) => (seed, 1),
        None => (options.from, options.seeds),
    };
    let shared = Shared {
        next: AtomicU64::new(from),
        end: from.saturating_add(seeds),
        done: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
        wrong_max: if options.first { 1 } else { WRONG_MAX },
        stop: AtomicBool::new(false),
        counts: Mutex::default(),
    };
    let processors = thread::available_parallelism().map_or(1, |count| count.get());
    let jobs = options.jobs.unwrap_or(processors).clamp(1, 256);
    thread::scope(|scope| {
        let work = || shared.work(options.trace);
        let workers: Vec<_> = (0..jobs.min(seeds as usize)).map(|_| scope.spawn(work)).collect();
        if std::io::stderr().is_terminal() && !options.trace {
            while workers.iter().any(|worker| !worker.is_finished()) {
                thread::park_timeout(Duration::from_millis(200));
                shared.progress(seeds, start);
            }
            eprintln!();
        }
    });
    shared.sum_up(start)
}

impl Shared {
    /// Takes seeds until there are no more.
    fn work(&self, prints: bool) {
        let mut counts = Counts::default();
        while !self.stop.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                break;
            }
            let Outcome { violation, counts: more, .. } = run(seed, prints);
            counts.add(&more);
            self.done.fetch_add(1, Ordering::Relaxed);
            if let Some(why) = violation {
                say(&format!("seed {seed} is wrong: {why}"));
                say(&format!(
                    "  again: cargo run --release -p fedmsg-simulator -- --only {seed} --trace"
                ));
                if self.wrong.fetch_add(1, Ordering::Relaxed) + 1 >= self.wrong_max {
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
        }
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).add(&counts);
    }

    fn progress(&self, seeds: u64, start: Instant) {
        let (done, wrong) = (self.done.load(Ordering::Relaxed), self.wrong.load(Ordering::Relaxed));
        let rate = done as f64 / start.elapsed().as_secs_f64();
        let left = (seeds - done.min(seeds)) as f64 / rate.max(0.1);
        eprint!("\r{done} of {seeds} seeds, {rate:.0}/s, {wrong} wrong, {left:.0} s to go   ");
        std::io::stderr().flush().ok();
    }

    fn sum_up(&self, start: Instant) -> ExitCode {
        let (done, wrong) = (self.done.load(Ordering::Relaxed), self.wrong.load(Ordering::Relaxed));
        let (took, counts) = (start.elapsed().as_secs_f64(), self.counts.lock());
        let rate = done as f64 / took;
        say(&counts.unwrap_or_else(PoisonError::into_inner).to_string());
        say(&format!("{done} seeds in {took:.1} s, {rate:.0}/s: {wrong} wrong"));
        if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Whoever reads this may be gone.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}
