//! Going through the records of a journal, and which ones.

use clap::Args;
use fedmsg::envelope::Epoch;
use fedmsg::journal::{Damage, Entry, JournalError, Range, Reader};

use super::Error;

/// Records that are read at once.
const RECORDS: usize = 256;
/// Bytes that are read at once.
const BYTES: usize = 4 << 20;

/// Which records of a journal.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Part {
    /// Of this epoch alone [default: all; the newest one with --from or --to]
    #[arg(long, value_name = "EPOCH", value_parser = epoch)]
    pub(super) epoch: Option<Epoch>,

    /// From this number on; 0 is the record that opens the epoch
    #[arg(long, value_name = "NUMBER")]
    pub(super) from: Option<u64>,

    /// Up to this number
    #[arg(long, value_name = "NUMBER")]
    pub(super) to: Option<u64>,
}

pub(crate) fn epoch(text: &str) -> Result<Epoch, String> {
    Epoch::parse(text).ok_or_else(|| "an epoch is a UUID, as `fedmsg journal list` shows it".into())
}

impl Part {
    /// The numbers that are meant, of those that are there.
    pub(super) fn of(&self, ranges: &[Range]) -> Result<Vec<Range>, Error> {
        let newest = ranges.last().map(|range| range.epoch);
        let is_part = self.from.is_some() || self.to.is_some();
        let wanted = self.epoch.or(newest.filter(|_| is_part));
        let cut = |range: &Range| Range {
            epoch: range.epoch,
            first: range.first.max(self.from.unwrap_or(0)),
            last: range.last.min(self.to.unwrap_or(u64::MAX)),
        };
        let meant = ranges.iter().filter(|range| wanted.is_none_or(|wanted| wanted == range.epoch));
        let meant: Vec<Range> = meant.map(cut).filter(|range| range.first <= range.last).collect();
        if meant.is_empty() { Err(Error::NothingThere) } else { Ok(meant) }
    }
}

/// What stands at a number, or that it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Entry(Entry),
    Hole(Damage),
}

/// Calls `each` for what is in the range, in order, until it says `false`.
pub(super) fn walk<E: From<JournalError>>(
    reader: &mut Reader,
    range: &Range,
    mut each: impl FnMut(Found) -> Result<bool, E>,
) -> Result<(), E> {
    let mut next = range.first;
    while next <= range.last {
        let batch = reader.read(range.epoch, next, range.last, RECORDS, BYTES)?;
        let entries = batch.entries.into_iter().map(|entry| (entry.i, Found::Entry(entry)));
        let holes = batch.holes.into_iter().map(|hole| (hole.from, Found::Hole(hole)));
        let mut found: Vec<(u64, Found)> = entries.chain(holes).collect();
        found.sort_by_key(|(i, _)| *i);
        for (_, found) in found {
            if !each(found)? {
                return Ok(());
            }
        }
        if !batch.more || batch.upto < next {
            return Ok(());
        }
        next = batch.upto + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_out_of_what_is_there() {
        let name = |n: u8| {
            Epoch::parse(&format!("00000000-0000-7000-8000-0000000000{n:02x}")).expect("an epoch")
        };
        let range = |n, first, last| Range { epoch: name(n), first, last };
        let there = [range(1, 5, 9), range(2, 0, 30)];
        let part = |epoch: Option<u8>, from, to| Part { epoch: epoch.map(name), from, to };
        for (part, expected) in [
            (part(None, None, None), there.to_vec()),
            (part(Some(1), None, None), vec![range(1, 5, 9)]),
            (part(Some(1), Some(2), Some(7)), vec![range(1, 5, 7)]),
            (part(None, Some(10), None), vec![range(2, 10, 30)]),
            (part(None, None, Some(0)), vec![range(2, 0, 0)]),
        ] {
            assert_eq!(part.of(&there).expect("there"), expected, "{part:?}");
        }
        for part in
            [part(Some(3), None, None), part(None, Some(31), None), part(Some(1), None, Some(4))]
        {
            assert!(matches!(part.of(&there), Err(Error::NothingThere)), "{part:?}");
        }
        assert!(epoch("x").is_err());
    }
}
