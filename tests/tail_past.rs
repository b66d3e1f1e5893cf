//! The past, straight from the journals of those who keep it, and then the present.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::SystemTime;

use fedmsg::timestamp::Timestamp;

use crate::harness::{Bus, Program, free_port};

/// Runs a tail until it ends; its exit code, its lines, and what it said.
fn tail(bus: &Bus, arguments: &[&str]) -> (i32, Vec<String>, Vec<String>) {
    bus.tail(arguments).end()
}

/// `SLOT:I` of each line.
const PLACES: [&str; 2] = ["--format", "%n:%i"];

fn places(bus: &Bus, arguments: &[&str]) -> Vec<String> {
    let (code, lines, said) = tail(bus, &[&PLACES[..], arguments].concat());
    assert_eq!(code, 0, "{said:?}");
    lines
}

/// The place that a publisher's program was told for a message.
fn sent(answer: &str) -> String {
    let words: Vec<&str> = answer.split(' ').collect();
    assert_eq!(words[0], "sent", "{answer}");
    format!("{}:{}", words[1], words[3])
}

/// Messages carry milliseconds: the next one is later than all that were.
fn next_millisecond() -> Timestamp {
    let now = || Timestamp::from(SystemTime::now());
    let before = now();
    loop {
        let later = now();
        if later > before {
            return later;
        }
    }
}

/// Two services with three processes that published in turn, one message after the other; two of the
/// processes are dead by now. The places of all, in the order of time, and the processes that live.
fn three_streams(bus: &Bus) -> (Vec<String>, Vec<Program>) {
    bus.service_with_replay("app.one", 2);
    bus.service_with_replay("web.two", 2);
    let mut programs = Vec::new();
    for identity in ["app.one", "app.one", "web.two"] {
        programs.push(bus.process(identity).0);
    }
    let mut all = Vec::new();
    for n in 0..12_usize {
        let service = if n % 3 == 2 { "web" } else { "app" };
        all.push(sent(&programs[n % 3].ask(&format!("{service}.n {{\"n\":{n}}}"))));
        next_millisecond();
    }
    // The first process of one service dies, and the only one of the other: another one of it answers.
    programs[0].kill();
    programs[2].kill();
    let second = bus.process("web.two");
    programs[2] = second.0;
    programs.remove(0);
    (all, programs)
}

#[test]
fn the_past_of_living_and_dead_processes_is_shown_by_time() {
    let bus = Bus::new(&[]);
    let (all, _programs) = three_streams(&bus);
    assert_eq!(places(&bus, &["--all", "--no-follow", "--strict"]), all);
    assert_eq!(places(&bus, &["--since", "1h", "--no-follow"]), all);
    assert_eq!(places(&bus, &["--last", "5", "--no-follow"]), all[7..]);
    assert_eq!(places(&bus, &["--last", "2", "--no-follow", "web"]), [&all[8][..], &all[11][..]]);
    let (first, count) = (["--all", "--no-follow"], ["--count", "3"]);
    assert_eq!(places(&bus, &[first, count].concat()), all[..3]);
    // Each stream is in its own order, however they come.
    let mut streams: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for place in places(&bus, &["--all", "--no-follow", "--order", "arrival"]) {
        let (stream, i) = place.split_once(':').expect("a place");
        streams.entry(stream.into()).or_default().push(i.into());
    }
    assert_eq!(streams.len(), 3);
    assert!(streams.values().all(|numbers| *numbers == ["1", "2", "3", "4"]), "{streams:?}");
}

#[test]
fn a_time_and_a_place_in_a_stream_say_where_to_begin() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    bus.service_with_replay("web.two", 1);
    let (mut app, _) = bus.process("app.one");
    let (mut web, _) = bus.process("web.two");
    for _ in 0..3 {
        app.ask("app.n {}");
        web.ask("web.n {}");
    }
    let time = next_millisecond().to_string();
    for _ in 0..2 {
        app.ask("app.n {}");
        next_millisecond();
        web.ask("web.n {}");
        next_millisecond();
    }
    let later = ["app.one/0:4", "web.two/0:4", "app.one/0:5", "web.two/0:5"];
    assert_eq!(places(&bus, &["--since", &time, "--no-follow"]), later);
    // The others begin with what comes.
    let from = ["--from", "app.one/0:4", "--no-follow"];
    assert_eq!(places(&bus, &from), ["app.one/0:4", "app.one/0:5"]);
    let both = ["--from", "app.one/0:5", "--from", "web.two/0:5", "--no-follow"];
    assert_eq!(places(&bus, &both), ["app.one/0:5", "web.two/0:5"]);
    let other = ["--from", "app.one/0:5", "--since", &time, "--no-follow"];
    assert_eq!(places(&bus, &other), ["web.two/0:4", "app.one/0:5", "web.two/0:5"]);
    let mut tail = bus.tail(&[&PLACES[..], &["--from", "app.one/0:5"]].concat());
    assert_eq!(tail.line(), "app.one/0:5");
    tail.says("web.two/0 is live");
    let place = sent(&web.ask("web.n {}"));
    assert_eq!(tail.line(), place);
}

#[test]
fn the_present_follows_the_past_without_a_seam() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    bus.service_with_replay("web.two", 1);
    let (mut app, _) = bus.process("app.one");
    let (mut web, _) = bus.process("web.two");
    app.ask("many 5000 app.n {}");
    web.ask("many 5000 web.n {}");
    for order in ["time", "arrival"] {
        let stop = AtomicBool::new(false);
        let mut tail = bus.tail(&[&PLACES[..], &["--all", "--order", order]].concat());
        let lines = thread::scope(|scope| {
            let publishing = scope.spawn(|| {
                let mut last = String::new();
                while !stop.load(Ordering::SeqCst) {
                    last = sent(&app.ask("app.n {}"));
                }
                last
            });
            tail.says("the past of 2 streams was read");
            let mut lines: Vec<String> = (0..11_000).map(|_| tail.line()).collect();
            stop.store(true, Ordering::SeqCst);
            let last = publishing.join().expect("published");
            while !lines.contains(&last) {
                lines.push(tail.line());
            }
            lines
        });
        let numbers = |stream: &str| -> Vec<u64> {
            let of = |line: &String| line.strip_prefix(stream)?.strip_prefix(':')?.parse().ok();
            lines.iter().filter_map(of).collect()
        };
        let (app, web) = (numbers("app.one/0"), numbers("web.two/0"));
        assert!(app.iter().copied().eq(1..=app.len() as u64), "nothing twice, nothing missing");
        assert!(app.len() > 5_000 && web.into_iter().eq(1..=5_000), "{order}");
    }
}

#[test]
fn who_does_not_answer_is_named() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    bus.service_with_replay("web.two", 1);
    bus.service("old.three", 1);
    let (mut app, _) = bus.process("app.one");
    let (mut web, _) = bus.process("web.two");
    app.ask("app.n {}");
    web.ask("web.n {}");
    web.kill();
    let (code, lines, said) = tail(&bus, &["--all", "--no-follow", "--topics-only"]);
    assert_eq!((code, lines.len()), (75, 1), "{said:?}");
    let has = |texts: [&str; 2]| said.iter().any(|line| texts.iter().all(|t| line.contains(t)));
    assert!(
        has(["nobody answers at the replay addresses of web.two", "try again later"]),
        "{said:?}"
    );
    assert!(has(["no `replay` address is configured", "old.three"]), "{said:?}");
    // Whoever follows sees it when the service is back.
    let mut tail = bus.tail(&[&PLACES[..], &["--all"]].concat());
    tail.says("nobody answers at the replay addresses of web.two");
    assert_eq!(tail.line(), "app.one/0:1");
    let (_web, _) = bus.process("web.two");
    assert_eq!(tail.line(), "web.two/0:1");
}

#[test]
fn a_past_that_nobody_keeps_is_said() {
    let bus = Bus::new(&[]);
    bus.service("old.three", 1);
    let (code, _, said) = tail(&bus, &["--all", "--no-follow"]);
    assert!(code == 1 && said.iter().any(|line| line.contains("there is no past")), "{said:?}");
    let (code, _, said) = tail(&bus, &["--from", "old.three/0:1"]);
    assert!(code == 1 && said.iter().any(|line| line.contains("old.three/0")), "{said:?}");
    // What comes can be shown all the same.
    let (mut old, _) = bus.process("old.three");
    let mut following = bus.tail(&[&PLACES[..], &["--since", "2h"]].concat());
    following.says("there is no past to read");
    assert_eq!(old.ask("subscribers 1"), "subscribers true");
    old.ask("old.n {}");
    assert_eq!(following.line(), "old.three/0:1");
    bus.service_with_replay("app.one", 1);
    let (mut app, _) = bus.process("app.one");
    app.ask("app.n {}");
    let (code, _, said) = tail(&bus, &["--from", "app.one/7:1", "--no-follow"]);
    assert!(code == 75 && said.iter().any(|line| line.contains("app.one/7")), "{said:?}");
}

#[test]
fn the_past_goes_with_the_other_options() {
    let bus = Bus::new(&[]);
    bus.service_with_replay("app.one", 1);
    let (mut app, _) = bus.process("app.one");
    for _ in 0..3 {
        app.ask("app.n {}");
    }
    let from = ["--from", "app.one/0:9", "--no-follow", "--strict"];
    assert_eq!(places(&bus, &from), Vec::<String>::new(), "it is not there yet, and not lost");
    let json = ["--all", "--no-follow", "--json", "--filter", ".i > 1"];
    let (code, lines, _) = tail(&bus, &json);
    assert_eq!((code, lines.len()), (0, 2));
    for (line, i) in lines.iter().zip(2..) {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&line["i"], &line["verdict"]), (&i.into(), &"verified".into()));
    }
    let (code, lines, _) = tail(&bus, &["--all", "--timeout", "20s", "--count", "3"]);
    assert_eq!((code, lines.len()), (0, 3));
}

#[test]
fn the_journals_of_two_hundred_processes_are_read_at_once() {
    let bus = Bus::new(&[]);
    bus.key("app.one");
    let ports: Vec<String> = (0..200).map(|_| format!("tcp://127.0.0.1:{}", free_port())).collect();
    let replay = format!("tcp://127.0.0.1:{}", free_port());
    let text = format!("[endpoints.\"app.one\"]\npublish = {ports:?}\nreplay = {:?}\n", [replay]);
    std::fs::write(bus.entry_path("app.one"), text).expect("written");
    let mut publishers: Vec<_> = (0..200).map(|_| bus.publisher("app.one")).collect();
    for publisher in &publishers {
        for _ in 0..10 {
            let draft = fedmsg::Draft::new("app.n").body(&serde_json::json!({}));
            drop(publisher.enqueue(draft).expect("taken"));
        }
    }
    // Only the first one serves, which is the journals of all.
    publishers.drain(1..).for_each(|publisher| publisher.close());
    let lines = places(&bus, &["--all", "--no-follow", "--strict"]);
    let distinct: BTreeSet<_> = lines.iter().collect();
    assert_eq!((lines.len(), distinct.len()), (2_000, 2_000));
    assert_eq!(places(&bus, &["--last", "3", "--no-follow"]), lines[1_997..]);
}
