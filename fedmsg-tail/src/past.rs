//! What a tail is to read of the past, and who keeps it. Pure.

use fedmsg::config::{Config, EndpointEntry};
use fedmsg::followed::Followed;
use fedmsg::history::Order;
use fedmsg::identity::{Identity, Slot, StreamName};
use fedmsg::limits::NUMBER_MAX;
use fedmsg::sequence::Begin;
use fedmsg::timestamp::Timestamp;
use fedmsg::topic::Pattern;
use jiff::tz::TimeZone;

use crate::error::TailError;
use crate::options::PastOptions;

/// Most records of `--last`.
pub const LAST_MAX: u64 = 100_000;
/// Most bytes of the records of `--last`.
pub const LAST_BYTES_MAX: usize = 64 << 20;

/// A place in a stream, as `--from` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The stream.
    pub stream: StreamName,
    /// The number of a message of its newest epoch.
    pub i: u64,
}

impl Spot {
    /// Reads `STREAM:NUMBER`.
    pub fn parse(text: &str) -> Result<Spot, String> {
        let wrong =
            |why: &str| format!("{why}: STREAM:NUMBER is expected, such as bodhi.backend01/0:4711");
        let (stream, i) =
            text.rsplit_once(':').ok_or_else(|| wrong("there is no number behind a colon"))?;
        let stream = StreamName::parse(stream).map_err(|error| wrong(&error.to_string()))?;
        let i = i.parse().ok().filter(|i| (1..=NUMBER_MAX).contains(i));
        Ok(Spot { stream, i: i.ok_or_else(|| wrong("messages are numbered from 1"))? })
    }
}

/// What a tail is to read of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Where streams are taken up.
    pub begin: Begin,
    /// Where these ones are.
    pub from: Vec<Spot>,
    /// In which order it is shown.
    pub order: Order,
    /// Only the last so many of all that is shown.
    pub last: Option<u64>,
    /// Whether to go on with the present.
    pub follows: bool,
}

impl Past {
    /// What the options ask for; `None` is nothing.
    pub fn new(
        options: &PastOptions,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Result<Option<Past>, TailError> {
        let begin = match (&options.since, options.last) {
            (Some(since), _) => Begin::Since(since.resolve(now, zone).map_err(TailError::Since)?),
            (None, Some(last)) => Begin::Last(last),
            (None, None) if options.all => Begin::Earliest,
            (None, None) if options.from.is_empty() => return Ok(None),
            (None, None) => Begin::Live,
        };
        Ok(Some(Past {
            begin,
            from: options.from.clone(),
            order: options.order.map_or(Order::Time, Into::into),
            last: options.last,
            follows: !options.no_follow,
        }))
    }

    /// Services whose past nobody keeps, of those that may publish what is wanted. An error says that there is
    /// nothing to read at all.
    pub fn unkept(
        &self,
        config: &Config,
        patterns: &[Pattern],
    ) -> Result<Vec<Identity>, TailError> {
        let reached = config.endpoints.values();
        let reached = reached.filter(|entry| config.subscribe.includes(&entry.identity));
        let followed = Followed::among(reached.clone().cloned(), reached.clone());
        let is_kept = |stream: &StreamName| followed.can_repair(stream) == Some(true);
        if let Some(Spot { stream, .. }) = self.from.iter().find(|spot| !is_kept(&spot.stream)) {
            return Err(TailError::Unkept { stream: stream.clone() });
        }
        if self.begin == Begin::Live {
            return Ok(Vec::new());
        }
        let policy = &config.trust.policy;
        let is_wanted = |entry: &&EndpointEntry| {
            patterns.iter().any(|pattern| policy.may_publish_into(&entry.identity, pattern))
        };
        let first = |entry: &EndpointEntry| StreamName::new(entry.identity.clone(), Slot::Index(0));
        let (kept, unkept): (Vec<_>, Vec<_>) =
            reached.filter(is_wanted).partition(|entry| is_kept(&first(entry)));
        if kept.is_empty() && self.from.is_empty() {
            return Err(TailError::NoPast);
        }
        // A relay says nothing of its own.
        let unkept = unkept.into_iter().filter(|entry| entry.submit.is_empty());
        Ok(unkept.map(|entry| entry.identity.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::PastOrder;
    use crate::testing::NOW;
    use crate::when::When;

    #[test]
    fn places_are_read_or_refused() {
        let spot = Spot::parse("bodhi.backend01/0:4711").expect("a place");
        assert_eq!((spot.stream.to_string().as_str(), spot.i), ("bodhi.backend01/0", 4_711));
        for text in ["bodhi.backend01/0", "bodhi:1", "a.b/0:0", "a.b/0:x", "a.b/0:", "", ":1"] {
            let error = Spot::parse(text).expect_err(text);
            assert!(error.contains("such as bodhi.backend01/0:4711"), "{error}");
        }
    }

    #[test]
    fn the_options_say_where_streams_are_taken_up() {
        let options = PastOptions::default;
        let since = Some(When::parse("2h").expect("a time"));
        let from = vec![Spot::parse("a.b/0:7").expect("a place")];
        for (options, expected) in [
            (options(), None),
            (
                PastOptions { since, ..options() },
                Some(Begin::Since(Timestamp::from_millis(NOW.as_millis() - 7_200_000))),
            ),
            (PastOptions { last: Some(3), ..options() }, Some(Begin::Last(3))),
            (PastOptions { all: true, ..options() }, Some(Begin::Earliest)),
            (PastOptions { from: from.clone(), ..options() }, Some(Begin::Live)),
            (PastOptions { from, all: true, ..options() }, Some(Begin::Earliest)),
        ] {
            let past = Past::new(&options, NOW, &TimeZone::UTC).expect("a past");
            assert_eq!(past.map(|past| past.begin), expected, "{options:?}");
        }
        let options = PastOptions {
            all: true,
            no_follow: true,
            order: Some(PastOrder::Arrival),
            ..options()
        };
        let past = Past::new(&options, NOW, &TimeZone::UTC).expect("a past").expect("one");
        assert_eq!((past.order, past.follows), (Order::Arrival, false));
    }
}
