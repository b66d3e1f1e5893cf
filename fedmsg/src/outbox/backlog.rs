//! A journal as what is still to be delivered.

use crate::delivered::Point;
use crate::delivery::Backlog;
use crate::envelope::Wire;
use crate::journal::{Body, JournalError, Range, Reader};

impl Backlog for Reader {
    fn ranges(&mut self) -> Result<Vec<Range>, JournalError> {
        Reader::ranges(self)
    }

    fn read(
        &mut self,
        from: Point,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<(u64, Wire)>, JournalError> {
        let Point { epoch, mut i } = from;
        loop {
            let batch = match Reader::read(self, epoch, i, u64::MAX, records, bytes) {
                // Given up since it was looked: some relay has it.
                Err(JournalError::Trimmed { first, .. }) if first > i => {
                    i = first;
                    continue;
                }
                Err(JournalError::UnknownEpoch(_)) => return Ok(Vec::new()),
                batch => batch?,
            };
            let whole = |entry: crate::journal::Entry| match entry.body {
                Body::Record(wire) => Some((entry.i, wire)),
                Body::Gone { .. } => None,
            };
            let found: Vec<_> = batch.entries.into_iter().filter_map(whole).collect();
            if !found.is_empty() || batch.upto < i || !batch.more {
                return Ok(found);
            }
            i = batch.upto + 1;
        }
    }
}
