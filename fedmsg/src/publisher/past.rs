//! What was published before this process, under identifiers that callers may use again.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Clock;
use crate::dedup::MsgIds;
use crate::envelope::Epoch;
use crate::journal::{Body, Entry, JournalError, Range, Reader};
use crate::limits::{
    JOURNAL_BATCH_BYTES_MAX, JOURNAL_BATCH_RECORDS_MAX, MSG_ID_MS_MAX, MSG_IDS_MAX,
};
use crate::timestamp::Timestamp;

/// The journal of a stream, until somebody publishes under an identifier of his own. Most services never do, and
/// reading it takes a moment (measured: 0.3 s for 100,000 messages of 1 KB, 1 s for those of 10 KB), so it is not
/// read when a publisher starts.
pub(crate) struct Past(pub(crate) Reader);

impl Past {
    /// Puts what is in the journal into `ids`: the newest 100,000 messages of 24 hours, whether their callers
    /// gave the identifiers or not, which a record does not show. `now` is the time of `ids` in milliseconds,
    /// `wall` that of the day.
    pub(crate) fn recall(mut self, ids: &mut MsgIds, now: i64, wall: Timestamp) {
        let clock = Clock::start();
        let mut messages = 0_u64;
        let read = self.read(wall, |epoch, entry| {
            messages += 1;
            let age = wall.millis_since(entry.time).max(0);
            recall(ids, epoch, entry, now.saturating_sub(age));
        });
        let took_ms = clock.millis();
        match read {
            Ok(()) => tracing::debug!(messages, took_ms, "read which identifiers are in use"),
            Err(error) => tracing::warn!(%error, messages,
                "the journal does not show all identifiers that are in use: a message that is published again may appear twice"),
        }
    }

    /// Every record from 24 hours ago on, the oldest first, or fewer.
    fn read(
        &mut self,
        wall: Timestamp,
        mut each: impl FnMut(Epoch, Entry),
    ) -> Result<(), JournalError> {
        let since = wall.as_millis().saturating_sub(MSG_ID_MS_MAX as i64);
        let Some((epoch, i)) = self.0.find(Timestamp::from_millis(since))? else { return Ok(()) };
        for Range { epoch, first, last } in newest(&self.0.ranges()?, (epoch, i)) {
            let mut from = first;
            while from <= last {
                let (records, bytes) = (JOURNAL_BATCH_RECORDS_MAX, JOURNAL_BATCH_BYTES_MAX);
                let batch = self.0.read(epoch, from, last, records, bytes)?;
                batch.entries.into_iter().for_each(|entry| each(epoch, entry));
                if batch.upto < from {
                    break;
                }
                from = batch.upto + 1;
            }
        }
        Ok(())
    }
}

/// The newest so many messages of these epochs, none before this place.
fn newest(ranges: &[Range], (epoch, i): (Epoch, u64)) -> Vec<Range> {
    let mut left = MSG_IDS_MAX as u64;
    let mut newest = Vec::new();
    for range in ranges.iter().rev().take_while(|range| range.epoch >= epoch) {
        let start = if range.epoch == epoch { i } else { 0 };
        let first = range.first.max(start).max((range.last + 1).saturating_sub(left)).max(1);
        left -= (range.last + 1).saturating_sub(first);
        newest.push(Range { first, ..*range });
    }
    newest.reverse();
    newest
}

fn recall(ids: &mut MsgIds, epoch: Epoch, entry: Entry, at: i64) {
    #[derive(Deserialize)]
    struct Remembered<'a> {
        #[serde(borrow)]
        msg_id: Cow<'a, str>,
        #[serde(borrow)]
        msg: &'a RawValue,
    }
    let Body::Record(wire) = &entry.body else { return };
    let Ok(topic) = std::str::from_utf8(&wire.topic) else { return };
    if let Ok(Remembered { msg_id, msg }) = serde_json::from_slice(&wire.envelope) {
        ids.recall(&msg_id, (topic, msg.get()), (epoch, entry.i), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_hundred_thousand_of_all_epochs_are_read_and_nothing_that_is_older() {
        let epoch = |n: u128| Epoch::new(uuid::Uuid::from_u128(n));
        let range = |n, first, last| Range { epoch: epoch(n), first, last };
        for (ranges, from, expected) in [
            (vec![range(1, 0, 9)], (1, 0), vec![(1, 1, 9)]),
            (vec![range(1, 0, 9)], (1, 4), vec![(1, 4, 9)]),
            (vec![range(1, 5, 9), range(2, 0, 3)], (1, 2), vec![(1, 5, 9), (2, 1, 3)]),
            (vec![range(1, 5, 9), range(2, 0, 3)], (2, 2), vec![(2, 2, 3)]),
            (vec![range(1, 0, 500_000)], (1, 7), vec![(1, 400_001, 500_000)]),
            (
                vec![range(1, 0, 500_000), range(2, 0, 40_000)],
                (1, 7),
                vec![(1, 440_001, 500_000), (2, 1, 40_000)],
            ),
        ] {
            let found = newest(&ranges, (epoch(from.0), from.1));
            let found: Vec<_> = found.iter().map(|r| (r.epoch, r.first, r.last)).collect();
            let expected: Vec<_> =
                expected.into_iter().map(|(e, first, last)| (epoch(e), first, last)).collect();
            assert_eq!(found, expected);
        }
    }
}
