//! Asking whoever keeps streams: many questions at once, each to several holders.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use fedmsg::config::Config;
use fedmsg::endpoint::Endpoint;
use fedmsg::followed::Followed;
use fedmsg::frames::{Answer, Ask, Reply, Request, RequestId};
use fedmsg::repair::Holders;
use fedmsg::transport::Asker;
use fedmsg::{Identity, StreamName};

/// How long a holder may be silent before it is asked once more for being connected.
const STEP: Duration = Duration::from_millis(20);
/// Questions that one holder has not answered; others wait.
const AT_ONCE: usize = 16;

/// One question, and who may answer it.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) ask: Ask,
    pub(crate) holders: Vec<Endpoint>,
}

/// What came to a question: the first frame of each holder's answer.
pub(crate) type Answers = BTreeMap<Endpoint, Reply>;

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
    let all: BTreeSet<&Endpoint> = questions.iter().flat_map(|one| &one.holders).collect();
    asker.follow(&all.into_iter().cloned().collect::<Vec<_>>());
    let mut asking = Asking::new(questions);
    let (start, mut told) = (Instant::now(), Vec::new());
    while asking.is_open() && start.elapsed() < timeout {
        let all_out = asking.send(asker, questions);
        let left = timeout.saturating_sub(start.elapsed());
        asker.receive(if all_out { left } else { left.min(STEP) }, &mut told);
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
        // Only what was asked, and of several frames the first.
        if !self.out.get_mut(&holder).is_some_and(|out| out.remove(&at)) {
            return;
        }
        self.open[at] = if enough(&answer.reply) { 0 } else { self.open[at].saturating_sub(1) };
        self.answers[at].insert(holder, answer.reply);
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
}
