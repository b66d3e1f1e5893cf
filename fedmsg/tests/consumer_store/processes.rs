//! Several processes at one store, and what is left of one that was killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use fedmsg::consumer::{CursorStore, Start, StoreError};

use crate::fixtures::{LEASE_MS, advance, at, claim, name, numbers};
use crate::places::{ADDRESS, JOB, Place};

/// This test once more, as a process of its own that is told what to do.
fn child(place: &Place, job: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([place.test, "--exact", "--nocapture", "--quiet"]);
    command.env(ADDRESS, place.address()).env(JOB, job).stdout(Stdio::piped());
    command.spawn().expect("a child process")
}

/// Lines of a child are told from those of the test harness by this.
const SAID: &str = "child says ";

fn say(words: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{SAID}{words}").and_then(|()| out.flush()).expect("somebody listens");
}

fn said(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    // A line that was cut off by the kill says nothing.
    let lines = out.split(b'\n').map_while(Result::ok);
    lines.filter_map(|line| Some(String::from_utf8(line).ok()?.split_once(SAID)?.1.to_owned()))
}

pub fn what_was_answered_survives_kill_9(place: &Place) {
    if place.child.is_some() {
        return advance_for_ever(&mut *place.open());
    }
    let mut before = 0;
    for round in 1..=4 {
        let mut child = child(place, "advance");
        let mut lines = said(&mut child);
        let mut answered = 0;
        for line in lines.by_ref().take(10 * round) {
            answered = line.parse().expect("a number");
        }
        child.kill().expect("killed");
        answered = lines.filter_map(|line| line.parse().ok()).last().unwrap_or(answered);
        child.wait().expect("ended");
        assert!(answered > before, "{before} {answered}");
        let mut store = place.open();
        let kept = numbers(&store.load(&name("badges")).expect("cursors"));
        // What was under way may have been written; it was never half written.
        assert!(kept == [answered; 2] || kept == [answered + 1; 2], "{answered}: {kept:?}");
        let letters = store.show(&name("badges")).expect("shown").letters;
        assert!(
            letters == kept[0] || letters == kept[0] + 1,
            "one for each step: {letters} {kept:?}"
        );
        before = kept[0];
    }
}

fn advance_for_ever(store: &mut dyn CursorStore) {
    let fence = claim(store, "badges", "the same owner each time", 0);
    let mut i =
        numbers(&store.load(&name("badges")).expect("cursors")).first().copied().unwrap_or(0);
    // A step that was written without its letter is made good.
    let letters = store.show(&name("badges")).expect("shown").letters;
    assert!(letters == i || letters == i + 1, "{letters} {i}");
    loop {
        i += 1;
        store.dead(&fence, &crate::fixtures::failure(0, i, 100), at(1)).expect("kept");
        assert_eq!(store.advance(&fence, &[advance(0, i), advance(1, i)], at(1)), Ok(2));
        say(&i.to_string());
    }
}

const TURNS: u64 = 15;

pub fn many_processes_take_turns(place: &Place) {
    if let Some(owner) = &place.child {
        return take_turns(&mut *place.open(), owner);
    }
    let mut children: Vec<_> = (1..=4).map(|owner| child(place, &owner.to_string())).collect();
    for child in &mut children {
        let last = said(child).last();
        assert!(child.wait().expect("ended").success());
        assert_eq!(last.as_deref(), Some("done"));
    }
    let cursors = place.open().load(&name("badges")).expect("cursors");
    assert_eq!(numbers(&cursors), [4 * TURNS], "no turn was lost, none counted twice");
}

/// Counts one up in each turn: load, and advance by one. Only who holds the consumer may.
fn take_turns(store: &mut dyn CursorStore, owner: &str) {
    let mut turns = 0;
    while turns < TURNS {
        match store.claim(&name("badges"), owner, Start::New, at(0), LEASE_MS) {
            Ok(claimed) => {
                let known = numbers(&store.load(&name("badges")).expect("cursors"));
                let next = known.first().copied().unwrap_or(0) + 1;
                assert_eq!(store.advance(&claimed.fence, &[advance(0, next)], at(1)), Ok(1));
                store.release(&claimed.fence).expect("released");
                turns += 1;
            }
            Err(StoreError::Held { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    say("done");
}

pub fn many_processes_open_a_new_store_at_once(place: &Place) {
    if let Some(owner) = &place.child {
        let mut store = place.open();
        let fence = claim(&mut *store, owner, owner, 0);
        assert_eq!(store.advance(&fence, &[advance(0, 1)], at(1)), Ok(1));
        return say("done");
    }
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut children: Vec<_> = names.iter().map(|owner| child(place, owner)).collect();
    for child in &mut children {
        assert_eq!(said(child).last().as_deref(), Some("done"));
        assert!(child.wait().expect("ended").success());
    }
    let list = place.open().consumers().expect("a list");
    let found: Vec<_> = list.iter().map(|one| (one.consumer.as_str(), one.streams)).collect();
    assert_eq!(found, names.map(|name| (name, 1)));
}
