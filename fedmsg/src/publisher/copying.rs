//! Those who wait for copies of their messages on other machines: at levels `replicated(n)` and `stored(n)`.
//!
//! The writer goes on as soon as a message is where it has to be on this host; who published it waits here. What holders
//! say is verified against the keys that are trusted at that moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(feature = "net")]
pub(super) use self::counting::Copying;
use super::Answer;
use super::writer::Retry;
use crate::delivered::Point;
use crate::envelope::Wire;
use crate::transport::Wake;

/// What the writer hands to whoever follows the copies, and is told by it.
pub(super) struct Handover {
    said: Mutex<Said>,
    /// Callers that wait, here and beyond.
    waiting: AtomicUsize,
    most: usize,
    is_short: AtomicBool,
    /// Wakes whoever follows the copies, where that is another thread.
    waker: Option<Arc<dyn Wake>>,
}

#[derive(Default)]
struct Said {
    waits: Vec<Wait>,
    beat: Option<Wire>,
    is_closing: bool,
    wants: Wants,
}

/// Somebody who waits for the copies of a message.
pub(super) struct Wait {
    pub(super) point: Point,
    pub(super) msg_id: String,
    pub(super) answer: Answer,
    /// It was published before.
    pub(super) is_again: bool,
}

/// What holders want of the writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    /// One lacks what is gone: it goes on only in a new epoch.
    pub(super) epoch: bool,
    /// One knows another message of a number: somebody else writes the stream, or it was set back.
    pub(super) renewal: bool,
}

impl Handover {
    /// At most so many wait.
    pub(super) fn new(most: usize, waker: Option<Arc<dyn Wake>>) -> Handover {
        let (said, is_short) = (Mutex::default(), AtomicBool::new(false));
        Handover { said, waiting: AtomicUsize::new(0), most, is_short, waker }
    }

    /// These wait, each with whether its message was published before.
    pub(super) fn wait(&self, all: impl Iterator<Item = (bool, Retry)>) {
        let wait = |(is_again, Retry { epoch, i, msg_id, answer })| Wait {
            point: Point { epoch, i },
            msg_id,
            answer,
            is_again,
        };
        let all: Vec<Wait> = all.map(wait).collect();
        if !all.is_empty() {
            // Before anybody can answer them.
            self.waiting.fetch_add(all.len(), Ordering::SeqCst);
            self.lock().waits.extend(all);
            self.wake();
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst) as u64
    }

    /// Whether more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) < self.most
    }

    /// Whether messages are known to lack copies.
    pub(super) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::SeqCst)
    }

    /// This is the newest heartbeat.
    pub(super) fn beaten(&self, beat: Wire) {
        self.lock().beat = Some(beat);
        self.wake();
    }

    /// Nothing more is published.
    pub(super) fn close(&self) {
        self.lock().is_closing = true;
        self.wake();
    }

    /// What holders have wanted since the last call.
    pub(super) fn wants(&self) -> Wants {
        std::mem::take(&mut self.lock().wants)
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "net")]
mod counting {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::super::{Answer, PublishError, Shared, Shortfall};
    use super::{Handover, Wait, Wants};
    use crate::config::OnUnreachable;
    use crate::copies::{Copies, Due, Waiting};
    use crate::delivered::Point;
    use crate::delivery::Outcome;
    use crate::envelope::Wire;
    use crate::identity::Identity;
    use crate::record::Level;
    use crate::rejection::Rejection;

    /// Counts copies, and answers those who wait for them.
    pub(crate) struct Copying {
        copies: Copies<(String, Answer)>,
        shared: Arc<Shared>,
        on_unreachable: OnUnreachable,
        /// It was said that copies are missing.
        is_told: bool,
    }

    impl Copying {
        /// For the publisher of this level; nothing at levels that wait for nobody. The word of these holders counts.
        pub(crate) fn new(
            shared: &Arc<Shared>,
            counting: Vec<Identity>,
            on_unreachable: OnUnreachable,
        ) -> Option<Copying> {
            let (Level::Replicated(needed) | Level::Stored(needed)) = shared.level else {
                return None;
            };
            let section = &shared.config().publisher;
            let (wait_ms, most) = (section.copies_wait_ms, section.queue_messages);
            let copies = Copies::new(Waiting { needed: needed.into(), wait_ms, most }, counting);
            let shared = Arc::clone(shared);
            Some(Copying { copies, shared, on_unreachable, is_told: false })
        }

        fn handover(&self) -> &Handover {
            self.shared.copying.as_ref().expect("a publisher that counts copies has one")
        }

        /// Takes over those who wait since the last call; the newest heartbeat, if there is a new one, and whether
        /// nothing more is published.
        pub(crate) fn take(&mut self, now: u64) -> (Option<Wire>, bool) {
            let mut said = self.handover().lock();
            let (waits, beat) = (std::mem::take(&mut said.waits), said.beat.take());
            let is_closing = said.is_closing;
            drop(said);
            for Wait { point, msg_id, answer, is_again } in waits {
                self.copies.wait(point, (msg_id, answer), is_again, now);
            }
            (beat, is_closing)
        }

        /// What an answer of a relay means for those who wait, and for the writer. `end` is the end of the stream.
        pub(crate) fn learn(&mut self, relay: &Identity, outcome: &Outcome, end: Option<Point>) {
            let config = self.shared.config();
            if let Some(why) = self.copies.learn(relay, outcome, end, &config.trust.keys) {
                let (stream, _) = self.shared.position();
                tracing::warn!(%stream, %relay, why, "no copy there");
            }
            match outcome {
                Outcome::NeedsEpoch => self.want(Wants { epoch: true, renewal: false }),
                Outcome::Refused(refusal) if refusal.reason == Rejection::Fork.name() => {
                    self.want(Wants { renewal: true, epoch: false });
                }
                _ => {}
            }
        }

        fn want(&self, wants: Wants) {
            let mut said = self.handover().lock();
            said.wants.epoch |= wants.epoch;
            said.wants.renewal |= wants.renewal;
        }

        /// From where on a relay that has so much is asked for its receipts again.
        pub(crate) fn unproven(
            &mut self,
            relay: &Identity,
            upto: Option<Point>,
            now: u64,
        ) -> Option<Point> {
            self.copies.unproven(relay, upto, now)
        }

        /// Answers those who need not wait, or may not wait any longer. The identifiers of messages that will never
        /// have their copies.
        pub(crate) fn answer(&mut self, now: u64) -> Vec<String> {
            let due = self.copies.due(now);
            self.tell(due)
        }

        /// Everybody who waits is told what was reached.
        pub(crate) fn give_up(&mut self) {
            self.take(0);
            let due = self.copies.give_up();
            self.tell(due);
        }

        fn tell(&mut self, due: Vec<Due<(String, Answer)>>) -> Vec<String> {
            let had_room = self.handover().has_room();
            let mut hopeless = Vec::new();
            for due in due {
                let is_over = due.missing.is_some() && !self.copies.lacks(due.point);
                hopeless.extend(is_over.then(|| due.caller.0.clone()));
                self.tell_one(due);
            }
            let is_short = self.copies.is_short();
            self.handover().is_short.store(is_short, Ordering::SeqCst);
            if !is_short && std::mem::take(&mut self.is_told) {
                let (stream, _) = self.shared.position();
                tracing::info!(%stream, "messages have their copies again");
            }
            if !had_room && self.handover().has_room() {
                self.shared.waker.wake();
            }
            hopeless
        }

        fn tell_one(&mut self, due: Due<(String, Answer)>) {
            let Due { point: Point { epoch, i }, caller: (msg_id, answer), holders, missing } = due;
            let shared = &self.shared;
            shared.copying.iter().for_each(|copying| {
                copying.waiting.fetch_sub(1, Ordering::SeqCst);
            });
            let mut receipt = shared.receipt(epoch, i, msg_id, None);
            let Some(missing) = missing else {
                receipt.copies = holders;
                return shared.answer(answer, Ok(receipt));
            };
            let is_kept = !matches!(shared.level, Level::Stored(_));
            let reached = holders.len();
            shared.counts.short_of_copies.fetch_add(1, Ordering::Relaxed);
            let (Level::Replicated(wanted) | Level::Stored(wanted)) = shared.level else { return };
            let (stream, copies, level) = (receipt.stream.clone(), holders.clone(), shared.level);
            let short = Shortfall { stream, epoch, i, level, wanted, copies, missing };
            if !std::mem::replace(&mut self.is_told, true) {
                tracing::error!(stream = %short.stream, error = %short, "a message has fewer copies than promised");
            }
            let result = match self.on_unreachable {
                OnUnreachable::Local if is_kept => {
                    let reached = u8::try_from(reached).unwrap_or(u8::MAX);
                    let more = Level::Replicated(reached);
                    receipt.level = if reached == 0 { Level::Local } else { more };
                    receipt.copies = holders;
                    Ok(receipt)
                }
                _ => Err(PublishError::NotCopied(Box::new(short))),
            };
            shared.answer(answer, result);
        }

        /// When somebody is to be answered at the latest, in milliseconds.
        pub(crate) fn next_at(&self) -> Option<u64> {
            self.copies.next_at()
        }

        /// Whether somebody waits.
        pub(crate) fn is_waited_for(&self) -> bool {
            self.copies.callers() > 0
        }

        /// Whether a message lacks copies.
        pub(crate) fn lacks(&self, point: Point) -> bool {
            self.copies.lacks(point)
        }

        /// How many messages lack copies.
        pub(crate) fn lacking(&self) -> usize {
            self.copies.len()
        }
    }
}
