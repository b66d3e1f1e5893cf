//! What a publisher does with its journal, from records that were sealed before, and what must hold after.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::identity::StreamName;
use fedmsg::journal::{
    Body, Continuity, EpochState, Journal, JournalError, Numbered, Reader, Settings,
};
use fedmsg::merkle::Leaf;
use fedmsg::record::{After, Level};
use fedmsg::seal::Sealer;
use fedmsg::testing::MemoryDisk;
use fedmsg::timestamp::Timestamp;
use uuid::Uuid;

use crate::bus;

pub const STREAM: &str = "bodhi.backend01/0";
/// Records of each epoch that can be appended.
pub const RECORDS: u64 = 120;
/// Epochs that can be begun.
pub const EPOCHS: u64 = 60;

pub fn folder() -> &'static Path {
    Path::new("/state/streams/bodhi.backend01/0/journal")
}

pub fn stream() -> StreamName {
    StreamName::parse(STREAM).expect("stream")
}

pub fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + ms as i64)
}

/// Small segments, so that a short story has many.
pub fn settings() -> Settings {
    Settings { segment_bytes: 8_192, segment_ms: 60_000, keep_bytes: 1 << 30, keep_ms: 1 << 40 }
}

pub fn epoch(n: u64) -> Epoch {
    Epoch::new(Uuid::from_u128(0x0199_7530_0000_7000_8000_0000_0000_0000 + u128::from(n)))
}

/// The records of an epoch, sealed once: number 0 is the genesis record.
pub struct Sealed {
    pub wires: Vec<Wire>,
}

/// Epoch `n`, from 1.
pub fn sealed(n: u64) -> &'static Sealed {
    static ALL: OnceLock<Vec<OnceLock<Sealed>>> = OnceLock::new();
    let all = ALL.get_or_init(|| (0..=EPOCHS).map(|_| OnceLock::new()).collect());
    all[n as usize].get_or_init(|| {
        let before = (After::Unknown, Leaf::NONE);
        let (mut sealer, genesis) =
            Sealer::open_epoch(bus::key(1), stream(), epoch(n), before, Level::Local, bus::NOW);
        let mut wires = vec![genesis.wire];
        // Each epoch seals other content, so that one number never has one content by chance.
        wires.extend(bus::seal(&mut sealer, RECORDS as usize).into_iter().map(|s| s.wire));
        Sealed { wires }
    })
}

pub fn numbered(n: u64, numbers: std::ops::RangeInclusive<u64>) -> Vec<Numbered> {
    let wires = &sealed(n).wires;
    numbers.map(|i| Numbered { i, body: Body::Record(wires[i as usize].clone()) }).collect()
}

/// What was acknowledged: by epoch, the last number.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged(pub BTreeMap<u64, u64>);

/// A publisher that lives as often as it has to.
pub struct Writer {
    pub disk: MemoryDisk,
    pub acknowledged: Acknowledged,
    pub settings: Settings,
    /// The newest epoch.
    pub epoch: u64,
    /// How many epochs were begun, or tried.
    pub begun: u64,
    pub time: u64,
    /// Opens that could go on in their epoch.
    pub went_on: u64,
}

/// What ends a life early.
pub type Died = JournalError;

impl Writer {
    pub fn new(disk: MemoryDisk) -> Writer {
        Writer {
            disk,
            acknowledged: Acknowledged::default(),
            settings: settings(),
            epoch: 0,
            begun: 0,
            time: 0,
            went_on: 0,
        }
    }

    pub fn open(&self) -> Result<Journal, JournalError> {
        Journal::open(Arc::new(self.disk.clone()), folder(), &stream(), self.settings)
    }

    /// Opens the journal, begins an epoch where one must begin, and appends batches of these sizes.
    pub fn live(&mut self, batches: &[u64], trim: bool) -> Result<Journal, Died> {
        let mut journal = self.open()?;
        if *journal.continuity() == Continuity::Proven {
            let state = journal.state().expect("an epoch that may go on is known");
            self.go_on(state);
        } else {
            self.begin(&mut journal)?;
        }
        for (turn, size) in batches.iter().enumerate() {
            if turn == batches.len() / 2 && trim {
                self.begin(&mut journal)?;
                journal.trim(at(self.time), |_, _| false)?;
            }
            self.append(&mut journal, *size)?;
        }
        Ok(journal)
    }

    /// An epoch that was not acknowledged may be there or not; one that was must be, and all of it.
    fn go_on(&mut self, state: &EpochState) {
        let n = self.number(state.epoch);
        if let Some((newest, last)) = self.acknowledged.0.last_key_value() {
            assert!(n >= *newest, "goes on in {n}, and {newest} was acknowledged");
            assert!(n > *newest || state.last >= *last, "{} of {last} in {n}", state.last);
        }
        self.epoch = n;
        self.went_on += 1;
    }

    fn number(&self, name: Epoch) -> u64 {
        (1..=self.begun).find(|n| epoch(*n) == name).expect("an epoch of ours")
    }

    pub fn begin(&mut self, journal: &mut Journal) -> Result<(), Died> {
        self.begun += 1;
        let n = self.begun;
        assert!(n <= EPOCHS, "the story needs more epochs than there are");
        self.time += 10;
        journal.begin_epoch(epoch(n), &sealed(n).wires[0], at(self.time))?;
        self.epoch = n;
        self.acknowledged.0.insert(n, 0);
        Ok(())
    }

    pub fn append(&mut self, journal: &mut Journal, size: u64) -> Result<(), Died> {
        let state = journal.state().expect("an epoch");
        let first = state.last + 1;
        let last = (first + size - 1).min(RECORDS);
        if first > last {
            return Ok(());
        }
        self.time += 10;
        // An epoch that could not be begun leaves the one before in force.
        let n = self.number(state.epoch);
        journal.append(&numbered(n, first..=last), at(self.time))?;
        let known = self.acknowledged.0.entry(n).or_default();
        assert!(*known < first, "epoch {n}: {first} was acknowledged before, up to {known}");
        *known = last;
        Ok(())
    }
}

/// Everything that was acknowledged is there, once, in order, to the byte.
pub fn verify(disk: &MemoryDisk, acknowledged: &Acknowledged) {
    let mut reader = Reader::new(Arc::new(disk.clone()), folder());
    for (n, last) in &acknowledged.0 {
        let numbers = read_all(&mut reader, *n);
        assert!(numbers.len() as u64 > *last, "epoch {n}: {} of {last} are there", numbers.len());
        let genesis = reader.genesis(epoch(*n)).expect("reads");
        assert_eq!(genesis.as_ref(), Some(&sealed(*n).wires[0]), "genesis of {n}");
    }
}

/// All of an epoch, which must be dense from 0 and what was sealed.
pub fn read_all(reader: &mut Reader, n: u64) -> Vec<u64> {
    let (mut next, mut numbers) = (0, Vec::new());
    loop {
        let batch = reader.read(epoch(n), next, u64::MAX >> 1, 7, 1 << 20).expect("reads");
        assert_eq!(batch.holes, [], "epoch {n}");
        for entry in &batch.entries {
            assert_eq!(entry.i, next, "epoch {n}");
            let wire = &sealed(n).wires[next as usize];
            assert_eq!(entry.body, Body::Record(wire.clone()), "epoch {n}, number {next}");
            numbers.push(next);
            next += 1;
        }
        if !batch.more {
            return numbers;
        }
        assert!(!batch.entries.is_empty(), "epoch {n}: more, but nothing");
    }
}

/// How many seeds to try.
pub fn seeds(usual: u64) -> u64 {
    let wanted = std::env::var("FEDMSG_JOURNAL_SEEDS").ok();
    wanted.map_or(usual, |text| text.parse().expect("FEDMSG_JOURNAL_SEEDS is a number"))
}
