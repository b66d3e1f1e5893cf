//! All streams of a reader together: each in its own order, within one budget for what is held.

use std::collections::{HashMap, HashSet};

use crate::envelope::Kind;
use crate::event::{Event, Message};
use crate::identity::StreamName;
use crate::limits::STREAMS_MAX;
use crate::open::{Place, Record};
use crate::stream::{Item, SequenceCounts, Sink, Stream};

/// Puts verified records into order, stream by stream. Time is an argument: milliseconds of a clock that
/// never goes back.
#[derive(Debug, Default)]
pub struct Sequencer {
    streams: HashMap<StreamName, Stream>,
    waiting: HashSet<StreamName>,
    sink: Sink,
}

impl Sequencer {
    /// Takes a verified record.
    pub fn take(&mut self, message: Message, now: u64) {
        let name = message.stream().clone();
        self.with_stream(&name, now, |stream, sink| match message.record() {
            Record::Genesis(genesis) => stream.genesis(&message, genesis, now, sink),
            Record::Heartbeat(beat) => stream.heartbeat(&message, beat, now, sink),
            Record::Message => {
                let place = *message.place();
                stream.item(Item { message: Some(message), place, at: now }, sink);
            }
        });
    }

    /// Takes the position of a message whose signature was good and that was refused all the same.
    pub fn use_up(&mut self, name: &StreamName, place: Place, now: u64) {
        if place.kind == Kind::Message {
            self.with_stream(name, now, |stream, sink| {
                stream.item(Item { message: None, place, at: now }, sink);
            });
        }
    }

    /// Does what is due by now. To be called at least every 100 ms while [`is_waiting`](Self::is_waiting).
    pub fn tick(&mut self, now: u64) {
        let (streams, sink) = (&mut self.streams, &mut self.sink);
        self.waiting.retain(|name| {
            streams.get_mut(name).is_some_and(|stream| {
                stream.tick(now, sink);
                stream.is_waiting()
            })
        });
    }

    /// Whether some stream waits for something.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What is to be said since the last call, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Event> {
        self.sink.events.drain(..)
    }

    /// What it all amounted to.
    pub fn counts(&self) -> SequenceCounts {
        self.sink.counts
    }

    /// How many streams are known.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    fn with_stream(
        &mut self,
        name: &StreamName,
        now: u64,
        step: impl FnOnce(&mut Stream, &mut Sink),
    ) {
        if !self.streams.contains_key(name) {
            self.make_room();
            self.streams.insert(name.clone(), Stream::new(name.clone()));
        }
        let Some(stream) = self.streams.get_mut(name) else { return };
        stream.last_seen = now;
        step(stream, &mut self.sink);
        if stream.is_waiting() && !self.waiting.contains(name) {
            self.waiting.insert(name.clone());
        }
        if self.sink.is_full() {
            self.make_space(now);
        }
    }

    /// Those that hold most give up waiting, so that a stream with one hole does not pay for another one's
    /// thousands.
    fn make_space(&mut self, now: u64) {
        let (streams, sink) = (&mut self.streams, &mut self.sink);
        let held = |name: &StreamName| streams.get(name).map_or(0, Stream::held);
        let sizes: Vec<_> = self.waiting.iter().map(|name| (held(name), name)).collect();
        let most = sizes.iter().map(|(held, _)| *held).max().unwrap_or(0);
        for (_, name) in sizes.into_iter().filter(|(held, _)| *held > most / 2) {
            if let Some(stream) = streams.get_mut(name) {
                stream.overflow(now, sink);
            }
        }
    }

    /// Forgets the sixteenth of the streams that was silent for longest, when there are too many.
    fn make_room(&mut self) {
        if self.streams.len() < STREAMS_MAX {
            return;
        }
        let all = self.streams.iter();
        let mut seen: Vec<_> = all.map(|(name, stream)| (stream.last_seen, name.clone())).collect();
        let count = STREAMS_MAX / 16;
        seen.select_nth_unstable_by_key(count, |(last_seen, _)| *last_seen);
        for (_, name) in seen.into_iter().take(count) {
            self.waiting.remove(&name);
            if let Some(stream) = self.streams.remove(&name) {
                stream.forget(&mut self.sink);
            }
        }
    }
}
