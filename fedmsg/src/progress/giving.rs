//! What the reader says, and what a consumer is given of it.

use super::{Kind, Mark, Progress, Ticket};
use crate::consumer::{Position, Refusal, Refused};
use crate::envelope::Epoch;
use crate::event::EpochChange;
use crate::identity::StreamName;
use crate::limits::{FAILURES_PAGE_MAX, REFUSALS_WAITING_MAX, TELL_AGAIN_MS, TELL_MS, TELLS_MAX};
use crate::open::Place;

impl Progress {
    /// Takes a message in its order, and gives a ticket if it is to be handed out. `bytes` is nothing for one
    /// that is not wanted.
    pub fn message(
        &mut self,
        stream: &StreamName,
        place: &Place,
        bytes: Option<usize>,
    ) -> Option<Ticket> {
        let at = self.track(stream);
        let track = &mut self.tracks[at];
        if track.has_passed(place.epoch, place.i) {
            self.counts.repeated += 1;
            return None;
        }
        // A stream that was forgotten here goes on where the reader is.
        track.settle(Mark { epoch: place.epoch, i: place.i - 1, leaf: Some(place.prev) });
        let Some(bytes) = bytes else {
            track.pass(Mark { epoch: place.epoch, i: place.i, leaf: Some(place.leaf) });
            self.idle.insert(at);
            return None;
        };
        let position = Position { stream: stream.clone(), epoch: place.epoch, i: place.i };
        let ticket = self.hand_out(Kind::InOrder(at), position, bytes);
        self.tracks[at].hand_out(ticket, place);
        Some(ticket)
    }

    /// Nobody has the messages of this epoch up to a number.
    pub fn lost(&mut self, stream: &StreamName, epoch: Epoch, to: u64) {
        self.pass(stream, Mark { epoch, i: to, leaf: None });
    }

    /// A stream is taken up, or goes on in another epoch.
    pub fn epoch(&mut self, change: &EpochChange) {
        let i = change.next.saturating_sub(1);
        self.pass(&change.stream, Mark { epoch: change.to, i, leaf: None });
    }

    fn pass(&mut self, stream: &StreamName, mark: Mark) {
        let at = self.track(stream);
        if !self.tracks[at].has_passed(mark.epoch, mark.i) {
            self.tracks[at].pass(mark);
            self.idle.insert(at);
        }
    }

    /// A message with a good signature was refused: its position is used up. It is written down if it may be
    /// accepted later.
    pub fn refused(&mut self, position: &Position, curable: Option<Refused>) {
        if self.cures.refused(position) {
            match curable {
                Some(refused) => self.refusals.push(refused),
                None => self.cured.push(position.clone()),
            }
            return;
        }
        let at = self.track(&position.stream);
        if self.tracks[at].has_passed(position.epoch, position.i) {
            return;
        }
        self.refusals.extend(curable);
        if self.tracks[at].use_up(position.epoch, position.i) {
            self.idle.insert(at);
        }
    }

    /// A message was refused whose signature nobody can check here. That is written down for people: nothing
    /// moves by it, and its stream brings it when its key has come. The note stands at number 0, where no message
    /// is: what it says of its number is a mere claim, and a refusal that is noted there must not be struck out
    /// together with it.
    pub fn unknown(&mut self, mut refused: Refused) {
        refused.position.i = 0;
        if self.cures.note(&refused.position.stream) && self.refusals.len() < REFUSALS_WAITING_MAX {
            self.refusals.push(refused);
        }
    }

    /// How far a stream is, as its heartbeat says.
    pub fn head(&mut self, stream: &StreamName, epoch: Epoch, last: u64) {
        if let Some(at) = self.by_name.get(stream) {
            self.tracks[*at].head(epoch, last);
        }
    }

    /// Gives a ticket for a failed message whose time has come, unless it is in the consumer's hands.
    pub fn again(&mut self, position: &Position, bytes: usize) -> Option<Ticket> {
        // They have room of their own: while the store lacks room for more of them, these go on.
        if self.again.contains_key(position) || self.again.len() >= FAILURES_PAGE_MAX {
            return None;
        }
        let ticket = self.hand_out(Kind::Again, position.clone(), bytes);
        self.again.insert(position.clone(), ticket);
        self.counts.retried += 1;
        Some(ticket)
    }

    /// A failed message is no message any more, or is refused by now: it is struck out.
    pub fn void(&mut self, position: &Position, curable: Option<Refused>) {
        self.refusals.extend(curable);
        self.succeeded.push(position.clone());
    }

    /// Takes what the store keeps of refused messages, of which some may be cured by now.
    pub fn curable(&mut self, refusals: Vec<Refusal>, knows: impl Fn(&Refused) -> bool) {
        self.cured.extend(self.cures.fill(refusals, knows));
    }

    /// Which refused messages are to be fetched now.
    pub fn fetches(&mut self, now: u64) -> Vec<Position> {
        self.cures.fetches(now)
    }

    /// Which cursors publishers are to be told now: from time to time, few at once.
    pub fn tells(&mut self, now: u64) -> Vec<Position> {
        if now < self.told.saturating_add(TELL_MS) {
            return Vec::new();
        }
        self.told = now;
        if now >= self.told_all.saturating_add(TELL_AGAIN_MS) {
            // Whoever was not there, or has forgotten it: a publisher that began anew.
            self.told_all = now;
            self.untold.extend(self.by_name.values());
        }
        let mut tells = Vec::new();
        while tells.len() < TELLS_MAX
            && let Some(at) = self.untold.pop_first()
        {
            tells.extend(self.tracks[at].in_store());
        }
        tells
    }

    /// Gives a ticket for a message that was refused before, and came now. `bytes` is nothing for one that is
    /// not wanted.
    pub fn late(&mut self, position: &Position, bytes: Option<usize>) -> Option<Ticket> {
        if !self.cures.came(position) {
            return None;
        }
        let Some(bytes) = bytes else {
            self.cured.push(position.clone());
            return None;
        };
        self.counts.late += 1;
        Some(self.hand_out(Kind::Late, position.clone(), bytes))
    }

    /// Nobody has a message that was refused before.
    pub fn unfetched(&mut self, position: &Position) {
        if self.cures.came(position) {
            self.cured.push(position.clone());
        }
    }
}
