//! The answers of a holder, from tables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use uuid::Uuid;

use super::*;
use crate::frames::RequestId;
use crate::journal::Damage;
use crate::limits::{FLOORS_MAX, PEER_REQUESTS_BURST};
use crate::merkle::Leaf;

const E: Epoch = Epoch::new(Uuid::from_u128(2));
const OLD: Epoch = Epoch::new(Uuid::from_u128(1));

/// One stream with numbers up to 12 of one epoch: number 5 is gone.
#[derive(Default)]
struct Small {
    first: u64,
    damage: Vec<(u64, u64)>,
    /// Not even the end can be read.
    unreadable: bool,
    genesis: Option<Wire>,
    taken: Vec<Wire>,
    /// What consumers said to holders before this one.
    said: Vec<Acknowledged>,
}

impl Small {
    fn whole() -> Small {
        Small { first: 3, ..Small::default() }
    }
}

fn stream() -> StreamName {
    StreamName::parse("a.b/0").expect("stream")
}

/// Even numbers are about cats, odd ones about dogs.
fn wire(i: u64, bytes: usize) -> Wire {
    let topic =
        if i.is_multiple_of(2) { "org.example.dev.a.cat.x" } else { "org.example.dev.a.dog.x" };
    let envelope = vec![b'x'; bytes].into();
    Wire { topic: Bytes::from_static(topic.as_bytes()), envelope }
}

fn known(name: &StreamName) -> Result<(), Absent> {
    if *name == stream() { Ok(()) } else { Err(Absent::Stream) }
}

impl Holdings for Small {
    fn stand(&mut self, name: &StreamName) -> Result<Stand, Absent> {
        known(name)?;
        let epochs = vec![Range { epoch: E, first: self.first, last: 12 }];
        Ok(Stand { heartbeat: None, completeness: Completeness::Complete, epochs })
    }

    fn read(
        &mut self,
        name: &StreamName,
        part: Part,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, Absent> {
        known(name)?;
        if part.epoch != E {
            return Err(Absent::Epoch);
        }
        if part.from < self.first {
            return Err(Absent::Trimmed { first: self.first });
        }
        let (mut entries, mut holes, mut bytes) = (Vec::new(), Vec::new(), 0);
        if self.unreadable {
            return Ok(Batch { entries, holes, upto: part.from.saturating_sub(1), more: false });
        }
        let mut next = part.from;
        let last = part.to.min(12);
        while next <= last {
            let damage = self.damage.iter().find(|(from, to)| (*from..=*to).contains(&next));
            if let Some((_, to)) = damage {
                let to = *to.min(&last);
                holes.push(Damage { epoch: E, from: next, to, path: PathBuf::new() });
                next = to + 1;
                continue;
            }
            let record = wire(next, 10 + usize::try_from(next).expect("small"));
            bytes += record.len();
            if entries.len() == max_records || (bytes > max_bytes && !entries.is_empty()) {
                break;
            }
            let body = match next {
                5 => Body::Gone { leaf: Leaf([5; 32]), reason: "no word!".into() },
                _ => Body::Record(record),
            };
            entries.push(Entry { i: next, time: Timestamp::from_millis(0), body });
            next += 1;
        }
        let upto = (next - 1).max(part.from.saturating_sub(1));
        Ok(Batch { entries, holes, upto, more: next <= last })
    }

    fn genesis(&mut self, name: &StreamName, _: Epoch) -> Result<Option<Wire>, Absent> {
        known(name).map(|()| self.genesis.clone())
    }

    fn find(&mut self, name: &StreamName, time: Timestamp) -> Result<(Epoch, u64), Absent> {
        known(name).map(|()| (E, time.as_millis().unsigned_abs()))
    }

    fn heads(&mut self) -> Vec<Spot> {
        vec![Spot { stream: stream(), epoch: E, i: 12 }]
    }

    fn floors(&mut self, _: &StreamName) -> Vec<Acknowledged> {
        self.said.clone()
    }

    fn put(&mut self, message: &Wire) -> bool {
        let taken = message.topic.ends_with(b"cat.x");
        self.taken.extend(taken.then(|| message.clone()));
        taken
    }
}

fn request(ask: Ask) -> Request {
    Request { id: RequestId::new(b"1").expect("an id"), ask }
}

fn get(from: u64, to: u64, max: u64, filters: &[&str]) -> Ask {
    let filters = filters.iter().map(|text| Pattern::subscription(text).expect("a pattern"));
    Ask::Get { stream: stream(), epoch: E, from, to, max, filters: filters.collect() }
}

fn answer(holdings: &mut Small, ask: Ask) -> Vec<Reply> {
    Holder::new([1; 16]).answer(&Bytes::from("peer"), &request(ask), 0, holdings)
}

/// The answers in short.
fn short(replies: &[Reply]) -> String {
    let one = |reply: &Reply| match reply {
        Reply::Msg { i, .. } => format!("{i}"),
        Reply::Gone { i, reason, .. } => format!("gone {i} {reason}"),
        Reply::End { upto, more } => format!("end {upto}{}", if *more { " more" } else { "" }),
        Reply::Err { code, .. } => code.name().to_owned(),
        Reply::Found { i, .. } => format!("found {i}"),
        Reply::Accepted { span } => format!("accepted {}+{}", span.at, span.count),
        Reply::Refused { span, reason, .. } => format!("{reason} {}+{}", span.at, span.count),
        other => format!("{other:?}"),
    };
    replies.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_part_is_given_up_to_its_bounds() {
    for (from, to, max, filters, expected) in [
        (3, 7, 100, &[][..], "3, 4, gone 5 refused, 6, 7, end 7"),
        (10, 1_000, 100, &[], "10, 11, 12, end 12"),
        (3, 12, 2, &[], "3, 4, end 4 more"),
        (12, 12, 1, &[], "12, end 12"),
        (13, 20, 5, &[], "end 12"),
        (3, 7, u64::MAX, &["org.example.dev.a.cat"], "4, gone 5 refused, 6, end 7"),
        (3, 12, 2, &["org.example.dev.a.dog"], "3, gone 5 refused, end 6 more"),
        (6, 12, 1, &["org.*.dev.a.dog.x", "org.example.dev.b"], "7, end 8 more"),
        (6, 12, 9, &["org.example.prod"], "end 12"),
        (2, 12, 9, &[], "trimmed"),
        (0, 0, 9, &[], "trimmed"),
    ] {
        let replies = answer(&mut Small::whole(), get(from, to, max, filters));
        assert_eq!(short(&replies), expected, "{from} to {to}, {max}, {filters:?}");
    }
}

#[test]
fn the_record_that_opened_an_epoch_outlives_what_was_trimmed_behind_it() {
    let mut small = Small { genesis: Some(wire(0, 10)), ..Small::whole() };
    for (to, expected) in [(0, "0, end 0"), (12, "0, end 0 more")] {
        let replies = answer(&mut small, get(0, to, 9, &[]));
        assert_eq!(short(&replies), expected);
    }
    assert_eq!(short(&answer(&mut small, get(1, 12, 9, &[]))), "trimmed");
}

#[test]
fn damage_ends_an_answer_and_is_named_number_by_number() {
    let damaged = || Small { damage: vec![(8, 9)], ..Small::whole() };
    for (from, to, filters, expected) in [
        (6, 12, &[][..], "6, 7, end 7 more"),
        (6, 8, &[], "6, 7, end 7 more"),
        (8, 12, &[], "gone 8 damaged, gone 9 damaged, end 9 more"),
        (9, 9, &[], "gone 9 damaged, end 9"),
        (8, 8, &[], "gone 8 damaged, end 8"),
        (10, 12, &[], "10, 11, 12, end 12"),
        (6, 12, &["org.example.dev.a.cat"], "6, end 7 more"),
        (8, 12, &["org.example.prod"], "gone 8 damaged, gone 9 damaged, end 9 more"),
    ] {
        assert_eq!(short(&answer(&mut damaged(), get(from, to, 9, filters))), expected, "{from}");
    }
    let few = short(&answer(&mut damaged(), get(8, 12, 1, &[])));
    assert_eq!(few, "gone 8 damaged, end 8 more");
}

#[test]
fn a_damaged_genesis_record_is_taken_from_where_it_still_stands() {
    let mut damaged = Small { damage: vec![(0, 1)], ..Small::default() };
    assert_eq!(
        short(&answer(&mut damaged, get(0, 5, 9, &[]))),
        "gone 0 damaged, gone 1 damaged, end 1 more"
    );
    damaged.genesis = Some(wire(0, 9));
    assert_eq!(short(&answer(&mut damaged, get(0, 5, 9, &[]))), "0, end 0 more");
    assert_eq!(short(&answer(&mut damaged, get(0, 0, 9, &[]))), "0, end 0");
    assert_eq!(short(&answer(&mut damaged, get(1, 5, 9, &[]))), "gone 1 damaged, end 1 more");
    let mut nothing = Small { unreadable: true, ..Small::default() };
    assert_eq!(short(&answer(&mut nothing, get(0, 0, 9, &[]))), "gone 0 damaged, end 0");
    assert_eq!(short(&answer(&mut nothing, get(1, 5, 9, &[]))), "end 0");
    // A filter never withholds it.
    let mut whole = Small::default();
    assert_eq!(short(&answer(&mut whole, get(0, 1, 9, &["org.example.prod"]))), "0, end 1");
}

#[test]
fn what_is_not_held_is_said_by_name() {
    let other = StreamName::parse("a.c/0").expect("stream");
    let time = Timestamp::from_millis(7);
    let get = |stream: &StreamName, epoch| Ask::Get {
        stream: stream.clone(),
        epoch,
        from: 3,
        to: 4,
        max: 9,
        filters: Vec::new(),
    };
    let ack = |stream: &StreamName, epoch| Ask::Ack {
        stream: stream.clone(),
        epoch,
        upto: 4,
        consumer: Word::parse("stats").expect("a word"),
    };
    for (ask, expected) in [
        (Ask::Head { stream: other.clone() }, "unknown-stream"),
        (Ask::Find { stream: other.clone(), time }, "unknown-stream"),
        (Ask::Find { stream: stream(), time }, "found 7"),
        (get(&other, E), "unknown-stream"),
        (get(&stream(), OLD), "unknown-epoch"),
        (ack(&other, E), "unknown-stream"),
        (ack(&stream(), OLD), "unknown-epoch"),
        (ack(&stream(), E), "Ok"),
    ] {
        assert_eq!(short(&answer(&mut Small::whole(), ask.clone())), expected, "{ask:?}");
    }
    let head = answer(&mut Small::whole(), Ask::Head { stream: stream() });
    let epochs = vec![Range { epoch: E, first: 3, last: 12 }];
    let completeness = Completeness::Complete;
    assert_eq!(head, [Reply::Info { heartbeat: None, completeness, epochs }]);
    let list = answer(&mut Small::whole(), Ask::List { token: Bytes::new() });
    let [Reply::Page { more: false, streams, .. }] = &list[..] else { panic!("{list:?}") };
    assert_eq!(streams[..], [Spot { stream: stream(), epoch: E, i: 12 }]);
}

#[test]
fn what_is_put_goes_to_who_takes_it() {
    for (numbers, expected) in [
        (&[2, 4, 6][..], "accepted 0+3"),
        (&[1], "denied"),
        (&[1, 2, 4, 3, 5, 6], "denied 0+1, accepted 1+2, denied 3+2, accepted 5+1"),
    ] {
        let mut small = Small::whole();
        let messages: Vec<Wire> = numbers.iter().map(|i| wire(*i, 9)).collect();
        let replies = answer(&mut small, Ask::Put { messages });
        assert_eq!(short(&replies), expected);
        assert_eq!(small.taken.len(), numbers.iter().filter(|i| **i % 2 == 0).count());
    }
}

#[test]
fn who_asks_without_end_is_told_to_wait_and_nobody_else_is() {
    let (mut holder, mut small) = (Holder::new([1; 16]), Small::whole());
    let ask = request(Ask::Head { stream: stream() });
    let mut seen = BTreeMap::new();
    for _ in 0..2 * PEER_REQUESTS_BURST {
        let replies = holder.answer(&Bytes::from("hostile"), &ask, 0, &mut small);
        *seen.entry(short(&replies).starts_with("busy")).or_insert(0) += 1;
    }
    assert_eq!(seen, BTreeMap::from([(false, PEER_REQUESTS_BURST), (true, PEER_REQUESTS_BURST)]));
    let garbage = holder.refuse(&Bytes::from("hostile"), &FrameError::Verb, 0);
    assert_eq!(short(&[garbage]), "busy", "garbage counts, too");
    let other = holder.answer(&Bytes::from("other"), &ask, 0, &mut small);
    assert!(matches!(other[..], [Reply::Info { .. }]));
    let garbage = holder.refuse(&Bytes::from("other"), &FrameError::Verb, 0);
    assert_eq!(short(&[garbage]), "malformed");
    let counts = holder.counts();
    assert_eq!((counts.requests, counts.malformed), (PEER_REQUESTS_BURST + 1, 1));
    assert_eq!(counts.busy, PEER_REQUESTS_BURST + 1);
}

#[test]
fn floors_never_sink_and_are_bounded() {
    let (mut holder, mut small) = (Holder::new([1; 16]), Small::whole());
    let mut ack = |holder: &mut Holder, peer: usize, consumer: &str, upto| {
        let consumer = Word::parse(consumer).expect("a word");
        let ask = request(Ask::Ack { stream: stream(), epoch: E, upto, consumer });
        short(&holder.answer(&Bytes::from(peer.to_string()), &ask, 0, &mut small))
    };
    for (upto, floor) in [(4, 4), (9, 9), (7, 9)] {
        assert_eq!(ack(&mut holder, 0, "stats", upto), "Ok");
        let floors: Vec<_> = holder.floors().map(|(_, _, floor)| floor.upto).collect();
        assert_eq!(floors, [floor]);
    }
    for n in 1..FLOORS_MAX {
        assert_eq!(ack(&mut holder, n / 1_000, &format!("c{n}"), 1), "Ok");
    }
    assert_eq!(ack(&mut holder, 99, "one-more", 1), "full");
    assert_eq!(ack(&mut holder, 99, "stats", 11), "Ok", "who is known goes on");
    assert_eq!((holder.floors().count(), holder.counts().floors_refused), (FLOORS_MAX, 1));
}

#[test]
fn floors_are_told_with_what_is_known_from_before_and_since_when() {
    let (mut holder, mut small) = (Holder::new([1; 16]), Small::whole());
    let said = |consumer: &str, upto, age_ms| {
        let consumer = Word::parse(consumer).expect("a word");
        Acknowledged { consumer, epoch: E, upto, age_ms }
    };
    let mut ask = |holder: &mut Holder, ask, now| {
        holder.answer(&Bytes::from_static(b"peer"), &request(ask), now, &mut small).remove(0)
    };
    let floors = || Ask::Floors { stream: stream() };
    assert_eq!(ask(&mut holder, floors(), 0), Reply::Floors { floors: Vec::new() });
    for (consumer, upto, now) in [("stats", 4, 100), ("mail", 9, 200), ("stats", 2, 300)] {
        let consumer = Word::parse(consumer).expect("a word");
        let ack = Ask::Ack { stream: stream(), epoch: E, upto, consumer };
        assert_eq!(ask(&mut holder, ack, now), Reply::Ok);
    }
    let told = vec![said("mail", 9, 800), said("stats", 4, 700)];
    assert_eq!(ask(&mut holder, floors(), 1_000), Reply::Floors { floors: told });
    small.said = vec![said("gone", 1, 5_000), said("mail", 3, 10), said("stats", 7, 60_000)];
    let mut ask = |ask| {
        holder.answer(&Bytes::from_static(b"peer"), &request(ask), 1_000, &mut small).remove(0)
    };
    let told = vec![said("gone", 1, 5_000), said("mail", 9, 10), said("stats", 7, 700)];
    assert_eq!(ask(floors()), Reply::Floors { floors: told });
    let other = StreamName::parse("app.other/0").expect("a stream");
    assert!(matches!(
        ask(Ask::Floors { stream: other }),
        Reply::Err { code: ErrorCode::UnknownStream, .. }
    ));
}
