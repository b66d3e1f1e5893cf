//! What is known of all streams at one moment: what they say themselves, what holders have of them, and how far
//! consumers are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fedmsg::config::Config;
use fedmsg::consumer::Position;
use fedmsg::envelope::Epoch;
use fedmsg::frames::{Acknowledged, Range, Word};
use fedmsg::limits::SILENT_MS;
use fedmsg::record::{Heartbeat, State};
use fedmsg::timestamp::Timestamp;
use fedmsg::{Endpoint, Identity, StreamName};

use super::hearing::Heard;
use crate::consumer::behind;
use crate::stream::{Beat, Stand};

/// Everything that was seen.
pub(crate) struct View {
    pub(crate) config: Arc<Config>,
    /// When it was looked.
    pub(crate) now: Timestamp,
    pub(crate) streams: BTreeMap<StreamName, Seen>,
    /// Everybody who was asked for his streams, and whether he answered.
    pub(crate) holders: BTreeMap<Endpoint, bool>,
    /// Streams about which not everybody could be asked before the time was over.
    pub(crate) unasked: BTreeSet<StreamName>,
    /// When the first message behind a position was published.
    pub(crate) waits: BTreeMap<Position, Timestamp>,
}

/// What the time of a message is wanted for.
#[derive(Clone, Debug)]
pub(crate) enum Whose {
    /// It is the last one of a stream.
    Last(StreamName),
    /// It is the first one that a consumer is not done with, as it told holders.
    Floor(StreamName, Word),
    /// It is the first one behind this position.
    Cursor(Position),
}

/// What is known of one stream.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Its heartbeat, as it came over the bus.
    pub(crate) heard: Option<Heard>,
    /// What the journals of this host have.
    pub(crate) here: Option<Stand>,
    /// What each holder has that could have it.
    pub(crate) stands: BTreeMap<Endpoint, Stand>,
    /// How far consumers are, as they told holders.
    pub(crate) floors: BTreeMap<Word, Lagging>,
    /// Its last message.
    pub(crate) last: Option<Said>,
}

/// A message that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) position: Position,
    /// When it was published, by its publisher's clock.
    pub(crate) at: Timestamp,
    pub(crate) topic: String,
}

/// How far a consumer is, as it said itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lagging {
    pub(crate) said: Acknowledged,
    /// Messages that it is not done with.
    pub(crate) behind: u64,
    /// When the first of them was published, where that is known.
    pub(crate) since: Option<Timestamp>,
}

/// The newest heartbeat of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newest<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) beat: &'a Heartbeat,
    pub(crate) at: Timestamp,
}

/// Whether somebody publishes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// A publisher is there.
    Up,
    /// It ended cleanly.
    Ended,
    /// It did not say that it ends, and was not heard for three heartbeats.
    Down,
    /// It was not heard, and nobody has anything of it.
    Unknown,
}

impl Seen {
    /// What the stream says of itself, by who heard it last.
    pub(crate) fn newest(&self) -> Option<Newest<'_>> {
        let heard = self.heard.iter();
        let heard = heard.map(|one| Newest { epoch: one.epoch, beat: &one.beat, at: one.at });
        let kept = self.all_stands().filter_map(|stand| match stand {
            Stand::Has { beat: Beat::Good(verified, beat), .. } => {
                Some(Newest { epoch: verified.epoch(), beat, at: verified.timestamp() })
            }
            _ => None,
        });
        heard.chain(kept).max_by_key(|one| (one.epoch, one.at))
    }

    /// What this host has, and every holder.
    pub(crate) fn all_stands(&self) -> impl Iterator<Item = &Stand> {
        self.here.iter().chain(self.stands.values())
    }

    /// What all have together, oldest epoch first: from the first number that anybody has to the last one.
    pub(crate) fn epochs(&self) -> Vec<Range> {
        let mut all = BTreeMap::<Epoch, Range>::new();
        for stand in self.all_stands() {
            let Stand::Has { epochs, .. } = stand else { continue };
            for range in epochs {
                let known = all.entry(range.epoch).or_insert(*range);
                known.last = known.last.max(range.last);
                known.first = known.first.min(range.first);
            }
        }
        all.into_values().collect()
    }

    /// How far the stream is, as far as anybody knows.
    pub(crate) fn end(&self) -> Option<(Epoch, u64)> {
        let said = self.newest().map(|newest| (newest.epoch, newest.beat.last));
        let kept = self.epochs().last().map(|range| (range.epoch, range.last));
        said.max(kept)
    }

    /// How far the stream is, by the heartbeats that holders showed with what they have.
    pub(crate) fn said_by_holders(&self) -> Option<(Epoch, u64)> {
        let beats = self.all_stands().filter_map(|stand| match stand {
            Stand::Has { beat: Beat::Good(verified, beat), .. } => {
                Some((verified.epoch(), beat.last))
            }
            _ => None,
        });
        beats.max()
    }

    /// Whether somebody who should have it did not answer.
    pub(crate) fn may_be_elsewhere(&self) -> bool {
        self.stands.values().any(|stand| matches!(stand, Stand::Silent))
    }

    /// Its last message that somebody may have.
    pub(crate) fn last_place(&self) -> Option<(Epoch, u64)> {
        let epochs = self.epochs();
        let mut with_messages = epochs.iter().rev().filter(|range| range.last > 0);
        // One that has nothing any more says that there was something, and not when.
        let newest = with_messages.next()?;
        (newest.first <= newest.last).then_some((newest.epoch, newest.last))
    }

    /// Who has a number.
    pub(crate) fn holders_with(&self, epoch: Epoch, i: u64) -> Vec<Endpoint> {
        let has = |stand: &Stand| match stand {
            Stand::Has { epochs, .. } => epochs
                .iter()
                .any(|range| range.epoch == epoch && (range.first..=range.last).contains(&i)),
            _ => false,
        };
        let holders = self.stands.iter().filter(|(_, stand)| has(stand));
        holders.map(|(holder, _)| holder.clone()).collect()
    }

    /// Whether it is published now.
    pub(crate) fn life(&self, identity: &Identity, now: Timestamp) -> Life {
        let Some(newest) = self.newest() else {
            // A journal without a heartbeat is that of a process that was killed before it wrote one down.
            return if self.epochs().is_empty() { Life::Unknown } else { Life::Down };
        };
        if newest.beat.state == State::Closed {
            return Life::Ended;
        }
        // Its own socket speaks, whatever its clock says.
        let speaks = self.heard.as_ref().is_some_and(|heard| heard.endpoints.contains(identity));
        match speaks || now.millis_since(newest.at) <= SILENT_MS.cast_signed() {
            true => Life::Up,
            false => Life::Down,
        }
    }

    /// Takes in what consumers told a holder; of two floors the higher one counts.
    pub(crate) fn add_floors(&mut self, floors: &[Acknowledged]) {
        let epochs = self.epochs();
        for said in floors {
            let known = self.floors.get(&said.consumer);
            let age_ms = known.map_or(said.age_ms, |known| known.said.age_ms.min(said.age_ms));
            let far = |said: &Acknowledged| (said.epoch, said.upto);
            let said = match known {
                Some(known) if far(&known.said) > far(said) => known.said.clone(),
                _ => said.clone(),
            };
            let (behind, _) = behind(said.epoch, said.upto, &epochs);
            let said = Acknowledged { age_ms, ..said };
            let consumer = said.consumer.clone();
            self.floors.insert(consumer, Lagging { said, behind, since: None });
        }
    }

    /// The first message that a consumer is not done with, if there is one.
    pub(crate) fn next_of(&self, epoch: Epoch, upto: u64) -> Option<(Epoch, u64)> {
        behind(epoch, upto, &self.epochs()).1
    }
}

impl View {
    /// Puts the time of a message where it belongs.
    pub(super) fn note(&mut self, whose: Whose, said: &Said) {
        match whose {
            Whose::Last(stream) => {
                if let Some(seen) = self.streams.get_mut(&stream) {
                    seen.last = Some(said.clone());
                }
            }
            Whose::Floor(stream, consumer) => {
                let seen = self.streams.get_mut(&stream);
                if let Some(lagging) = seen.and_then(|seen| seen.floors.get_mut(&consumer)) {
                    lagging.since = Some(said.at);
                }
            }
            Whose::Cursor(position) => drop(self.waits.insert(position, said.at)),
        }
    }

    /// Who a holder is: its identity, and which of its addresses where it has several.
    pub(crate) fn holder_name(&self, holder: &Endpoint) -> String {
        let found = self.config.endpoints.values().find_map(|entry| {
            let at = entry.replay.iter().position(|address| address == holder)?;
            Some(match entry.replay.len() {
                1 => entry.identity.to_string(),
                _ => format!("{}/{at}", entry.identity),
            })
        });
        found.unwrap_or_else(|| holder.to_string())
    }

    /// How many messages a holder lacks of those that are kept somewhere; nothing if it has all.
    pub(crate) fn lacks(seen: &Seen, epochs: &[Range]) -> u64 {
        let all = seen.epochs();
        let behind = all.iter().map(|known| {
            let own = epochs.iter().find(|range| range.epoch == known.epoch);
            match own {
                Some(own) => known.last.saturating_sub(own.last),
                // An epoch before its oldest one is what retention took.
                None if epochs.first().is_some_and(|first| known.epoch < first.epoch) => 0,
                None => known.last,
            }
        });
        behind.sum()
    }

    /// Identities that publish messages: all of [endpoints] but relays and those who are not read.
    pub(crate) fn publishers(&self) -> BTreeSet<Identity> {
        let entries = self.config.endpoints.values();
        let own = entries.filter(|entry| !entry.publish.is_empty() && entry.submit.is_empty());
        let read = own.filter(|entry| self.config.subscribe.includes(&entry.identity));
        read.map(|entry| entry.identity.clone()).collect()
    }

    /// Whether an identity is a relay, whose own stream has no messages.
    pub(crate) fn is_relay(&self, identity: &Identity) -> bool {
        self.config.endpoints.get(identity).is_some_and(|entry| !entry.submit.is_empty())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::hearing::tests::heard;
    use super::*;
    use fedmsg::frames::Completeness;

    pub(crate) fn epoch(n: u8) -> Epoch {
        Epoch::parse(&format!("00000000-0000-7000-8000-0000000000{n:02x}")).expect("an epoch")
    }

    pub(crate) fn range(n: u8, first: u64, last: u64) -> Range {
        Range { epoch: epoch(n), first, last }
    }

    pub(crate) fn has(completeness: Completeness, epochs: &[Range]) -> Stand {
        Stand::Has { completeness, epochs: epochs.to_vec(), beat: Beat::None }
    }

    fn holder(port: u16) -> Endpoint {
        Endpoint::parse(&format!("tcp://127.0.0.1:{port}")).expect("an address")
    }

    fn seen() -> Seen {
        let mut seen = Seen::default();
        let complete = Completeness::Complete;
        seen.stands.insert(holder(1), has(complete, &[range(1, 3, 9), range(2, 1, 4)]));
        seen.stands.insert(holder(2), has(complete, &[range(2, 1, 2)]));
        seen.stands.insert(holder(3), Stand::Silent);
        seen
    }

    #[test]
    fn what_all_have_together_counts() {
        let mut seen = seen();
        assert_eq!(seen.epochs(), [range(1, 3, 9), range(2, 1, 4)]);
        assert_eq!((seen.end(), seen.last_place()), (Some((epoch(2), 4)), Some((epoch(2), 4))));
        assert_eq!(seen.holders_with(epoch(2), 2), [holder(1), holder(2)]);
        assert_eq!(seen.holders_with(epoch(2), 3), [holder(1)]);
        assert_eq!(View::lacks(&seen, &[range(2, 1, 2)]), 2, "the epoch before was given up");
        assert_eq!(View::lacks(&seen, &[range(1, 3, 9)]), 4);
        assert_eq!(View::lacks(&seen, &[range(1, 3, 9), range(2, 1, 4)]), 0);
        seen.heard = Some(heard(3, 0, 1_000, "a.b", "mine"));
        assert_eq!(seen.end(), Some((epoch(3), 0)));
        assert_eq!(seen.last_place(), Some((epoch(2), 4)), "a new epoch has nothing yet");
        let nothing_left = has(Completeness::Complete, &[range(4, 8, 7)]);
        seen.stands.insert(holder(4), nothing_left);
        assert_eq!(seen.last_place(), None, "there was something, and nobody has it");
    }

    #[test]
    fn a_publisher_is_up_when_it_speaks_itself_or_spoke_lately() {
        let at = Timestamp::from_millis;
        let own = Identity::parse("a.b").expect("an identity");
        let life = |endpoint: &str, said: i64, now: i64| {
            let heard = Some(heard(1, 0, said, endpoint, "mine"));
            Seen { heard, ..Seen::default() }.life(&own, at(now))
        };
        assert_eq!(life("a.b", 0, 900_000), Life::Up, "its clock is wrong");
        assert_eq!(life("relay.x", 0, 15_000), Life::Up);
        assert_eq!(life("relay.x", 0, 15_001), Life::Down, "the relay tells its last words");
        assert_eq!(Seen::default().life(&own, at(0)), Life::Unknown);
        assert_eq!(seen().life(&own, at(0)), Life::Down, "somebody has it, and no heartbeat");
        let mut ended = heard(1, 0, 0, "a.b", "mine");
        ended.beat.state = State::Closed;
        let seen = Seen { heard: Some(ended), ..Seen::default() };
        assert_eq!(seen.life(&own, at(0)), Life::Ended);
    }

    #[test]
    fn the_higher_floor_of_a_consumer_counts_and_when_it_was_heard_last() {
        let mut seen = seen();
        let consumer = Word::parse("badges").expect("a word");
        let said = |n, upto, age_ms| Acknowledged {
            consumer: consumer.clone(),
            epoch: epoch(n),
            upto,
            age_ms,
        };
        seen.add_floors(&[said(1, 8, 500)]);
        seen.add_floors(&[said(2, 1, 90_000)]);
        seen.add_floors(&[said(1, 9, 700)]);
        let known = &seen.floors[&consumer];
        assert_eq!((known.said.clone(), known.behind), (said(2, 1, 500), 3));
        assert_eq!(seen.next_of(epoch(2), 1), Some((epoch(2), 2)));
        assert_eq!(seen.next_of(epoch(2), 4), None);
    }
}
