//! The grounds on which the contract is tried: a transport, and addresses on it that nobody has.

use std::any::Any;
use std::cell::Cell;

use fedmsg::config::EndpointEntry;
use fedmsg::testing::MemoryTransport;
use fedmsg::transport::Transport;
use fedmsg::{Endpoint, Identity};

/// Sends messages of any number of frames to whoever follows an entry; lives as long as what it gives.
type Raw = Box<dyn Fn(&EndpointEntry, &[&[&[u8]]]) -> Box<dyn Any>>;

/// A transport to try.
pub struct Ground {
    pub transport: Box<dyn Transport>,
    pub raw: Raw,
    address: Box<dyn Fn() -> Endpoint>,
}

impl Ground {
    /// An address that nobody has had.
    pub fn new_address(&self) -> Endpoint {
        (self.address)()
    }

    /// An entry of this identity with so many new addresses.
    pub fn entry(&self, identity: &str, addresses: usize) -> EndpointEntry {
        let identity = Identity::parse(identity).expect("identity");
        EndpointEntry::new(identity, (0..addresses).map(|_| (self.address)()).collect())
    }
}

fn numbered(format: impl Fn(u16) -> String + 'static) -> Box<dyn Fn() -> Endpoint> {
    let next = Cell::new(1);
    Box::new(move || {
        next.set(next.get() + 1);
        Endpoint::parse(&format(next.get())).expect("endpoint")
    })
}

pub fn memory() -> Ground {
    let transport = MemoryTransport::new();
    let same = transport.clone();
    let raw: Raw = Box::new(move |entry, messages| {
        for frames in messages {
            assert_eq!(same.inject(&entry.identity, frames), 1, "one subscriber");
        }
        Box::new(())
    });
    let address = numbered(|n| format!("tcp://memory:{n}"));
    Ground { transport: Box::new(transport), raw, address }
}

#[cfg(feature = "net")]
pub use sockets::{ipc, tcp};

#[cfg(feature = "net")]
mod sockets {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU16, Ordering};

    use fedmsg::net::Zmq;

    use super::*;
    use crate::ends::PATIENCE;

    pub fn tcp() -> Ground {
        let address = numbered(|_| format!("tcp://127.0.0.1:{}", free_port()));
        Ground { transport: Box::new(Zmq::new()), raw: Box::new(send_raw), address }
    }

    pub fn ipc() -> Ground {
        let folder = tempfile::tempdir().expect("a folder");
        let address = numbered(move |n| format!("ipc://{}/{n}", folder.path().display()));
        Ground { transport: Box::new(Zmq::new()), raw: Box::new(send_raw), address }
    }

    /// A socket without the library.
    fn send_raw(entry: &EndpointEntry, messages: &[&[&[u8]]]) -> Box<dyn Any> {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::XPUB).expect("a socket");
        socket.set_linger(0).expect("set");
        socket.set_rcvtimeo(PATIENCE.as_millis() as i32).expect("set");
        socket.bind(&entry.publish[0].to_string()).expect("bound");
        assert_eq!(socket.recv_bytes(0).expect("a subscriber in time"), [1]);
        for frames in messages {
            socket.send_multipart(*frames, 0).expect("sent");
        }
        Box::new(socket)
    }

    /// A port of 127.0.0.1 that nobody has, below those that systems give out by themselves.
    fn free_port() -> u16 {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let start = 12_000 + (std::process::id() % 200) as u16 * 90;
        loop {
            let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    }
}
