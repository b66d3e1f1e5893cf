//! The endpoints that a reader follows, and what follows from them. Pure.

use std::collections::BTreeMap;

use crate::config::EndpointEntry;
use crate::endpoint::Endpoint;
use crate::identity::{Identity, Slot, StreamName};
use crate::open::{Record, Verified};
use crate::repair::Holders;

/// The endpoints that a reader follows, and what follows from them: who may carry what, and who holds what.
#[derive(Debug, Default)]
pub struct Followed {
    entries: BTreeMap<Identity, EndpointEntry>,
    /// The replay addresses of each identity, once for each of its slots: the slot's own first.
    holders: BTreeMap<Identity, Vec<Vec<Endpoint>>>,
}

impl Followed {
    /// These endpoints.
    pub fn new(entries: impl IntoIterator<Item = EndpointEntry>) -> Followed {
        let entries = entries.into_iter().map(|entry| (entry.identity.clone(), entry));
        let entries: BTreeMap<_, _> = entries.collect();
        let holders = entries.iter().map(|(identity, entry)| {
            let slots = entry.replay.len().max(1);
            let turned = |slot: usize| {
                let mut replay = entry.replay.clone();
                // A process serves all journals of its host: whoever has another slot may help, too.
                if slot < replay.len() {
                    replay[..=slot].rotate_right(1);
                }
                replay
            };
            (identity.clone(), (0..slots).map(turned).collect())
        });
        let holders = holders.collect();
        Followed { entries, holders }
    }

    /// The endpoint of an identity, where it is followed.
    pub fn entry(&self, identity: &Identity) -> Option<&EndpointEntry> {
        self.entries.get(identity)
    }

    /// All endpoints.
    pub fn entries(&self) -> impl Iterator<Item = &EndpointEntry> {
        self.entries.values()
    }

    /// Whether somebody may have what does not come of a stream by itself; nothing where its service is not
    /// followed now.
    pub fn can_repair(&self, stream: &StreamName) -> Option<bool> {
        self.entries.get(stream.identity()).map(|entry| !entry.replay.is_empty())
    }

    /// An endpoint sends its own streams, and others only as far as `carries` says.
    pub(crate) fn may_carry(&self, verified: &Verified, endpoint: &Identity) -> bool {
        if verified.signer() == endpoint {
            return true;
        }
        let Some(entry) = self.entries.get(endpoint) else { return false };
        match verified.record() {
            Record::Message => {
                let topic = verified.topic().as_str();
                entry.carries.iter().any(|pattern| pattern.matches(topic))
            }
            // What a stream says of itself goes with its messages.
            Record::Genesis(_) | Record::Heartbeat(_) => !entry.carries.is_empty(),
        }
    }
}

impl Holders for Followed {
    fn of(&self, stream: &StreamName) -> &[Endpoint] {
        let Some(slots) = self.holders.get(stream.identity()) else { return &[] };
        let slot = match stream.slot() {
            Slot::Index(index) => usize::from(index),
            Slot::Unique(_) => 0,
        };
        slots.get(slot).or(slots.first()).map_or(&[], Vec::as_slice)
    }

    fn all(&self) -> Vec<Endpoint> {
        let mut all: Vec<_> =
            self.entries.values().flat_map(|entry| &entry.replay).cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}
