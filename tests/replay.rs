//! A publisher answers for what is kept on its host, of processes that are gone too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedmsg::StreamName;
use fedmsg::config::Config;
use fedmsg::endpoint::Endpoint;
use fedmsg::frames::{Answer, Ask, Reply, Request, RequestId};
use fedmsg::net::Zmq;
use fedmsg::open::Opener;
use fedmsg::transport::{Asker, Transport};

use crate::harness::{Bus, PATIENCE};

/// Asks until it is answered; all answers up to the one that ends them.
fn ask(asker: &mut dyn Asker, holder: &Endpoint, ask: Ask) -> Vec<Reply> {
    let id = RequestId::new(b"1").expect("an id");
    let frames: Vec<Bytes> = Request { id, ask }.encode();
    let deadline = Instant::now() + PATIENCE;
    let (mut told, mut replies) = (Vec::new(), Vec::new());
    while !asker.ask(holder, &frames) {
        assert!(Instant::now() < deadline, "{holder} cannot be reached");
        asker.receive(Duration::from_millis(20), &mut told);
    }
    loop {
        assert!(Instant::now() < deadline, "{holder} does not answer; so far {replies:?}");
        asker.receive(Duration::from_millis(100), &mut told);
        for answer in told.drain(..) {
            replies.push(Answer::parse(&answer.frames).expect("an answer").reply);
        }
        let last = replies.last();
        if last.is_some_and(|reply| !matches!(reply, Reply::Msg { .. } | Reply::Gone { .. })) {
            return replies;
        }
    }
}

#[test]
fn the_stream_of_a_killed_worker_is_served_by_another_one() {
    let bus = Bus::new(&[]);
    let replay = bus.service_with_replay("app.one", 2);
    let (mut first, ready) = bus.process("app.one");
    assert!(ready.starts_with("ready app.one/0 "), "{ready}");
    let (second, ready) = bus.process("app.one");
    assert!(ready.starts_with("ready app.one/1 "), "{ready}");
    for n in 1..=5 {
        first.ask(&format!("app.n {{\"n\":{n}}}"));
    }
    first.kill();

    let holder = Endpoint::parse(&replay[1]).expect("an address");
    let mut asker = Zmq::new().asker().expect("an asker");
    asker.follow(std::slice::from_ref(&holder));
    let stream = StreamName::parse("app.one/0").expect("a stream");
    let info = ask(&mut *asker, &holder, Ask::Head { stream: stream.clone() });
    let [Reply::Info { epochs, .. }] = &info[..] else { panic!("{info:?}") };
    let range = epochs.last().expect("an epoch");
    assert_eq!((epochs.len(), range.last), (1, 5));

    let (epoch, to) = (range.epoch, range.last);
    let get = Ask::Get { stream, epoch, from: 0, to, max: 1_000, filters: Vec::new() };
    let got = ask(&mut *asker, &holder, get);
    assert!(matches!(got.last(), Some(Reply::End { upto: 5, more: false })), "{got:?}");
    let config = Config::load(&bus.load()).expect("a configuration");
    let mut opener = Opener::new(Arc::clone(&config.trust));
    let mut numbers = Vec::new();
    for reply in &got[..got.len() - 1] {
        let Reply::Msg { i, wire } = reply else { panic!("{reply:?}") };
        let verified = opener.open(wire).unwrap_or_else(|refused| panic!("{refused:?}"));
        assert_eq!((verified.i(), verified.epoch()), (*i, epoch));
        numbers.push(*i);
    }
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "the genesis record and every message");
    drop(second);
}
