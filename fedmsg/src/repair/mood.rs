//! Which holders answer.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::endpoint::Endpoint;
use crate::limits::{BLAME_MS, LIST_AGAIN_MS, RETRY_MS_MAX, RETRY_MS_MIN};

/// How it went with each holder that failed: the wait doubles from 0.1 s to 30 s, with full jitter, so that
/// those who lost it together do not come back together.
#[derive(Debug)]
pub(super) struct Moods {
    bad: BTreeMap<Endpoint, Mood>,
    random: Rng,
}

#[derive(Clone, Copy, Debug)]
struct Mood {
    failures: u32,
    until: u64,
    lied: bool,
}

impl Moods {
    pub(super) fn new(random: Rng) -> Moods {
        Moods { bad: BTreeMap::new(), random }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Endpoint) -> bool) {
        self.bad.retain(|holder, _| keep(holder));
    }

    /// Whether no holder has failed.
    pub(super) fn is_empty(&self) -> bool {
        self.bad.is_empty()
    }

    /// Whether a holder may be asked now.
    pub(super) fn allows(&self, holder: &Endpoint, now: u64) -> bool {
        self.bad.get(holder).is_none_or(|mood| mood.until <= now)
    }

    /// When a holder may be asked again, if it failed.
    pub(super) fn until(&self, holder: &Endpoint) -> Option<u64> {
        self.bad.get(holder).map(|mood| mood.until)
    }

    /// It answered: what was before is forgotten, except for a lie.
    pub(super) fn answered(&mut self, holder: &Endpoint) {
        if self.bad.get(holder).is_some_and(|mood| !mood.lied) {
            self.bad.remove(holder);
        }
    }

    /// It failed; when it may be asked again.
    pub(super) fn failed(&mut self, holder: &Endpoint, now: u64) -> u64 {
        let fresh = Mood { failures: 0, until: now, lied: false };
        let mood = self.bad.entry(holder.clone()).or_insert(fresh);
        let longest = (RETRY_MS_MIN << mood.failures.min(16)).min(RETRY_MS_MAX);
        mood.failures += 1;
        mood.until = mood.until.max(now + self.random.u64(RETRY_MS_MIN / 2..=longest));
        mood.until
    }

    /// When a holder is asked again which streams it has, by chance: readers that began together do not ask
    /// together for ever.
    pub(super) fn some_time_after(&mut self, now: u64) -> u64 {
        now + self.random.u64(LIST_AGAIN_MS * 3 / 4..=LIST_AGAIN_MS)
    }

    /// It gave what is not true.
    pub(super) fn blame(&mut self, holder: &Endpoint, now: u64) {
        let failures = self.bad.get(holder).map_or(0, |mood| mood.failures);
        self.bad.insert(holder.clone(), Mood { failures, until: now + BLAME_MS, lied: true });
    }

    /// There is a sign of life of it. `true` when it had failed.
    pub(super) fn forgive(&mut self, holder: &Endpoint) -> bool {
        match self.bad.get(holder) {
            Some(mood) if !mood.lied => {
                self.bad.remove(holder);
                true
            }
            _ => false,
        }
    }
}
