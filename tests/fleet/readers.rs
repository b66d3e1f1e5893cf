//! Durable consumers that are started again and again, and what each of them has done.

use std::collections::{BTreeMap, BTreeSet};

use fedmsg::StreamName;
use fedmsg::consumer::{ConsumerName, CursorStore, Position, SqliteStore};
use fedmsg::envelope::Epoch;

use super::hosts::Host;
use super::workers::{BYTES, Ledger};
use crate::harness::effects::{Allowed, Effects};
use crate::harness::{Bus, Program, command};

/// How far streams are.
pub type Ends = BTreeMap<StreamName, Position>;

pub struct Reader {
    pub name: &'static str,
    pub host: &'static str,
    program: Option<Program>,
    pub effects: Effects,
}

impl Reader {
    pub fn of(bus: &Bus, name: &'static str, host: &'static str, allowed: Allowed) -> Reader {
        let effects = Effects::allowing(bus.path(&format!("effects-{name}")), BYTES, allowed);
        Reader { name, host, program: None, effects }
    }

    pub fn start(&mut self, bus: &Bus, host: &Host) {
        if self.program.is_none() {
            let mut consumer = command("examples/consumer");
            consumer.arg(host.etc()).arg(self.name);
            consumer.arg(bus.path(&format!("effects-{}", self.name))).args(["late", "forks"]);
            self.program = Some(Program::start(consumer));
        }
    }

    /// kill -9; whether it ran.
    pub fn kill(&mut self) -> bool {
        let program = self.program.take();
        program.map(|mut program| program.kill()).is_some()
    }

    /// Looks at what it has done by now; how many lines it has said meanwhile.
    pub fn read(&mut self) -> usize {
        let read = self.effects.read();
        read.unwrap_or_else(|what| panic!("consumer {}: {what}", self.name));
        // They are those of its file.
        self.program.as_mut().map_or(0, |program| program.lines_now().len())
    }

    /// How many of the acknowledged messages it has not done.
    pub fn left(&self, ledger: &Ledger) -> usize {
        let is_done = |place| self.effects.all.get(place).is_some_and(|done| done.is_handled);
        ledger.all.keys().filter(|place| !is_done(place)).count()
    }

    /// The last position of each stream of this identity that it has done.
    pub fn ends(&self, identity: &str) -> Ends {
        let places = self.effects.all.keys();
        let places = places.filter(|place| place.stream.identity().as_str() == identity);
        places.map(|place| (place.stream.clone(), place.clone())).collect()
    }

    /// Where its store does not know that it is so far, in words: what it does not know is handed out again.
    pub fn behind(&self, ends: &Ends, host: &Host) -> Option<String> {
        let store = SqliteStore::open(&host.state().join("consumers.db"));
        let name = ConsumerName::parse(self.name).expect("a name");
        let cursors = match store.and_then(|mut store| store.load(&name)) {
            Ok(cursors) => cursors.into_iter().map(|cursor| cursor.position),
            // Whoever is at work may keep it busy.
            Err(error) => return Some(error.to_string()),
        };
        let cursors: Ends = cursors.map(|position| (position.stream.clone(), position)).collect();
        let is_there = |stream, end| cursors.get(stream).is_some_and(|cursor| cursor >= end);
        let (stream, end) = ends.iter().find(|(stream, end)| !is_there(*stream, *end))?;
        Some(format!("consumer {} is at {:?}, not at {end:?}", name, cursors.get(stream)))
    }

    /// Has it end in order.
    pub fn end(&mut self) {
        if let Some(mut program) = self.program.take() {
            let (code, _, errors) = program.end();
            assert_eq!(code, 0, "consumer {}: {errors:?}", self.name);
        }
        self.read();
    }

    /// What was acknowledged was done as what it is; nothing was done that nobody published, or twice under two
    /// positions; and each epoch was done from its first message on, without a gap.
    pub fn compare(&self, ledger: &Ledger) {
        let name = self.name;
        for (place, (tag, n)) in &ledger.all {
            let Some(done) = self.effects.all.get(place) else { panic!("{name}: {place:?}") };
            assert_eq!((&done.tag, done.n), (tag, *n), "{name}: {place:?}");
        }
        let mut bodies = BTreeSet::new();
        let mut epochs: BTreeMap<(&StreamName, Epoch), (u64, u64)> = BTreeMap::new();
        for (place, done) in &self.effects.all {
            assert!(ledger.may_be(&done.tag, done.n), "{name}: {place:?} {done:?}");
            assert!(bodies.insert((&done.tag, done.n)), "{name}: {place:?} {done:?} came twice");
            let (count, last) = epochs.entry((&place.stream, place.epoch)).or_default();
            (*count, *last) = (*count + 1, place.i);
        }
        for (epoch, (count, last)) in epochs {
            assert_eq!(count, last, "{name}: so many messages of {epoch:?}, and the last of them");
        }
    }
}
