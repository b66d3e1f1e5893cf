//! What one segment holds: where each record of each stream begins. In memory for the segment that is being
//! written, and while an index is made of one.

// Its keys are names of streams that were verified before they were put into a log.
use foldhash::{HashMap, HashMapExt};

use crate::envelope::Epoch;
use crate::timestamp::Timestamp;

/// The places of one segment.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) streams: HashMap<Box<str>, Places>,
    /// Numbers that have a place.
    pub(super) records: u64,
    /// When the last record was appended.
    pub(super) last: Timestamp,
}

/// The places of one stream.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// In the order of epochs and numbers.
    pub(super) runs: Vec<PlacedRun>,
    /// The newest heartbeat.
    pub(super) beat: Option<PlacedBeat>,
}

/// Numbers of one epoch that follow each other, and where each of them is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlacedRun {
    pub(super) epoch: Epoch,
    pub(super) first: u64,
    pub(super) offsets: Vec<u32>,
}

/// Where a heartbeat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlacedBeat {
    pub(super) epoch: Epoch,
    pub(super) i: u64,
    pub(super) at: u32,
}

impl Places {
    /// Says whether the number is new.
    fn add(&mut self, epoch: Epoch, i: u64, at: u32) -> bool {
        let behind = self.runs.partition_point(|run| (run.epoch, run.first) <= (epoch, i));
        if let Some(run) = behind.checked_sub(1).and_then(|before| self.runs.get_mut(before))
            && run.epoch == epoch
            && i <= run.end()
        {
            let follows = i == run.end();
            if follows {
                run.offsets.push(at);
            }
            return follows;
        }
        self.runs.insert(behind, PlacedRun { epoch, first: i, offsets: vec![at] });
        true
    }
}

impl PlacedRun {
    /// The number behind the last one.
    pub(super) fn end(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }
}

impl Table {
    pub(super) fn new(made: Timestamp) -> Table {
        Table { streams: HashMap::new(), records: 0, last: made }
    }

    /// Takes note of a record. Of a number that is there already, the first place stays.
    pub(super) fn add(&mut self, stream: &str, epoch: Epoch, i: u64, at: u32) {
        let is_new = self.places(stream).add(epoch, i, at);
        self.records += u64::from(is_new);
    }

    /// Takes note of a heartbeat. Of two with the same number the later one is the newer one.
    pub(super) fn add_beat(&mut self, stream: &str, beat: PlacedBeat) {
        let known = &mut self.places(stream).beat;
        if known.is_none_or(|known| (known.epoch, known.i) <= (beat.epoch, beat.i)) {
            *known = Some(beat);
        }
    }

    /// The run that a number is in.
    pub(super) fn run(&self, stream: &str, epoch: Epoch, i: u64) -> Option<&PlacedRun> {
        let runs = &self.streams.get(stream)?.runs;
        let behind = runs.partition_point(|run| (run.epoch, run.first) <= (epoch, i));
        let run = runs.get(behind.checked_sub(1)?)?;
        (run.epoch == epoch && i < run.end()).then_some(run)
    }

    /// The runs of an epoch, in order.
    pub(super) fn of_epoch(&self, stream: &str, epoch: Epoch) -> &[PlacedRun] {
        let Some(places) = self.streams.get(stream) else { return &[] };
        let from = places.runs.partition_point(|run| run.epoch < epoch);
        let to = places.runs.partition_point(|run| run.epoch <= epoch);
        &places.runs[from..to]
    }

    /// A number turned out to be damaged: it is not there any more.
    pub(super) fn remove(&mut self, stream: &str, epoch: Epoch, i: u64) {
        let Some(places) = self.streams.get_mut(stream) else { return };
        let has = |run: &PlacedRun| run.epoch == epoch && (run.first..run.end()).contains(&i);
        let Some(at) = places.runs.iter().position(has) else { return };
        let mut before = places.runs.remove(at);
        let offsets = before.offsets.split_off((i - before.first) as usize + 1);
        before.offsets.pop();
        let behind = PlacedRun { epoch, first: i + 1, offsets };
        for run in [behind, before] {
            if !run.offsets.is_empty() {
                places.runs.insert(at, run);
            }
        }
        self.records -= 1;
    }

    fn places(&mut self, stream: &str) -> &mut Places {
        // Looked up by its text first: nearly always it is there, and nothing has to be copied.
        if !self.streams.contains_key(stream) {
            self.streams.insert(stream.into(), Places::default());
        }
        self.streams.get_mut(stream).expect("it was put there")
    }

    /// About how many bytes of memory this takes.
    pub(super) fn memory_bytes(&self) -> u64 {
        let one = |name: &str, places: &Places| {
            let runs = places.runs.capacity() * size_of::<PlacedRun>();
            let offsets: usize = places.runs.iter().map(|run| run.offsets.capacity() * 4).sum();
            name.len() + size_of::<Places>() + 48 + runs + offsets
        };
        self.streams.iter().map(|(name, places)| one(name, places) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn epoch(n: u128) -> Epoch {
        Epoch::new(Uuid::from_u128(n))
    }

    fn runs(table: &Table, stream: &str) -> Vec<(u128, u64, Vec<u32>)> {
        let runs = table.streams.get(stream).map_or(&[][..], |places| &places.runs);
        let plain = |run: &PlacedRun| (run.epoch.uuid().as_u128(), run.first, run.offsets.clone());
        runs.iter().map(plain).collect()
    }

    #[test]
    fn numbers_that_follow_each_other_are_one_run() {
        let mut table = Table::new(Timestamp::from_millis(0));
        for (n, i, at) in [
            (2, 5, 1),
            (2, 6, 2),
            (2, 9, 3),
            (1, 7, 4),
            (2, 6, 5),
            (2, 10, 6),
            (2, 7, 7),
            (2, 3, 8),
        ] {
            table.add("a.b/0", epoch(n), i, at);
        }
        let expected =
            [(1, 7, vec![4]), (2, 3, vec![8]), (2, 5, vec![1, 2, 7]), (2, 9, vec![3, 6])];
        assert_eq!(runs(&table, "a.b/0"), expected);
        assert_eq!(table.records, 7);
        assert_eq!(table.run("a.b/0", epoch(2), 7).map(|run| run.first), Some(5));
        for (n, i) in [(2, 4), (2, 8), (2, 11), (1, 6), (1, 8), (3, 5)] {
            assert_eq!(table.run("a.b/0", epoch(n), i), None, "{n} {i}");
        }
        assert_eq!(table.of_epoch("a.b/0", epoch(2)).len(), 3);
        table.remove("a.b/0", epoch(2), 6);
        table.remove("a.b/0", epoch(2), 9);
        table.remove("a.b/0", epoch(1), 7);
        table.remove("a.b/0", epoch(1), 7);
        let expected = [(2, 3, vec![8]), (2, 5, vec![1]), (2, 7, vec![7]), (2, 10, vec![6])];
        assert_eq!(runs(&table, "a.b/0"), expected);
        assert_eq!(table.records, 4);
    }
}
