//! Pods that were killed when one relay had more of their messages than the other one. Which relay a reader asks first
//! depends on the name of the stream, so there are enough of them that some begin with the wrong one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::{Bus, Program, command};

const PODS: usize = 8;

fn consumer(bus: &Bus) -> Program {
    let mut consumer = command("examples/consumer");
    consumer.arg(bus.etc()).arg("badges").arg(bus.path("effects"));
    Program::start(consumer)
}

/// Waits until these are done.
fn done(consumer: &mut Program, mut left: BTreeSet<String>) {
    while !left.is_empty() {
        let line = consumer.line();
        assert!(!line.starts_with("wrong"), "{line}");
        if let ["done", stream, _, i, ..] = line.split(' ').collect::<Vec<_>>()[..] {
            left.remove(&format!("{stream} {i}"));
        }
    }
}

#[test]
fn the_last_messages_of_a_pod_are_had_from_whichever_relay_has_them() {
    let bus = Bus::new(&["relay.one", "relay.two"]);
    bus.key("app.pod");
    let text = "[publisher]\ncopies_wait_ms = 20000\n[publisher.levels]\napp = \"stored(1)\"\n";
    fs::write(bus.path("etc/15.toml"), text).expect("written");
    let folder = bus.copy("pod");
    let nowhere = Path::new("/proc/nowhere");
    fs::write(folder.join("90.toml"), format!("[bus]\nstate_dir = {nowhere:?}\n"))
        .expect("written");
    let mut first = bus.relay("relay.one");
    let _second = bus.relay("relay.two");
    let mut reader = consumer(&bus);
    let mut pods: Vec<Program> = (0..PODS).map(|_| bus.process_in(&folder, "app.pod").0).collect();
    let sent = |pods: &mut [Program], n: u64| -> BTreeSet<String> {
        let one = |pod: &mut Program| {
            let said = pod.ask(&format!("app.n {{\"tag\":\"t\",\"n\":{n}}}"));
            let words: Vec<&str> = said.split(' ').collect();
            let ["sent", stream, _, i, _] = words[..] else { panic!("{said}") };
            format!("{stream} {i}")
        };
        pods.iter_mut().map(one).collect()
    };
    let before = sent(&mut pods, 1);
    done(&mut reader, before);
    reader.end_input();
    assert_eq!(reader.end().0, 0);
    first.kill();
    let after = sent(&mut pods, 2);
    pods.iter_mut().for_each(Program::kill);
    let _first = bus.relay("relay.one");
    let mut reader = consumer(&bus);
    done(&mut reader, after);
}
