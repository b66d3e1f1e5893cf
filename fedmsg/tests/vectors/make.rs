//! Makes the golden vectors with the library. Everything that goes in is fixed, so the bytes are, too.

#[path = "../frame_samples/mod.rs"]
pub mod frame_samples;
#[path = "../independent/mod.rs"]
pub mod independent;

use std::sync::Arc;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ed25519_dalek::SigningKey;
use fedmsg::envelope::Epoch;
use fedmsg::identity::StreamName;
use fedmsg::keys::{KeyRing, SecretKey, TrustedKey};
use fedmsg::merkle::Leaf;
use fedmsg::policy::{Action, Policy, Rule, Subject};
use fedmsg::record::{After, Level, State};
use fedmsg::seal::{Checked, Draft, Sealed, Sealer, Severity, check};
use fedmsg::timestamp::Timestamp;
use fedmsg::topic::{Naming, Pattern, Topic};
use fedmsg::trust::Trust;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);
const LATER: Timestamp = Timestamp::from_millis(1_790_000_005_000);
const STREAM: &str = "bodhi.backend01/0";
const EPOCHS: [&str; 2] =
    ["01997530-0000-7000-8000-000000000001", "01997530-0000-7000-8000-000000000002"];

/// The seed of the key that signs: 00 01 02 … 1f.
pub fn seed() -> [u8; 32] {
    std::array::from_fn(|at| at as u8)
}

/// All files, by name.
pub fn vectors() -> Vec<(&'static str, Value)> {
    vec![
        ("keys.json", keys()),
        ("records.json", records()),
        ("refused.json", refused()),
        ("patterns.json", patterns()),
        ("frames.json", frames()),
    ]
}

/// The trust under which every record of the vectors is accepted.
pub fn trust() -> Trust {
    let naming = Naming::new("org.example", "prod").expect("naming");
    let (topics, all) = (["{prefix}.{env}.{service}.>"], Subject::Service(None));
    let rule = Rule::new(Action::Publish, all, &topics, &naming, "vectors").expect("rule");
    let public = SecretKey::from_seed(&seed()).expect("key").public().clone();
    let mut keys = KeyRing::default();
    keys.add(TrustedKey::new(public, stream().identity().clone())).expect("one key");
    Trust { naming, keys, policy: Policy::new(vec![rule]) }
}

fn stream() -> StreamName {
    StreamName::parse(STREAM).expect("stream")
}

fn keys() -> Value {
    let one = |seed: [u8; 32]| {
        let key = SecretKey::from_seed(&seed).expect("key");
        let public = BASE64URL_NOPAD.decode(key.public().to_text().as_bytes()).expect("base64url");
        json!({
            "seed_hex": HEXLOWER.encode(&seed),
            "secret": *key.to_text(),
            "public_hex": HEXLOWER.encode(&public),
            "public": key.public().to_text(),
            "id": key.public().id().as_str(),
        })
    };
    json!([one(seed()), one([0; 32]), one([0xff; 32])])
}

fn records() -> Value {
    let key = Arc::new(SecretKey::from_seed(&seed()).expect("key"));
    let epoch = |at: usize| Epoch::parse(EPOCHS[at]).expect("epoch");
    let open = |at, before| {
        let key = Arc::clone(&key);
        Sealer::open_epoch(key, stream(), epoch(at), before, Level::Memory, NOW)
    };
    let (mut sealer, genesis) = open(0, (After::Nothing, Leaf::NONE));
    let mut trees = vec![tree("genesis, the first epoch", vec![genesis])];
    trees.push(tree(
        "heartbeat before the first message",
        vec![open(0, (After::Nothing, Leaf::NONE)).0.heartbeat(State::Open, "digest", NOW)],
    ));
    trees.push(tree("message alone, with every member", seal(&mut sealer, vec![rich_draft()])));
    for size in [2, 3, 64] {
        let first = sealer.last().0 + 1;
        let drafts = (first..first + size).map(plain_draft).collect();
        trees.push(tree(&format!("tree of {size}"), seal(&mut sealer, drafts)));
    }
    trees.push(tree("heartbeat, open", vec![sealer.heartbeat(State::Open, "digest", LATER)]));
    trees.push(tree("heartbeat, closed", vec![sealer.heartbeat(State::Closed, "digest", LATER)]));
    let (last, leaf) = sealer.last();
    let after = After::Epoch { epoch: epoch(0), last };
    trees.push(tree("genesis, after another epoch", vec![open(1, (after, leaf)).1]));
    json!({ "seed_hex": HEXLOWER.encode(&seed()), "stream": STREAM, "trees": trees })
}

fn rich_draft() -> Draft {
    Draft::new("bodhi.update.comment")
        .raw_body(r#"{"text":"grüße \u2603 \"quoted\" \\ 😀","karma":-1,"ratio":1.50,"tags":[null,true]}"#)
        .ext(&json!({ "trace": { "hop": 1 } }))
        .severity(Severity::Warning)
        .summary("somebody says \"grüße\"")
        .header("link", "https://example.org/u/1")
        .username("apache")
        .msg_id("2026-9f0c7a52-4a3e-4a77-8a51-0d4b4c1f0a11")
}

fn plain_draft(i: u64) -> Draft {
    Draft::new("bodhi.update.new").raw_body(format!("{{\"n\":{i}}}")).msg_id(format!("2026-{i}"))
}

fn seal(sealer: &mut Sealer, drafts: Vec<Draft>) -> Vec<Sealed> {
    let (trust, identity) = (trust(), sealer.stream().identity().clone());
    let checked = |draft| check(draft, &identity, &trust, String::new).expect("a good draft");
    let checked: Vec<Checked> = drafts.into_iter().map(checked).collect();
    sealer.seal(&checked, NOW)
}

/// One tree with its leaves and root, and its records: all of a small tree, three of a big one.
fn tree(name: &str, sealed: Vec<Sealed>) -> Value {
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    let leaves: Vec<[u8; 32]> = sealed.iter().map(|one| one.leaf.0).collect();
    let shown = |at: &usize| sealed.len() < 5 || [0, 31, 63].contains(at);
    let record = |at: usize| {
        let one = &sealed[at];
        let (content, _) = independent::cut(&one.wire.envelope);
        let path = independent::path(at, &leaves);
        json!({
            "kind": format!("{:?}", one.kind).to_lowercase(),
            "index": at,
            "i": one.i,
            "topic": String::from_utf8_lossy(&one.wire.topic),
            "content": String::from_utf8_lossy(content),
            "leaf_hex": hex(&one.leaf.0),
            "path_hex": path.iter().map(|node| hex(node)).collect::<Vec<_>>(),
            "envelope": String::from_utf8_lossy(&one.wire.envelope),
        })
    };
    json!({
        "name": name,
        "size": sealed.len(),
        "leaves_hex": leaves.iter().map(|leaf| hex(leaf)).collect::<Vec<_>>(),
        "root_hex": hex(&independent::root(&leaves)),
        "records": (0..sealed.len()).filter(shown).map(record).collect::<Vec<_>>(),
    })
}

/// Records that every implementation must refuse, and for which reason. Most are signed well.
fn refused() -> Value {
    let key = SigningKey::from_bytes(&seed());
    let (mut sealer, _) = {
        let key = Arc::new(SecretKey::from_seed(&seed()).expect("key"));
        let epoch = Epoch::parse(EPOCHS[0]).expect("epoch");
        Sealer::open_epoch(key, stream(), epoch, (After::Nothing, Leaf::NONE), Level::Memory, NOW)
    };
    let good = seal(&mut sealer, vec![plain_draft(1)]).remove(0).wire;
    let topic = String::from_utf8_lossy(&good.topic).into_owned();
    let envelope = String::from_utf8_lossy(&good.envelope).into_owned();
    let content = String::from_utf8_lossy(independent::cut(&good.envelope).0).into_owned();
    let id = |seed| SecretKey::from_seed(&seed).expect("key").public().id().to_string();
    let (own_id, other_id) = (id(seed()), id([0; 32]));
    let deep = format!("{}{{}}{}", "{\"a\":".repeat(64), "}".repeat(64));
    let resigned = [
        ("policy", true, "bodhi.update.new\"", "koji.build\""),
        ("duplicate_member", true, "\"n\":1", "\"n\":1,\"n\":1"),
        ("duplicate_member", true, ",\"msg\"", ",\"msg_id\":\"2\",\"msg\""),
        ("unknown_member", true, ",\"msg\"", ",\"new\":1,\"msg\""),
        ("too_deep", true, "{\"n\":1}", &*deep),
        ("malformed", true, "{\"n\":1}", "[1]"),
        ("malformed", true, "{\"n\":1}", "{\"n\":\"\\ud800\"}"),
        ("malformed", true, "{\"n\":1}", "{\"n\":1e999}"),
        ("malformed", true, "{\"n\":1}", "{\n\"n\":1}"),
        ("out_of_bounds", false, "\"i\":1,", "\"i\":9007199254740992,"),
        ("out_of_bounds", false, "\"i\":1,", "\"i\":0,"),
        ("version", false, "{\"v\":1", "{\"v\":2"),
        ("algorithm", false, "ed25519", "x509"),
        ("foreign_stream", false, "bodhi.backend01/0", "koji.hub/0"),
        ("unknown_key", false, &*own_id, &*other_id),
    ];
    let mut cases = Vec::new();
    let mut case = |reason, uses_position, topic: &str, envelope: &str| {
        cases.push(json!({
            "reason": reason, "uses_position": uses_position, "topic": topic, "envelope": envelope,
        }));
    };
    for (reason, uses_position, from, to) in resigned {
        let changed = content.replacen(from, to, 1);
        let frame = independent::sign(&key, independent::MESSAGE, &[changed.as_bytes()]).remove(0);
        let topic = if reason == "policy" {
            topic.replacen(from.trim_end_matches('"'), "koji.build", 1)
        } else {
            topic.clone()
        };
        case(reason, uses_position, &topic, &String::from_utf8_lossy(&frame));
    }
    case("topic_mismatch", false, "org.example.prod.bodhi.update.old", &envelope);
    case("bad_topic", false, "org..example", &envelope);
    case("bad_signature", false, &topic, &envelope.replacen("\"n\":1", "\"n\":2", 1));
    case("truncated", false, &topic, &envelope[..envelope.len() - 1]);
    let python =
        r#"{"i":1,"msg":{},"msg_id":"2026-1","timestamp":1790000000,"topic":"a.b","username":"x"}"#;
    case("unsigned", false, "a.b", python);
    case("signature_form", false, &topic, &envelope.replacen("\"}", "=\"}", 1));
    json!(cases)
}

fn patterns() -> Value {
    let patterns =
        ["a", "a.b", "a.b.c", "*", "a.*", "*.b", "a.*.c", ">", "a.>", "a.b.>", "*.>", "a.*.>"];
    let topics = ["a", "b", "ab", "a.b", "a.bc", "ab.b", "a.b.c", "a.x.c", "a.b.c.d", "A.b"];
    let cases = patterns.iter().flat_map(|text| {
        let subscription = Pattern::subscription(text).expect("pattern");
        let policy = Pattern::policy(text).expect("pattern");
        let case = move |topic: &&str| {
            json!({
                "pattern": text,
                "topic": topic,
                "subscription": subscription.matches(topic),
                "policy": policy.matches(topic),
            })
        };
        topics.iter().map(case).collect::<Vec<_>>()
    });
    let cases: Vec<Value> = cases.collect();
    let long = "a".repeat(256);
    let no_topics = ["", ".", "a.", ".a", "a..b", "a b", "a.ü", "a.*", ">", "a/b", &long];
    let no_patterns = [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a b",
        ">.a",
        "a.>.b",
        "a*",
        "*a",
        "a.b>",
        "a.{service}",
        &long,
    ];
    assert!(no_topics.iter().all(|text| Topic::parse(text).is_err()));
    assert!(no_patterns.iter().all(|text| Pattern::subscription(text).is_err()));
    json!({ "cases": cases, "no_topics": no_topics, "no_patterns": no_patterns })
}

fn frames() -> Value {
    let hex = |frames: Vec<bytes::Bytes>| {
        let frames = frames.iter().map(|frame| HEXLOWER.encode(frame));
        frames.collect::<Vec<_>>()
    };
    let requests = frame_samples::requests();
    let requests =
        requests.iter().map(|(name, one)| json!({ "name": name, "frames_hex": hex(one.encode()) }));
    let answers = frame_samples::answers();
    let answers =
        answers.iter().map(|(name, one)| json!({ "name": name, "frames_hex": hex(one.encode()) }));
    json!({ "requests": requests.collect::<Vec<_>>(), "answers": answers.collect::<Vec<_>>() })
}
