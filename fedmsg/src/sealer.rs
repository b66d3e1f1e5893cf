//! The writer of one epoch: it numbers, chains and signs what was checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::envelope::{Epoch, Fields, Head, Kind, Wire, write_unsigned};
use crate::identity::StreamName;
use crate::keys::SecretKey;
use crate::limits;
use crate::merkle::Leaf;
use crate::record::{After, Genesis, Heartbeat, Level, State};
use crate::seal::Checked;
use crate::signing::sign_tree;
use crate::timestamp::Timestamp;
use crate::topic::Topic;

/// One sealed record.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The two frames.
    pub wire: Wire,
    /// What it is.
    pub kind: Kind,
    /// Its number; a heartbeat's is that of the last message.
    pub i: u64,
    /// Its leaf.
    pub leaf: Leaf,
}

/// The writer of one epoch of one stream: it numbers, chains and signs.
#[derive(Debug)]
pub struct Sealer {
    key: Arc<SecretKey>,
    stream: StreamName,
    epoch: Epoch,
    head: Head,
    last: u64,
    leaf: Leaf,
    genesis: Leaf,
    level: Level,
    /// The first number that can be fetched from the publisher's journal, where there is one.
    kept_from: Option<u64>,
    time: Timestamp,
    beat: Timestamp,
}

/// How far an epoch is that is taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The epoch.
    pub epoch: Epoch,
    /// The last number that was given out.
    pub last: u64,
    /// Its leaf.
    pub leaf: Leaf,
    /// The leaf of the epoch's genesis record.
    pub genesis: Leaf,
    /// When the last record was sealed: times of a stream do not go back.
    pub time: Timestamp,
}

impl Sealer {
    /// Opens an epoch; the sealed genesis record is the first thing to be sent. `prev` is the last leaf of
    /// the epoch before, or [`Leaf::NONE`].
    pub fn open_epoch(
        key: Arc<SecretKey>,
        stream: StreamName,
        epoch: Epoch,
        (after, prev): (After, Leaf),
        level: Level,
        now: Timestamp,
    ) -> (Sealer, Sealed) {
        let head = Head::new(&key.public().id(), &stream, epoch);
        let mut sealer = Sealer {
            key,
            stream,
            epoch,
            head,
            last: 0,
            leaf: prev,
            genesis: prev,
            level,
            kept_from: None,
            time: now,
            beat: now,
        };
        let msg =
            serde_json::to_string(&Genesis::new(after, level)).expect("a genesis is plain JSON");
        let topic = sealer.stream.genesis_topic();
        let sealed = sealer.seal_own(Kind::Genesis, (0, prev), &topic, &msg, now);
        sealer.leaf = sealed.leaf;
        sealer.genesis = sealed.leaf;
        (sealer, sealed)
    }

    /// Takes an epoch up again where it was left: for a publisher whose journal shows that no later number was
    /// given out.
    pub fn resume(
        key: Arc<SecretKey>,
        stream: StreamName,
        resumed: Resumed,
        level: Level,
        now: Timestamp,
    ) -> Sealer {
        let Resumed { epoch, last, leaf, genesis, time } = resumed;
        let head = Head::new(&key.public().id(), &stream, epoch);
        let time = never_back(time, now);
        let kept_from = None;
        Sealer { key, stream, epoch, head, last, leaf, genesis, level, kept_from, time, beat: time }
    }

    /// The journal can give everything from this number on; heartbeats say so from now on. Without it they
    /// say that nothing can be fetched.
    pub fn keeps_from(&mut self, first: u64) {
        self.kept_from = Some(first.max(1));
    }

    /// Seals drafts in their order, up to 64 under one signature.
    pub fn seal(&mut self, drafts: &[Checked], now: Timestamp) -> Vec<Sealed> {
        let mut sealed = Vec::with_capacity(drafts.len());
        self.time = never_back(self.time, now);
        for tree in drafts.chunks(limits::TREE_LEAVES_MAX) {
            self.seal_tree(tree, &mut sealed);
        }
        sealed
    }

    fn seal_tree(&mut self, drafts: &[Checked], sealed: &mut Vec<Sealed>) {
        let first = self.last + 1;
        let mut leaves = Vec::with_capacity(drafts.len());
        let mut records = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let fields = Fields {
                i: self.last + 1,
                prev: self.leaf,
                topic: draft.topic.as_str(),
                msg_id: &draft.msg_id,
                timestamp: self.time,
                username: draft.username.as_deref(),
                headers: &draft.headers,
                ext: draft.ext.as_deref(),
                msg: &draft.msg,
            };
            let mut record = Vec::with_capacity(draft.len() + 512);
            write_unsigned(&mut record, &self.head, &fields);
            self.leaf = Leaf::of(Kind::Message.domain(), &record);
            self.last += 1;
            leaves.push(self.leaf);
            records.push(record);
        }
        sign_tree(&self.key, &leaves, &mut records);
        let within = |(draft, record): (&Checked, &Vec<u8>)| record.len() <= draft.written_max();
        debug_assert!(
            drafts.iter().zip(&records).all(within),
            "a frame is longer than was promised"
        );
        let parts = drafts.iter().zip(records).zip(leaves).zip(first..);
        sealed.extend(parts.map(|(((draft, record), leaf), i)| Sealed {
            wire: Wire { topic: bytes_of(&draft.topic), envelope: record.into() },
            kind: Kind::Message,
            i,
            leaf,
        }));
    }

    /// Seals what the stream says of itself.
    pub fn heartbeat(&mut self, state: State, config: &str, now: Timestamp) -> Sealed {
        self.heartbeat_at(self.last(), state, config, now)
    }

    /// The same for an earlier end of the stream: what was sealed behind it is on no disk yet, and nobody may
    /// learn of it.
    pub fn heartbeat_at(
        &mut self,
        (last, head): (u64, Leaf),
        state: State,
        config: &str,
        now: Timestamp,
    ) -> Sealed {
        let beat = Heartbeat {
            first: self.kept_from.map_or(last + 1, |first| first.min(last + 1)),
            last,
            head,
            level: self.level,
            state,
            genesis: self.genesis,
            config: config.into(),
        };
        let mut msg = serde_json::to_string(&beat).expect("a heartbeat is plain JSON");
        msg.retain(|c| c != '\n');
        // Two heartbeats never have one time, or the newer could not be told from the older.
        let after_last = Timestamp::from_millis(self.beat.as_millis() + 1);
        self.beat = never_back(after_last, never_back(self.time, now));
        let topic = self.stream.heartbeat_topic();
        self.seal_own(Kind::Heartbeat, (last, head), &topic, &msg, self.beat)
    }

    fn seal_own(
        &self,
        kind: Kind,
        (i, prev): (u64, Leaf),
        topic: &Topic,
        msg: &str,
        now: Timestamp,
    ) -> Sealed {
        let fields = Fields {
            i,
            prev,
            topic: topic.as_str(),
            msg_id: &format!("{}-{}-{}", now.year(), self.epoch, now.as_millis()),
            timestamp: now,
            username: None,
            headers: &BTreeMap::new(),
            ext: None,
            msg,
        };
        let mut record = vec![Vec::with_capacity(1024)];
        write_unsigned(&mut record[0], &self.head, &fields);
        let leaf = Leaf::of(kind.domain(), &record[0]);
        sign_tree(&self.key, &[leaf], &mut record);
        let envelope = record.pop().expect("one record").into();
        Sealed { wire: Wire { topic: bytes_of(topic), envelope }, kind, i, leaf }
    }

    /// The stream.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What receipts of the epoch promise.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The last number that was given out, 0 before the first, and its leaf.
    pub fn last(&self) -> (u64, Leaf) {
        (self.last, self.leaf)
    }
}

fn bytes_of(topic: &Topic) -> Bytes {
    Bytes::copy_from_slice(topic.as_str().as_bytes())
}

/// Times of one stream do not go back, so that a late heartbeat can be told from a rewound stream; but a
/// clock that was set back by more than a second is followed, or one wrong hour would last for ever.
fn never_back(last: Timestamp, now: Timestamp) -> Timestamp {
    if last.millis_since(now) > 1_000 { now } else { now.max(last) }
}
