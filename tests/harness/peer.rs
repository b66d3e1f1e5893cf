//! A publisher without the library: it sends any frames at all.

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
