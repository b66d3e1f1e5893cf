//! What a producer is told about what it put.

use fedmsg::envelope::Wire;
use fedmsg::frames::{ErrorCode, Reply, Span, Spot, Word};
use fedmsg::identity::StreamName;
use fedmsg::keys::SecretKey;
use fedmsg::merkle::Leaf;
use fedmsg::rejection::Rejection;
use fedmsg::stored;

use super::{Beat, Keep, Unreadable};

/// What becomes of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is stored, and published then.
    Store { leaf: Leaf },
    /// A heartbeat, which is not stored.
    Beat { publish: bool },
    /// It is stored already.
    Again(Leaf),
    /// Something before it is missing.
    Expect(Spot),
    /// What is here cannot be read.
    Unknown,
    /// It is never taken.
    Refuse(Rejection, Option<String>, Option<Spot>),
}

/// What became of one `PUT`.
#[derive(Debug, Default)]
pub struct Taken {
    /// What is to be on disk before anything else happens.
    pub keep: Vec<Keep>,
    /// What is published then: the original bytes.
    pub publish: Vec<Wire>,
    /// Heartbeats that are the newest of their streams.
    pub beats: Vec<Beat>,
    /// Why messages were refused, for the log.
    pub refusals: Vec<(Rejection, Option<StreamName>)>,
    /// One for each message.
    pub(super) verdicts: Vec<Verdict>,
}

impl Taken {
    /// Room for what becomes of so many messages.
    pub(super) fn for_messages(count: usize) -> Taken {
        Taken {
            keep: Vec::with_capacity(count),
            publish: Vec::with_capacity(count),
            verdicts: Vec::with_capacity(count),
            ..Taken::default()
        }
    }

    /// How many records and heartbeats there are to be kept, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let records = self.keep.iter().filter_map(|keep| keep.what.as_ref().ok());
        let beats = self.beats.iter().map(|beat| &beat.wire);
        (self.keep.len() + self.beats.len(), records.chain(beats).map(Wire::len).sum())
    }

    /// The answers, when everything that was to be kept is on disk: in the order of the messages, neighbours with
    /// the same fate together. What is stored is receipted with the relay's key.
    pub fn answers(&self, key: &SecretKey) -> Vec<Reply> {
        if self.verdicts.contains(&Verdict::Unknown) {
            // What was stored of the others is stored, and is said when all of it comes again.
            return vec![unreadable()];
        }
        let mut at = 0;
        let groups = self.verdicts.chunk_by(|a, b| a.goes_with(b));
        let answers = groups.map(|group| {
            let span = Span { at, count: group.len() as u64 };
            at += span.count;
            group[0].answer(span, group, key)
        });
        answers.collect()
    }
}

impl Verdict {
    fn leaf(&self) -> Option<Leaf> {
        match self {
            Verdict::Store { leaf } | Verdict::Again(leaf) => Some(*leaf),
            _ => None,
        }
    }

    fn goes_with(&self, next: &Verdict) -> bool {
        match (self, next) {
            (Verdict::Beat { .. }, Verdict::Beat { .. }) => true,
            (Verdict::Expect(one), Verdict::Expect(other)) => one == other,
            (one, other) => one.leaf().is_some() && other.leaf().is_some(),
        }
    }

    fn answer(&self, span: Span, group: &[Verdict], key: &SecretKey) -> Reply {
        match self {
            Verdict::Store { .. } | Verdict::Again(_) => {
                let leaves: Vec<Leaf> = group.iter().filter_map(Verdict::leaf).collect();
                Reply::Stored { span, receipt: stored::sign(key, &leaves) }
            }
            Verdict::Beat { .. } => Reply::Accepted { span },
            Verdict::Unknown => unreadable(),
            Verdict::Expect(spot) => Reply::Expect { span, spot: spot.clone() },
            Verdict::Refuse(reason, detail, spot) => {
                let text = match detail {
                    Some(detail) => format!("{reason} ({detail})"),
                    None => reason.to_string(),
                };
                Reply::Refused { span, reason: word(*reason), text, spot: spot.clone() }
            }
        }
    }
}

fn unreadable() -> Reply {
    Reply::Err { code: ErrorCode::Busy, text: Unreadable.to_string() }
}

/// The name of a reason, as a word of a frame.
pub(crate) fn word(reason: Rejection) -> Word {
    let named = Word::parse(reason.name()).or_else(|| Word::parse("refused"));
    named.expect("a name of a reason is a word")
}
