//! Times as people write them on a command line: how long ago, or when. Pure: now and the zone are arguments.

use std::time::Duration;

use fedmsg::timestamp::Timestamp;
use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A moment of the past, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// So long ago.
    Ago(Duration),
    /// At this time, whatever the zone here is.
    At(Timestamp),
    /// When clocks here showed this.
    Local(DateTime),
}

/// Why a text is no moment of the past.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhenError {
    /// It cannot be read.
    #[error(
        "`{0}` is no time: write how long ago, such as 30m, 2h or 7d, or when, such as 2026-11-23, 2026-11-23T10:00 (by the clock here), 2026-11-23T10:00Z or 2026-11-23T10:00+01:00"
    )]
    Unknown(String),
    /// It has not come yet.
    #[error("{0} has not come yet: give a time of the past")]
    Future(Timestamp),
    /// It is out of the range of times.
    #[error("the time is too far away")]
    TooFar,
}

impl When {
    /// Reads it.
    pub fn parse(text: &str) -> Result<When, WhenError> {
        if let Ok(ago) = fedmsg_tool::duration::parse(text) {
            return Ok(When::Ago(ago));
        }
        // First what names its zone: the local form would read past it.
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Ok(When::At(Timestamp::from_millis(time.as_millisecond())));
        }
        if let Ok(time) = text.parse::<Zoned>() {
            return Ok(When::At(Timestamp::from_millis(time.timestamp().as_millisecond())));
        }
        // So long, a name in front of the colon is the hour, and nothing is a zone that was not understood.
        let is_local = text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.T ".contains(&byte));
        match text.parse::<DateTime>() {
            Ok(time) if is_local => Ok(When::Local(time)),
            _ => Err(WhenError::Unknown(text.into())),
        }
    }

    /// The moment.
    pub fn resolve(&self, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, WhenError> {
        let time = match self {
            When::Ago(ago) => {
                let ago = i64::try_from(ago.as_millis()).map_err(|_| WhenError::TooFar)?;
                now.as_millis().checked_sub(ago).ok_or(WhenError::TooFar)?
            }
            When::At(time) => time.as_millis(),
            When::Local(time) => {
                let zoned = time.to_zoned(zone.clone()).map_err(|_| WhenError::TooFar)?;
                zoned.timestamp().as_millisecond()
            }
        };
        let time = Timestamp::from_millis(time);
        if time > now { Err(WhenError::Future(time)) } else { Ok(time) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    /// Two hours before UTC shows the same.
    fn zone() -> TimeZone {
        TimeZone::fixed(jiff::tz::offset(2))
    }

    #[test]
    fn times_are_read_in_many_forms() {
        // 2026-09-21T14:13:20.123Z, which is 16:13 here.
        for (text, ago_seconds) in [
            ("0s", 0),
            ("2h", 7_200),
            ("1h30m", 5_400),
            ("7d", 7 * 86_400),
            ("2026-09-21T14:13:20Z", 0),
            ("2026-09-21T14:03:20Z", 600),
            ("2026-09-21T16:03:20+02:00", 600),
            ("2026-09-21T10:03:20-04:00", 600),
            ("2026-09-21T16:03:20+02:00[Europe/Berlin]", 600),
            ("2026-09-21T16:03:20", 600),
            ("2026-09-21 16:03:20", 600),
            ("2026-09-21T16:13", 20),
            ("2026-09-21", 16 * 3_600 + 13 * 60 + 20),
        ] {
            let when = When::parse(text).unwrap_or_else(|error| panic!("{error}"));
            let time = when.resolve(NOW, &zone()).expect("a moment");
            assert_eq!(NOW.millis_since(time) / 1_000, ago_seconds, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        for text in ["yesterday", "", "2", "-2h", "2026-13-01", "10:00", "2026-09-21T10:00 CET"] {
            let error = When::parse(text).expect_err(text).to_string();
            assert!(error.contains("2h") && error.contains("2026-11-23T10:00Z"), "{error}");
        }
    }

    #[test]
    fn what_has_not_come_is_refused() {
        for text in ["2026-09-21T14:13:21Z", "2026-09-21T17:00", "2300-01-01"] {
            let when = When::parse(text).expect(text);
            let error = when.resolve(NOW, &zone()).expect_err(text);
            assert!(matches!(error, WhenError::Future(_)), "{text}: {error}");
        }
        let far = When::Ago(Duration::MAX).resolve(NOW, &zone());
        assert_eq!(far, Err(WhenError::TooFar));
    }
}
