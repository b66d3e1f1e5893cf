//! Refused messages, and what becomes of them when keys or rules come.

use super::tests::{Scene, at, epoch, name, position, refused, stream};
use super::*;
use crate::consumer::{Curable, CursorStore};
use crate::limits::IDLE_CURSORS_MS;

#[test]
fn a_refused_message_is_fetched_when_it_may_be_cured_and_handed_out_late() {
    let mut scene = Scene::new(Start::New);
    let reason = Curable::NoRule;
    for i in 1..=6 {
        let position = position(0, epoch(1), i);
        scene.progress.refused(&position, Some(refused(0, epoch(1), i, reason)));
    }
    scene.now = IDLE_CURSORS_MS;
    assert!(scene.write(9));
    let refusals = scene.store.refusals(&name(), &Default::default()).expect("refusals");
    scene.progress.curable(refusals, |_| false);
    let asked = scene.progress.fetches(1);
    assert_eq!(asked.iter().map(|at| at.i).collect::<Vec<_>>(), [1, 2, 3, 4], "few at a time");
    assert_eq!(scene.progress.fetches(2), []);
    // Handled, not wanted, nowhere to be had, and still refused.
    let handled = scene.progress.late(&asked[0], Some(10)).expect("handed out");
    assert_eq!(scene.progress.late(&asked[0], Some(10)), None, "once");
    assert_eq!(scene.progress.late(&asked[1], None), None);
    scene.progress.unfetched(&asked[2]);
    scene.progress.refused(&asked[3], Some(refused(0, epoch(1), 4, reason)));
    assert!(scene.write(9));
    assert_eq!(scene.ledger(), [1, 4, 5, 6]);
    scene.progress.acked(handled);
    assert!(scene.write(9));
    assert_eq!(scene.ledger(), [4, 5, 6]);
    assert_eq!(scene.progress.fetches(3).len(), 2, "the next ones");
    assert_eq!(scene.progress.late(&position(0, epoch(1), 9), Some(1)), None, "never asked for");
}

#[test]
fn a_cured_message_that_fails_waits_for_another_try_before_it_is_struck_out() {
    let mut scene = Scene::new(Start::New);
    let one = refused(0, epoch(1), 1, Curable::NotYetValid);
    scene.progress.refused(&one.position, Some(one.clone()));
    assert!(scene.write(9));
    let refusals = scene.store.refusals(&name(), &Default::default()).expect("refusals");
    scene.progress.curable(refusals, |_| false);
    scene.progress.fetches(1);
    let late = scene.progress.late(&one.position, Some(10)).expect("handed out");
    scene.fail(late, 0, 1, 1);
    assert!(!scene.write(1));
    assert_eq!((scene.waiting(), scene.ledger()), (vec![1], vec![1]));
    assert!(scene.write(9));
    assert_eq!((scene.waiting(), scene.ledger()), (vec![1], vec![]));
}

#[test]
fn an_unknown_key_is_noted_once_for_each_stream_and_moves_nothing() {
    let mut scene = Scene::new(Start::New);
    for i in [5, 6] {
        scene.progress.unknown(refused(0, epoch(1), i, Curable::UnknownKey));
    }
    scene.now = IDLE_CURSORS_MS;
    assert!(scene.write(9));
    assert_eq!((scene.ledger(), scene.cursors().as_str()), (vec![0], ""));
    assert_eq!(scene.progress.begin(&stream(0)), Begin::Since(at(0)), "its stream begins anew");
    for (knows, left) in [(false, vec![0]), (true, vec![])] {
        let refusals = scene.store.refusals(&name(), &Default::default()).expect("refusals");
        scene.progress.curable(refusals, |_| knows);
        assert_eq!(scene.progress.fetches(1), [], "its stream brings it");
        assert!(scene.write(9));
        assert_eq!(scene.ledger(), left);
    }
}

#[test]
fn who_claims_the_place_of_a_refused_message_does_not_strike_it_out() {
    let mut scene = Scene::new(Start::New);
    let before = refused(0, epoch(1), 5, Curable::NoRule);
    scene.progress.refused(&before.position, Some(before.clone()));
    scene.progress.unknown(refused(0, epoch(1), 5, Curable::UnknownKey));
    assert!(scene.write(9));
    assert_eq!(scene.ledger(), [0, 5]);
    let refusals = scene.store.refusals(&name(), &Default::default()).expect("refusals");
    scene.progress.curable(refusals, |_| true);
    assert!(scene.write(9));
    assert_eq!(scene.ledger(), [5], "the key has come, the rule has not");
    assert_eq!(scene.progress.fetches(1), [before.position]);
}
