//! The loop: events come in, records go out, troubles go to the log, and everything is counted.

use std::collections::HashSet;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use fedmsg::Identity;
use fedmsg::event::{ConfigChange, EndpointStatus, Event, Rejected};
use fedmsg_tool::Code;
use fedmsg_tool::output::Data;
use tracing::{debug, error, info, warn};

use crate::filter::Filter;
use crate::item::Item;
use crate::jq::JqError;
use crate::options::{Options, Unverified};
use crate::render::Renderer;

/// Different failures of jq programs that are told apart; what comes beyond is counted alone.
const JQ_FAILURES_MAX: usize = 32;
/// Events that are printed before what was gathered is written, however many are waiting.
const UNFLUSHED_MAX: u32 = 10_000;

/// What a tail saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages, whatever came of them.
    pub received: u64,
    /// Of these, verified ones.
    pub verified: u64,
    /// Of these, refused ones.
    pub rejected: u64,
    /// Of these, verified ones that may be old traffic.
    pub stale: u64,
    /// Messages that did not come.
    pub lost: u64,
    /// Streams that contradicted themselves.
    pub forks: u64,
    /// Items that were printed.
    pub printed: u64,
    /// Failures of jq programs.
    pub jq_failures: u64,
}

impl Counts {
    /// Whether `--strict` has something to tell.
    pub fn is_trouble(&self) -> bool {
        self.lost > 0 || self.forks > 0 || self.rejected > 0
    }

    /// The one line of `--summary`.
    pub fn line(&self) -> String {
        let Counts { received, verified, rejected, lost, stale, .. } = self;
        format!(
            "received {received} verified {verified} rejected {rejected} lost {lost} stale {stale}"
        )
    }

    /// The one line of `--summary` for machines.
    pub fn json(&self) -> String {
        let Counts { received, verified, rejected, lost, stale, forks, printed, jq_failures } =
            self;
        format!(
            r#"{{"received":{received},"verified":{verified},"rejected":{rejected},"lost":{lost},"stale":{stale},"forks":{forks},"printed":{printed},"jq_failures":{jq_failures}}}"#
        )
    }
}

/// Why a tail stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `--count` messages were printed.
    Counted,
    /// The time of `--timeout` is over.
    TimedOut,
    /// The reader of stdout went away.
    ReaderGone,
    /// No event will come any more: the subscriber was closed.
    Closed,
}

/// One tail.
#[derive(Debug)]
pub struct Tail {
    filter: Filter,
    renderer: Renderer,
    unverified: Unverified,
    strict: bool,
    count: Option<u64>,
    timeout: Option<Duration>,
    counts: Counts,
    jq_told: HashSet<String>,
    /// Endpoints that nobody misses when they are down.
    not_missed: Vec<Identity>,
    last_record: Option<Instant>,
    record: Vec<u8>,
}

impl Tail {
    /// A tail as the options say.
    pub fn new(options: &Options, filter: Filter, renderer: Renderer) -> Tail {
        Tail {
            filter,
            renderer,
            unverified: options.unverified,
            strict: options.strict,
            count: options.count,
            timeout: options.timeout,
            counts: Counts::default(),
            jq_told: HashSet::new(),
            not_missed: Vec::new(),
            last_record: None,
            record: Vec::new(),
        }
    }

    /// That one of these endpoints is down is told only to those who ask for everything: without any
    /// configuration, nobody has to publish.
    pub fn not_missing(mut self, endpoints: Vec<Identity>) -> Tail {
        self.not_missed = endpoints;
        self
    }

    /// What was seen so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The exit code of a tail that ended so, where `signal` is that of the signal that closed it.
    pub fn code(&self, end: End, signal: Option<Code>) -> Code {
        let counts = &self.counts;
        let wanted = self.count.unwrap_or(1);
        match (end, signal) {
            _ if self.strict && counts.is_trouble() => Code::Trouble,
            (End::TimedOut, _) if counts.printed < wanted => Code::TimedOut,
            (End::Closed, Some(code)) => code,
            _ => Code::Ok,
        }
    }

    /// Prints events until there is a reason to stop. Flushes whenever no event is waiting.
    ///
    /// `recv(time-out)` gives the next event; `None` says that the time is over, or that no event will ever
    /// come again: the loop tells these apart by its own clock.
    pub fn follow<W: Write>(
        &mut self,
        mut recv: impl FnMut(Option<Duration>) -> Option<Event>,
        data: &mut Data<W>,
    ) -> io::Result<End> {
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let left = || deadline.map(|end| end.saturating_duration_since(Instant::now()));
        let mut unflushed = 0;
        loop {
            let waiting = match unflushed {
                0 => None,
                UNFLUSHED_MAX.. => None,
                _ => recv(Some(Duration::ZERO)),
            };
            let event = match waiting {
                Some(event) => event,
                None => {
                    if unflushed > 0 && data.flush()?.is_gone() {
                        return Ok(End::ReaderGone);
                    }
                    unflushed = 0;
                    let Some(event) = recv(left()) else {
                        let is_over = left().is_some_and(|left| left.is_zero());
                        return Ok(if is_over { End::TimedOut } else { End::Closed });
                    };
                    event
                }
            };
            unflushed += 1;
            if self.take(&event) && data.record(&self.record)?.is_gone() {
                return Ok(End::ReaderGone);
            }
            let end = match self.count {
                Some(count) if self.counts.printed >= count => Some(End::Counted),
                // A busy bus must not outlast the time.
                _ if left().is_some_and(|left| left.is_zero()) => Some(End::TimedOut),
                _ => None,
            };
            if let Some(end) = end {
                return Ok(if data.flush()?.is_gone() { End::ReaderGone } else { end });
            }
        }
    }

    /// Counts and tells one event; whether `record` holds something to be printed.
    fn take(&mut self, event: &Event) -> bool {
        self.count(event);
        match event {
            Event::Endpoint(change) if self.not_missed.contains(&change.endpoint) => {
                info!("{change}");
            }
            event => tell(event, self.unverified),
        }
        match event {
            Event::Message(message) | Event::Internal(message) => {
                self.print(&Item::Verified(message))
            }
            Event::Stale(message) => self.print(&Item::Stale(message)),
            Event::Rejected(rejected) => self.print(&Item::Rejected(rejected)),
            _ => false,
        }
    }

    fn count(&mut self, event: &Event) {
        let counts = &mut self.counts;
        match event {
            Event::Message(_) => counts.verified += 1,
            Event::Stale(_) => counts.stale += 1,
            Event::Rejected(_) => counts.rejected += 1,
            Event::Lost(lost) => counts.lost += lost.count(),
            Event::Fork(_) => counts.forks += 1,
            _ => {}
        }
        counts.received = counts.verified + counts.stale + counts.rejected;
    }

    fn print(&mut self, item: &Item<'_>) -> bool {
        self.record.clear();
        match self.filter.keeps(item) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(failure) => {
                self.tell_jq(&failure);
                return false;
            }
        }
        let since_last = match self.renderer.wants_delta() {
            true => {
                let now = Instant::now();
                let last = self.last_record.replace(now);
                last.map_or(Duration::ZERO, |last| now.duration_since(last))
            }
            false => Duration::ZERO,
        };
        if let Err(failure) = self.renderer.render(item, since_last, &mut self.record) {
            self.tell_jq(&failure);
        }
        let is_there = !self.record.is_empty();
        self.counts.printed += u64::from(is_there);
        is_there
    }

    /// Each failure is told once.
    fn tell_jq(&mut self, failure: &JqError) {
        self.counts.jq_failures += 1;
        let text = failure.to_string();
        if self.jq_told.len() < JQ_FAILURES_MAX && self.jq_told.insert(text) {
            warn!("the jq program failed on a message: {failure}");
        }
    }
}

/// Tells troubles and changes to the log.
fn tell(event: &Event, unverified: Unverified) {
    match event {
        Event::Lost(lost) => warn!("{lost}"),
        Event::Stalled(stalled) => warn!("{stalled}"),
        Event::Fork(fork) => error!("{fork}"),
        Event::Rejected(rejected) => tell_rejected(rejected, unverified),
        Event::Stale(message) if unverified == Unverified::Hide => warn!(
            repeat = %format_args!("stale {}", message.verified.stream()),
            "not shown, because it may be old traffic sent again: {} number {} on {}",
            message.verified.stream(),
            message.verified.i(),
            message.verified.topic(),
        ),
        Event::Epoch(change) => match change.proven || change.from.is_none() {
            true => info!("{change}"),
            false => warn!("{change}"),
        },
        Event::Endpoint(change) => match change.status {
            EndpointStatus::Up => info!("{change}"),
            _ => warn!("{change}"),
        },
        // Each is said, also one that brings back what was in force before.
        Event::Config(change) => match change {
            ConfigChange::Broken(_) => error!(repeat = ?Instant::now(), "{change}"),
            _ => info!(repeat = ?Instant::now(), "{change}"),
        },
        _ => {}
    }
}

/// A refusal that is printed is told to those alone who ask for everything.
fn tell_rejected(rejected: &Rejected, unverified: Unverified) {
    let key = format!("rejected {} {}", rejected.reason.name(), rejected.endpoint);
    match unverified {
        Unverified::Hide => warn!(repeat = key, "{rejected}"),
        Unverified::Show | Unverified::Only => debug!(repeat = key, "{rejected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ModeOptions;
    use crate::render::{COLUMNS, Look};
    use crate::testing::{self, Bus};
    use fedmsg::event::{Lost, LostReason};
    use fedmsg::topic::Naming;

    fn tail(change: impl FnOnce(&mut Options)) -> Tail {
        let mode = ModeOptions { format: Some("%i".into()), ..ModeOptions::default() };
        let mut options = Options { mode, ..Options::default() };
        change(&mut options);
        let look = Look { columns: COLUMNS, color: false, is_terminal: false, zone: None };
        let filter = Filter::new(&options, &Naming::default()).expect("filter");
        let renderer = Renderer::new(&options, look).expect("renderer");
        Tail::new(&options, filter, renderer)
    }

    /// Five messages with a gap of two, a forged one, an old one and a heartbeat behind them.
    fn events() -> Vec<Event> {
        let mut bus = Bus::default();
        let mut message = || bus.message(testing::draft("a.b", r#"{"a":1}"#));
        let mut events: Vec<_> = (0..3).map(|_| Event::Message(message())).collect();
        let first = message();
        let _lost = message();
        let last = message();
        let (stream, epoch) = (first.verified.stream().clone(), first.verified.epoch());
        events.push(Event::Lost(Lost::new(stream, epoch, (4, 5), LostReason::Absent)));
        events.push(Event::Message(last));
        events.push(Event::Stale(first));
        events.push(Event::Rejected(bus.forged(testing::draft("a.b", "{}"))));
        events.push(Event::Internal(bus.heartbeat()));
        events
    }

    /// Follows the events until they end; a call without a time-out at the end says: closed.
    fn follow(tail: &mut Tail, events: Vec<Event>) -> (End, String) {
        let (mut out, mut events) = (Vec::new(), events.into_iter());
        let end = tail.follow(|_| events.next(), &mut Data::new(&mut out, false));
        (end.expect("end"), String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn a_tail_prints_what_is_verified_and_counts_everything() {
        let mut tail = tail(|_| {});
        assert_eq!(follow(&mut tail, events()), (End::Closed, "1\n2\n3\n6\n7\n".into()));
        let line = "received 6 verified 4 rejected 1 lost 2 stale 1";
        assert_eq!(tail.counts().line(), line);
        let json: serde_json::Value = serde_json::from_str(&tail.counts().json()).expect("JSON");
        assert_eq!((&json["lost"], &json["printed"]), (&2.into(), &5.into()));
    }

    #[test]
    fn a_tail_stops_by_count() {
        let mut tail = tail(|options| options.count = Some(2));
        assert_eq!(follow(&mut tail, events()), (End::Counted, "1\n2\n".into()));
        assert_eq!(tail.code(End::Counted, None), Code::Ok);
    }

    #[test]
    fn a_tail_stops_when_its_time_is_over() {
        let mut tail = tail(|options| options.timeout = Some(Duration::ZERO));
        let (end, text) = follow(&mut tail, events());
        assert_eq!((end, text.as_str()), (End::TimedOut, "1\n"));
        assert_eq!(follow(&mut tail, vec![]), (End::TimedOut, String::new()));
    }

    #[test]
    fn the_exit_code_tells_how_it_went() {
        let nothing = |_: &mut Options| {};
        let strict = |options: &mut Options| options.strict = true;
        let two = |options: &mut Options| options.count = Some(9);
        let int = Some(Code::Interrupted);
        for (change, events, end, signal, expected) in [
            (nothing as fn(&mut Options), vec![], End::TimedOut, None, Code::TimedOut),
            (nothing, events(), End::TimedOut, None, Code::Ok),
            (two, events(), End::TimedOut, None, Code::TimedOut),
            (nothing, events(), End::Closed, int, Code::Interrupted),
            (strict, events(), End::Closed, int, Code::Trouble),
            (strict, events(), End::ReaderGone, None, Code::Trouble),
            (strict, vec![], End::Closed, None, Code::Ok),
            (nothing, events(), End::ReaderGone, None, Code::Ok),
        ] {
            let mut tail = tail(change);
            follow(&mut tail, events);
            assert_eq!(tail.code(end, signal), expected);
        }
    }

    #[test]
    fn a_failing_program_prints_nothing_and_stops_nothing() {
        let mut tail = tail(|options| {
            let map = Some(r#"if .i < 3 then error("no") else .i end"#.into());
            options.mode = ModeOptions { map, ..ModeOptions::default() };
        });
        assert_eq!(follow(&mut tail, events()).1, "3\n6\n7\n");
        assert_eq!((tail.counts().jq_failures, tail.jq_told.len()), (2, 1));
    }

    #[test]
    fn a_reader_that_left_ends_it() {
        struct Left;
        impl Write for Left {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut tail, mut events) = (tail(|_| {}), events().into_iter());
        let end = tail.follow(|_| events.next(), &mut Data::new(Left, true));
        assert_eq!(end.expect("end"), End::ReaderGone);
    }

    #[test]
    fn records_are_written_when_nothing_is_waiting() {
        let written = std::cell::RefCell::new(Vec::new());
        struct Page<'a>(&'a std::cell::RefCell<Vec<u8>>);
        impl Write for Page<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.borrow_mut().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut seen = Vec::new();
        let mut waiting = events().into_iter();
        let recv = |timeout: Option<Duration>| {
            if timeout.is_none() {
                seen.push(written.borrow().len());
            }
            waiting.next()
        };
        tail(|_| {}).follow(recv, &mut Data::new(Page(&written), false)).expect("end");
        assert_eq!(seen, [0, "1\n2\n3\n6\n7\n".len()]);
    }
}
