//! Places among what there is of a stream.

use crate::delivered::Point;
use crate::journal::Range;

/// Whether the record is among these.
#[cfg(feature = "net")]
pub(crate) fn has(ranges: &[Range], point: Point) -> bool {
    let epoch = ranges.iter().find(|range| range.epoch == point.epoch);
    epoch.is_some_and(|range| (range.first..=range.last).contains(&point.i))
}

/// The first record at this place or behind it.
pub(super) fn place_at(ranges: &[Range], from: Point) -> Option<Point> {
    let range = ranges.iter().find(|range| {
        range.epoch > from.epoch || (range.epoch == from.epoch && range.last >= from.i)
    })?;
    let i = if range.epoch == from.epoch { from.i.max(range.first) } else { range.first };
    Some(Point { epoch: range.epoch, i })
}

/// The first record behind this place; the first of all where there is none.
pub(crate) fn place_after(ranges: &[Range], after: Option<Point>) -> Option<Point> {
    match after {
        Some(Point { epoch, i }) => place_at(ranges, Point { epoch, i: i + 1 }),
        None => ranges.first().map(|range| Point { epoch: range.epoch, i: range.first }),
    }
}

/// How many messages lie behind this place; genesis records are none.
pub(crate) fn count_after(ranges: &[Range], after: Option<Point>) -> u64 {
    let behind = |range: &Range| match after {
        Some(point) if range.epoch < point.epoch => 0,
        Some(point) if range.epoch == point.epoch => {
            (range.last + 1).saturating_sub(range.first.max(point.i + 1).max(1))
        }
        _ => (range.last + 1).saturating_sub(range.first.max(1)),
    };
    ranges.iter().map(behind).sum()
}
