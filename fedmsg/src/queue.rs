//! A queue with a bound in items and in bytes, for threads and for tasks: what callers push to a publisher,
//! and what a subscriber hands out.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    not_empty: Condvar,
    not_full: Condvar,
    items_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
    takers: usize,
    pushers: usize,
    take_wakers: Vec<Waker>,
    push_wakers: Vec<Waker>,
}

/// Why an item was not taken; it comes back.
#[derive(Debug)]
pub(crate) enum PushError<T> {
    Full(T),
    Closed(T),
}

impl<T> Queue<T> {
    pub(crate) fn new(items_max: usize, bytes_max: usize) -> Queue<T> {
        Queue {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                closed: false,
                takers: 0,
                pushers: 0,
                take_wakers: Vec::new(),
                push_wakers: Vec::new(),
            }),
            not_empty: Condvar::new(),
            not_full: Condvar::new(),
            items_max: items_max.max(1),
            bytes_max: bytes_max.max(1),
        }
    }

    /// Pushes if there is room; says how many items there are then. One item always has room in an empty
    /// queue, however large it is.
    pub(crate) fn try_push(&self, item: T, bytes: usize) -> Result<usize, PushError<T>> {
        self.push_locked(&mut self.lock(), item, bytes)
    }

    /// Pushes, waiting for room until the deadline.
    pub(crate) fn push(
        &self,
        mut item: T,
        bytes: usize,
        deadline: Option<Instant>,
    ) -> Result<usize, PushError<T>> {
        let mut state = self.lock();
        loop {
            item = match self.push_locked(&mut state, item, bytes) {
                Err(PushError::Full(item)) => item,
                done => return done,
            };
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(PushError::Full(item));
            }
            state.pushers += 1;
            state = wait(&self.not_full, state, left);
            state.pushers -= 1;
        }
    }

    /// Pushes all of these in their order, each with its bytes, waiting for room as long as it takes; whoever
    /// takes is woken once for many. A closed queue takes none: what is left is dropped.
    pub(crate) fn push_all(&self, items: impl IntoIterator<Item = (T, usize)>) {
        let mut state = self.lock();
        for (mut item, bytes) in items {
            loop {
                item = match self.insert(&mut state, item, bytes) {
                    Ok(_) => break,
                    Err(PushError::Closed(_)) => return,
                    Err(PushError::Full(item)) => item,
                };
                self.wake_takers(&mut state);
                state.pushers += 1;
                state = wait(&self.not_full, state, None);
                state.pushers -= 1;
            }
        }
        self.wake_takers(&mut state);
    }

    /// Pushes, or remembers whom to wake when there is room.
    pub(crate) fn poll_push(
        &self,
        item: T,
        bytes: usize,
        task: &mut Context<'_>,
    ) -> Result<usize, PushError<T>> {
        let mut state = self.lock();
        let pushed = self.push_locked(&mut state, item, bytes);
        if let Err(PushError::Full(_)) = &pushed {
            remember(&mut state.push_wakers, task);
        }
        pushed
    }

    fn push_locked(
        &self,
        state: &mut MutexGuard<'_, State<T>>,
        item: T,
        bytes: usize,
    ) -> Result<usize, PushError<T>> {
        let pushed = self.insert(state, item, bytes);
        if pushed.is_ok() {
            self.wake_takers(state);
        }
        pushed
    }

    fn insert(&self, state: &mut State<T>, item: T, bytes: usize) -> Result<usize, PushError<T>> {
        if state.closed {
            return Err(PushError::Closed(item));
        }
        let full = state.items.len() >= self.items_max || state.bytes + bytes > self.bytes_max;
        if full && !state.items.is_empty() {
            return Err(PushError::Full(item));
        }
        state.items.push_back((item, bytes));
        state.bytes += bytes;
        Ok(state.items.len())
    }

    fn wake_takers(&self, state: &mut State<T>) {
        if state.takers > 0 {
            self.not_empty.notify_one();
        }
        state.take_wakers.drain(..).for_each(Waker::wake);
    }

    /// Takes up to `most` items without waiting.
    pub(crate) fn take_now(&self, most: usize, into: &mut VecDeque<T>) {
        let mut state = self.lock();
        let count = state.items.len().min(most);
        let mut bytes = 0;
        into.extend(state.items.drain(..count).map(|(item, size)| {
            bytes += size;
            item
        }));
        state.bytes -= bytes;
        self.wake_pushers(&mut state, count);
    }

    /// Takes one item, waiting until the deadline. `None`: time is over, or closed and empty.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = self.take_locked(&mut state) {
                return Some(item);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if state.closed || left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            state.takers += 1;
            state = wait(&self.not_empty, state, left);
            state.takers -= 1;
        }
    }

    /// Takes one item, or remembers whom to wake when there is one.
    pub(crate) fn poll_take(&self, task: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.lock();
        match self.take_locked(&mut state) {
            Some(item) => Poll::Ready(Some(item)),
            None if state.closed => Poll::Ready(None),
            None => {
                remember(&mut state.take_wakers, task);
                Poll::Pending
            }
        }
    }

    fn take_locked(&self, state: &mut MutexGuard<'_, State<T>>) -> Option<T> {
        let (item, bytes) = state.items.pop_front()?;
        state.bytes -= bytes;
        self.wake_pushers(state, 1);
        Some(item)
    }

    fn wake_pushers(&self, state: &mut State<T>, count: usize) {
        if count > 0 {
            if state.pushers > 0 {
                self.not_full.notify_all();
            }
            state.push_wakers.drain(..).for_each(Waker::wake);
        }
    }

    /// No more items come in; those that are there can still be taken.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.not_empty.notify_all();
        self.not_full.notify_all();
        let state = &mut *state;
        state.take_wakers.drain(..).chain(state.push_wakers.drain(..)).for_each(Waker::wake);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// A panic of somebody else while holding the lock cannot leave the state half-changed: every change
    /// is done before anything that could panic.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember(wakers: &mut Vec<Waker>, task: &Context<'_>) {
    if !wakers.iter().any(|known| known.will_wake(task.waker())) {
        wakers.push(task.waker().clone());
    }
}

fn wait<'a, T>(
    condition: &Condvar,
    guard: MutexGuard<'a, State<T>>,
    left: Option<Duration>,
) -> MutexGuard<'a, State<T>> {
    match left {
        None => condition.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(left) => condition.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn both_bounds_hold_and_one_item_always_fits() {
        let queue = Queue::new(2, 10);
        assert_eq!(queue.try_push('a', 100).expect("fits an empty queue"), 1);
        assert!(matches!(queue.try_push('b', 1), Err(PushError::Full('b'))));
        assert_eq!(queue.take(None), Some('a'));
        for item in ['b', 'c'] {
            queue.try_push(item, 1).expect("room");
        }
        assert!(matches!(queue.try_push('d', 1), Err(PushError::Full('d'))));
        queue.close();
        assert!(matches!(queue.try_push('d', 1), Err(PushError::Closed('d'))));
        assert_eq!(
            (queue.take(None), queue.take(None), queue.take(None)),
            (Some('b'), Some('c'), None)
        );
    }

    #[test]
    fn many_are_pushed_together_through_a_queue_that_is_too_small() {
        let queue = Arc::new(Queue::new(3, 100));
        let pusher = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.push_all((0..1_000).map(|n| (n, 1)))
        });
        let taken: Vec<i32> = (0..500).map(|_| queue.take(None).expect("item")).collect();
        assert_eq!(taken, (0..500).collect::<Vec<_>>());
        queue.close();
        pusher.join().expect("a closed queue keeps nobody waiting");
    }

    #[test]
    fn a_pusher_waits_for_room_and_a_taker_for_items() {
        let queue = Arc::new(Queue::new(1, 100));
        let pusher = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || (0..1_000).for_each(|n| assert!(queue.push(n, 1, None).is_ok()))
        });
        let taken: Vec<i32> = (0..1_000).map(|_| queue.take(None).expect("item")).collect();
        pusher.join().expect("pusher");
        assert_eq!(taken, (0..1_000).collect::<Vec<_>>());
        let past = Some(Instant::now());
        assert_eq!(queue.take(past), None);
    }
}
