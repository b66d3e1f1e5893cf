//! The last message of a topic: looked for from the end of each stream backwards, with the filters of holders.

use std::sync::Arc;

use fedmsg::consumer::Position;
use fedmsg::envelope::Epoch;
use fedmsg::frames::{Ask, Reply};
use fedmsg::limits::GET_MESSAGES_MAX;
use fedmsg::net::Zmq;
use fedmsg::open::Opener;
use fedmsg::timestamp::Timestamp;
use fedmsg::transport::Transport;
use fedmsg::{Endpoint, Pattern, StreamName};

use super::{Error, World};
use crate::holders::{Answers, Question, Until, ask_until};
use crate::streams::{Said, View, open};

/// Numbers that are looked at first; then always four times as many.
const FIRST: u64 = 250;
/// Most that a holder looks at for one answer.
const MOST: u64 = 4_000;
/// Holders that are asked for one part.
const ASKED: usize = 2;

/// What is looked for, and how far back.
pub(super) struct Search<'a> {
    pub(super) view: &'a View,
    pub(super) world: &'a World<'a>,
    /// What is older is not looked for.
    pub(super) oldest: Timestamp,
}

/// The last message that matches a pattern.
#[derive(Clone, Debug, Default)]
pub(super) struct Last {
    pub(super) said: Option<Said>,
    /// All streams were searched to the end.
    pub(super) is_sure: bool,
    /// How many streams there were.
    pub(super) streams: usize,
}

/// The search in one stream for one pattern.
struct Task {
    stream: StreamName,
    pattern: usize,
    /// Epochs that were not looked at, with their numbers; the newest is the last.
    left: Vec<(Epoch, u64, u64)>,
    /// The part that is asked for now.
    part: (Epoch, u64, u64),
    width: u64,
    found: Option<Said>,
    state: Doing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Searching,
    Done,
    /// Somebody did not answer, or has not what he should have.
    Failed,
}

impl Search<'_> {
    pub(super) fn run(
        &self,
        patterns: &[Pattern],
        is_wanted: impl Fn(&StreamName) -> bool,
    ) -> Result<Vec<(Pattern, Last)>, Error> {
        let mut tasks = self.tasks(patterns, is_wanted);
        self.bound(&mut tasks)?;
        let mut opener = Opener::new(Arc::clone(&self.view.config.trust));
        while tasks.iter().any(|task| task.state == Doing::Searching) {
            let is_open = |at: &usize| tasks[*at].state == Doing::Searching;
            let open: Vec<usize> = (0..tasks.len()).filter(is_open).collect();
            let questions: Vec<Question> =
                open.iter().map(|at| tasks[*at].question(patterns, self.view)).collect();
            let answers = self.ask(&questions)?;
            for (at, answers) in open.into_iter().zip(answers) {
                tasks[at].take(answers, &mut opener);
            }
        }
        let last = |(at, pattern): (usize, &Pattern)| {
            let of: Vec<&Task> = tasks.iter().filter(|task| task.pattern == at).collect();
            let said = of.iter().filter_map(|task| task.found.as_ref());
            let said = said.max_by_key(|said| said.at).cloned();
            let is_sure = of.iter().all(|task| task.state == Doing::Done);
            (pattern.clone(), Last { said, is_sure, streams: of.len() })
        };
        Ok(patterns.iter().enumerate().map(last).collect())
    }

    fn ask(&self, questions: &[Question]) -> Result<Vec<Answers>, Error> {
        let (end, is_stopped) = (self.world.end, self.world.is_stopped);
        let until = Until { end, is_stopped, tell: &|_, _| {} };
        Ok(ask_until(&mut *Zmq::new().asker()?, questions, until, |_| false))
    }

    /// What is to be done for each stream and pattern.
    fn tasks(&self, patterns: &[Pattern], is_wanted: impl Fn(&StreamName) -> bool) -> Vec<Task> {
        let mut tasks = Vec::new();
        for (stream, seen) in self.view.streams.iter().filter(|(stream, _)| is_wanted(stream)) {
            if self.view.is_relay(stream.identity()) {
                continue;
            }
            for (pattern, one) in patterns.iter().enumerate() {
                let last = seen.last.as_ref().filter(|last| one.matches(&last.topic));
                let mut task = Task::new(stream, pattern, self.view);
                if let Some(last) = last {
                    (task.found, task.state) = (Some(last.clone()), Doing::Done);
                } else if seen.last.as_ref().is_some_and(|last| last.at < self.oldest) {
                    task.state = Doing::Done;
                }
                tasks.push(task);
            }
        }
        tasks
    }

    /// Leaves out what is older than is wanted: holders say where that ends.
    fn bound(&self, tasks: &mut [Task]) -> Result<(), Error> {
        let open = tasks.iter().filter(|task| task.state == Doing::Searching);
        let mut streams: Vec<StreamName> = open.map(|task| task.stream.clone()).collect();
        streams.dedup();
        let question = |stream: &StreamName| {
            let seen = &self.view.streams[stream];
            let holders = seen.last_place().map(|(epoch, i)| seen.holders_with(epoch, i));
            let ask = Ask::Find { stream: stream.clone(), time: self.oldest };
            Question { ask, holders: holders.unwrap_or_default().into_iter().take(ASKED).collect() }
        };
        let questions: Vec<Question> = streams.iter().map(question).collect();
        let answers = self.ask(&questions)?;
        for (stream, answers) in streams.iter().zip(answers) {
            let found = answers.into_values().flatten().filter_map(|reply| match reply {
                Reply::Found { epoch, i } => Some((epoch, i)),
                _ => None,
            });
            // Where two differ, the earlier one leaves nothing out.
            let Some(found) = found.min() else { continue };
            for task in tasks.iter_mut().filter(|task| task.stream == *stream) {
                task.bound(found);
            }
        }
        Ok(())
    }
}

impl Task {
    fn new(stream: &StreamName, pattern: usize, view: &View) -> Task {
        let seen = &view.streams[stream];
        let epochs = seen.epochs();
        let mut left: Vec<_> = epochs
            .iter()
            .map(|range| (range.epoch, range.first.max(1), range.last))
            .filter(|(_, first, last)| first <= last)
            .collect();
        let end = seen.end();
        let state = match (left.is_empty(), end) {
            // What was published and is kept by nobody cannot be searched.
            (true, Some((_, last))) if last > 0 => Doing::Failed,
            (true, _) => Doing::Done,
            (false, _) => Doing::Searching,
        };
        let part = left.pop().unwrap_or_else(|| {
            let epoch = end.map(|(epoch, _)| epoch);
            (epoch.unwrap_or(Epoch::new(uuid::Uuid::nil())), 1, 0)
        });
        let stream = stream.clone();
        let mut task = Task { stream, pattern, left, part, width: FIRST, found: None, state };
        task.narrow();
        task
    }

    /// Nothing before this place is wanted.
    fn bound(&mut self, (epoch, i): (Epoch, u64)) {
        let clamp = |part: &mut (Epoch, u64, u64)| {
            if part.0 == epoch {
                part.1 = part.1.max(i);
            }
            part.0 >= epoch && part.1 <= part.2
        };
        self.left.retain_mut(clamp);
        if !clamp(&mut self.part) && self.state == Doing::Searching {
            self.next();
        }
    }

    /// Goes on with what is before the part, if anything is.
    fn next(&mut self) {
        match self.left.pop() {
            Some(part) => {
                self.part = part;
                self.narrow();
            }
            None => self.state = Doing::Done,
        }
    }

    /// Only the end of the part; the rest of it comes next.
    fn narrow(&mut self) {
        let (epoch, from, to) = self.part;
        let start = from.max(to.saturating_sub(self.width - 1));
        if start > from {
            self.left.push((epoch, from, start - 1));
        }
        self.part = (epoch, start, to);
        self.width = (self.width * 4).min(MOST);
    }

    fn question(&self, patterns: &[Pattern], view: &View) -> Question {
        let (epoch, from, to) = self.part;
        let filters = vec![patterns[self.pattern].clone()];
        let max = GET_MESSAGES_MAX;
        let ask = Ask::Get { stream: self.stream.clone(), epoch, from, to, max, filters };
        let holders: Vec<Endpoint> = view.streams[&self.stream].holders_with(epoch, to);
        Question { ask, holders: holders.into_iter().take(ASKED).collect() }
    }

    fn take(&mut self, answers: Answers, opener: &mut Opener) {
        let whole = answers.into_values().find(|replies| {
            matches!(replies.last(), Some(Reply::End { upto, .. }) if *upto >= self.part.1)
        });
        let Some(replies) = whole else {
            self.state = Doing::Failed;
            return;
        };
        for reply in &replies {
            let Reply::Msg { i, wire } = reply else { continue };
            let at = Position { stream: self.stream.clone(), epoch: self.part.0, i: *i };
            if let Some(said) = open(opener, &at, wire) {
                self.found = Some(said);
            }
        }
        let upto = replies.last().and_then(|reply| match reply {
            Reply::End { upto, .. } => Some(*upto),
            _ => None,
        });
        let (epoch, _, to) = self.part;
        match upto {
            // Only a part of it fitted: what is behind it is newer.
            Some(upto) if upto < to => self.part = (epoch, upto + 1, to),
            _ if self.found.is_some() => self.state = Doing::Done,
            _ => self.next(),
        }
    }
}
