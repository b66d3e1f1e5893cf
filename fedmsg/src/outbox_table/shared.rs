//! What an outbox table and its thread share.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::OutboxTableMetrics;

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// For the thread: there is something to do.
    work: Condvar,
    /// For those who wait for the thread.
    looked: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub closing: bool,
    /// Somebody says that rows were committed.
    pub woken: bool,
    /// How often it was asked for everything to be published, and for how many of these it is.
    pub asked: u64,
    pub answered: u64,
    /// The thread has ended.
    pub over: bool,
    pub metrics: OutboxTableMetrics,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        self.lock().woken = true;
        self.work.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_all();
    }

    /// The thread has nothing to do for so long, unless somebody wakes it; or nobody can, except by closing.
    pub(super) fn pause(&self, pause: Duration, can_be_woken: bool) {
        let idle = |state: &mut State| !(state.closing || state.woken && can_be_woken);
        let waited = self.work.wait_timeout_while(self.lock(), pause, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.woken = false;
    }

    /// Nothing waits that was there when so many had asked.
    pub(super) fn answer(&self, asked: u64) {
        self.lock().answered = asked;
        self.looked.notify_all();
    }

    pub(super) fn over(&self) {
        let mut state = self.lock();
        state.over = true;
        state.metrics.is_owner = false;
        drop(state);
        self.looked.notify_all();
    }

    /// Waits until nothing waits of what is there now.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        state.asked += 1;
        state.woken = true;
        let mine = state.asked;
        self.work.notify_all();
        while state.answered < mine && !state.over {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.looked.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.answered >= mine
    }
}
