//! What a trusted endpoint that went bad, or somebody in its place, may send: each is refused by name, and
//! honest messages flow on.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use serde_json::json;

use crate::harness::{Bus, Peer, topic};
use crate::independent::{self, MESSAGE};
use crate::publishing::{publish, subscribed};

/// What is signed, each part of it free.
struct Content<'a> {
    seed: u8,
    stream: &'a str,
    topic: &'a str,
    msg: &'a [u8],
}

impl Content<'_> {
    fn bytes(&self) -> Vec<u8> {
        let key = SigningKey::from_bytes(&[self.seed; 32]);
        let id = independent::key_id(key.verifying_key().as_bytes());
        let (stream, topic, prev) = (self.stream, topic(self.topic), "A".repeat(43));
        let head = format!(
            r#"{{"v":1,"crypto":"ed25519","certificate":"{id}","stream":"{stream}","epoch":"01997530-0000-7000-8000-000000000001","i":1,"prev":"{prev}","topic":"{topic}","msg_id":"2026-1","timestamp":1790000000.123,"msg":"#
        );
        [head.as_bytes(), self.msg].concat()
    }

    fn signed(&self) -> Vec<u8> {
        let key = SigningKey::from_bytes(&[self.seed; 32]);
        independent::sign(&key, MESSAGE, &[&self.bytes()]).remove(0)
    }
}

#[test]
fn each_attack_is_refused_by_its_name_and_honest_messages_flow() {
    let bus = Bus::with(&["app.one"]);
    bus.known_key("evil.one", 7);
    bus.known_key("web.two", 8);
    let peer = Peer::bind(&bus.entry("evil.one", 1)[0]);
    let mut refused = bus.tail(&["--unverified", "only", "--json"]);
    peer.wait();
    let mut honest = bus.tail(&["--format", "%s %i"]);
    peer.wait();
    let publisher = bus.publisher("app.one");
    subscribed(&publisher, 2);

    let own = topic("evil.n");
    fn with<'a>(seed: u8, stream: &'a str, topic: &'a str, msg: &'a [u8]) -> Content<'a> {
        Content { seed, stream, topic, msg }
    }
    let good = with(7, "evil.one/0", "evil.n", b"{}");
    let signed = |msg: &[u8]| with(7, "evil.one/0", "evil.n", msg).signed();
    let mut forged = signed(br#"{"sum":1000}"#);
    let at = forged.windows(4).position(|four| four == b"1000").expect("the sum");
    forged[at] = b'9';
    let unsigned = [&good.bytes()[..], b",\"note\":\"none\"}"].concat();
    let mut truncated = good.signed();
    truncated.truncate(truncated.len() - 10);
    let large = signed(format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20)).as_bytes());
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
    let web = topic("web.n");
    let attacks: Vec<(&str, &str, Vec<u8>)> = vec![
        ("bad_signature", &own, forged),
        ("unsigned", &own, unsigned),
        ("policy", &web, with(7, "evil.one/0", "web.n", b"{}").signed()),
        ("foreign_stream", &own, with(7, "app.one/0", "evil.n", b"{}").signed()),
        ("not_carried", &web, with(8, "web.two/0", "web.n", b"{}").signed()),
        ("unknown_key", &own, with(9, "evil.one/0", "evil.n", b"{}").signed()),
        ("too_large", &own, large),
        ("truncated", &own, truncated),
        ("bad_utf8", &own, signed(b"{\"a\":\"\xff\"}")),
        ("duplicate_member", &own, signed(br#"{"a":1,"\u0061":2}"#)),
        ("too_deep", &own, signed(deep.as_bytes())),
        ("topic_mismatch", &web, good.signed()),
        ("bad_topic", "no topic", good.signed()),
        ("malformed", &own, b"\x00garbage".to_vec()),
    ];
    for (n, (reason, topic, envelope)) in (1..).zip(attacks) {
        peer.send(&[topic.as_bytes(), &envelope]);
        let line = refused.json();
        assert_eq!((&line["verdict"], &line["reason"]), (&json!("rejected"), &json!(reason)));
        assert_eq!(line["endpoint"], "evil.one");
        assert_eq!(publish(&publisher, "app.n", n), n);
        assert_eq!(honest.line(), format!("app.one {n}"), "after {reason}");
    }
    peer.send(&[own.as_bytes(), &good.signed(), b"third"]);
    assert_eq!(refused.json()["reason"], "frame_count");
    honest.term();
    let (_, out, _) = honest.end();
    assert_eq!(out.iter().collect::<BTreeSet<_>>(), BTreeSet::new(), "nothing else was shown");
}
