//! How long anybody waits: for an address, for a slow reader, until woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fedmsg::limits::SLOW_SUBSCRIBER_WAIT_MS_MAX;
use fedmsg::transport::{NetError, OutletSettings, Wake};

use crate::ends::{PATIENCE, Reader, Source, wire};
use crate::grounds::Ground;

/// A wait that nobody would sit out.
pub const LONG: Duration = Duration::from_secs(600);

pub fn an_address_has_one_owner(ground: &Ground) {
    let entry = ground.entry("app.one", 1);
    let address = &entry.publish[0];
    let owner = Source::bind(ground, &entry);
    match ground.transport.outlet(address, OutletSettings::default()) {
        Err(NetError::InUse { address: told }) => assert_eq!(told, address.to_string()),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("two have the address"),
    }
    drop(owner);
    let start = Instant::now();
    // A socket is closed by a thread of its own.
    while ground.transport.outlet(address, OutletSettings::default()).is_err() {
        assert!(start.elapsed() < PATIENCE, "the address is free again");
        thread::yield_now();
    }
}

pub fn a_stopped_reader_holds_nobody_up_for_long(ground: &Ground) {
    const MESSAGES: usize = 30_000;
    let entry = ground.entry("app.one", 1);
    let wait = Duration::from_millis(SLOW_SUBSCRIBER_WAIT_MS_MAX);
    let settings = OutletSettings { slow_subscriber_wait: wait, subscriber_bytes: 1 << 20 };
    let mut source = Source::with(ground, &entry, 0, settings);
    let mut stopped = Reader::following(ground, std::slice::from_ref(&entry));
    let mut reader = Reader::following(ground, std::slice::from_ref(&entry));
    source.joined(2);
    let (mut longest, mut given_up) = (Duration::ZERO, 0);
    let pad = "x".repeat(1_000);
    thread::scope(|scope| {
        let reading = scope.spawn(|| reader.next(MESSAGES));
        for n in 0..MESSAGES {
            let start = Instant::now();
            given_up += usize::from(!source.outlet.send(&wire("t", format!("{n} {pad}"))));
            longest = longest.max(start.elapsed());
        }
        let heard = reading.join().expect("the other reader is well");
        for (n, heard) in heard.into_iter().enumerate() {
            let (_, _, envelope) = heard.expect("two frames");
            assert!(envelope.starts_with(format!("{n} ").as_bytes()), "message {n} in its place");
        }
    });
    assert_eq!(given_up, 1, "it is told when the stopped one is given up, and only then");
    // What the machine does beside is in it, too.
    assert!(longest < wait * 3, "one message took {longest:?}");
    comes_back(&mut source, &mut stopped);
}

/// A reader that reads again gets messages again.
fn comes_back(source: &mut Source, reader: &mut Reader) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "it comes back");
        source.outlet.send(&wire("back", "x"));
        let heard = reader.turn(Duration::from_millis(20));
        let new = |heard: &Result<crate::ends::Heard, usize>| {
            heard.as_ref().is_ok_and(|(_, topic, _)| topic == "back")
        };
        if heard.iter().any(new) {
            return;
        }
    }
}

pub fn an_outlet_is_woken_from_another_thread(ground: &Ground) {
    let mut source = Source::bind(ground, &ground.entry("app.one", 1));
    wakes(source.outlet.waker(), || {
        source.outlet.wait(LONG);
    });
}

pub fn an_inlet_is_woken_from_another_thread(ground: &Ground) {
    let mut reader = Reader::following(ground, &[]);
    wakes(reader.inlet.waker(), || {
        reader.turn(LONG);
    });
}

/// A wake-up interrupts a wait that has begun, and one that begins after it.
pub fn wakes(waker: Arc<dyn Wake>, mut wait: impl FnMut()) {
    // Waits may be shorter than told, so what counts is that one of many is much shorter.
    let mut shortest = LONG;
    for _ in 0..20 {
        waker.wake();
        let start = Instant::now();
        wait();
        shortest = shortest.min(start.elapsed());
    }
    assert!(shortest < Duration::from_millis(100), "woken before: {shortest:?}");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                waker.wake();
                thread::yield_now();
            }
        });
        let start = Instant::now();
        (0..100).for_each(|_| wait());
        done.store(true, Ordering::SeqCst);
        assert!(start.elapsed() < Duration::from_secs(10), "100 waits took {:?}", start.elapsed());
    });
}
