//! A publisher that is killed again and again, and everything that it acknowledged.

use std::collections::{BTreeMap, VecDeque};

use fedmsg::StreamName;
use fedmsg::consumer::Position;
use fedmsg::envelope::Epoch;

use super::{Bus, Program, command};

/// A publisher that is started again and again, and what it was asked to publish.
pub struct Service {
    identity: &'static str,
    program: Option<Program>,
    /// Tag, number of messages, and the next of which the answer comes.
    asked: VecDeque<(String, u64, u64)>,
}

impl Service {
    pub fn of(identity: &'static str) -> Service {
        Service { identity, program: None, asked: VecDeque::new() }
    }

    /// The process, which is started if there is none.
    pub fn start(&mut self, bus: &Bus) -> &mut Program {
        self.program.get_or_insert_with(|| {
            let mut publisher = command("examples/publisher");
            publisher.arg(bus.etc()).arg(self.identity);
            Program::start(publisher)
        })
    }

    /// Has it publish so many messages.
    pub fn ask(&mut self, bus: &Bus, count: u64, topic: &str, tag: String, bytes: usize) {
        self.start(bus).tell(&format!("each {count} {topic} {tag} {bytes}"));
        self.asked.push_back((tag, count, 1));
    }

    /// Takes the answers of these lines: the place of each message that was acknowledged, and what it is.
    fn answers(&mut self, lines: Vec<String>, all: &mut Acknowledged) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let place = match words[..] {
                ["sent", stream, epoch, i, "-"] => place(stream, epoch, i),
                ["failed", ..] => panic!("{line}"),
                _ => continue,
            };
            let Some((tag, count, next)) = self.asked.front_mut() else { panic!("{line}") };
            // The last line may be cut off by the kill.
            let Some(place) = place else { continue };
            let before = all.insert(place, (tag.clone(), *next));
            assert_eq!(before, None, "{line}: acknowledged twice");
            *next += 1;
            if *next > *count {
                self.asked.pop_front();
            }
        }
    }

    /// Takes the answers that are there.
    pub fn take(&mut self, all: &mut Acknowledged) {
        let lines = self.program.as_mut().map(Program::lines_now).unwrap_or_default();
        self.answers(lines, all);
    }

    /// Kills it, and takes the answers that it gave before.
    pub fn kill(&mut self, all: &mut Acknowledged) {
        let Some(mut program) = self.program.take() else { return };
        program.kill();
        self.answers(program.last_lines(), all);
        self.asked.clear();
    }

    /// Waits until everything that was asked for is answered.
    pub fn catch_up(&mut self, all: &mut Acknowledged) {
        while !self.asked.is_empty() {
            let line = self.program.as_mut().expect("it runs").line();
            self.answers(vec![line], all);
        }
    }
}

/// What was acknowledged: tag and number.
pub type Acknowledged = BTreeMap<Position, (String, u64)>;

fn place(stream: &str, epoch: &str, i: &str) -> Option<Position> {
    let (stream, epoch) = (StreamName::parse(stream).ok()?, Epoch::parse(epoch)?);
    Some(Position { stream, epoch, i: i.parse().ok()? })
}
