//! Hands a journal to relays: the lock that makes one process of many do it, the connections, and what is written
//! down of it.

use std::fs::{File, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::marks;
use crate::clock::Clock;
use crate::delivered::{Delivered, Point};
use crate::delivery::{Delivery, Outcome, has};
use crate::envelope::Wire;
use crate::frames::Answer;
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
    lines: Lines,
    relays: Vec<Identity>,
    delivery: Delivery,
    clock: Clock,
    lock: Option<File>,
    lock_at: u64,
    lock_ms: u64,
    /// What is written down.
    saved: Delivered,
    save_at: u64,
    floor: Floor,
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
        let relays: Vec<Identity> = lines.relays().cloned().collect();
        let saved = marks::load(&*disk, slot);
        let delivery = Delivery::new(relays.iter().cloned(), saved.clone());
        let (slot, clock) = (slot.to_owned(), Clock::start());
        let (lock, lock_at, lock_ms, save_at) = (None, 0, LOCK_MS, 0);
        let sender = Sender {
            disk,
            slot,
            reader,
            lines,
            relays,
            delivery,
            clock,
            lock,
            lock_at,
            lock_ms,
            saved,
            save_at,
            floor,
        };
        sender.tell();
        sender
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
        let end = self.delivery.end();
        self.delivery = Delivery::new(self.relays.iter().cloned(), self.saved.clone());
        self.delivery.grown(end);
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
        self.delivery.grown(end);
    }

    /// Looks how far the stream is.
    pub(crate) fn look(&mut self) -> Result<(), JournalError> {
        let newest = self.reader.ranges()?.last().copied();
        self.grown(newest.map(|range| Point { epoch: range.epoch, i: range.last }));
        Ok(())
    }

    /// The last record that there is, as far as this knows.
    pub(crate) fn end(&self) -> Option<Point> {
        self.delivery.end()
    }

    /// This is the newest heartbeat.
    pub(crate) fn beaten(&mut self, beat: Wire) {
        self.delivery.beaten(beat);
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
        for at in 0..self.relays.len() {
            let asked = self.delivery.ask(at, &mut self.reader, now, fastrand::u64(..))?;
            if let Some(request) = asked
                && !self.lines.send(at, &request.encode())
            {
                self.delivery.not_sent(at, now);
            }
        }
        Ok(())
    }

    /// Waits for answers, at most so long, or until woken; what they came to.
    pub(crate) fn receive(&mut self, timeout: Duration) -> Vec<(Identity, Outcome)> {
        let timeout = timeout.min(Duration::from_millis(self.pause()));
        let answers = self.lines.receive(timeout);
        let now = self.clock.millis();
        if answers.is_empty() {
            self.delivery.look_again(now);
        }
        let mut outcomes = Vec::new();
        for (at, frames) in answers {
            let relay = self.relays[at].clone();
            let outcome = match Answer::parse(&frames) {
                Ok(Answer { id, reply }) => {
                    let reader = &mut self.reader;
                    let known = |point| reader.ranges().is_ok_and(|ranges| has(&ranges, point));
                    self.delivery.answered(at, &id, reply, known, (now, fastrand::u64(..)))
                }
                Err(error) => Outcome::Failed(format!("a malformed answer: {error}")),
            };
            outcomes.push((relay, outcome));
        }
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
        let unsaved = self.saved != *self.delivery.delivered();
        let save = if unsaved { self.save_at.saturating_sub(now).max(1) } else { u64::MAX };
        self.delivery.pause(now).min(save)
    }

    /// Writes down what relays have, if there is something new.
    pub(crate) fn save(&mut self) {
        let delivered = self.delivery.delivered();
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
        self.delivery.delivered()
    }

    /// Looks what another process has delivered.
    pub(crate) fn look_what_others_did(&mut self) {
        if !self.is_sender() {
            let delivered = marks::load(&*self.disk, &self.slot);
            let end = self.delivery.end();
            self.delivery = Delivery::new(self.relays.iter().cloned(), delivered);
            self.delivery.grown(end);
        }
    }

    /// How many relays answer.
    pub(crate) fn up(&self) -> usize {
        self.delivery.up()
    }

    /// Whether every relay that answers has everything, and one does.
    pub(crate) fn is_done(&self) -> bool {
        let up = |at: &usize| self.delivery.is_up(*at);
        let mut up = (0..self.relays.len()).filter(up).peekable();
        up.peek().is_some() && up.all(|at| self.delivery.is_done(at))
    }

    /// Whether a request is on its way.
    pub(crate) fn is_asking(&self) -> bool {
        (0..self.relays.len()).any(|at| self.delivery.is_asked(at))
    }

    /// Interrupts [`receive`](Sender::receive).
    pub(crate) fn waker(&self) -> Arc<dyn Wake> {
        self.lines.waker()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.save();
    }
}
