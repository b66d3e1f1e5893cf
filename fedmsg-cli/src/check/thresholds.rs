//! From where on it is a warning, and from where on critical.

use std::time::Duration;

use fedmsg_tool::duration::{self, DurationError};

use super::finding::Grade;

/// How far a consumer may be behind: messages, a time, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LagBound {
    messages: Option<u64>,
    age: Option<Duration>,
}

impl LagBound {
    /// Reads `1000`, `10m`, or `1000,10m`.
    pub(super) fn parse(text: &str) -> Result<LagBound, DurationError> {
        let mut bound = LagBound::default();
        for part in text.split(',') {
            match part.parse() {
                Ok(messages) => bound.messages = Some(messages),
                Err(_) => bound.age = Some(duration::parse(part)?),
            }
        }
        Ok(bound)
    }

    /// Whether this is more; a time of messages that nobody gave counts as none.
    pub(super) fn is_passed(&self, messages: u64, age: Option<Duration>) -> bool {
        let too_many = self.messages.is_some_and(|most| messages > most);
        let too_old = self.age.zip(age).is_some_and(|(most, age)| messages > 0 && age > most);
        too_many || too_old
    }
}

/// How much space has to be free: a part of the file system, or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Percent(u64),
    Bytes(u64),
}

/// Why a text is no space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no space: `10%` is expected, or bytes such as 500MiB or 5GiB")]
pub(super) struct SpaceError(String);

impl Space {
    /// Reads `10%`, `500MiB`, `5GiB`, `1TiB`, `1048576`.
    pub(super) fn parse(text: &str) -> Result<Space, SpaceError> {
        let bad = || SpaceError(text.into());
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.parse().ok().filter(|percent| *percent <= 100);
            return percent.map(Space::Percent).ok_or_else(bad);
        }
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("", 0)];
        let unit =
            units.into_iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, bits)));
        let (number, bits) = unit.ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        number.checked_mul(1 << bits).map(Space::Bytes).ok_or_else(bad)
    }

    /// Whether less is free.
    pub(super) fn is_missing(self, free: u64, all: u64) -> bool {
        match self {
            Space::Bytes(least) => free < least,
            Space::Percent(least) => u128::from(free) * 100 < u128::from(all) * u128::from(least),
        }
    }
}

/// How bad it is when these are passed.
pub(super) fn grade(is_warning: bool, is_critical: bool) -> Grade {
    match (is_warning, is_critical) {
        (_, true) => Grade::Critical,
        (true, false) => Grade::Warning,
        (false, false) => Grade::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_messages_or_a_time_or_both() {
        let of = |text| LagBound::parse(text).expect("a bound");
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (text, messages, age, is_passed) in [
            ("1000", 1_000, seconds(9_999), false),
            ("1000", 1_001, None, true),
            ("10m", 1, seconds(600), false),
            ("10m", 1, seconds(601), true),
            ("10m", 1_000_000, None, false),
            ("10m", 0, seconds(601), false),
            ("5,10m", 6, seconds(1), true),
            ("10m,5", 3, seconds(601), true),
        ] {
            assert_eq!(of(text).is_passed(messages, age), is_passed, "{text} {messages} {age:?}");
        }
        for bad in ["", "x", "-1", "1,2x"] {
            assert!(LagBound::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn space_is_a_part_or_bytes() {
        for (text, space) in [
            ("10%", Some(Space::Percent(10))),
            ("4096", Some(Space::Bytes(4_096))),
            ("2MiB", Some(Space::Bytes(2 << 20))),
            ("5GiB", Some(Space::Bytes(5 << 30))),
            ("101%", None),
            ("-1%", None),
            ("5GB", None),
            ("99999999999TiB", None),
            ("", None),
        ] {
            assert_eq!(Space::parse(text).ok(), space, "{text}");
        }
        assert!(Space::Percent(10).is_missing(9, 100) && !Space::Percent(10).is_missing(10, 100));
        assert!(Space::Bytes(10).is_missing(9, 100) && !Space::Bytes(10).is_missing(10, 100));
        assert!(!Space::Percent(0).is_missing(0, 0));
    }
}
