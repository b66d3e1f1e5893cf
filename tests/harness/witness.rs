//! Somebody who sees the frames of a publisher and writes down what was under each number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::journal::Body;
use fedmsg::merkle::Leaf;
use serde::Deserialize;

use super::kept::Place;

/// A raw SUB socket, on a thread of its own.
pub struct Witness {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What it saw, and the first number that came with two contents.
#[derive(Default)]
struct Seen {
    leaves: BTreeMap<Place, Leaf>,
    twice: Option<Place>,
}

#[derive(Deserialize)]
struct Envelope {
    epoch: String,
    i: u64,
}

impl Witness {
    /// Of the messages at this address; whoever listens there may come and go.
    pub fn at(address: &str) -> Witness {
        let socket = zmq::Context::new().socket(zmq::SUB).expect("a socket");
        socket.set_rcvhwm(0).expect("set");
        socket.set_linger(0).expect("set");
        socket.set_reconnect_ivl(2).expect("set");
        // Only to look whether it is to stop.
        socket.set_rcvtimeo(100).expect("set");
        socket.set_subscribe(b"org.").expect("set");
        socket.connect(address).expect("connected");
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (places, end) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let Ok(frames) = socket.recv_multipart(0) else { continue };
                let [topic, envelope] = &frames[..] else { panic!("{} frames", frames.len()) };
                let wire = Wire { topic: topic.clone().into(), envelope: envelope.clone().into() };
                places.lock().unwrap_or_else(PoisonError::into_inner).note(wire);
            }
        });
        Witness { seen, stop, thread: Some(thread) }
    }

    /// Everything that was seen. No number may have come with two contents.
    pub fn end(mut self) -> BTreeMap<Place, Leaf> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("it runs").join();
        assert!(ended.is_ok(), "the witness panicked");
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(seen.twice, None, "a number came twice, with two contents");
        seen.leaves
    }
}

impl Seen {
    fn note(&mut self, wire: Wire) {
        let envelope: Envelope = serde_json::from_slice(&wire.envelope).expect("an envelope");
        let epoch = Epoch::parse(&envelope.epoch).expect("an epoch");
        let (place, leaf) = ((epoch, envelope.i), Body::Record(wire).leaf().expect("a leaf"));
        if self.leaves.insert(place, leaf).is_some_and(|known| known != leaf) {
            self.twice.get_or_insert(place);
        }
    }
}
