//! Requests to relays and their answers: the connections around a [`Delivery`].

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::delivered::{Delivered, Point};
use crate::delivery::{Backlog, Delivery, Outcome, has};
use crate::envelope::Wire;
use crate::frames::Answer;
use crate::identity::Identity;
use crate::journal::JournalError;
use crate::net::rpc::Lines;
use crate::transport::Wake;

/// Some relays, and how far each is with one stream.
pub(crate) struct Exchange {
    lines: Lines,
    relays: Vec<Identity>,
    delivery: Delivery,
    clock: Clock,
}

impl Exchange {
    /// With the relays of these connections, which have so much.
    pub(crate) fn new(lines: Lines, delivered: Delivered) -> Exchange {
        let relays: Vec<Identity> = lines.relays().cloned().collect();
        let delivery = Delivery::new(relays.iter().cloned(), delivered);
        Exchange { lines, relays, delivery, clock: Clock::start() }
    }

    /// The relays.
    pub(crate) fn relays(&self) -> &[Identity] {
        &self.relays
    }

    /// Goes on from what somebody else has found out: relays have so much.
    pub(crate) fn go_on_from(&mut self, delivered: Delivered) {
        let end = self.delivery.end();
        self.delivery = Delivery::new(self.relays.iter().cloned(), delivered);
        self.delivery.grown(end);
    }

    /// The stream ends here now.
    pub(crate) fn grown(&mut self, end: Option<Point>) {
        self.delivery.grown(end);
    }

    /// The last record that there is, as far as this knows.
    pub(crate) fn end(&self) -> Option<Point> {
        self.delivery.end()
    }

    /// This is the newest heartbeat.
    pub(crate) fn beaten(&mut self, beat: Wire) {
        self.delivery.beaten(beat);
    }

    /// Relays that are asked nothing now, with what each was given; for each of them `from` may say from where on its
    /// receipts are wanted again.
    pub(crate) fn prove(
        &mut self,
        mut from: impl FnMut(&Identity, Option<Point>) -> Option<Point>,
    ) {
        for (at, relay) in self.relays.iter().enumerate() {
            if !self.delivery.is_asked(at) {
                let upto = self.delivery.delivered().of(relay);
                from(relay, upto).into_iter().for_each(|from| self.delivery.prove(at, from));
            }
        }
    }

    /// Sends each relay what it needs next, if it is time.
    pub(crate) fn send(&mut self, backlog: &mut impl Backlog) -> Result<(), JournalError> {
        let now = self.clock.millis();
        for at in 0..self.relays.len() {
            let asked = self.delivery.ask(at, backlog, now, fastrand::u64(..))?;
            if let Some(request) = asked
                && !self.lines.send(at, &request.encode())
            {
                self.delivery.not_sent(at, now);
            }
        }
        Ok(())
    }

    /// Waits for answers, at most so long, or until woken; what they came to.
    pub(crate) fn receive(
        &mut self,
        backlog: &mut impl Backlog,
        timeout: Duration,
    ) -> Vec<(Identity, Outcome)> {
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
                    let known = |point| backlog.ranges().is_ok_and(|ranges| has(&ranges, point));
                    self.delivery.answered(at, &id, reply, known, (now, fastrand::u64(..)))
                }
                Err(error) => Outcome::Failed(format!("a malformed answer: {error}")),
            };
            outcomes.push((relay, outcome));
        }
        outcomes
    }

    /// How long nothing has to be sent, in milliseconds.
    pub(crate) fn pause(&self) -> u64 {
        self.delivery.pause(self.clock.millis())
    }

    /// What relays have.
    pub(crate) fn delivered(&self) -> &Delivered {
        self.delivery.delivered()
    }

    /// How many relays answer.
    pub(crate) fn up(&self) -> usize {
        self.delivery.up()
    }

    /// Up to where every relay has everything, or every one of those that answer.
    pub(crate) fn had_by_all(&self, that_answer: bool) -> Option<Point> {
        let all = self.relays.iter().enumerate();
        let all = all.filter(|(at, _)| !that_answer || self.delivery.is_up(*at));
        all.map(|(_, relay)| self.delivery.delivered().of(relay)).min().flatten()
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

    /// Interrupts [`receive`](Exchange::receive).
    pub(crate) fn waker(&self) -> Arc<dyn Wake> {
        self.lines.waker()
    }
}
