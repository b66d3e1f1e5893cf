//! What others show a publisher of its own stream: that it was set back, by a restored snapshot or backup, or
//! that somebody else writes the stream, too.
//!
//! Whoever knows such a record puts it to the publisher's replay address. Nobody is trusted for that: the record
//! is one that was signed for this stream, and that is all that counts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::InForce;
use crate::clock::Clock;
use crate::envelope::{Epoch, Kind, Wire};
use crate::holder::{Absent, Part};
use crate::identity::StreamName;
use crate::journal::Mark;
use crate::limits::{RENEWAL_MS, RENEWALS_BURST, RENEWALS_CALM_MS, SHOWN_BURST, SHOWN_PER_SECOND};
use crate::merkle::Leaf;
use crate::open::{Opener, Place};
use crate::rejection::Rejection;
use crate::replay::Shelf;
use crate::signing::Cut;
use crate::transport::Wake;

/// Looks at records that are put to a publisher, and keeps what tells it something new.
pub(super) struct Witness {
    pub(super) stream: StreamName,
    pub(super) config: InForce,
    pub(super) shelf: Arc<Shelf>,
    pub(super) mark: Mark,
    pub(super) waker: Arc<dyn Wake>,
    pub(super) clock: Clock,
    pub(super) state: Mutex<State>,
}

/// What changes with each record.
#[derive(Default)]
pub(super) struct State {
    opener: Option<Opener>,
    looks: Looks,
    shown: Option<Shown>,
}

/// A record of this stream that the publisher does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number; a heartbeat's is that of the last message that it knows.
    pub i: u64,
    /// Its leaf, or that of this message.
    pub leaf: Leaf,
}

impl Shown {
    /// What a record of this place shows.
    pub fn new(place: Place) -> Shown {
        let Place { kind, epoch, i, prev, leaf } = place;
        let leaf = if kind == Kind::Heartbeat { prev } else { leaf };
        Shown { epoch, i, leaf }
    }

    /// Whether it is of a later epoch than that of the stream's end, beyond its last number, or another one
    /// than that at its number. Nothing is new of epochs that have ended.
    pub fn is_news(
        &self,
        end: Option<(Epoch, u64)>,
        leaf_at: impl FnOnce(Epoch, u64) -> Option<Leaf>,
    ) -> bool {
        let Shown { epoch, i, leaf } = *self;
        match end {
            None => false,
            Some((current, _)) if epoch != current => epoch > current,
            Some((_, last)) if i > last => true,
            // What is gone or cannot be read proves nothing.
            Some(_) => leaf_at(epoch, i).is_some_and(|known| known != leaf),
        }
    }
}

impl Witness {
    /// Whether this record tells the publisher something: then it is woken.
    pub(super) fn take_in(&self, wire: &Wire) -> bool {
        let own = Cut::new(&wire.envelope).is_ok_and(|cut| cut.stream == self.stream.as_str());
        let Some(shown) = own.then(|| self.open(wire)).flatten() else { return false };
        if !self.is_news(&shown) {
            return false;
        }
        let mut state = self.state();
        state.shown = state.shown.max(Some(shown));
        drop(state);
        self.waker.wake();
        true
    }

    /// What was shown last and is still news.
    pub(super) fn shown(&self) -> Option<Shown> {
        let shown = self.state().shown?;
        // The stream may have gone on since then, in another epoch even.
        let shown = Some(shown).filter(|shown| self.is_news(shown));
        if shown.is_none() {
            self.state().shown = None;
        }
        shown
    }

    /// The place of a record that was signed for this stream; a heartbeat's is that of the last message that
    /// it knows.
    fn open(&self, wire: &Wire) -> Option<Shown> {
        let trust = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner).trust);
        let mut state = self.state();
        if !state.looks.take(self.clock.millis()) {
            return None;
        }
        let opener = state.opener.get_or_insert_with(|| Opener::new(Arc::clone(&trust)));
        if !Arc::ptr_eq(opener.trust(), &trust) {
            opener.set_trust(trust);
        }
        let (stream, place) = match opener.open(wire) {
            Ok(verified) => (verified.stream().clone(), *verified.place()),
            // What the policy forbids by now was signed all the same, and has its place.
            Err(refused) => match (refused.reason, refused.stream, refused.place) {
                (Rejection::Policy, Some(stream), Some(place)) => (stream, place),
                _ => return None,
            },
        };
        // Above the highest name there is no room for another epoch.
        let has_next = place.epoch.uuid().as_u128() < u128::MAX;
        (stream == self.stream && has_next).then_some(Shown::new(place))
    }

    fn is_news(&self, shown: &Shown) -> bool {
        shown.is_news(self.mark.get(), |epoch, i| self.leaf_at(epoch, i).ok().flatten())
    }

    fn leaf_at(&self, epoch: Epoch, i: u64) -> Result<Option<Leaf>, Absent> {
        let (from, to) = (i, i);
        let batch = self.shelf.read(&self.stream, Part { epoch, from, to }, 1, 0)?;
        Ok(batch.entries.first().and_then(|entry| entry.body.leaf()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many records are looked at: each costs a signature's verification, and anybody who reaches the socket
/// can put garbage.
#[derive(Debug)]
struct Looks {
    /// In thousandths.
    left: u64,
    at: u64,
}

impl Default for Looks {
    fn default() -> Looks {
        Looks { left: SHOWN_BURST * 1_000, at: 0 }
    }
}

impl Looks {
    fn take(&mut self, now: u64) -> bool {
        let more = now.saturating_sub(self.at).saturating_mul(SHOWN_PER_SECOND);
        self.left = self.left.saturating_add(more).min(SHOWN_BURST * 1_000);
        self.at = self.at.max(now);
        let has = self.left >= 1_000;
        if has {
            self.left -= 1_000;
        }
        has
    }
}

/// When a publisher may begin a new epoch because of what it was shown: a few times at once, then once a
/// minute. Two clones of one machine would otherwise show each other later and later epochs without end.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    /// The last ones, oldest first.
    at: VecDeque<u64>,
    /// Whether it was said that there are too many.
    said: bool,
}

impl Renewals {
    /// Whether one more is allowed now, in milliseconds; it is not counted yet.
    pub(super) fn is_allowed(&mut self, now: u64) -> bool {
        // After a calm hour it starts from the beginning.
        if self.at.back().is_some_and(|last| now >= last + RENEWALS_CALM_MS) {
            self.at.clear();
        }
        let is_full = self.at.len() >= RENEWALS_BURST;
        !is_full || self.at.back().is_none_or(|last| now >= last + RENEWAL_MS)
    }

    /// One was done.
    pub(super) fn done(&mut self, now: u64) {
        if self.at.len() >= RENEWALS_BURST {
            self.at.pop_front();
        }
        self.at.push_back(now);
        self.said = false;
    }

    /// Whether it is to be said that there are too many: once, until there is another one.
    pub(super) fn is_to_be_said(&mut self) -> bool {
        !std::mem::replace(&mut self.said, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_looked_at_so_often_and_no_more() {
        let mut looks = Looks::default();
        let count =
            |looks: &mut Looks, now| (0..SHOWN_BURST * 2).filter(|_| looks.take(now)).count();
        assert_eq!(count(&mut looks, 5), SHOWN_BURST as usize);
        assert_eq!(count(&mut looks, 1_005), SHOWN_PER_SECOND as usize);
        assert_eq!(count(&mut looks, 10_000_000), SHOWN_BURST as usize);
    }

    #[test]
    fn two_clones_do_not_renew_without_end() {
        let mut renewals = Renewals::default();
        let mut done = 0;
        let mut try_at = |renewals: &mut Renewals, now| {
            let allowed = renewals.is_allowed(now);
            if allowed {
                renewals.done(now);
                done += 1;
            }
            allowed
        };
        for now in 0..1_000 {
            try_at(&mut renewals, now);
        }
        assert!(!try_at(&mut renewals, 999 + RENEWAL_MS - 1_000));
        assert!(try_at(&mut renewals, RENEWALS_BURST as u64 + RENEWAL_MS));
        assert!(!try_at(&mut renewals, RENEWALS_BURST as u64 + RENEWAL_MS + 1));
        let calm = 2 * RENEWALS_CALM_MS;
        assert!((0..RENEWALS_BURST as u64).all(|n| try_at(&mut renewals, calm + n)));
        assert!(!try_at(&mut renewals, calm + 10));
        assert_eq!(done, 2 * RENEWALS_BURST + 1);
    }
}
