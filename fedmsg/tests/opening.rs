//! One table of everything that can be wrong with a record, and what it is called.

mod bus;
mod independent;

use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use fedmsg::envelope::Wire;
use fedmsg::open::{Opener, Refused};
use fedmsg::rejection::Rejection;
use fedmsg::timestamp::Timestamp;
use fedmsg::trust::Trust;

use bus::Record;

/// Whether a refused record uses its position up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moves {
    Nothing,
    Position,
}
use Moves::{Nothing, Position};

fn refused_by(trust: &Arc<Trust>, wire: &Wire) -> Refused {
    let refused = Opener::new(Arc::clone(trust)).open(wire).expect_err("a bad record");
    // A run gives the same verdict.
    let in_run = Opener::new(Arc::clone(trust)).open_run(std::slice::from_ref(wire));
    let in_run = in_run.into_iter().next().expect("one verdict").expect_err("a bad record");
    assert_eq!((in_run.reason, in_run.place), (refused.reason, refused.place));
    *refused
}

fn check(name: &str, wire: Wire, reason: Rejection, moves: Moves) {
    let refused = refused_by(&bus::trust(), &wire);
    assert_eq!(refused.reason, reason, "{name}: {:?}", refused.detail);
    let moved = if refused.place.is_some() { Position } else { Nothing };
    assert_eq!(moved, moves, "{name}");
    assert_eq!(refused.wire, wire, "{name}: the bytes are kept");
}

fn with_more(more: &str) -> Wire {
    Record { more: more.into(), ..Record::default() }.signed()
}

fn with_msg(msg: &str) -> Wire {
    Record { msg: msg.into(), ..Record::default() }.signed()
}

/// The content after a textual change, signed well.
fn changed(from: &str, to: &str) -> Wire {
    let record = Record::default();
    let content = record.content();
    assert!(content.contains(from), "{from}");
    record.sign(content.replacen(from, to, 1).as_bytes())
}

/// A good content under any signature bytes.
fn with_proof(proof: &[u8]) -> Wire {
    let record = Record::default();
    let envelope = independent::frame(record.content().as_bytes(), proof).into();
    Wire { envelope, ..record.signed() }
}

fn envelope(bytes: impl Into<Vec<u8>>) -> Wire {
    Wire { topic: bus::TOPIC.into(), envelope: bytes.into().into() }
}

fn nested(depth: usize) -> String {
    "{\"a\":".repeat(depth - 1) + "{}" + &"}".repeat(depth - 1)
}

#[test]
fn good_records_pass() {
    for (name, wire) in [
        ("the plain one", Record::default().signed()),
        ("genesis", Record { kind: "genesis", i: 0, ..Record::default() }.signed()),
        ("heartbeat", Record { kind: "heartbeat", ..Record::default() }.signed()),
        ("64 deep", with_msg(&nested(64))),
        ("64 deep ext", with_more(&format!(",\"ext\":{}", nested(64)))),
        ("headers", with_more(r#","headers":{"summary":"x","":"y"}"#)),
        ("no user", with_more(r#","username":null"#)),
        ("unknown ext", with_more(r#","ext":{"new":[1,2.5,null]}"#)),
        ("escapes in a name", changed("\"epoch\"", "\"\\u0065poch\"")),
        ("spaces between tokens", changed(",\"i\":1,", " , \"i\" : 1,")),
        ("the highest number", Record { i: (1 << 53) - 1, ..Record::default() }.signed()),
        ("a time before 1970", Record { timestamp: "-1", ..Record::default() }.signed()),
    ] {
        let opened = Opener::new(bus::trust()).open(&wire);
        assert!(opened.is_ok(), "{name}: {:?}", opened.map_err(|r| (r.reason, r.detail)));
    }
}

#[test]
fn what_is_wrong_before_the_signature_is_named() {
    let good = Record::default().signed();
    let old = br#"{"i":1,"msg":{},"topic":"a.b","timestamp":1,"msg_id":"x","username":"u"}"#;
    let head = r#"{"v":1,"crypto":"ed25519","certificate":"fm1-aaaaaaaaaaaaaaaaaaaaaaaaaa","#;
    let rsa = good.envelope.to_vec();
    let rsa = String::from_utf8(rsa).expect("text").replacen("ed25519", "x509", 1);
    let version = |v: &str| Record {
        start: format!(r#"{{"v":{v},"crypto":"ed25519","certificate":""#),
        ..Record::default()
    };
    let mut bad_utf8 = vec![0xff];
    bad_utf8.extend_from_slice(&good.envelope);
    let no_topic = Wire { topic: "a..b".into(), ..good.clone() };
    let long_topic = Wire { topic: "a".repeat(256).into(), ..good.clone() };
    let stream = |stream| Record { stream, ..Record::default() }.signed();
    for (name, wire, reason) in [
        ("no topic", no_topic, Rejection::BadTopic),
        ("an empty topic", Wire { topic: "".into(), ..good.clone() }, Rejection::BadTopic),
        ("a long topic", long_topic, Rejection::BadTopic),
        ("empty", envelope(""), Rejection::Malformed),
        ("garbage", envelope("garbage"), Rejection::Malformed),
        ("bad UTF-8 at the start", envelope(bad_utf8), Rejection::BadUtf8),
        ("fedmsg 1.x, unsigned", envelope(*old), Rejection::Unsigned),
        (
            "no signature",
            envelope(format!("{head}\"stream\":\"a.b/0\",\"i\":\"1\"}}")),
            Rejection::Unsigned,
        ),
        ("too large", envelope(vec![b'{'; (1 << 20) + 1]), Rejection::TooLarge),
        ("another algorithm", envelope(rsa), Rejection::Algorithm),
        ("version 2", version("2").signed(), Rejection::Version),
        ("version 10", version("10").signed(), Rejection::Version),
        ("a space at the start", version(" 1").signed(), Rejection::Version),
        ("no key id", changed("fm1-", "fm2-"), Rejection::Malformed),
        ("no stream", changed("\"stream\"", "\"strm\""), Rejection::Malformed),
        ("a slot with zeros", stream("bodhi.backend01/00"), Rejection::Malformed),
        ("a stream with an escape", stream("bodhi.backend01\\u002f0"), Rejection::Malformed),
        ("unknown key", Record { seed: 9, ..Record::default() }.signed(), Rejection::UnknownKey),
        ("foreign stream", stream("koji.hub/0"), Rejection::ForeignStream),
        ("a longer identity", stream("bodhi.backend01.x/0"), Rejection::ForeignStream),
    ] {
        check(name, wire, reason, Nothing);
    }
    // Signed with a key that is not the one that it names.
    let forger = Record { seed: 9, ..Record::default() };
    let content = Record::default().content();
    check("forged", forger.sign(content.as_bytes()), Rejection::BadSignature, Nothing);
}

#[test]
fn a_signature_has_one_form_alone() {
    let content = Record::default().content();
    let key = SigningKey::from_bytes(&[1; 32]);
    let (_, good) = {
        let wire = Record::default().signed();
        let (bytes, proof) = independent::cut(&wire.envelope);
        (bytes.to_vec(), proof)
    };
    let with = |size: u8, index: u8, nodes: usize| {
        with_proof(&[&good[..64], &[size, index], &vec![7; 32 * nodes]].concat())
    };
    let form = Rejection::SignatureForm;
    for (size, index, nodes, reason) in [
        (0, 0, 0, form),
        (65, 0, 6, form),
        (65, 64, 1, form),
        (255, 0, 6, form),
        (1, 1, 0, form),
        (2, 2, 1, form),
        (1, 0, 1, form),
        (2, 0, 0, form),
        (64, 0, 5, form),
        // More characters than any signature has: no quote stands where one must be.
        (64, 0, 7, Rejection::Unsigned),
        // The form is right, the signature is of another tree.
        (2, 0, 1, Rejection::BadSignature),
        (64, 63, 6, Rejection::BadSignature),
    ] {
        check(
            &format!("size {size}, index {index}, {nodes} nodes"),
            with(size, index, nodes),
            reason,
            Nothing,
        );
    }
    for length in 0..66 {
        check(&format!("{length} bytes"), with_proof(&good[..length]), form, Nothing);
    }
    let text = |text: &str| envelope(format!("{content},\"signature\":\"{text}\"}}"));
    let full = data_encoding::BASE64URL_NOPAD.encode(&good);
    check("padding", text(&format!("{full}==")), form, Nothing);
    check("plain base64", text(&full.replacen(['-', '_'], "+", 1)), form, Nothing);
    // 66 + 32 bytes leave two bits over in the last character.
    let pair: Vec<&[u8]> = vec![content.as_bytes(), b"other"];
    let two = independent::sign(&key, independent::MESSAGE, &pair).remove(0);
    assert!(Opener::new(bus::trust()).open(&envelope(two.clone())).is_ok());
    let mut stray = two;
    let last = stray.len() - 3;
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.iter().position(|c| *c == stray[last]).expect("a character");
    assert_eq!(value % 4, 0);
    stray[last] = alphabet[value + 1];
    check("stray bits", envelope(stray), form, Nothing);
    // A tree over leaves of another kind, and Ed25519 over the bare content.
    let genesis = independent::sign(&key, independent::GENESIS, &[content.as_bytes()]).remove(0);
    check("another domain", envelope(genesis), Rejection::BadSignature, Nothing);
    let bare = [&key.sign(content.as_bytes()).to_bytes()[..], &[1, 0]].concat();
    check("the content signed directly", with_proof(&bare), Rejection::BadSignature, Nothing);
}

#[test]
fn what_is_signed_well_and_void_uses_its_position_up_where_it_names_one() {
    let long = "x".repeat(129);
    let many: Vec<String> = (0..65).map(|n| format!("\"h{n}\":\"\"")).collect();
    for (name, wire, reason, moves) in [
        ("an unknown member", with_more(",\"new\":1"), Rejection::UnknownMember, Position),
        ("a member twice", with_more(",\"msg_id\":\"2\""), Rejection::DuplicateMember, Position),
        (
            "the stream twice",
            with_more(",\"stream\":\"a.b/0\""),
            Rejection::DuplicateMember,
            Position,
        ),
        ("twice by an escape", with_more(",\"\\u0076\":1"), Rejection::DuplicateMember, Position),
        (
            "a signature inside",
            with_more(",\"signature\":\"x\""),
            Rejection::DuplicateMember,
            Position,
        ),
        ("the number twice", with_more(",\"i\":2"), Rejection::DuplicateMember, Nothing),
        (
            "a header twice",
            with_more(r#","headers":{"a":"","a":""}"#),
            Rejection::DuplicateMember,
            Position,
        ),
        (
            "a body twice",
            with_msg(r#"{"a":1,"b":{"x":1,"x":1}}"#),
            Rejection::DuplicateMember,
            Position,
        ),
        ("ext twice", with_more(r#","ext":{"a":1,"a":1}"#), Rejection::DuplicateMember, Position),
        ("65 deep", with_msg(&nested(65)), Rejection::TooDeep, Position),
        (
            "65 deep ext",
            with_more(&format!(",\"ext\":{}", nested(65))),
            Rejection::TooDeep,
            Position,
        ),
        ("very deep", with_msg(&nested(50_000)), Rejection::TooDeep, Position),
        ("no object", with_msg("[]"), Rejection::Malformed, Position),
        ("ext is no object", with_more(",\"ext\":1"), Rejection::Malformed, Position),
        (
            "a header is no string",
            with_more(r#","headers":{"a":1}"#),
            Rejection::Malformed,
            Position,
        ),
        ("no headers", with_more(r#","headers":null"#), Rejection::Malformed, Position),
        ("half a surrogate pair", with_msg(r#"{"a":"\ud800"}"#), Rejection::Malformed, Position),
        ("not a number", with_msg(r#"{"a":NaN}"#), Rejection::Malformed, Nothing),
        ("beyond all numbers", with_msg(r#"{"a":1e999}"#), Rejection::Malformed, Position),
        (
            "number 2^53",
            Record { i: 1 << 53, ..Record::default() }.signed(),
            Rejection::OutOfBounds,
            Nothing,
        ),
        ("a negative number", changed("\"i\":1", "\"i\":-1"), Rejection::Malformed, Nothing),
        ("a broken number", changed("\"i\":1", "\"i\":1.0"), Rejection::Malformed, Nothing),
        ("number as text", changed("\"i\":1", "\"i\":\"1\""), Rejection::Malformed, Nothing),
        ("no number", changed("\"i\":1,", ""), Rejection::Malformed, Nothing),
        ("no body", changed(",\"msg\":{}", ""), Rejection::Malformed, Position),
        ("no msg_id", changed(",\"msg_id\":\"2026-1\"", ""), Rejection::Malformed, Position),
        ("an empty msg_id", changed("\"2026-1\"", "\"\""), Rejection::OutOfBounds, Position),
        (
            "a long msg_id",
            changed("\"2026-1\"", &format!("\"{long}\"")),
            Rejection::OutOfBounds,
            Position,
        ),
        (
            "a long name",
            with_more(&format!(",\"username\":\"{long}\"")),
            Rejection::OutOfBounds,
            Position,
        ),
        (
            "65 headers",
            with_more(&format!(",\"headers\":{{{}}}", many.join(","))),
            Rejection::OutOfBounds,
            Position,
        ),
        ("a long prev", changed("\"prev\":\"A", "\"prev\":\"AA"), Rejection::Malformed, Nothing),
        (
            "an epoch in capitals",
            changed("01997530-0000-7000-8000-00", "01997530-0000-7000-8000-AA"),
            Rejection::Malformed,
            Nothing,
        ),
        (
            "the year 10000",
            Record { timestamp: "253402300800", ..Record::default() }.signed(),
            Rejection::Malformed,
            Position,
        ),
        (
            "time as text",
            Record { timestamp: "\"1\"", ..Record::default() }.signed(),
            Rejection::Malformed,
            Position,
        ),
    ] {
        check(name, wire, reason, moves);
    }
    let mut bytes =
        Record { msg: "{\"a\":\"_\"}".into(), ..Record::default() }.content().into_bytes();
    let at = bytes.len() - 3;
    bytes[at] = 0xff;
    check("bad UTF-8, signed well", Record::default().sign(&bytes), Rejection::BadUtf8, Nothing);
}

#[test]
fn the_policy_and_the_streams_own_topics() {
    let on = |topic| Record { topic: Some(topic), ..Record::default() }.signed();
    let own = |kind, topic, i| Record { kind, i, topic: Some(topic), ..Record::default() }.signed();
    for (name, wire, reason) in [
        ("foreign topic", on("org.example.prod.koji.build"), Rejection::Policy),
        ("no topic of the bus", on("com.example.bodhi"), Rejection::Policy),
        ("another environment", on("org.example.dev.bodhi.x"), Rejection::Policy),
        ("the bare service", on("org.example.prod.bodhi"), Rejection::Policy),
        ("reserved", on("_anything.bodhi.backend01.0"), Rejection::Policy),
        ("another's genesis", own("genesis", "_genesis.koji.hub.0", 0), Rejection::ForeignStream),
        (
            "another slot's",
            own("heartbeat", "_heartbeat.bodhi.backend01.1", 1),
            Rejection::ForeignStream,
        ),
        (
            "a longer one",
            own("genesis", "_genesis.bodhi.backend01.0.x", 0),
            Rejection::ForeignStream,
        ),
    ] {
        check(name, wire, reason, Position);
    }
    let moved = Wire { topic: "org.example.prod.bodhi.y".into(), ..Record::default().signed() };
    check("re-topiced", moved, Rejection::TopicMismatch, Nothing);
}

#[test]
fn a_stream_says_of_itself_what_can_be() {
    let beat = |from: &str, to: &str| {
        let plain = Record { kind: "heartbeat", ..Record::default() };
        let content = plain.content();
        assert!(content.contains(from), "{from}");
        plain.sign(content.replacen(from, to, 1).as_bytes())
    };
    for (name, wire, reason) in [
        ("another last", beat("\"last\":1", "\"last\":2"), Rejection::OutOfBounds),
        ("another head", beat("\"head\":\"A", "\"head\":\"E"), Rejection::OutOfBounds),
        ("first beyond last", beat("\"first\":1", "\"first\":3"), Rejection::OutOfBounds),
        ("an unknown state", beat("\"open\"", "\"ajar\""), Rejection::Malformed),
        ("an unknown level", beat("\"memory\"", "\"hope\""), Rejection::Malformed),
    ] {
        let refused = refused_by(&bus::trust(), &wire);
        assert_eq!(refused.reason, reason, "{name}");
    }
}

#[test]
fn a_key_has_its_time_and_its_end() {
    let seconds = |s: i64| Some(Timestamp::from_millis(s * 1000));
    let key = bus::trusted(1, "bodhi.backend01");
    let (mut later, mut ended, mut revoked) = (key.clone(), key.clone(), key);
    later.not_before = seconds(1_790_000_001);
    ended.not_after = seconds(1_790_000_000);
    revoked.revoked = true;
    let wire = Record::default().signed();
    for (key, reason, moves) in [
        (later, Rejection::KeyNotYetValid, Position),
        (ended, Rejection::KeyExpired, Position),
        (revoked, Rejection::RevokedKey, Nothing),
    ] {
        let refused = refused_by(&bus::trust_in(vec![key]), &wire);
        assert_eq!(refused.reason, reason);
        assert_eq!(refused.place.is_some(), moves == Position, "{reason}");
    }
}

#[test]
fn another_trust_forgets_what_the_last_one_allowed() {
    let mut sealer = bus::sealer("bodhi.backend01/0", 1);
    let batch = bus::seal(&mut sealer, 2);
    let mut opener = Opener::new(bus::trust());
    opener.open(&batch[0].wire).expect("allowed");
    let mut key = bus::trusted(1, "bodhi.backend01");
    key.revoked = true;
    opener.set_trust(bus::trust_in(vec![key]));
    assert_eq!(opener.open(&batch[1].wire).expect_err("revoked").reason, Rejection::RevokedKey);
    opener.set_trust(bus::trust_in(vec![bus::trusted(1, "koji.hub")]));
    assert_eq!(opener.open(&batch[1].wire).expect_err("moved").reason, Rejection::ForeignStream);
    let mut denied = Trust::clone(&bus::trust());
    denied.policy = Default::default();
    opener.set_trust(Arc::new(denied));
    assert_eq!(opener.open(&batch[0].wire).expect_err("denied").reason, Rejection::Policy);
}
