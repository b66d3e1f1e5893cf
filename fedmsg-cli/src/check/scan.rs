//! Has holders read parts of streams, and tells what none of them has. They are asked with a filter that nothing matches:
//! then they read, send no message, and name what is damaged or missing.

use std::time::Instant;

use fedmsg::envelope::Epoch;
use fedmsg::frames::{Ask, ErrorCode, Reply};
use fedmsg::limits::GET_MESSAGES_MAX;
use fedmsg::net::Zmq;
use fedmsg::transport::Transport;
use fedmsg::{Endpoint, Pattern, StreamName};

use super::Error;
use crate::holders::{Question, Until, ask_until};

/// Topics that begin so are the bus's own, and none has this name.
const NOTHING: &str = "_nothing";

/// A part of a stream, and who may have it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) stream: StreamName,
    pub(super) epoch: Epoch,
    /// The first and the last number.
    pub(super) numbers: (u64, u64),
    pub(super) holders: Vec<Keeper>,
}

/// A holder, and from which number to which it says that it has something of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keeper {
    pub(super) address: Endpoint,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What was found of a part.
#[derive(Clone, Debug)]
pub(super) struct Scanned {
    pub(super) part: Part,
    /// Numbers that every holder was asked for, and none has.
    pub(super) missing: Vec<(u64, u64)>,
    /// Why not all of it could be read.
    pub(super) unread: Option<String>,
}

/// How long it may take.
pub(super) struct Scan<'a> {
    pub(super) end: Instant,
    pub(super) is_stopped: &'a (dyn Fn() -> bool + Sync),
}

impl Scan<'_> {
    /// All parts at once, each from one holder to the next with what that one lacks.
    pub(super) fn run(&self, parts: Vec<Part>) -> Result<Vec<Scanned>, Error> {
        let mut tasks: Vec<Task> = parts.into_iter().map(Task::new).collect();
        while tasks.iter().any(|task| task.question().is_some())
            && Instant::now() < self.end
            && !(self.is_stopped)()
        {
            let (open, questions): (Vec<usize>, Vec<Question>) = tasks
                .iter()
                .enumerate()
                .filter_map(|(at, task)| Some((at, task.question()?)))
                .unzip();
            let until = Until { end: self.end, is_stopped: self.is_stopped, tell: &|_, _| {} };
            let answers = ask_until(&mut *Zmq::new().asker()?, &questions, until, |_| false);
            for (at, answers) in open.into_iter().zip(answers) {
                let replies = answers.into_values().next().unwrap_or_default();
                tasks[at].take(&replies);
            }
        }
        Ok(tasks.into_iter().map(Task::end).collect())
    }
}

struct Task {
    part: Part,
    /// Which holder is asked now.
    holder: usize,
    /// What it is still to be asked for.
    left: Vec<(u64, u64)>,
    /// What it does not have, or does not give.
    lacking: Vec<(u64, u64)>,
    /// Why somebody gave no answer to what he may have.
    unread: Option<String>,
}

impl Task {
    fn new(part: Part) -> Task {
        let left = vec![part.numbers];
        let mut task = Task { part, holder: 0, left, lacking: Vec::new(), unread: None };
        task.narrow();
        task
    }

    /// Asks a holder for what it says that it has, and leaves the rest to others.
    fn narrow(&mut self) {
        while let Some(keeper) = self.part.holders.get(self.holder)
            && !self.left.is_empty()
        {
            let (first, last) = (keeper.first, keeper.last);
            let lacking = without(self.left.clone(), (first, last));
            self.left = lacking
                .iter()
                .fold(std::mem::take(&mut self.left), |left, one| without(left, *one));
            self.lacking.extend(lacking);
            if !self.left.is_empty() {
                return;
            }
            self.next_holder();
        }
    }

    fn next_holder(&mut self) {
        self.left = std::mem::take(&mut self.lacking);
        self.left.sort_unstable();
        self.holder += 1;
    }

    fn question(&self) -> Option<Question> {
        let holder = self.part.holders.get(self.holder)?.address.clone();
        let (from, to) = *self.left.first()?;
        let ask = Ask::Get {
            stream: self.part.stream.clone(),
            epoch: self.part.epoch,
            from,
            to,
            max: GET_MESSAGES_MAX,
            filters: Pattern::subscription(NOTHING).into_iter().collect(),
        };
        Some(Question { ask, holders: vec![holder] })
    }

    fn take(&mut self, replies: &[Reply]) {
        let Some((from, to)) = self.left.first().copied() else { return };
        let gone = replies.iter().filter_map(|reply| match reply {
            Reply::Gone { i, reason, .. } if reason.as_str() == "damaged" => Some((*i, *i)),
            _ => None,
        });
        match replies.last() {
            Some(Reply::End { upto, .. }) if *upto >= from => {
                for gone in gone {
                    push(&mut self.lacking, gone);
                }
                match *upto < to {
                    true => self.left[0].0 = upto + 1,
                    false => drop(self.left.remove(0)),
                }
            }
            // It has less than it said a moment ago.
            Some(Reply::End { .. }) => self.give_up(None),
            Some(Reply::Err {
                code: ErrorCode::Trimmed | ErrorCode::UnknownEpoch | ErrorCode::UnknownStream,
                ..
            }) => self.give_up(None),
            Some(Reply::Err { code, text }) => {
                self.give_up(Some(format!("{}: {text}", code.name())));
            }
            _ => {
                let holder = &self.part.holders[self.holder].address;
                self.give_up(Some(format!("{holder} gave no answer in time")));
            }
        }
        if self.left.is_empty() {
            self.next_holder();
            self.narrow();
        }
    }

    /// This holder has nothing of what is left, or does not say.
    fn give_up(&mut self, why: Option<String>) {
        self.unread = self.unread.take().or(why);
        for left in std::mem::take(&mut self.left) {
            push(&mut self.lacking, left);
        }
    }

    fn end(mut self) -> Scanned {
        if self.question().is_some() {
            let why = "the time was over".to_owned();
            return Scanned { part: self.part, missing: Vec::new(), unread: Some(why) };
        }
        // What somebody could not give now may be there.
        let (missing, unread) = match (self.left.is_empty(), self.unread.take()) {
            (false, Some(why)) => (Vec::new(), Some(why)),
            (_, _) => (self.left, None),
        };
        Scanned { part: self.part, missing, unread }
    }
}

/// Puts numbers behind others, in one piece where they follow each other.
fn push(all: &mut Vec<(u64, u64)>, (from, to): (u64, u64)) {
    match all.last_mut() {
        Some(last) if last.1 + 1 == from => last.1 = to,
        _ => all.push((from, to)),
    }
}

/// What is left of these numbers without those.
pub(super) fn without(all: Vec<(u64, u64)>, (from, to): (u64, u64)) -> Vec<(u64, u64)> {
    let cut = all.into_iter().flat_map(|(first, last)| {
        let before = (first, last.min(from.saturating_sub(1)));
        let behind = (first.max(to + 1), last);
        if to < first || from > last {
            [Some((first, last)), None]
        } else {
            [Some(before), Some(behind)]
        }
    });
    cut.flatten().filter(|(first, last)| first <= last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedmsg::frames::Word;
    use fedmsg::merkle::Leaf;

    fn task(from: u64, to: u64, holders: u16) -> Task {
        let keeper = |port| Keeper {
            address: Endpoint::parse(&format!("tcp://h:{port}")).expect("an address"),
            first: 1,
            last: 1_000,
        };
        of(from, to, (1..=holders).map(keeper).collect())
    }

    fn of(from: u64, to: u64, holders: Vec<Keeper>) -> Task {
        Task::new(Part {
            stream: StreamName::parse("a.b/0").expect("a stream"),
            epoch: Epoch::new(uuid::Uuid::from_u128(1)),
            numbers: (from, to),
            holders,
        })
    }

    fn gone(i: u64) -> Reply {
        Reply::Gone { i, leaf: Leaf::NONE, reason: Word::parse("damaged").expect("a word") }
    }

    fn end(upto: u64) -> Reply {
        Reply::End { upto, more: true }
    }

    fn asked(task: &Task) -> Option<(u64, u64)> {
        match task.question()?.ask {
            Ask::Get { from, to, .. } => Some((from, to)),
            _ => None,
        }
    }

    #[test]
    fn what_one_holder_lacks_the_next_one_is_asked_for() {
        let mut one = task(1, 20, 2);
        one.take(&[end(4)]);
        assert_eq!(asked(&one), Some((5, 20)));
        one.take(&[gone(5), gone(6), end(6)]);
        one.take(&[end(18)]);
        one.take(&[gone(19), end(19)]);
        one.take(&[end(20)]);
        assert_eq!((one.holder, asked(&one)), (1, Some((5, 6))));
        one.take(&[end(6)]);
        assert_eq!(asked(&one), Some((19, 19)));
        one.take(&[gone(19), end(19)]);
        let scanned = one.end();
        assert_eq!((scanned.missing, scanned.unread), (vec![(19, 19)], None));
    }

    #[test]
    fn who_does_not_say_leaves_it_unknown_and_who_denies_leaves_it_missing() {
        let error = |code, text: &str| Reply::Err { code, text: text.into() };
        let mut one = task(1, 9, 1);
        one.take(&[error(ErrorCode::Trimmed, "what is left begins with number 12")]);
        assert_eq!(one.end().missing, [(1, 9)]);
        let mut one = task(1, 9, 2);
        one.take(&[error(ErrorCode::UnknownEpoch, "")]);
        assert_eq!(one.holder, 1);
        one.take(&[]);
        let scanned = one.end();
        assert!(scanned.missing.is_empty() && scanned.unread.is_some(), "{scanned:?}");
        let scanned = task(1, 9, 1).end();
        assert_eq!(scanned.unread.as_deref(), Some("the time was over"));
        let scanned = task(1, 9, 0).end();
        assert_eq!(scanned.missing, [(1, 9)], "nobody has anything");
    }

    #[test]
    fn a_holder_is_asked_for_what_it_says_that_it_has() {
        let mut keepers = task(1, 20, 3).part.holders;
        (keepers[0].first, keepers[0].last) = (12, 15);
        (keepers[1].first, keepers[1].last) = (30, 40);
        (keepers[2].first, keepers[2].last) = (3, 40);
        let mut one = of(1, 20, keepers);
        assert_eq!(asked(&one), Some((12, 15)));
        one.take(&[gone(12), gone(13), end(13)]);
        one.take(&[end(15)]);
        assert_eq!((one.holder, asked(&one)), (2, Some((3, 11))));
        one.take(&[end(11)]);
        assert_eq!(asked(&one), Some((12, 13)));
        one.take(&[end(13)]);
        assert_eq!(asked(&one), Some((16, 20)));
        one.take(&[end(20)]);
        assert_eq!(one.end().missing, [(1, 2)]);
    }

    #[test]
    fn numbers_are_taken_out() {
        for (taken, left) in [
            ((1, 9), vec![]),
            ((0, 0), vec![(1, 9)]),
            ((10, 12), vec![(1, 9)]),
            ((1, 4), vec![(5, 9)]),
            ((3, 4), vec![(1, 2), (5, 9)]),
            ((5, 20), vec![(1, 4)]),
        ] {
            assert_eq!(without(vec![(1, 9)], taken), left, "{taken:?}");
        }
    }
}
