//! An outlet and an inlet as the tests use them: every wait ends with what it waits for, or fails.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fedmsg::config::EndpointEntry;
use fedmsg::envelope::Wire;
use fedmsg::event::EndpointChange;
use fedmsg::transport::{Inlet, Outlet, OutletSettings, Subscribers};

use crate::grounds::Ground;

/// Everything that is waited for comes within this time, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A message that is known again.
pub fn wire(topic: &str, envelope: impl Into<Bytes>) -> Wire {
    Wire { topic: Bytes::copy_from_slice(topic.as_bytes()), envelope: envelope.into() }
}

/// The publishing end, with a count of its subscribers.
pub struct Source {
    pub outlet: Box<dyn Outlet>,
    pub seen: Subscribers,
}

impl Source {
    /// An outlet on the first address of an entry.
    pub fn bind(ground: &Ground, entry: &EndpointEntry) -> Source {
        Source::with(ground, entry, 0, OutletSettings::default())
    }

    pub fn with(
        ground: &Ground,
        entry: &EndpointEntry,
        slot: usize,
        settings: OutletSettings,
    ) -> Source {
        let outlet = ground.transport.outlet(&entry.publish[slot], settings).expect("bound");
        Source { outlet, seen: Subscribers::default() }
    }

    /// Waits until so many came in all.
    pub fn joined(&mut self, count: usize) {
        self.until(|seen| seen.joined >= count, || {});
        assert_eq!(self.seen.joined, count);
    }

    /// Waits until so many went in all.
    pub fn left(&mut self, count: usize) {
        self.left_while(count, || {});
    }

    /// The same, and does something else meanwhile.
    pub fn left_while(&mut self, count: usize, meanwhile: impl FnMut()) {
        self.until(|seen| seen.left >= count, meanwhile);
        assert_eq!(self.seen.left, count);
    }

    fn until(&mut self, enough: impl Fn(&Subscribers) -> bool, mut meanwhile: impl FnMut()) {
        let start = Instant::now();
        while !enough(&self.seen) {
            assert!(start.elapsed() < PATIENCE, "waited long enough: {:?}", self.seen);
            meanwhile();
            let news = self.outlet.wait(Duration::from_millis(50));
            self.seen.joined += news.joined;
            self.seen.left += news.left;
        }
    }

    pub fn send(&mut self, topic: &str, envelope: impl Into<Bytes>) {
        assert!(self.outlet.send(&wire(topic, envelope)), "nobody is left out");
    }
}

/// The receiving end.
pub struct Reader {
    pub inlet: Box<dyn Inlet>,
    pub changes: Vec<EndpointChange>,
}

/// What arrived, in a form that tests can compare: who sent it, topic, envelope.
pub type Heard = (String, String, Bytes);

impl Reader {
    pub fn following(ground: &Ground, entries: &[EndpointEntry]) -> Reader {
        let mut inlet = ground.transport.inlet().expect("an inlet");
        inlet.follow(entries);
        Reader { inlet, changes: Vec::new() }
    }

    /// The next messages, so many of them or a few more; or a count of frames that is not two.
    pub fn next(&mut self, count: usize) -> Vec<Result<Heard, usize>> {
        let (start, mut heard) = (Instant::now(), Vec::new());
        while heard.len() < count {
            assert!(start.elapsed() < PATIENCE, "{} of {count} arrived in time", heard.len());
            heard.extend(self.turn(Duration::from_secs(1)));
        }
        heard
    }

    /// One wait.
    pub fn turn(&mut self, timeout: Duration) -> Vec<Result<Heard, usize>> {
        let mut arrivals = Vec::new();
        self.inlet.receive(timeout, &mut arrivals);
        self.changes.extend(self.inlet.changes());
        let heard = arrivals.into_iter().map(|arrival| {
            let from = arrival.endpoint.to_string();
            let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8");
            arrival.frames.map(|wire| (from, text(wire.topic), wire.envelope))
        });
        heard.collect()
    }

    /// The next messages, exactly so many: the envelopes as text.
    #[track_caller]
    pub fn texts(&mut self, count: usize) -> Vec<String> {
        let heard = self.next(count);
        assert_eq!(heard.len(), count, "{heard:?}");
        let text = |heard: Result<Heard, usize>| {
            let (_, _, envelope) = heard.expect("two frames");
            String::from_utf8(envelope.to_vec()).expect("UTF-8")
        };
        heard.into_iter().map(text).collect()
    }
}

/// A source on the first address of an entry, and a reader that it knows of.
pub fn pair(ground: &Ground, entry: &EndpointEntry) -> (Source, Reader) {
    let mut source = Source::bind(ground, entry);
    let reader = Reader::following(ground, std::slice::from_ref(entry));
    source.joined(1);
    (source, reader)
}
