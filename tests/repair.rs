//! What did not come is fetched: by a tail that stood still, and from whoever keeps the stream.

use crate::harness::Bus;

/// `I` of each line of `--format %i`, until this one has come.
fn numbers(tail: &mut crate::harness::Program, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        numbers.push(tail.line().parse().expect("a number"));
    }
    numbers
}

#[test]
fn a_tail_that_stood_still_fetches_what_it_missed() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    let mut tail = bus.tail(&["--format", "%i", "--summary", "--strict"]);
    let (mut publisher, _) = bus.process("app.one");
    assert_eq!(publisher.ask("subscribers 1"), "subscribers true");
    publisher.ask("app.n {}");
    assert_eq!(tail.line(), "1");
    // The tail knows nothing of the next process before that one has published.
    tail.stop();
    publisher.kill();
    let (mut publisher, _) = bus.process("app.one");
    for n in 2..=300 {
        assert!(publisher.ask("app.n {}").ends_with(&format!(" {n} -")));
    }
    tail.go_on();
    assert_eq!(numbers(&mut tail, 300), (2..=300).collect::<Vec<_>>());
    tail.term();
    let (code, _, said) = tail.end();
    assert_eq!(code, 143, "nothing was lost: {said:?}");
    let summary = said.last().expect("a summary");
    assert!(summary.contains("verified 300 rejected 0 lost 0"), "{summary}");
}

#[test]
fn the_last_words_of_a_killed_worker_are_fetched_from_another_one() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 2);
    let (mut first, ready) = bus.process("app.one");
    assert!(ready.starts_with("ready app.one/0 "), "{ready}");
    let (_second, ready) = bus.process("app.one");
    assert!(ready.starts_with("ready app.one/1 "), "{ready}");
    let mut tail = bus.tail(&["--format", "%i"]);
    assert_eq!(first.ask("subscribers 1"), "subscribers true");
    first.ask("app.n {}");
    assert_eq!(tail.line(), "1");
    tail.stop();
    // What the kernel holds for the tail is not all: the first worker is gone before it connects again.
    first.kill();
    let (mut again, _) = bus.process("app.one");
    for _ in 2..=20 {
        again.ask("app.n {}");
    }
    again.kill();
    tail.go_on();
    assert_eq!(numbers(&mut tail, 20), (2..=20).collect::<Vec<_>>());
}

#[test]
fn a_flood_reaches_everybody_though_one_reader_stands_still() {
    // On a bare PUB socket with its default marks, 193,000 of 200,000 messages are lost.
    const COUNT: u64 = 200_000;
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    let (mut publisher, _) = bus.process("app.one");
    let mut tails: Vec<_> = (0..2).map(|_| bus.tail(&["--format", "%i", "--summary"])).collect();
    assert_eq!(publisher.ask("subscribers 2"), "subscribers true");
    tails[1].stop();
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(900));
    let sent = publisher.ask(&format!("many {COUNT} app.n {body}"));
    assert!(sent.ends_with(&format!(" {COUNT} -")), "{sent}");
    tails[1].go_on();
    for tail in &mut tails {
        assert!(numbers(tail, COUNT).into_iter().eq(1..=COUNT), "everything, once, in order");
        tail.term();
        let (_, _, said) = tail.end();
        let summary = said.last().expect("a summary");
        assert!(summary.contains(&format!("verified {COUNT} rejected 0 lost 0")), "{summary}");
    }
}
