//! What goes wrong between the ends of a transport in memory.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How often things go wrong on the way to each subscriber: shares from 0 to 1.
///
/// All decisions come from the seed: the tenth frame from one endpoint to one subscriber has the same fate
/// in every run. The seed is printed when the faults are put into force, so that a failed test names it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Share of the frames that are lost.
    pub lose: f64,
    /// Share of the frames that arrive twice.
    pub double: f64,
    /// Share of the frames that are overtaken by later ones.
    pub reorder: f64,
    /// Longest time that a frame is on its way. Frames that are not overtaken keep their order.
    pub delay: Duration,
}

impl Faults {
    /// No faults, and this seed.
    pub fn seeded(seed: u64) -> Faults {
        Faults { seed, ..Faults::default() }
    }

    /// No faults, and a seed that is another one in each run.
    pub fn random() -> Faults {
        Faults::seeded(fastrand::u64(..))
    }
}

/// What happens to one frame.
pub(super) struct Fate {
    pub(super) copies: usize,
    pub(super) delay: Duration,
    /// So much later than its place in the order; nothing: in its place.
    pub(super) overtaken: Option<Duration>,
}

/// The faults of the way from one endpoint to one subscriber.
pub(super) struct Way {
    faults: Faults,
    random: fastrand::Rng,
}

impl Way {
    pub(super) fn new(faults: Faults, from: &str, to: u64) -> Way {
        let mut hash = DefaultHasher::new();
        (faults.seed, from, to).hash(&mut hash);
        Way { faults, random: fastrand::Rng::with_seed(hash.finish()) }
    }

    /// What happens to the next frame. Always takes the same number of random numbers, so that one share
    /// can be changed without changing what the others decide.
    pub(super) fn fate(&mut self) -> Fate {
        let Faults { lose, double, reorder, delay, .. } = self.faults;
        let mut share = || self.random.f64();
        let (lost, doubled, overtaken) = (share() < lose, share() < double, share() < reorder);
        let (delay, late) =
            (delay.mul_f64(share()), Duration::from_micros(20_000).mul_f64(share()));
        let copies = if lost { 0 } else { 1 + usize::from(doubled) };
        Fate { copies, delay, overtaken: overtaken.then_some(late) }
    }
}
