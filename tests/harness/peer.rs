//! Peers without the library, which send any frames at all: a publisher, who asks, and who is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use fedmsg::envelope::Wire;

use super::PATIENCE;

/// A raw XPUB socket on an address of the configuration.
pub struct Peer {
    socket: zmq::Socket,
}

impl Peer {
    pub fn bind(address: &str) -> Peer {
        let socket = zmq::Context::new().socket(zmq::XPUB).expect("a socket");
        socket.set_linger(0).expect("set");
        socket.set_rcvtimeo(PATIENCE.as_millis() as i32).expect("set");
        // Each subscriber is told of, not the first one alone.
        socket.set_xpub_verbose(true).expect("set");
        socket.bind(address).expect("bound");
        Peer { socket }
    }

    /// Waits until somebody subscribes.
    pub fn wait(&self) {
        let word = self.socket.recv_bytes(0).expect("somebody subscribes in time");
        assert_eq!(word.first(), Some(&1), "a subscription");
    }

    pub fn send(&self, frames: &[&[u8]]) {
        self.socket.send_multipart(frames, 0).expect("sent");
    }

    pub fn wire(&self, wire: &Wire) {
        self.send(&[&wire.topic, &wire.envelope]);
    }
}

/// Who asks without the library: a raw DEALER socket.
pub struct Asker {
    socket: zmq::Socket,
}

impl Asker {
    pub fn connect(address: &str) -> Asker {
        let socket = zmq::Context::new().socket(zmq::DEALER).expect("a socket");
        socket.set_linger(0).expect("set");
        socket.set_rcvtimeo(PATIENCE.as_millis() as i32).expect("set");
        socket.connect(address).expect("connected");
        Asker { socket }
    }

    /// The next answer to these frames.
    pub fn ask(&self, frames: &[&[u8]]) -> Vec<Vec<u8>> {
        self.socket.send_multipart(frames, 0).expect("sent");
        self.socket.recv_multipart(0).expect("an answer in time")
    }
}

/// Who is asked and answers without the library: a raw ROUTER socket, on a thread of its own.
pub struct Answerer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The frames of one message.
pub type Frames = Vec<Vec<u8>>;

impl Answerer {
    /// Each request is given to `answer`, which gives the messages that are sent back.
    pub fn bind(
        address: &str,
        mut answer: impl FnMut(&[Vec<u8>]) -> Vec<Frames> + Send + 'static,
    ) -> Answerer {
        let socket = zmq::Context::new().socket(zmq::ROUTER).expect("a socket");
        socket.set_linger(0).expect("set");
        // Only to look whether it is to stop.
        socket.set_rcvtimeo(50).expect("set");
        socket.bind(address).expect("bound");
        let stop = Arc::<AtomicBool>::default();
        let end = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let Ok(frames) = socket.recv_multipart(0) else { continue };
                let (peer, request) = frames.split_first().expect("whom to answer");
                for answer in answer(request) {
                    let all = std::iter::once(peer).chain(&answer);
                    socket.send_multipart(all, 0).expect("sent");
                }
            }
        });
        Answerer { stop, thread: Some(thread) }
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // What it panicked of is on stderr, and the test misses its answer.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
