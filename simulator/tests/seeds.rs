//! A share of the seeds. Many more: `cargo run --release -p fedmsg-simulator -- --seeds 500000`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fedmsg_simulator::{Counts, run};

/// How many seeds: `FEDMSG_SEEDS`, or enough for half a minute of an unoptimised build on two processors.
fn seeds() -> u64 {
    let text = std::env::var("FEDMSG_SEEDS").ok();
    text.map_or(1_500, |text| text.parse().expect("FEDMSG_SEEDS is a number"))
}

#[test]
fn nothing_is_lost_in_silence_whatever_fails() {
    let (next, end) = (AtomicU64::new(0), seeds());
    let work = || {
        let mut counts = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return counts;
            }
            let outcome = run(seed, false);
            if let Some(why) = outcome.violation {
                panic!(
                    "seed {seed}: {why}; cargo run --release -p fedmsg-simulator -- --only {seed} --trace"
                );
            }
            counts.add(&outcome.counts);
        }
    };
    let counts = thread::scope(|scope| {
        let jobs = thread::available_parallelism().map_or(1, |count| count.get());
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let mut all = Counts::default();
        for worker in workers {
            all.add(&worker.join().expect("every seed is right"));
        }
        all
    });
    println!("{end} seeds: {counts}");
    // A simulator in which nothing happens proves nothing.
    if end >= 1_000 {
        for (name, count) in counts.named() {
            assert!(count > 0, "no {name} in {end} seeds");
        }
    }
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    let mut traces = Vec::new();
    for seed in 0..40 {
        let (first, again) = (run(seed, false), run(seed, false));
        assert_eq!(
            (first.trace, first.took, first.counts),
            (again.trace, again.took, again.counts)
        );
        traces.push(first.trace);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 40, "each seed is a run of its own");
}
