//! Looks at all streams at once: listens on the bus, and meanwhile asks everybody who keeps something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedmsg::config::Config;
use fedmsg::consumer::Position;
use fedmsg::envelope::Wire;
use fedmsg::followed::Followed;
use fedmsg::frames::{Ask, Reply};
use fedmsg::net::Zmq;
use fedmsg::open::Opener;
use fedmsg::repair::Holders;
use fedmsg::replay::Shelf;
use fedmsg::subscriber::{SubscribeError, Subscriber};
use fedmsg::transport::{NetError, Transport};
use fedmsg::{Endpoint, StreamName};
use fedmsg_tool::terminal;

use super::hearing::{AllHeard, Listening, listen};
use super::view::{Said, View, Whose};
use crate::consumer::now;
use crate::holders::{Answers, Question, Until, ask_until};
use crate::journal::read_one;
use crate::stream::{Stand, here, stand_of};

/// Holders that are asked for one message.
const ASKED_FOR_MESSAGE: usize = 2;
/// A person sees what goes on when it lasts for longer than this.
const SILENT: Duration = Duration::from_millis(1_500);

/// Why nothing can be seen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatherError {
    /// Connecting.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// Sockets cannot be made.
    #[error(transparent)]
    Net(#[from] NetError),
}

/// What is wanted to be known, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How long to listen; nothing to ask alone.
    pub(crate) listening: Option<Listening>,
    /// When the asking ends.
    pub(crate) end: Instant,
    /// This stream alone.
    pub(crate) only: Option<StreamName>,
    /// The time of the last messages, and of those that consumers wait with.
    pub(crate) times: bool,
    /// How far consumers are.
    pub(crate) floors: bool,
    /// Positions of consumers of which the next message's time is wanted.
    pub(crate) cursors: Vec<Position>,
    /// Whether a person is told what goes on.
    pub(crate) progress: bool,
}

/// Looks. Who stops it has `subscriber` closed, and `is_stopped` says so.
pub(crate) fn gather(
    config: &Arc<Config>,
    plan: &Plan,
    subscriber: Option<&Subscriber>,
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> Result<View, GatherError> {
    let (heard, asked) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| Gathering::new(config, plan, is_stopped).run());
        let heard = match (subscriber, &plan.listening) {
            (Some(subscriber), Some(listening)) => listen(subscriber, listening.clone()),
            _ => AllHeard::new(),
        };
        let asked = asking.join();
        (heard, asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut view = asked?;
    for (stream, heard) in heard {
        if plan.only.as_ref().is_none_or(|only| *only == stream) {
            view.streams.entry(stream).or_default().heard = Some(heard);
        }
    }
    view.now = now();
    Ok(view)
}

/// The asking, in rounds.
struct Gathering<'a> {
    plan: &'a Plan,
    is_stopped: &'a (dyn Fn() -> bool + Sync),
    start: Instant,
    followed: Followed,
    opener: Opener,
    view: View,
}

impl<'a> Gathering<'a> {
    fn new(
        config: &Arc<Config>,
        plan: &'a Plan,
        is_stopped: &'a (dyn Fn() -> bool + Sync),
    ) -> Gathering<'a> {
        let view = View {
            config: Arc::clone(config),
            now: now(),
            streams: BTreeMap::new(),
            holders: BTreeMap::new(),
            unasked: BTreeSet::new(),
            waits: BTreeMap::new(),
        };
        Gathering {
            plan,
            is_stopped,
            start: Instant::now(),
            followed: Followed::new(config.endpoints.values().cloned()),
            opener: Opener::new(Arc::clone(&config.trust)),
            view,
        }
    }

    fn run(mut self) -> Result<View, GatherError> {
        let listed = self.list(self.part(1))?;
        self.look_here();
        self.heads(&listed, self.part(2))?;
        if self.plan.times {
            self.times(self.part(3))?;
        }
        Ok(self.view)
    }

    /// The end of each third of the time. What one does not need the next one has.
    fn part(&self, third: u32) -> Instant {
        let all = self.plan.end.saturating_duration_since(self.start);
        self.start + all / 3 * third
    }

    fn ask(
        &self,
        what: &str,
        questions: &[Question],
        end: Instant,
        enough: impl Fn(&Reply) -> bool,
    ) -> Result<Vec<Answers>, NetError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let is_shown = self.plan.progress && terminal::stderr_is_terminal();
        let tell = |open: usize, all: usize| {
            if is_shown && self.start.elapsed() > SILENT {
                show(&format!("{what}: {} of {all} answered", all - open));
            }
        };
        let until = Until { end, is_stopped: self.is_stopped, tell: &tell };
        // Another one for each round: an answer that comes too late is not taken for that to the next question.
        let answers = ask_until(&mut *Zmq::new().asker()?, questions, until, enough);
        if is_shown {
            show("");
        }
        Ok(answers)
    }

    /// Asks everybody for the streams that he has.
    fn list(&mut self, end: Instant) -> Result<BTreeMap<StreamName, BTreeSet<Endpoint>>, NetError> {
        let mut listed = BTreeMap::<StreamName, BTreeSet<Endpoint>>::new();
        let entries = self.view.config.endpoints.values();
        let mut tokens: BTreeMap<Endpoint, Bytes> = entries
            .flat_map(|entry| &entry.replay)
            .map(|holder| (holder.clone(), Bytes::new()))
            .collect();
        self.view.holders = tokens.keys().map(|holder| (holder.clone(), false)).collect();
        while !tokens.is_empty() && Instant::now() < end && !(self.is_stopped)() {
            let question = |(holder, token): (&Endpoint, &Bytes)| {
                let ask = Ask::List { token: token.clone() };
                Question { ask, holders: vec![holder.clone()] }
            };
            let questions: Vec<_> = tokens.iter().map(question).collect();
            let answers = self.ask("streams of holders", &questions, end, |_| false)?;
            tokens.clear();
            for (holder, replies) in answers.into_iter().flatten() {
                self.view.holders.insert(holder.clone(), true);
                for reply in replies {
                    let Reply::Page { next, more, streams } = reply else { continue };
                    for spot in streams {
                        listed.entry(spot.stream).or_default().insert(holder.clone());
                    }
                    if more {
                        tokens.insert(holder.clone(), next);
                    }
                }
            }
        }
        Ok(listed)
    }

    /// The journals of this host.
    fn look_here(&mut self) {
        let shelf = Shelf::new(&self.view.config.state_dir);
        let mut streams = shelf.streams();
        while !shelf.knows_all_streams() && Instant::now() < self.plan.end {
            streams = shelf.streams();
        }
        for stream in streams.into_iter().map(|spot| spot.stream) {
            if self.is_wanted(&stream) {
                let stand = here(&shelf, &stream, &mut self.opener);
                self.view.streams.entry(stream).or_default().here = stand;
            }
        }
    }

    fn is_wanted(&self, stream: &StreamName) -> bool {
        self.plan.only.as_ref().is_none_or(|only| only == stream)
    }

    /// Asks for each stream whoever has it, or should have it: how far it is, and how far consumers are.
    fn heads(
        &mut self,
        listed: &BTreeMap<StreamName, BTreeSet<Endpoint>>,
        end: Instant,
    ) -> Result<(), NetError> {
        let mut streams: BTreeSet<StreamName> = listed.keys().cloned().collect();
        streams.extend(self.view.streams.keys().cloned());
        streams.extend(self.plan.only.clone());
        streams.extend(self.plan.cursors.iter().map(|at| at.stream.clone()));
        streams.retain(|stream| self.is_wanted(stream));
        let mut questions = Vec::new();
        for stream in &streams {
            let seen = self.view.streams.entry(stream.clone()).or_default();
            let mut holders = self.followed.of(stream).to_vec();
            holders.extend(listed.get(stream).into_iter().flatten().cloned());
            holders.sort_unstable();
            holders.dedup();
            for holder in &holders {
                seen.stands.insert(holder.clone(), Stand::Silent);
            }
            // Who did not answer the first question is not waited for once more.
            holders.retain(|holder| self.view.holders.get(holder) == Some(&true));
            let head = Ask::Head { stream: stream.clone() };
            questions.push(Question { ask: head, holders: holders.clone() });
            if self.plan.floors {
                let floors = Ask::Floors { stream: stream.clone() };
                questions.push(Question { ask: floors, holders });
            }
        }
        let answers = self.ask("heads of streams", &questions, end, |_| false)?;
        // Heads first: floors are counted against what all have.
        for is_floors in [false, true] {
            for (question, answers) in questions.iter().zip(&answers) {
                self.take(question, answers, is_floors);
            }
        }
        Ok(())
    }

    fn take(&mut self, question: &Question, answers: &Answers, is_floors: bool) {
        let (Ask::Head { stream } | Ask::Floors { stream }) = &question.ask else { return };
        if is_floors != matches!(question.ask, Ask::Floors { .. }) {
            return;
        }
        if answers.len() < question.holders.len() {
            self.view.unasked.insert(stream.clone());
        }
        let Some(seen) = self.view.streams.get_mut(stream) else { return };
        for (holder, replies) in answers {
            match replies.first() {
                // A holder from before this question calls it malformed: it does not say.
                Some(Reply::Floors { floors }) => seen.add_floors(floors),
                Some(reply) if !is_floors => {
                    let stand = stand_of(reply, stream, &mut self.opener);
                    seen.stands.insert(holder.clone(), stand);
                }
                _ => {}
            }
        }
    }

    /// Fetches the last message of each stream, and the first that each consumer is not done with, for their times.
    fn times(&mut self, end: Instant) -> Result<(), NetError> {
        let wanted = self.wanted();
        let mut said = BTreeMap::<Position, Said>::new();
        let mut questions = Vec::new();
        let positions: BTreeSet<&Position> = wanted.iter().map(|(.., at)| at).collect();
        for at in positions {
            let own = read_one(&self.view.config.state_dir, at);
            if let Some(found) = own.and_then(|wire| open(&mut self.opener, at, &wire)) {
                said.insert(at.clone(), found);
                continue;
            }
            let mut holders = self.view.streams[&at.stream].holders_with(at.epoch, at.i);
            holders.truncate(ASKED_FOR_MESSAGE);
            let Position { stream, epoch, i } = at.clone();
            let ask = Ask::Get { stream, epoch, from: i, to: i, max: 1, filters: Vec::new() };
            questions.push(Question { ask, holders });
        }
        let is_message = |reply: &Reply| matches!(reply, Reply::Msg { .. });
        let answers = self.ask("times of messages", &questions, end, is_message)?;
        for (question, answers) in questions.iter().zip(answers) {
            let Ask::Get { stream, epoch, from, .. } = &question.ask else { continue };
            let at = Position { stream: stream.clone(), epoch: *epoch, i: *from };
            for reply in answers.into_values().flatten() {
                let Reply::Msg { wire, .. } = reply else { continue };
                if let Some(found) = open(&mut self.opener, &at, &wire) {
                    said.insert(at.clone(), found);
                }
            }
        }
        for (whose, at) in wanted {
            let Some(found) = said.get(&at) else { continue };
            self.view.note(whose, found);
        }
        Ok(())
    }

    /// The messages whose times are wanted.
    fn wanted(&self) -> Vec<(Whose, Position)> {
        let mut wanted = Vec::new();
        for (stream, seen) in &self.view.streams {
            let position = |(epoch, i)| Position { stream: stream.clone(), epoch, i };
            let last = seen.last_place().map(position);
            wanted.extend(last.map(|at| (Whose::Last(stream.clone()), at)));
            for (consumer, lagging) in &seen.floors {
                let said = &lagging.said;
                let next = seen.next_of(said.epoch, said.upto).map(position);
                let whose = || Whose::Floor(stream.clone(), consumer.clone());
                wanted.extend(next.map(|at| (whose(), at)));
            }
        }
        for cursor in &self.plan.cursors {
            let Some(seen) = self.view.streams.get(&cursor.stream) else { continue };
            let next = seen.next_of(cursor.epoch, cursor.i);
            let position = |(epoch, i)| Position { stream: cursor.stream.clone(), epoch, i };
            wanted.extend(next.map(position).map(|at| (Whose::Cursor(cursor.clone()), at)));
        }
        wanted
    }
}

/// A message, if it is the one at this place, and good.
pub(crate) fn open(opener: &mut Opener, at: &Position, wire: &Wire) -> Option<Said> {
    let record = opener.open(wire).ok()?;
    let topic = record.topic().as_str().to_owned();
    let is_it = (record.stream(), record.epoch(), record.i()) == (&at.stream, at.epoch, at.i);
    is_it.then(|| Said { position: at.clone(), at: record.timestamp(), topic })
}

/// Draws over the line on the terminal; nothing makes it empty.
fn show(text: &str) {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    // When stderr is closed, there is nobody left to tell.
    let _ = write!(stderr, "\r\x1b[K{text}");
    let _ = stderr.flush();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;
    use crate::streams::samples::{epoch, range};
    use fedmsg::frames::{Acknowledged, Completeness, ErrorCode, Word};

    #[test]
    fn a_holder_that_does_not_know_the_question_says_nothing_and_the_others_count() {
        let config = Arc::new(config(&[]));
        let plan = Plan {
            listening: None,
            end: Instant::now(),
            only: None,
            times: false,
            floors: true,
            cursors: Vec::new(),
            progress: false,
        };
        let mut gathering = Gathering::new(&config, &plan, &|| false);
        let stream = StreamName::parse("app.one/0").expect("a stream");
        gathering.view.streams.insert(stream.clone(), Default::default());
        let holder = |port| Endpoint::parse(&format!("tcp://h:{port}")).expect("an address");
        let holders = vec![holder(1), holder(2)];
        let info = Reply::Info {
            heartbeat: None,
            completeness: Completeness::Complete,
            epochs: vec![range(1, 0, 9)],
        };
        let head = Question { ask: Ask::Head { stream: stream.clone() }, holders: holders.clone() };
        let both = holders.iter().map(|holder| (holder.clone(), vec![info.clone()]));
        gathering.take(&head, &both.collect(), false);
        let old = Reply::Err { code: ErrorCode::Malformed, text: "unknown verb".into() };
        let consumer = Word::parse("badges").expect("a word");
        let said = Acknowledged { consumer, epoch: epoch(1), upto: 4, age_ms: 0 };
        let new = Reply::Floors { floors: vec![said] };
        let floors = Question { ask: Ask::Floors { stream: stream.clone() }, holders };
        let answers = Answers::from([(holder(1), vec![old]), (holder(2), vec![new])]);
        gathering.take(&floors, &answers, true);
        let seen = &gathering.view.streams[&stream];
        let behind: Vec<u64> = seen.floors.values().map(|lagging| lagging.behind).collect();
        assert_eq!((behind, seen.epochs()), (vec![5], vec![range(1, 0, 9)]));
        assert!(gathering.view.unasked.is_empty(), "both have answered");
    }
}
