//! Refused messages that may be accepted by now, and fetching them.

use std::collections::{BTreeMap, BTreeSet};

use crate::consumer::{Curable, Position, Refusal, Refused};
use crate::identity::StreamName;
use crate::limits::{CURE_AGAIN_MS, CURES_MAX, CURES_OF_STREAM_MAX, NOTES_MAX};

#[derive(Debug, Default)]
pub(super) struct Cures {
    /// Those that may be accepted, each with the time when it was asked for.
    waiting: BTreeMap<Position, Option<u64>>,
    /// Those that came, and are in the consumer's hands or being struck out.
    came: BTreeSet<Position>,
    /// Streams of which it is written down that their key is not known.
    notes: BTreeSet<StreamName>,
}

impl Cures {
    /// Takes what the store keeps, and gives back what needs no fetching: a stream whose key has come brings
    /// its messages by itself.
    pub(super) fn fill(
        &mut self,
        refusals: Vec<Refusal>,
        knows: impl Fn(&Refused) -> bool,
    ) -> Vec<Position> {
        self.waiting.clear();
        self.notes.clear();
        let mut over = Vec::new();
        for Refusal { refused, .. } in refusals {
            match refused.reason {
                Curable::UnknownKey if knows(&refused) => over.push(refused.position),
                Curable::UnknownKey => {
                    self.notes.insert(refused.position.stream);
                }
                _ if self.came.contains(&refused.position) => {}
                _ => {
                    self.waiting.insert(refused.position, None);
                }
            }
        }
        over
    }

    /// Whether a stream without a known key is to be written down: once for each, and not for any number of
    /// names that somebody makes up.
    pub(super) fn note(&mut self, stream: &StreamName) -> bool {
        self.notes.len() < NOTES_MAX && self.notes.insert(stream.clone())
    }

    /// Which are to be asked for now: few of each stream at a time, in their order.
    pub(super) fn fetches(&mut self, now: u64) -> Vec<Position> {
        let is_out = |at: &Option<u64>| at.is_some_and(|at| now < at.saturating_add(CURE_AGAIN_MS));
        let mut out = self.waiting.values().filter(|at| is_out(at)).count();
        let (mut of_stream, mut stream) = (0, None);
        let mut fetches = Vec::new();
        for (position, at) in &mut self.waiting {
            if stream != Some(&position.stream) {
                (stream, of_stream) = (Some(&position.stream), 0);
            }
            if out >= CURES_MAX {
                break;
            }
            if of_stream < CURES_OF_STREAM_MAX && !is_out(at) {
                *at = Some(now);
                out += 1;
                fetches.push(position.clone());
            }
            // Those that are on their way count, too.
            of_stream += 1;
        }
        fetches
    }

    /// One was fetched, and is still refused; says whether it was one of these.
    pub(super) fn refused(&mut self, position: &Position) -> bool {
        self.waiting.get(position).is_some_and(Option::is_some)
            && self.waiting.remove(position).is_some()
    }

    /// One was fetched, or nobody has it; says whether it was one of these.
    pub(super) fn came(&mut self, position: &Position) -> bool {
        let known = self.waiting.remove(position).is_some();
        if known {
            self.came.insert(position.clone());
        }
        known
    }

    /// One that came is to be fetched again.
    pub(super) fn again(&mut self, position: &Position) {
        if self.came.remove(position) {
            self.waiting.insert(position.clone(), None);
        }
    }

    /// The store has struck these out.
    pub(super) fn struck(&mut self, positions: &[Position]) {
        for position in positions {
            self.came.remove(position);
        }
    }
}
