//! Who is alive: heartbeats, as they come over the bus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fedmsg::envelope::Epoch;
use fedmsg::event::{Event, Message};
use fedmsg::identity::{Identity, StreamName};
use fedmsg::open::Record;
use fedmsg::record::Heartbeat;
use fedmsg::subscriber::Subscriber;
use fedmsg::timestamp::Timestamp;

/// How long to listen at most when no time is given: every publisher says something within five seconds.
pub(crate) const LONGEST: Duration = Duration::from_secs(6);
/// How long to listen after the last new stream when no time is given.
const QUIET: Duration = Duration::from_secs(1);

/// How long to go on. The time is an argument.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    end: Instant,
    /// Whether to end sooner when no new stream comes.
    until_quiet: bool,
    /// Not before all of these were heard.
    expected: BTreeSet<Identity>,
}

impl Listening {
    /// So long; without a time until it is quiet, at most [`LONGEST`].
    pub(crate) fn new(timeout: Option<Duration>, now: Instant) -> Listening {
        let longest = timeout.unwrap_or(LONGEST);
        // A time that no clock reaches is as good as a year.
        let year = Duration::from_secs(365 * 86_400);
        let end = now.checked_add(longest).unwrap_or(now + year);
        Listening { end, until_quiet: timeout.is_none(), expected: BTreeSet::new() }
    }

    /// Until then, or sooner when all of these were heard and it is quiet.
    pub(crate) fn for_all(expected: BTreeSet<Identity>, end: Instant) -> Listening {
        Listening { end, until_quiet: true, expected }
    }

    /// A stream was heard for the first time.
    fn heard_new(&mut self, stream: &StreamName, first_end: Instant, now: Instant) {
        self.expected.remove(stream.identity());
        if self.until_quiet && self.expected.is_empty() {
            self.end = first_end.min(now + QUIET);
        }
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        self.end.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

/// What a stream says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) epoch: Epoch,
    pub(crate) beat: Heartbeat,
    pub(crate) at: Timestamp,
    /// Who sent it here.
    pub(crate) endpoints: BTreeSet<Identity>,
}

pub(crate) type AllHeard = BTreeMap<StreamName, Heard>;

/// Listens until the time is over, or the subscriber is closed.
pub(crate) fn listen(subscriber: &Subscriber, mut listening: Listening) -> AllHeard {
    let latest = listening.end;
    let mut streams = AllHeard::new();
    while let Some(left) = listening.left(Instant::now()) {
        match subscriber.recv(Some(left)) {
            // The time is over, or a signal closed it.
            None => break,
            Some(Event::Internal(message)) => {
                if take_in(&mut streams, &message) {
                    listening.heard_new(message.stream(), latest, Instant::now());
                }
            }
            Some(Event::Endpoint(change)) => tracing::info!("{change}"),
            Some(Event::Rejected(rejected)) => {
                tracing::warn!(repeat = "rejected", "{rejected}");
            }
            Some(Event::Fork(fork)) => tracing::warn!("{fork}"),
            Some(_) => {}
        }
    }
    streams
}

/// Takes in a heartbeat; whether its stream is new.
fn take_in(streams: &mut AllHeard, message: &Message) -> bool {
    let Record::Heartbeat(beat) = message.record() else { return false };
    let heard = Heard {
        epoch: message.epoch(),
        beat: beat.clone(),
        at: message.timestamp(),
        endpoints: BTreeSet::from([message.endpoint.clone()]),
    };
    add(streams, message.stream(), heard)
}

fn add(streams: &mut AllHeard, name: &StreamName, heard: Heard) -> bool {
    let Some(known) = streams.get_mut(name) else {
        streams.insert(name.clone(), heard);
        return true;
    };
    known.endpoints.extend(heard.endpoints);
    if (heard.epoch, heard.at) >= (known.epoch, known.at) {
        (known.epoch, known.beat, known.at) = (heard.epoch, heard.beat, heard.at);
    }
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn heard(epoch: u8, last: u64, at: i64, endpoint: &str, config: &str) -> Heard {
        let epoch = format!("00000000-0000-7000-8000-0000000000{epoch:02x}");
        let leaf = "A".repeat(43);
        let beat = json!({
            "first": last + 1, "last": last, "head": leaf, "level": "memory", "state": "open",
            "genesis": leaf, "config": config,
        });
        Heard {
            epoch: Epoch::parse(&epoch).expect("epoch"),
            beat: serde_json::from_value(beat).expect("heartbeat"),
            at: Timestamp::from_millis(at),
            endpoints: BTreeSet::from([Identity::parse(endpoint).expect("identity")]),
        }
    }

    fn name(text: &str) -> StreamName {
        StreamName::parse(text).expect("stream")
    }

    #[test]
    fn the_latest_heartbeat_counts_and_every_endpoint_is_kept() {
        let (mut streams, name) = (AllHeard::new(), name("bodhi.h/0"));
        assert!(add(&mut streams, &name, heard(1, 7, 1_000, "bodhi.h", "mine")));
        for (heard, last) in [
            (heard(1, 9, 2_000, "relay.h", "mine"), 9),
            (heard(1, 8, 1_500, "bodhi.h", "mine"), 9),
            (heard(2, 0, 1_900, "bodhi.h", "mine"), 0),
            (heard(1, 12, 3_000, "bodhi.h", "mine"), 0),
        ] {
            assert!(!add(&mut streams, &name, heard));
            assert_eq!(streams[&name].beat.last, last);
        }
        assert_eq!(streams[&name].endpoints.len(), 2);
    }

    #[test]
    fn it_ends_when_it_is_quiet_or_when_the_time_is_over() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let stream = name("a.b/0");
        let mut usual = Listening::new(None, start);
        let latest = usual.end;
        assert_eq!(usual.left(at(0)), Some(LONGEST));
        usual.heard_new(&stream, latest, at(3_000));
        assert_eq!(usual.left(at(3_000)), Some(QUIET));
        usual.heard_new(&stream, latest, at(5_500));
        assert_eq!(usual.left(at(5_500)), Some(Duration::from_millis(500)));
        assert_eq!(usual.left(at(6_000)), None);
        let mut given = Listening::new(Some(Duration::from_secs(2)), start);
        given.heard_new(&stream, given.end, at(100));
        assert_eq!(given.left(at(1_500)), Some(Duration::from_millis(500)));
        assert!(Listening::new(Some(Duration::MAX), start).left(start).is_some());
    }

    #[test]
    fn it_does_not_end_before_all_who_are_expected_were_heard() {
        let start = Instant::now();
        let expected = ["a.b", "c.d"].map(|name| Identity::parse(name).expect("identity"));
        let mut all = Listening::for_all(expected.into(), start + LONGEST);
        let latest = all.end;
        all.heard_new(&name("a.b/0"), latest, start);
        all.heard_new(&name("a.b/1"), latest, start);
        assert_eq!(all.left(start), Some(LONGEST));
        all.heard_new(&name("c.d/0"), latest, start);
        assert_eq!(all.left(start), Some(QUIET));
    }
}
