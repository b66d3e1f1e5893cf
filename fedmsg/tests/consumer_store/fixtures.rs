//! Names, positions and messages for all cases.

use bytes::Bytes;
use fedmsg::KeyId;
use fedmsg::consumer::{
    Advance, Claimed, ConsumerName, Curable, Cursor, CursorStore, Failure, Fence, Position,
    Refused, Start,
};
use fedmsg::envelope::Epoch;
use fedmsg::identity::StreamName;
use fedmsg::merkle::Leaf;
use fedmsg::timestamp::Timestamp;
use fedmsg::topic::Topic;
use uuid::Uuid;

pub const LEASE_MS: u64 = 30_000;

/// So many milliseconds after the beginning of a case.
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + millis)
}

pub fn name(text: &str) -> ConsumerName {
    ConsumerName::parse(text).expect("a name")
}

pub fn stream(number: u16) -> StreamName {
    StreamName::parse(&format!("bodhi.backend01/{number}")).expect("a stream")
}

pub fn epoch(number: u128) -> Epoch {
    Epoch::new(Uuid::from_u128(0x0199_7530_0000_7000_8000_0000_0000_0000 + number))
}

pub fn leaf(byte: u8) -> Leaf {
    Leaf([byte; 32])
}

pub fn position(of: u16, i: u64) -> Position {
    Position { stream: stream(of), epoch: epoch(1), i }
}

pub fn advance(of: u16, i: u64) -> Advance {
    Advance { position: position(of, i), leaf: None }
}

pub fn refused(of: u16, i: u64) -> Refused {
    let key = KeyId::of(&[7; 32]);
    Refused { position: position(of, i), leaf: None, reason: Curable::UnknownKey, key }
}

pub fn failure(of: u16, i: u64, bytes: usize) -> Failure {
    Failure {
        position: position(of, i),
        topic: Topic::parse("org.example.prod.bodhi.update.comment").expect("a topic"),
        envelope: Bytes::from(vec![u8::try_from(i % 256).expect("a byte"); bytes]),
        error: "the handler said no".into(),
        attempts: 1,
    }
}

pub fn claim(store: &mut dyn CursorStore, consumer: &str, owner: &str, now: i64) -> Fence {
    claimed(store, consumer, owner, now).fence
}

pub fn claimed(store: &mut dyn CursorStore, consumer: &str, owner: &str, now: i64) -> Claimed {
    store.claim(&name(consumer), owner, Start::New, at(now), LEASE_MS).expect("claimed")
}

/// The numbers of all cursors.
pub fn numbers(cursors: &[Cursor]) -> Vec<u64> {
    cursors.iter().map(|cursor| cursor.position.i).collect()
}
