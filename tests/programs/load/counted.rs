//! ZeroMQ, with the requests counted that holders are asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fedmsg::Endpoint;
use fedmsg::net::Zmq;
use fedmsg::transport::{
    Asked, Asker, Inlet, NetError, Outlet, OutletSettings, Responder, Transport, Wake,
};

/// How many requests of each verb came.
pub type Requests = Arc<Mutex<BTreeMap<String, u64>>>;

/// Everything is ZeroMQ's, and holders are listened to.
pub struct Counted {
    zmq: Zmq,
    requests: Requests,
}

impl Counted {
    pub fn new(requests: &Requests) -> Counted {
        Counted { zmq: Zmq::new(), requests: Arc::clone(requests) }
    }
}

impl Transport for Counted {
    fn outlet(
        &self,
        address: &Endpoint,
        settings: OutletSettings,
    ) -> Result<Box<dyn Outlet>, NetError> {
        self.zmq.outlet(address, settings)
    }

    fn inlet(&self) -> Result<Box<dyn Inlet>, NetError> {
        self.zmq.inlet()
    }

    fn responder(&self, address: &Endpoint) -> Result<Box<dyn Responder>, NetError> {
        let (inner, requests) = (self.zmq.responder(address)?, Arc::clone(&self.requests));
        Ok(Box::new(CountedResponder { inner, requests }))
    }

    fn asker(&self) -> Result<Box<dyn Asker>, NetError> {
        self.zmq.asker()
    }
}

struct CountedResponder {
    inner: Box<dyn Responder>,
    requests: Requests,
}

impl Responder for CountedResponder {
    fn receive(&mut self, timeout: Duration, asked: &mut Vec<Asked>) {
        let known = asked.len();
        self.inner.receive(timeout, asked);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for asked in &asked[known..] {
            let verb = asked.frames.get(1).map(|verb| String::from_utf8_lossy(verb).into_owned());
            *requests.entry(verb.unwrap_or_default()).or_default() += 1;
        }
    }

    fn answer(&mut self, peer: &Bytes, frames: &[Bytes]) -> bool {
        self.inner.answer(peer, frames)
    }

    fn is_behind(&self, peer: &Bytes) -> bool {
        self.inner.is_behind(peer)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.inner.waker()
    }
}
