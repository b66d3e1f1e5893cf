//! How a publisher hands its journal to relays, without threads, sockets and locks: for the simulator.
//!
//! The decisions are those of `Delivery` and `Core`; what surrounds them in a process is in `outbox/sender.rs` and
//! `publisher/posted.rs`.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::marks;
use crate::config::JournalSection;
use crate::delivered::{Delivered, Point, Refusal};
use crate::delivery::{Delivery, Outcome, has};
use crate::envelope::Wire;
use crate::frames::Answer;
use crate::identity::{Identity, StreamName};
use crate::journal::{Disk, JournalError, Reader};
use crate::publisher::core::Core;
use crate::publisher::{Floor, Retention};
use crate::record::After;
use crate::rejection::Rejection;
use crate::seal::Sealer;
use crate::timestamp::Timestamp;

/// What relays have is written down this often, in milliseconds, and when it ends.
const SAVE_MS: u64 = 100;
/// What could not be done is tried again so much later, in milliseconds.
const AGAIN_MS: u64 = 1_000;

/// A journal that is handed to relays.
#[derive(Debug)]
pub struct Post {
    disk: Arc<dyn Disk>,
    slot: PathBuf,
    reader: Reader,
    delivery: Delivery,
    relays: usize,
    saved: Delivered,
    save_at: u64,
    floor: Floor,
    /// A relay lacks what is gone.
    wants_epoch: bool,
    again_at: u64,
}

/// The number of a relay, and the frames of a request to it.
pub type Asked = (usize, Vec<bytes::Bytes>);

impl Post {
    /// Hands what this publisher keeps to these relays. Its journal keeps what none of them has.
    pub fn open(
        disk: Arc<dyn Disk>,
        slot: PathBuf,
        core: &mut Core,
        stream: &StreamName,
        relays: &[Identity],
    ) -> Post {
        let journal = slot.join("journal");
        let reader = core.reader().unwrap_or_else(|| Reader::new(Arc::clone(&disk), &journal));
        let saved = marks::load(&*disk, &slot);
        let delivery = Delivery::new(relays.iter().cloned(), saved.clone());
        let (floor, section, state) = (Floor::default(), JournalSection::default(), slot.clone());
        let kept = Retention::until_delivered(&section, stream.clone(), Arc::clone(&floor), &state);
        core.set_retention(kept);
        let (relays, save_at, wants_epoch, again_at) = (relays.len(), 0, false, 0);
        let mut post = Post {
            disk,
            slot,
            reader,
            delivery,
            relays,
            saved,
            save_at,
            floor,
            wants_epoch,
            again_at,
        };
        post.grown(core);
        post.tell();
        post
    }

    /// The journal may have more.
    pub fn grown(&mut self, core: &Core) {
        let end = core.mark().and_then(|mark| mark.get());
        self.delivery.grown(end.map(|(epoch, i)| Point { epoch, i }));
    }

    /// This is the newest heartbeat.
    pub fn beaten(&mut self, beat: Wire) {
        self.delivery.beaten(beat);
    }

    /// What is sent now, and to which relay.
    pub fn asks(
        &mut self,
        now: u64,
        mut chance: impl FnMut() -> u64,
    ) -> Result<Vec<Asked>, JournalError> {
        let mut asks = Vec::new();
        for at in 0..self.relays {
            let asked = self.delivery.ask(at, &mut self.reader, now, chance())?;
            asks.extend(asked.map(|request| (at, request.encode())));
        }
        Ok(asks)
    }

    /// A request could not be sent.
    pub fn not_sent(&mut self, at: usize, now: u64) {
        self.delivery.not_sent(at, now);
    }

    /// Connections have changed.
    pub fn look_again(&mut self, now: u64) {
        self.delivery.look_again(now);
    }

    /// A relay answered. Says whether it knows another record of a number, so that a new epoch must begin that is not
    /// tied to this one.
    pub fn answered(&mut self, at: usize, answer: Answer, now: u64, chance: u64) -> bool {
        let Post { delivery, reader, .. } = self;
        let Answer { id, reply } = answer;
        let known = |point| reader.ranges().is_ok_and(|ranges| has(&ranges, point));
        let outcome = delivery.answered(at, &id, reply, known, (now, chance));
        self.tell();
        match outcome {
            Outcome::NeedsEpoch => {
                (self.wants_epoch, self.again_at) = (true, now);
                false
            }
            Outcome::Refused(Refusal { reason, .. }) => reason == Rejection::Fork.name(),
            _ => false,
        }
    }

    /// Begins a new epoch, tied to the end of this one, where a relay needs one and it is time.
    pub fn go_on(
        &mut self,
        core: &mut Core,
        sealer: &Sealer,
        wall: Timestamp,
        now: u64,
        random: [u8; 10],
    ) -> Option<Result<Sealer, JournalError>> {
        let is_time = now >= self.again_at && core.retry_at().is_none() && !core.is_renewing();
        if !self.wants_epoch || !is_time {
            return None;
        }
        self.again_at = now.saturating_add(AGAIN_MS);
        let (epoch, (last, leaf)) = (sealer.epoch(), sealer.last());
        let after = (After::Epoch { epoch, last }, leaf);
        let begun = core.go_on_after(sealer, after, wall, random);
        self.wants_epoch = begun.is_err();
        self.grown(core);
        Some(begun.map(|(sealer, _)| sealer))
    }

    /// When there is something to be done, in milliseconds.
    pub fn due(&self, now: u64) -> u64 {
        let save = if self.is_saved() { u64::MAX } else { self.save_at };
        let again = if self.wants_epoch { self.again_at } else { u64::MAX };
        now.saturating_add(self.delivery.pause(now)).min(save).min(again)
    }

    /// Writes down what relays have, if it is time.
    pub fn save(&mut self, now: u64) {
        if now >= self.save_at {
            self.save_at = now + SAVE_MS;
            self.save_now();
        }
    }

    /// Writes down what relays have, if there is something new.
    pub fn save_now(&mut self) {
        if self.is_saved() {
            return;
        }
        let delivered = self.delivery.delivered();
        if marks::save(&*self.disk, &self.slot, delivered, false).is_ok() {
            self.saved = delivered.clone();
        }
    }

    /// What relays have.
    pub fn delivered(&self) -> &Delivered {
        self.delivery.delivered()
    }

    /// Whether every relay that answers has everything, and one does.
    pub fn is_done(&self) -> bool {
        let mut up = (0..self.relays).filter(|at| self.delivery.is_up(*at)).peekable();
        up.peek().is_some() && up.all(|at| self.delivery.is_done(at))
    }

    fn is_saved(&self) -> bool {
        self.saved == *self.delivery.delivered()
    }

    fn tell(&self) {
        let floor = self.delivery.delivered().floor();
        *self.floor.lock().unwrap_or_else(PoisonError::into_inner) = floor;
    }
}
