//! The relay's log, as its loop uses it.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fedmsg::config::Config;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::frames::Completeness;
use fedmsg::holder::{Absent, Part};
use fedmsg::identity::StreamName;
use fedmsg::journal::{Body, Disk, OsDisk};
use fedmsg::log::{Item, Keep as Kind, Log, LogError, LogMetrics, LogReader, Settings};
use fedmsg::open::{Opener, Record};
use fedmsg::seal::Sealed;
use fedmsg::timestamp::Timestamp;
use fedmsg::trust::Trust;

use crate::core::{Head, Kept, Stored, Taken, Unreadable};
use crate::settings::RelayError;

/// How often heartbeats are written down, in milliseconds.
const SAVE_MS: u64 = 60_000;

/// Says what time it is.
type Clock = Box<dyn Fn() -> Timestamp + Send>;

/// The log of this relay: `STATE/relay/IDENTITY/SLOT`. The lock on the slot sees to it that there is one writer.
pub struct Keeping {
    log: Log,
    on_disk: OnDisk,
    clock: Clock,
    /// When heartbeats were written down the last time.
    saved: Timestamp,
    /// Why the disk takes nothing, which was said.
    failing: Option<String>,
}

impl Keeping {
    /// Opens the log of the slot that this relay has.
    pub(crate) fn open(config: &Config, own: &StreamName) -> Result<Keeping, RelayError> {
        let folder = config.state_dir.join("relay").join(own.identity().as_str());
        let folder = folder.join(own.slot().to_string());
        let settings = Settings::keeping(config.relay.keep_bytes, config.relay.keep_ms);
        Ok(Keeping::on(Arc::new(OsDisk), &folder, settings)?)
    }

    /// The log in a folder of a disk.
    pub fn on(disk: Arc<dyn Disk>, folder: &Path, settings: Settings) -> Result<Keeping, LogError> {
        Keeping::timed(disk, folder, settings, || SystemTime::now().into())
    }

    /// The same with another clock.
    pub fn timed(
        disk: Arc<dyn Disk>,
        folder: &Path,
        settings: Settings,
        clock: impl Fn() -> Timestamp + Send + 'static,
    ) -> Result<Keeping, LogError> {
        let log = Log::open(disk, folder, settings)?;
        let (on_disk, saved) = (OnDisk(log.reader()), clock());
        Ok(Keeping { log, on_disk, clock: Box::new(clock), saved, failing: None })
    }

    /// What others may read of it.
    pub fn reader(&self) -> LogReader {
        self.on_disk.0.clone()
    }

    /// What is on disk, now and later.
    pub fn on_disk(&self) -> OnDisk {
        self.on_disk.clone()
    }

    /// Where each stream goes on that others are asked for; nothing for those of which something is missing here that
    /// its publisher still has.
    pub fn begins(&self, trust: &Arc<Trust>) -> Vec<(StreamName, Head)> {
        let mut opener = Opener::new(Arc::clone(trust));
        let begins = self.log.heads().filter_map(|(stream, head)| {
            let stand = self.on_disk.0.stand(&stream).ok()?;
            let range = stand.epochs.last()?;
            let kept_from = stand.heartbeat.and_then(|beat| kept_from(&beat, &mut opener));
            let is_whole = stand.completeness == Completeness::Complete
                && range.epoch == head.epoch
                && range.first <= kept_from.unwrap_or(1).max(1);
            let head = Head { epoch: head.epoch, last: head.last, leaf: head.leaf };
            is_whole.then_some((stream, head))
        });
        begins.collect()
    }

    /// Every stream that is on disk, with its genesis record and its newest heartbeat.
    pub fn streams(&self) -> impl Iterator<Item = (StreamName, Head, [Option<Wire>; 2])> {
        self.log.heads().map(|(stream, known)| {
            let head = Head { epoch: known.epoch, last: known.last, leaf: known.leaf };
            (stream, head, [known.genesis, known.heartbeat])
        })
    }

    /// Keeps the beginning of the relay's own stream, for whoever asks.
    pub fn keep_own(
        &mut self,
        own: &StreamName,
        epoch: Epoch,
        genesis: &Sealed,
    ) -> Result<(), LogError> {
        let keep = Kind::Record { wire: &genesis.wire, leaf: genesis.leaf };
        let item = Item { stream: own, epoch, i: 0, keep };
        self.log.append(&[item], (self.clock)())
    }

    /// Stores what several producers put, with one sync. In words why it could not be.
    pub fn store<'a>(
        &mut self,
        taken: impl Iterator<Item = &'a Taken> + Clone,
    ) -> Result<(), String> {
        let records = taken.clone().flat_map(|taken| &taken.keep).map(|keep| {
            let leaf = keep.leaf;
            let (stream, epoch, i) = (&keep.stream, keep.epoch, keep.i);
            let keep = match &keep.what {
                Ok(wire) => Kind::Record { wire, leaf },
                Err(reason) => Kind::Gone { leaf, reason: reason.name() },
            };
            Item { stream, epoch, i, keep }
        });
        let beats = taken.flat_map(|taken| &taken.beats);
        let last_words = beats.clone().filter(|beat| beat.is_last).map(|beat| {
            let (stream, epoch, i) = (&beat.stream, beat.epoch, beat.i);
            Item { stream, epoch, i, keep: Kind::Heartbeat { wire: &beat.wire } }
        });
        let items: Vec<Item<'_>> = records.chain(last_words).collect();
        if !items.is_empty() {
            let appended = self.log.append(&items, (self.clock)());
            self.note(appended)?;
        }
        for beat in beats.filter(|beat| !beat.is_last) {
            self.log.set_heartbeat(&beat.stream, &beat.wire);
        }
        Ok(())
    }

    /// Says once that the disk fails, and once that it works again.
    fn note(&mut self, appended: Result<(), LogError>) -> Result<(), String> {
        match appended {
            Ok(()) => {
                if self.failing.take().is_some() {
                    tracing::info!("the log takes messages again");
                }
                Ok(())
            }
            Err(error) => {
                if self.failing.replace(error.to_string()).is_none() {
                    tracing::error!(%error, "the log takes nothing: producers keep their messages, and put them again");
                }
                Err(format!("this relay's disk takes nothing: {error}"))
            }
        }
    }

    /// Why the disk took nothing the last time; nothing when it did.
    pub(crate) fn failing(&self) -> Option<&str> {
        self.failing.as_deref()
    }

    /// Tries a disk that has failed with a heartbeat of the relay itself: otherwise it would not be known that it works
    /// again before somebody puts something, and who looks for a relay that is ready puts nothing to this one.
    pub(crate) fn probe(&mut self, own: &StreamName, epoch: Epoch, beat: &Wire) {
        if self.failing.is_some() {
            let keep = Kind::Heartbeat { wire: beat };
            let item = Item { stream: own, epoch, i: 0, keep };
            let appended = self.log.append(&[item], (self.clock)());
            // What is wrong was said.
            let _ = self.note(appended);
        }
    }

    /// What the log counts.
    pub(crate) fn metrics(&self) -> LogMetrics {
        self.log.metrics((self.clock)())
    }

    /// The newest heartbeat of the relay itself.
    pub fn beaten(&mut self, own: &StreamName, beat: &Wire) {
        self.log.set_heartbeat(own, beat);
    }

    /// Gives up what is too old, or too much; and writes heartbeats down now and then, so that a relay that is killed
    /// can announce the streams that it has.
    pub fn trim(&mut self) {
        let now = (self.clock)();
        // The clock may have been set back, too.
        if now.millis_since(self.saved).unsigned_abs() >= SAVE_MS {
            self.saved = now;
            if let Err(error) = self.on_disk.0.save_heads() {
                tracing::warn!(%error, "writing down how far streams are");
            }
        }
        if let Err(error) = self.log.retain(now) {
            tracing::warn!(%error, "giving up what is too old");
        }
    }

    /// Ends with the relay's last words.
    pub fn close(mut self, own: &StreamName, last: &Wire) {
        self.log.set_heartbeat(own, last);
        let LogMetrics { records, appends, syncs, bytes, .. } = self.log.metrics((self.clock)());
        tracing::info!(records, appends, syncs, bytes, "its log");
        if let Err(error) = self.log.close() {
            tracing::warn!(%error, "closing the log");
        }
    }
}

impl Kept for Keeping {
    fn head(&self, stream: &StreamName) -> Option<Head> {
        self.on_disk.head(stream)
    }

    fn at(&self, stream: &StreamName, epoch: Epoch, i: u64) -> Result<Option<Stored>, Unreadable> {
        self.on_disk.at(stream, epoch, i)
    }
}

/// What is on the relay's disk, for whoever decides what comes next while another thread writes.
#[derive(Clone, Debug)]
pub struct OnDisk(LogReader);

impl Kept for OnDisk {
    fn head(&self, stream: &StreamName) -> Option<Head> {
        let head = self.0.head(stream)?;
        Some(Head { epoch: head.epoch, last: head.last, leaf: head.leaf })
    }

    fn at(&self, stream: &StreamName, epoch: Epoch, i: u64) -> Result<Option<Stored>, Unreadable> {
        let part = Part { epoch, from: i, to: i };
        let batch = match self.0.read(stream, part, 1, usize::MAX) {
            Ok(batch) => batch,
            Err(Absent::Stream | Absent::Epoch | Absent::Trimmed { .. }) => return Ok(None),
            Err(_) => return Err(Unreadable),
        };
        // A damaged record is a hole, and is taken once more.
        let Some(entry) = batch.entries.first() else { return Ok(None) };
        let leaf = entry.body.leaf().ok_or(Unreadable)?;
        Ok(Some(Stored { leaf, is_gone: matches!(entry.body, Body::Gone { .. }) }))
    }
}

/// The first number that a publisher still has, by its heartbeat.
fn kept_from(beat: &Wire, opener: &mut Opener) -> Option<u64> {
    match opener.open(beat).ok()?.record() {
        Record::Heartbeat(beat) => Some(beat.first),
        _ => None,
    }
}
