//! What a reader counts: what came, what came twice, when, and how late.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::roles::now;

pub(super) struct Tally {
    seen: Vec<Vec<bool>>,
    expected: u64,
    pub(super) received: u64,
    pub(super) rejected: u64,
    duplicates: u64,
    first: u64,
    last: u64,
    sizes: (usize, usize),
    delays: Vec<u64>,
}

/// What a reader tells at its end. Times in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counted {
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) duplicates: u64,
    pub(super) rejected: u64,
    /// Messages a second, from the first to the last.
    pub(super) rate: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// The same for the first and for the last third: a delay that grows shows here.
    pub(super) p99_first: f64,
    pub(super) p99_last: f64,
    /// The mean length of the frames.
    pub(super) topic: usize,
    pub(super) envelope: usize,
}

impl Tally {
    pub(super) fn new(publishers: usize, messages: u64) -> Tally {
        let count = usize::try_from(messages).unwrap_or(usize::MAX);
        Tally {
            seen: vec![vec![false; count]; publishers],
            expected: messages * publishers as u64,
            received: 0,
            rejected: 0,
            duplicates: 0,
            first: 0,
            last: 0,
            sizes: (0, 0),
            delays: Vec::with_capacity(count * publishers),
        }
    }

    pub(super) fn count(&mut self, s: usize, n: u64, t: u64, sizes: (usize, usize)) {
        let place = usize::try_from(n).ok().and_then(|n| self.seen.get_mut(s)?.get_mut(n));
        let Some(seen) = place else { return };
        if std::mem::replace(seen, true) {
            self.duplicates += 1;
            return;
        }
        self.last = now();
        if self.received == 0 {
            self.first = self.last;
        }
        self.received += 1;
        self.delays.push(self.last.saturating_sub(t));
        self.sizes.0 += sizes.0;
        self.sizes.1 += sizes.1;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.received >= self.expected
    }

    pub(super) fn result(&self) -> Counted {
        let third = self.delays.len() / 3;
        let count = usize::try_from(self.received).unwrap_or(usize::MAX).max(1);
        let seconds = self.last.saturating_sub(self.first).max(1) as f64 / 1e9;
        Counted {
            received: self.received,
            lost: self.expected - self.received,
            duplicates: self.duplicates,
            rejected: self.rejected,
            rate: self.received.saturating_sub(1) as f64 / seconds,
            p50: micros(&self.delays, 0.5),
            p99: micros(&self.delays, 0.99),
            p99_first: micros(&self.delays[..third], 0.99),
            p99_last: micros(&self.delays[self.delays.len() - third..], 0.99),
            topic: self.sizes.0 / count,
            envelope: self.sizes.1 / count,
        }
    }
}

/// In microseconds.
fn micros(delays: &[u64], part: f64) -> f64 {
    quantile(delays, part) as f64 / 1e3
}

/// The value below which this part of the values is.
pub(super) fn quantile<T: Copy + PartialOrd + Default>(values: &[T], part: f64) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(|one, other| one.partial_cmp(other).unwrap_or(Ordering::Equal));
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_duplicates_are_told_apart() {
        let mut tally = Tally::new(2, 2);
        for (s, n) in [(0, 0), (0, 0), (1, 1), (5, 0), (0, 9)] {
            tally.count(s, n, now(), (10, 20));
        }
        let counted = tally.result();
        assert_eq!((counted.received, counted.lost, counted.duplicates), (2, 2, 1));
        assert_eq!((counted.topic, counted.envelope), (10, 20));
    }
}
