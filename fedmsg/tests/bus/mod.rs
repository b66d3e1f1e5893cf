//! A small bus for tests: two services, their keys, one policy, everything fixed.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::identity::{Identity, StreamName};
use fedmsg::keys::{KeyRing, SecretKey, TrustedKey};
use fedmsg::merkle::Leaf;
use fedmsg::policy::{Action, Policy, Rule, Subject};
use fedmsg::record::{After, Level};
use fedmsg::seal::{Draft, Sealed, Sealer, check};
use fedmsg::timestamp::Timestamp;
use fedmsg::topic::Naming;
use fedmsg::trust::Trust;

use crate::independent;

pub const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);
pub const EPOCH: &str = "01997530-0000-7000-8000-000000000001";
pub const TOPIC: &str = "org.example.prod.bodhi.update.comment";

pub fn identity(text: &str) -> Identity {
    Identity::parse(text).expect("identity")
}

/// The key of this seed byte: 1 and 3 are bodhi's, 2 is koji's, and nobody trusts the others.
pub fn key(seed: u8) -> Arc<SecretKey> {
    Arc::new(SecretKey::from_seed(&[seed; 32]).expect("key"))
}

pub fn trusted(seed: u8, who: &str) -> TrustedKey {
    TrustedKey::new(key(seed).public().clone(), identity(who))
}

pub fn trust_in(keys: Vec<TrustedKey>) -> Arc<Trust> {
    let naming = Naming::new("org.example", "prod").expect("naming");
    let topics = ["{prefix}.{env}.{service}.>"];
    let all = Subject::Service(None);
    let own = Rule::new(Action::Publish, all, &topics, &naming, "test").expect("rule");
    let mut ring = KeyRing::default();
    for key in keys {
        ring.add(key).expect("key");
    }
    Arc::new(Trust { naming, keys: ring, policy: Policy::new(vec![own]) })
}

pub fn trust() -> Arc<Trust> {
    let bodhi = "bodhi.backend01";
    trust_in(vec![trusted(1, bodhi), trusted(3, bodhi), trusted(2, "koji.hub")])
}

pub fn sealer(stream: &str, seed: u8) -> Sealer {
    open_epoch(stream, seed).0
}

pub fn open_epoch(stream: &str, seed: u8) -> (Sealer, Sealed) {
    let stream = StreamName::parse(stream).expect("stream");
    let epoch = Epoch::parse(EPOCH).expect("epoch");
    let before = (After::Nothing, Leaf::NONE);
    Sealer::open_epoch(key(seed), stream, epoch, before, Level::Memory, NOW)
}

/// Seals `n` small messages in one go.
pub fn seal(sealer: &mut Sealer, n: usize) -> Vec<Sealed> {
    let service = sealer.stream().identity().service().to_owned();
    let first = sealer.last().0 + 1;
    let draft = |i: u64| {
        let draft = Draft::new(format!("{service}.update.comment"));
        let text = format!("message {}", first + i);
        draft.body(&serde_json::json!({ "text": text })).msg_id(format!("2026-{}", first + i))
    };
    seal_drafts(sealer, (0..n as u64).map(draft))
}

pub fn seal_draft(sealer: &mut Sealer, draft: Draft) -> Sealed {
    seal_drafts(sealer, [draft]).remove(0)
}

pub fn seal_drafts(sealer: &mut Sealer, drafts: impl IntoIterator<Item = Draft>) -> Vec<Sealed> {
    let (trust, identity) = (trust(), sealer.stream().identity().clone());
    let checked = |draft| check(draft, &identity, &trust, || "2026-fresh".into()).expect("draft");
    let checked: Vec<_> = drafts.into_iter().map(checked).collect();
    sealer.seal(&checked, NOW)
}

/// A record with any content, signed well by [`independent`], that the library would not seal.
pub struct Record {
    pub seed: u8,
    pub kind: &'static str,
    pub start: String,
    pub stream: &'static str,
    pub i: u64,
    pub prev: String,
    pub topic: Option<&'static str>,
    pub timestamp: &'static str,
    /// More members, each with a comma before it.
    pub more: String,
    pub msg: String,
}

impl Default for Record {
    fn default() -> Record {
        let start = r#"{"v":1,"crypto":"ed25519","certificate":""#.into();
        Record {
            seed: 1,
            kind: "message",
            start,
            stream: "bodhi.backend01/0",
            i: 1,
            prev: "A".repeat(43),
            topic: None,
            timestamp: "1790000000.123",
            more: String::new(),
            msg: String::new(),
        }
    }
}

impl Record {
    fn own_topic(&self) -> String {
        match (self.topic, self.kind) {
            (Some(topic), _) => topic.into(),
            (None, "message") => TOPIC.into(),
            (None, kind) => format!("_{kind}.{}", self.stream.replace('/', ".")),
        }
    }

    fn own_msg(&self) -> String {
        let none = "A".repeat(43);
        match self.kind {
            _ if !self.msg.is_empty() => self.msg.clone(),
            "genesis" => r#"{"after":null,"level":"memory"}"#.into(),
            "heartbeat" => format!(
                r#"{{"first":1,"last":1,"head":"{none}","level":"memory","state":"open","genesis":"{none}","config":""}}"#
            ),
            _ => "{}".into(),
        }
    }

    /// The bytes before the signature.
    pub fn content(&self) -> String {
        let key = SigningKey::from_bytes(&[self.seed; 32]);
        let id = independent::key_id(key.verifying_key().as_bytes());
        let (start, stream, i, prev) = (&self.start, self.stream, self.i, &self.prev);
        let (topic, time, more, msg) =
            (self.own_topic(), self.timestamp, &self.more, self.own_msg());
        format!(
            r#"{start}{id}","stream":"{stream}","epoch":"{EPOCH}","i":{i},"prev":"{prev}","topic":"{topic}","msg_id":"2026-1","timestamp":{time}{more},"msg":{msg}"#
        )
    }

    pub fn signed(&self) -> Wire {
        self.sign(self.content().as_bytes())
    }

    /// Other bytes, signed as a record of this kind and key.
    pub fn sign(&self, content: &[u8]) -> Wire {
        let domain = format!("fedmsg/v1/{}\0", self.kind);
        let key = SigningKey::from_bytes(&[self.seed; 32]);
        let frame = independent::sign(&key, &domain, &[content]).remove(0);
        Wire { topic: self.own_topic().into(), envelope: frame.into() }
    }
}
