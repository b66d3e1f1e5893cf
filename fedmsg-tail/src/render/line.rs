//! The default: one readable line. `TIME SIGNER TOPIC SUMMARY`, what somebody else wrote last, so that no
//! text can pass for the part that was verified.

use anstyle::{AnsiColor, Style};
use fedmsg::escape::escape;
use unicode_width::UnicodeWidthStr;

use super::{Look, compact, time_text};
use crate::item::Item;

/// A summary gets at least so many columns, however long the topic is.
const SUMMARY_COLUMNS_MIN: usize = 40;

const DIM: Style = Style::new().dimmed();
const SIGNER: Style = AnsiColor::Green.on_default();
const TOPIC: Style = AnsiColor::Cyan.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();
const ERROR: Style = AnsiColor::Red.on_default();

/// Adds the line without its end.
pub(super) fn write(item: &Item<'_>, look: &Look, out: &mut Vec<u8>) {
    let used = head(item, look, out);
    let columns = look.columns.saturating_sub(used + 1).max(SUMMARY_COLUMNS_MIN);
    out.push(b' ');
    push(&summary(item, columns), severity(item), look, out);
}

/// Adds time, verdict, signer and topic; says how many columns they take.
pub(super) fn head(item: &Item<'_>, look: &Look, out: &mut Vec<u8>) -> usize {
    let time = item.message().map(|message| time_text(message.verified.timestamp(), look));
    let signer = item.signer().map(ToString::to_string);
    let topic = escape(&item.topic()).to_string();
    // A first frame that is no topic may be of any length.
    let topic = compact::cut(&topic, fedmsg::limits::TOPIC_BYTES_MAX);
    let verdict = if item.is_verified() { "" } else { item.verdict() };
    let mut used = 0;
    for (text, style) in [
        (time.as_deref().unwrap_or("-"), DIM),
        (&verdict.to_uppercase(), BAD),
        (signer.as_deref().unwrap_or("-"), SIGNER),
        (&topic, TOPIC),
    ] {
        if text.is_empty() {
            continue;
        }
        if used > 0 {
            out.push(b' ');
        }
        used += text.width() + 1;
        push(text, style, look, out);
    }
    used
}

fn summary(item: &Item<'_>, columns: usize) -> String {
    match (item.summary(), item.message()) {
        (Some(summary), _) => compact::cut(&summary, columns),
        (None, Some(message)) => {
            compact::cut(&compact::json(message.verified.msg(), columns), columns)
        }
        (None, None) => String::new(),
    }
}

fn severity(item: &Item<'_>) -> Style {
    match item.message().and_then(|message| message.verified.severity()) {
        Some("error") => ERROR,
        Some("warning") => WARNING,
        Some("debug") => DIM,
        _ => Style::new(),
    }
}

pub(super) fn push(text: &str, style: Style, look: &Look, out: &mut Vec<u8>) {
    match look.color && style != Style::new() {
        true => out.extend_from_slice(format!("{style}{text}{style:#}").as_bytes()),
        false => out.extend_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::look;
    use super::*;
    use crate::testing::{self, Bus};

    fn line(item: &Item<'_>, look: &Look) -> String {
        let mut out = Vec::new();
        write(item, look, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    const HEAD: &str = "2026-09-21T14:13:20.123Z bodhi.backend01 org.example.dev.a.b";

    #[test]
    fn a_line_has_time_signer_topic_and_summary() {
        let mut bus = Bus::default();
        let body = r#"{"a": "\u00fc", "b": [1, 2]}"#;
        let said = bus.message(testing::draft("a.b", body).summary("kernel\n\u{1b}[31m is out"));
        let bare = bus.message(testing::draft("a.b", body));
        let beat = bus.heartbeat();
        for (item, expected) in [
            (Item::Verified(&said), format!(r"{HEAD} kernel\n\u{{1b}}[31m is out")),
            (Item::Verified(&bare), format!(r#"{HEAD} {{"a":"ü","b":[1,2]}}"#)),
            (
                Item::Stale(&bare),
                format!(r#"{HEAD} {{"a":"ü","b":[1,2]}}"#).replacen(' ', " STALE ", 1),
            ),
        ] {
            assert_eq!(line(&item, &look()), expected);
        }
        assert!(line(&Item::Verified(&beat), &look()).ends_with("open at 2, holds from 3"));
    }

    #[test]
    fn a_refused_message_says_why_and_not_who() {
        let rejected = Bus::default().forged(testing::draft("a.b", "{}").summary("trust me"));
        let text = line(&Item::Rejected(&rejected), &look());
        assert_eq!(text, "- REJECTED - org.example.dev.a.b the signature does not fit");
    }

    #[test]
    fn a_line_fits_the_terminal() {
        let body = format!(r#"{{"a":"{}"}}"#, "long 世界 ".repeat(1_000));
        let message = Bus::default().message(testing::draft("a.b", &body));
        for columns in [120, 200] {
            let text = line(&Item::Verified(&message), &Look { columns, ..look() });
            assert!(text.width() <= columns && text.contains('…'), "{text}");
        }
    }

    #[test]
    fn severity_is_a_colour() {
        let error = fedmsg::seal::Severity::Error;
        let draft = testing::draft("a.b", "{}").summary("bad").severity(error);
        let message = Bus::default().message(draft);
        let text = line(&Item::Verified(&message), &Look { color: true, ..look() });
        assert!(text.ends_with("\u{1b}[31mbad\u{1b}[0m"), "{text:?}");
    }
}
