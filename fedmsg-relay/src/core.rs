//! What a relay does with messages, without sockets and clocks: opens each by its own signature, keeps the
//! positions of each stream contiguous, and decides what is published.

use std::collections::HashMap;
use std::sync::Arc;

use fedmsg::envelope::{Epoch, Kind, Wire};
use fedmsg::frames::{Completeness, Reply, Span, Spot, Word};
use fedmsg::identity::{Identity, StreamName};
use fedmsg::merkle::Leaf;
use fedmsg::open::{Opener, Place, Refused};
use fedmsg::rejection::Rejection;
use fedmsg::topic::Pattern;
use fedmsg::trust::Trust;

/// Streams that a relay keeps the position of; the one silent for longest is forgotten first.
const STREAMS_MAX: usize = 20_000;

/// The positions of the streams that a relay carries, and the door that everything comes through.
#[derive(Debug)]
pub struct RelayCore {
    identity: Identity,
    carries: Vec<Pattern>,
    opener: Opener,
    streams: HashMap<StreamName, Carried>,
    /// What it did since it was made.
    pub counts: Counts,
}

/// What a relay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were published.
    pub carried: u64,
    /// Messages that came again.
    pub duplicates: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Messages that came before what they follow.
    pub early: u64,
}

/// One stream as the relay knows it. So far nothing is kept but this.
#[derive(Debug)]
struct Carried {
    epoch: Epoch,
    last: u64,
    leaf: Option<Leaf>,
    genesis: Option<Wire>,
    beat: Option<Wire>,
    seen: u64,
}

/// What becomes of one message.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Publish,
    /// Taken before.
    Again,
    Expect(Spot),
    Refuse(Rejection, Option<String>, Option<Spot>),
}

/// The answers to one `PUT`, and what is to be published.
#[derive(Debug, Default)]
pub struct Taken {
    /// In the order of the messages; each names the messages that it is about.
    pub replies: Vec<Reply>,
    /// The original bytes.
    pub publish: Vec<Wire>,
    /// Why messages were refused, for the log.
    pub refusals: Vec<(Rejection, Option<StreamName>)>,
}

impl RelayCore {
    /// A relay that carries these topics.
    pub fn new(identity: Identity, carries: Vec<Pattern>, trust: Arc<Trust>) -> RelayCore {
        let (opener, streams) = (Opener::new(trust), HashMap::new());
        RelayCore { identity, carries, opener, streams, counts: Counts::default() }
    }

    /// Goes on with another configuration.
    pub fn set_config(&mut self, carries: Vec<Pattern>, trust: Arc<Trust>) {
        self.carries = carries;
        self.opener.set_trust(trust);
    }

    /// Takes the messages of one `PUT`. `now` is in milliseconds of a clock that never goes back.
    pub fn put(&mut self, messages: &[Wire], now: u64) -> Taken {
        let mut taken = Taken::default();
        for (at, wire) in messages.iter().enumerate() {
            let verdict = self.judge(wire, now, &mut taken);
            match &verdict {
                Verdict::Publish => {
                    self.counts.carried += u64::from(Kind::of_topic(&wire.topic) == Kind::Message);
                    taken.publish.push(wire.clone());
                }
                Verdict::Again => self.counts.duplicates += 1,
                Verdict::Expect(_) => self.counts.early += 1,
                Verdict::Refuse(..) => self.counts.refused += 1,
            }
            push_reply(&mut taken.replies, at as u64, verdict);
        }
        taken
    }

    /// Heartbeat and genesis record of every stream, for a new reader.
    pub fn announcements(&self) -> impl Iterator<Item = &Wire> {
        self.streams.values().flat_map(|stream| stream.beat.iter().chain(&stream.genesis))
    }

    /// The answer to `HEAD`.
    pub fn head(&self, stream: &StreamName) -> Option<Reply> {
        let heartbeat = self.streams.get(stream)?.beat.clone();
        Some(Reply::Info { heartbeat, completeness: Completeness::Partial, epochs: Vec::new() })
    }

    /// How many streams it carries.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    fn judge(&mut self, wire: &Wire, now: u64, taken: &mut Taken) -> Verdict {
        let verdict = match self.opener.open(wire) {
            Ok(verified) => {
                let (stream, place) = (verified.stream().clone(), *verified.place());
                let topic = verified.topic().as_str();
                let foreign = *stream.identity() != self.identity;
                let carried = place.kind != Kind::Message
                    || self.carries.iter().any(|pattern| pattern.matches(topic));
                let refusal = (!carried || !foreign).then_some(Rejection::NotCarried);
                self.place(stream, place, wire, refusal, now)
            }
            Err(refused) => self.refused(*refused, now),
        };
        if let Verdict::Refuse(reason, _, spot) = &verdict {
            taken.refusals.push((*reason, spot.as_ref().map(|spot| spot.stream.clone())));
        }
        verdict
    }

    /// A message with a good signature uses its position up, although it is refused.
    fn refused(&mut self, refused: Refused, now: u64) -> Verdict {
        let (reason, detail) = (refused.reason, refused.detail);
        match (refused.stream, refused.place) {
            (Some(stream), Some(place)) if place.kind == Kind::Message => {
                match self.place(stream, place, &refused.wire, Some(reason), now) {
                    Verdict::Refuse(reason, _, spot) => Verdict::Refuse(reason, detail, spot),
                    other => other,
                }
            }
            _ => Verdict::Refuse(reason, detail, None),
        }
    }

    /// Where a record stands decides; one that is to be refused still uses its position up.
    fn place(
        &mut self,
        stream: StreamName,
        place: Place,
        wire: &Wire,
        refusal: Option<Rejection>,
        now: u64,
    ) -> Verdict {
        let spot = |i| Spot { stream: stream.clone(), epoch: place.epoch, i };
        let refuse = |reason| Verdict::Refuse(reason, None, Some(spot(place.i)));
        let Some(known) = self.streams.get_mut(&stream) else {
            // Who has not seen the beginning takes the first record as base.
            self.make_room();
            let carried = Carried::new(place, wire, now, refusal.is_none());
            self.streams.insert(stream.clone(), carried);
            return refusal.map_or(Verdict::Publish, refuse);
        };
        known.seen = now;
        if place.epoch < known.epoch {
            return refuse(Rejection::Stale);
        }
        if place.epoch > known.epoch {
            if place.kind != Kind::Genesis {
                return Verdict::Expect(spot(0));
            }
            *known = Carried::new(place, wire, now, true);
            return refusal.map_or(Verdict::Publish, refuse);
        }
        match place.kind {
            Kind::Genesis => Verdict::Again,
            Kind::Heartbeat if place.i > known.last => Verdict::Expect(spot(known.last + 1)),
            Kind::Heartbeat if place.i < known.last => Verdict::Again,
            Kind::Heartbeat if known.leaf.is_some_and(|leaf| leaf != place.prev) => {
                refuse(Rejection::Fork)
            }
            Kind::Heartbeat => {
                known.beat = Some(wire.clone());
                Verdict::Publish
            }
            Kind::Message if place.i > known.last + 1 => Verdict::Expect(spot(known.last + 1)),
            Kind::Message if place.i <= known.last => {
                let other =
                    place.i == known.last && known.leaf.is_some_and(|leaf| leaf != place.leaf);
                if other { refuse(Rejection::Fork) } else { Verdict::Again }
            }
            Kind::Message if known.leaf.is_some_and(|leaf| leaf != place.prev) => {
                refuse(Rejection::Fork)
            }
            Kind::Message => {
                (known.last, known.leaf) = (place.i, Some(place.leaf));
                refusal.map_or(Verdict::Publish, refuse)
            }
        }
    }

    /// Forgets the sixteenth that was silent for longest, when there are too many.
    fn make_room(&mut self) {
        if self.streams.len() < STREAMS_MAX {
            return;
        }
        let mut seen: Vec<u64> = self.streams.values().map(|stream| stream.seen).collect();
        let (_, limit, _) = seen.select_nth_unstable(STREAMS_MAX / 16);
        let limit = *limit;
        self.streams.retain(|_, stream| stream.seen > limit);
    }
}

impl Carried {
    fn new(place: Place, wire: &Wire, now: u64, good: bool) -> Carried {
        let of = |kind| (good && place.kind == kind).then(|| wire.clone());
        Carried {
            epoch: place.epoch,
            last: place.i,
            // A heartbeat has no place in the chain: what it follows has.
            leaf: Some(if place.kind == Kind::Heartbeat { place.prev } else { place.leaf }),
            genesis: of(Kind::Genesis),
            beat: of(Kind::Heartbeat),
            seen: now,
        }
    }
}

/// Adds a verdict; messages in a row with the same one share an answer.
fn push_reply(replies: &mut Vec<Reply>, at: u64, verdict: Verdict) {
    let span = Span { at, count: 1 };
    let reply = match verdict {
        Verdict::Publish | Verdict::Again => {
            if let Some(Reply::Accepted { span }) = replies.last_mut() {
                span.count += 1;
                return;
            }
            Reply::Accepted { span }
        }
        Verdict::Expect(spot) => {
            if let Some(Reply::Expect { span, spot: before }) = replies.last_mut()
                && *before == spot
            {
                span.count += 1;
                return;
            }
            Reply::Expect { span, spot }
        }
        Verdict::Refuse(reason, detail, spot) => {
            let word = Word::parse(reason.name()).or_else(|| Word::parse("refused"));
            let Some(word) = word else { return };
            let text = match detail {
                Some(detail) => format!("{reason} ({detail})"),
                None => reason.to_string(),
            };
            Reply::Refused { span, reason: word, text, spot }
        }
    };
    replies.push(reply);
}
