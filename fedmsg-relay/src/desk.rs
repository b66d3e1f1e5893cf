//! What a relay answers from: its log, and the journals of its host.

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::frames::{Acknowledged, Spot};
use fedmsg::holder::{Absent, Holdings, Part, Stand};
use fedmsg::identity::StreamName;
use fedmsg::journal::Batch;
use fedmsg::log::LogReader;
use fedmsg::replay::Shelf;
use fedmsg::timestamp::Timestamp;

/// The log, and the journals of the host, also of processes that are gone.
///
/// A stream may be in both: that of a producer without an endpoint on this host, of which the log has what came
/// here, and the journal everything. Either may be trimmed before the other.
#[derive(Debug)]
pub struct Desk {
    log: LogReader,
    shelf: Shelf,
}

impl Desk {
    /// What this log and these journals have.
    pub fn new(log: LogReader, shelf: Shelf) -> Desk {
        Desk { log, shelf }
    }

    /// What one of the two has; where neither has it, what says more: `trimmed` and `not now` are no denials.
    fn either<T>(
        log: Result<T, Absent>,
        shelf: impl FnOnce() -> Result<T, Absent>,
    ) -> Result<T, Absent> {
        let Err(first) = log else { return log };
        match (shelf(), first) {
            (Ok(found), _) => Ok(found),
            (Err(Absent::Stream), first) => Err(first),
            (Err(second), Absent::Stream) => Err(second),
            (Err(Absent::Trimmed { first: here }), Absent::Trimmed { first: there }) => {
                Err(Absent::Trimmed { first: here.min(there) })
            }
            (Err(second @ Absent::Unreadable(_)), _) => Err(second),
            (Err(_), first @ (Absent::Trimmed { .. } | Absent::Unreadable(_))) => Err(first),
            (Err(second), _) => Err(second),
        }
    }
}

impl Holdings for Desk {
    fn stand(&mut self, stream: &StreamName) -> Result<Stand, Absent> {
        match (self.log.stand(stream), self.shelf.stand(stream)) {
            (Ok(log), Ok(shelf)) => Ok(joined(log, shelf)),
            (Ok(stand), _) | (_, Ok(stand)) => Ok(stand),
            (Err(log), Err(shelf)) => Desk::either(Err(log), || Err(shelf)),
        }
    }

    fn read(
        &mut self,
        stream: &StreamName,
        part: Part,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, Absent> {
        // The journal has no holes where the log may have some.
        let shelf = self.shelf.read(stream, part, max_records, max_bytes);
        match shelf {
            Ok(batch) if batch.upto >= part.from && batch.holes.is_empty() => Ok(batch),
            shelf => {
                let log = self.log.read(stream, part, max_records, max_bytes);
                match (log, shelf) {
                    (Ok(log), Ok(shelf)) if log.entries.len() < shelf.entries.len() => Ok(shelf),
                    (log, shelf) => Desk::either(log, || shelf),
                }
            }
        }
    }

    fn genesis(&mut self, stream: &StreamName, epoch: Epoch) -> Result<Option<Wire>, Absent> {
        match self.log.genesis(stream, epoch) {
            Ok(Some(genesis)) => Ok(Some(genesis)),
            log => Desk::either(log, || self.shelf.genesis(stream, epoch)),
        }
    }

    fn find(&mut self, stream: &StreamName, time: Timestamp) -> Result<(Epoch, u64), Absent> {
        match (self.log.find(stream, time), self.shelf.find(stream, time)) {
            // Both are the first of what is there: the earlier one leaves nothing out.
            (Ok(log), Ok(shelf)) => Ok(log.min(shelf)),
            (Ok(found), _) | (_, Ok(found)) => Ok(found),
            (Err(log), Err(shelf)) => Desk::either(Err(log), || Err(shelf)),
        }
    }

    fn heads(&mut self) -> Vec<Spot> {
        let mut heads = self.log.heads();
        heads.extend(self.shelf.streams());
        // Of two that name the same stream, the one that is further on.
        heads.sort_unstable_by(|a, b| {
            a.stream.cmp(&b.stream).then_with(|| (b.epoch, b.i).cmp(&(a.epoch, a.i)))
        });
        heads.dedup_by(|later, first| later.stream == first.stream);
        heads
    }

    fn knows_all(&self) -> bool {
        self.shelf.knows_all_streams()
    }

    fn floors(&mut self, stream: &StreamName) -> Vec<Acknowledged> {
        self.shelf.floors(stream)
    }

    /// A record that is put where records are asked for is meant for a publisher that was set back.
    fn put(&mut self, _message: &Wire) -> bool {
        false
    }
}

/// The ranges of both, and the newer heartbeat.
fn joined(log: Stand, shelf: Stand) -> Stand {
    let end = |stand: &Stand| stand.epochs.last().map(|range| (range.epoch, range.last));
    let (mut stand, other) = match end(&log) > end(&shelf) {
        true => (log, shelf),
        false => (shelf, log),
    };
    for range in other.epochs {
        match stand.epochs.iter_mut().find(|known| known.epoch == range.epoch) {
            Some(known) => {
                known.first = known.first.min(range.first);
                known.last = known.last.max(range.last);
            }
            None => stand.epochs.push(range),
        }
    }
    stand.epochs.sort_unstable_by_key(|range| range.epoch);
    stand.heartbeat = stand.heartbeat.or(other.heartbeat);
    stand
}
