//! `--pretty`: the body, indented and coloured, below a header line.

use anstyle::{AnsiColor, Style};
use fedmsg::escape::escape_json;

use super::{Look, compact, line};
use crate::item::Item;

const NAME: Style = AnsiColor::Blue.on_default();
const STRING: Style = AnsiColor::Green.on_default();
const OTHER: Style = AnsiColor::Yellow.on_default();
/// Columns of what a refused message held.
const RAW_COLUMNS: usize = 1_000;

/// Adds header line and body without the end of the record.
pub(super) fn write(item: &Item<'_>, look: &Look, out: &mut Vec<u8>) {
    line::head(item, look, out);
    if let Some(summary) = item.summary() {
        out.push(b' ');
        out.extend_from_slice(
            compact::cut(&summary, fedmsg::limits::HEADER_VALUE_BYTES_MAX).as_bytes(),
        );
    }
    out.push(b'\n');
    match item.message() {
        Some(message) => write_json(&escape_json(message.verified.msg()), look, out),
        None => {
            out.extend_from_slice(b"  ");
            out.extend_from_slice(compact::cut(&item.frame(), RAW_COLUMNS).as_bytes());
        }
    }
}

/// Indents JSON that is known to be well formed, token by token: values stay as they were written.
fn write_json(text: &str, look: &Look, out: &mut Vec<u8>) {
    let mut depth = 0;
    let mut rest = text.trim_ascii_start();
    while let Some(first) = rest.bytes().next() {
        let end = match first {
            b'"' => string_end(rest),
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            _ => rest.find([',', '}', ']', ' ', '\t']).unwrap_or(rest.len()),
        };
        let (token, behind) = rest.split_at(end);
        let behind = behind.trim_ascii_start();
        match first {
            b'{' | b'[' => {
                out.push(first);
                // An empty one stays on its line.
                if !behind.starts_with(['}', ']']) {
                    depth += 1;
                    new_line(depth, out);
                }
            }
            b'}' | b']' => {
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    depth = depth.saturating_sub(1);
                    new_line(depth, out);
                }
                out.push(first);
            }
            b',' => {
                out.push(first);
                new_line(depth, out);
            }
            b':' => out.extend_from_slice(b": "),
            b'"' if behind.starts_with(':') => line::push(token, NAME, look, out),
            b'"' => line::push(token, STRING, look, out),
            _ => line::push(token, OTHER, look, out),
        }
        rest = behind;
    }
}

fn new_line(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.resize(out.len() + 2 * depth, b' ');
}

/// Where the string that begins the text ends.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::super::tests::look;
    use super::*;
    use crate::testing::{self, Bus};

    fn pretty(text: &str) -> String {
        let mut out = Vec::new();
        write_json(text, &look(), &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn json_is_indented_and_its_values_stay() {
        for (text, expected) in [
            ("{}", "{}"),
            (" { } ", "{}"),
            (
                r#"{"a":1.50,"b":[true,null],"c":{},"d":[]}"#,
                "{\n  \"a\": 1.50,\n  \"b\": [\n    true,\n    null\n  ],\n  \"c\": {},\n  \"d\": []\n}",
            ),
            (r#"{"a\"{,":"x\\","y":"[{"}"#, "{\n  \"a\\\"{,\": \"x\\\\\",\n  \"y\": \"[{\"\n}"),
        ] {
            assert_eq!(pretty(text), expected);
        }
    }

    #[test]
    fn any_body_stays_the_same_value() {
        let body = r#"{"deep":[[[{"a":[1e5,-2,"\\\"",{"b":{}}]}]],[]],"z":"ü \u0000"}"#;
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(read(&pretty(body)), read(body));
    }

    #[test]
    fn a_header_line_stands_above_and_nothing_is_obeyed() {
        let mut bus = Bus::default();
        let draft = testing::draft("a.b", "{\"a\":\"\u{202e}\"}").summary("x\u{1b}c");
        let message = bus.message(draft);
        let rejected = bus.forged(testing::draft("a.b", "{\"a\":\"\u{9b}\"}"));
        for (item, expected) in [
            (Item::Verified(&message), "org.example.dev.a.b x\\u{1b}c\n{\n  \"a\": \"\\u202e\"\n}"),
            (Item::Rejected(&rejected), "REJECTED"),
        ] {
            let mut out = Vec::new();
            write(&item, &look(), &mut out);
            let text = String::from_utf8(out).expect("UTF-8");
            assert!(text.contains(expected), "{text}");
            assert!(text.lines().all(fedmsg::escape::is_clean), "{text}");
        }
    }
}
