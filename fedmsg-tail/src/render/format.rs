//! `--format`: records as the caller draws them.

use fedmsg::escape::escape;

use super::{Look, json_text, time_text};
use crate::item::Item;

/// What is wrong with a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// `%` and something that means nothing.
    #[error("`%{0}` is not known; there are %t %i %s %S %T %e %m %j %k %u %n %v %%")]
    Field(char),
    /// `\` and something that means nothing.
    #[error("`\\{0}` is not known; there are \\n \\t \\0 \\\\")]
    Escape(char),
    /// `%` or `\` at the end.
    #[error("it ends in the middle of `{0}`")]
    Unfinished(char),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Topic,
    Number,
    Signer,
    Summary,
    Time,
    Endpoint,
    Body,
    Message,
    Key,
    Username,
    Stream,
    Verdict,
}

impl Field {
    fn of(letter: char) -> Option<Field> {
        Some(match letter {
            't' => Field::Topic,
            'i' => Field::Number,
            's' => Field::Signer,
            'S' => Field::Summary,
            'T' => Field::Time,
            'e' => Field::Endpoint,
            'm' => Field::Body,
            'j' => Field::Message,
            'k' => Field::Key,
            'u' => Field::Username,
            'n' => Field::Stream,
            'v' => Field::Verdict,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

/// A format that was read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

impl Format {
    /// Reads a format; what means nothing is refused.
    pub fn parse(format: &str) -> Result<Format, FormatError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            let mut next = || chars.next().ok_or(FormatError::Unfinished(c));
            match c {
                '%' => match next()? {
                    '%' => text.push('%'),
                    letter => {
                        let field = Field::of(letter).ok_or(FormatError::Field(letter))?;
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                        pieces.push(Piece::Field(field));
                    }
                },
                '\\' => text.push(match next()? {
                    'n' => '\n',
                    't' => '\t',
                    '0' => '\0',
                    '\\' => '\\',
                    letter => return Err(FormatError::Escape(letter)),
                }),
                c => text.push(c),
            }
        }
        pieces.push(Piece::Text(text));
        Ok(Format(pieces))
    }

    /// Adds the record without its end. What is not known of a refused message is `-`.
    pub(super) fn write(&self, item: &Item<'_>, look: &Look, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Field(field) => {
                    let text = field_text(*field, item, look).unwrap_or_else(|| "-".into());
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
    }
}

fn field_text(field: Field, item: &Item<'_>, look: &Look) -> Option<String> {
    let message = item.message().map(|message| &message.verified);
    Some(match field {
        Field::Topic => escape(&item.topic()).to_string(),
        Field::Number => item.position()?.1.to_string(),
        Field::Signer => item.signer()?.to_string(),
        Field::Summary => escape(&item.summary()?).to_string(),
        Field::Time => time_text(message?.timestamp(), look),
        Field::Endpoint => item.endpoint().to_string(),
        Field::Body => json_text(message?.msg(), look.is_terminal).into_owned(),
        // Of a refused message whatever came: no JSON, perhaps.
        Field::Message => match message {
            Some(message) => json_text(message.json(), look.is_terminal).into_owned(),
            None => escape(&item.frame()).to_string(),
        },
        Field::Key => item.key()?.to_string(),
        Field::Username => escape(message?.username()?).to_string(),
        Field::Stream => item.stream()?.to_string(),
        Field::Verdict => item.verdict().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::look;
    use super::*;
    use crate::testing::{self, Bus};

    fn record(format: &str, item: &Item<'_>) -> String {
        let mut out = Vec::new();
        Format::parse(format).expect(format).write(item, &look(), &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn fields_and_escapes_are_drawn() {
        let draft = testing::draft("a.b", "{\"a\":1}").summary("x\ny").username("apache");
        let message = Bus::default().message(draft);
        let item = Item::Verified(&message);
        let key = message.verified.key().to_string();
        for (format, expected) in [
            ("%t|%i|%s", "org.example.dev.a.b|1|bodhi.backend01"),
            ("%S", "x\\ny"),
            ("%T", "2026-09-21T14:13:20.123Z"),
            ("%e %n %v", "bodhi.backend01 bodhi.backend01/0 verified"),
            ("%m", "{\"a\":1}"),
            ("%j", message.verified.json()),
            ("%k", &key),
            ("%u%%\\n\\t\\0\\\\", "apache%\n\t\0\\"),
            ("", ""),
            ("plain ü", "plain ü"),
        ] {
            assert_eq!(record(format, &item), expected, "{format}");
        }
    }

    #[test]
    fn of_a_refused_message_only_what_is_known_is_said() {
        let mut rejected = Bus::default().forged(testing::draft("a.b", "{}"));
        rejected.wire.envelope = b"\x1b[2J\xff".to_vec().into();
        let item = Item::Rejected(&rejected);
        assert_eq!(record("%v %s %n %i %T %u %m", &item), "rejected - - - - - -");
        assert_eq!(record("%S|%j", &item), "the signature does not fit|\\u{1b}[2J\u{fffd}");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (format, error) in [
            ("%q", FormatError::Field('q')),
            ("\\x", FormatError::Escape('x')),
            ("a%", FormatError::Unfinished('%')),
            ("a\\", FormatError::Unfinished('\\')),
        ] {
            assert_eq!(Format::parse(format), Err(error));
        }
    }
}
