//! `fedmsg publish`.

use serde_json::{Value, json};

use crate::harness::{Bus, Program};

fn publish(bus: &Bus, identity: &str, arguments: &[&str]) -> Program {
    let mut command = bus.program("fedmsg");
    command.env("FEDMSG_IDENTITY", identity).arg("publish").args(arguments);
    Program::start(command)
}

fn bus() -> Bus {
    let bus = Bus::new(&["relay.one"]);
    bus.key("log.one");
    bus
}

#[test]
fn it_publishes_an_argument_and_lines() {
    let bus = bus();
    let _relay = bus.relay("relay.one");
    let mut tail = bus.tail(&["--json"]);
    tail.says("relay.one/0 is live");
    let arguments =
        ["log.a", "{\"n\":1}", "--header", "k=v", "--severity", "error", "--summary", "it broke"];
    let (code, out, errors) = publish(&bus, "log.one", &arguments).end();
    assert_eq!((code, out.len()), (0, 1), "{errors:?}");
    let message = &tail.json()["message"];
    assert_eq!((&message["msg"], &message["msg_id"]), (&json!({"n": 1}), &json!(out[0])));
    let headers = json!({"k": "v", "severity": "error", "summary": "it broke"});
    assert_eq!(message["headers"], headers);

    let mut lines = publish(&bus, "log.one", &["log.b", "--lines", "--json"]);
    lines.tell("plain text");
    lines.tell("{\"n\":2}");
    let (code, out, errors) = lines.end();
    assert_eq!((code, out.len()), (0, 2), "{errors:?}");
    for (line, body) in out.iter().zip([json!({"text": "plain text"}), json!({"n": 2})]) {
        let said: Value = serde_json::from_str(line).expect("JSON");
        let message = &tail.json()["message"];
        assert_eq!((&message["msg"], &message["msg_id"]), (&body, &said["msg_id"]));
    }
}

#[test]
fn the_exit_code_tells_what_went_wrong() {
    let bus = bus();
    let out = publish(&bus, "log.one", &["log.a", "{}", "--timeout", "300ms"]).end();
    assert_eq!(out.0, 0, "no relay runs, and it is queued: {out:?}");
    let out = publish(&bus, "log.one", &["log.a", "{}", "--wait", "relay", "--timeout", "300ms"]);
    assert_eq!({ out }.end().0, 75, "that is not enough");
    let mut out = bus.program("fedmsg");
    out.env("FEDMSG_IDENTITY", "log.one").env("FEDMSG__PUBLISHER__LEVEL", "memory");
    out.args(["publish", "log.a", "{}", "--timeout", "300ms"]);
    assert_eq!(Program::start(out).end().0, 7, "without an outbox it is lost");
    let _relay = bus.relay("relay.one");
    let out = publish(&bus, "log.one", &["web.a", "{}"]).end();
    assert_eq!(out.0, 6, "another service's topic: {out:?}");
    let out = publish(&bus, "log.one", &["log.a", "{}", "-q"]).end();
    assert_eq!((out.0, out.1.len()), (0, 0), "{out:?}");
}
