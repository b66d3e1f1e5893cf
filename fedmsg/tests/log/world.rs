//! What a relay does with its log, from records that were sealed before, and what must hold after.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::holder::{Absent, Part};
use fedmsg::identity::StreamName;
use fedmsg::journal::Body;
use fedmsg::log::{Item, Keep, Log, LogError, LogReader, Settings};
use fedmsg::merkle::Leaf;
use fedmsg::record::{After, Level};
use fedmsg::seal::{Sealed, Sealer};
use fedmsg::testing::MemoryDisk;
use fedmsg::timestamp::Timestamp;
use uuid::Uuid;

use crate::bus;

/// Streams that put messages.
pub const STREAMS: usize = 5;
/// Records of each epoch that can be put.
pub const RECORDS: u64 = 60;
/// Epochs of each stream.
pub const EPOCHS: u64 = 6;

pub fn folder() -> &'static Path {
    Path::new("/state/log")
}

pub fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + ms as i64)
}

/// Small segments, so that a short story has many.
pub fn settings() -> Settings {
    Settings { segment_bytes: 8_192, segment_ms: 60_000, keep_bytes: 1 << 30, keep_ms: 1 << 40 }
}

pub fn stream(s: usize) -> &'static StreamName {
    static ALL: OnceLock<Vec<StreamName>> = OnceLock::new();
    let name = |s| StreamName::parse(&format!("bodhi.backend01/{s}")).expect("a stream");
    &ALL.get_or_init(|| (0..STREAMS).map(name).collect())[s]
}

pub fn epoch(n: u64) -> Epoch {
    Epoch::new(Uuid::from_u128(0x0199_7530_0000_7000_8000_0000_0000_0000 + u128::from(n)))
}

fn source(s: usize, n: u64) -> &'static [Sealed] {
    static ALL: OnceLock<Vec<OnceLock<Vec<Sealed>>>> = OnceLock::new();
    let count = STREAMS * (EPOCHS as usize + 1);
    let all = ALL.get_or_init(|| (0..count).map(|_| OnceLock::new()).collect());
    all[s * (EPOCHS as usize + 1) + n as usize].get_or_init(|| {
        let before = (After::Unknown, Leaf::NONE);
        let (key, stream) = (bus::key(1), stream(s).clone());
        let (mut sealer, genesis) =
            Sealer::open_epoch(key, stream, epoch(n), before, Level::Local, at(0));
        let mut records = vec![genesis];
        records.extend(bus::seal(&mut sealer, RECORDS as usize));
        records
    })
}

/// Number `i` of epoch `n` of stream `s`; 0 is the genesis record.
pub fn sealed(s: usize, n: u64, i: u64) -> &'static Sealed {
    &source(s, n)[i as usize]
}

/// A heartbeat of the first epoch that says that the stream ended at this number, at this time.
pub fn heartbeat(s: usize, i: u64, ms: u64) -> Wire {
    let timestamp = format!("{:.3}", at(ms).as_seconds());
    let prev = sealed(s, 1, i).leaf.to_string();
    let (stream, timestamp) = (stream(s).as_str(), timestamp.leak());
    bus::Record { kind: "heartbeat", stream, i, prev, timestamp, ..Default::default() }.signed()
}

/// Where a record is: stream, epoch, number.
pub type Position = (usize, u64, u64);

/// Every seventh record was refused.
pub fn is_gone(i: u64) -> bool {
    i % 7 == 3
}

pub fn item((s, n, i): Position) -> Item<'static> {
    let Sealed { wire, leaf, .. } = sealed(s, n, i);
    let keep = match is_gone(i) {
        true => Keep::Gone { leaf: *leaf, reason: "policy" },
        false => Keep::Record { wire, leaf: *leaf },
    };
    Item { stream: stream(s), epoch: epoch(n), i, keep }
}

pub fn body((s, n, i): Position) -> Body {
    let Sealed { wire, leaf, .. } = sealed(s, n, i);
    match is_gone(i) {
        true => Body::Gone { leaf: *leaf, reason: "policy".into() },
        false => Body::Record(wire.clone()),
    }
}

/// A relay that lives as often as it has to. It carries its streams in order, and remembers what it told.
pub struct Relay {
    pub disk: MemoryDisk,
    pub settings: Settings,
    /// What was acknowledged, in the order in which it was.
    pub acknowledged: Vec<Position>,
    /// How many of them retention may have given up.
    pub trimmable: usize,
    pub time: u64,
    /// Rises with every append, and decides whose messages come.
    pub turn: u64,
}

impl Relay {
    pub fn new(disk: MemoryDisk) -> Relay {
        let (acknowledged, settings) = (Vec::new(), settings());
        Relay { disk, settings, acknowledged, trimmable: 0, time: 0, turn: 0 }
    }

    pub fn open(&self) -> Result<Log, LogError> {
        Log::open(Arc::new(self.disk.clone()), folder(), self.settings)
    }

    /// Opens the log, looks how far the streams are, and takes so many records in each append.
    pub fn live(&mut self, batches: &[usize]) -> Result<Log, LogError> {
        let mut log = self.open()?;
        if !self.disk.is_down() {
            self.check_heads(&log);
        }
        for size in batches {
            self.append(&mut log, *size)?;
        }
        Ok(log)
    }

    /// Takes the next records of streams, as they follow what the log has.
    pub fn append(&mut self, log: &mut Log, size: usize) -> Result<(), LogError> {
        let positions = self.next(log, size);
        let items: Vec<_> = positions.iter().map(|position| item(*position)).collect();
        self.time += 10;
        log.append(&items, at(self.time))?;
        self.acknowledged.extend(positions);
        Ok(())
    }

    /// The next records; a stream begins another epoch now and then.
    pub fn next(&mut self, log: &Log, size: usize) -> Vec<Position> {
        self.turn += 1;
        let mut ends: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        let next = |at: usize| {
            let s = (self.turn as usize * 3 + at * at) % STREAMS;
            let known = ends.get(&s).copied().or_else(|| {
                let head = log.head(stream(s))?;
                Some((number(head.epoch), head.last))
            });
            let (n, i) = match known {
                None => (1, 0),
                Some((n, i)) if i == RECORDS || (i > 20 && self.turn.is_multiple_of(9)) => {
                    (n + 1, 0)
                }
                Some((n, i)) => (n, i + 1),
            };
            assert!(n <= EPOCHS, "the story needs more epochs than there are");
            ends.insert(s, (n, i));
            (s, n, i)
        };
        (0..size).map(next).collect()
    }

    /// A stream is never less far than was acknowledged, and its leaf and genesis record are right.
    pub fn check_heads(&self, log: &Log) {
        let mut ends: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        for (s, n, i) in &self.acknowledged {
            let end = ends.entry(*s).or_default();
            *end = (*end).max((*n, *i));
        }
        for (s, end) in ends {
            let head = log.head(stream(s)).unwrap_or_else(|| panic!("stream {s} is forgotten"));
            let n = number(head.epoch);
            assert!((n, head.last) >= end, "stream {s}: {:?} of {end:?}", (n, head.last));
            assert_eq!(head.leaf, Some(sealed(s, n, head.last).leaf), "stream {s}");
            assert_eq!(head.genesis.as_ref(), Some(&sealed(s, n, 0).wire), "stream {s}");
        }
    }

    /// Everything that was acknowledged is served, to the byte, and nothing that is wrong.
    pub fn verify(&self, log: &Log) {
        self.check_heads(log);
        let served = serve_all(&log.reader());
        // Genesis records were looked at with the heads; they are served when they are long given up.
        let missing = |position: &&Position| position.2 > 0 && !served.contains(*position);
        let is_left = |position: &&Position| position.2 == 0 || missing(position);
        let given_up = self.acknowledged.iter().take_while(is_left).count();
        let given_up = if given_up <= self.trimmable { given_up } else { 0 };
        let lost: Vec<_> = self.acknowledged[given_up..].iter().filter(missing).collect();
        assert_eq!(lost, Vec::<&Position>::new(), "acknowledged, and not served");
    }

    /// Opens the log and verifies it.
    pub fn verify_on_disk(&self) {
        let log = self.open().unwrap_or_else(|error| panic!("does not open: {error}"));
        self.verify(&log);
    }
}

pub fn number(name: Epoch) -> u64 {
    (1..=EPOCHS).find(|n| epoch(*n) == name).expect("an epoch of ours")
}

/// Everything that a reader hands out; each record is what was sealed.
pub fn serve_all(reader: &LogReader) -> BTreeSet<Position> {
    let mut served = BTreeSet::new();
    for s in 0..STREAMS {
        let Ok(stand) = reader.stand(stream(s)) else { continue };
        for range in stand.epochs {
            let n = number(range.epoch);
            let (good, holes) = serve(reader, s, n, 0, 7);
            assert!(good.iter().all(|i| !holes.contains(i)), "stream {s}, epoch {n}");
            // The genesis record is served when it is long gone.
            let more =
                good.union(&holes).find(|i| **i > 0 && !(range.first..=range.last).contains(i));
            assert_eq!(more, None, "stream {s}, epoch {n}: more than it says");
            served.extend(good.into_iter().map(|i| (s, n, i)));
        }
    }
    served
}

/// The numbers of an epoch from this one on that can be read, and those that are named as holes.
pub fn serve(
    reader: &LogReader,
    s: usize,
    n: u64,
    from: u64,
    page: usize,
) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut good, mut holes, mut next) = (BTreeSet::new(), BTreeSet::new(), from);
    loop {
        let part = Part { epoch: epoch(n), from: next, to: RECORDS };
        let batch = match reader.read(stream(s), part, page, 1 << 20) {
            Ok(batch) => batch,
            // Damage may have taken what was there when it was asked for.
            Err(Absent::Trimmed { first }) if first > next => {
                next = first;
                continue;
            }
            Err(Absent::Epoch | Absent::Stream) => return (good, holes),
            Err(error) => panic!("stream {s}, epoch {n}, from {next}: {error}"),
        };
        for entry in &batch.entries {
            assert!((next..=batch.upto).contains(&entry.i), "stream {s}, epoch {n}: {}", entry.i);
            assert_eq!(entry.body, body((s, n, entry.i)), "stream {s}, epoch {n}: {}", entry.i);
            assert!(good.insert(entry.i), "twice");
        }
        holes.extend(batch.holes.iter().flat_map(|hole| hole.from..=hole.to));
        if !batch.more {
            return (good, holes);
        }
        assert!(batch.upto >= next, "stream {s}, epoch {n}: more, and nothing");
        next = batch.upto + 1;
    }
}

/// How many seeds to try.
pub fn seeds(usual: u64) -> u64 {
    let wanted = std::env::var("FEDMSG_LOG_SEEDS").ok();
    wanted.map_or(usual, |text| text.parse().expect("FEDMSG_LOG_SEEDS is a number"))
}
