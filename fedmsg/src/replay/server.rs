//! The thread that answers.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::turns::{Turns, Waiting};
use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::frames::{Answer, Reply, Request, RequestId};
use crate::holder::{Holder, HolderCounts, Holdings};
use crate::limits::{TURN_BYTES_MAX, WAITING_MS_MAX};
use crate::transport::{Asked, NetError, Responder, Transport, Wake};

/// How long it is waited when nobody asks.
const IDLE: Duration = Duration::from_secs(3_600);
/// Requests after which it is looked who else asks, however small their answers are.
const TURN_REQUESTS: usize = 256;

/// Answers requests at one address, on a thread of its own. Ends when it is dropped.
pub struct ReplayServer {
    stop: Arc<AtomicBool>,
    counts: Arc<Mutex<HolderCounts>>,
    turn: Arc<Turn>,
    waker: Arc<dyn Wake>,
    thread: Option<JoinHandle<()>>,
}

struct Server<H> {
    responder: Box<dyn Responder>,
    holder: Holder,
    turns: Turns,
    holdings: H,
    clock: Clock,
    stop: Arc<AtomicBool>,
    counts: Arc<Mutex<HolderCounts>>,
    turn: Arc<Turn>,
}

/// When the thread began with what it does now: microseconds of its clock, one more than that; 0 while it waits.
#[derive(Debug)]
struct Turn {
    clock: Clock,
    begun: AtomicU64,
}

impl Turn {
    fn begin(&self) {
        self.begun.store(self.clock.micros() + 1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.begun.store(0, Ordering::Relaxed);
    }

    fn took(&self) -> Duration {
        match self.begun.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            begun => Duration::from_micros(self.clock.micros().saturating_sub(begun - 1)),
        }
    }
}

impl ReplayServer {
    /// Binds the address, and answers from now on with what is held. `holdings` is used by the thread of the
    /// server alone.
    pub fn start(
        transport: &dyn Transport,
        address: &Endpoint,
        holdings: impl Holdings + Send + 'static,
    ) -> Result<ReplayServer, NetError> {
        let responder = transport.responder(address)?;
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let waker = responder.waker();
        let clock = Clock::start();
        let turn = Arc::new(Turn { clock, begun: AtomicU64::new(0) });
        let server = Server {
            responder,
            holder: Holder::new(Uuid::new_v4().into_bytes()),
            turns: Turns::default(),
            holdings,
            clock,
            stop: Arc::clone(&stop),
            counts: Arc::clone(&counts),
            turn: Arc::clone(&turn),
        };
        let thread = std::thread::Builder::new().name("fedmsg-replay".into());
        let thread = thread.spawn(move || server.run()).map_err(|error| NetError::Io {
            what: format!("starting the thread that answers at {address}"),
            error,
        })?;
        Ok(ReplayServer { stop, counts, turn, waker, thread: Some(thread) })
    }

    /// What was done so far.
    pub fn counts(&self) -> HolderCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long its thread has been at work since it last looked for requests; zero while it waits for them. A turn
    /// that does not end is a disk that does not answer.
    pub fn busy(&self) -> Duration {
        self.turn.took()
    }
}

impl Drop for ReplayServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that answers replay requests has panicked");
        }
    }
}

impl fmt::Debug for ReplayServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplayServer({:?})", self.counts())
    }
}

impl<H: Holdings> Server<H> {
    fn run(mut self) {
        let mut asked = Vec::new();
        let mut work_left = false;
        while !self.stop.load(Ordering::SeqCst) {
            let timeout = if work_left { Duration::ZERO } else { IDLE };
            self.responder.receive(timeout, &mut asked);
            self.turn.begin();
            for asked in asked.drain(..) {
                self.take(&asked);
            }
            work_left = self.work();
            self.turn.end();
        }
    }

    /// Puts a request into its line, or refuses it at once.
    fn take(&mut self, asked: &Asked) {
        let Asked { peer, frames } = asked;
        let now = self.clock.millis();
        let reply = match Request::parse(frames) {
            Ok(request) => {
                let bytes = frames.iter().map(Bytes::len).sum();
                if self.turns.push(peer, request, bytes, now) {
                    return;
                }
                self.holder.busy("too many requests wait for an answer")
            }
            Err(error) => self.holder.refuse(peer, &error, now),
        };
        self.send(peer, &RequestId::of(frames), vec![reply]);
    }

    /// Answers for a while; says whether there is more to do now.
    fn work(&mut self) -> bool {
        let (mut bytes, mut requests) = (0, 0);
        while bytes < TURN_BYTES_MAX && requests < TURN_REQUESTS {
            let responder = &self.responder;
            // Who has not read its answers yet has no turn: `receive` returns when it has.
            let Some((peer, waiting)) = self.turns.next(|peer| !responder.is_behind(peer)) else {
                return false;
            };
            requests += 1;
            bytes += self.answer(&peer, &waiting);
        }
        !self.turns.is_empty()
    }

    /// Answers one request; says with how many bytes.
    fn answer(&mut self, peer: &Bytes, waiting: &Waiting) -> usize {
        let now = self.clock.millis();
        let Waiting { request, since, .. } = waiting;
        let replies = if now.saturating_sub(*since) > WAITING_MS_MAX {
            vec![self.holder.busy("it waited for too long here")]
        } else {
            self.holder.answer(peer, request, now, &mut self.holdings)
        };
        self.send(peer, &request.id, replies)
    }

    fn send(&mut self, peer: &Bytes, id: &RequestId, replies: Vec<Reply>) -> usize {
        // Counted before it is sent: whoever has an answer finds it in the counts.
        let counts = self.holder.counts();
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        let mut bytes = 0;
        for reply in replies {
            let frames = Answer { id: id.clone(), reply }.encode();
            bytes += frames.iter().map(Bytes::len).sum::<usize>();
            if !self.responder.answer(peer, &frames) {
                // It is gone, or reads nothing: it will ask again if it still wants to know.
                self.turns.forget(peer);
                break;
            }
        }
        bytes
    }
}
