//! The order in which a relay does things: what was put and what was followed is stored together, with one sync, and
//! only then published and answered. Pure, except for the log, whose disk is an argument.

use fedmsg::envelope::Wire;
use fedmsg::frames::{ErrorCode, Reply};
use fedmsg::keys::SecretKey;
use fedmsg::planted::bug;

use crate::core::{RelayCore, Taken};
use crate::keeping::Keeping;

/// Records and heartbeats that are stored with one sync.
const BATCH_RECORDS: usize = 1_024;
/// Bytes of them.
const BATCH_BYTES: usize = 8 << 20;

/// What waits for the next sync, and who is to be answered then.
#[derive(Debug)]
pub struct Waiting<P> {
    /// What was put or followed since the last sync, and by whom.
    taken: Vec<(Option<P>, Taken)>,
    records: usize,
    bytes: usize,
}

/// Everybody who waits for a relay: readers, and producers.
pub trait Outside<P> {
    /// Shows readers the original bytes of a record that is stored, or of a heartbeat.
    fn publish(&mut self, wire: &Wire);
    /// Tells who has put something what became of it.
    fn answer(&mut self, to: &P, replies: Vec<Reply>);
}

impl<P> Default for Waiting<P> {
    fn default() -> Waiting<P> {
        Waiting { taken: Vec::new(), records: 0, bytes: 0 }
    }
}

impl<P> Waiting<P> {
    /// Something is to be stored with the next sync. Says whether that is to be done at once, because it is much.
    #[must_use = "what is too much for one sync has to be stored"]
    pub fn add(&mut self, from: Option<P>, taken: Taken) -> bool {
        let (records, bytes) = taken.size();
        self.records += records;
        self.bytes += bytes;
        self.taken.push((from, taken));
        self.records >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }

    /// Stores what waits, publishes it, and answers. In words why it could not be stored: then nothing of it counts,
    /// nothing is published, and its producers keep it.
    pub fn store(
        &mut self,
        core: &mut RelayCore,
        keeping: &mut Keeping,
        key: &SecretKey,
        outside: &mut impl Outside<P>,
    ) -> Result<(), String> {
        let Waiting { taken: waiting, .. } = std::mem::take(self);
        if waiting.is_empty() {
            return Ok(());
        }
        if bug("relay-answers-before-sync") {
            answer(&waiting, &Ok(()), key, outside);
        }
        if bug("relay-publishes-before-sync") {
            waiting.iter().flat_map(|(_, taken)| &taken.publish).for_each(|w| outside.publish(w));
        }
        let stored = keeping.store(waiting.iter().map(|(_, taken)| taken));
        match &stored {
            Ok(()) => core.stored(),
            Err(_) => core.not_stored(keeping),
        }
        if stored.is_ok() {
            let published = waiting.iter().flat_map(|(_, taken)| &taken.publish);
            published.for_each(|wire| outside.publish(&original(wire)));
        }
        answer(&waiting, &stored, key, outside);
        stored
    }
}

/// What is shown of a record: its own bytes.
fn original(wire: &Wire) -> Wire {
    let mut wire = wire.clone();
    if bug("relay-encodes-again") {
        wire.envelope = [b"{ ", &wire.envelope[1..]].concat().into();
    }
    wire
}

fn answer<P>(
    waiting: &[(Option<P>, Taken)],
    stored: &Result<(), String>,
    key: &SecretKey,
    outside: &mut impl Outside<P>,
) {
    for (from, taken) in waiting {
        let Some(from) = from else { continue };
        let replies = match stored {
            Ok(()) => taken.answers(key),
            Err(text) => vec![Reply::Err { code: ErrorCode::Full, text: text.clone() }],
        };
        outside.answer(from, replies);
    }
}
