//! A bad network: TCP connections that go through here can stall, drip, be cut in the middle of a frame, or reset.
//!
//! ```no_run
//! use fedmsg_badnet::{Mode, Proxy};
//!
//! let proxy = Proxy::to("tcp://127.0.0.1:3000")?;
//! println!("connect to {}", proxy.address());
//! proxy.set_both(Mode::Stall);
//! proxy.heal();
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

/// Longest time that something is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a quiet connection looks whether it is to end.
const LOOK: Duration = Duration::from_millis(10);

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Pass,
    /// They stay where they are, and nobody is told: a cable that was pulled.
    Stall,
    /// One by one, with this pause behind each.
    Drip(Duration),
    /// So many more of each connection pass, then it is closed.
    CutAfter(u64),
    /// The connection is reset, and so is each new one.
    Reset,
}

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From whoever connects.
    Up,
    /// To whoever connected.
    Down,
}

/// Carries connections to one address; it and they end when this is dropped.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    modes: [Mode; 2],
    /// Grows with each change, so that whoever counts bytes begins anew.
    version: u64,
    passed: [u64; 2],
    accepted: u64,
    open: u64,
    ended: bool,
}

impl Default for State {
    fn default() -> State {
        let (modes, passed) = ([Mode::Pass; 2], [0; 2]);
        State { modes, version: 0, passed, accepted: 0, open: 0, ended: false }
    }
}

impl Proxy {
    /// Carries what connects to [`address`](Proxy::address) to this one, such as `tcp://127.0.0.1:3000`, on threads
    /// of its own. An error is an address of another kind, or that there is no port or no thread to be had.
    pub fn to(target: &str) -> io::Result<Proxy> {
        let wrong = || io::Error::new(ErrorKind::InvalidInput, format!("{target}: not tcp://"));
        let target = target.strip_prefix("tcp://").ok_or_else(wrong)?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("tcp://{}", listener.local_addr()?);
        let shared = Arc::new(Shared::default());
        let carried = Arc::clone(&shared);
        thread::Builder::new().spawn(move || accept(&listener, &target, &carried))?;
        Ok(Proxy { address, shared })
    }

    /// Where to connect to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on, in one direction, for all connections and those to come.
    pub fn set(&self, way: Way, mode: Mode) {
        let mut state = self.shared.lock();
        state.modes[way as usize] = mode;
        state.version += 1;
        self.shared.changed.notify_all();
    }

    /// From now on, in both directions.
    pub fn set_both(&self, mode: Mode) {
        self.set(Way::Up, mode);
        self.set(Way::Down, mode);
    }

    /// Everything passes again. Connections that were cut or reset stay so.
    pub fn heal(&self) {
        self.set_both(Mode::Pass);
    }

    /// The bytes that passed in this direction so far, in all connections together. They count a moment after they
    /// can be read: [`wait_passed`](Proxy::wait_passed) waits for that.
    pub fn passed(&self, way: Way) -> u64 {
        self.shared.lock().passed[way as usize]
    }

    /// How many connections were made so far, those that ended included.
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// Waits until so many bytes have passed in this direction; an error when that takes longer than [`PATIENCE`].
    pub fn wait_passed(&self, way: Way, bytes: u64) -> io::Result<()> {
        self.wait("bytes", |state| state.passed[way as usize] >= bytes)
    }

    /// Waits until so many connections were made, those that ended included; an error when that takes longer than
    /// [`PATIENCE`].
    pub fn wait_accepted(&self, connections: u64) -> io::Result<()> {
        self.wait("connections", |state| state.accepted >= connections)
    }

    /// Waits until so many connections are open; an error when that takes longer than [`PATIENCE`].
    pub fn wait_open(&self, connections: u64) -> io::Result<()> {
        self.wait("open connections", |state| state.open == connections)
    }

    fn wait(&self, what: &str, until: impl Fn(&State) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        while !until(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let State { passed, accepted, open, .. } = &*state;
                let (to, passed) = (&self.address, format!("{passed:?} bytes passed"));
                let seen = format!(
                    "waited for {what} at {to}: {passed}, {accepted} connections, {open} open"
                );
                return Err(io::Error::new(ErrorKind::TimedOut, seen));
            }
            state = self.shared.wait(state, left);
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        // Wakes the thread that accepts; when it is gone there is nobody to wake.
        let _ = TcpStream::connect(self.address.trim_start_matches("tcp://"));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
    }

    fn count(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// Both ends of a connection. They are closed when both directions have ended.
struct Ends {
    near: TcpStream,
    far: TcpStream,
    broken: Mutex<bool>,
    shared: Arc<Shared>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.shared.count(|state| state.open -= 1);
    }
}

impl Ends {
    /// Both directions end; with a reset when they are closed, or as usual.
    fn end(&self, reset: bool) {
        if reset {
            // What is closed without lingering is reset (socket(7)); a peer that is gone cannot be.
            let _ = set_socket_linger(&self.near, Some(Duration::ZERO));
            let _ = set_socket_linger(&self.far, Some(Duration::ZERO));
        }
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn is_broken(&self) -> bool {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, target: &str, shared: &Arc<Shared>) {
    while let Ok((near, _)) = listener.accept() {
        if shared.lock().ended {
            return;
        }
        // Nobody there: the peer sees a connection that ends at once, and tries again.
        let Ok(far) = TcpStream::connect(target) else { continue };
        // It has ended again when its socket takes no options.
        if [&near, &far].into_iter().any(|stream| set_up(stream).is_err()) {
            continue;
        }
        shared.count(|state| {
            state.accepted += 1;
            state.open += 1;
        });
        let ends = Ends { near, far, broken: Mutex::default(), shared: Arc::clone(shared) };
        let ends = Arc::new(ends);
        for way in [Way::Up, Way::Down] {
            let ends = Arc::clone(&ends);
            thread::spawn(move || carry(&ends, way));
        }
    }
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_nodelay(true)
}

/// One direction of one connection, until it ends.
fn carry(ends: &Ends, way: Way) {
    let (mut from, to) = match way {
        Way::Up => (&ends.near, &ends.far),
        Way::Down => (&ends.far, &ends.near),
    };
    let mut bytes = vec![0; 16 << 10];
    // The change of mode since which bytes are counted, and how many passed since then.
    let mut since = (0, 0);
    while ready(ends, way) {
        match from.read(&mut bytes) {
            Ok(0) => {
                // Half of it is over; the other direction may go on.
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(length) => {
                if !pass(ends, way, to, &bytes[..length], &mut since) {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return ends.end(true),
        }
    }
}

/// Waits while bytes may not pass; says whether the connection goes on.
fn ready(ends: &Ends, way: Way) -> bool {
    let mut state = ends.shared.lock();
    loop {
        if state.modes[way as usize] == Mode::Reset {
            ends.end(true);
        }
        if state.ended || ends.is_broken() {
            return false;
        }
        if state.modes[way as usize] != Mode::Stall {
            return true;
        }
        state = ends.shared.wait(state, LOOK);
    }
}

/// Writes these bytes as the mode says, which may change meanwhile; says whether the connection goes on.
fn pass(ends: &Ends, way: Way, to: &TcpStream, bytes: &[u8], since: &mut (u64, u64)) -> bool {
    let mut left = bytes;
    while !left.is_empty() {
        if !ready(ends, way) {
            return false;
        }
        let (mode, version) = {
            let state = ends.shared.lock();
            (state.modes[way as usize], state.version)
        };
        if since.0 != version {
            *since = (version, 0);
        }
        let length = match mode {
            Mode::CutAfter(most) => left.len().min(most.saturating_sub(since.1) as usize),
            Mode::Drip(_) => 1,
            _ => left.len(),
        };
        let (now, later) = left.split_at(length);
        let mut to = to;
        if to.write_all(now).is_err() {
            ends.end(true);
            return false;
        }
        since.1 += length as u64;
        ends.shared.count(|state| state.passed[way as usize] += length as u64);
        if matches!(mode, Mode::CutAfter(most) if since.1 >= most) {
            ends.end(false);
            return false;
        }
        if let Mode::Drip(pause) = mode {
            pause_unless_changed(&ends.shared, version, pause);
        }
        left = later;
    }
    true
}

fn pause_unless_changed(shared: &Shared, version: u64, pause: Duration) {
    let until = Instant::now() + pause;
    let mut state = shared.lock();
    while state.version == version && !state.ended && Instant::now() < until {
        state = shared.wait(state, until.saturating_duration_since(Instant::now()));
    }
}
