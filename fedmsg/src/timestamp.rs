//! Points in time, as messages carry them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC; on the wire a number of seconds with at most three decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The year 9999 ends here; anything beyond is refused.
    const SECONDS_MAX: f64 = 253_402_300_799.0;

    /// From milliseconds since 1970.
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    /// From seconds since 1970, rounded to milliseconds; `None` when not finite, or beyond the year 9999
    /// in either direction.
    pub fn from_seconds(seconds: f64) -> Option<Timestamp> {
        let fits = seconds.is_finite() && seconds.abs() <= Timestamp::SECONDS_MAX;
        fits.then(|| Timestamp((seconds * 1000.0).round() as i64))
    }

    /// From a date in UTC and the milliseconds since its midnight.
    pub(crate) fn from_date(year: i64, month: i64, day: i64, millis_of_day: i64) -> Timestamp {
        // Years begin on the first of March here, so that the leap day is the last one of a year.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let day_of_year = (153 * month + 2) / 5 + day - 1;
        let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        let days = year * 365 + leap_days + day_of_year - 719_468;
        Timestamp(days * 86_400_000 + millis_of_day)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds since 1970.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Milliseconds from the other time to this one; negative when the other is later.
    pub const fn millis_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time of the system's clock type.
    pub fn to_system_time(self) -> SystemTime {
        let distance = Duration::from_millis(self.0.unsigned_abs());
        if self.0 >= 0 { UNIX_EPOCH + distance } else { UNIX_EPOCH - distance }
    }

    /// The year in UTC: what a `msg_id` begins with.
    pub fn year(self) -> i64 {
        self.date().0
    }

    /// Year, month, day in UTC, by counting days in the proleptic Gregorian calendar.
    fn date(self) -> (i64, i64, i64) {
        // Days since 0000-03-01, so that the leap day is the last one of a year.
        let days = self.0.div_euclid(86_400_000) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (year_of_era + era * 400 + i64::from(month <= 2), month, day)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Timestamp(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        })
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds: `2026-11-23T10:00:00.123Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let of_day = self.0.rem_euclid(86_400_000);
        let (hours, minutes) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let (seconds, millis) = (of_day / 1000 % 60, of_day % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_in_utc() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (1_790_000_000_123, "2026-09-21T14:13:20.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(millis).to_string(), text);
        }
    }

    #[test]
    fn dates_are_read_as_they_print() {
        for millis in (-2_000_000_000_000..4_000_000_000_000_i64).step_by(77_777_777_777) {
            let time = Timestamp(millis);
            let (year, month, day) = time.date();
            let of_day = millis.rem_euclid(86_400_000);
            assert_eq!(Timestamp::from_date(year, month, day, of_day), time, "{time}");
        }
    }

    #[test]
    fn seconds_are_rounded_and_bounded() {
        assert_eq!(Timestamp::from_seconds(1_790_000_000.123), Some(Timestamp(1_790_000_000_123)));
        for bad in [f64::NAN, f64::INFINITY, 1e300, -1e300] {
            assert_eq!(Timestamp::from_seconds(bad), None);
        }
    }
}
