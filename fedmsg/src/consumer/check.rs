//! What every store checks before it does anything.

use super::{Failure, Position, StoreError};
use crate::limits::{
    ENVELOPE_BYTES_MAX, ERROR_TEXT_BYTES_MAX, LEASE_MS_MAX, NUMBER_MAX, OWNER_BYTES_MAX,
    STORE_BATCH_MAX,
};
use crate::timestamp::Timestamp;

fn at_most(what: &'static str, value: u64, bound: u64) -> Result<(), StoreError> {
    if value <= bound { Ok(()) } else { Err(StoreError::OutOfBounds { what, value, bound }) }
}

/// The rows of one call.
pub(crate) fn batch(rows: usize) -> Result<(), StoreError> {
    at_most("rows in one call to a store", rows as u64, STORE_BATCH_MAX as u64)
}

pub(crate) fn number(i: u64) -> Result<(), StoreError> {
    at_most("number of a message", i, NUMBER_MAX)
}

pub(crate) fn positions<'a>(
    positions: impl ExactSizeIterator<Item = &'a Position>,
) -> Result<(), StoreError> {
    batch(positions.len())?;
    for position in positions {
        number(position.i)?;
    }
    Ok(())
}

pub(crate) fn claim(owner: &str, lease_ms: u64) -> Result<(), StoreError> {
    at_most("bytes in the name of an owner", owner.len() as u64, OWNER_BYTES_MAX as u64)?;
    at_most("milliseconds of a lease", lease_ms.max(1), LEASE_MS_MAX)?;
    if owner.is_empty() || owner.chars().any(char::is_control) {
        return Err(StoreError::BadOwner(owner.into()));
    }
    Ok(())
}

pub(crate) fn failure(failure: &Failure) -> Result<(), StoreError> {
    let bytes = failure.envelope.len() as u64;
    at_most("bytes in an envelope", bytes, ENVELOPE_BYTES_MAX as u64)?;
    number(failure.position.i)
}

/// The text of an error as it is kept: bounded, and without NUL, which PostgreSQL does not take.
pub(crate) fn error_text(text: &str) -> String {
    let mut end = text.len().min(ERROR_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut kept = String::with_capacity(end);
    for character in text[..end].chars() {
        kept.push(if character == '\0' { ' ' } else { character });
    }
    kept
}

/// When a lease of this length ends.
pub(crate) fn lease_end(now: Timestamp, lease_ms: u64) -> Timestamp {
    let length = i64::try_from(lease_ms.max(1)).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_add(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_errors_are_cut_at_a_character() {
        let text = format!("{}é", "x".repeat(ERROR_TEXT_BYTES_MAX - 1));
        assert_eq!(error_text(&text), "x".repeat(ERROR_TEXT_BYTES_MAX - 1));
        assert_eq!(error_text("no\0such"), "no such");
    }

    #[test]
    fn owners_and_leases_are_bounded() {
        assert_eq!(claim("host 1", LEASE_MS_MAX), Ok(()));
        assert_eq!(claim("a\nb", 1), Err(StoreError::BadOwner("a\nb".into())));
        assert_eq!(claim("", 1), Err(StoreError::BadOwner(String::new())));
        assert!(matches!(claim("a", LEASE_MS_MAX + 1), Err(StoreError::OutOfBounds { .. })));
        assert!(matches!(claim(&"a".repeat(256), 1), Err(StoreError::OutOfBounds { .. })));
    }
}
