//! How far the reading of the past is, for a person at a terminal: drawn on stderr, and gone before the present.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use fedmsg::event::Event;
use fedmsg::subscriber::{Past, Subscriber};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often it is drawn.
const INTERVAL: Duration = Duration::from_millis(100);
/// Draws a second at most: what the log has to say is drawn around, however much that is.
const DRAWS_A_SECOND: u8 = 20;

/// The bar before there is anything to follow.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar, or one that is never seen.
    pub(crate) fn new(is_shown: bool) -> Progress {
        let target = match is_shown {
            true => ProgressDrawTarget::stderr_with_hz(DRAWS_A_SECOND),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template("{bar:30} {msg}");
        Progress { bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())) }
    }

    /// stderr for the log, whose lines come above the bar.
    pub(crate) fn stderr(&self) -> Box<dyn Write + Send> {
        Box::new(Above(self.bar.clone()))
    }

    /// Follows the reading of the past, if there is one.
    pub(crate) fn follow(self, is_past: bool) -> Following {
        let bar = is_past.then_some(self.bar).filter(|bar| !bar.is_hidden());
        Following { bar, begun: None, drawn: None, read: 0, seen: None }
    }
}

/// The bar while the past is read.
pub(crate) struct Following {
    bar: Option<ProgressBar>,
    /// When the first message was taken.
    begun: Option<Instant>,
    drawn: Option<Instant>,
    /// Messages that were taken.
    read: u64,
    seen: Option<Past>,
}

impl Following {
    /// The next event, as [`Subscriber::recv`] gives it.
    pub(crate) fn recv(
        &mut self,
        subscriber: &Subscriber,
        timeout: Option<Duration>,
    ) -> Option<Event> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        while self.bar.is_some() {
            self.draw(subscriber);
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let event = subscriber.recv(Some(left.unwrap_or(INTERVAL).min(INTERVAL)));
            match &event {
                Some(Event::Message(_)) => {
                    self.begun = self.begun.or_else(|| Some(Instant::now()));
                    self.read += 1;
                }
                Some(Event::CaughtUp(_)) => self.clear(),
                Some(_) => {}
                None if subscriber.is_closed() || left.is_some_and(|left| left <= INTERVAL) => {}
                None => continue,
            }
            return event;
        }
        let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        subscriber.recv(left)
    }

    fn draw(&mut self, subscriber: &Subscriber) {
        let now = Instant::now();
        let is_due = self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= INTERVAL);
        let Some(bar) = self.bar.as_ref().filter(|_| is_due) else { return };
        self.drawn = Some(now);
        self.seen = subscriber.past().or(self.seen);
        let past = self.seen.unwrap_or_default();
        // A bar of nothing would be a full one.
        bar.set_length((self.read + past.left).max(1));
        bar.set_position(self.read);
        let took = self.begun.map_or(Duration::ZERO, |begun| now.duration_since(begun));
        bar.set_message(words(past, self.read, took));
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What stands beside the bar.
fn words(past: Past, read: u64, took: Duration) -> String {
    // Nothing is in order before everybody has said which streams there are.
    if read == 0 {
        return "asking who keeps what".into();
    }
    if past.left == 0 && past.read < past.streams {
        return "waiting for those who have not said what they keep".into();
    }
    let rate = read as f64 / took.as_secs_f64().max(0.001);
    format!(
        "{} messages left, {}/s, {} of {} streams read",
        grouped(past.left),
        grouped(rate as u64),
        grouped(past.read),
        grouped(past.streams)
    )
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// stderr above a bar.
struct Above(ProgressBar);

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_what_is_left_and_how_fast_it_goes() {
        let past = Past::default();
        assert_eq!(words(past, 0, Duration::ZERO), "asking who keeps what");
        let mut past = Past::default();
        (past.streams, past.read, past.left) = (1_200, 7, 612_345);
        let said = words(past, 196_000, Duration::from_secs(2));
        assert_eq!(said, "612,345 messages left, 98,000/s, 7 of 1,200 streams read");
        past.left = 0;
        assert!(words(past, 9, Duration::ZERO).starts_with("waiting for those"));
    }

    #[test]
    fn thousands_are_told_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
