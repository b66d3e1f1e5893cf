//! Ages and tables, as all commands show them.

/// Columns between which the table has space.
const SPACE: &str = "  ";

/// `0.3s`, `42s`, `7m`, `3h`, `2d`; negative when the clocks differ.
pub(crate) fn age(millis: i64) -> String {
    let (sign, millis) = (if millis < 0 { "-" } else { "" }, millis.unsigned_abs());
    match millis / 1000 {
        0..10 => format!("{sign}{}.{}s", millis / 1000, millis % 1000 / 100),
        seconds @ 10..120 => format!("{sign}{seconds}s"),
        seconds @ 120..7_200 => format!("{sign}{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{sign}{}h", seconds / 3_600),
        seconds => format!("{sign}{}d", seconds / 86_400),
    }
}

/// Lines with aligned columns; nothing is behind the last one.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join(SPACE).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (millis, text) in [
            (0, "0.0s"),
            (340, "0.3s"),
            (9_999, "9.9s"),
            (42_000, "42s"),
            (420_000, "7m"),
            (10_800_000, "3h"),
            (172_800_000, "2d"),
            (-1_200, "-1.2s"),
        ] {
            assert_eq!(age(millis), text);
        }
    }
}
