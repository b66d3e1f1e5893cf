//! What the writer thread does whichever way the messages go: take, recognise retries, seal in trees,
//! keep the pace.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::past::Past;
use super::{Answer, Job, PublishError, Shared};
use crate::clock::Clock;
use crate::dedup::{Known, MsgIds};
use crate::envelope::Epoch;
use crate::limits::{
    ENVELOPE_BYTES_MAX, JOURNAL_BATCH_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX, TREE_LEAVES_MAX,
};
use crate::merkle::Leaf;
use crate::pacing::{Budget, Due, Pacer};
use crate::record::{Level, State};
use crate::seal::{Checked, SealError, Sealed, Sealer};

/// What a record has in a journal beside its envelope.
const RECORD_REST_BYTES: usize = JOURNAL_RECORD_BYTES_MAX - ENVELOPE_BYTES_MAX;

/// Most drafts that are out of the queue and not sealed.
const WAITING_MAX: usize = 16 * TREE_LEAVES_MAX;

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) sealer: Sealer,
    pub(super) pacer: Pacer,
    pub(super) clock: Clock,
    waiting: VecDeque<Job>,
    msg_ids: MsgIds,
    /// What was published under other identifiers, until that is asked for.
    past: Option<Past>,
    /// A new reader is to be told where the stream is, and how its epoch began.
    announcing: bool,
}

/// A sealed message and who waits for its receipt.
pub(super) struct Outgoing {
    pub(super) sealed: Sealed,
    pub(super) msg_id: String,
    pub(super) answer: Answer,
}

/// Who waits for the receipt of a message that is sealed: a retry of one that was published before, as a rule.
pub(super) struct Retry {
    pub(super) epoch: Epoch,
    pub(super) i: u64,
    pub(super) msg_id: String,
    pub(super) answer: Answer,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, sealer: Sealer, seal_interval_us: u64) -> Writer {
        let clock = Clock::of_process();
        let pacer = match shared.level {
            Level::Memory | Level::Stored(_) => {
                Pacer::new(seal_interval_us, Budget::of_process(), clock.micros())
            }
            // The disk sets the pace: what queues while it works shares the next signatures.
            _ => Pacer::new(0, Arc::new(Budget::unlimited()), clock.micros()),
        };
        let (waiting, msg_ids) = (VecDeque::new(), MsgIds::default());
        let (past, announcing) = (None, true);
        Writer { shared, sealer, pacer, clock, waiting, msg_ids, past, announcing }
    }

    /// Retries of what stands there are recognised, too.
    pub(super) fn remembers(&mut self, past: Past) {
        self.past = Some(past);
    }

    /// Takes what is in the queue if it is time to seal; says whether the publisher is closed and
    /// everything was sealed.
    ///
    /// Until then messages stay in the queue, where they wake nobody.
    pub(super) fn fill(&mut self) -> bool {
        // Before the queue is looked at: whoever pushes from here on wakes the writer again.
        self.shared.writer_looks.store(false, Ordering::SeqCst);
        let closed = self.shared.queue.is_closed();
        let now = self.clock.micros();
        if self.pacer.seal_due(self.backlog(), now) == Some(Due::Now) {
            let room = WAITING_MAX.saturating_sub(self.waiting.len());
            self.shared.queue.take_now(room, &mut self.waiting);
        }
        closed && self.backlog() == 0
    }

    fn backlog(&self) -> usize {
        self.waiting.len() + self.shared.queue.len()
    }

    /// Seals up to so many messages, in trees, if it is time; nothing otherwise. Retries come back beside
    /// them.
    pub(super) fn seal_due(&mut self, most: usize) -> (Vec<Outgoing>, Vec<Retry>) {
        let now = self.clock.micros();
        if self.pacer.seal_due(self.waiting.len(), now) != Some(Due::Now) {
            return (Vec::new(), Vec::new());
        }
        let (mut tree, mut answers, mut retries) = (Vec::new(), Vec::new(), Vec::new());
        let next = self.sealer.last().0 + 1;
        // What is sealed together is appended together, and must fit: a batch that no journal takes could not
        // be taken back.
        let mut room = JOURNAL_BATCH_BYTES_MAX;
        while tree.len() < most
            && let Some(left) = self
                .waiting
                .front()
                .and_then(|job| room.checked_sub(job.message.written_max() + RECORD_REST_BYTES))
            && let Some(Job { message, answer }) = self.waiting.pop_front()
        {
            room = left;
            match self.recognise(&message, next + tree.len() as u64) {
                Known::New => {
                    answers.push((message.msg_id.clone(), answer));
                    tree.push(message);
                }
                Known::Same(epoch, i) => {
                    retries.push(Retry { epoch, i, msg_id: message.msg_id, answer });
                }
                Known::Other => {
                    let error = SealError::MsgIdReused(message.msg_id);
                    self.shared.answer(answer, Err(PublishError::Seal(error)));
                }
            }
        }
        let sealed = self.sealer.seal(&tree, Clock::wall());
        if !sealed.is_empty() {
            self.pacer.sealed(self.clock.micros());
        }
        let outgoing = sealed.into_iter().zip(answers);
        let outgoing =
            outgoing.map(|(sealed, (msg_id, answer))| Outgoing { sealed, msg_id, answer });
        (outgoing.collect(), retries)
    }

    /// So many messages were published.
    pub(super) fn count_published(&self, count: usize) {
        self.shared.counts.published.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Whether the caller's own identifier was seen before; a new one is to get number `i`.
    fn recognise(&mut self, message: &Checked, i: u64) -> Known {
        if !message.idempotent {
            return Known::New;
        }
        let now = self.clock.millis() as i64;
        if let Some(past) = self.past.take() {
            past.recall(&mut self.msg_ids, now, Clock::wall());
        }
        let known = self.msg_ids.look_up(message, now);
        if known == Known::New {
            self.msg_ids.remember(message, (self.sealer.epoch(), i), now);
        }
        known
    }

    /// Goes on in a new epoch, which this writer of it opened. What was sealed in the epoch before behind this
    /// number was never published: retries of it are new messages.
    pub(super) fn go_on_in(&mut self, sealer: Sealer, kept: u64) {
        self.msg_ids.forget_behind(self.sealer.epoch(), kept);
        self.shared.set_epoch(sealer.epoch());
        self.sealer = sealer;
        self.announce();
    }

    /// No relay took the message of this identifier: a retry must not be given a receipt for it.
    #[cfg(feature = "net")]
    pub(super) fn forget_msg_id(&mut self, msg_id: &str) {
        self.msg_ids.forget(msg_id);
    }

    /// Whether it is time for a heartbeat.
    pub(super) fn is_heartbeat_due(&self) -> bool {
        self.pacer.heartbeat_due(self.clock.micros()) == Due::Now
    }

    /// A heartbeat, if it is time.
    #[cfg(feature = "net")]
    pub(super) fn heartbeat_due(&mut self) -> Option<Sealed> {
        self.is_heartbeat_due().then(|| self.heartbeat(State::Open))
    }

    /// A heartbeat now.
    #[cfg(feature = "net")]
    pub(super) fn heartbeat(&mut self, state: State) -> Sealed {
        self.heartbeat_at(self.sealer.last(), state)
    }

    /// A heartbeat now that knows nothing of what was sealed behind this position.
    pub(super) fn heartbeat_at(&mut self, end: (u64, Leaf), state: State) -> Sealed {
        let config = self.shared.config();
        self.pacer.beaten(self.clock.micros());
        self.sealer.heartbeat_at(end, state, &config.digest, Clock::wall())
    }

    /// A new reader is there.
    pub(super) fn announce(&mut self) {
        self.announcing = true;
        self.pacer.announce();
    }

    /// Whether the heartbeat that was just sent is for a new reader, who needs the genesis record too.
    pub(super) fn announcing(&mut self) -> bool {
        std::mem::take(&mut self.announcing)
    }

    /// How long no heartbeat is due.
    pub(super) fn heartbeat_pause(&self) -> Duration {
        let now = self.clock.micros();
        Duration::from_micros(until(self.pacer.heartbeat_due(now), now))
    }

    /// How long nothing has to be done here.
    pub(super) fn pause(&self) -> Duration {
        let now = self.clock.micros();
        let seal = match self.pacer.look_at(now) {
            Some(time) => {
                self.shared.writer_looks.store(true, Ordering::SeqCst);
                let full = self.backlog() >= TREE_LEAVES_MAX;
                if full { 0 } else { time.saturating_sub(now) }
            }
            None => {
                self.pacer.seal_due(self.backlog(), now).map_or(u64::MAX, |due| until(due, now))
            }
        };
        self.heartbeat_pause().min(Duration::from_micros(seal))
    }

    /// The publisher cannot go on: whoever waits is told.
    #[cfg(feature = "net")]
    pub(super) fn fail_waiting(&mut self) {
        self.shared.queue.close();
        self.refuse_waiting(&PublishError::Closed);
    }

    /// Nothing of what waits can be published: whoever waits is told why.
    pub(super) fn refuse_waiting(&mut self, why: &PublishError) {
        self.shared.queue.take_now(usize::MAX, &mut self.waiting);
        for job in std::mem::take(&mut self.waiting) {
            self.shared.answer(job.answer, Err(why.clone()));
        }
    }
}

/// How long something is not due.
fn until(due: Due, now: u64) -> u64 {
    match due {
        Due::Now => 0,
        Due::At(time) => time.saturating_sub(now),
    }
}
