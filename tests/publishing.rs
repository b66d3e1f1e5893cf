//! Services with sockets of their own: slots, several in one process, one without an entry.

use std::time::Duration;

use fedmsg::{Draft, Publisher};
use serde_json::json;

use crate::harness::{Bus, PATIENCE, topic};

/// Publishes one message and gives its number.
pub fn publish(publisher: &Publisher, topic: &str, n: u64) -> u64 {
    let sent = publisher.publish(Draft::new(topic).body(&json!({ "n": n }))).wait();
    sent.unwrap_or_else(|error| panic!("{error}")).i
}

/// Waits for so many subscribers.
pub fn subscribed(publisher: &Publisher, count: usize) {
    assert!(publisher.wait_for_subscribers(count, PATIENCE), "{count} subscribers in time");
}

#[test]
fn a_message_comes_verified_with_its_signer() {
    let bus = Bus::with(&["app.one"]);
    let mut tail = bus.tail(&["--json"]);
    let publisher = bus.publisher("app.one");
    subscribed(&publisher, 1);
    publish(&publisher, "app.thing.create", 7);
    let line = tail.json();
    assert_eq!(line["verdict"], "verified");
    assert_eq!((&line["signer"], &line["endpoint"]), (&json!("app.one"), &json!("app.one")));
    assert_eq!((&line["stream"], &line["i"]), (&json!("app.one/0"), &json!(1)));
    assert_eq!(line["message"]["topic"], topic("app.thing.create"));
    assert_eq!(line["message"]["msg"], json!({ "n": 7 }));
    tail.term();
    assert_eq!(tail.end().0, 143);
}

#[test]
fn the_fifth_worker_of_four_slots_goes_through_the_relay() {
    let bus = Bus::new(&["relay.one"]);
    bus.service("app.one", 4);
    let _relay = bus.relay("relay.one");
    let mut tail = bus.tail(&["--json"]);
    tail.says("relay.one/0 is live");
    let mut workers = Vec::new();
    for slot in 0..4 {
        let (mut worker, ready) = bus.process("app.one");
        assert!(ready.starts_with(&format!("ready app.one/{slot} ")), "{ready}");
        assert!(ready.ends_with(" direct"), "{ready}");
        assert_eq!(worker.ask("subscribers 1"), "subscribers true");
        workers.push(worker);
    }
    let (fifth, ready) = bus.process("app.one");
    assert!(ready.ends_with(" relayed"), "{ready}");
    workers.push(fifth);
    for (n, worker) in workers.iter_mut().enumerate() {
        let sent = worker.ask(&format!("app.work.end {{\"worker\":{n}}}"));
        assert!(sent.starts_with("sent ") && sent.ends_with(" 1 -"), "{sent}");
        let line = tail.json();
        assert_eq!((&line["signer"], &line["verdict"]), (&json!("app.one"), &json!("verified")));
        assert_eq!(line["message"]["msg"]["worker"], n);
        let endpoint = if n == 4 { "relay.one" } else { "app.one" };
        assert_eq!(line["endpoint"], endpoint);
    }
    // A slot that is left is taken again.
    workers.remove(1).end();
    let (_sixth, ready) = bus.process("app.one");
    assert!(ready.starts_with("ready app.one/1 "), "{ready}");
}

#[test]
fn without_a_slot_and_a_relay_the_error_names_who_holds_it() {
    let bus = Bus::with(&["app.one"]);
    let _first = bus.publisher("app.one");
    let identity = fedmsg::Identity::parse("app.one").expect("identity");
    let second = Publisher::builder().load(bus.load()).identity(identity).build();
    let error = second.expect_err("there is one slot").to_string();
    let holder = format!("slot 0 is held by process {}", std::process::id());
    assert!(error.contains(&holder), "{error}");
}

#[test]
fn several_publishers_live_in_one_process() {
    let bus = Bus::with(&["app.one", "web.two"]);
    bus.service("log.three", 2);
    let names = ["app.one", "web.two", "log.three", "log.three"];
    let publishers = names.map(|name| bus.publisher(name));
    let mut tail = bus.tail(&["--format", "%n %i"]);
    publishers.iter().for_each(|publisher| subscribed(publisher, 1));
    for n in 0..25 {
        for publisher in &publishers {
            publish(publisher, &format!("{}.x", publisher.identity().service()), n);
        }
    }
    let mut lines: Vec<String> = (0..100).map(|_| tail.line()).collect();
    lines.sort();
    let streams = ["app.one/0", "log.three/0", "log.three/1", "web.two/0"];
    let mut expected: Vec<String> =
        streams.iter().flat_map(|name| (1..=25).map(move |i| format!("{name} {i}"))).collect();
    expected.sort();
    assert_eq!(lines, expected);
}

#[test]
fn a_service_without_an_entry_publishes_through_the_relay() {
    let bus = Bus::new(&["relay.one"]);
    bus.key("cron.daily");
    let _relay = bus.relay("relay.one");
    let mut tail = bus.tail(&["--json"]);
    tail.says("relay.one/0 is live");
    let publisher = bus.publisher("cron.daily");
    assert!(publisher.is_relayed());
    let sent = publisher.publish(Draft::new("cron.job.end").body(&json!({}))).wait().expect("sent");
    assert_eq!((sent.level.to_string(), sent.relay), ("local".into(), None));
    assert!(publisher.flush(PATIENCE), "a relay has it");
    let line = tail.json();
    assert_eq!((&line["signer"], &line["endpoint"]), (&json!("cron.daily"), &json!("relay.one")));
}

#[test]
fn what_the_policy_denies_is_not_even_sealed() {
    let bus = Bus::with(&["app.one"]);
    let publisher = bus.publisher("app.one");
    let sent = publisher.publish(Draft::new("web.page.create").body(&json!({})));
    assert!(sent.wait_timeout(Duration::from_secs(5)).is_err());
    assert_eq!(publish(&publisher, "app.page.create", 1), 1, "no number was used up");
}
