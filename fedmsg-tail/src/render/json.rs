//! `--json`: one object a line, put together around the bytes that were signed. Nothing is parsed again.

use std::io::Write;

use fedmsg::event::{Message, Rejected};
use fedmsg::timestamp::Timestamp;
use serde_json::{Map, Value};

use super::json_text;
use crate::item::Item;

/// Adds the object without the end of the record.
pub(super) fn write(item: &Item<'_>, is_terminal: bool, out: &mut Vec<u8>) {
    match item {
        Item::Verified(message) | Item::Stale(message) => {
            write_message(item.verdict(), message, is_terminal, out);
        }
        Item::Rejected(rejected) => {
            let text = rejected_object(rejected).to_string();
            out.extend_from_slice(json_text(&text, is_terminal).as_bytes());
        }
    }
}

fn write_message(verdict: &str, message: &Message, is_terminal: bool, out: &mut Vec<u8>) {
    let verified = &message.verified;
    let frame = json_text(verified.json(), is_terminal);
    out.reserve(frame.len() + 512);
    // Names of identities, streams, keys and epochs are made of characters that JSON does not escape.
    let head = write!(
        out,
        r#"{{"verdict":"{verdict}","signer":"{}","key":"{}","endpoint":"{}","received":{},"stream":"{}","epoch":"{}","i":{},"skewed":{},"message":"#,
        verified.signer(),
        verified.key(),
        message.endpoint,
        Seconds(message.received),
        verified.stream(),
        verified.epoch(),
        verified.i(),
        message.is_skewed(),
    );
    head.expect("writing into memory cannot fail");
    out.extend_from_slice(frame.as_bytes());
    out.push(b'}');
}

/// Seconds with three decimals, as a message has them.
struct Seconds(Timestamp);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = self.0.as_millis().max(0);
        write!(f, "{}.{:03}", millis / 1000, millis % 1000)
    }
}

fn rejected_object(rejected: &Rejected) -> Value {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes));
    let named = |name: Option<String>| name.map_or(Value::Null, Value::from);
    let signer = rejected.stream.as_ref().map(|stream| stream.identity().to_string());
    let (epoch, i) = rejected.position.unzip();
    let members = [
        ("verdict", "rejected".into()),
        ("reason", rejected.reason.name().into()),
        ("detail", named(rejected.detail.clone())),
        ("signer", named(signer)),
        ("key", named(rejected.key.map(|key| key.to_string()))),
        ("endpoint", rejected.endpoint.as_str().into()),
        ("stream", named(rejected.stream.as_ref().map(ToString::to_string))),
        ("epoch", named(epoch.map(|epoch| epoch.to_string()))),
        ("i", i.map_or(Value::Null, Value::from)),
        ("topic", text(&rejected.wire.topic)),
        ("raw", text(&rejected.wire.envelope)),
    ];
    Value::Object(Map::from_iter(members.map(|(name, value)| (name.to_owned(), value))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Bus};

    fn text(item: &Item<'_>, is_terminal: bool) -> String {
        let mut out = Vec::new();
        write(item, is_terminal, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn value(item: &Item<'_>) -> Value {
        serde_json::from_str(&text(item, false)).expect("JSON")
    }

    #[test]
    fn the_verdict_stands_beside_the_message_as_it_was_signed() {
        let message = Bus::default().message(testing::draft("a.b", r#"{"n":1.50,"s":"ü"}"#));
        let object = value(&Item::Verified(&message));
        assert_eq!(object["verdict"], "verified");
        assert_eq!(object["signer"], "bodhi.backend01");
        assert_eq!(object["endpoint"], "bodhi.backend01");
        assert_eq!(object["stream"], "bodhi.backend01/0");
        assert_eq!(object["key"], object["message"]["certificate"]);
        assert_eq!(object["received"], object["message"]["timestamp"]);
        assert_eq!((&object["i"], &object["skewed"]), (&1.into(), &false.into()));
        let line = text(&Item::Verified(&message), false);
        assert!(line.ends_with(&format!(r#""message":{}}}"#, message.verified.json())));
        assert_eq!(value(&Item::Stale(&message))["verdict"], "stale");
    }

    #[test]
    fn a_refused_message_says_why_and_what_came() {
        let rejected = Bus::default().forged(testing::draft("a.b", "{}"));
        let object = value(&Item::Rejected(&rejected));
        assert_eq!(
            (&object["verdict"], &object["reason"]),
            (&"rejected".into(), &"bad_signature".into())
        );
        assert_eq!((&object["signer"], &object["i"]), (&Value::Null, &Value::Null));
        assert_eq!(object["topic"], "org.example.dev.a.b");
        let raw = std::str::from_utf8(&rejected.wire.envelope).expect("UTF-8");
        assert_eq!(object["raw"], raw);
    }

    #[test]
    fn a_terminal_gets_the_same_value_without_what_it_would_obey() {
        let message = Bus::default().message(testing::draft("a.b", "{\"s\":\"\u{202e}\u{9b}ü\"}"));
        let item = Item::Verified(&message);
        let (pipe, terminal) = (text(&item, false), text(&item, true));
        assert!(pipe.contains('\u{202e}') && fedmsg::escape::is_clean(&terminal));
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(read(&pipe), read(&terminal));
    }
}
