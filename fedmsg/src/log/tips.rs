//! Completing what is known of streams from their records: the leaf of the last one, and the genesis record.

use super::format::Sequence;
use super::reader::LogReader;
use super::streams::Tip;
use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::journal::Body;

impl LogReader {
    /// Reads the last and the genesis record of each stream that went on since its head was written down.
    ///
    /// What cannot be read now is tried again before it is given up.
    pub(super) fn complete_tips(&self) {
        for Wanted { stream, epoch, last, leaf, genesis, .. } in self.wanted() {
            let read = |i| {
                let entry = self.entry(&stream, epoch, i);
                entry.unwrap_or_else(|error| {
                    tracing::error!(%stream, %epoch, i, %error, "a record cannot be read");
                    None
                })
            };
            let leaf = if leaf { read(last).and_then(|entry| entry.body.leaf()) } else { None };
            let genesis = if genesis { read(0) } else { None };
            let mut known = self.shared.known_mut();
            let tip = known.streams.get_mut(stream.as_str()).and_then(|stream| stream.tip.as_mut());
            let Some(tip) = tip.filter(|tip| tip.epoch == epoch) else { continue };
            tip.leaf = tip.leaf.or(leaf);
            if let Some(Body::Record(wire)) = genesis.map(|entry| entry.body) {
                tip.genesis = Some(wire);
                // The heads on disk lack it.
                drop(known);
                self.shared.set_covered(0);
            }
        }
    }

    /// What is missing of streams, in the order of the segments, so that few of them are open at one time.
    fn wanted(&self) -> Vec<Wanted> {
        let known = self.shared.known();
        let mut wanted = Vec::new();
        for stream in known.streams.iter() {
            let Some(Tip { epoch, last, leaf, genesis }) = &stream.tip else { continue };
            let runs = stream.of_epoch(*epoch);
            let Some(newest) = runs.last() else { continue };
            let leaf = leaf.is_none();
            let genesis = genesis.is_none() && runs[0].first == 0;
            if leaf || genesis {
                let (stream, epoch, last) = (stream.name.clone(), *epoch, *last);
                wanted.push(Wanted { segment: newest.segment, stream, epoch, last, leaf, genesis });
            }
        }
        wanted.sort_unstable_by(|a, b| (a.segment, &a.stream).cmp(&(b.segment, &b.stream)));
        wanted
    }
}

/// What is to be read of a stream.
struct Wanted {
    segment: Sequence,
    stream: StreamName,
    epoch: Epoch,
    last: u64,
    leaf: bool,
    genesis: bool,
}
