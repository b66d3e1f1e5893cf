//! The thread that hands the records of a publisher with an endpoint to the holders of copies.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Shared;
use super::copying::Copying;
use crate::clock::Clock;
use crate::delivered::Point;
use crate::delivery::Outcome;
use crate::journal::Mark;
use crate::outbox::sender::Sender;

/// When nothing more is published, holders that answer are given what they lack for so long.
const CLOSING_MS_MAX: u64 = 5_000;
/// How often it is looked what has to be proven.
const LOOK_MS: u64 = 1_000;

/// What the thread works with.
pub(super) struct Copier {
    pub(super) sender: Sender,
    pub(super) copying: Copying,
    /// How far the journal is.
    pub(super) mark: Mark,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
}

impl Copier {
    /// Starts it. It ends when the publisher is closed, and nobody waits any more.
    pub(super) fn start(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("fedmsg-copies".into()).spawn(move || self.run())
    }

    fn run(mut self) {
        let mut closing = None;
        loop {
            let now = self.clock.millis();
            // First those who wait, then how far the journal is: what they wait for is in it.
            let (beat, is_closing) = self.copying.take(now);
            let end = self.mark.get().map(|(epoch, i)| Point { epoch, i });
            self.sender.grown(end);
            beat.into_iter().for_each(|beat| self.sender.beaten(beat));
            let copying = &mut self.copying;
            self.sender.prove(|relay, upto| copying.unproven(relay, upto, now));
            if let Err(error) = self.sender.send() {
                tracing::warn!(%error, stream = %self.shared.position().0, "reading what is to be copied");
            }
            if is_closing && self.is_over(*closing.get_or_insert(now), now) {
                break;
            }
            for (relay, outcome) in self.sender.receive(self.pause(now)) {
                self.copying.learn(&relay, &outcome, self.sender.end());
                if matches!(outcome, Outcome::NeedsEpoch | Outcome::Refused(_)) {
                    self.shared.waker.wake();
                }
            }
            self.copying.answer(self.clock.millis());
        }
        self.copying.give_up();
    }

    /// Whether nobody is waited for any more.
    fn is_over(&self, since: u64, now: u64) -> bool {
        let has_time = now.saturating_sub(since) <= CLOSING_MS_MAX;
        let is_done = self.sender.up() == 0 || self.sender.is_done();
        !self.copying.is_waited_for() && (is_done || !has_time)
    }

    fn pause(&self, now: u64) -> Duration {
        let next = self.copying.next_at().map_or(u64::MAX, |at| at.saturating_sub(now));
        Duration::from_millis(next.min(LOOK_MS))
    }
}
