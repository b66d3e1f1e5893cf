//! What an operator orders from outside of a publisher: a new epoch, or the end of a stream.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, Opened};
use super::opening::{open_journal, random_bytes};
use super::slot::{self, RENEW, SlotError, SlotLock};
use crate::clock::Clock;
use crate::config::{Config, KeyFileError};
use crate::envelope::{Epoch, Wire};
use crate::identity::{Slot, StreamName};
use crate::journal::{Disk, JournalError};
use crate::keys::{KeyId, SecretKey};
use crate::record::{Level, State};
use crate::replay::{Desk, ReplayServer, SaveError, Shelf, save_heartbeat};
use crate::seal::Sealer;
use crate::transport::{NetError, OutletSettings, Transport};

/// Why an order cannot be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// No publisher of this host ever had the stream.
    #[error("{stream} was never published from here: there is no {path}", path = .path.display())]
    NotHere {
        /// The stream.
        stream: StreamName,
        /// The folder that it would have.
        path: PathBuf,
    },
    /// Its publisher runs.
    #[error("{stream} is published by process {pid}: stop that first")]
    Held {
        /// The stream.
        stream: StreamName,
        /// The process, as it wrote its number down.
        pid: String,
    },
    /// The key of the stream's identity cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The key is not one that the configuration trusts for the identity: nobody would believe.
    #[error(
        "the private key here, {found}, is not trusted for {stream}: put its public half into keys.d"
    )]
    UntrustedKey {
        /// The stream.
        stream: StreamName,
        /// The key.
        found: KeyId,
    },
    /// The journal cannot be opened.
    #[error("the journal: {0}")]
    Journal(#[from] JournalError),
    /// The last words cannot be saved.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// A file cannot be used.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Who begins a new epoch that was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NewEpoch {
    /// The publisher that runs, within a second or two; the file of the order is gone when it has.
    Running {
        /// The file of the order.
        order: PathBuf,
    },
    /// The next publisher of the slot, when it starts.
    Next,
}

/// Orders that the publisher of a stream begins a new epoch, whose genesis record says that it is not known how
/// the one before went on: what is to be done about a fork that the publisher does not see itself.
///
/// The order is a file in the folder of the slot; to give it needs the right to write there.
pub fn order_new_epoch(state_dir: &Path, stream: &StreamName) -> Result<NewEpoch, OrderError> {
    let folder = folder_of(state_dir, stream)?;
    let order = folder.join(RENEW);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| OrderError::Io { path, error }
    };
    File::create(&order).and_then(|file| file.sync_all()).map_err(io(&order))?;
    // Only for a moment, or a publisher that starts now would take the slot for one that is held.
    let path = folder.join("lock");
    match File::open(&path).map(|lock| lock.try_lock_shared()) {
        Ok(Err(TryLockError::WouldBlock)) => Ok(NewEpoch::Running { order }),
        Ok(Err(TryLockError::Error(error))) => Err(io(&path)(error)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io(&path)(error)),
        _ => Ok(NewEpoch::Next),
    }
}

/// A stream that has ended. Its slot is held until this is dropped.
#[derive(Debug)]
pub struct Retired {
    /// The epoch in which it ended.
    pub epoch: Epoch,
    /// The number of its last message, 0 where there is none in this epoch.
    pub last: u64,
    stream: StreamName,
    genesis: Wire,
    last_words: Wire,
    _slot: SlotLock,
}

/// Says the last words of a stream whose publisher is gone and does not come back: a signed heartbeat that it
/// has ended, and where. It is kept beside the journal, for whoever answers for this host, and readers stop
/// waiting for more.
///
/// It does what the next publisher would do first, so after a crash that lost how far the epoch went, a new one
/// begins and ends here. A publisher that starts on this slot later takes the stream up again.
pub fn retire(
    config: &Config,
    stream: &StreamName,
    disk: Arc<dyn Disk>,
) -> Result<Retired, OrderError> {
    folder_of(&config.state_dir, stream)?;
    let (key, slot) = (trusted_key(config, stream)?, take(config, stream)?);
    let Opened { mut sealer, core } = if slot.journal().exists() {
        let of = (stream.clone(), config.journal.settings());
        open_journal(Arc::clone(&disk), &slot, of, key, Level::Local)?
    } else {
        let (after, prev, before) = slot.before();
        let now = Clock::wall();
        let epoch = Epoch::next(now, random_bytes(), before);
        let (after, signer) = ((after, prev), Arc::clone(&key));
        let opened = Sealer::open_epoch(signer, stream.clone(), epoch, after, Level::Memory, now);
        Opened { sealer: opened.0, core: Core::unkept(key, opened.1.wire) }
    };
    let genesis = core.genesis().clone();
    let last_words = sealer.heartbeat(State::Closed, &config.digest, Clock::wall()).wire;
    let (epoch, (last, leaf)) = (sealer.epoch(), sealer.last());
    let io = |error| OrderError::Io { path: slot.folder().to_owned(), error };
    slot.end(epoch, last, leaf).map_err(io)?;
    slot.renewal_done().map_err(io)?;
    core.close()?;
    save_heartbeat(&*disk, slot.folder(), &last_words)?;
    let stream = stream.clone();
    Ok(Retired { epoch, last, stream, genesis, last_words, _slot: slot })
}

fn trusted_key(config: &Config, stream: &StreamName) -> Result<Arc<SecretKey>, OrderError> {
    let key = config.secret_key(stream.identity())?;
    let found = key.public().id();
    let trusted = config.trust.keys.get(&found);
    match trusted.filter(|trusted| trusted.identity == *stream.identity() && !trusted.revoked) {
        Some(_) => Ok(Arc::new(key)),
        None => Err(OrderError::UntrustedKey { stream: stream.clone(), found }),
    }
}

fn take(config: &Config, stream: &StreamName) -> Result<SlotLock, OrderError> {
    let taken = SlotLock::take(&config.state_dir, stream.identity(), stream.slot());
    taken.map_err(|error| match error {
        SlotError::Held(pid) => OrderError::Held { stream: stream.clone(), pid },
        SlotError::Io(path, error) => OrderError::Io { path, error },
        SlotError::TooMany => unreachable!("one that is there is taken"),
    })
}

impl Retired {
    /// Tells whoever connects to the stream's own addresses within this time, and answers there for what is
    /// kept: for readers that can ask nobody else. Says how many subscribers came.
    pub fn tell(
        &self,
        config: &Config,
        transport: &dyn Transport,
        time: Duration,
    ) -> Result<usize, NetError> {
        let Slot::Index(index) = self.stream.slot() else { return Ok(0) };
        let Some(entry) = config.endpoints.get(self.stream.identity()) else { return Ok(0) };
        let Some(address) = entry.publish.get(usize::from(index)) else { return Ok(0) };
        let mut outlet = transport.outlet(address, OutletSettings::default())?;
        let shelf = Arc::new(Shelf::new(&config.state_dir));
        let serve = |address| ReplayServer::start(transport, address, Desk::new(shelf, |_| false));
        let _server = entry.replay.get(usize::from(index)).map(serve).transpose()?;
        let (end, mut told) = (Instant::now() + time, 0);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let joined = outlet.wait(left).joined;
            if joined > 0 {
                told += joined;
                outlet.send(&self.last_words);
                outlet.send(&self.genesis);
            }
            if left.is_zero() {
                return Ok(told);
            }
        }
    }
}

/// The folder of a stream's slot, if there is one.
fn folder_of(state_dir: &Path, stream: &StreamName) -> Result<PathBuf, OrderError> {
    let path = slot::folder(state_dir, stream.identity(), stream.slot());
    match path.is_dir() {
        true => Ok(path),
        false => Err(OrderError::NotHere { stream: stream.clone(), path }),
    }
}
