//! Whatever a consumer, a store and a crash do: nothing is passed over that was not handled.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::tests::{Scene, epoch, place, position, stream};
use super::*;
use crate::consumer::{ConsumerName, Curable, CursorStore, LetterFilter, Page};
use crate::keys::KeyId;

const STREAMS: u16 = 3;
const MESSAGES: u64 = 30;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The reader gives the next position of a stream.
    Read(u16),
    /// The consumer answers one of what it has.
    Ack(usize),
    Fail(usize),
    /// So many calls to the store are made.
    Write(usize),
    Broken(bool),
    /// Failed messages come again.
    Retry,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..STREAMS).prop_map(Step::Read),
        5 => any::<usize>().prop_map(Step::Ack),
        2 => any::<usize>().prop_map(Step::Fail),
        3 => (0..8_usize).prop_map(Step::Write),
        1 => prop::bool::weighted(0.5).prop_map(Step::Broken),
        1 => Just(Step::Retry),
        1 => Just(Step::Crash),
    ]
}

/// What stands at a position, the same in every run.
#[derive(Clone, Copy, PartialEq)]
enum What {
    Wanted,
    Unwanted,
    Void,
    Curable,
    Lost,
}

fn what(of: u16, i: u64) -> What {
    match (i * 7 + u64::from(of) * 3) % 11 {
        0 => What::Unwanted,
        1 => What::Void,
        2 => What::Curable,
        3 => What::Lost,
        _ => What::Wanted,
    }
}

struct Run {
    scene: Scene,
    /// The next position that the reader gives of each stream.
    next: BTreeMap<u16, u64>,
    hands: Vec<(Ticket, u16, u64, u32)>,
    acked: BTreeSet<(u16, u64)>,
    broken: bool,
}

impl Run {
    fn new() -> Run {
        let scene = Scene::new(Start::Earliest);
        let (next, hands, acked) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Run { scene, next, hands, acked, broken: false }
    }

    fn read(&mut self, of: u16) {
        let begin = match self.scene.progress.begin(&stream(of)) {
            Begin::At { next, .. } => next,
            _ => 1,
        };
        let i = *self.next.entry(of).or_insert(begin);
        if i > MESSAGES || !self.scene.progress.has_room() {
            return;
        }
        self.next.insert(of, i + 1);
        match what(of, i) {
            What::Wanted => {
                if let Some(ticket) = self.scene.try_give(of, i) {
                    self.hands.push((ticket, of, i, 0));
                }
            }
            What::Unwanted => {
                let place = place(epoch(1), i);
                assert_eq!(self.scene.progress.message(&stream(of), &place, None), None);
            }
            What::Void => self.scene.progress.refused(&position(of, epoch(1), i), None),
            What::Curable => {
                let (position, key) = (position(of, epoch(1), i), KeyId::of(&[7; 32]));
                let refused = Refused {
                    position: position.clone(),
                    leaf: None,
                    reason: Curable::NoRule,
                    key,
                };
                self.scene.progress.refused(&position, Some(refused));
            }
            What::Lost => self.scene.progress.lost(&stream(of), epoch(1), i),
        }
    }

    fn retry(&mut self) {
        // As long from now as it takes.
        let later = Timestamp::from_millis(self.scene.wall().as_millis() + 1_000_000_000);
        let Ok(due) = self.scene.store.due(&name(), later) else { return };
        for retry in due.retries {
            let position = &retry.failure.position;
            let slot = position.stream.as_str().rsplit('/').next().expect("a slot");
            if let Some(ticket) = self.scene.progress.again(position, 100) {
                let of = slot.parse().expect("a number");
                self.hands.push((ticket, of, position.i, retry.failure.attempts));
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Read(of) => self.read(of),
            Step::Ack(choice) if !self.hands.is_empty() => {
                let (ticket, of, i, _) = self.hands.swap_remove(choice % self.hands.len());
                self.acked.insert((of, i));
                self.scene.progress.acked(ticket);
            }
            Step::Fail(choice) if !self.hands.is_empty() => {
                let (ticket, of, i, tries) = self.hands.swap_remove(choice % self.hands.len());
                self.scene.fail(ticket, of, i, tries + 1);
            }
            Step::Ack(_) | Step::Fail(_) => {}
            Step::Write(calls) => {
                self.scene.now += 1_000;
                self.scene.write(calls);
            }
            Step::Broken(broken) => {
                self.broken = broken;
                self.scene.store.set_broken(broken);
            }
            Step::Retry => self.retry(),
            Step::Crash => {
                self.take(Step::Broken(false));
                let now = self.scene.now;
                let fresh = Run::new().scene;
                self.scene = std::mem::replace(&mut self.scene, fresh).crash();
                self.scene.now = now;
                self.next.clear();
                self.hands.clear();
            }
        }
    }

    /// Everything before a cursor was handled, or is kept somewhere.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let store = &mut self.scene.store;
        store.set_broken(false);
        let later = Timestamp::from_millis(i64::MAX);
        let due = store.due(&name(), later).expect("due").retries;
        let page = Page { after: 0, limit: usize::MAX };
        let dead = store.dead_letters(&name(), &LetterFilter::default(), page).expect("letters");
        let mut kept: BTreeSet<Position> =
            due.into_iter().map(|retry| retry.failure.position).collect();
        kept.extend(dead.into_iter().map(|letter| letter.failure.position));
        let refusals = store.refusals(&name(), &Default::default()).expect("refusals");
        let ledger: BTreeSet<Position> =
            refusals.into_iter().map(|refusal| refusal.refused.position).collect();
        for of in 0..STREAMS {
            let cursors = store.load(&name()).expect("cursors");
            let cursor = cursors.iter().find(|cursor| cursor.position.stream == stream(of));
            for i in 1..=cursor.map_or(0, |cursor| cursor.position.i) {
                let position = position(of, epoch(1), i);
                let done = match what(of, i) {
                    What::Wanted => self.acked.contains(&(of, i)) || kept.contains(&position),
                    What::Curable => ledger.contains(&position),
                    _ => true,
                };
                prop_assert!(done, "number {i} of stream {of} was passed over");
            }
        }
        self.scene.store.set_broken(self.broken);
        Ok(())
    }

    /// Lets everything come to its end.
    fn finish(&mut self) {
        self.take(Step::Broken(false));
        for _ in 0..4 * MESSAGES {
            for of in 0..STREAMS {
                self.read(of);
            }
            self.retry();
            while !self.hands.is_empty() {
                self.take(Step::Ack(0));
            }
            self.take(Step::Write(100));
        }
    }
}

fn name() -> ConsumerName {
    ConsumerName::parse("badges").expect("a name")
}

proptest! {
    #[test]
    fn nothing_is_lost_and_no_cursor_passes_what_is_not_handled(
        steps in prop::collection::vec(step(), 1..150)
    ) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
            run.check()?;
        }
        run.finish();
        run.check()?;
        let dead = run.scene.progress.counts().dead;
        for of in 0..STREAMS {
            let cursors = run.scene.cursors();
            prop_assert!(cursors.contains(&format!("{of}:{MESSAGES}")), "{cursors}");
        }
        let wanted = (0..STREAMS).flat_map(|of| (1..=MESSAGES).map(move |i| (of, i)));
        let missing = wanted.filter(|(of, i)| what(*of, *i) == What::Wanted);
        let missing = missing.filter(|at| !run.acked.contains(at)).count() as u64;
        prop_assert!(missing <= dead, "{missing} messages came to nothing, {dead} were given up");
    }
}
