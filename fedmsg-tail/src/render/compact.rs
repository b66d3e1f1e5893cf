//! Long things on one short line.

use fedmsg::escape::{escape, is_hidden};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

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

/// Bytes of a body that are looked at for a line.
const BYTES_MAX: usize = 1 << 16;

/// JSON on one line for people: without white space between tokens, `\uXXXX` as the character that it
/// stands for where that can be seen, and not much longer than so many columns. Of what does not fit the
/// outermost members are shown, with `{…}` for what is inside them and with the beginnings of long strings.
pub(super) fn json(text: &str, columns: usize) -> String {
    let chars_max = CHARS_PER_COLUMN * columns + 2;
    let fits = |line: &String| line.width() <= columns;
    if let Some(whole) = Line::of(text, usize::MAX, usize::MAX, chars_max).filter(fits) {
        return whole;
    }
    let outline = |depth, string| Line::of(text, depth, string, chars_max).unwrap_or_default();
    let longest = [columns * 3 / 4, columns / 2, columns / 3, columns / 4];
    let flat = longest.into_iter().map(|string| outline(1, string)).find(fits);
    let flat = flat.unwrap_or_else(|| outline(1, columns / 4));
    // Where everything is inside of something, the line would be empty.
    if flat.width() * 2 < columns { outline(2, columns / 4) } else { flat }
}

/// JSON text on its way to a line.
#[derive(Default)]
struct Line {
    line: String,
    /// Characters of the line so far.
    count: usize,
    depth: usize,
    /// Characters of the string that is read, if one is.
    string: Option<usize>,
    /// Something is left out since the last token that is shown.
    left_out: bool,
}

impl Line {
    /// The line, with what is deeper than this, and of each string what is longer than this, left out. It
    /// ends when it has more than `chars_max` characters, or when too much was looked at; there is none when
    /// that cuts what was to be whole.
    fn of(text: &str, depth: usize, string: usize, chars_max: usize) -> Option<String> {
        let mut line = Line::default();
        let mut rest = text;
        let mut one = String::new();
        while let Some(c) = rest.chars().next() {
            if line.count > chars_max || text.len() - rest.len() > BYTES_MAX {
                return (depth < usize::MAX).then_some(line.line);
            }
            one.clear();
            let mut taken = c.len_utf8();
            match c {
                '\\' => taken = push_escape(rest, &mut one),
                c => one.push(c),
            }
            line.take(c, &one, depth, string);
            rest = rest.get(taken..).unwrap_or("");
        }
        Some(line.line)
    }

    /// Takes one character, or one escape of a string.
    fn take(&mut self, c: char, shown: &str, depth: usize, longest: usize) {
        match (&mut self.string, c) {
            (Some(_), '"') => self.string = None,
            (Some(chars), c) => {
                *chars += 1;
                let again = longest < usize::MAX && c == ' ' && self.line.ends_with(' ');
                if *chars > longest || again {
                    self.left_out |= !again && self.depth <= depth;
                    return;
                }
            }
            (None, '"') => self.string = Some(0),
            (None, ' ' | '\t' | '\r' | '\n') => return,
            (None, '{' | '[') => self.depth += 1,
            (None, '}' | ']') => self.depth = self.depth.saturating_sub(1),
            (None, _) => {}
        }
        let opens = self.string.is_none()
            && matches!(c, '{' | '[')
            && self.depth == depth.saturating_add(1);
        match self.depth <= depth || opens {
            true => self.push(shown),
            false => self.left_out = true,
        }
    }

    fn push(&mut self, shown: &str) {
        if std::mem::take(&mut self.left_out) {
            self.line.push('…');
            self.count += 1;
        }
        self.line.push_str(shown);
        self.count += 1;
    }
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

    #[test]
    fn of_what_does_not_fit_the_outermost_is_shown() {
        let x30 = "x".repeat(30);
        for (text, columns, expected) in [
            (
                r#"{"p":{"a":{"b":[1]},"c":"}{"},"l":[{"d":1}],"e":{},"f":[ ],"who":"me"}"#
                    .to_owned(),
                50,
                r#"{"p":{…},"l":[…],"e":{},"f":[],"who":"me"}"#.to_owned(),
            ),
            (
                format!(r#"{{"s":"{x30}","t":"short","n":1}}"#),
                40,
                format!(r#"{{"s":"{}…","t":"short","n":1}}"#, &x30[..13]),
            ),
            (
                r#"{"s":"a   b \u00fc   \" + \"", "pad":"01  0123"}"#.to_owned(),
                38,
                r#"{"s":"a b ü \" + \"","pad":"01 0123"}"#.to_owned(),
            ),
            (
                r#"{"only":{"a":"short","b":{"c":[1,2,3],"d":"and so on"}}}"#.to_owned(),
                50,
                r#"{"only":{"a":"short","b":{…}}}"#.to_owned(),
            ),
            (r#"[[1,2],[3,4],"and so on"]"#.to_owned(), 24, r#"[[…],[…],"and so on"]"#.to_owned()),
            (format!(r#"{{"a":"{x30}"}}"#), 30, format!(r#"{{"a":"{}…"}}"#, &x30[..15])),
        ] {
            assert_eq!(json(&text, columns), expected);
            assert_eq!(json(&expected, 500), expected, "what fits is left as it is");
        }
        let many = format!("[{}]", "[[0]],".repeat(100_000));
        assert!(json(&many, 100).chars().count() < 450);
    }
}
