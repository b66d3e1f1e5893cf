//! Where a durable consumer begins.

use std::fmt;

use crate::timestamp::Timestamp;

/// Where a durable consumer begins in the streams that it follows; decided once, when it is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Start {
    /// With what is published after the *consumer* was created. A stream that is born later is taken from its
    /// first message, however late the consumer hears of it.
    #[default]
    New,
    /// With the first message that any holder still has.
    Earliest,
    /// With the first message of this time or later.
    Time(Timestamp),
}

/// Not a place to start from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no start: `new`, `earliest` or a time such as `2026-11-23T10:00:00Z` is expected"
)]
pub struct StartError(String);

impl Start {
    /// Reads `new`, `earliest` or a time as RFC 3339 has it, offset included.
    pub fn parse(text: &str) -> Result<Start, StartError> {
        match text {
            "new" => Ok(Start::New),
            "earliest" => Ok(Start::Earliest),
            _ => time(text).map(Start::Time).ok_or_else(|| StartError(text.into())),
        }
    }
}

/// A date with time and offset: a time without an offset would mean something else on each host.
fn time(text: &str) -> Option<Timestamp> {
    let read: toml::value::Datetime = text.parse().ok()?;
    let (date, of_day) = (read.date?, read.time?);
    let offset_minutes = match read.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let minutes = 60 * i64::from(of_day.hour) + i64::from(of_day.minute) - offset_minutes;
    let seconds = 60 * minutes + i64::from(of_day.second.unwrap_or(0));
    let millis = 1_000 * seconds + i64::from(of_day.nanosecond.unwrap_or(0) / 1_000_000);
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    Some(Timestamp::from_date(year, month, day, millis))
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::New => f.write_str("new"),
            Start::Earliest => f.write_str("earliest"),
            Start::Time(time) => time.fmt(f),
        }
    }
}

impl std::str::FromStr for Start {
    type Err = StartError;
    fn from_str(text: &str) -> Result<Start, StartError> {
        Start::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_read_as_it_prints() {
        for millis in [0, 1, 1_790_000_000_123, 253_402_300_799_999] {
            let start = Start::Time(Timestamp::from_millis(millis));
            assert_eq!(Start::parse(&start.to_string()), Ok(start), "{start}");
        }
        for start in [Start::New, Start::Earliest] {
            assert_eq!(Start::parse(&start.to_string()), Ok(start));
        }
    }

    #[test]
    fn times_need_an_offset_and_anything_else_is_refused() {
        let hour_earlier = Start::Time(Timestamp::from_millis(1_790_000_000_000 - 3_600_000));
        assert_eq!(Start::parse("2026-09-21T14:13:20+01:00"), Ok(hour_earlier));
        for text in [
            "",
            "now",
            "New",
            "2026-09-21",
            "2026-09-21T14:13:20",
            "14:13:20",
            "2026-13-01T00:00:00Z",
        ] {
            let error = Start::parse(text).expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
