//! One sample or more of every replay frame, for the golden vectors and for the property tests.

use bytes::Bytes;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::frames::{
    Acknowledged, Answer, Ask, Completeness, ErrorCode, Range, Reply, Request, RequestId, Span,
    Spot, Word,
};
use fedmsg::identity::StreamName;
use fedmsg::merkle::Leaf;
use fedmsg::timestamp::Timestamp;
use fedmsg::topic::Pattern;

const SPAN: Span = Span { at: 2, count: 3 };

fn id() -> RequestId {
    RequestId::new(b"\x00\x01req").expect("5 bytes")
}

fn stream() -> StreamName {
    StreamName::parse("bodhi.backend01/0").expect("stream")
}

fn epoch(last_digit: u8) -> Epoch {
    Epoch::parse(&format!("01997530-0000-7000-8000-00000000000{last_digit}")).expect("epoch")
}

fn word(text: &str) -> Word {
    Word::parse(text).expect("word")
}

/// The envelopes here are short stand-ins: replay frames carry them without looking inside.
fn wire(text: &str) -> Wire {
    let topic = Bytes::from_static(b"org.example.prod.bodhi.update.comment");
    Wire { topic, envelope: format!("{{{text}}}").into() }
}

fn spot(i: u64) -> Spot {
    Spot { stream: stream(), epoch: epoch(1), i }
}

pub fn requests() -> Vec<(&'static str, Request)> {
    let filters = ["org.example.prod.bodhi", "*.*.prod.>"];
    let filters = filters.map(|text| Pattern::subscription(text).expect("pattern")).to_vec();
    let get = |to, max, filters| Ask::Get {
        stream: stream(),
        epoch: epoch(1),
        from: 0,
        to,
        max,
        filters,
    };
    let asks = [
        ("HEAD", Ask::Head { stream: stream() }),
        ("LIST, all", Ask::List { token: Bytes::new() }),
        ("LIST, since a token", Ask::List { token: Bytes::from_static(b"\x00token") }),
        ("FIND", Ask::Find { stream: stream(), time: Timestamp::from_millis(1_790_000_000_123) }),
        ("GET", get(4711, 1000, Vec::new())),
        ("GET, filtered, to the end", get((1 << 53) - 1, u64::MAX, filters)),
        ("PUT, one message", Ask::Put { messages: vec![wire("1")] }),
        ("PUT, two messages", Ask::Put { messages: vec![wire("1"), wire("2")] }),
        (
            "ACK",
            Ask::Ack { stream: stream(), epoch: epoch(1), upto: 4711, consumer: word("badges") },
        ),
        ("FLOORS", Ask::Floors { stream: stream() }),
    ];
    asks.into_iter().map(|(name, ask)| (name, Request { id: id(), ask })).collect()
}

pub fn answers() -> Vec<(&'static str, Answer)> {
    let replies = [to_questions(), to_put(), to_anything()].concat();
    replies.into_iter().map(|(name, reply)| (name, Answer { id: id(), reply })).collect()
}

fn to_questions() -> Vec<(&'static str, Reply)> {
    let range = |digit, first, last| Range { epoch: epoch(digit), first, last };
    let epochs = vec![range(1, 1, 4711), range(2, 1, 0)];
    let info = |heartbeat, completeness, epochs| Reply::Info { heartbeat, completeness, epochs };
    let page = |next: &'static [u8], more, streams| {
        let next = Bytes::from_static(next);
        Reply::Page { next, more, streams }
    };
    let (partial, complete) = (Completeness::Partial, Completeness::Complete);
    let reason = word("unknown_member");
    vec![
        ("INFO", info(Some(wire("heartbeat")), complete, epochs)),
        ("INFO, without a heartbeat", info(None, partial, Vec::new())),
        ("PAGE", page(b"\x00next", true, vec![spot(4711), spot(0)])),
        ("PAGE, nothing new", page(b"", false, Vec::new())),
        ("FOUND", Reply::Found { epoch: epoch(1), i: 42 }),
        ("MSG", Reply::Msg { i: 42, wire: wire("42") }),
        ("GONE", Reply::Gone { i: 43, leaf: Leaf([0xab; 32]), reason }),
        ("END", Reply::End { upto: 43, more: false }),
        ("END, more to come", Reply::End { upto: 1042, more: true }),
    ]
}

fn to_put() -> Vec<(&'static str, Reply)> {
    let stored = |receipt: &'static [u8]| {
        let receipt = Bytes::from_static(receipt);
        Reply::Stored { span: SPAN, receipt }
    };
    let refused = |reason: &str, text: &str, spot| {
        let (reason, text) = (word(reason), text.to_owned());
        Reply::Refused { span: SPAN, reason, text, spot }
    };
    vec![
        ("ACCEPTED", Reply::Accepted { span: SPAN }),
        ("STORED", stored(b"")),
        ("STORED, with a receipt", stored(b"a signed record")),
        ("REFUSED", refused("bad_utf8", "not UTF-8", None)),
        (
            "REFUSED, at a position",
            refused("policy", "the policy does not allow it", Some(spot(9))),
        ),
        ("EXPECT", Reply::Expect { span: SPAN, spot: spot(7) }),
    ]
}

fn to_anything() -> Vec<(&'static str, Reply)> {
    let error = |code: &ErrorCode| {
        let text = format!("für Menschen: {}", code.name());
        (code.name(), Reply::Err { code: *code, text })
    };
    let said =
        |name, upto, age_ms| Acknowledged { consumer: word(name), epoch: epoch(1), upto, age_ms };
    let floors = vec![said("badges", 4711, 900), said("mailer", 12, 86_400_000)];
    let others = [
        ("OK", Reply::Ok),
        ("FLOORS", Reply::Floors { floors }),
        ("FLOORS, nobody said anything", Reply::Floors { floors: Vec::new() }),
    ];
    others.into_iter().chain(ErrorCode::ALL.iter().map(error)).collect()
}
