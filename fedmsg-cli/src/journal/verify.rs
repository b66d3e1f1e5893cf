//! What the configuration says of the records of a journal: signatures and policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::open::Opener;
use fedmsg::rejection::Rejection;
use fedmsg::trust::Trust;
use fedmsg::{KeyId, StreamName};

/// Kinds of refusals that are told apart; what is beyond goes to those that name no key.
const KINDS_MAX: usize = 1_000;

/// What a refusal says of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    /// It is not what its publisher signed.
    Altered,
    /// It may be good, but this host does not trust its key, or not for its time.
    Key,
    /// It is what its publisher signed, who may not publish it here.
    Policy,
}

impl Grade {
    pub(super) fn of(reason: Rejection) -> Grade {
        match reason {
            Rejection::UnknownKey
            | Rejection::RevokedKey
            | Rejection::KeyNotYetValid
            | Rejection::KeyExpired => Grade::Key,
            Rejection::Policy => Grade::Policy,
            _ => Grade::Altered,
        }
    }
}

/// Records that were refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) count: u64,
    /// Where the first of them stands.
    pub(super) first: (Epoch, u64),
}

/// Opens the records of one stream, and counts.
pub(super) struct Verifier {
    opener: Opener,
    stream: StreamName,
    pub(super) verified: u64,
    pub(super) refused: BTreeMap<(Rejection, Option<String>), Kind>,
}

impl Verifier {
    pub(super) fn new(trust: Arc<Trust>, stream: StreamName) -> Verifier {
        Verifier { opener: Opener::new(trust), stream, verified: 0, refused: BTreeMap::new() }
    }

    /// Opens what stands at this place. A good signature over another place is no good here.
    pub(super) fn open(&mut self, epoch: Epoch, i: u64, wire: &Wire) -> Result<(), Rejection> {
        let (reason, key) = match self.opener.open(wire) {
            Ok(record) if *record.stream() != self.stream => (Rejection::ForeignStream, None),
            Ok(record) if (record.epoch(), record.i()) != (epoch, i) => (Rejection::Fork, None),
            Ok(_) => {
                self.verified += 1;
                return Ok(());
            }
            Err(refused) => (refused.reason, refused.key),
        };
        self.note(epoch, i, reason, key.filter(|_| Grade::of(reason) == Grade::Key));
        Err(reason)
    }

    fn note(&mut self, epoch: Epoch, i: u64, reason: Rejection, key: Option<KeyId>) {
        let key = key.map(|key| key.to_string()).filter(|_| self.refused.len() < KINDS_MAX);
        let new = || Kind { count: 0, first: (epoch, i) };
        self.refused.entry((reason, key)).or_insert_with(new).count += 1;
    }

    /// Whether something of this grade was refused.
    pub(super) fn has(&self, grade: Grade) -> bool {
        self.refused.keys().any(|(reason, _)| Grade::of(*reason) == grade)
    }
}
