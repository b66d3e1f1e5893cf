//! What is done with a stream while its lock is held for a moment: it is taken up, added to, and left with its last
//! words.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::sender::Sender;
use crate::clock::Clock;
use crate::config::Config;
use crate::delivered::{Delivered, Point, Refusal};
use crate::delivery::Outcome;
use crate::envelope::Wire;
use crate::identity::{Identity, StreamName};
use crate::journal::{Disk, JournalError};
use crate::keys::SecretKey;
use crate::merkle::Leaf;
use crate::publisher::Retention;
use crate::publisher::core::{Core, Opened};
use crate::publisher::opening::{open_journal, outbox_settings, random_bytes};
use crate::publisher::slot::{SlotError, SlotLock};
use crate::record::{After, Level, State};
use crate::rejection::Rejection;
use crate::replay::save_heartbeat;
use crate::seal::Sealer;

/// How long whoever needs a new epoch waits for the lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pauses between two looks at a lock that is held grow up to this.
const LOOK_MAX: Duration = Duration::from_millis(10);

/// With what a stream is taken up.
pub(crate) struct Turn<'a> {
    pub(crate) config: &'a Config,
    pub(crate) key: &'a Arc<SecretKey>,
    pub(crate) disk: &'a Arc<dyn Disk>,
}

/// The lock of a stream's slot, which others hold for moments.
pub(crate) fn wait(
    state_dir: &Path,
    stream: &StreamName,
    patience: Duration,
) -> Result<SlotLock, SlotError> {
    let (deadline, mut pause) = (Instant::now() + patience, Duration::from_micros(500));
    loop {
        let taken = SlotLock::take(state_dir, stream.identity(), stream.slot());
        let left = deadline.saturating_duration_since(Instant::now());
        match taken {
            Err(SlotError::Held(_)) if !left.is_zero() => std::thread::sleep(pause.min(left)),
            taken => return taken,
        }
        pause = (pause * 2).min(LOOK_MAX);
    }
}

impl Turn<'_> {
    /// The stream as its journal has it.
    pub(crate) fn open(
        &self,
        slot: &SlotLock,
        stream: &StreamName,
    ) -> Result<Opened, JournalError> {
        let (disk, key) = (Arc::clone(self.disk), Arc::clone(self.key));
        let of = (stream.clone(), outbox_settings(self.config));
        let opened = open_journal(disk, slot, of, key, Level::Local)?;
        let known = slot.before().2;
        if known != Some(opened.sealer.epoch()) {
            self.begun(slot, &opened.sealer)?;
        }
        Ok(opened)
    }

    /// A new epoch has begun.
    pub(crate) fn begun(&self, slot: &SlotLock, sealer: &Sealer) -> Result<(), JournalError> {
        let (what, path) = ("saving the epoch in", slot.folder());
        let io = |error| JournalError::Io { what, path: path.into(), error };
        slot.begin(sealer.epoch()).map_err(io)?;
        slot.renewal_done().map_err(io)
    }

    /// Gives up what is old and some relay has.
    pub(crate) fn trim(&self, core: &mut Core, sealer: &mut Sealer, delivered: &Delivered) {
        let floor = Arc::new(Mutex::new(delivered.floor()));
        let (journal, stream) = (&self.config.journal, sealer.stream().clone());
        let state_dir = &self.config.state_dir;
        core.set_retention(Retention::until_delivered(journal, stream, floor, state_dir));
        core.trim(sealer, Clock::wall(), 0);
    }

    /// A heartbeat that says how the stream ends, for now; it is left beside the journal.
    pub(crate) fn last_words(&self, slot: &SlotLock, sealer: &mut Sealer) -> Wire {
        let beat = sealer.heartbeat(State::Closed, &self.config.digest, Clock::wall()).wire;
        if let Err(error) = save_heartbeat(&**self.disk, slot.folder(), &beat) {
            tracing::warn!(%error, stream = %sealer.stream(), "readers will have to ask for the end of the stream");
        }
        beat
    }

    /// What an answer of a relay means for the stream.
    pub(crate) fn learn(
        &self,
        sender: &mut Sender,
        stream: &StreamName,
        relay: &Identity,
        outcome: Outcome,
    ) -> Result<(), JournalError> {
        match outcome {
            Outcome::Taken { .. } | Outcome::Nothing => Ok(()),
            Outcome::Back => {
                tracing::info!(%stream, %relay, "the relay lacks older messages, and gets them");
                Ok(())
            }
            Outcome::Failed(why) => {
                tracing::warn!(%stream, %relay, why, "the relay does not take messages");
                Ok(())
            }
            Outcome::NeedsEpoch => {
                tracing::warn!(%stream, %relay, "the relay lacks messages that are gone: a new epoch begins");
                self.go_on(sender, stream, sender.end(), false)
            }
            Outcome::Refused(refusal) => {
                let Refusal { from, to, reason, text, .. } = refusal;
                tracing::error!(%stream, %relay, first = from.i, last = to, reason, text,
                    "the relay refuses messages for good");
                match reason == Rejection::Fork.name() {
                    true => self.go_on(sender, stream, Some(from), true),
                    false => Ok(()),
                }
            }
        }
    }

    /// Begins a new epoch behind this place, tied to the end of the one before unless that is in doubt: the only way
    /// on for a relay that lacks what is gone, or knows other messages of these numbers.
    pub(crate) fn go_on(
        &self,
        sender: &mut Sender,
        stream: &StreamName,
        at: Option<Point>,
        in_doubt: bool,
    ) -> Result<(), JournalError> {
        let slot = match wait(&self.config.state_dir, stream, PATIENCE) {
            Ok(slot) => slot,
            Err(error) => {
                tracing::warn!(%stream, ?error, "a new epoch cannot begin now; the next command tries it again");
                return Ok(());
            }
        };
        let Opened { sealer, mut core } = self.open(&slot, stream)?;
        let (epoch, (last, leaf)) = (sealer.epoch(), sealer.last());
        let after = match in_doubt {
            true => (After::Unknown, Leaf::NONE),
            false => (After::Epoch { epoch, last }, leaf),
        };
        let mut sealer = match at.is_some_and(|at| at.epoch < epoch) {
            // Somebody has begun one since.
            true => sealer,
            false => {
                let begun = core.go_on_after(&sealer, after, Clock::wall(), random_bytes())?;
                self.begun(&slot, &begun.0)?;
                begun.0
            }
        };
        let beat = self.last_words(&slot, &mut sealer);
        if let Some(reader) = core.reader() {
            sender.read_from(reader);
        }
        sender.look()?;
        sender.beaten(beat);
        Ok(())
    }
}
