//! Delivers, or gives up, what waits on this host although nobody publishes it any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::marks;
use super::sender::Sender;
use super::slots::{ListError, Waiting, look};
use super::turn::{Turn, wait};
use crate::clock::Clock;
use crate::config::Config;
use crate::delivered::{Delivered, Point};
use crate::delivery::Outcome;
use crate::identity::StreamName;
use crate::journal::{Disk, JournalError, Reader};
use crate::merkle::Leaf;
use crate::net::rpc::Lines;
use crate::publisher::opening::{random_bytes, relays, trusted};
use crate::publisher::slot::SlotError;
use crate::publisher::{BuildError, Floor};
use crate::record::After;
use crate::replay::load_heartbeat;
use crate::transport::NetError;

/// Relays are given so long after the last answer, before what is left is left.
const SILENCE: Duration = Duration::from_millis(2_500);
/// How long dropping waits for a command that is at work.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the outbox could not be delivered or given up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// It cannot be looked at.
    #[error(transparent)]
    List(#[from] ListError),
    /// A journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No relay is configured, or the key cannot be used.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Sockets cannot be made.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Another process is at work on the stream.
    #[error("{stream} is held by process {pid}: {what}")]
    Held {
        /// The stream.
        stream: StreamName,
        /// The process, as it wrote its number down.
        pid: String,
        /// What that means.
        what: &'static str,
    },
    /// There are more or fewer messages than was said. Nothing was given up.
    #[error("{stream} has {messages} messages that no relay has, not {said}: nothing was given up")]
    OtherCount {
        /// The stream.
        stream: StreamName,
        /// How many there are.
        messages: u64,
        /// How many there were to be.
        said: u64,
    },
    /// A file cannot be used.
    #[error("{stream}: {error}")]
    Io {
        /// The stream.
        stream: StreamName,
        /// What the system says.
        error: std::io::Error,
    },
}

/// Gives relays what they lack of a stream, until every relay that answers has everything, none has answered for
/// 2.5 seconds, or the time is over. Tells of each answer how much is left. What is left then is in the
/// result's [`messages`](Waiting::messages).
///
/// A stream that another process delivers is left to it ([`FlushError::Held`]).
pub fn flush(
    config: &Config,
    disk: &Arc<dyn Disk>,
    waiting: &Waiting,
    patience: Duration,
    mut progress: impl FnMut(&Delivered),
) -> Result<Waiting, FlushError> {
    let stream = &waiting.stream;
    let relays = relays(config);
    if relays.is_empty() {
        let (identity, tried) = (stream.identity().clone(), "it went through relays".into());
        return Err(BuildError::NoWay { identity, tried }.into());
    }
    let reader = Reader::new(Arc::clone(disk), &waiting.folder.join("journal"));
    let (lines, floor) = (Lines::connect(&relays)?, Floor::default());
    let mut sender = Sender::new(Arc::clone(disk), &waiting.folder, reader, lines, floor);
    become_sender(&mut sender, stream)?;
    sender.look()?;
    load_heartbeat(&**disk, &waiting.folder).into_iter().for_each(|beat| sender.beaten(beat));
    let end = Instant::now() + patience;
    let mut until = end.min(Instant::now() + SILENCE);
    while !sender.is_done() && Instant::now() < until {
        sender.send()?;
        let left = until.saturating_duration_since(Instant::now());
        for (relay, outcome) in sender.receive(left) {
            if matches!(outcome, Outcome::Taken { .. } | Outcome::Refused(_) | Outcome::Back) {
                until = end.min(Instant::now() + SILENCE);
            }
            learn(config, disk, &mut sender, (stream, &relay), outcome)?;
        }
        progress(sender.delivered());
    }
    drop(sender);
    Ok(look(disk, &config.state_dir, stream.clone())?)
}

/// What an answer means for a stream; its key is needed only where a new epoch has to begin.
fn learn(
    config: &Config,
    disk: &Arc<dyn Disk>,
    sender: &mut Sender,
    (stream, relay): (&StreamName, &crate::Identity),
    outcome: Outcome,
) -> Result<(), FlushError> {
    if matches!(outcome, Outcome::Taken { .. } | Outcome::Nothing) {
        return Ok(());
    }
    let secret = config.secret_key(stream.identity()).map_err(BuildError::from)?;
    let key = &trusted(config, stream.identity(), secret)?;
    Ok(Turn { config, key, disk }.learn(sender, stream, relay, outcome)?)
}

fn become_sender(sender: &mut Sender, stream: &StreamName) -> Result<(), FlushError> {
    let io = |error| FlushError::Io { stream: stream.clone(), error };
    match sender.take().map_err(io)? {
        Ok(()) => Ok(()),
        Err(pid) => {
            let (stream, what) = (stream.clone(), "it delivers what waits there");
            Err(FlushError::Held { stream, pid, what })
        }
    }
}

/// Gives up what no relay has of a stream, and begins a new epoch, so that relays can go on without it. What was
/// given up stays in the journal until retention passes it. Where it is not so many messages as `said`, nothing is
/// done. The stream as it was before.
///
/// A relay may have got a part of it whose answer was lost, so the genesis record of the new epoch says that it is
/// not known where the one before ended.
pub fn give_up(
    config: &Config,
    disk: &Arc<dyn Disk>,
    stream: &StreamName,
    said: Option<u64>,
) -> Result<Waiting, FlushError> {
    let held = |pid, what| FlushError::Held { stream: stream.clone(), pid, what };
    let slot = wait(&config.state_dir, stream, PATIENCE).map_err(|error| match error {
        SlotError::Held(pid) => held(pid, "stop it first"),
        SlotError::Io(_, error) => FlushError::Io { stream: stream.clone(), error },
        SlotError::TooMany => unreachable!("a slot that has a name is taken"),
    })?;
    let reader = Reader::new(Arc::clone(disk), &slot.journal());
    let (lines, floor) = (Lines::connect(&[])?, Floor::default());
    let mut sender = Sender::new(Arc::clone(disk), slot.folder(), reader, lines, floor);
    become_sender(&mut sender, stream)?;
    let before = look(disk, &config.state_dir, stream.clone())?;
    let messages = before.messages;
    if let Some(said) = said.filter(|said| *said != messages) {
        let stream = stream.clone();
        return Err(FlushError::OtherCount { stream, messages, said });
    }
    let secret = config.secret_key(stream.identity()).map_err(BuildError::from)?;
    let key = &trusted(config, stream.identity(), secret)?;
    let turn = Turn { config, key, disk };
    let opened = turn.open(&slot, stream)?;
    let (mut core, sealer) = (opened.core, opened.sealer);
    let end = Point { epoch: sealer.epoch(), i: sealer.last().0 };
    let unknown = (After::Unknown, Leaf::NONE);
    let (mut sealer, _) = core.go_on_after(&sealer, unknown, Clock::wall(), random_bytes())?;
    turn.begun(&slot, &sealer)?;
    turn.last_words(&slot, &mut sealer);
    let mut delivered = marks::load(&**disk, slot.folder());
    delivered.give_up(end);
    let io = |error| FlushError::Io { stream: stream.clone(), error };
    marks::save(&**disk, slot.folder(), &delivered, true).map_err(io)?;
    Ok(before)
}
