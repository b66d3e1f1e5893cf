//! A message in the hands of a durable consumer.

use std::fmt;
use std::ops::Deref;
use std::sync::Weak;

use super::shared::Shared;
use crate::clock::Clock;
use crate::consumer::{Failure, Position};
use crate::event::Message;
use crate::limits::ERROR_TEXT_BYTES_MAX;
use crate::progress::{Failing, Ticket};

/// A message, and the duty to answer for it: [`ack`](Delivery::ack) or [`fail`](Delivery::fail), from any thread
/// and in any order.
///
/// One that is dropped without an answer, by a panic for example, has failed. When the whole consumer ends first,
/// it comes again as if it had never been handed out.
#[must_use = "a delivery that is dropped without an answer has failed"]
pub struct Delivery {
    pub(super) message: Message,
    pub(super) attempt: u32,
    pub(super) late: bool,
    pub(super) ticket: Option<Ticket>,
    pub(super) shared: Weak<Shared>,
}

impl Delivery {
    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Which try this is: 1 for the first. A try that ended with its process does not count.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it was refused before, and comes out of its order because its key or rule has come.
    pub fn is_late(&self) -> bool {
        self.late
    }

    /// It was handled: it does not come again, once that is in the store. Returns at once.
    pub fn ack(mut self) {
        if let (Some(ticket), Some(shared)) = (self.ticket.take(), self.shared.upgrade()) {
            shared.acked(ticket);
        }
    }

    /// It could not be handled, and this is why: it is tried again later, or given up and kept as a dead letter.
    /// Returns at once.
    pub fn fail(mut self, error: impl fmt::Display) {
        self.failed(&error.to_string());
    }

    fn failed(&mut self, error: &str) {
        let (Some(ticket), Some(shared)) = (self.ticket.take(), self.shared.upgrade()) else {
            return;
        };
        let (message, mut end) = (&self.message, error.len().min(ERROR_TEXT_BYTES_MAX));
        while !error.is_char_boundary(end) {
            end -= 1;
        }
        let stream = message.stream().clone();
        let failure = Failure {
            position: Position { stream, epoch: message.epoch(), i: message.i() },
            topic: message.topic().clone(),
            envelope: message.wire().envelope.clone(),
            error: error[..end].to_owned(),
            attempts: self.attempt,
        };
        shared.failed(ticket, Failing { failure, at: Clock::wall() });
    }
}

impl Deref for Delivery {
    type Target = Message;
    fn deref(&self) -> &Message {
        &self.message
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.failed("it was dropped without an answer");
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("stream", self.message.stream())
            .field("i", &self.message.i())
            .field("attempt", &self.attempt)
            .field("late", &self.late)
            .finish_non_exhaustive()
    }
}
