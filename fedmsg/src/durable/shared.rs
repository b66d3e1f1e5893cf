//! What the threads of a durable consumer have together.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Delivery, DurableError, DurableEvent, DurableMetrics};
use crate::clock::Clock;
use crate::consumer::ConsumerName;
use crate::event::Message;
use crate::identity::StreamName;
use crate::limits::{EVENTS_WAITING_MAX, FAILURES_PAGE_MAX, IN_FLIGHT_BYTES_MAX};
use crate::progress::{Failing, Progress, Ticket};
use crate::queue::Queue;
use crate::subscriber::Subscriber;

/// Whoever waits for room looks again after this time: a lease ends without a word.
const LOOK: Duration = Duration::from_millis(500);

pub(super) struct Shared {
    pub(super) name: ConsumerName,
    pub(super) clock: Clock,
    /// What was handed out and nobody has taken.
    pub(super) out: Queue<DurableEvent>,
    state: Mutex<State>,
    /// There is something to write.
    pub(super) work: Condvar,
    /// There may be room for more.
    room: Condvar,
    /// Something was written.
    written: Condvar,
    own: Weak<Shared>,
}

pub(super) struct State {
    /// Nothing while somebody else runs the consumer.
    pub(super) progress: Option<Progress>,
    pub(super) subscriber: Option<Arc<Subscriber>>,
    /// Nothing is handed out any more.
    pub(super) stopped: bool,
    /// Everything comes to its end.
    pub(super) closing: bool,
    /// When the lease ends, by the clock here that never goes back.
    pub(super) lease_until: u64,
    /// Keys or rules are other ones: refused messages may be accepted.
    pub(super) trust_changed: bool,
    pub(super) store_failures: u64,
}

impl Shared {
    pub(super) fn new(name: ConsumerName, in_flight: usize) -> Arc<Shared> {
        let items = in_flight + FAILURES_PAGE_MAX + EVENTS_WAITING_MAX;
        Arc::new_cyclic(|own| Shared {
            name,
            clock: Clock::start(),
            out: Queue::new(items, 2 * IN_FLIGHT_BYTES_MAX),
            state: Mutex::new(State {
                progress: None,
                subscriber: None,
                stopped: false,
                closing: false,
                lease_until: 0,
                trust_changed: true,
                store_failures: 0,
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            written: Condvar::new(),
            own: Weak::clone(own),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the progress, if the consumer is run here.
    pub(super) fn with<T>(&self, step: impl FnOnce(&mut Progress) -> T) -> Option<T> {
        self.lock().progress.as_mut().map(step)
    }

    pub(super) fn acked(&self, ticket: Ticket) {
        self.with(|progress| progress.acked(ticket));
        self.answered();
    }

    pub(super) fn failed(&self, ticket: Ticket, failing: Failing) {
        self.with(|progress| progress.failed(ticket, failing));
        self.answered();
    }

    fn answered(&self) {
        self.work.notify_all();
        self.room.notify_all();
    }

    /// What is to be handed out.
    pub(super) fn delivery(
        &self,
        message: Message,
        attempt: u32,
        late: bool,
        ticket: Ticket,
    ) -> Delivery {
        let (ticket, shared) = (Some(ticket), Weak::clone(&self.own));
        Delivery { message, attempt, late, ticket, shared }
    }

    /// Waits until more may be handed out; `false` at the end.
    pub(super) fn wait_for_room(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return false;
            }
            let leased = self.clock.millis() < state.lease_until;
            if leased && state.progress.as_ref().is_some_and(Progress::has_room) {
                return true;
            }
            state = self.room.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Something changed that others may wait for.
    pub(super) fn wake(&self) {
        self.room.notify_all();
        self.written.notify_all();
        self.work.notify_all();
    }

    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        let Some(target) = state.progress.as_ref().map(Progress::answers) else { return true };
        loop {
            let Some(progress) = &state.progress else { return false };
            if progress.written_answers() >= target {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state =
                self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Hands nothing out any more; and brings everything to its end, if that is wanted.
    pub(super) fn stop(&self, closing: bool) {
        let mut state = self.lock();
        state.stopped = true;
        state.closing |= closing;
        drop(state);
        self.throw_away();
        self.out.close();
        self.wake();
    }

    /// The consumer is somebody else's: what was done and not written is void.
    pub(super) fn end(&self, error: DurableError) {
        let mut state = self.lock();
        state.stopped = true;
        state.progress = None;
        drop(state);
        self.throw_away();
        // The queue is empty, unless it is closed.
        let _ = self.out.try_push(DurableEvent::Ended(error), 0);
        self.out.close();
        self.wake();
    }

    /// What was handed out and nobody has taken comes again another time.
    fn throw_away(&self) {
        let mut left = VecDeque::new();
        self.out.take_now(usize::MAX, &mut left);
        left.into_iter().for_each(|event| self.take_back(event));
    }

    /// What could not be handed out comes again another time.
    pub(super) fn take_back(&self, event: DurableEvent) {
        if let DurableEvent::Delivery(mut delivery) = event
            && let Some(ticket) = delivery.ticket.take()
        {
            self.with(|progress| progress.not_handed_out(ticket));
        }
    }

    pub(super) fn metrics(&self) -> DurableMetrics {
        let state = self.lock();
        let mut metrics = DurableMetrics {
            store_failures: state.store_failures,
            is_owner: state.progress.is_some(),
            reader: state.subscriber.as_ref().map(|subscriber| subscriber.metrics()),
            ..DurableMetrics::default()
        };
        let Some(progress) = &state.progress else { return metrics };
        let counts = progress.counts();
        metrics.delivered = counts.delivered;
        metrics.retried = counts.retried;
        metrics.late = counts.late;
        metrics.acked = counts.acked;
        metrics.failed = counts.failed;
        metrics.dead = counts.dead;
        metrics.repeated = counts.repeated;
        metrics.refused = counts.refused;
        metrics.refusals_dropped = counts.refusals_dropped;
        metrics.forgotten = counts.forgotten;
        metrics.in_flight = progress.in_flight() as u64;
        metrics.lag = progress.lags().map(|(_, lag)| lag).sum();
        metrics
    }

    pub(super) fn lags(&self) -> Vec<(StreamName, u64)> {
        let lags = |progress: &mut Progress| {
            progress.lags().map(|(stream, lag)| (stream.clone(), lag)).collect()
        };
        let mut lags: Vec<_> = self.with(lags).unwrap_or_default();
        lags.sort();
        lags
    }
}
