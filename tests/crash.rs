//! kill -9, while a tail runs and goes on.

use serde_json::json;

use crate::harness::Bus;

#[test]
fn a_killed_publisher_goes_on_where_it_was() {
    let bus = Bus::with(&["app.one"]);
    let mut tail = bus.tail(&["--json"]);
    let mut epochs = Vec::new();
    for round in 0..3 {
        let (mut publisher, ready) = bus.process("app.one");
        assert!(
            ready.starts_with("ready app.one/0 "),
            "the slot of a dead process is free: {ready}"
        );
        assert_eq!(publisher.ask("subscribers 1"), "subscribers true");
        for n in 1..=3 {
            let (i, sent) = (round * 3 + n, publisher.ask(&format!("app.n {{\"round\":{round}}}")));
            assert!(sent.ends_with(&format!(" {i} -")), "{sent}");
            let line = tail.json();
            assert_eq!((&line["i"], &line["message"]["msg"]["round"]), (&json!(i), &json!(round)));
            epochs.push(line["epoch"].to_string());
        }
        publisher.kill();
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 1, "the journal shows that no later number was given out");
    tail.term();
    let (code, _, said) = tail.end();
    assert_eq!(code, 143);
    assert!(!said.iter().any(|line| line.contains("lost") || line.contains("fork")), "{said:?}");
}

#[test]
fn a_message_that_is_published_again_after_a_kill_is_the_same_one() {
    let bus = Bus::with(&["app.one"]);
    let (mut publisher, _) = bus.process("app.one");
    let first = publisher.ask("id seven app.n {\"n\": 7}");
    assert!(first.ends_with(" 1 -"), "{first}");
    publisher.ask("app.n {\"n\": 8}");
    publisher.kill();
    let (mut publisher, _) = bus.process("app.one");
    assert!(publisher.ask("app.n {\"n\": 9}").ends_with(" 3 -"));
    assert_eq!(publisher.ask("id seven app.n {\"n\": 7}"), first, "the receipt of the first one");
    let other = publisher.ask("id seven app.n {\"n\": 70}");
    assert_eq!(other, "failed msg_id seven was used for another message");
    assert!(publisher.ask("id eight app.n {\"n\": 7}").ends_with(" 4 -"), "nothing was published");
}

#[test]
fn a_killed_relay_comes_back_and_producers_go_on() {
    let bus = Bus::new(&["relay.one"]);
    bus.key("cron.daily");
    let mut relay = bus.relay("relay.one");
    let mut tail = bus.tail(&["--format", "%s %i"]);
    tail.says("relay.one/0 is live");
    let (mut publisher, _) = bus.process("cron.daily");
    for i in 1..=3 {
        assert!(publisher.ask("cron.n {}").ends_with(&format!(" {i} -")));
        assert_eq!(tail.line(), format!("cron.daily {i}"));
    }
    relay.kill();
    let _relay = bus.relay("relay.one");
    tail.says("relay.one/0 goes on in epoch");
    for i in 4..=6 {
        let sent = publisher.ask("cron.n {}");
        assert!(sent.ends_with(&format!(" {i} -")), "{sent}");
        assert_eq!(tail.line(), format!("cron.daily {i}"));
    }
    publisher.end_input();
    assert_eq!(publisher.line(), "closed");
}
