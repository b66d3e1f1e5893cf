//! R16: what a publisher says is on its disk before it says it, as the kernel sees it.

use std::path::Path;

use crate::harness::trace::{self, Call};
use crate::harness::{Bus, Program, command, not_run};

/// Messages, large enough for several segments, in groups and one by one.
const MANY: u64 = 300;
const SINGLE: u64 = 20;
const BYTES: usize = 400;

/// Runs a publisher under strace with somebody who reads; the calls, and the folder of the journal.
fn run(bus: &Bus) -> Vec<Call> {
    let settings = "[journal]\nsegment_bytes = 65536\n";
    std::fs::write(bus.path("etc/15-journal.toml"), settings).expect("written");
    let file = bus.path("trace");
    let mut publisher = command("examples/publisher");
    publisher.arg(bus.etc()).arg("app.one");
    let mut publisher = Program::start(trace::traced(&publisher, &file));
    let ready = publisher.line();
    assert!(ready.starts_with("ready app.one/0 ") && ready.ends_with(" direct"), "{ready}");
    let mut tail = bus.tail(&["--format", "%i"]);
    assert_eq!(publisher.ask("subscribers 1"), "subscribers true");
    publisher.tell(&format!("each {MANY} app.n strace {BYTES}"));
    for i in 1..=MANY {
        let sent = publisher.line();
        assert!(sent.ends_with(&format!(" {i} -")), "{sent}");
    }
    for i in MANY + 1..=MANY + SINGLE {
        assert!(publisher.ask("app.n {}").ends_with(&format!(" {i} -")));
    }
    assert!((1..=MANY + SINGLE).all(|i| tail.line() == i.to_string()), "all of them came");
    publisher.end_input();
    assert_eq!(publisher.line(), "closed");
    assert_eq!(publisher.end().0, 0);
    trace::calls(&file)
}

/// The name that a segment has in the end.
fn segment(call: &Call) -> Option<&str> {
    Some(call.on.trim_end_matches(".new")).filter(|path| path.ends_with(".seg"))
}

/// When the record of this number was durable: its bytes were written, the file was synced, and where the file was new,
/// its name, too.
fn durable(calls: &[Call], journal: &Path, i: u64) -> usize {
    let text = format!("\"i\":{i},\"prev\":");
    let write = calls.iter().find(|c| c.name == "pwrite64" && segment(c).is_some() && c.has(&text));
    let write = write.unwrap_or_else(|| panic!("number {i} was never written"));
    let after = |end: Option<usize>| end.unwrap_or(usize::MAX);
    let sync = calls.iter().find(|c| {
        matches!(&*c.name, "fdatasync" | "fsync")
            && segment(c) == segment(write)
            && c.succeeded()
            && c.begin > after(write.end)
    });
    let sync = sync.unwrap_or_else(|| panic!("number {i} was never synced"));
    if !write.on.ends_with(".new") {
        return after(sync.end);
    }
    let path = Path::new(segment(write).unwrap_or_default());
    let rename = calls.iter().find(|c| {
        c.name.starts_with("rename") && trace::renamed(c).is_some_and(|(_, to)| to == path)
    });
    let rename = rename.unwrap_or_else(|| panic!("{} never got its name", path.display()));
    assert!(rename.begin > after(sync.end), "{} has its name too early", path.display());
    let folder = calls.iter().find(|c| {
        c.name == "fsync"
            && Path::new(&c.on) == journal
            && c.succeeded()
            && c.begin > after(rename.end)
    });
    after(folder.unwrap_or_else(|| panic!("the name of {} was never synced", path.display())).end)
}

#[test]
fn every_answer_and_every_frame_follows_the_sync_that_covers_its_record() {
    if !trace::available() {
        return not_run("strace", "strace is not here, or may not trace");
    }
    let bus = Bus::with(&["app.one"]);
    let calls = run(&bus);
    let journal = bus.path("state/streams/app.one/0/journal");
    let mut on_wire = 0;
    for i in 1..=MANY + SINGLE {
        let durable = durable(&calls, &journal, i);
        let text = format!(" {i} -\\n");
        let answer = calls.iter().find(|c| c.name == "write" && c.has("sent ") && c.has(&text));
        let answer = answer.unwrap_or_else(|| panic!("number {i} was never answered"));
        assert!(answer.begin > durable, "number {i} was answered before it was synced");
        let text = format!("\"i\":{i},\"prev\":");
        let socket = |c: &&Call| !c.on.starts_with('/') && c.has(&text);
        for frame in calls.iter().filter(socket) {
            assert!(frame.begin > durable, "number {i} was sent before it was synced: {frame:?}");
            on_wire += 1;
        }
    }
    // A frame may be cut where a buffer of 0mq ends, so some are not recognised.
    assert!(on_wire > MANY / 2, "{on_wire} frames were seen on the wire");
    let segments = calls.iter().filter(|c| c.name.starts_with("rename")).filter_map(trace::renamed);
    let segments = segments.filter(|(_, to)| to.extension().is_some_and(|end| end == "seg"));
    assert!(segments.count() > 2, "several segments were begun");
}
