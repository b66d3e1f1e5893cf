//! Subscribers that do not read.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedmsg::config::Config;
use fedmsg::endpoint::Endpoint;
use fedmsg::record::Level;
use fedmsg::testing::{Bus, MemoryDisk, MemoryTransport};
use fedmsg::transport::{Asker, Inlet, NetError, Outlet, OutletSettings, Responder, Transport};
use fedmsg::{Event, Publisher};

use super::{PATIENCE, open, publish};

/// Remembers how long the publisher wants to wait for slow subscribers.
struct Recording {
    inner: MemoryTransport,
    waits: Mutex<Vec<Duration>>,
}

impl Transport for Recording {
    fn outlet(
        &self,
        address: &Endpoint,
        settings: OutletSettings,
    ) -> Result<Box<dyn Outlet>, NetError> {
        self.waits.lock().expect("no panic").push(settings.slow_subscriber_wait);
        self.inner.outlet(address, settings)
    }

    fn inlet(&self) -> Result<Box<dyn Inlet>, NetError> {
        self.inner.inlet()
    }

    fn responder(&self, address: &Endpoint) -> Result<Box<dyn Responder>, NetError> {
        self.inner.responder(address)
    }

    fn asker(&self) -> Result<Box<dyn Asker>, NetError> {
        self.inner.asker()
    }
}

#[test]
fn only_where_what_is_missed_can_be_fetched_nobody_is_waited_for() {
    let bus = Bus::new();
    bus.declare("app.one");
    let configured = Duration::from_millis(bus.config().publisher.slow_subscriber_wait_ms);
    assert!(!configured.is_zero());
    for (level, has_replay, wait) in [
        (Level::Local, true, Duration::ZERO),
        (Level::Local, false, configured),
        (Level::Memory, true, configured),
    ] {
        let known = bus.config();
        let mut entries: Vec<_> = known.endpoints.values().cloned().collect();
        let replay = Endpoint::parse("tcp://memory:9000").expect("an address");
        entries[0].replay = has_replay.then_some(replay).into_iter().collect();
        let trust = known.trust.as_ref().clone();
        let config = Config::in_memory(trust, entries, known.state_dir.clone());
        let (inner, waits) = (bus.transport().clone(), Mutex::default());
        let transport = Arc::new(Recording { inner, waits });
        let builder = bus.publisher_builder("app.one").config(Arc::new(config)).level(level);
        let publisher: Publisher =
            builder.transport(transport.clone()).build().expect("a publisher");
        assert_eq!(*transport.waits.lock().expect("no panic"), [wait], "{level} {has_replay}");
        drop(publisher);
    }
}

#[test]
fn a_subscriber_that_stands_still_is_left_out_and_costs_the_others_nothing() {
    const ROOM: usize = 64;
    const MESSAGES: u64 = 5 * ROOM as u64;
    let (bus, disk) = (Bus::on(MemoryTransport::with_bound(ROOM)), MemoryDisk::new());
    let subscriber = bus.subscriber(&["app"]);
    let publisher = open(&bus, &disk);
    let mut stopped = bus.transport().inlet().expect("an inlet");
    let entries: Vec<_> = bus.config().endpoints.values().cloned().collect();
    stopped.follow(&entries);
    assert!(publisher.wait_for_subscribers(2, PATIENCE));
    for n in 1..=MESSAGES {
        publish(&publisher, n).expect("stored");
        loop {
            match subscriber.recv(Some(PATIENCE)).expect("an event") {
                Event::Message(message) => break assert_eq!(message.i(), n),
                Event::Lost(lost) => panic!("{lost}"),
                _ => {}
            }
        }
    }
    // Once it is given up, it is not waited for or counted again.
    assert_eq!(publisher.metrics().left_out, 1);
}
