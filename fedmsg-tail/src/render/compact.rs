//! Long things on one short line.

use fedmsg::escape::{escape, is_hidden};
use unicode_width::UnicodeWidthChar;

/// Characters without a width of their own pile up on the one before: at most so many for each column.
const CHARS_PER_COLUMN: usize = 4;

/// The text, escaped, and cut to so many columns with `…`.
pub(super) fn cut(text: &str, columns: usize) -> String {
    // Escaping only lengthens: what is beyond this would be cut.
    let end = text.char_indices().nth(CHARS_PER_COLUMN * columns + 1);
    let text = end.map_or(text, |(end, _)| &text[..end]);
    let escaped = escape(text).to_string();
    let mut width = 0;
    let mut cut_at = 0;
    for (count, (at, c)) in escaped.char_indices().enumerate() {
        if width < columns {
            cut_at = at;
        }
        width += c.width().unwrap_or(1);
        if width > columns || count > CHARS_PER_COLUMN * columns {
            return format!("{}…", &escaped[..cut_at]);
        }
    }
    escaped
}

/// JSON on one line for people: without white space between tokens, `\uXXXX` as the character that it
/// stands for where that can be seen, and not much longer than so many columns.
pub(super) fn json(text: &str, columns: usize) -> String {
    let chars_max = CHARS_PER_COLUMN * columns + 2;
    let mut line = String::new();
    let mut count = 0;
    let mut in_string = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if count > chars_max {
            break;
        }
        let mut taken = c.len_utf8();
        match c {
            '\\' => taken = push_escape(rest, &mut line),
            '"' => {
                in_string = !in_string;
                line.push(c);
            }
            ' ' | '\t' | '\r' | '\n' if !in_string => {}
            c => line.push(c),
        }
        count += 1;
        rest = rest.get(taken..).unwrap_or("");
    }
    line
}

/// Adds one escape of a JSON string and says how long it was written.
fn push_escape(rest: &str, line: &mut String) -> usize {
    if let Some((c, taken)) = unicode_escape(rest)
        && !is_hidden(c)
        && c != '"'
        && c != '\\'
    {
        line.push(c);
        return taken;
    }
    let taken = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
    line.push_str(&rest[..taken]);
    taken
}

/// The character that `\uXXXX`, or a pair of them, stands for.
fn unicode_escape(rest: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(0)?;
    if let Some(c) = char::from_u32(first.into()) {
        return Some((c, 6));
    }
    let pair = [first, unit(6)?];
    let c = char::decode_utf16(pair).next()?.ok()?;
    Some((c, 12))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn text_is_cut_by_columns() {
        for (text, columns, expected) in [
            ("short", 10, "short"),
            ("exactly10c", 10, "exactly10c"),
            ("eleven char", 10, "eleven ch…"),
            ("世界世界世界", 6, "世界…"),
            ("a\nb\u{1b}[0m", 20, r"a\nb\u{1b}[0m"),
            ("", 5, ""),
        ] {
            assert_eq!(cut(text, columns), expected);
            assert!(cut(text, columns).width() <= columns, "{text}");
        }
        let piled = "e".to_owned() + &"\u{301}".repeat(100_000);
        assert!(cut(&piled, 80).chars().count() < 400);
        assert!(cut(&"\u{202e}".repeat(100_000), 80).width() <= 80);
    }

    #[test]
    fn json_is_compacted_and_readable() {
        for (text, expected) in [
            ("{ \"a\" : [1, 2],\t\"b c\": \" d \" }", r#"{"a":[1,2],"b c":" d "}"#),
            (r#"{"a":"\u00fc\ud83d\ude00"}"#, r#"{"a":"ü😀"}"#),
            (r#"{"a":"\u202e\u0022\n\\u00fc\""}"#, r#"{"a":"\u202e\u0022\n\\u00fc\""}"#),
            (r#"{"a":"\ud83d"#, r#"{"a":"\ud83d"#),
            (r#"{"a":"\"#, r#"{"a":"\"#),
            (r#"{"a":"\ü"#, r#"{"a":"\ü"#),
        ] {
            assert_eq!(json(text, 100), expected);
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
        assert!(json(&long, 100).len() < 500);
    }
}
