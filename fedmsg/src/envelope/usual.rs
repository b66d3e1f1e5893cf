//! Reading a record as every publisher of this library writes it, without a JSON reader but for its body. Whatever is
//! written in another way is left to the reader that takes all of JSON; both say the same of the same bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Envelope, Epoch, has_control};
use crate::json::check_object;
use crate::merkle::Leaf;
use crate::timestamp::Timestamp;

/// Digits of the seconds of a time that is read here: with three more, a `f64` has them all.
const SECONDS_DIGITS_MAX: usize = 11;
/// Digits of the highest number of a message.
const NUMBER_DIGITS_MAX: usize = 16;

/// Reads what lies between the text of the stream and the signature. Nothing when it is written in another way, or is
/// not allowed.
pub(super) fn read(signed: &str) -> Option<Envelope<'_>> {
    if has_control(signed) {
        return None;
    }
    let rest = signed.strip_prefix("\",\"epoch\":\"")?;
    let (epoch, rest) = rest.split_at_checked(36)?;
    let (i, rest) = digits(rest.strip_prefix("\",\"i\":")?, NUMBER_DIGITS_MAX)?;
    let (prev, rest) = rest.strip_prefix(",\"prev\":\"")?.split_at_checked(43)?;
    let (topic, rest) = plain(rest.strip_prefix("\",\"topic\":\"")?)?;
    let (msg_id, rest) = plain(rest.strip_prefix(",\"msg_id\":\"")?)?;
    let (timestamp, rest) = time(rest.strip_prefix(",\"timestamp\":")?)?;
    let (username, rest) = match rest.strip_prefix(",\"username\":\"") {
        Some(rest) => plain(rest).map(|(username, rest)| (Some(username), rest))?,
        None => (None, rest),
    };
    let (headers, rest) = match rest.strip_prefix(",\"headers\":{") {
        Some(rest) => headers(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let msg = rest.strip_prefix(",\"msg\":")?;
    let is_object = msg.starts_with('{') && msg.ends_with('}');
    if !is_object || check_object(msg).is_err() {
        return None;
    }
    let envelope = Envelope {
        epoch: Epoch::parse(epoch)?,
        i,
        prev: Leaf::parse(prev.as_bytes())?,
        topic: Cow::Borrowed(topic),
        msg_id: Cow::Borrowed(msg_id),
        timestamp,
        username: username.map(Cow::Borrowed),
        headers,
        ext: None,
        msg,
    };
    envelope.check_bounds().is_ok().then_some(envelope)
}

/// A string without escapes, and what follows its closing quote.
fn plain(text: &str) -> Option<(&str, &str)> {
    let end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
    let (inside, rest) = text.split_at(end);
    Some((inside, rest.strip_prefix('"')?))
}

/// A number as it is written in JSON, without sign, point and exponent, and what follows it.
fn digits(text: &str, most: usize) -> Option<(u64, &str)> {
    let count = text.bytes().take(most + 1).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(count);
    let is_number = (1..=most).contains(&count) && (count == 1 || !digits.starts_with('0'));
    is_number
        .then(|| (digits.bytes().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')), rest))
}

/// Seconds with three decimals or none, and what follows them.
fn time(text: &str) -> Option<(Timestamp, &str)> {
    let (seconds, rest) = digits(text, SECONDS_DIGITS_MAX)?;
    let (millis, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let (three, rest) = rest.split_at_checked(3)?;
            let is_number = three.bytes().all(|digit| digit.is_ascii_digit());
            (is_number.then(|| three.parse::<u64>().ok()).flatten()?, rest)
        }
        None => (0, rest),
    };
    // More digits, or an exponent, are read as JSON is.
    let is_whole = rest.starts_with(',');
    let millis = i64::try_from(seconds * 1_000 + millis).ok()?;
    is_whole.then_some((Timestamp::from_millis(millis), rest))
}

/// Names and values without escapes, none of them twice, and what follows them.
fn headers(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut headers = BTreeMap::new();
    loop {
        let (name, rest) = plain(text.strip_prefix('"')?)?;
        let (value, rest) = plain(rest.strip_prefix(":\"")?)?;
        if headers.insert(name.to_owned(), value.to_owned()).is_some() {
            return None;
        }
        match rest.strip_prefix('}') {
            Some(rest) => return Some((headers, rest)),
            None => text = rest.strip_prefix(',')?,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::{Fields, Head, write_unsigned};
    use crate::identity::StreamName;
    use crate::keys::KeyId;

    /// A whole frame, and where what was signed begins behind the stream and ends.
    fn frame(signed: &str) -> (String, usize, usize) {
        let start = format!(
            "{{\"v\":1,\"crypto\":\"ed25519\",\"certificate\":\"{}\",\"stream\":\"a.b/0",
            KeyId::of(&[1; 32])
        );
        let end = start.len() + signed.len();
        (format!("{start}{signed},\"signature\":\"AAAA\"}}"), start.len(), end)
    }

    /// What is read here is what the reader of all of JSON reads.
    fn same(signed: &str) -> Result<bool, TestCaseError> {
        let (frame, start, end) = frame(signed);
        let Some(usual) = read(&frame[start..end]) else { return Ok(false) };
        let all = Envelope::parse(&frame);
        prop_assert_eq!(
            Some(format!("{usual:?}")),
            all.ok().map(|all| format!("{all:?}")),
            "{}",
            frame
        );
        Ok(true)
    }

    fn text(most: usize) -> impl Strategy<Value = String> {
        prop_oneof![
            3 => proptest::string::string_regex(&format!("[ -!#-\\[\\]-~]{{1,{most}}}")).expect("a pattern"),
            1 => proptest::collection::vec(any::<char>(), 1..=most / 4).prop_map(|text| text.into_iter().collect()),
        ]
    }

    fn body() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("{}".to_owned()),
            text(90)
                .prop_map(|text| serde_json::json!({ "a": text, "b": [1, null, { "c": -2.5 }] })
                    .to_string()),
            Just(r#"{"a":1,"a":2}"#.to_owned()),
            Just(format!("{{\"a\":{}1{}}}", "[".repeat(70), "]".repeat(70))),
            Just(r#"{"a":1} "#.to_owned()),
            Just(r#"{"a":1},"msg":{}"#.to_owned()),
            Just(r#"[1]"#.to_owned()),
        ]
    }

    prop_compose! {
        fn signed()(
            i in prop_oneof![0..100_u64, any::<u64>()], prev in any::<[u8; 32]>(), topic in "[a-z.]{1,30}", msg_id in text(140),
            millis in prop_oneof![0..4_000_000_000_000_i64, any::<i64>()], username in proptest::option::of(text(140)),
            headers in proptest::collection::btree_map(text(20), text(60), 0..4), ext in proptest::option::weighted(0.1, Just("{\"x\":1}")),
            msg in body(),
        ) -> String {
            let (key, stream) = (KeyId::of(&[1; 32]), StreamName::parse("a.b/0").expect("a stream"));
            let epoch = Epoch::parse("01997530-0000-7000-8000-000000000001").expect("an epoch");
            let mut out = Vec::new();
            let fields = Fields {
                i, prev: Leaf(prev), topic: &topic, msg_id: &msg_id, timestamp: Timestamp::from_millis(millis),
                username: username.as_deref(), headers: &headers, ext, msg: &msg,
            };
            write_unsigned(&mut out, &Head::new(&key, &stream, epoch), &fields);
            let text = String::from_utf8(out).expect("text");
            let (_, start, _) = frame("");
            text[start..].to_owned()
        }
    }

    proptest! {
        #[test]
        fn what_is_read_in_one_go_is_what_json_says(signed in signed()) {
            same(&signed)?;
        }

        #[test]
        fn the_same_holds_for_what_is_nearly_a_record(
            signed in signed(), edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<char>()), 1..3),
            pieces in any::<bool>(),
        ) {
            const PIECES: &[char] = &['"', '\\', '{', '}', ',', ':', '0', '-', '.', 'e', ' ', '\t', '\n', 'u', 'n'];
            let mut text: Vec<char> = signed.chars().collect();
            for (place, kind, letter) in edits {
                let letter = if pieces { PIECES[letter as usize % PIECES.len()] } else { letter };
                let at = place.index(text.len());
                match kind {
                    0 => text[at] = letter,
                    1 => text.insert(at, letter),
                    _ => drop(text.remove(at)),
                }
            }
            same(&text.into_iter().collect::<String>())?;
        }
    }

    #[test]
    fn what_publishers_write_is_read_in_one_go() {
        let start = format!(
            "\",\"epoch\":\"01997530-0000-7000-8000-000000000001\",\"i\":4711,\"prev\":\"{}\",\"topic\":\"org.example.prod.a.b\",\"msg_id\":\"2026-1\"",
            "A".repeat(43)
        );
        for (rest, is_usual) in [
            (r#","timestamp":1790000000.123,"msg":{}"#, true),
            (r#","timestamp":1790000000,"msg":{"a":"\u0061"}"#, true),
            (
                r#","timestamp":1790000000,"username":"apache","headers":{"severity":"info","link":"é"},"msg":{}"#,
                true,
            ),
            (r#","timestamp":1790000000,"ext":{},"msg":{}"#, false),
            (r#","timestamp":1790000000.1,"msg":{}"#, false),
            (r#","timestamp":1.790000000e9,"msg":{}"#, false),
            (r#","timestamp":1790000000,"headers":{"a":"1","a":"2"},"msg":{}"#, false),
            (r#","timestamp":1790000000,"msg":{},"more":{}"#, false),
            (r#","timestamp":1790000000,"msg": {}"#, false),
        ] {
            let signed = format!("{start}{rest}");
            assert_eq!(same(&signed).expect("the same"), is_usual, "{rest}");
        }
    }
}
