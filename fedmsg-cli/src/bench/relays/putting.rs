//! PUT requests as fast as a relay answers them: a few connections, several requests on their way on each.

use std::collections::HashMap;

use fedmsg::envelope::Wire;
use fedmsg::frames::{Answer, Ask, Reply, Request, RequestId};

use super::super::Error;

/// Connections; all requests of one stream go by the same, so that they keep their order.
const CONNECTIONS: usize = 4;
/// Requests on their way on each.
const ON_THEIR_WAY: usize = 8;
/// Longest silence of a relay, in milliseconds.
const SILENCE_MS: i32 = 20_000;

/// Connections to one relay.
pub(super) struct Putting {
    sockets: Vec<zmq::Socket>,
    /// Messages without an answer of each request that is on its way, by connection.
    waiting: Vec<HashMap<u64, u64>>,
    next: u64,
    /// Messages that are on the relay's disk, by its answers.
    pub(super) stored: u64,
}

impl Putting {
    pub(super) fn to(submit: &str) -> Result<Putting, Error> {
        let context = zmq::Context::new();
        let open = |_| {
            let socket = context.socket(zmq::DEALER)?;
            socket.set_sndhwm(0)?;
            socket.set_rcvhwm(0)?;
            socket.set_linger(0)?;
            socket.set_rcvtimeo(SILENCE_MS)?;
            socket.connect(submit)?;
            Ok(socket)
        };
        let sockets = (0..CONNECTIONS).map(open).collect::<Result<_, Error>>()?;
        let waiting = vec![HashMap::new(); CONNECTIONS];
        Ok(Putting { sockets, waiting, next: 0, stored: 0 })
    }

    /// Puts messages of a stream, after a pause when too many requests are on their way.
    pub(super) fn put(&mut self, stream: usize, messages: Vec<Wire>) -> Result<(), Error> {
        let by = stream % CONNECTIONS;
        while self.waiting[by].len() >= ON_THEIR_WAY {
            self.receive(by)?;
        }
        self.next += 1;
        let id = RequestId::new(&self.next.to_be_bytes()).ok_or_else(|| Error::other("an id"))?;
        self.waiting[by].insert(self.next, messages.len() as u64);
        let frames = Request { id, ask: Ask::Put { messages } }.encode();
        Ok(self.sockets[by].send_multipart(frames.iter().map(|frame| &frame[..]), 0)?)
    }

    /// Waits until everything is answered.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        for by in 0..CONNECTIONS {
            while !self.waiting[by].is_empty() {
                self.receive(by)?;
            }
        }
        Ok(())
    }

    /// Takes one answer, which must be that messages are stored.
    fn receive(&mut self, by: usize) -> Result<(), Error> {
        let frames = self.sockets[by].recv_multipart(0)?;
        let Answer { id, reply } = Answer::parse(&frames).map_err(Error::other)?;
        let Reply::Stored { span, receipt } = reply else {
            return Err(Error::Other(format!("the relay does not store, and says {reply:?}")));
        };
        let number = id.as_bytes().try_into().map(u64::from_be_bytes).unwrap_or_default();
        let left = self.waiting[by].get_mut(&number).filter(|left| **left >= span.count);
        let left = left.ok_or_else(|| Error::other("an answer to nothing that was put"))?;
        if receipt.is_empty() {
            return Err(Error::other("the relay has stored messages without a receipt"));
        }
        *left -= span.count;
        if *left == 0 {
            self.waiting[by].remove(&number);
        }
        self.stored += span.count;
        Ok(())
    }
}
