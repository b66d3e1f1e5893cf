//! The records of one append as they are written, and those of one that failed.

use super::error::JournalError;
use super::format::{encode_record, refusal};
use super::record::Numbered;
use super::scan::{Place, Scan};
use crate::envelope::Epoch;
use crate::limits::{JOURNAL_BATCH_BYTES_MAX, JOURNAL_BATCH_RECORDS_MAX};
use crate::merkle::Leaf;
use crate::timestamp::Timestamp;

/// One append.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) epoch: Epoch,
    pub(super) first: u64,
    pub(super) last: u64,
    /// The leaf of the last record.
    pub(super) leaf: Leaf,
    pub(super) time: Timestamp,
    pub(super) bytes: Vec<u8>,
    /// Where each record ends in the bytes.
    pub(super) ends: Vec<usize>,
}

impl Batch {
    /// Records whose numbers are known to be dense.
    pub(super) fn new(
        epoch: Epoch,
        records: &[Numbered],
        time: Timestamp,
    ) -> Result<Batch, JournalError> {
        let wrong_count = JournalError::BatchCount { records: records.len() };
        let [first, ..] = records else { return Err(wrong_count) };
        let Some(count) = u16::try_from(records.len())
            .ok()
            .filter(|count| usize::from(*count) <= JOURNAL_BATCH_RECORDS_MAX)
        else {
            return Err(wrong_count);
        };
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(records.len()));
        for (index, record) in (0..count).zip(records) {
            if let Some(why) = refusal(record) {
                return Err(JournalError::Record { i: record.i, why });
            }
            encode_record(&mut bytes, epoch, time, (index, count), record);
            ends.push(bytes.len());
            if bytes.len() > JOURNAL_BATCH_BYTES_MAX {
                let (bytes, most) = (bytes.len(), JOURNAL_BATCH_BYTES_MAX);
                return Err(JournalError::BatchBytes { bytes, most });
            }
        }
        let last = &records[records.len() - 1];
        let leaf = last.body.leaf().ok_or_else(|| not_an_envelope(last.i))?;
        Ok(Batch { epoch, first: first.i, last: last.i, leaf, time, bytes, ends })
    }

    /// Takes note of the records where a segment ends.
    pub(super) fn note(&self, scan: &mut Scan) {
        let start = scan.at;
        let mut at = start;
        for (i, end) in (self.first..).zip(&self.ends) {
            let end = start + *end as u64;
            scan.note(Place { i, at, time: self.time }, end);
            at = end;
        }
        scan.records += self.ends.len() as u64;
    }
}

fn not_an_envelope(i: u64) -> JournalError {
    JournalError::Record { i, why: "not an envelope".into() }
}

/// Records that may be on disk although their append failed. A reader may have handed them on, so their
/// numbers cannot get another content.
#[derive(Clone, Debug)]
pub(super) struct Unproven {
    pub(super) epoch: Epoch,
    pub(super) first: u64,
    leaves: Vec<Option<Leaf>>,
}

impl Unproven {
    pub(super) fn of(batch: &Batch, records: &[Numbered]) -> Unproven {
        let leaves = records.iter().map(|record| record.body.leaf()).collect();
        Unproven { epoch: batch.epoch, first: batch.first, leaves }
    }

    /// A repeated append may have had more records than the first one.
    pub(super) fn extend(&mut self, batch: &Batch, records: &[Numbered]) {
        let known = (self.first + self.leaves.len() as u64).saturating_sub(batch.first);
        let more = records.iter().skip(usize::try_from(known).unwrap_or(usize::MAX));
        self.leaves.extend(more.map(|record| record.body.leaf()));
    }

    /// Whether these are the same records, where the numbers are the same.
    pub(super) fn check(&self, records: &[Numbered]) -> Result<(), JournalError> {
        let differs = |record: &Numbered| {
            let at = usize::try_from(record.i.checked_sub(self.first)?).ok()?;
            let known = self.leaves.get(at)?;
            Some(known.is_none() || *known != record.body.leaf())
        };
        if records.iter().any(|record| differs(record) == Some(true)) {
            let (from, to) = self.range();
            return Err(JournalError::Indeterminate { epoch: self.epoch, from, to });
        }
        Ok(())
    }

    /// Those that are still open when everything up to this number is durable.
    pub(super) fn behind(mut self, last: u64) -> Option<Unproven> {
        let proven = usize::try_from((last + 1).saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.leaves.drain(..proven.min(self.leaves.len()));
        self.first = last + 1;
        (!self.leaves.is_empty()).then_some(self)
    }

    pub(super) fn range(&self) -> (u64, u64) {
        (self.first, (self.first + self.leaves.len() as u64).saturating_sub(1))
    }
}
