//! The relay as a process.

use std::collections::BTreeSet;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use fedmsg::record::Level;
use fedmsg::{Draft, Identity, Publisher};
use serde_json::json;

use crate::harness::{Bus, PATIENCE};
use crate::publishing::publish;

#[test]
fn a_relay_carries_three_producers() {
    let bus = Bus::new(&["relay.one"]);
    let names = ["a.x", "b.x", "c.x"];
    names.iter().for_each(|name| drop(bus.key(name)));
    let _relay = bus.relay("relay.one");
    let mut tail = bus.tail(&["--format", "%s %i %e", "--strict", "--count", "150"]);
    tail.says("relay.one/0 is live");
    thread::scope(|scope| {
        for name in names {
            let publisher = bus.publisher(name);
            scope.spawn(move || {
                let draft = |n| Draft::new(format!("{}.n", &name[..1])).body(&json!({ "n": n }));
                let tickets: Vec<_> =
                    (0..50).map(|n| publisher.enqueue(draft(n)).expect("queued")).collect();
                for (ticket, i) in tickets.into_iter().zip(1..) {
                    assert_eq!(ticket.wait().expect("accepted").i, i);
                }
            });
        }
    });
    let (code, lines, errors) = tail.end();
    assert_eq!(code, 0, "{errors:?}");
    for name in names {
        let own: Vec<&String> = lines.iter().filter(|line| line.starts_with(name)).collect();
        let expected: Vec<String> = (1..=50).map(|i| format!("{name} {i} relay.one")).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_relay_that_is_told_to_end_says_so_and_ends_with_success() {
    let bus = Bus::new(&["relay.one"]);
    bus.key("a.x");
    let mut relay = bus.relay("relay.one");
    let mut tail = bus.tail(&["--format", "%s %i", "--count", "20"]);
    tail.says("relay.one/0 is live");
    let publisher = bus.publisher("a.x");
    for n in 1..=20 {
        assert_eq!(publish(&publisher, "a.n", n), n);
    }
    assert!(publisher.flush(PATIENCE), "the relay has everything");
    relay.term();
    let (code, out, errors) = relay.end();
    assert_eq!((code, out.len()), (0, 0), "{errors:?}");
    assert!(errors.iter().any(|line| line.contains("carried=20")), "{errors:?}");
    assert!(errors.last().is_some_and(|line| line.ends_with("ended")), "{errors:?}");
    // What was accepted was published before the end.
    assert_eq!(tail.end().1.len(), 20);
}

/// Publishes without a pause until the publisher is closed, and says what was accepted.
fn flood(publisher: &Publisher, topic: &str, accepted: &Sender<String>) {
    let draft = |n: u64| Draft::new(topic).body(&json!({ "n": n }));
    for round in 0.. {
        let tickets: Vec<_> =
            (0..200).map_while(|n| publisher.enqueue(draft(200 * round + n)).ok()).collect();
        for ticket in tickets {
            let Ok(receipt) = ticket.wait() else { return };
            let line = format!("{} {}", publisher.identity(), receipt.i);
            accepted.send(line).expect("the test listens");
        }
    }
}

#[test]
fn a_relay_that_ends_under_load_has_delivered_what_it_accepted() {
    let bus = Bus::new(&["relay.one"]);
    // So many that something waits in the relay at any time, also when it is told to end.
    let names = ["a.x", "b.x", "c.x", "d.x", "e.x", "f.x", "g.x", "h.x"];
    names.iter().for_each(|name| drop(bus.key(name)));
    let mut relay = bus.relay("relay.one");
    let mut tail = bus.tail(&["--format", "%s %i"]);
    tail.says("relay.one/0 is live");
    // A receipt of theirs is the relay's word, not that of a disk.
    let publishers = names.map(|name| {
        let identity = Identity::parse(name).expect("identity");
        let builder = Publisher::builder().load(bus.load()).identity(identity);
        builder.level(Level::Memory).build().expect("a publisher")
    });
    let mut accepted: BTreeSet<String> = thread::scope(|scope| {
        let (accept, accepted) = channel();
        for (publisher, name) in publishers.iter().zip(names) {
            let (accept, topic) = (accept.clone(), format!("{}.n", &name[..1]));
            scope.spawn(move || flood(publisher, &topic, &accept));
        }
        drop(accept);
        let mut lines: BTreeSet<String> = accepted.iter().take(4_000).collect();
        relay.term();
        let (code, _, errors) = relay.end();
        assert_eq!(code, 0, "{errors:?}");
        assert!(errors.last().is_some_and(|line| line.ends_with("ended")), "{errors:?}");
        for publisher in &publishers {
            scope.spawn(|| publisher.close());
        }
        lines.extend(accepted);
        lines
    });
    assert!(accepted.len() >= 4_000, "there was a load: {}", accepted.len());
    let mut last = [0; 8];
    while !accepted.is_empty() {
        let line = tail.line();
        let (name, i) = line.split_once(' ').expect("two words");
        let at = names.iter().position(|other| *other == name).expect("a producer");
        assert_eq!(i, (last[at] + 1).to_string(), "in order and without a hole: {line}");
        last[at] += 1;
        accepted.remove(&line);
    }
}

#[test]
fn a_second_relay_of_one_name_is_refused() {
    let bus = Bus::new(&["relay.one"]);
    let _relay = bus.relay("relay.one");
    let mut second = crate::harness::Program::start(bus.program("fedmsg-relay"));
    let (code, _, errors) = second.end();
    assert_eq!(code, 1);
    assert!(errors.iter().any(|line| line.contains("runs already")), "{errors:?}");
}
