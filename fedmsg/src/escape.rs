//! What people see: text from the wire with everything made visible that a terminal would obey or hide.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Whether a terminal could obey this character, hide it, or show the ones around it in another order:
/// controls, bidirectional and other format characters, line separators, tags, private use, and what is no
/// character at all.
pub fn is_hidden(c: char) -> bool {
    match u32::from(c) {
        // Nearly everything that is seen.
        0x20..=0x7E | 0xA0..=0xAC | 0xAE..=0x34E => false,
        // C0, DEL and C1; the soft hyphen.
        0x00..=0x1F | 0x7F..=0x9F | 0xAD => true,
        // The grapheme joiner; Arabic, Syriac, Kaithi format characters; fillers that look like a space.
        0x34F | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2 => true,
        0x110BD | 0x110CD | 0x115F..=0x1160 | 0x3164 | 0xFFA0 => true,
        // Khmer vowels that are not drawn, Mongolian selectors and vowel separator.
        0x17B4..=0x17B5 | 0x180B..=0x180F => true,
        // Zero width, left and right marks; separators; embeddings and overrides; joiners and isolates.
        0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F => true,
        // Surrogates are no `char`; private use, which every font draws as it likes.
        0xE000..=0xF8FF | 0xF_0000..=0x10_FFFF => true,
        // Variation selectors, the byte order mark, interlinear annotation, and noncharacters.
        0xFE00..=0xFE0F | 0xFEFF | 0xFFF0..=0xFFFB | 0xFDD0..=0xFDEF => true,
        // Egyptian, shorthand and musical format characters.
        0x13430..=0x1345F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A => true,
        // Tags, and the variation selectors behind them.
        0xE_0000..=0xE_FFFF => true,
        code => code & 0xFFFE == 0xFFFE,
    }
}

/// A text for people: what [`is_hidden`] is shown as `\n`, `\r`, `\t` or `\u{…}`.
///
/// ```
/// assert_eq!(fedmsg::escape::escape("a\u{1b}[31m\nb").to_string(), r"a\u{1b}[31m\nb");
/// ```
pub fn escape(text: &str) -> Escaped<'_> {
    Escaped(text)
}

/// The same as [`escape`], borrowed when there is nothing to escape.
pub fn escape_cow(text: &str) -> Cow<'_, str> {
    match is_clean(text) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(Escaped(text).to_string()),
    }
}

/// Whether there is nothing to escape.
pub fn is_clean(text: &str) -> bool {
    is_plain(text) || !text.chars().any(is_hidden)
}

/// JSON text for people: what [`is_hidden`] becomes `\uXXXX`, or a space where it separates tokens. The
/// value stays the same.
pub fn escape_json(text: &str) -> Cow<'_, str> {
    if is_clean(text) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            // Within a string JSON has them escaped already.
            '\t' | '\n' | '\r' => safe.push(' '),
            c if is_hidden(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(safe, "\\u{unit:04x}").expect("writing into a String cannot fail");
                }
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Printable ASCII alone: what nearly every text is, and decided without decoding it.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x20..=0x7E))
}

/// A text that shows itself escaped; see [`escape`].
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if is_plain(rest) {
            return f.write_str(rest);
        }
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            f.write_str(&rest[..at])?;
            match c {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            }
            rest = &rest[at + c.len_utf8()..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_or_hides_is_shown() {
        for (text, shown) in [
            ("", ""),
            ("plain text", "plain text"),
            ("Grüße, 世界 🎉 é", "Grüße, 世界 🎉 é"),
            ("a\tb\nc\rd", r"a\tb\nc\rd"),
            ("\u{1b}[31mred\u{7}", r"\u{1b}[31mred\u{7}"),
            ("c1 \u{9b}31m del \u{7f}", r"c1 \u{9b}31m del \u{7f}"),
            ("\u{202e}gnp.exe\u{2066}", r"\u{202e}gnp.exe\u{2066}"),
            ("zero\u{200b}width\u{feff}\u{2060}", r"zero\u{200b}width\u{feff}\u{2060}"),
            ("line\u{2028}paragraph\u{2029}", r"line\u{2028}paragraph\u{2029}"),
            ("tag\u{e0041}", r"tag\u{e0041}"),
            ("private\u{e000}\u{10fffd}", r"private\u{e000}\u{10fffd}"),
            ("soft\u{ad}hyphen\u{61c}", r"soft\u{ad}hyphen\u{61c}"),
            ("no character \u{ffff}\u{1fffe}", r"no character \u{ffff}\u{1fffe}"),
        ] {
            assert_eq!(escape(text).to_string(), shown);
            assert_eq!(escape_cow(text), shown);
            assert_eq!(matches!(escape_cow(text), Cow::Borrowed(_)), text == shown, "{text:?}");
        }
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        let text = "{\"a\":\r \"\u{202e}x\u{e0041}\u{7f}ü\",\t\"b\":1}";
        let safe = escape_json(text);
        assert_eq!(safe, "{\"a\":  \"\\u202ex\\udb40\\udc41\\u007fü\", \"b\":1}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(text), value(&safe));
    }

    #[test]
    fn no_character_at_all_comes_through_hidden() {
        for c in char::MIN..=char::MAX {
            let shown = escape(c.encode_utf8(&mut [0; 4])).to_string();
            assert!(!shown.chars().any(is_hidden), "{c:?}");
            let obeyed = c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
                || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0001}'..='\u{e007f}');
            assert!(!obeyed || is_hidden(c), "{c:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_hidden_is_left(text in ".*") {
            let shown = escape(&text).to_string();
            proptest::prop_assert!(is_clean(&shown));
            proptest::prop_assert!(escape_json(&text).chars().all(|c| !is_hidden(c)));
        }
    }
}
