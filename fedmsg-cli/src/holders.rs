//! Asking whoever keeps streams: many questions at once, each to several holders.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use fedmsg::config::Config;
use fedmsg::endpoint::Endpoint;
use fedmsg::followed::Followed;
use fedmsg::frames::{Answer, Ask, Reply, Request, RequestId};
use fedmsg::limits::GET_MESSAGES_MAX;
use fedmsg::repair::Holders;
use fedmsg::transport::Asker;
use fedmsg::{Identity, StreamName};

/// How long a holder may be silent before it is asked once more for being connected.
const STEP: Duration = Duration::from_millis(20);
/// How long it is waited at most before it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// A time that no clock reaches is as good as a year.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
/// Questions that one holder has not answered; others wait.
const AT_ONCE: usize = 16;

/// One question, and who may answer it.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) ask: Ask,
    pub(crate) holders: Vec<Endpoint>,
}

/// What came to a question: each holder's answer, which is several replies for a part of a stream.
pub(crate) type Answers = BTreeMap<Endpoint, Vec<Reply>>;

/// How long it is asked.
#[derive(Clone, Copy)]
pub(crate) struct Until<'a> {
    /// Then it is over.
    pub(crate) end: Instant,
    /// Whether somebody wants it to be over now.
    pub(crate) is_stopped: &'a (dyn Fn() -> bool + Sync),
    /// Is told how many of so many questions are open.
    pub(crate) tell: &'a (dyn Fn(usize, usize) + Sync),
}

/// Whoever may have the stream: its own identity's addresses first, then those of who carries other streams.
pub(crate) fn holders_of(config: &Config, stream: &StreamName) -> Vec<Endpoint> {
    let followed = Followed::new(config.endpoints.values().cloned());
    let mut holders = followed.of(stream).to_vec();
    let is_carrier = |identity: &Identity| identity != stream.identity();
    let carriers = config.endpoints.values();
    let carriers = carriers.filter(|e| is_carrier(&e.identity) && !e.carries.is_empty());
    for address in carriers.flat_map(|entry| &entry.replay) {
        if !holders.contains(address) {
            holders.push(address.clone());
        }
    }
    holders
}

/// Asks all of them at once. Waits until each question has an answer that is enough, or the answers of all its
/// holders, or until the time is over.
pub(crate) fn ask(
    asker: &mut dyn Asker,
    questions: &[Question],
    timeout: Duration,
    enough: impl Fn(&Reply) -> bool,
) -> Vec<Answers> {
    let now = Instant::now();
    let end = now.checked_add(timeout).unwrap_or(now + LONGEST);
    let until = Until { end, is_stopped: &|| false, tell: &|_, _| {} };
    ask_until(asker, questions, until, enough)
}

/// The same until then, or until somebody stops it.
pub(crate) fn ask_until(
    asker: &mut dyn Asker,
    questions: &[Question],
    until: Until<'_>,
    enough: impl Fn(&Reply) -> bool,
) -> Vec<Answers> {
    let all: BTreeSet<&Endpoint> = questions.iter().flat_map(|one| &one.holders).collect();
    asker.follow(&all.into_iter().cloned().collect::<Vec<_>>());
    let mut asking = Asking::new(questions);
    let mut told = Vec::new();
    while asking.is_open() && Instant::now() < until.end && !(until.is_stopped)() {
        let all_out = asking.send(asker, questions);
        let left = until.end.saturating_duration_since(Instant::now());
        asker.receive(left.min(if all_out { LOOK } else { STEP }), &mut told);
        (until.tell)(asking.open_count(), questions.len());
        for told in told.drain(..) {
            if let Ok(answer) = Answer::parse(&told.frames) {
                asking.take(told.holder, answer, &enough);
            }
        }
    }
    asking.answers
}

/// What is still to be asked, and what came.
struct Asking {
    /// Questions that are not sent, by whom they are for.
    unsent: BTreeMap<Endpoint, VecDeque<usize>>,
    out: BTreeMap<Endpoint, BTreeSet<usize>>,
    /// Holders of each question that have not answered; none when that is enough.
    open: Vec<usize>,
    answers: Vec<Answers>,
}

impl Asking {
    fn new(questions: &[Question]) -> Asking {
        let mut unsent = BTreeMap::<Endpoint, VecDeque<usize>>::new();
        for (at, question) in questions.iter().enumerate() {
            for holder in &question.holders {
                unsent.entry(holder.clone()).or_default().push_back(at);
            }
        }
        let open = questions.iter().map(|question| question.holders.len()).collect();
        let answers = vec![Answers::new(); questions.len()];
        Asking { unsent, out: BTreeMap::new(), open, answers }
    }

    fn is_open(&self) -> bool {
        self.open.iter().any(|open| *open > 0)
    }

    fn open_count(&self) -> usize {
        self.open.iter().filter(|open| **open > 0).count()
    }

    /// Sends what can be sent; whether nothing waits for a connection.
    fn send(&mut self, asker: &mut dyn Asker, questions: &[Question]) -> bool {
        let mut all_out = true;
        for (holder, unsent) in &mut self.unsent {
            let out = self.out.entry(holder.clone()).or_default();
            while out.len() < AT_ONCE
                && let Some(at) = unsent.front().copied()
            {
                let id = RequestId::new(&(at as u64).to_be_bytes()).unwrap_or(RequestId::NONE);
                let request = Request { id, ask: questions[at].ask.clone() };
                if self.open[at] > 0 {
                    if !asker.ask(holder, &request.encode()) {
                        all_out = false;
                        break;
                    }
                    out.insert(at);
                }
                unsent.pop_front();
            }
        }
        all_out
    }

    fn take(&mut self, holder: Endpoint, answer: Answer, enough: &impl Fn(&Reply) -> bool) {
        let Ok(id) = <[u8; 8]>::try_from(answer.id.as_bytes()) else { return };
        let at = u64::from_be_bytes(id) as usize;
        let is_last = !matches!(answer.reply, Reply::Msg { .. } | Reply::Gone { .. });
        // Only what was asked, and once.
        let Some(out) = self.out.get_mut(&holder) else { return };
        if !(if is_last { out.remove(&at) } else { out.contains(&at) }) {
            return;
        }
        if enough(&answer.reply) {
            self.open[at] = 0;
        } else if is_last {
            self.open[at] = self.open[at].saturating_sub(1);
        }
        let replies = self.answers[at].entry(holder).or_default();
        // A holder sends no more than this; one that does so all the same is not heard out.
        if is_last || replies.len() <= GET_MESSAGES_MAX as usize {
            replies.push(answer.reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedmsg::frames::{Completeness, ErrorCode};

    fn holder(port: u16) -> Endpoint {
        Endpoint::parse(&format!("tcp://127.0.0.1:{port}")).expect("an address")
    }

    #[test]
    fn a_question_is_over_when_an_answer_is_enough_or_all_have_answered() {
        let ask = Ask::Head { stream: StreamName::parse("app.one/0").expect("a stream") };
        let two = vec![holder(1), holder(2)];
        let questions = vec![Question { ask, holders: two.clone() }; 2];
        let mut asking = Asking::new(&questions);
        for holder in &two {
            asking.out.insert(holder.clone(), BTreeSet::from([0, 1]));
        }
        let enough = |reply: &Reply| matches!(reply, Reply::Info { .. });
        let id = |at: u64| RequestId::new(&at.to_be_bytes()).expect("an id");
        let no = Reply::Err { code: ErrorCode::UnknownStream, text: String::new() };
        let info = Reply::Info {
            heartbeat: None,
            completeness: Completeness::Complete,
            epochs: Vec::new(),
        };
        asking.take(two[0].clone(), Answer { id: id(0), reply: info }, &enough);
        assert_eq!(asking.open, [0, 2]);
        asking.take(two[0].clone(), Answer { id: id(1), reply: no.clone() }, &enough);
        asking.take(two[0].clone(), Answer { id: id(1), reply: no.clone() }, &enough);
        assert!(asking.is_open(), "one holder counts once");
        asking.take(two[1].clone(), Answer { id: id(1), reply: no.clone() }, &enough);
        asking.take(two[1].clone(), Answer { id: id(7), reply: no }, &enough);
        assert!(!asking.is_open());
    }

    #[test]
    fn an_answer_of_several_replies_is_heard_to_its_end() {
        let stream = StreamName::parse("app.one/0").expect("a stream");
        let epoch = fedmsg::envelope::Epoch::parse("00000000-0000-7000-8000-000000000001");
        let epoch = epoch.expect("an epoch");
        let ask = Ask::Get { stream, epoch, from: 1, to: 9, max: 9, filters: Vec::new() };
        let questions = [Question { ask, holders: vec![holder(1)] }];
        let mut asking = Asking::new(&questions);
        asking.out.insert(holder(1), BTreeSet::from([0]));
        let id = RequestId::new(&0u64.to_be_bytes()).expect("an id");
        let reason = fedmsg::frames::Word::parse("damaged").expect("a word");
        let gone = |i| Reply::Gone { i, leaf: fedmsg::merkle::Leaf::NONE, reason: reason.clone() };
        let end = Reply::End { upto: 2, more: false };
        for (reply, is_open) in
            [(gone(1), true), (gone(2), true), (end.clone(), false), (gone(3), false)]
        {
            asking.take(holder(1), Answer { id: id.clone(), reply }, &|_| false);
            assert_eq!(asking.is_open(), is_open);
        }
        assert_eq!(asking.answers[0][&holder(1)], [gone(1), gone(2), end]);
    }
}
