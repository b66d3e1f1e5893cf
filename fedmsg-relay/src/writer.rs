//! The thread that stores, so that what comes next is opened while the disk works.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::{io, panic, thread};

use fedmsg::transport::Wake;

use crate::keeping::Keeping;
use crate::waiting::Batch;

/// A batch, and whether the disk took it; in words why not.
type Written<P> = (Batch<P>, Result<(), String>);

/// Stores one batch at a time. The thread ends when this is dropped.
pub(crate) struct Writer<P> {
    keeping: Arc<Mutex<Keeping>>,
    batches: SyncSender<Batch<P>>,
    written: Receiver<Written<P>>,
    is_busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl<P: Send + 'static> Writer<P> {
    /// Writes into this log, and wakes the relay's loop when a batch is written.
    pub(crate) fn start(keeping: Keeping, waker: Arc<dyn Wake>) -> io::Result<Writer<P>> {
        let keeping = Arc::new(Mutex::new(keeping));
        let (batches, orders) = sync_channel::<Batch<P>>(1);
        let (done, written) = sync_channel(1);
        let log = Arc::clone(&keeping);
        let run = move || {
            for batch in orders {
                let stored = lock(&log).store(batch.taken());
                if done.send((batch, stored)).is_err() {
                    return;
                }
                waker.wake();
            }
        };
        let thread = thread::Builder::new().name("fedmsg-store".into()).spawn(run)?;
        Ok(Writer { keeping, batches, written, is_busy: false, thread: Some(thread) })
    }

    /// The log, when the thread does not write: at most the time of one append is waited.
    pub(crate) fn keeping(&self) -> MutexGuard<'_, Keeping> {
        lock(&self.keeping)
    }

    /// Whether a batch is on its way.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Stores a batch. Not while another one is on its way.
    pub(crate) fn begin(&mut self, batch: Batch<P>) {
        debug_assert!(!self.is_busy, "one batch at a time");
        self.is_busy = true;
        if self.batches.send(batch).is_err() {
            self.tell_panic();
        }
    }

    /// The batch that was on its way, if it has come to its end.
    pub(crate) fn written(&mut self) -> Option<Written<P>> {
        match self.written.try_recv() {
            Ok(written) => {
                self.is_busy = false;
                Some(written)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => self.tell_panic(),
        }
    }

    /// Waits for the batch that is on its way, if there is one.
    pub(crate) fn wait(&mut self) -> Option<Written<P>> {
        if !self.is_busy {
            return None;
        }
        self.is_busy = false;
        self.written.recv().map_or_else(|_| self.tell_panic(), Some)
    }

    /// Ends the thread, and gives the log back.
    pub(crate) fn end(self) -> Option<Keeping> {
        let Writer { keeping, batches, mut thread, .. } = self;
        drop(batches);
        go_on_with_panic(&mut thread);
        let keeping = Arc::into_inner(keeping)?;
        Some(keeping.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// The thread has ended by itself, which it does in a panic alone: this one goes on with that, since nobody knows
    /// what became of the batch.
    fn tell_panic(&mut self) -> Option<Written<P>> {
        go_on_with_panic(&mut self.thread);
        None
    }
}

fn go_on_with_panic(thread: &mut Option<JoinHandle<()>>) {
    if let Some(Err(panic)) = thread.take().map(JoinHandle::join) {
        panic::resume_unwind(panic);
    }
}

fn lock(keeping: &Mutex<Keeping>) -> MutexGuard<'_, Keeping> {
    keeping.lock().unwrap_or_else(PoisonError::into_inner)
}
