//! Hands a journal to relays: the lock that makes one process of many do it, the connections, and what is written
//! down of it.

use std::fs::{File, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::exchange::Exchange;
use super::marks;
use crate::clock::Clock;
use crate::delivered::{Delivered, Point};
use crate::delivery::Outcome;
use crate::envelope::Wire;
use crate::identity::Identity;
use crate::journal::{Disk, JournalError, Reader};
use crate::net::rpc::Lines;
use crate::publisher::Floor;
use crate::transport::Wake;

/// How often it is tried to become the one who delivers, in milliseconds.
const LOCK_MS: u64 = 200;
/// What relays have is written down this often, in milliseconds, and when it ends.
const SAVE_MS: u64 = 100;

/// The one who delivers a stream, as soon as nobody else does.
pub(crate) struct Sender {
    disk: Arc<dyn Disk>,
    slot: PathBuf,
    reader: Reader,
    exchange: Exchange,
    clock: Clock,
    lock: Option<File>,
    lock_at: u64,
    lock_ms: u64,
    /// What is written down.
    saved: Delivered,
    save_at: u64,
    floor: Floor,
    /// Relays that are new here are given nothing up to this.
    begin: Option<Point>,
}

impl Sender {
    /// Delivers by these connections what the reader has, for the stream in the folder of this slot.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        slot: &Path,
        reader: Reader,
        lines: Lines,
        floor: Floor,
    ) -> Sender {
        let saved = marks::load(&*disk, slot);
        let exchange = Exchange::new(lines, saved.clone());
        let (slot, clock) = (slot.to_owned(), Clock::start());
        let (lock, lock_at, lock_ms, save_at) = (None, 0, LOCK_MS, 0);
        let sender = Sender {
            disk,
            slot,
            reader,
            exchange,
            clock,
            lock,
            lock_at,
            lock_ms,
            saved,
            save_at,
            floor,
            begin: None,
        };
        sender.tell();
        sender
    }

    /// Relays of which nothing is written down are given what is behind this place, not all there is.
    pub(crate) fn begin_behind(&mut self, place: Option<Point>) {
        self.begin = place;
        self.exchange.go_on_from(self.known());
        self.tell();
    }

    /// What is written down, with what relays that are new need not be given.
    fn known(&self) -> Delivered {
        let mut known = self.saved.clone();
        if let Some(begin) = self.begin {
            self.exchange.relays().iter().for_each(|relay| known.claim_behind(relay, begin));
        }
        known
    }

    /// Goes on with what this reader has.
    pub(crate) fn read_from(&mut self, reader: Reader) {
        self.reader = reader;
    }

    /// Becomes the one who delivers, unless another process is. Then its number, if it wrote one.
    pub(crate) fn take(&mut self) -> io::Result<Result<(), String>> {
        if self.lock.is_some() {
            return Ok(Ok(()));
        }
        let path = self.slot.join("sender");
        let opened = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let mut lock = opened?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // For people only: an unreadable number is no reason to fail.
                io::Read::read_to_string(&mut io::Read::take(lock, 32), &mut holder).ok();
                return Ok(Err(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())?;
        self.lock = Some(lock);
        // Others may have delivered since it was looked.
        self.saved = marks::load(&*self.disk, &self.slot);
        self.exchange.go_on_from(self.known());
        self.tell();
        Ok(Ok(()))
    }

    /// Tries so often, in milliseconds, to become the one who delivers.
    pub(crate) fn hurry(&mut self, lock_ms: u64) {
        self.lock_ms = lock_ms;
    }

    /// Whether this is the one who delivers.
    pub(crate) fn is_sender(&self) -> bool {
        self.lock.is_some()
    }

    /// The stream ends here now.
    pub(crate) fn grown(&mut self, end: Option<Point>) {
        self.exchange.grown(end);
    }

    /// Looks how far the stream is.
    pub(crate) fn look(&mut self) -> Result<(), JournalError> {
        let newest = self.reader.ranges()?.last().copied();
        self.grown(newest.map(|range| Point { epoch: range.epoch, i: range.last }));
        Ok(())
    }

    /// The last record that there is, as far as this knows.
    pub(crate) fn end(&self) -> Option<Point> {
        self.exchange.end()
    }

    /// This is the newest heartbeat.
    pub(crate) fn beaten(&mut self, beat: Wire) {
        self.exchange.beaten(beat);
    }

    /// Sends each relay what it needs next, if it is time.
    pub(crate) fn send(&mut self) -> Result<(), JournalError> {
        let now = self.clock.millis();
        if !self.is_sender() {
            if now < self.lock_at {
                return Ok(());
            }
            self.lock_at = now + self.lock_ms;
            match self.take() {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(()),
                Err(error) => {
                    tracing::warn!(slot = %self.slot.display(), %error, "locking the outbox");
                    return Ok(());
                }
            }
        }
        self.exchange.send(&mut self.reader)
    }

    /// Asks relays again for receipts, as [`Exchange::prove`] does, where this is the one who delivers.
    pub(crate) fn prove(&mut self, from: impl FnMut(&Identity, Option<Point>) -> Option<Point>) {
        if self.is_sender() {
            self.exchange.prove(from);
        }
    }

    /// Waits for answers, at most so long, or until woken; what they came to.
    pub(crate) fn receive(&mut self, timeout: Duration) -> Vec<(Identity, Outcome)> {
        let timeout = timeout.min(Duration::from_millis(self.pause()));
        let outcomes = self.exchange.receive(&mut self.reader, timeout);
        let now = self.clock.millis();
        self.tell();
        if now >= self.save_at {
            self.save_at = now + SAVE_MS;
            self.save();
        }
        outcomes
    }

    fn pause(&self) -> u64 {
        let now = self.clock.millis();
        if !self.is_sender() {
            return self.lock_at.saturating_sub(now).max(1);
        }
        let unsaved = self.saved != *self.exchange.delivered();
        let save = if unsaved { self.save_at.saturating_sub(now).max(1) } else { u64::MAX };
        self.exchange.pause().min(save)
    }

    /// Writes down what relays have, if there is something new.
    pub(crate) fn save(&mut self) {
        let delivered = self.exchange.delivered();
        if !self.is_sender() || self.saved == *delivered {
            return;
        }
        match marks::save(&*self.disk, &self.slot, delivered, false) {
            Ok(()) => self.saved = delivered.clone(),
            Err(error) => {
                tracing::warn!(slot = %self.slot.display(), %error, "writing down what was delivered");
            }
        }
    }

    fn tell(&self) {
        let floor = self.delivered().floor();
        *self.floor.lock().unwrap_or_else(PoisonError::into_inner) = floor;
    }

    /// What relays have, as far as this process knows. As long as another one delivers, it is what that one wrote
    /// down last.
    pub(crate) fn delivered(&self) -> &Delivered {
        self.exchange.delivered()
    }

    /// Looks what another process has delivered.
    pub(crate) fn look_what_others_did(&mut self) {
        if !self.is_sender() {
            self.exchange.go_on_from(marks::load(&*self.disk, &self.slot));
        }
    }

    /// How many relays answer.
    pub(crate) fn up(&self) -> usize {
        self.exchange.up()
    }

    /// Whether every relay that answers has everything, and one does.
    pub(crate) fn is_done(&self) -> bool {
        self.exchange.is_done()
    }

    /// Whether a request is on its way.
    pub(crate) fn is_asking(&self) -> bool {
        self.exchange.is_asking()
    }

    /// Interrupts [`receive`](Sender::receive).
    pub(crate) fn waker(&self) -> Arc<dyn Wake> {
        self.exchange.waker()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.save();
    }
}
