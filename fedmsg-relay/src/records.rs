//! What a relay keeps of what a reader of others is told, in the order of each stream. Pure.

use std::collections::BTreeMap;

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::event::{Event, Message};
use fedmsg::identity::StreamName;
use fedmsg::limits::STREAMS_MAX;
use fedmsg::open::Record;
use fedmsg::planted::bug;

/// Epochs of one stream whose genesis records wait for their turn.
const AHEAD_MAX: usize = 4;

/// Which epoch each stream is in, as the reader has said.
///
/// What a stream says of itself comes to the reader before its turn. A genesis record that was kept at once would make a
/// relay go on behind it when it begins again, and what it lacks of the epoch before would never be fetched.
#[derive(Debug, Default)]
pub struct Records {
    streams: BTreeMap<StreamName, Place>,
}

#[derive(Debug, Default)]
struct Place {
    epoch: Option<Epoch>,
    ahead: BTreeMap<Epoch, Wire>,
}

impl Records {
    /// What is to be kept now; what is said of losses goes to the log.
    pub fn take(&mut self, event: Event) -> Vec<Wire> {
        match event {
            Event::Message(message) | Event::Late(message) => vec![message.wire().clone()],
            Event::Internal(message) => self.internal(&message).into_iter().collect(),
            Event::Epoch(change) => {
                let place = self.place(&change.stream);
                place.epoch = Some(change.to);
                let later = place.ahead.split_off(&change.to);
                place.ahead = later;
                place.ahead.remove(&change.to).into_iter().collect()
            }
            Event::Lost(lost) => {
                tracing::error!(stream = %lost.stream, epoch = %lost.epoch, from = lost.from, "{lost}");
                Vec::new()
            }
            Event::Stalled(stalled) => {
                tracing::warn!("{stalled}");
                Vec::new()
            }
            Event::Fork(fork) => {
                tracing::error!("{fork}");
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// A genesis record or a heartbeat, if its stream is that far; a genesis record waits, a heartbeat comes again.
    fn internal(&mut self, message: &Message) -> Option<Wire> {
        let (epoch, wire) = (message.epoch(), message.wire().clone());
        let place = self.place(message.stream());
        if place.epoch >= Some(epoch) || bug("genesis-before-its-turn") {
            return Some(wire);
        }
        if matches!(message.record(), Record::Genesis(_)) {
            place.ahead.insert(epoch, wire);
            if place.ahead.len() > AHEAD_MAX {
                // The reader gives up on the oldest one as well.
                place.ahead.pop_first();
            }
        }
        None
    }

    fn place(&mut self, stream: &StreamName) -> &mut Place {
        if self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(stream) {
            // Those that are forgotten are taken up again with their next epoch.
            self.streams.pop_first();
        }
        self.streams.entry(stream.clone()).or_default()
    }
}
