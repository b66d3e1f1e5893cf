//! The asking side: one DEALER socket for each holder, so that it is known who answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::context::Context;
use super::messages::{self, Sent};
use super::raw::descriptor;
use super::resolve::{Numbers, Resolver};
use super::wait::Sleeper;
use crate::endpoint::Endpoint;
use crate::limits::{EPOCHS_MAX, PAGE_STREAMS_MAX};
use crate::transport::{Asker, NetError, Told, Wake};

/// Most frames of one answer: an `INFO` of all epochs, or a `PAGE` of all streams.
const FRAMES_MAX: usize =
    16 + 3 * if EPOCHS_MAX > PAGE_STREAMS_MAX { EPOCHS_MAX } else { PAGE_STREAMS_MAX };
/// Answers of one holder that 0mq holds; more wait in the kernel, and then with the holder. Room for what
/// one `GET` brings, so that a reader who is busy with it does not look like one that hangs.
const HIGH_WATER: i32 = 2_048;
/// Most answers that are taken in one go, and most bytes of them.
const ANSWERS_MAX: usize = 4_096;
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Most that is taken from one holder before the others have their turn.
const TURN: usize = 1_024;
/// How often names and connections are looked after.
const CARE: Duration = Duration::from_millis(250);
/// A name that does not resolve, and a holder that cannot be asked, are tried again after 1 to 2 times this.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) struct ZmqAsker {
    lines: Vec<Line>,
    context: Context,
    sleeper: Sleeper,
    resolver: Resolver,
    cared: Option<Instant>,
}

/// The connection to one holder.
struct Line {
    holder: Endpoint,
    socket: zmq::Socket,
    /// The address in numbers.
    connected: Option<String>,
    /// How often it was resolved: which of several numbers is tried.
    tries: usize,
    /// When it is looked after.
    due: Option<Instant>,
    /// There may be something to read.
    ready: bool,
}

impl ZmqAsker {
    pub(super) fn new(context: &Context) -> Result<ZmqAsker, NetError> {
        let sleeper = Sleeper::new()?;
        let resolver = Resolver::new(sleeper.waker());
        let (lines, context) = (Vec::new(), context.clone());
        Ok(ZmqAsker { lines, context, sleeper, resolver, cared: None })
    }

    fn open(&self, holder: &Endpoint, holders: usize) -> Result<Line, NetError> {
        let socket = self.context.socket(zmq::DEALER)?;
        super::prepare_to_ask(&socket, holders)?;
        // Nothing waits in a connection that does not exist: `ask` says so instead.
        socket.set_immediate(true)?;
        socket.set_rcvhwm(HIGH_WATER)?;
        socket.set_maxmsgsize(super::FRAME_BYTES_MAX)?;
        let due = Some(Instant::now());
        let holder = holder.clone();
        Ok(Line { holder, socket, connected: None, tries: 0, due, ready: true })
    }

    fn take_care(&mut self, now: Instant) {
        for (address, numbers) in self.resolver.answers() {
            for line in self.lines.iter_mut().filter(|line| line.holder == address) {
                line.resolved(&numbers, now);
            }
        }
        if self.cared.is_some_and(|cared| now.duration_since(cared) < CARE) {
            return;
        }
        self.cared = Some(now);
        for line in self.lines.iter_mut().filter(|line| line.due.is_some_and(|due| due <= now)) {
            if let Some(numbers) = self.resolver.resolve(&line.holder) {
                line.resolved(&numbers, now);
            }
        }
    }

    /// Empties every line that has something, each in turn.
    fn drain(&mut self, answers: &mut Vec<Told>) {
        let mut bytes = 0;
        for line in self.lines.iter_mut().filter(|line| line.ready) {
            line.ready = false;
            for turn in 0.. {
                if turn == TURN || answers.len() >= ANSWERS_MAX || bytes >= ANSWER_BYTES_MAX {
                    line.ready = true;
                    break;
                }
                let Some(frames) = messages::receive(&line.socket, FRAMES_MAX) else { break };
                bytes += frames.iter().map(Bytes::len).sum::<usize>();
                line.works();
                answers.push(Told { holder: line.holder.clone(), frames });
            }
        }
        // Whoever came last this time comes first the next time.
        if let Some(first) = self.lines.iter().position(|line| line.ready) {
            self.lines.rotate_left(first);
        }
    }
}

impl Line {
    /// A lookup was answered. What could not be asked for a while is connected anew, also to the same
    /// number: 0mq gives a connection up for good after a frame that is too long.
    fn resolved(&mut self, numbers: &Numbers, now: Instant) {
        let found = numbers.as_ref().ok().filter(|numbers| !numbers.is_empty());
        let Some(numbers) = found else {
            tracing::debug!(holder = %self.holder, ?numbers, "resolving a holder");
            self.due = Some(now + AGAIN.mul_f64(1.0 + fastrand::f64()));
            return;
        };
        let number = numbers[self.tries % numbers.len()].clone();
        self.tries += 1;
        if let Some(old) = self.connected.take()
            && let Err(error) = self.socket.disconnect(&old)
        {
            tracing::debug!(holder = %self.holder, number = %old, %error, "disconnecting");
        }
        match self.socket.connect(&number) {
            Ok(()) => self.connected = Some(number),
            Err(error) => tracing::error!(holder = %self.holder, %error, "connecting"),
        }
        (self.due, self.ready) = (None, true);
        if self.connected.is_none() {
            self.due = Some(now + AGAIN);
        }
    }

    /// The connection is well.
    fn works(&mut self) {
        if self.connected.is_some() {
            self.due = None;
        }
    }

    fn fails(&mut self) {
        let again = || Instant::now() + AGAIN.mul_f64(1.0 + fastrand::f64());
        self.due.get_or_insert_with(again);
    }
}

impl Asker for ZmqAsker {
    fn follow(&mut self, holders: &[Endpoint]) {
        self.lines.retain(|line| holders.contains(&line.holder));
        for holder in holders {
            if self.lines.iter().any(|line| line.holder == *holder) {
                continue;
            }
            match self.open(holder, holders.len()) {
                Ok(line) => self.lines.push(line),
                Err(error) => tracing::error!(%holder, %error, "opening a socket to ask"),
            }
        }
        // Addresses in numbers are connected at once, and not when somebody comes to receive.
        self.cared = None;
        self.take_care(Instant::now());
    }

    fn ask(&mut self, holder: &Endpoint, frames: &[Bytes]) -> bool {
        let Some(line) = self.lines.iter_mut().find(|line| line.holder == *holder) else {
            return false;
        };
        line.ready = true;
        let sent = messages::send(&line.socket, frames) == Sent::Yes;
        if sent {
            line.works()
        } else {
            line.fails()
        }
        sent
    }

    fn receive(&mut self, timeout: Duration, answers: &mut Vec<Told>) {
        let start = answers.len();
        self.drain(answers);
        let waits = answers.len() == start && !self.lines.iter().any(|line| line.ready);
        let cares = self.lines.iter().any(|line| line.due.is_some());
        let timeout = match (waits, cares) {
            (false, _) => Duration::ZERO,
            (true, true) => timeout.min(CARE),
            (true, false) => timeout,
        };
        let fds: Vec<_> = self.lines.iter().map(|line| descriptor(&line.socket)).collect();
        let readable = self.sleeper.wait(&fds, timeout);
        for (line, readable) in self.lines.iter_mut().zip(readable) {
            line.ready |= readable;
        }
        if answers.len() == start {
            self.drain(answers);
        }
        self.take_care(Instant::now());
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.sleeper.waker()
    }
}
