//! Durations as people write them: `250ms`, `10s`, `2m`, `1h30m`.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration: numbers with units are expected, such as 250ms, 10s, 2m or 1h30m")]
pub struct DurationError(String);

/// Reads a duration. The units are `ms s m h d`; a decimal point is allowed.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let bad = || DurationError(text.into());
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_ends = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(bad)?;
        let (number, behind) = rest.split_at(number_ends);
        let unit_ends = behind.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_ends);
        let number: f64 = number.parse().map_err(|_| bad())?;
        let seconds = number * unit_seconds(unit).ok_or_else(bad)?;
        let part = Duration::try_from_secs_f64(seconds).map_err(|_| bad())?;
        total = total.checked_add(part).ok_or_else(bad)?;
        rest = behind;
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_or_refused() {
        for (text, millis) in [
            ("250ms", Some(250)),
            ("10s", Some(10_000)),
            ("0s", Some(0)),
            ("1.5s", Some(1_500)),
            ("2m", Some(120_000)),
            ("1h30m", Some(5_400_000)),
            ("1d", Some(86_400_000)),
            ("", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1 s", None),
            ("1y", None),
            ("1..5s", None),
            ("99999999999999999999999999d", None),
        ] {
            assert_eq!(parse(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
    }
}
