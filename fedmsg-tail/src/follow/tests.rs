//! The loop, without a bus.

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

/// Five messages of the past, one of the present in between, and the end of the past.
fn past() -> Vec<Event> {
    let mut bus = Bus::default();
    let mut message = || bus.message(testing::draft("a.b", "{}"));
    let mut events = Vec::new();
    for n in 1..=6 {
        let mut message = message();
        message.replayed = n != 3;
        events.push(Event::Message(message));
    }
    events.push(Event::CaughtUp(CaughtUp::default()));
    events.push(Event::Message(message()));
    events
}

fn reading(change: impl FnOnce(&mut Options)) -> Tail {
    let mut options = Options::default();
    options.past.all = true;
    change(&mut options);
    let utc = jiff::tz::TimeZone::UTC;
    let past = Past::new(&options.past, testing::NOW, &utc).expect("a past");
    let change = |target: &mut Options| {
        (target.past, target.count) = (options.past, options.count);
        (target.timeout, target.strict) = (options.timeout, options.strict);
    };
    tail(change).with_past(past.as_ref())
}

fn last(options: &mut Options) {
    (options.past.all, options.past.last) = (false, Some(2));
}

#[test]
fn the_past_is_shown_and_then_the_present() {
    let mut tail = reading(|_| {});
    let text = "1\n2\n3\n4\n5\n6\n7\n";
    assert_eq!(follow(&mut tail, past()), (End::Closed, text.into()));
    assert_eq!(tail.code(End::Closed, None), Code::Ok);
}

#[test]
fn the_past_alone_ends_by_itself_and_shows_nothing_else() {
    let mut tail = reading(|options| options.past.no_follow = true);
    assert_eq!(follow(&mut tail, past()), (End::PastOver, "1\n2\n4\n5\n6\n".into()));
    assert_eq!(tail.code(End::PastOver, None), Code::Ok);
    assert_eq!(tail.counts().received, 5);
}

#[test]
fn the_last_ones_are_shown_when_the_past_is_over() {
    let mut tail = reading(last);
    // The one of the present is not held back.
    assert_eq!(follow(&mut tail, past()), (End::Closed, "3\n5\n6\n7\n".into()));
    assert_eq!(tail.counts().printed, 4);
    let mut counted = reading(|options| {
        last(options);
        (options.past.no_follow, options.count) = (true, Some(1));
    });
    assert_eq!(follow(&mut counted, past()), (End::Counted, "5\n".into()));
}

#[test]
fn a_past_that_was_not_read_to_the_end_has_a_code_of_its_own() {
    let mut incomplete = CaughtUp::default();
    incomplete.unreachable.push(Identity::parse("a.b").expect("identity"));
    let mut events = past();
    events[6] = Event::CaughtUp(incomplete);
    let mut tail = reading(|options| options.past.no_follow = true);
    let (end, _) = follow(&mut tail, events.clone());
    assert_eq!(tail.code(end, None), Code::RetryLater);
    // Whoever follows sees what is left when it can be had.
    let mut tail = reading(|_| {});
    let (end, _) = follow(&mut tail, events);
    assert_eq!(tail.code(end, None), Code::Ok);
    // Nobody has a stream that was asked for by name.
    let mut tail = reading(|options| {
        options.past.from.push(crate::past::Spot::parse("a.b/9:1").expect("a place"));
        options.past.no_follow = true;
    });
    let (end, _) = follow(&mut tail, past());
    assert_eq!(tail.code(end, None), Code::RetryLater);
}

#[test]
fn a_past_for_which_there_is_no_time_shows_what_there_is() {
    let mut tail = reading(|options| {
        last(options);
        (options.past.no_follow, options.timeout) = (true, Some(Duration::ZERO));
    });
    let (end, text) = follow(&mut tail, past());
    assert_eq!((end, text.as_str()), (End::TimedOut, "1\n"));
    assert_eq!(tail.code(end, None), Code::TimedOut);
}
