//! What is in a journal, read by the library from its files, and looked at by the command.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedmsg::envelope::Epoch;
use fedmsg::journal::{Body, OsDisk, Reader};
use fedmsg::merkle::Leaf;
use serde_json::Value;

use super::{Bus, Program};

/// A million records take a minute in a build without optimisation.
const CHECKED_WITHIN: Duration = Duration::from_secs(600);

/// One record of a journal.
#[derive(Clone, Debug)]
pub struct Record {
    pub leaf: Leaf,
    pub msg: Value,
}

/// A position in one stream.
pub type Place = (Epoch, u64);

/// All records of the journal in this folder, the genesis records left out. Nothing may be missing.
pub fn kept(folder: &Path) -> BTreeMap<Place, Record> {
    let mut reader = Reader::new(Arc::new(OsDisk), folder);
    let mut all = BTreeMap::new();
    for range in reader.ranges().expect("the journal is readable") {
        let mut from = range.first.max(1);
        while from <= range.last {
            let batch = reader.read(range.epoch, from, range.last, 1_000, 1 << 20).expect("read");
            assert!(batch.holes.is_empty(), "records are damaged: {:?}", batch.holes);
            assert!(
                !batch.entries.is_empty(),
                "nothing from {from} to {} of {range:?}",
                batch.upto
            );
            for entry in &batch.entries {
                let Body::Record(wire) = &entry.body else { panic!("number {} is gone", entry.i) };
                let mut envelope: Value = serde_json::from_slice(&wire.envelope).expect("JSON");
                let leaf = entry.body.leaf().expect("an envelope");
                let record = Record { leaf, msg: envelope["msg"].take() };
                all.insert((range.epoch, entry.i), record);
            }
            from = batch.upto + 1;
        }
    }
    all
}

/// What `fedmsg journal check` finds: signatures, chain and checksums must all hold.
pub fn check(bus: &Bus) {
    let mut command = bus.program("fedmsg");
    command.args(["journal", "check"]);
    let (code, out, errors) = Program::start(command).end_within(CHECKED_WITHIN);
    assert_eq!(code, 0, "{out:?} {errors:?}");
}
