//! From an item to the bytes of its record. Pure: terminal, time zone and moments are arguments.

mod compact;
pub mod format;
mod json;
mod line;
mod pretty;

use std::borrow::Cow;
use std::time::Duration;

use fedmsg::escape::{escape, escape_json};
use fedmsg::timestamp::Timestamp;
use jiff::tz::TimeZone;

use crate::error::TailError;
use crate::item::Item;
use crate::jq::{JqError, Program, is_safe_input};
use crate::options::{ModeOptions, Options};
use format::Format;

/// Columns of a line where no terminal says how wide it is.
pub const COLUMNS: usize = 200;

/// For whom to print.
#[derive(Clone, Debug)]
pub struct Look {
    /// The columns of the terminal, or [`COLUMNS`].
    pub columns: usize,
    /// Whether to colour.
    pub color: bool,
    /// Whether stdout is a terminal, so that JSON must not carry what a terminal would obey.
    pub is_terminal: bool,
    /// The zone of the times; `None` is UTC.
    pub zone: Option<TimeZone>,
}

#[derive(Debug)]
enum Mode {
    Line,
    Json,
    Pretty,
    Raw,
    Topics,
    Format(Format),
    Program(Program),
}

impl Mode {
    fn new(options: &ModeOptions) -> Result<Mode, TailError> {
        let jq = |option| move |source| TailError::Jq { option, source };
        Ok(match options {
            ModeOptions { format: Some(format), .. } => {
                Mode::Format(Format::parse(format).map_err(TailError::Format)?)
            }
            ModeOptions { map: Some(code), .. } => {
                Mode::Program(Program::compile(code).map_err(jq("map"))?)
            }
            ModeOptions { query: Some(paths), .. } => {
                Mode::Program(Program::from_paths(paths).map_err(jq("query"))?)
            }
            ModeOptions { json: true, .. } => Mode::Json,
            ModeOptions { pretty: true, .. } => Mode::Pretty,
            ModeOptions { raw: true, .. } => Mode::Raw,
            ModeOptions { topics_only: true, .. } => Mode::Topics,
            _ => Mode::Line,
        })
    }
}

/// Makes records out of items.
#[derive(Debug)]
pub struct Renderer {
    mode: Mode,
    look: Look,
    delta: bool,
    end: u8,
}

impl Renderer {
    /// A renderer as the options say.
    pub fn new(options: &Options, look: Look) -> Result<Renderer, TailError> {
        let end = if options.null { 0 } else { b'\n' };
        Ok(Renderer { mode: Mode::new(&options.mode)?, look, delta: options.delta, end })
    }

    /// Whether records begin with the time since the one before.
    pub fn wants_delta(&self) -> bool {
        self.delta
    }

    /// Adds the records of an item, their ends included; a program may give none or many. What was added
    /// before an error stays.
    pub fn render(
        &self,
        item: &Item<'_>,
        since_last: Duration,
        out: &mut Vec<u8>,
    ) -> Result<(), JqError> {
        if let Mode::Program(program) = &self.mode {
            return self.project(program, item, out);
        }
        if self.delta {
            out.extend_from_slice(format!("+{:.3} ", since_last.as_secs_f64()).as_bytes());
        }
        match &self.mode {
            Mode::Line => line::write(item, &self.look, out),
            Mode::Json => json::write(item, self.look.is_terminal, out),
            Mode::Pretty => pretty::write(item, &self.look, out),
            Mode::Raw => out.extend_from_slice(self.json_text(&item.frame()).as_bytes()),
            Mode::Topics => write_topic(item, out),
            Mode::Format(format) => format.write(item, &self.look, out),
            Mode::Program(_) => {}
        }
        out.push(self.end);
        Ok(())
    }

    fn project(
        &self,
        program: &Program,
        item: &Item<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), JqError> {
        let frame = item.frame();
        if item.message().is_none() && !is_safe_input(&frame) {
            return Err(JqError::Input);
        }
        program.each(&frame, |value| {
            out.extend_from_slice(self.json_text(value).as_bytes());
            out.push(self.end);
        })
    }

    fn json_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        json_text(text, self.look.is_terminal)
    }
}

/// JSON text for stdout: as it is, but never on two lines, or a signed message could end its own record
/// and begin a forged one.
fn json_text(text: &str, is_terminal: bool) -> Cow<'_, str> {
    // Without a branch for each byte: this looks at every byte that is printed.
    let has_control = text.bytes().fold(false, |found, byte| found | (byte < b' '));
    match is_terminal {
        true => escape_json(text),
        // Within a string JSON has them escaped already: between tokens a space is the same.
        false if has_control => text.replace(|c: char| c < ' ', " ").into(),
        false => text.into(),
    }
}

fn write_topic(item: &Item<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(escape(&item.topic()).to_string().as_bytes());
    if !item.is_verified() {
        out.extend_from_slice(format!(" [{}]", item.verdict()).as_bytes());
    }
}

/// A time for people, in the zone of the look.
fn time_text(time: Timestamp, look: &Look) -> String {
    let local = look.zone.clone().and_then(|zone| {
        let time = jiff::Timestamp::from_millisecond(time.as_millis()).ok()?;
        Some(time.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
    });
    local.unwrap_or_else(|| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Bus};

    pub(crate) fn look() -> Look {
        Look { columns: COLUMNS, color: false, is_terminal: false, zone: None }
    }

    fn rendered(mode: ModeOptions, change: impl FnOnce(&mut Options), item: &Item<'_>) -> String {
        let mut options = Options { mode, ..Options::default() };
        change(&mut options);
        let renderer = Renderer::new(&options, look()).expect("renderer");
        let mut out = Vec::new();
        let since = Duration::from_millis(1_234);
        renderer.render(item, since, &mut out).expect("rendered");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn each_mode_ends_its_records() {
        let draft = testing::draft("bodhi.update.comment", r#"{"title":"x","tags":[1,2]}"#);
        let message = Bus::default().message(draft);
        let item = Item::Verified(&message);
        let mode = ModeOptions::default;
        let raw = format!("{}\n", message.verified.json());
        for (mode, expected) in [
            (ModeOptions { topics_only: true, ..mode() }, "org.example.dev.bodhi.update.comment\n"),
            (ModeOptions { raw: true, ..mode() }, raw.as_str()),
            (ModeOptions { format: Some("%i %s".into()), ..mode() }, "1 bodhi.backend01\n"),
            (ModeOptions { map: Some(".msg.tags[]".into()), ..mode() }, "1\n2\n"),
            (ModeOptions { query: Some("msg.title".into()), ..mode() }, "\"x\"\n"),
        ] {
            assert_eq!(rendered(mode, |_| {}, &item), expected);
        }
    }

    #[test]
    fn records_end_with_nul_and_begin_with_the_delta_when_asked() {
        let message = Bus::default().message(testing::draft("a.b", "{}"));
        let mode = ModeOptions { topics_only: true, ..ModeOptions::default() };
        let change = |options: &mut Options| (options.null, options.delta) = (true, true);
        let text = rendered(mode, change, &Item::Stale(&message));
        assert_eq!(text, "+1.234 org.example.dev.a.b [stale]\0");
    }

    #[test]
    fn a_message_never_ends_its_own_record() {
        assert_eq!(json_text("{\"a\":\n{}}\r", false), "{\"a\": {}} ");
        assert_eq!(json_text("{\"a\":\n\"\u{202e}\"}", true), "{\"a\": \"\\u202e\"}");
        assert!(matches!(json_text("{\"a\":\"\u{202e}\"}", false), Cow::Borrowed(_)));
    }

    #[test]
    fn times_are_local_or_utc() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let local = Look { zone: Some(zone), ..look() };
        assert_eq!(time_text(testing::NOW, &local), "2026-09-21 16:13:20.123");
        assert_eq!(time_text(testing::NOW, &look()), "2026-09-21T14:13:20.123Z");
    }
}
