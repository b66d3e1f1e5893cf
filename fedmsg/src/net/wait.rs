//! Waiting for sockets and for a wake-up from another thread, to the microsecond: `zmq_poll` knows only
//! milliseconds, which is longer than trees are held back.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::transport::{NetError, Wake};

/// The waiting end of a wake-up.
pub(super) struct Sleeper {
    stream: UnixStream,
    waker: Arc<Waker>,
}

struct Waker {
    stream: UnixStream,
    woken: AtomicBool,
}

impl Sleeper {
    pub(super) fn new() -> Result<Sleeper, NetError> {
        let pair = || {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok((reader, writer))
        };
        let io = |error| NetError::Io { what: "making a wake-up socket".into(), error };
        let (stream, writer) = pair().map_err(io)?;
        let waker = Arc::new(Waker { stream: writer, woken: AtomicBool::new(false) });
        Ok(Sleeper { stream, waker })
    }

    pub(super) fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }

    /// Waits until woken, until one of the descriptors is readable, or until the time is over. Says which
    /// descriptors are readable.
    pub(super) fn wait(&mut self, others: &[BorrowedFd<'_>], timeout: Duration) -> Vec<bool> {
        let mut fds: Vec<PollFd<'_>> =
            others.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        fds.push(PollFd::new(&self.stream, PollFlags::IN));
        let timeout = Timespec::try_from(timeout.min(Duration::from_secs(3_600))).ok();
        // An interrupted or failed wait is a short one: whoever waits looks again.
        let ready = poll(&mut fds, timeout.as_ref()).unwrap_or(0);
        let readable = |fd: &PollFd<'_>| ready > 0 && !fd.revents().is_empty();
        let woken = fds.pop().is_some_and(|own| readable(&own));
        let others = fds.iter().map(readable).collect();
        drop(fds);
        if woken {
            self.clear();
        }
        others
    }

    /// The flag goes down before the caller looks at what it was woken for, so no wake-up is lost.
    fn clear(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.stream.read(&mut bytes), Ok(64)) {}
        self.waker.woken.store(false, Ordering::SeqCst);
    }
}

impl Wake for Waker {
    fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            // A full pipe wakes as well as one more byte in it.
            match (&self.stream).write(&[1]) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    tracing::debug!(%error, "wake-up");
                }
                _ => {}
            }
        }
    }
}
