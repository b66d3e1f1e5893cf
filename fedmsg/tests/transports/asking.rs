//! Requests and answers: who gets what, in which order, and what becomes of those who do not read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fedmsg::Endpoint;
use fedmsg::limits::{ANSWER_BYTES_MAX, ENVELOPE_BYTES_MAX, GET_MESSAGES_MAX};
use fedmsg::transport::{Asked, Asker, NetError, Responder, Told};

use crate::ends::PATIENCE;
use crate::grounds::Ground;
use crate::waiting::{LONG, wakes};

fn frames(texts: &[&str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
}

fn asker(ground: &Ground, holders: &[Endpoint]) -> Box<dyn Asker> {
    let mut asker = ground.transport.asker().expect("an asker");
    asker.follow(holders);
    asker
}

/// Asks until it is on its way.
fn ask(asker: &mut dyn Asker, holder: &Endpoint, texts: &[&str]) {
    let start = Instant::now();
    while !asker.ask(holder, &frames(texts)) {
        assert!(start.elapsed() < PATIENCE, "{holder} can be asked in time");
        assert!(told(asker, Duration::from_millis(20)).is_empty(), "nobody was asked");
    }
}

fn told(asker: &mut dyn Asker, timeout: Duration) -> Vec<Told> {
    let mut answers = Vec::new();
    asker.receive(timeout, &mut answers);
    answers
}

/// The next answers, exactly so many.
fn answers(asker: &mut dyn Asker, count: usize) -> Vec<Told> {
    let (start, mut answers) = (Instant::now(), Vec::new());
    while answers.len() < count {
        assert!(start.elapsed() < PATIENCE, "{} of {count} came in time", answers.len());
        asker.receive(Duration::from_millis(200), &mut answers);
    }
    assert_eq!(answers.len(), count);
    answers
}

/// The next requests, exactly so many.
fn requests(responder: &mut dyn Responder, count: usize) -> Vec<Asked> {
    let (start, mut asked) = (Instant::now(), Vec::new());
    while asked.len() < count {
        assert!(start.elapsed() < PATIENCE, "{} of {count} came in time", asked.len());
        responder.receive(Duration::from_millis(200), &mut asked);
    }
    assert_eq!(asked.len(), count);
    asked
}

pub fn everybody_gets_the_answers_to_his_own_requests(ground: &Ground) {
    let (one, two) = (ground.new_address(), ground.new_address());
    let holders = [one.clone(), two.clone()];
    let mut responders =
        [&one, &two].map(|address| ground.transport.responder(address).expect("bound"));
    let mut askers = [asker(ground, &holders), asker(ground, &holders)];
    for (n, asker) in askers.iter_mut().enumerate() {
        for holder in &holders {
            ask(&mut **asker, holder, &["R1", &n.to_string(), "", &holder.to_string()]);
        }
    }
    for (responder, holder) in responders.iter_mut().zip(&holders) {
        for Asked { peer, frames } in requests(&mut **responder, 2) {
            assert_eq!((frames.len(), &frames[3][..]), (4, holder.to_string().as_bytes()));
            assert!(responder.answer(&peer, &frames) && responder.answer(&peer, &frames[..2]));
        }
    }
    for (n, asker) in askers.iter_mut().enumerate() {
        let told = answers(&mut **asker, 4);
        for holder in &holders {
            let own: Vec<_> = told.iter().filter(|told| told.holder == *holder).collect();
            let lengths: Vec<usize> = own.iter().map(|told| told.frames.len()).collect();
            assert_eq!(lengths, [4, 2], "both, in order");
            assert!(own.iter().all(|told| told.frames[1][..] == *n.to_string().as_bytes()));
            assert_eq!(own[0].frames[2].len(), 0, "an empty frame stays one");
        }
    }
}

pub fn a_whole_answer_waits_for_who_reads_it_late(ground: &Ground) {
    let address = ground.new_address();
    let mut responder = ground.transport.responder(&address).expect("bound");
    let mut asker = asker(ground, std::slice::from_ref(&address));
    // As many as one GET may bring, so many times, and one record of full length.
    let count = 4 * (GET_MESSAGES_MAX as usize + 1);
    ask(&mut *asker, &address, &["GET"]);
    let peer = requests(&mut *responder, 1).remove(0).peer;
    let pad = Bytes::from(vec![b'x'; 1_000]);
    for n in 0..count {
        assert!(responder.answer(&peer, &[Bytes::from(n.to_string()), pad.clone()]), "answer {n}");
    }
    assert!(responder.answer(&peer, &[Bytes::from(vec![b'y'; ENVELOPE_BYTES_MAX])]));
    let (start, mut told, mut asked) = (Instant::now(), Vec::new(), Vec::new());
    while told.len() < count + 1 {
        assert!(start.elapsed() < PATIENCE, "{} of {count} came in time", told.len());
        responder.receive(Duration::from_millis(1), &mut asked);
        asker.receive(Duration::from_millis(1), &mut told);
    }
    for (n, told) in told[..count].iter().enumerate() {
        assert_eq!(told.frames, [Bytes::from(n.to_string()), pad.clone()], "in its place");
    }
    assert_eq!(told[count].frames[0].len(), ENVELOPE_BYTES_MAX);
    assert!(!responder.is_behind(&peer) && asked.is_empty());
}

pub fn who_never_reads_costs_a_bounded_sum_and_holds_nobody_up(ground: &Ground) {
    let address = ground.new_address();
    let mut responder = ground.transport.responder(&address).expect("bound");
    let [mut deaf, mut other] = [0, 1].map(|_| asker(ground, std::slice::from_ref(&address)));
    ask(&mut *deaf, &address, &["deaf"]);
    let peer = requests(&mut *responder, 1).remove(0).peer;
    let answer = [Bytes::from(vec![b'x'; 100_000])];
    let mut taken = 0;
    while responder.answer(&peer, &answer) {
        taken += 100_000;
        // Besides what is kept there is what sockets and the kernel hold.
        assert!(taken < ANSWER_BYTES_MAX + (512 << 20), "there is an end to it");
    }
    assert!(responder.is_behind(&peer));
    let start = Instant::now();
    for n in 0..100 {
        ask(&mut *other, &address, &["other", &n.to_string()]);
        let asked = requests(&mut *responder, 1).remove(0);
        assert!(!responder.is_behind(&asked.peer));
        assert!(responder.answer(&asked.peer, &asked.frames));
        // What comes of it is sent while nobody asks, too.
        assert_eq!(answers(&mut *other, 1)[0].frames, asked.frames);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
}

pub fn who_was_behind_is_told_of_and_gets_more(ground: &Ground) {
    let address = ground.new_address();
    let mut responder = ground.transport.responder(&address).expect("bound");
    let mut asker = asker(ground, std::slice::from_ref(&address));
    ask(&mut *asker, &address, &["more"]);
    let peer = requests(&mut *responder, 1).remove(0).peer;
    let pad = Bytes::from(vec![b'x'; 10_000]);
    let mut sent = 0;
    while !responder.is_behind(&peer) {
        assert!(responder.answer(&peer, &[Bytes::from(sent.to_string()), pad.clone()]));
        sent += 1;
    }
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| answers(&mut *asker, sent));
        let (start, mut asked) = (Instant::now(), Vec::new());
        while responder.is_behind(&peer) {
            assert!(start.elapsed() < PATIENCE, "it has read in time");
            responder.receive(LONG, &mut asked);
        }
        let told = reading.join().expect("the reader is well");
        let numbers = told.iter().map(|told| told.frames[0].clone());
        assert!(numbers.eq((0..sent).map(|n| Bytes::from(n.to_string()))), "all, in order");
    });
}

pub fn holders_come_and_go(ground: &Ground) {
    let (one, two) = (ground.new_address(), ground.new_address());
    let mut asker = asker(ground, std::slice::from_ref(&one));
    assert!(!asker.ask(&one, &frames(&["too early"])), "nobody is there");
    assert!(!asker.ask(&two, &frames(&["not followed"])));
    let mut first = ground.transport.responder(&one).expect("bound");
    let mut second = ground.transport.responder(&two).expect("bound");
    ask(&mut *asker, &one, &["one"]);
    let asked = requests(&mut *first, 1).remove(0);
    assert_eq!(asked.frames, frames(&["one"]), "what was refused does not come later");
    asker.follow(&[one.clone(), two.clone()]);
    ask(&mut *asker, &two, &["two"]);
    requests(&mut *second, 1);
    assert!(first.answer(&asked.peer, &asked.frames), "it was not touched");
    assert_eq!(answers(&mut *asker, 1)[0].holder, one);
    // Something is on its way from one that is not followed any more when it arrives.
    assert!(first.answer(&asked.peer, &asked.frames));
    asker.follow(std::slice::from_ref(&two));
    assert!(!asker.ask(&one, &frames(&["not any more"])));
    ask(&mut *asker, &two, &["still"]);
    let asked = requests(&mut *second, 1).remove(0);
    assert!(second.answer(&asked.peer, &asked.frames));
    assert_eq!(answers(&mut *asker, 1)[0].holder, two);
    // A holder that is there again is reached again.
    drop(second);
    let start = Instant::now();
    let mut again = loop {
        assert!(start.elapsed() < PATIENCE, "the address is free again");
        // A socket is closed by a thread of its own.
        if let Ok(again) = ground.transport.responder(&two) {
            break again;
        }
        std::thread::yield_now();
    };
    let mut asked = Vec::new();
    while asked.is_empty() {
        assert!(start.elapsed() < PATIENCE, "it is asked in time");
        // What is sent before the connection is seen to be gone, is lost.
        asker.ask(&two, &frames(&["again"]));
        again.receive(Duration::from_millis(20), &mut asked);
        told(&mut *asker, Duration::ZERO);
    }
}

pub fn a_peer_that_is_gone_is_no_longer_answered(ground: &Ground) {
    let address = ground.new_address();
    let mut responder = ground.transport.responder(&address).expect("bound");
    let mut asker = asker(ground, std::slice::from_ref(&address));
    ask(&mut *asker, &address, &["?"]);
    let peer = requests(&mut *responder, 1).remove(0).peer;
    drop(asker);
    let (start, mut asked) = (Instant::now(), Vec::new());
    while responder.answer(&peer, &frames(&["!"])) {
        assert!(start.elapsed() < PATIENCE, "it is seen to be gone in time");
        responder.receive(Duration::from_millis(5), &mut asked);
    }
    assert!(!responder.is_behind(&peer));
    assert!(!responder.answer(&Bytes::from("a stranger"), &frames(&["!"])));
}

pub fn too_much_in_one_request_harms_nobody(ground: &Ground) {
    let address = ground.new_address();
    let mut responder = ground.transport.responder(&address).expect("bound");
    let [mut hostile, mut other] = [0, 1].map(|_| asker(ground, std::slice::from_ref(&address)));
    ask(&mut *other, &address, &["before"]);
    let peer = requests(&mut *responder, 1).remove(0).peer;
    ask(&mut *hostile, &address, &["before"]);
    requests(&mut *responder, 1);
    let many = vec![Bytes::from("x"); 5_000];
    assert!(hostile.ask(&address, &many));
    let asked = requests(&mut *responder, 1).remove(0);
    assert!((205..=5_000).contains(&asked.frames.len()), "it shows that they are too many");
    assert!(hostile.ask(&address, &[Bytes::from(vec![0; 2 * ENVELOPE_BYTES_MAX])]));
    assert!(responder.answer(&peer, &frames(&["still here"])));
    assert_eq!(answers(&mut *other, 1).len(), 1);
    ask(&mut *other, &address, &["after"]);
    let asked = requests(&mut *responder, 1).remove(0);
    assert_eq!(asked.frames, frames(&["after"]), "what is too long never arrives");
}

pub fn an_address_has_one_responder(ground: &Ground) {
    let address = ground.new_address();
    let _owner = ground.transport.responder(&address).expect("bound");
    match ground.transport.responder(&address) {
        Err(NetError::InUse { address: told }) => assert_eq!(told, address.to_string()),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("two have the address"),
    }
}

pub fn both_ends_are_woken_from_another_thread(ground: &Ground) {
    let address = ground.new_address();
    let mut responder = ground.transport.responder(&address).expect("bound");
    let mut asker = asker(ground, std::slice::from_ref(&address));
    wakes(responder.waker(), || responder.receive(LONG, &mut Vec::new()));
    wakes(asker.waker(), || {
        told(&mut *asker, LONG);
    });
}
