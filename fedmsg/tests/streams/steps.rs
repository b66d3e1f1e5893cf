//! The steps of the scenarios: a writer that seals, and a reader whose words are one line.

use std::sync::Arc;

use fedmsg::envelope::Epoch;
use fedmsg::event::{Event, ForkKind, Message};
use fedmsg::identity::StreamName;
use fedmsg::merkle::Leaf;
use fedmsg::open::Opener;
use fedmsg::record::{After, Level, State};
use fedmsg::seal::{Draft, Sealed, Sealer, check};
use fedmsg::sequence::Sequencer;
use fedmsg::timestamp::Timestamp;

use crate::bus::{NOW, identity, key, trust};

pub const STREAM: &str = "bodhi.backend01/0";
const DAY_MS: i64 = 24 * 3_600 * 1_000;

pub fn epoch(n: u64) -> Epoch {
    let text = format!("01997530-0000-7000-8000-{n:012}");
    Epoch::parse(&text).expect("epoch")
}

/// `ms` after the time at which all tests begin.
pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + ms)
}

pub struct Writer {
    pub sealer: Sealer,
    pub genesis: Sealed,
    pub text: &'static str,
}

impl Writer {
    pub fn new() -> Writer {
        Writer::of(STREAM)
    }

    pub fn of(stream: &str) -> Writer {
        Writer::open(stream, 1, (After::Nothing, Leaf::NONE))
    }

    pub fn open(stream: &str, n: u64, after: (After, Leaf)) -> Writer {
        let stream = StreamName::parse(stream).expect("stream");
        let opened = Sealer::open_epoch(key(1), stream, epoch(n), after, Level::Memory, at(0));
        Writer { sealer: opened.0, genesis: opened.1, text: "" }
    }

    /// The same stream again, which says something else from here on.
    pub fn twin() -> Writer {
        Writer { text: "other", ..Writer::new() }
    }

    /// The epoch `n`, tied to the end of this one.
    pub fn next(&self, n: u64) -> Writer {
        let (last, leaf) = self.sealer.last();
        Writer::open(STREAM, n, (After::Epoch { epoch: self.sealer.epoch(), last }, leaf))
    }

    /// Seals `n` messages at this time.
    pub fn seal_at(&mut self, n: usize, time: Timestamp) -> Vec<Sealed> {
        let (trust, who) = (trust(), identity("bodhi.backend01"));
        let draft = |_| {
            let body = serde_json::json!({ "text": self.text });
            let draft = Draft::new("bodhi.update.comment").body(&body);
            check(draft, &who, &trust, || "2026-1".into()).expect("draft")
        };
        let drafts: Vec<_> = (0..n).map(draft).collect();
        self.sealer.seal(&drafts, time)
    }

    pub fn seal(&mut self, n: usize) -> Vec<Sealed> {
        self.seal_at(n, at(0))
    }

    /// A heartbeat of this time.
    pub fn beat(&mut self, ms: i64) -> Sealed {
        self.sealer.heartbeat(State::Open, "", at(ms))
    }
}

pub struct Reader {
    pub sequencer: Sequencer,
    opener: Opener,
    pub now: u64,
    /// How much later than it was sealed everything comes.
    pub days: i64,
    words: Vec<String>,
}

impl Reader {
    pub fn new() -> Reader {
        let opener = Opener::new(Arc::clone(&trust()));
        let (sequencer, words) = (Sequencer::default(), Vec::new());
        Reader { sequencer, opener, now: 1_000, days: 0, words }
    }

    /// A reader that follows the writer from its first message on.
    pub fn of(writer: &mut Writer) -> Reader {
        let mut reader = Reader::new();
        reader.take(&writer.beat(0));
        reader.take(&writer.genesis);
        reader.says("live 1");
        reader
    }

    pub fn take(&mut self, sealed: &Sealed) {
        self.take_from(sealed, "bodhi.backend01");
    }

    pub fn take_all<'a>(&mut self, all: impl IntoIterator<Item = &'a Sealed>) {
        all.into_iter().for_each(|sealed| self.take(sealed));
    }

    pub fn take_from(&mut self, sealed: &Sealed, endpoint: &str) {
        let verified = self.opener.open(&sealed.wire).expect("sealed well");
        let received = at(self.days * DAY_MS);
        self.sequencer.take(Message::new(verified, identity(endpoint), received), self.now);
        self.drain();
    }

    /// A refused message at this place.
    pub fn use_up(&mut self, sealed: &Sealed) {
        let verified = self.opener.open(&sealed.wire).expect("sealed well");
        self.sequencer.use_up(verified.stream(), *verified.place(), self.now);
        self.drain();
    }

    /// The same with another number, which the writer has not reached.
    pub fn use_up_at(&mut self, sealed: &Sealed, i: u64) {
        let verified = self.opener.open(&sealed.wire).expect("sealed well");
        let place = fedmsg::open::Place { i, ..*verified.place() };
        self.sequencer.use_up(verified.stream(), place, self.now);
        self.drain();
    }

    /// The same as a record of another stream.
    pub fn use_up_of(&mut self, sealed: &Sealed, stream: &str) {
        let verified = self.opener.open(&sealed.wire).expect("sealed well");
        let stream = StreamName::parse(stream).expect("stream");
        self.sequencer.use_up(&stream, *verified.place(), self.now);
        self.drain();
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.sequencer.tick(self.now);
        self.drain();
    }

    /// What was said since the last time is this.
    #[track_caller]
    pub fn says(&mut self, expected: &str) {
        assert_eq!(self.words.join(" "), expected);
        self.words.clear();
    }

    pub fn take_words(&mut self) -> Vec<String> {
        std::mem::take(&mut self.words)
    }

    fn drain(&mut self) {
        self.words.extend(self.sequencer.drain().map(|event| match event {
            Event::Message(message) => format!("{}", message.i()),
            Event::Stale(message) => format!("stale:{}", message.i()),
            Event::Lost(lost) => format!("lost:{}-{}", lost.from, lost.to),
            Event::Fork(fork) => format!("{}:{}", fork_name(fork.kind), fork.i),
            Event::Epoch(change) => match (change.from, change.proven) {
                (None, _) => format!("live {}", change.next),
                (Some(_), true) => format!("proven {}", change.next),
                (Some(_), false) => format!("unproven {}", change.next),
            },
            other => format!("{other:?}"),
        }));
    }
}

fn fork_name(kind: ForkKind) -> &'static str {
    match kind {
        ForkKind::SamePosition => "same",
        ForkKind::Chain => "chain",
        ForkKind::Rewound => "rewound",
        _ => "fork",
    }
}
