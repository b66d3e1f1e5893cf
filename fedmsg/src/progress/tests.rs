//! Scenes of one consumer, said in words: each step is what the reader or the consumer does, and what is
//! looked at is what a store would hold after it.

use uuid::Uuid;

use super::*;
use crate::consumer::{Bounds, Claimed, ConsumerName, Curable, CursorStore, Failure, Refused};
use crate::envelope::Kind as RecordKind;
use crate::event::EpochChange;
use crate::keys::KeyId;
use crate::limits::{IDLE_CURSORS_MS, TELL_AGAIN_MS, TELL_MS, TELLS_MAX};
use crate::open::Place;
use crate::testing::MemoryStore;
use crate::topic::Topic;

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + millis)
}

pub(super) fn epoch(number: u128) -> Epoch {
    Epoch::new(Uuid::from_u128(number))
}

pub(super) fn stream(number: u16) -> StreamName {
    StreamName::parse(&format!("bodhi.backend01/{number}")).expect("a stream")
}

pub(super) fn leaf(epoch: Epoch, i: u64) -> Leaf {
    let mut leaf = [0; 32];
    leaf[..16].copy_from_slice(epoch.to_string().as_bytes()[20..36].as_ref());
    leaf[16..24].copy_from_slice(&i.to_be_bytes());
    Leaf(leaf)
}

pub(super) fn place(epoch: Epoch, i: u64) -> Place {
    let (prev, leaf) = (leaf(epoch, i - 1), leaf(epoch, i));
    Place { kind: RecordKind::Message, epoch, i, prev, leaf }
}

pub(super) fn position(of: u16, epoch: Epoch, i: u64) -> Position {
    Position { stream: stream(of), epoch, i }
}

pub(super) fn refused(of: u16, epoch: Epoch, i: u64, reason: Curable) -> Refused {
    Refused { position: position(of, epoch, i), leaf: None, reason, key: KeyId::of(&[7; 32]) }
}

pub(super) fn name() -> ConsumerName {
    ConsumerName::parse("badges").expect("a name")
}

/// A consumer with a store, whose streams are all in epoch 1 unless it is said otherwise.
pub(super) struct Scene {
    pub(super) store: MemoryStore,
    claimed: Claimed,
    pub(super) progress: Progress,
    pub(super) now: u64,
}

impl Scene {
    pub(super) fn new(start: Start) -> Scene {
        Scene::on(MemoryStore::new(), start)
    }

    /// The consumer goes on with what a store has.
    pub(super) fn on(mut store: MemoryStore, start: Start) -> Scene {
        let claimed = store.claim(&name(), "a test", start, at(0), 30_000).expect("claimed");
        let cursors = store.load(&name()).expect("cursors");
        let progress = Progress::new(claimed.created, claimed.start, &cursors);
        Scene { store, claimed, progress, now: 0 }
    }

    /// The process dies, and another one goes on.
    pub(super) fn crash(self) -> Scene {
        Scene::on(self.store, Start::New)
    }

    pub(super) fn give(&mut self, of: u16, i: u64) -> Ticket {
        self.try_give(of, i).expect("handed out")
    }

    pub(super) fn try_give(&mut self, of: u16, i: u64) -> Option<Ticket> {
        self.progress.message(&stream(of), &place(epoch(1), i), Some(100))
    }

    fn pass(&mut self, of: u16, i: u64) {
        assert_eq!(self.progress.message(&stream(of), &place(epoch(1), i), None), None);
    }

    pub(super) fn fail(&mut self, ticket: Ticket, of: u16, i: u64, attempts: u32) {
        let failure = Failure {
            position: position(of, epoch(1), i),
            topic: Topic::parse("org.example.dev.bodhi.a.b").expect("a topic"),
            envelope: "{}".into(),
            error: "no".into(),
            attempts,
        };
        self.progress.failed(ticket, Failing { failure, at: self.wall() });
    }

    pub(super) fn wall(&self) -> Timestamp {
        at(i64::try_from(self.now).expect("a time"))
    }

    /// Makes up to so many calls to the store; `false` when there were more to make, or one failed.
    pub(super) fn write(&mut self, calls: usize) -> bool {
        let (mut round, wall) = (self.progress.round(), self.wall());
        for _ in 0..calls {
            let Some(write) = self.progress.next_write(&mut round, self.now) else {
                self.progress.round_done(&round);
                return true;
            };
            match write.make(&mut self.store, &self.claimed.fence, wall) {
                Ok(no_room) => {
                    self.progress.done(write);
                    self.progress.no_room_for_refusals(no_room);
                }
                Err(_) if matches!(write, Write::Fail { .. }) => {
                    self.progress.undone(write);
                    self.progress.store_is_full();
                }
                Err(_) => {
                    self.progress.undone(write);
                    self.progress.round_failed(round);
                    return false;
                }
            }
        }
        self.progress.round_failed(round);
        false
    }

    /// Writes where the store has no room for the cursor of one new stream.
    pub(super) fn write_without_room(&mut self) {
        let (mut round, wall) = (self.progress.round(), self.wall());
        while let Some(write) = self.progress.next_write(&mut round, self.now) {
            let made = write.make(&mut self.store, &self.claimed.fence, wall);
            let (Err(_), Write::Advance(moves)) = (made, write) else { panic!("there was room") };
            self.progress.no_room_for_cursor(&moves);
        }
        self.progress.round_done(&round);
    }

    /// The store forgets these streams where they were not moved since then; where they were.
    pub(super) fn forget(&mut self, since: i64, streams: &[StreamName]) -> Vec<Position> {
        let forgotten = self.store.forget(&self.claimed.fence, streams, at(since));
        self.progress.forgotten(&forgotten.expect("forgotten"))
    }

    /// The cursors in the store, such as `0:7 1:3`.
    pub(super) fn cursors(&mut self) -> String {
        let cursors = self.store.load(&name()).expect("cursors");
        let text = cursors.iter().map(|cursor| {
            let Position { stream, epoch: of, i } = &cursor.position;
            let slot = stream.as_str().rsplit('/').next().unwrap_or_default().to_owned();
            let age = if *of == epoch(1) {
                String::new()
            } else {
                format!("e{}.", &of.to_string()[35..])
            };
            format!("{slot}:{age}{i}")
        });
        text.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn waiting(&mut self) -> Vec<u64> {
        let due = self.store.due(&name(), at(1_000_000_000)).expect("due");
        due.retries.iter().map(|retry| retry.failure.position.i).collect()
    }

    pub(super) fn ledger(&mut self) -> Vec<u64> {
        let refusals = self.store.refusals(&name(), &Default::default()).expect("refusals");
        refusals.iter().map(|refusal| refusal.refused.position.i).collect()
    }

    fn opens(&mut self, of: u16, to: u128, next: u64) {
        let (stream, to) = (stream(of), epoch(to));
        let change = EpochChange { stream, from: None, to, next, proven: false };
        self.progress.epoch(&change);
    }
}

#[test]
fn the_cursor_is_the_end_of_what_is_answered_without_a_hole() {
    for (answers, cursor) in [
        (&[1][..], "0:1"),
        (&[2], ""),
        (&[2, 3], ""),
        (&[3, 1], "0:1"),
        (&[2, 1], "0:2"),
        (&[3, 2, 1], "0:3"),
        (&[1, 2, 4], "0:2"),
    ] {
        let mut scene = Scene::new(Start::New);
        let tickets: Vec<_> = (1..=4).map(|i| scene.give(0, i)).collect();
        for answer in answers {
            scene.progress.acked(tickets[*answer - 1]);
        }
        assert!(scene.write(9));
        assert_eq!(scene.cursors(), cursor, "{answers:?}");
    }
}

#[test]
fn what_needs_no_answer_moves_the_cursor_by_itself_but_lazily() {
    let mut scene = Scene::new(Start::New);
    scene.opens(0, 1, 8);
    scene.pass(0, 8);
    scene.progress.refused(&position(0, epoch(1), 9), None);
    scene.progress.lost(&stream(0), epoch(1), 12);
    assert!(!scene.progress.has_writes(1));
    scene.now = IDLE_CURSORS_MS;
    assert!(scene.progress.has_writes(scene.now) && scene.write(2));
    assert_eq!(scene.cursors(), "0:12");
    assert!(!scene.progress.has_writes(2 * IDLE_CURSORS_MS));
}

#[test]
fn an_idle_stream_is_written_and_goes_on_from_there() {
    let mut scene = Scene::new(Start::New);
    scene.opens(0, 1, 8);
    scene.now = IDLE_CURSORS_MS;
    assert!(scene.write(2));
    assert_eq!(scene.cursors(), "0:7");
    let scene = scene.crash();
    let begin = Begin::At { epoch: epoch(1), next: 8, leaf: None };
    assert_eq!(scene.progress.begin(&stream(0)), begin);
    assert_eq!(scene.progress.begin(&stream(1)), Begin::Since(at(0)), "since its creation");
}

#[test]
fn a_stream_that_is_new_begins_where_the_consumer_was_told_when_it_was_created() {
    for (start, begin) in [
        (Start::New, Begin::Since(at(0))),
        (Start::Earliest, Begin::Earliest),
        (Start::Time(at(-5)), Begin::Since(at(-5))),
    ] {
        let scene = Scene::new(start).crash();
        assert_eq!(scene.progress.begin(&stream(0)), begin);
    }
}

#[test]
fn used_up_positions_are_passed_when_the_hole_before_them_is_filled() {
    let mut scene = Scene::new(Start::New);
    let first = scene.give(0, 1);
    scene.progress.refused(&position(0, epoch(1), 3), None);
    scene.progress.acked(first);
    assert!(scene.write(9));
    assert_eq!(scene.cursors(), "0:1");
    let second = scene.give(0, 2);
    scene.progress.acked(second);
    assert!(scene.write(9));
    assert_eq!(scene.cursors(), "0:3");
}

#[test]
fn a_curable_refusal_is_written_before_a_cursor_passes_it() {
    let mut scene = Scene::new(Start::New);
    let first = scene.give(0, 1);
    let reason = Curable::NoRule;
    scene.progress.refused(&position(0, epoch(1), 2), Some(refused(0, epoch(1), 2, reason)));
    scene.progress.acked(first);
    // One call, and the process dies.
    assert!(!scene.write(1));
    assert_eq!((scene.ledger(), scene.cursors()), (vec![2], String::new()));
    assert!(scene.write(9));
    assert_eq!((scene.ledger(), scene.cursors()), (vec![2], "0:2".into()));
}

#[test]
fn a_failure_is_written_before_the_cursor_passes_it() {
    let mut scene = Scene::new(Start::New);
    let first = scene.give(0, 1);
    scene.fail(first, 0, 1, 1);
    assert_eq!(scene.progress.in_flight(), 1, "it keeps its place until the store has it");
    assert!(!scene.write(1));
    assert_eq!((scene.waiting(), scene.cursors()), (vec![1], String::new()));
    assert!(scene.write(9));
    assert_eq!((scene.cursors().as_str(), scene.progress.in_flight()), ("0:1", 0));
}

#[test]
fn a_message_that_fails_too_often_becomes_a_dead_letter() {
    let mut scene = Scene::new(Start::New);
    let retrying = Retrying::new(2, Duration::from_secs(1), Duration::from_secs(60));
    scene.progress = scene.progress.with(Room::default(), retrying);
    let ticket = scene.give(0, 1);
    scene.fail(ticket, 0, 1, 1);
    assert!(scene.write(9));
    let again = scene.progress.again(&position(0, epoch(1), 1), 10).expect("handed out");
    assert_eq!(scene.progress.again(&position(0, epoch(1), 1), 10), None, "once at a time");
    scene.fail(again, 0, 1, 2);
    assert!(scene.write(9));
    assert_eq!((scene.waiting(), scene.progress.counts().dead), (vec![], 1));
    assert_eq!(scene.store.show(&name()).expect("there").letters, 1);
}

#[test]
fn waiting_times_double_up_to_the_longest() {
    let retrying = Retrying::new(40, Duration::from_millis(100), Duration::from_millis(1_000));
    for (failures, wait) in [(1, 100), (2, 200), (4, 800), (5, 1_000), (39, 1_000)] {
        assert_eq!(retrying.next(failures, at(0)), Some(at(wait)), "{failures}");
    }
    assert_eq!(retrying.next(40, at(0)), None);
}

#[test]
fn without_room_for_failed_messages_nothing_new_is_handed_out_but_tries_go_on() {
    let mut scene = Scene::new(Start::New);
    let bounds = Bounds { retries: 1, ..Bounds::default() };
    scene.store = scene.store.with_bounds(bounds);
    let (first, second) = (scene.give(0, 1), scene.give(0, 2));
    scene.fail(first, 0, 1, 1);
    scene.fail(second, 0, 2, 1);
    assert!(scene.write(9));
    assert_eq!((scene.waiting(), scene.cursors().as_str()), (vec![1], "0:1"));
    assert!(!scene.progress.has_room());
    assert_eq!(scene.progress.written_answers(), 1, "the second one waits");
    let again = scene.progress.again(&position(0, epoch(1), 1), 10).expect("tried again");
    scene.progress.acked(again);
    assert!(scene.write(9), "the one that was handled makes room");
    assert!(scene.write(9));
    assert_eq!((scene.waiting(), scene.cursors().as_str()), (vec![2], "0:2"));
    assert!(scene.progress.has_room());
    assert_eq!(scene.progress.written_answers(), 3);
}

#[test]
fn while_the_store_fails_no_more_than_the_bound_is_handed_out() {
    let room = Room { messages: 3, bytes: 1_000, unwritten: 5 };
    let mut scene = Scene::new(Start::New);
    scene.progress = scene.progress.with(room, Retrying::default());
    scene.store.set_broken(true);
    let mut given = 0;
    while scene.progress.has_room() {
        given += 1;
        let ticket = scene.give(0, given);
        scene.progress.acked(ticket);
        assert!(!scene.write(9));
    }
    assert_eq!(given, 5);
    scene.store.set_broken(false);
    assert!(scene.write(9) && scene.progress.has_room());
    assert_eq!(scene.cursors(), "0:5");
}

#[test]
fn cursors_of_more_streams_than_fit_into_one_call_are_written_with_the_next_ones() {
    let mut scene = Scene::new(Start::New);
    for of in 0..1_030 {
        let ticket = scene.give(of, 1);
        scene.progress.acked(ticket);
    }
    assert!(!scene.write(1));
    assert_eq!(scene.store.load(&name()).expect("cursors").len(), 1_024);
    assert_eq!(scene.progress.written_answers(), 0);
    assert!(scene.write(9));
    assert_eq!(scene.store.load(&name()).expect("cursors").len(), 1_030);
    assert_eq!(scene.progress.written_answers(), 1_030);
}

#[test]
fn what_is_in_flight_is_bounded_in_messages_and_bytes() {
    let mut scene = Scene::new(Start::New);
    let room = Room { messages: 3, bytes: 150, unwritten: 5 };
    scene.progress = scene.progress.with(room, Retrying::default());
    scene.give(0, 1);
    assert!(scene.progress.has_room(), "100 of 150 bytes");
    let second = scene.give(0, 2);
    assert!(!scene.progress.has_room());
    scene.progress.acked(second);
    assert!(scene.progress.has_room());
}

#[test]
fn what_the_reader_gives_again_is_not_handed_out_again() {
    let mut scene = Scene::new(Start::New);
    let first = scene.give(0, 1);
    assert_eq!(scene.try_give(0, 1), None);
    scene.progress.acked(first);
    assert_eq!(scene.try_give(0, 1), None);
    scene.opens(0, 1, 1);
    assert_eq!((scene.try_give(0, 1), scene.progress.counts().repeated), (None, 3));
    // A stream that the reader forgot goes on behind what was handed out.
    let begin = Begin::At { epoch: epoch(1), next: 2, leaf: Some(leaf(epoch(1), 1)) };
    assert_eq!(scene.progress.begin(&stream(0)), begin);
}

#[test]
fn the_cursor_stays_in_an_old_epoch_until_all_of_it_is_answered() {
    let mut scene = Scene::new(Start::New);
    let old = scene.give(0, 1);
    scene.opens(0, 2, 1);
    let new = scene.progress.message(&stream(0), &place(epoch(2), 1), Some(1)).expect("new");
    scene.progress.acked(new);
    scene.now = IDLE_CURSORS_MS;
    assert!(scene.write(9));
    assert_eq!(scene.cursors(), "0:0");
    scene.progress.acked(old);
    assert!(scene.write(9));
    assert_eq!(scene.cursors(), "0:e2.1");
    assert_eq!(scene.try_give(0, 2), None, "an epoch that has ended is over");
}

#[test]
fn what_is_answered_while_a_round_is_written_is_known_to_be_written_with_the_next_one() {
    let mut scene = Scene::new(Start::New);
    let (first, second) = (scene.give(0, 1), scene.give(0, 2));
    scene.progress.acked(first);
    let mut round = scene.progress.round();
    scene.progress.acked(second);
    let write = scene.progress.next_write(&mut round, 0).expect("a cursor");
    scene.progress.done(write);
    assert!(scene.progress.next_write(&mut round, 0).is_none());
    scene.progress.round_done(&round);
    assert_eq!(scene.progress.written_answers(), 1);
    assert!(scene.progress.has_writes(0) && scene.write(9));
    assert_eq!(scene.progress.written_answers(), 2);
    assert!(!scene.progress.has_writes(0));
}

#[test]
fn publishers_are_told_what_the_store_has_and_few_at_once() {
    let mut scene = Scene::new(Start::New);
    let tickets: Vec<_> = (0..40).map(|of| scene.give(of, 1)).collect();
    scene.now = TELL_MS;
    tickets.into_iter().for_each(|ticket| scene.progress.acked(ticket));
    assert_eq!(scene.progress.tells(scene.now), [], "nothing is written yet");
    assert!(scene.write(9));
    assert_eq!(scene.progress.tells(scene.now), [], "not so soon again");
    let told = scene.progress.tells(2 * TELL_MS);
    assert_eq!((told.len(), &told[0]), (TELLS_MAX, &position(0, epoch(1), 1)));
    assert_eq!(scene.progress.tells(3 * TELL_MS).len(), 40 - TELLS_MAX);
    assert_eq!(scene.progress.tells(4 * TELL_MS), []);
    assert_eq!(
        scene.progress.tells(TELL_AGAIN_MS).len(),
        TELLS_MAX,
        "who began anew knows nothing"
    );
    assert_eq!(scene.crash().progress.tells(TELL_MS).len(), TELLS_MAX);
}

#[test]
fn lag_is_what_is_not_done_of_what_a_heartbeat_shows() {
    let mut scene = Scene::new(Start::New);
    let lag = |scene: &Scene| scene.progress.lags().map(|(_, lag)| lag).sum::<u64>();
    scene.opens(0, 1, 8);
    assert_eq!(scene.progress.lags().count(), 0, "nobody has told");
    scene.progress.head(&stream(0), epoch(1), 10);
    assert_eq!(lag(&scene), 3);
    let ticket = scene.give(0, 8);
    assert_eq!(lag(&scene), 3);
    scene.progress.acked(ticket);
    assert_eq!(lag(&scene), 2);
    scene.progress.head(&stream(0), epoch(2), 4);
    scene.progress.head(&stream(0), epoch(1), 12);
    assert_eq!(lag(&scene), 4, "at least");
}
