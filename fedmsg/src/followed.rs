//! The endpoints that a reader follows, and what follows from them. Pure.

use std::collections::BTreeMap;

use crate::config::EndpointEntry;
use crate::endpoint::Endpoint;
use crate::identity::{Identity, Slot, StreamName};
use crate::open::{Record, Verified};
use crate::repair::Holders;
use crate::stream::Keepers;

/// The endpoints that a reader follows, and what follows from them: who may carry what, and who holds what.
///
/// A stream of a slot is held, in this order, by the process of the slot, by the other processes of its
/// identity, by a relay on the same host, and by archives. One without a slot of its own, which came through
/// relays, is held by the processes of its identity, if it has any, by all relays that carry streams of others,
/// and by archives. Streams of who is not followed can only come through relays, too.
#[derive(Debug, Default)]
pub struct Followed {
    entries: BTreeMap<Identity, EndpointEntry>,
    /// Of each identity that is followed.
    own: BTreeMap<Identity, Own>,
    /// The addresses of relays and archives, once beginning with each of the relays: so the streams are spread
    /// over them.
    carried: Vec<Vec<Endpoint>>,
    /// Everybody who holds anything.
    all: Vec<Endpoint>,
}

/// Who holds the streams of an identity.
#[derive(Debug)]
struct Own {
    /// Once for each of its slots.
    slots: Vec<Vec<Endpoint>>,
    /// Those of no slot.
    unique: Vec<Endpoint>,
    /// Those who read the journals themselves.
    journals: Vec<Endpoint>,
}

impl Followed {
    /// These endpoints, and nobody else.
    pub fn new(entries: impl IntoIterator<Item = EndpointEntry>) -> Followed {
        let entries: Vec<_> = entries.into_iter().collect();
        Followed::among(entries.clone(), &entries)
    }

    /// These endpoints; what they do not send may be fetched from all that can be reached.
    pub fn among<'a>(
        entries: impl IntoIterator<Item = EndpointEntry>,
        reachable: impl IntoIterator<Item = &'a EndpointEntry>,
    ) -> Followed {
        let entries = entries.into_iter().map(|entry| (entry.identity.clone(), entry));
        let entries: BTreeMap<_, _> = entries.collect();
        let others = reachable.into_iter().filter(|entry| !entry.replay.is_empty());
        let (mut relays, mut archives) = (Vec::new(), Vec::new());
        for entry in others {
            if entry.archive {
                archives.extend(entry.replay.iter().cloned());
            } else if !entry.submit.is_empty() {
                relays.push(entry);
            }
        }
        let carriers: Vec<_> = relays.iter().filter(|relay| !relay.carries.is_empty()).collect();
        let carriers: Vec<_> = carriers.iter().flat_map(|relay| &relay.replay).cloned().collect();
        let carried = (0..carriers.len().max(1)).map(|first| {
            let mut turned = carriers.clone();
            turned.rotate_left(first);
            join(turned, &archives)
        });
        let carried: Vec<_> = carried.collect();
        let own = entries.values().map(|entry| {
            let of_host = relays.iter().filter(|relay| is_of_host(relay, entry));
            let of_host: Vec<_> = of_host.flat_map(|relay| &relay.replay).cloned().collect();
            let slots = (0..entry.replay.len().max(1)).map(|slot| {
                let mut replay = entry.replay.clone();
                // A process serves all journals of its host: whoever has another slot may help, too.
                if slot < replay.len() {
                    replay[..=slot].rotate_right(1);
                }
                join(join(replay, &of_host), &archives)
            });
            let slots = slots.collect();
            let unique = join(entry.replay.clone(), &carried[0]);
            let journals = join(entry.replay.clone(), &of_host);
            (entry.identity.clone(), Own { slots, unique, journals })
        });
        let own: BTreeMap<_, Own> = own.collect();
        let of_own = own.values().flat_map(|own| own.slots.iter().flatten().chain(&own.unique));
        let mut all: Vec<_> = of_own.chain(carried.iter().flatten()).cloned().collect();
        all.sort();
        all.dedup();
        Followed { entries, own, carried, all }
    }

    /// The endpoint of an identity, where it is followed.
    pub fn entry(&self, identity: &Identity) -> Option<&EndpointEntry> {
        self.entries.get(identity)
    }

    /// All endpoints.
    pub fn entries(&self) -> impl Iterator<Item = &EndpointEntry> {
        self.entries.values()
    }

    /// Whether somebody may have what does not come of a stream by itself; nothing where neither its service
    /// nor a relay is followed now.
    pub fn can_repair(&self, stream: &StreamName) -> Option<bool> {
        let is_held = !self.of(stream).is_empty();
        (is_held || self.entries.contains_key(stream.identity())).then_some(is_held)
    }

    /// Who may have what does not come of a stream by itself, where that is known.
    pub(crate) fn keepers(&self, stream: &StreamName) -> Option<Keepers> {
        let has_copies = || self.of(stream).iter().any(|holder| self.is_copy(stream, holder));
        Some(match self.can_repair(stream)? {
            false => Keepers::Nobody,
            true if has_copies() => Keepers::Copies,
            true => Keepers::Publisher,
        })
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
        match (self.own.get(stream.identity()), stream.slot()) {
            (Some(own), Slot::Index(index)) => {
                own.slots.get(usize::from(index)).unwrap_or(&own.slots[0])
            }
            (Some(own), Slot::Unique(_)) => &own.unique,
            (None, slot) => {
                let spread = match slot {
                    Slot::Unique(id) => id.as_u128() as usize,
                    Slot::Index(index) => usize::from(index),
                };
                self.carried.get(spread % self.carried.len().max(1)).map_or(&[], Vec::as_slice)
            }
        }
    }

    fn all(&self) -> Vec<Endpoint> {
        self.all.clone()
    }

    fn is_copy(&self, stream: &StreamName, holder: &Endpoint) -> bool {
        let own = self.own.get(stream.identity());
        own.is_none_or(|own| !own.journals.contains(holder))
    }
}

/// The first ones, and those of the others that are not among them.
fn join(mut first: Vec<Endpoint>, others: &[Endpoint]) -> Vec<Endpoint> {
    for other in others {
        if !first.contains(other) {
            first.push(other.clone());
        }
    }
    first
}

/// Whether a relay is on the host of an identity, whose journals it serves then.
fn is_of_host(relay: &EndpointEntry, entry: &EndpointEntry) -> bool {
    let host_of = |address: &Endpoint| address.host().map(str::to_owned);
    relay.identity != entry.identity
        && relay.replay.iter().any(|at| entry.publish.iter().any(|own| host_of(own) == host_of(at)))
}
