//! What tools say on stderr.
//!
//! Everything is logged through `tracing`. Control characters are escaped, and what repeats is said once
//! in ten seconds and then counted. A field `repeat` says which messages are the same although their
//! words differ: `warn!(repeat = "rejected", "{rejected}")`; it is not printed.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use fedmsg::escape::{escape, escape_json};
use fedmsg::timestamp::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::color::ColorEnv;
use crate::options::{CommonOptions, LogFormat};
use crate::repeats::{HeldBack, Repeats};

/// Keeps the log; when it is dropped, it tells what was held back. Hold it until the tool ends.
#[must_use]
pub struct Guard(Arc<Log>);

impl Drop for Guard {
    fn drop(&mut self) {
        let rest = self.0.repeats().rest();
        self.0.tell_held_back(&rest);
    }
}

/// Logs to stderr as the options say; `usual` is the level without `-v` and `-q`: INFO for daemons, WARN
/// for others. When a log is there already, as for a tool started by another one, that one stays.
pub fn init(common: &CommonOptions, usual: LevelFilter) -> Guard {
    init_through(common, usual, Box::new(io::stderr()))
}

/// The same through a writer that ends at stderr: for whoever draws there, and has to make room for each
/// line.
pub fn init_through(
    common: &CommonOptions,
    usual: LevelFilter,
    stderr: Box<dyn Write + Send>,
) -> Guard {
    let color = common.color.decide(ColorEnv::read(), io::stderr().is_terminal());
    let log = Log::new(stderr, common.log_format, color);
    let subscriber = tracing_subscriber::registry()
        .with(Lines(Arc::clone(&log)).with_filter(common.level(usual)));
    // An error says that a log is there already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Guard(log)
}

struct Log {
    out: Mutex<Box<dyn Write + Send>>,
    repeats: Mutex<Repeats>,
    format: LogFormat,
    color: bool,
}

impl Log {
    fn new(out: Box<dyn Write + Send>, format: LogFormat, color: bool) -> Arc<Log> {
        Arc::new(Log { out: Mutex::new(out), repeats: Mutex::default(), format, color })
    }

    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, level: Level, target: &str, said: &Said) {
        let line = match self.format {
            LogFormat::Text => text_line(level, said, self.color),
            LogFormat::Json => json_line(level, target, said),
        };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // When stderr is closed, there is nobody left to tell.
        let _ = out.write_all(line.as_bytes());
    }

    fn tell_held_back(&self, held_back: &[HeldBack]) {
        for HeldBack { text, count } in held_back {
            let said = Said {
                message: format!("{count} more like: {text}"),
                fields: vec![("repeated", (*count).into())],
                ..Said::default()
            };
            self.tell(Level::WARN, module_path!(), &said);
        }
    }
}

/// The layer that hands log events to the log.
struct Lines(Arc<Log>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let now = Instant::now();
        let (due, admitted) = {
            let mut repeats = self.0.repeats();
            let due = repeats.due(now);
            (due, repeats.admit(&said.key(), &said.message, now))
        };
        self.0.tell_held_back(&due);
        if admitted {
            self.0.tell(*event.metadata().level(), event.metadata().target(), &said);
        }
    }
}

/// What one log event says.
#[derive(Default)]
struct Said {
    message: String,
    repeat: Option<String>,
    fields: Vec<(&'static str, Value)>,
}

impl Said {
    /// What must be the same for two of them to be the same.
    fn key(&self) -> String {
        match &self.repeat {
            Some(repeat) => repeat.clone(),
            None => format!("{} {:?}", self.message, self.fields),
        }
    }

    fn set(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            "repeat" => self.repeat = Some(text),
            name => self.fields.push((name, text.into())),
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into()));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, crate::exit::chain(value));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn text_line(level: Level, said: &Said, color: bool) -> String {
    let (on, off) = match (color, level) {
        (true, Level::ERROR) => ("\u{1b}[1;31m", "\u{1b}[0m"),
        (true, Level::WARN) => ("\u{1b}[33m", "\u{1b}[0m"),
        (true, Level::DEBUG | Level::TRACE) => ("\u{1b}[2m", "\u{1b}[0m"),
        _ => ("", ""),
    };
    let mut line = format!("{} {on}{level:>5}{off} {}", now(), escape(&said.message));
    for (name, value) in said.fields.iter().filter(|(name, _)| *name != "repeated") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        write!(line, " {name}={}", escape(&value)).expect("writing into a String cannot fail");
    }
    line + "\n"
}

fn json_line(level: Level, target: &str, said: &Said) -> String {
    let mut members = serde_json::Map::new();
    for (name, value) in &said.fields {
        members.insert((*name).into(), value.clone());
    }
    for (name, value) in [
        ("time", now().to_string()),
        ("level", level.to_string()),
        ("target", target.into()),
        ("message", said.message.clone()),
    ] {
        members.insert(name.into(), value.into());
    }
    let line = Value::Object(members).to_string();
    escape_json(&line).into_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log's output that a test can read.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("page").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, say: impl FnOnce()) -> Vec<String> {
        let page = Page::default();
        let log = Log::new(Box::new(page.clone()), format, false);
        let guard = Guard(Arc::clone(&log));
        let subscriber = tracing_subscriber::registry().with(Lines(log));
        tracing::subscriber::with_default(subscriber, say);
        drop(guard);
        let text = String::from_utf8(page.0.lock().expect("page").clone()).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn people_read_escaped_lines_with_fields() {
        let lines = logged(LogFormat::Text, || {
            tracing::warn!(endpoint = "a.b", i = 7, "down: {}", "\u{1b}[2J\nforged");
        });
        assert_eq!(lines.len(), 1);
        assert!(lines[0].ends_with(r" WARN down: \u{1b}[2J\nforged endpoint=a.b i=7"), "{lines:?}");
    }

    #[test]
    fn machines_read_one_object_a_line() {
        let lines = logged(LogFormat::Json, || tracing::info!(i = 7, "two\nlines \u{202e}"));
        let value: Value = serde_json::from_str(&lines[0]).expect("JSON");
        assert_eq!(value["message"], "two\nlines \u{202e}");
        assert_eq!((&value["level"], &value["i"]), (&"INFO".into(), &7.into()));
        assert!(fedmsg::escape::is_clean(&lines[0]) && lines.len() == 1);
    }

    #[test]
    fn what_repeats_is_counted() {
        let lines = logged(LogFormat::Text, || {
            for i in 0..5 {
                tracing::warn!(repeat = "rejected", "rejected number {i}");
            }
            tracing::warn!("something else");
        });
        let ends = ["rejected number 0", "something else", "4 more like: rejected number 0"];
        assert_eq!(lines.len(), ends.len());
        assert!(lines.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{lines:?}");
    }
}
