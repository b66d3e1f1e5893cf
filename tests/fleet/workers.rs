//! Processes that publish, and what they were asked for and have acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fedmsg::StreamName;
use fedmsg::consumer::Position;
use fedmsg::envelope::Epoch;

use super::hosts::Host;
use super::readers::Ends;
use crate::harness::service::Acknowledged;
use crate::harness::{Program, command};

pub const BYTES: usize = 100;

/// Everything that was published, as the publishers say it.
#[derive(Default)]
pub struct Ledger {
    /// What has a receipt.
    pub all: Acknowledged,
    /// What was asked for: how many of each tag.
    asked: BTreeMap<String, u64>,
    /// What nobody may be given: it was refused to whoever published it, or its position was taken.
    void: BTreeSet<(String, u64)>,
    /// The last position of streams whose machine was then set back behind it.
    ended: BTreeMap<StreamName, (Epoch, u64)>,
    /// What has a receipt for a position that was taken, from the second life of a machine.
    pub taken: u64,
}

impl Ledger {
    /// Notes a batch about this object; its tag.
    fn ask(&mut self, object: &str, count: u64) -> String {
        let tag = format!("{object}{}", self.asked.len());
        self.asked.insert(tag.clone(), count);
        tag
    }

    /// Whether somebody was asked to publish this, and it may be handed out.
    pub fn may_be(&self, tag: &str, n: u64) -> bool {
        let is_asked = self.asked.get(tag).is_some_and(|count| (1..=*count).contains(&n));
        is_asked && !self.void.contains(&(tag.into(), n))
    }

    /// Whether there is something of this identity about this object.
    pub fn has(&self, identity: &str, object: &str) -> bool {
        let is_it = |(place, (tag, _)): (&Position, &(String, u64))| {
            place.stream.identity().as_str() == identity && tag.starts_with(object)
        };
        self.all.iter().any(is_it)
    }

    fn refuse(&mut self, tag: &str, n: u64) {
        self.void.insert((tag.into(), n));
    }

    fn acknowledge(&mut self, place: Position, tag: &str, n: u64) {
        if let Some((epoch, last)) = self.ended.get(&place.stream)
            && *epoch == place.epoch
        {
            // Readers have another message there. Of positions behind that nothing of the kind is said.
            assert!(place.i <= *last, "{place:?} is behind {last}, and nobody was told in time");
            self.taken += 1;
            self.void.insert((tag.into(), n));
            return;
        }
        let before = self.all.insert(place.clone(), (tag.into(), n));
        assert_eq!(before, None, "{place:?}: acknowledged twice");
    }

    /// The last position of each stream of this identity that has a receipt.
    pub fn ends(&self, identity: &str) -> Ends {
        let places = self.all.keys();
        let places = places.filter(|place| place.stream.identity().as_str() == identity);
        // They come in their order.
        places.map(|place| (place.stream.clone(), place.clone())).collect()
    }

    /// All streams of this identity are set back behind what they have published.
    pub fn set_back(&mut self, identity: &str) {
        let ends = self.ends(identity).into_iter();
        self.ended.extend(ends.map(|(stream, end)| (stream, (end.epoch, end.i))));
    }

    /// Whether streams of this identity that were set back have all gone on in another epoch.
    pub fn has_gone_on(&self, identity: &str) -> bool {
        let mut ended =
            self.ended.iter().filter(|(stream, _)| stream.identity().as_str() == identity);
        ended.all(|(stream, (epoch, _))| {
            self.all.keys().any(|place| place.stream == *stream && place.epoch > *epoch)
        })
    }
}

/// One process that is started again and again.
pub struct Worker {
    pub identity: &'static str,
    pub host: &'static str,
    program: Option<Program>,
    /// Tag, number of messages, and the next of which the answer comes.
    asked: VecDeque<(String, u64, u64)>,
    /// Its stream, and `direct` or `relayed`, when it has said so.
    pub stream: Option<(StreamName, String)>,
    pub lives: u64,
}

impl Worker {
    pub fn of(identity: &'static str, host: &'static str) -> Worker {
        Worker { identity, host, program: None, asked: VecDeque::new(), stream: None, lives: 0 }
    }

    pub fn is_running(&self) -> bool {
        self.program.is_some()
    }

    /// Whether it has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    pub fn start(&mut self, host: &Host) {
        if self.program.is_none() {
            let mut publisher = command("examples/publisher");
            publisher.arg(host.etc()).arg(self.identity);
            self.program = Some(Program::start(publisher));
            self.lives += 1;
        }
    }

    /// Has it publish so many messages, if it runs.
    pub fn ask(&mut self, object: &str, count: u64, ledger: &mut Ledger) {
        let Some(program) = &mut self.program else { return };
        let (service, _) = self.identity.split_once('.').expect("an identity");
        let tag = ledger.ask(object, count);
        program.tell(&format!("each {count} {service}.{object} {tag} {BYTES}"));
        self.asked.push_back((tag, count, 1));
    }

    /// Takes the answers that are there.
    pub fn take(&mut self, ledger: &mut Ledger) {
        let lines = self.program.as_mut().map(Program::lines_now).unwrap_or_default();
        self.answers(lines, ledger);
    }

    /// Waits until everything that was asked for is answered.
    pub fn catch_up(&mut self, ledger: &mut Ledger) {
        while let (false, Some(program)) = (self.asked.is_empty(), &mut self.program) {
            let line = program.line();
            self.answers(vec![line], ledger);
        }
    }

    /// kill -9; takes the answers that it gave before.
    pub fn kill(&mut self, ledger: &mut Ledger) {
        let Some(mut program) = self.program.take() else { return };
        program.kill();
        self.answers(program.last_lines(), ledger);
        self.is_gone();
    }

    /// Has it end in order, with an answer to everything.
    pub fn end(&mut self, ledger: &mut Ledger) {
        let Some(mut program) = self.program.take() else { return };
        let (code, lines, errors) = program.end();
        assert_eq!(code, 0, "{}: {errors:?}", self.identity);
        self.answers(lines, ledger);
        assert!(self.asked.is_empty(), "{}: no answer to {:?}", self.identity, self.asked);
        self.is_gone();
    }

    fn is_gone(&mut self) {
        self.asked.clear();
        self.stream = None;
    }

    /// The place of each message that was acknowledged, and what it is.
    fn answers(&mut self, lines: Vec<String>, ledger: &mut Ledger) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let place = match words[..] {
                ["ready", stream, _, way] => {
                    self.stream = StreamName::parse(stream).ok().map(|name| (name, way.into()));
                    continue;
                }
                ["sent", stream, epoch, i, _] => place(stream, epoch, i),
                // Its process has not read the rule that has come.
                ["failed", ..] if line.contains("no [[publish]] rule allows it") => {
                    self.answered(|tag, n| ledger.refuse(tag, n));
                    continue;
                }
                ["failed", ..] => panic!("{}: {line}", self.identity),
                _ => continue,
            };
            // The last line may be cut off by a kill.
            let Some(place) = place else { continue };
            self.answered(|tag, n| ledger.acknowledge(place, tag, n));
        }
    }

    /// The answer to the oldest message that has none.
    fn answered(&mut self, what: impl FnOnce(&str, u64)) {
        let (tag, count, next) = self.asked.front_mut().expect("somebody has asked");
        what(tag, *next);
        *next += 1;
        if *next > *count {
            self.asked.pop_front();
        }
    }
}

fn place(stream: &str, epoch: &str, i: &str) -> Option<Position> {
    let (stream, epoch) = (StreamName::parse(stream).ok()?, Epoch::parse(epoch)?);
    Some(Position { stream, epoch, i: i.parse().ok()? })
}
