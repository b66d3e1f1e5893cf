//! What is known of relays: what each has said to be stored, and what it has shown.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use fedmsg::envelope::Wire;
use fedmsg::frames::Reply;
use fedmsg::merkle::Leaf;
use fedmsg::open::Opener;
use fedmsg::stored;
use fedmsg::trust::Trust;

use super::{Position, Verdict, name};
use crate::cast::{Cast, HOSTS, Known, RELAYS};

/// What has happened to the log of a relay that nobody can make good.
#[derive(Clone, Copy, Debug, Default)]
pub struct RelayFate {
    /// It was put back to an earlier state, or to none.
    pub set_back: bool,
    /// Some of it may be unreadable: damage, or retention.
    pub destroyed: bool,
}

/// What relays have said, and everything that somebody has signed who may.
pub(super) struct Ledger {
    /// Every envelope that was signed, with its topic, and where it stands if it is a record of a stream that is judged.
    originals: HashMap<Bytes, (Bytes, Option<(Position, Leaf)>)>,
    /// What each relay has shown, or said to be stored.
    promised: [BTreeSet<(Position, [u8; 32])>; RELAYS],
    /// Messages that each has shown in this life.
    shown: [BTreeSet<Position>; RELAYS],
    pub(super) fates: [RelayFate; RELAYS],
    opener: Opener,
    trust: std::sync::Arc<Trust>,
}

impl Ledger {
    pub(super) fn new() -> Ledger {
        let trust = Cast::get().trust(&[Known::ALL; HOSTS]);
        Ledger {
            originals: HashMap::new(),
            promised: Default::default(),
            shown: Default::default(),
            fates: Default::default(),
            opener: Opener::new(trust.clone()),
            trust,
        }
    }

    /// Somebody has signed a message.
    pub(super) fn sealed(&mut self, position: Position, wire: &Wire, leaf: Leaf) {
        let known = (wire.topic.clone(), Some((position, leaf)));
        self.originals.insert(wire.envelope.clone(), known);
    }

    /// Somebody has signed a genesis record or a heartbeat.
    pub(super) fn said(&mut self, wire: &Wire) {
        if self.originals.contains_key(&wire.envelope) {
            return;
        }
        let verified = self.opener.open(wire).expect("what is said here is signed by who may");
        let place = verified.place();
        let is_genesis = place.kind == fedmsg::envelope::Kind::Genesis;
        let worker = Cast::get().worker_of(verified.stream()).filter(|_| is_genesis);
        let at = worker.map(|worker| ((worker, place.epoch, 0), place.leaf));
        self.originals.insert(wire.envelope.clone(), (wire.topic.clone(), at));
    }

    /// Where a record stands that somebody has signed, if it is of a stream that is judged.
    pub(super) fn place_of(&self, wire: &Wire) -> Option<Option<(Position, Leaf)>> {
        self.originals.get(&wire.envelope).map(|(_, place)| *place)
    }

    /// A relay begins another life.
    pub(super) fn began(&mut self, relay: usize) {
        self.shown[relay].clear();
    }

    /// A relay has shown something to its readers.
    pub(super) fn published(&mut self, relay: usize, wire: &Wire) -> Verdict {
        let Some((topic, at)) = self.originals.get(&wire.envelope) else {
            return Err(format!("relay {relay} published what nobody signed"));
        };
        if *topic != wire.topic {
            return Err(format!("relay {relay} published something under another topic"));
        }
        let Some((position, leaf)) = *at else { return Ok(()) };
        self.promised[relay].insert((position, leaf.0));
        // What opens an epoch is shown to each new reader.
        let is_again = position.2 > 0 && !self.shown[relay].insert(position);
        // What is damaged is not there any more, and is taken once more.
        if is_again && !self.fates[relay].destroyed {
            return Err(format!("relay {relay} published {} twice", name(position)));
        }
        Ok(())
    }

    /// A relay has answered a producer.
    pub(super) fn answered(&mut self, relay: usize, messages: &[Wire], reply: &Reply) -> Verdict {
        let Reply::Stored { span, receipt } = reply else { return Ok(()) };
        let all = messages.get(span.at as usize..(span.at + span.count) as usize);
        let of = all.ok_or_else(|| format!("relay {relay} stored what it was not given"))?;
        let mut leaves = Vec::with_capacity(of.len());
        for wire in of {
            let Some((_, Some((position, leaf)))) = self.originals.get(&wire.envelope) else {
                return Err(format!("relay {relay} stored what nobody signed"));
            };
            self.promised[relay].insert((*position, leaf.0));
            leaves.push(*leaf);
        }
        match stored::verify(receipt, &leaves, &self.trust.keys) {
            Ok(who) if who == Cast::get().relays[relay].identity => Ok(()),
            Ok(who) => Err(format!("relay {relay} signs as {who}")),
            Err(error) => Err(format!("a receipt of relay {relay} is void: {error}")),
        }
    }

    /// Whether a relay has what it has promised.
    pub(super) fn holds(
        &self,
        relay: usize,
        has: &mut dyn FnMut(Position) -> Option<Leaf>,
    ) -> Verdict {
        let RelayFate { set_back, destroyed } = self.fates[relay];
        if set_back || destroyed {
            return Ok(());
        }
        for (position, leaf) in &self.promised[relay] {
            if has(*position).map(|leaf| leaf.0) != Some(*leaf) {
                let position = name(*position);
                return Err(format!("relay {relay} does not have {position}, which it stored"));
            }
        }
        Ok(())
    }
}
