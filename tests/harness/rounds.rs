//! How often a proof does something, by chance and from the environment, and how far it is.

use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::needs::say;

/// How often progress is said.
const EVERY: Duration = Duration::from_secs(5);

/// So many rounds of something: few where nothing is said, as many as one likes by a variable.
pub struct Rounds {
    what: &'static str,
    pub count: u64,
    seed: u64,
    state: u64,
    start: Instant,
    said: Instant,
}

impl Rounds {
    /// The variable says how many; `FEDMSG_SEED` what chance begins with.
    pub fn new(what: &'static str, variable: &str, usual: u64) -> Rounds {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = number("FEDMSG_SEED").unwrap_or(now.as_nanos() as u64);
        let (count, start) = (number(variable).unwrap_or(usual), Instant::now());
        // Printed with what a failing test prints.
        eprintln!("{what}: {variable}={count} FEDMSG_SEED={seed}");
        Rounds { what, count, seed, state: seed, start, said: start }
    }

    /// A number below this one, by chance (splitmix64).
    pub fn chance(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }

    /// Says now and then how far it is, past the capture of the test runner.
    pub fn progress(&mut self, done: u64, so_far: &str) {
        if self.said.elapsed() > EVERY {
            self.said = Instant::now();
            self.tell(&format!("{done} of {}", self.count), so_far);
        }
    }

    /// Says what it came to.
    pub fn end(&self, result: &str) {
        self.tell(&self.count.to_string(), result);
    }

    fn tell(&self, rounds: &str, text: &str) {
        let (what, seed) = (self.what, self.seed);
        let seconds = self.start.elapsed().as_secs();
        say(&format!("{what}: {rounds} in {seconds} s, {text} (FEDMSG_SEED={seed})"));
    }
}

fn number<T: FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}
