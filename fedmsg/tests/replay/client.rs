//! Somebody who asks: every wait ends with what it waits for, or fails.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fedmsg::Endpoint;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::frames::{Answer, Ask, ErrorCode, Range, Reply, Request, RequestId};
use fedmsg::identity::StreamName;
use fedmsg::limits::NUMBER_MAX;
use fedmsg::transport::{Asker, Transport};

/// Everything that is waited for comes within this time, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    pub asker: Box<dyn Asker>,
    holder: Endpoint,
    asked: u64,
}

impl Client {
    pub fn new(transport: &dyn Transport, holder: &Endpoint) -> Client {
        let mut asker = transport.asker().expect("an asker");
        asker.follow(std::slice::from_ref(holder));
        Client { asker, holder: holder.clone(), asked: 0 }
    }

    /// Sends frames, as soon as there is a connection that takes them.
    pub fn send(&mut self, frames: &[Bytes]) {
        let start = Instant::now();
        while !self.asker.ask(&self.holder, frames) {
            assert!(start.elapsed() < PATIENCE, "it can be asked in time");
            let mut answers = Vec::new();
            self.asker.receive(Duration::from_millis(5), &mut answers);
            assert!(answers.is_empty(), "nobody was asked yet: {answers:?}");
        }
    }

    /// Sends a request, and gives the id that its answers will have.
    pub fn start(&mut self, ask: Ask) -> RequestId {
        self.asked += 1;
        let id = RequestId::new(&self.asked.to_be_bytes()).expect("an id");
        self.send(&Request { id: id.clone(), ask }.encode());
        id
    }

    /// The next answers, one or more.
    pub fn answers(&mut self) -> Vec<Answer> {
        let (start, mut told) = (Instant::now(), Vec::new());
        while told.is_empty() {
            assert!(start.elapsed() < PATIENCE, "an answer comes in time");
            self.asker.receive(Duration::from_secs(1), &mut told);
        }
        let parse = |frames: &[Bytes]| Answer::parse(frames).expect("an answer");
        told.iter().map(|told| parse(&told.frames)).collect()
    }

    /// Waits a little before the same is asked again, so that it is not too often for one peer.
    pub fn pause(&mut self) {
        let mut told = Vec::new();
        self.asker.receive(Duration::from_millis(2), &mut told);
        assert!(told.is_empty(), "nothing was asked: {told:?}");
    }

    /// All answers to a question, to the last one.
    pub fn ask(&mut self, ask: Ask) -> Vec<Reply> {
        let put = if let Ask::Put { messages } = &ask { messages.len() } else { 0 };
        let id = self.start(ask);
        let mut replies: Vec<Reply> = Vec::new();
        while !is_complete(&replies, put) {
            for answer in self.answers() {
                assert_eq!(answer.id, id, "it is the answer to this question");
                replies.push(answer.reply);
            }
        }
        replies
    }

    /// One part: the records by number, and the last answer.
    pub fn get(&mut self, stream: &str, epoch: Epoch, from: u64) -> (Vec<(u64, Wire)>, Reply) {
        let (replies, last) = self.part(stream, epoch, from);
        let record = |reply| match reply {
            Reply::Msg { i, wire } => (i, wire),
            other => panic!("no record: {other:?}"),
        };
        (replies.into_iter().map(record).collect(), last)
    }

    /// One part: all answers, and the last one.
    pub fn part(&mut self, stream: &str, epoch: Epoch, from: u64) -> (Vec<Reply>, Reply) {
        let stream = name(stream);
        let (to, max, filters) = (NUMBER_MAX, 10_000, Vec::new());
        let mut replies = self.ask(Ask::Get { stream, epoch, from, to, max, filters });
        let last = replies.pop().expect("a last answer");
        (replies, last)
    }

    /// Everything from a number on, as far as the holder has it by now.
    pub fn catch_up(&mut self, stream: &str, epoch: Epoch, mut from: u64) -> Vec<(u64, Wire)> {
        let mut all = Vec::new();
        loop {
            let (records, last) = self.get(stream, epoch, from);
            all.extend(records);
            let Reply::End { upto, more } = last else { panic!("no end: {last:?}") };
            if !more {
                return all;
            }
            assert!(upto >= from, "it goes on");
            from = upto + 1;
        }
    }

    /// The newest heartbeat, and what there is of each epoch.
    pub fn head(&mut self, stream: &str) -> Result<(Option<Wire>, Vec<Range>), ErrorCode> {
        match self.ask(Ask::Head { stream: name(stream) }).remove(0) {
            Reply::Info { heartbeat, epochs, .. } => Ok((heartbeat, epochs)),
            Reply::Err { code, .. } => Err(code),
            other => panic!("no answer to HEAD: {other:?}"),
        }
    }
}

/// Whether no more answers come; so many messages were put.
fn is_complete(replies: &[Reply], put: usize) -> bool {
    let verdicts = replies.iter().map(|reply| match reply {
        Reply::Accepted { span } | Reply::Refused { span, .. } => span.count,
        _ => 0,
    });
    match replies.last() {
        None | Some(Reply::Msg { .. } | Reply::Gone { .. }) => false,
        Some(Reply::Accepted { .. } | Reply::Refused { .. }) => verdicts.sum::<u64>() == put as u64,
        Some(_) => true,
    }
}

pub fn name(stream: &str) -> StreamName {
    StreamName::parse(stream).expect("stream")
}

/// The code of an answer that is an error.
pub fn code(reply: &Reply) -> ErrorCode {
    match reply {
        Reply::Err { code, .. } => *code,
        other => panic!("no error: {other:?}"),
    }
}
