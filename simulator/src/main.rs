//! The command: runs many seeds.

fn main() {
    let from: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(0);
    let count: u64 = std::env::args().nth(2).and_then(|a| a.parse().ok()).unwrap_or(1);
    let prints = std::env::args().nth(3).is_some();
    let mut counts = fedmsg_simulator::Counts::default();
    let start = std::time::Instant::now();
    let mut bad = 0;
    for seed in from..from + count {
        let outcome = fedmsg_simulator::run(seed, prints);
        counts.add(&outcome.counts);
        if let Some(why) = outcome.violation {
            println!("{seed}: {why}");
            bad += 1;
        }
    }
    println!("{bad} wrong of {count}, {:?} each: {counts}", start.elapsed() / count as u32);
}
