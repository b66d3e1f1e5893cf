//! Delivery to relays that lose answers, forget, lack, refuse, and come back.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::rejection::Rejection;

fn epoch(n: u128) -> Epoch {
    Epoch::new(uuid::Uuid::from_u128(n))
}

fn point(n: u128, i: u64) -> Point {
    Point { epoch: epoch(n), i }
}

fn name(n: usize) -> Identity {
    Identity::parse(&format!("relay.n{n}")).expect("an identity")
}

/// A stream on a disk: of each epoch the first number that is still there, and the last one.
#[derive(Default)]
struct Disk(Vec<(u128, u64, u64)>);

impl Backlog for Disk {
    fn ranges(&mut self) -> Result<Vec<Range>, JournalError> {
        let range = |(n, first, last): &(u128, u64, u64)| Range {
            epoch: epoch(*n),
            first: *first,
            last: *last,
        };
        Ok(self.0.iter().map(range).collect())
    }

    fn read(
        &mut self,
        from: Point,
        records: usize,
        _: usize,
    ) -> Result<Vec<(u64, Wire)>, JournalError> {
        let range = self.0.iter().find(|(n, ..)| epoch(*n) == from.epoch);
        let Some((n, first, last)) = range else { return Ok(Vec::new()) };
        let numbers = from.i.max(*first)..=*last;
        Ok(numbers.take(records).map(|i| (i, record("m", *n, i))).collect())
    }
}

impl Disk {
    fn end(&self) -> Option<Point> {
        self.0.last().map(|(n, _, last)| point(*n, *last))
    }
}

fn record(kind: &str, n: u128, i: u64) -> Wire {
    Wire { topic: Bytes::from(kind.to_owned()), envelope: format!("{n} {i}").into() }
}

/// What a relay is like.
#[derive(Default)]
struct Far {
    /// What it has, each with how often it was told that it was new.
    has: BTreeMap<(u128, u64), u32>,
    at: Option<(u128, u64)>,
    /// What it refuses.
    refuses: Vec<(u128, u64)>,
    stores: bool,
    beats: Vec<(u128, u64)>,
}

impl Far {
    /// The rules of a relay: dense numbers within an epoch; a new epoch begins with its genesis record, and whoever
    /// knows nothing takes what comes first.
    fn put(&mut self, messages: &[Wire]) -> Vec<Reply> {
        let judge = |(at, wire): (usize, &Wire)| {
            let text = std::str::from_utf8(&wire.envelope).expect("text");
            let (n, i) = text.split_once(' ').expect("two numbers");
            let place = (n.parse().expect("a number"), i.parse().expect("a number"));
            let span = Span { at: at as u64, count: 1 };
            match &wire.topic[..] {
                b"b" => self.beat(place, span),
                _ => self.record(place, span),
            }
        };
        messages.iter().enumerate().map(judge).collect()
    }

    fn record(&mut self, (n, i): (u128, u64), span: Span) -> Reply {
        match self.at {
            Some((known, last)) if n == known && i > last + 1 => return expect(span, n, last + 1),
            Some((known, _)) if n > known && i > 0 => return expect(span, n, 0),
            Some(at) if (n, i) <= at => return self.yes(span),
            _ => self.at = Some((n, i)),
        }
        if self.refuses.contains(&(n, i)) {
            let reason = Word::parse(Rejection::Policy.name()).expect("a word");
            return Reply::Refused { span, reason, text: "no".into(), spot: None };
        }
        *self.has.entry((n, i)).or_default() += 1;
        self.yes(span)
    }

    fn beat(&mut self, (n, i): (u128, u64), span: Span) -> Reply {
        match self.at {
            Some((known, last)) if n == known && i > last => expect(span, n, last + 1),
            _ => {
                self.beats.push((n, i));
                self.yes(span)
            }
        }
    }

    fn yes(&self, span: Span) -> Reply {
        match self.stores {
            true => Reply::Stored { span, receipt: Bytes::new() },
            false => Reply::Accepted { span },
        }
    }
}

fn expect(span: Span, n: u128, i: u64) -> Reply {
    let stream = crate::identity::StreamName::parse("a.b/0").expect("a stream");
    Reply::Expect { span, spot: Spot { stream, epoch: epoch(n), i } }
}

/// A delivery and its relays, in a time of their own.
struct Bus {
    disk: Disk,
    delivery: Delivery,
    relays: Vec<Far>,
    /// Who cannot be reached, and whose answers are lost.
    down: Vec<usize>,
    mute: Vec<usize>,
    now: u64,
    outcomes: Vec<(usize, Outcome)>,
}

impl Bus {
    fn new(disk: Vec<(u128, u64, u64)>, relays: usize) -> Bus {
        let disk = Disk(disk);
        let mut delivery = Delivery::new((0..relays).map(name), Delivered::default());
        delivery.grown(disk.end());
        let relays = (0..relays).map(|_| Far { stores: true, ..Far::default() }).collect();
        let (down, mute, outcomes) = (Vec::new(), Vec::new(), Vec::new());
        Bus { disk, delivery, relays, down, mute, now: 0, outcomes }
    }

    /// Another process goes on with what was written down.
    fn restart(&mut self) {
        let delivered = Delivered::parse(&self.delivery.delivered().encode());
        self.delivery = Delivery::new((0..self.relays.len()).map(name), delivered);
        self.delivery.grown(self.disk.end());
    }

    fn beat(&mut self) {
        if let Some((n, _, last)) = self.disk.0.last() {
            self.delivery.beaten(record("b", *n, *last));
        }
    }

    /// So many milliseconds, or until nothing is left to be done.
    fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now <= end {
            for at in 0..self.relays.len() {
                self.turn(at);
            }
            match self.delivery.pause(self.now) {
                u64::MAX => return,
                pause => self.now += pause,
            }
        }
        self.now = end;
    }

    fn turn(&mut self, at: usize) {
        let asked = self.delivery.ask(at, &mut self.disk, self.now, 40).expect("readable");
        let Some(Request { id, ask: Ask::Put { messages } }) = asked else { return };
        assert!(messages.len() <= PUT_MESSAGES_MAX);
        if self.down.contains(&at) {
            return self.delivery.not_sent(at, self.now);
        }
        let replies = self.relays[at].put(&messages);
        if self.mute.contains(&at) {
            return;
        }
        let ranges = self.disk.ranges().expect("readable");
        for reply in replies {
            let known = |point| has(&ranges, point);
            let outcome = self.delivery.answered(at, &id, reply, known, (self.now, 40));
            self.outcomes.push((at, outcome));
        }
    }

    /// Begins a new epoch, if a relay needs one.
    fn begin_what_is_needed(&mut self) {
        let needs = |(_, outcome): (usize, Outcome)| outcome == Outcome::NeedsEpoch;
        if self.outcomes.drain(..).any(needs) {
            let n = self.disk.0.last().expect("an epoch").0 + 1;
            self.disk.0.push((n, 0, 0));
            self.delivery.grown(self.disk.end());
        }
    }

    /// Every record of these numbers is there, and came once.
    fn has(&self, at: usize, n: u128, numbers: std::ops::RangeInclusive<u64>) {
        for i in numbers {
            assert_eq!(self.relays[at].has.get(&(n, i)), Some(&1), "relay {at}: {n}/{i}");
        }
    }
}

#[test]
fn every_relay_gets_everything_in_order_and_the_last_heartbeat() {
    let mut bus = Bus::new(vec![(1, 0, 250), (2, 0, 3)], 2);
    bus.beat();
    bus.run(1_000);
    for at in 0..2 {
        bus.has(at, 1, 0..=250);
        bus.has(at, 2, 0..=3);
        assert_eq!(bus.relays[at].beats, [(2, 3)]);
        assert!(bus.delivery.is_done(at));
    }
    assert_eq!(bus.delivery.delivered().floor(), Some(point(2, 3)));
    assert!(bus.delivery.delivered().is_stored());
}

#[test]
fn one_relay_that_is_down_holds_nobody_up_and_catches_up_later_also_in_another_process() {
    let mut bus = Bus::new(vec![(1, 0, 10)], 2);
    bus.down = vec![1];
    bus.run(5_000);
    assert_eq!(bus.delivery.delivered().floor(), Some(point(1, 10)));
    assert_eq!(bus.delivery.delivered().of(&name(1)), None);
    bus.restart();
    bus.disk.0[0].2 = 12;
    bus.delivery.grown(bus.disk.end());
    bus.down.clear();
    bus.run(1_000);
    bus.has(1, 1, 0..=12);
    bus.has(0, 1, 0..=12);
}

#[test]
fn a_lost_answer_is_asked_for_again_and_nothing_comes_twice() {
    let mut bus = Bus::new(vec![(1, 0, 120)], 1);
    bus.mute = vec![0];
    bus.run(7_000);
    assert_eq!(bus.delivery.delivered().floor(), None, "nothing is known");
    assert!(!bus.delivery.is_up(0));
    bus.mute.clear();
    bus.run(40_000);
    bus.has(0, 1, 0..=120);
    assert_eq!(bus.delivery.delivered().floor(), Some(point(1, 120)));
}

#[test]
fn a_relay_that_comes_back_empty_takes_what_comes_next() {
    let mut bus = Bus::new(vec![(1, 0, 5)], 1);
    bus.run(1_000);
    bus.relays[0] = Far { stores: false, ..Far::default() };
    bus.disk.0[0].2 = 8;
    bus.delivery.grown(bus.disk.end());
    bus.run(1_000);
    assert_eq!(bus.relays[0].has.keys().copied().collect::<Vec<_>>(), [(1, 6), (1, 7), (1, 8)]);
    assert!(!bus.delivery.delivered().is_stored(), "it was only handed on");
}

#[test]
fn a_relay_that_was_set_back_gets_what_it_lacks_again() {
    let mut bus = Bus::new(vec![(1, 0, 9)], 1);
    bus.run(1_000);
    bus.relays[0].has.retain(|(_, i), _| *i <= 3);
    bus.relays[0].at = Some((1, 3));
    bus.disk.0[0].2 = 11;
    bus.delivery.grown(bus.disk.end());
    bus.run(1_000);
    bus.has(0, 1, 0..=11);
    assert!(bus.outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Back));
    assert_eq!(bus.delivery.delivered().floor(), Some(point(1, 11)));
}

#[test]
fn what_is_gone_needs_a_new_epoch_and_the_relay_goes_on_there() {
    let mut bus = Bus::new(vec![(1, 0, 9)], 2);
    bus.down = vec![1];
    bus.relays[1].at = Some((1, 3));
    bus.run(100);
    // Retention has passed what the other relay has.
    bus.disk.0[0].1 = 7;
    bus.down.clear();
    bus.run(100);
    let needs = |bus: &Bus| {
        bus.outcomes.iter().filter(|(at, o)| (*at, o) == (1, &Outcome::NeedsEpoch)).count()
    };
    assert_eq!(needs(&bus), 1);
    bus.run(60_000);
    assert_eq!(needs(&bus), 1, "it is said once, and waits");
    bus.disk.0.push((2, 0, 4));
    bus.delivery.grown(bus.disk.end());
    bus.run(1_000);
    for at in 0..2 {
        bus.has(at, 2, 0..=4);
        assert!(bus.delivery.is_done(at));
    }
}

#[test]
fn what_is_refused_stands_in_nobodys_way() {
    let mut bus = Bus::new(vec![(1, 0, 6)], 2);
    bus.relays[0].refuses = vec![(1, 2), (1, 3)];
    bus.relays[1].refuses = vec![(1, 3)];
    bus.run(1_000);
    let delivered = bus.delivery.delivered();
    for at in 0..2 {
        bus.has(at, 1, 4..=6);
    }
    let fate = |i| delivered.fate(point(1, i));
    assert!(matches!(fate(2), crate::delivered::Fate::Taken { relay, .. } if relay == "relay.n1"));
    assert!(
        matches!(fate(3), crate::delivered::Fate::Refused(refusal) if refusal.reason == "policy")
    );
    let refused: Vec<u64> = delivered.relays().map(|(_, at)| at.refused).collect();
    assert_eq!(refused, [2, 1]);
}

#[test]
fn answers_that_do_not_fit_move_nothing() {
    let stored = |at, count| Reply::Stored { span: Span { at, count }, receipt: Bytes::new() };
    for reply in [
        stored(3, 1),
        stored(0, 0),
        stored(0, 12),
        stored(u64::MAX, 1),
        stored(0, u64::MAX),
        Reply::Ok,
        Reply::Err { code: crate::frames::ErrorCode::Busy, text: "later".into() },
    ] {
        let mut bus = Bus::new(vec![(1, 0, 9)], 1);
        let asked = bus.delivery.ask(0, &mut bus.disk, 0, 0).expect("readable").expect("asked");
        let other = RequestId::new(b"other").expect("an id");
        let known = |_| true;
        let outcome = bus.delivery.answered(0, &other, stored(0, 10), known, (1, 0));
        assert_eq!(outcome, Outcome::Nothing, "to another request");
        let outcome = bus.delivery.answered(0, &asked.id, reply.clone(), known, (1, 0));
        assert!(matches!(outcome, Outcome::Failed(_)), "{reply:?}: {outcome:?}");
        assert_eq!(bus.delivery.delivered().floor(), None, "{reply:?}");
    }
}

#[test]
fn a_relay_that_wants_what_it_was_sent_is_not_asked_without_a_pause() {
    let mut bus = Bus::new(vec![(1, 0, 9)], 1);
    let mut asked = 0;
    for now in 0..10_000 {
        let Some(request) =
            bus.delivery.ask(0, &mut bus.disk, now, u64::MAX / 2).expect("readable")
        else {
            continue;
        };
        asked += 1;
        let reply = expect(Span { at: 0, count: 10 }, 1, 0);
        bus.delivery.answered(0, &request.id, reply, |_| true, (now, u64::MAX / 2));
    }
    assert!((2..200).contains(&asked), "{asked}");
    assert_eq!(bus.delivery.delivered().floor(), None);
}

#[test]
fn messages_that_wait_are_counted_without_genesis_records() {
    let range = |n, first, last| Range { epoch: epoch(n), first, last };
    let ranges = [range(1, 0, 9), range(3, 0, 0), range(4, 0, 2)];
    for (after, count) in [
        (None, 11),
        (Some(point(1, 0)), 11),
        (Some(point(1, 4)), 7),
        (Some(point(1, 9)), 2),
        (Some(point(2, 70)), 2),
        (Some(point(4, 1)), 1),
        (Some(point(4, 2)), 0),
        (Some(point(9, 0)), 0),
    ] {
        assert_eq!(count_after(&ranges, after), count, "{after:?}");
    }
    assert_eq!(place_after(&ranges, None), Some(point(1, 0)));
    assert_eq!(place_after(&ranges, Some(point(1, 9))), Some(point(3, 0)));
    assert_eq!(place_after(&ranges, Some(point(4, 2))), None);
}

/// Chance decides who is down, who is mute, who forgets, and when another process takes over.
#[test]
fn whatever_happens_one_relay_has_everything_in_the_end() {
    for seed in 0..60 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut bus = Bus::new(vec![(1, 0, 0)], 3);
        for _ in 0..40 {
            bus.down = (0..3).filter(|_| chance.u8(..4) == 0).collect();
            bus.mute = (0..3).filter(|_| chance.u8(..4) == 0).collect();
            bus.disk.0.last_mut().expect("an epoch").2 += chance.u64(0..150);
            if chance.u8(..10) == 0 {
                let n = bus.disk.0.last().expect("an epoch").0 + 1;
                bus.disk.0.push((n, 0, 0));
            }
            if chance.u8(..5) == 0 {
                bus.restart();
            }
            if chance.u8(..12) == 0 {
                // Retention passes what some relay has.
                let floor = bus.delivery.delivered().floor();
                let (n, _, last) = bus.disk.0[0];
                if floor > Some(point(n, last)) && bus.disk.0.len() > 1 {
                    bus.disk.0.remove(0);
                } else if let Some(floor) = floor.filter(|floor| floor.epoch == epoch(n)) {
                    bus.disk.0[0].1 = floor.i;
                }
            }
            bus.delivery.grown(bus.disk.end());
            bus.beat();
            bus.run(chance.u64(1..3_000));
            bus.begin_what_is_needed();
        }
        (bus.down, bus.mute) = (Vec::new(), Vec::new());
        bus.delivery.grown(bus.disk.end());
        bus.run(200_000);
        bus.begin_what_is_needed();
        bus.run(200_000);
        let (n, first, last) = *bus.disk.0.last().expect("an epoch");
        assert_eq!(bus.delivery.delivered().floor(), bus.disk.end(), "seed {seed}");
        for at in 0..3 {
            assert!(bus.delivery.is_done(at), "seed {seed}, relay {at}");
            bus.has(at, n, first.max(last.min(1))..=last);
        }
    }
}

#[test]
fn a_receipt_is_asked_for_again_without_moving_anything() {
    let mut bus = Bus::new(vec![(1, 0, 250)], 1);
    bus.run(1_000);
    bus.outcomes.clear();
    let before = bus.delivery.delivered().clone();
    bus.delivery.prove(0, point(1, 200));
    bus.run(1_000);
    let mut receipts = bus.outcomes.drain(..).filter_map(|(_, outcome)| match outcome {
        Outcome::Taken { receipt: Some(claim), .. } => Some(claim),
        _ => None,
    });
    // This relay answers for each record alone.
    for i in 200..=250 {
        let claim = receipts.next().expect("a receipt");
        assert_eq!((claim.epoch, &claim.numbers[..]), (epoch(1), &[i][..]));
        assert_eq!(claim.records, [record("m", 1, i)]);
    }
    assert!(receipts.next().is_none());
    drop(receipts);
    assert_eq!(*bus.delivery.delivered(), before);
    // One that has lost it gets it as usual, and what is gone is not proven.
    (bus.relays[0].at, bus.relays[0].stores) = (None, false);
    bus.delivery.prove(0, point(1, 200));
    bus.disk.0[0].2 = 260;
    bus.delivery.grown(bus.disk.end());
    bus.run(1_000);
    bus.delivery.prove(0, point(9, 1));
    bus.run(1_000);
    assert!(bus.delivery.is_done(0));
    assert_eq!(bus.delivery.delivered().floor(), Some(point(1, 260)));
}
