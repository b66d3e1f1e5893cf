//! The thread that asks holders and takes their answers; what to ask and what they mean is decided elsewhere.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::SubscribeError;
use crate::endpoint::Endpoint;
use crate::limits::ANSWERS_WAITING_BYTES_MAX;
use crate::transport::{Asker, Told, Transport, Wake};

/// Longest wait for an answer; the thread is woken when there is something to ask.
const IDLE: Duration = Duration::from_secs(5);

/// What comes back.
pub(super) enum Back {
    /// A part of an answer.
    Told(Told),
    /// A request that could not be sent.
    Unsent(Endpoint, Vec<Bytes>),
}

/// The thread, and what goes to it and comes from it. It starts when there is a holder to ask.
pub(super) struct Asking {
    transport: Arc<dyn Transport>,
    /// Whoever takes the answers is woken by this.
    reader: Arc<dyn Wake>,
    running: Option<Running>,
}

struct Running {
    shared: Arc<Shared>,
    waker: Arc<dyn Wake>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
    /// Something was taken.
    taken: Condvar,
}

#[derive(Default)]
struct State {
    holders: Option<Vec<Endpoint>>,
    asks: Vec<(Endpoint, Vec<Bytes>)>,
    back: VecDeque<Back>,
    /// Bytes of what waits to be taken.
    bytes: usize,
}

impl Asking {
    pub(super) fn new(transport: Arc<dyn Transport>, reader: Arc<dyn Wake>) -> Asking {
        Asking { transport, reader, running: None }
    }

    /// Makes the thread ready for these holders; none that exists is an error of its own.
    pub(super) fn follow(&mut self, holders: Vec<Endpoint>) {
        if self.running.is_none() && !holders.is_empty() {
            match self.start() {
                Ok(running) => self.running = Some(running),
                Err(error) => tracing::error!(%error, "nothing that is missing can be fetched"),
            }
        }
        if let Some(running) = &self.running {
            running.shared.lock().holders = Some(holders);
            running.waker.wake();
        }
    }

    /// Sends requests.
    pub(super) fn ask(&mut self, asks: impl ExactSizeIterator<Item = (Endpoint, Vec<Bytes>)>) {
        let Some(running) = self.running.as_ref().filter(|_| asks.len() > 0) else { return };
        running.shared.lock().asks.extend(asks);
        running.waker.wake();
    }

    /// What came back since the last call.
    pub(super) fn take(&mut self) -> VecDeque<Back> {
        let Some(running) = &self.running else { return VecDeque::new() };
        let mut state = running.shared.lock();
        state.bytes = 0;
        let back = std::mem::take(&mut state.back);
        drop(state);
        running.shared.taken.notify_all();
        back
    }

    fn start(&self) -> Result<Running, SubscribeError> {
        let asker = self.transport.asker()?;
        let (shared, waker) = (Arc::<Shared>::default(), asker.waker());
        let asked = (Arc::clone(&shared), Arc::clone(&self.reader));
        let thread = std::thread::Builder::new().name("fedmsg-repair".into());
        let thread = thread.spawn(move || run(asker, &asked.0, &*asked.1));
        let thread = Some(thread.map_err(SubscribeError::Thread)?);
        Ok(Running { shared, waker, thread })
    }
}

/// Asks and listens until it is told to stop.
fn run(mut asker: Box<dyn Asker>, shared: &Shared, reader: &dyn Wake) {
    let mut told = Vec::new();
    while !shared.stop.load(Ordering::SeqCst) {
        let mut state = shared.lock();
        let (holders, asks) = (state.holders.take(), std::mem::take(&mut state.asks));
        drop(state);
        if let Some(holders) = holders {
            asker.follow(&holders);
        }
        let mut back = VecDeque::new();
        for (holder, frames) in asks {
            if !asker.ask(&holder, &frames) {
                back.push_back(Back::Unsent(holder, frames));
            }
        }
        if back.is_empty() {
            asker.receive(IDLE, &mut told);
        }
        back.extend(told.drain(..).map(Back::Told));
        if !back.is_empty() {
            shared.give(back);
            reader.wake();
        }
    }
}

impl Shared {
    /// Hands over what came back. Waits while too much has not been taken: then the holders wait, too.
    fn give(&self, back: VecDeque<Back>) {
        let mut state = self.lock();
        while state.bytes > ANSWERS_WAITING_BYTES_MAX && !self.stop.load(Ordering::SeqCst) {
            state = self.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes += back.iter().map(Back::bytes).sum::<usize>();
        state.back.extend(back);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Back {
    fn bytes(&self) -> usize {
        let (Back::Told(Told { frames, .. }) | Back::Unsent(_, frames)) = self;
        frames.iter().map(Bytes::len).sum::<usize>() + 128
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let state = self.shared.lock();
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(state);
        self.shared.taken.notify_all();
        self.waker.wake();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that asks for what is missing has panicked");
        }
    }
}
