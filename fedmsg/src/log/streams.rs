//! What is known in memory of every stream: how far it is, and in which segments its numbers are.

// Its keys are names of streams that were verified before they were put into a log.
use foldhash::HashMap;

use super::directory::Held;
use super::format::Sequence;
use super::item::{Beat, Head};
use crate::envelope::{Epoch, Wire};
use crate::identity::StreamName;
use crate::limits::LOG_STREAMS_MAX;
use crate::merkle::Leaf;

/// All streams. Those of which nothing is left keep their head; of too many, those that were silent for
/// longest are forgotten.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: HashMap<Box<str>, Stream>,
    /// Runs of all streams together.
    runs: usize,
    /// Rises with every change, so that it can be told who is silent for longest.
    turn: u64,
    forgotten: u64,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: StreamName,
    /// Numbers in sealed segments, by epoch, oldest first.
    pub(super) epochs: Vec<EpochRuns>,
    pub(super) tip: Option<Tip>,
    pub(super) beat: Option<Beat>,
    /// The segment that is being written has something of it.
    pub(super) is_active: bool,
    turn: u64,
}

/// The numbers of one epoch.
#[derive(Debug)]
pub(super) struct EpochRuns {
    pub(super) epoch: Epoch,
    /// In the order of their first numbers.
    pub(super) runs: Vec<Run>,
}

/// Numbers of a segment that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) segment: Sequence,
}

/// How far a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) epoch: Epoch,
    pub(super) last: u64,
    pub(super) leaf: Option<Leaf>,
    pub(super) genesis: Option<Wire>,
}

impl Run {
    /// The number behind the last one.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

impl Streams {
    pub(super) fn get(&self, stream: &str) -> Option<&Stream> {
        self.all.get(stream)
    }

    pub(super) fn get_mut(&mut self, stream: &str) -> Option<&mut Stream> {
        self.all.get_mut(stream)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.all.values()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn runs(&self) -> usize {
        self.runs
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The stream of this name, new or not, which is not silent now; nothing when it is no name.
    pub(super) fn touch(&mut self, text: &str) -> Option<&mut Stream> {
        self.turn += 1;
        if !self.all.contains_key(text) {
            let name = StreamName::parse(text).ok()?;
            if self.all.len() >= LOG_STREAMS_MAX {
                self.forget_some();
            }
            let (epochs, is_active) = (Vec::new(), false);
            let stream = Stream { name, epochs, tip: None, beat: None, is_active, turn: 0 };
            self.all.insert(text.into(), stream);
        }
        let stream = self.all.get_mut(text)?;
        stream.turn = self.turn;
        Some(stream)
    }

    /// Takes note of what a sealed segment has. That is no sign of life.
    pub(super) fn add(&mut self, text: &str, held: Held, segment: Sequence) {
        let Held::Run { epoch, first, count } = held else { return };
        let Some(last) = (first + u64::from(count)).checked_sub(1).filter(|_| count > 0) else {
            return;
        };
        if !self.all.contains_key(text) && self.touch(text).is_none() {
            return;
        }
        let Some(stream) = self.all.get_mut(text) else { return };
        stream.add(epoch, Run { first, count, segment });
        stream.advance(epoch, last, None);
        self.runs += 1;
    }

    /// Nothing of a segment is known any more.
    pub(super) fn drop_segment(&mut self, segment: Sequence) {
        for stream in self.all.values_mut() {
            for EpochRuns { runs, .. } in &mut stream.epochs {
                let before = runs.len();
                runs.retain(|run| run.segment != segment);
                self.runs -= before - runs.len();
            }
            stream.epochs.retain(|epoch| !epoch.runs.is_empty());
        }
    }

    /// About how many bytes of memory this takes.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.all.values().map(|stream| stream.memory_bytes() as u64).sum()
    }

    /// Makes room: those of which nothing is left first, then those that are silent for longest.
    fn forget_some(&mut self) {
        let turns = self.all.values().map(|stream| (stream.has_some(), stream.turn));
        let mut turns: Vec<_> = turns.collect();
        let count = (LOG_STREAMS_MAX / 64).clamp(1, turns.len());
        let (_, last, _) = turns.select_nth_unstable(count - 1);
        let last = *last;
        let (runs, before) = (&mut self.runs, self.all.len());
        self.all.retain(|_, stream| {
            let stays = (stream.has_some(), stream.turn) > last;
            if !stays {
                *runs -= stream.epochs.iter().map(|epoch| epoch.runs.len()).sum::<usize>();
            }
            stays
        });
        let gone = before - self.all.len();
        self.forgotten += gone as u64;
        tracing::warn!(gone, "too many streams: those that are silent for longest are forgotten");
    }
}

impl Stream {
    fn add(&mut self, epoch: Epoch, run: Run) {
        let at = match self.epochs.binary_search_by_key(&epoch, |known| known.epoch) {
            Ok(at) => at,
            Err(at) => {
                self.epochs.insert(at, EpochRuns { epoch, runs: Vec::with_capacity(1) });
                at
            }
        };
        let runs = &mut self.epochs[at].runs;
        let behind = runs.partition_point(|known| known.first <= run.first);
        if runs.len() == runs.capacity() {
            // There are many short lists: none of them has room for twice as much as it needs.
            runs.reserve_exact(runs.len() / 4 + 1);
        }
        runs.insert(behind, run);
    }

    /// Rises with every change of any stream.
    pub(super) fn turn(&self) -> u64 {
        self.turn
    }

    /// Whether something of it is left.
    fn has_some(&self) -> bool {
        self.is_active || !self.epochs.is_empty()
    }

    /// The stream is as far as this, if it was not further.
    pub(super) fn advance(&mut self, epoch: Epoch, last: u64, leaf: Option<Leaf>) {
        match &mut self.tip {
            Some(tip) if tip.epoch == epoch && tip.last < last => {
                (tip.last, tip.leaf) = (last, leaf);
            }
            // It was damaged, and came again.
            Some(tip) if (tip.epoch, tip.last) == (epoch, last) => tip.leaf = tip.leaf.or(leaf),
            Some(tip) if tip.epoch >= epoch => {}
            _ => self.tip = Some(Tip { epoch, last, leaf, genesis: None }),
        }
    }

    /// Keeps this heartbeat, if it is newer than the one that is known.
    pub(super) fn beat(&mut self, beat: Beat) -> bool {
        let newer = self.beat.as_ref().is_none_or(|known| known.order < beat.order);
        if newer {
            self.beat = Some(beat);
        }
        newer
    }

    /// The runs of an epoch in sealed segments.
    pub(super) fn of_epoch(&self, epoch: Epoch) -> &[Run] {
        let at = self.epochs.binary_search_by_key(&epoch, |known| known.epoch);
        at.map_or(&[][..], |at| &self.epochs[at].runs)
    }

    pub(super) fn head(&self) -> Option<Head> {
        let Tip { epoch, last, leaf, genesis } = self.tip.clone()?;
        let heartbeat = self.beat.as_ref().map(|beat| beat.wire.clone());
        Some(Head { epoch, last, leaf, genesis, heartbeat })
    }

    fn memory_bytes(&self) -> usize {
        // A name is there three times: as the key, as it is, and its identity; each allocation costs 16 more.
        let name = 3 * (self.name.as_str().len() + 16 + 16);
        let wire = |wire: &Wire| wire.len() + 2 * 16;
        let genesis = self.tip.as_ref().and_then(|tip| tip.genesis.as_ref()).map_or(0, wire);
        let beat = self.beat.as_ref().map_or(0, |beat| wire(&beat.wire));
        let runs = |epoch: &EpochRuns| epoch.runs.capacity() * size_of::<Run>() + 16;
        let epochs = self.epochs.capacity() * size_of::<EpochRuns>()
            + self.epochs.iter().map(runs).sum::<usize>();
        // A table of hashes is between half full and seven eighths full.
        let slot = (size_of::<Stream>() + size_of::<Box<str>>() + 1) * 3 / 2;
        slot + name + genesis + beat + epochs
    }
}

/// The run that a number is in.
pub(super) fn run_of(runs: &[Run], i: u64) -> Option<Run> {
    let behind = runs.partition_point(|run| run.first <= i);
    // Runs overlap where a number came twice, so the one before may end too early, and another one not.
    runs[..behind].iter().rev().find(|run| i < run.end()).copied()
}

/// The first number that is in a run, from this one on.
pub(super) fn next_of(runs: &[Run], i: u64) -> Option<u64> {
    match run_of(runs, i) {
        Some(_) => Some(i),
        None => runs.get(runs.partition_point(|run| run.first <= i)).map(|run| run.first),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn epoch(n: u128) -> Epoch {
        Epoch::new(Uuid::from_u128(n))
    }

    fn held(n: u128, first: u64, count: u32) -> Held {
        Held::Run { epoch: epoch(n), first, count }
    }

    #[test]
    fn numbers_are_found_in_the_runs_that_have_them() {
        let mut streams = Streams::default();
        let name = "a.b/0";
        for (held, segment) in [
            (held(2, 1, 10), 1),
            (held(1, 5, 5), 2),
            (held(2, 15, 5), 3),
            (held(2, 4, 3), 4),
            (held(2, 11, 2), 5),
        ] {
            streams.add(name, held, segment);
        }
        streams.add("no name", held(1, 1, 1), 1);
        let stream = streams.get(name).expect("a stream");
        let runs = stream.of_epoch(epoch(2));
        let segment = |i| run_of(runs, i).map(|run| run.segment);
        assert_eq!(
            [0, 1, 3, 9, 10, 12, 13, 14, 15, 19, 20].map(segment).map(|found| found.unwrap_or(0)),
            [0, 1, 1, 1, 1, 5, 0, 0, 3, 3, 0]
        );
        assert_eq!(
            [0, 7, 13, 19, 20].map(|i| next_of(runs, i)),
            [1, 7, 15, 19, 0].map(|i| (i > 0).then_some(i))
        );
        assert_eq!(stream.head().map(|head| (head.epoch, head.last)), Some((epoch(2), 19)));
        assert_eq!((streams.len(), streams.runs()), (1, 5));
        streams.drop_segment(3);
        streams.drop_segment(2);
        let stream = streams.get(name).expect("a stream");
        assert!(stream.of_epoch(epoch(1)).is_empty());
        assert_eq!(
            stream.head().map(|head| head.last),
            Some(19),
            "how far it was is not forgotten"
        );
        assert_eq!(streams.runs(), 3);
    }

    #[test]
    fn of_too_many_streams_the_silent_ones_of_which_nothing_is_left_are_forgotten() {
        let mut streams = Streams::default();
        let name = |n: usize| format!("a.h{n}/0");
        for n in 0..LOG_STREAMS_MAX {
            streams.add(&name(n), held(1, 1, 1), if n % 2 == 0 { 1 } else { 2 });
        }
        streams.touch(&name(0));
        streams.drop_segment(1);
        assert_eq!(streams.forgotten(), 0);
        streams.add("a.b/0", held(1, 1, 1), 2);
        let gone = LOG_STREAMS_MAX / 64;
        assert_eq!((streams.forgotten(), streams.len()), (gone as u64, LOG_STREAMS_MAX + 1 - gone));
        assert!(streams.get(&name(0)).is_some(), "it was heard of just now");
        assert!(streams.get(&name(1)).is_some(), "something of it is left");
        assert!(streams.get(&name(2)).is_none());
    }

    #[test]
    fn ten_thousand_streams_in_eighty_segments_take_no_more_than_they_may() {
        let mut streams = Streams::default();
        let wire = |length: usize| Wire {
            topic: vec![b't'; 40].into(),
            envelope: vec![b'x'; length].into(),
        };
        for segment in 1..=80 {
            for n in 0..10_000 {
                let name = format!("service{}.host{n:05}.example.org/0", n % 60);
                streams.add(&name, held(1, u64::from(segment) * 6, 6), segment);
                let stream = streams.get_mut(&name).expect("a stream");
                if let Some(tip) = &mut stream.tip {
                    tip.genesis.get_or_insert_with(|| wire(700));
                }
                let order = (epoch(1), 1, crate::timestamp::Timestamp::from_millis(1));
                stream.beat.get_or_insert_with(|| Beat { order, wire: wire(900) });
            }
        }
        let bytes = streams.memory_bytes();
        assert!((10_000 * 1_700..50_000_000).contains(&bytes), "{bytes} bytes");
    }
}
