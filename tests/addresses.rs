//! Addresses that are not numbers of IPv4: IPv6, names, and names that nobody knows.

use crate::harness::{Bus, free_port};
use crate::publishing::{publish, subscribed};

/// A service at this host publishes, and a tail hears it.
fn meet_at(host: &str) {
    let bus = Bus::new(&[]);
    bus.key("app.one");
    bus.entry_at("app.one", &[format!("tcp://{host}:{}", free_port())]);
    let mut tail = bus.tail(&["--format", "%s %i"]);
    let publisher = bus.publisher("app.one");
    subscribed(&publisher, 1);
    for n in 1..=3 {
        publish(&publisher, "app.n", n);
        assert_eq!(tail.line(), format!("app.one {n}"));
    }
}

#[test]
fn publisher_and_tail_meet_over_ipv6() {
    meet_at("[::1]");
}

#[test]
fn publisher_and_tail_meet_by_a_name() {
    meet_at("localhost");
}

#[test]
fn names_that_do_not_resolve_and_hosts_that_are_down_harm_nobody() {
    let bus = Bus::with(&["app.one", "down.two"]);
    bus.key("ghost.three");
    let unknown = "no-such-host.invalid";
    bus.entry_at("ghost.three", &[format!("tcp://{unknown}:{}", free_port())]);
    let mut tail = bus.tail(&["--format", "%s %i"]);
    let publisher = bus.publisher("app.one");
    subscribed(&publisher, 1);
    for n in 1..=100 {
        publish(&publisher, "app.n", n);
        assert_eq!(tail.line(), format!("app.one {n}"));
    }
    // Which one comes first is the name server's affair.
    let told = [tail.says(" is down: "), tail.says(" is down: ")];
    let is_told = |who: &str, why: &str| {
        let mut lines = told.iter();
        assert!(lines.any(|line| line.contains(who) && line.contains(why)), "{who}: {told:?}");
    };
    is_told("down.two", "nothing is heard from it");
    is_told("ghost.three", &format!("{unknown} does not resolve"));
    publish(&publisher, "app.n", 101);
    assert_eq!(tail.line(), "app.one 101");
}
