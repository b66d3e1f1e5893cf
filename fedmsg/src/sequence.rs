//! All streams of a reader together: each in its own order, within one budget for what is held.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use crate::envelope::{Epoch, Kind, Wire};
use crate::event::{Event, Message};
use crate::frames::Range;
use crate::identity::StreamName;
use crate::limits::STREAMS_MAX;
use crate::need::Need;
use crate::open::{Place, Record};
pub use crate::stream::Begin;
use crate::stream::{Item, Keepers, SequenceCounts, Sink, Stream};

/// Says who may have what does not come of a stream by itself, where that is known.
type KeepersOf = Box<dyn Fn(&StreamName) -> Option<Keepers> + Send>;
/// Says where a stream that is new here is taken up.
type Beginning = Box<dyn Fn(&StreamName) -> Begin + Send>;

/// Puts verified records into order, stream by stream. Time is an argument: milliseconds of a clock that
/// never goes back.
///
/// What does not come by itself is [needed](Sequencer::needs) where somebody may have it, and otherwise
/// declared lost. Whoever fetches it gives it back by [`take`](Sequencer::take), or says that nobody has it
/// by [`absent`](Sequencer::absent).
#[derive(Default)]
pub struct Sequencer {
    streams: HashMap<StreamName, Stream>,
    waiting: BTreeSet<StreamName>,
    sink: Sink,
    keepers: Option<KeepersOf>,
    beginning: Option<Beginning>,
    looked: u64,
}

/// How often it is looked which streams are silent, in milliseconds.
const LOOK_MS: u64 = 1_000;

impl Sequencer {
    /// Says of which streams something can be fetched, and from whom; of none without this. Of streams of which it
    /// says nothing now, what was said before holds.
    pub(crate) fn set_keepers(
        &mut self,
        keepers: impl Fn(&StreamName) -> Option<Keepers> + Send + 'static,
    ) {
        for (name, stream) in &mut self.streams {
            if let Some(keepers) = keepers(name) {
                stream.set_keepers(keepers);
            }
        }
        self.keepers = Some(Box::new(keepers));
    }

    /// Says where new streams are taken up; `Live` without this.
    pub fn set_beginning(&mut self, beginning: impl Fn(&StreamName) -> Begin + Send + 'static) {
        self.beginning = Some(Box::new(beginning));
    }

    /// Takes up a stream of which nothing has come yet.
    pub fn begin(&mut self, name: &StreamName, now: u64) {
        if !self.streams.contains_key(name) {
            self.with_stream(name, now, |stream, sink| stream.tick(now, sink));
        }
    }

    /// What the streams need since the last call.
    pub fn needs(&mut self) -> std::vec::Drain<'_, Need> {
        self.sink.needs.drain(..)
    }

    /// Records that publishers are to be shown, since the last call: each was signed by the stream's own key,
    /// and its publisher does not know of it any more.
    pub fn shows(&mut self) -> std::vec::Drain<'_, (StreamName, Wire)> {
        self.sink.shows.drain(..)
    }

    /// No holder has these numbers of a stream.
    pub fn absent(&mut self, name: &StreamName, epoch: Epoch, span: (u64, u64), now: u64) {
        self.of_holder(name, now, |stream, sink| stream.absent(epoch, span, now, sink));
    }

    /// No holder has more of this epoch than up to a number, of those that were asked from a time on.
    pub fn rest_over(&mut self, name: &StreamName, epoch: Epoch, over: (u64, u64), now: u64) {
        self.of_holder(name, now, |stream, sink| stream.rest_over(epoch, over, now, sink));
    }

    /// No holder has the record that opens this epoch.
    pub fn no_genesis(&mut self, name: &StreamName, epoch: Epoch, now: u64) {
        self.of_holder(name, now, |stream, sink| stream.no_genesis(epoch, now, sink));
    }

    /// What epochs a holder has of a stream, that was asked at this time, oldest first; none when no holder
    /// knows it.
    pub fn epochs(&mut self, name: &StreamName, epochs: &[Range], asked: u64, now: u64) {
        self.of_holder(name, now, |stream, sink| stream.epochs(epochs, asked, now, sink));
    }

    /// Where a stream was at the time that was asked for.
    pub fn found(&mut self, name: &StreamName, epoch: Epoch, i: u64, now: u64) {
        self.of_holder(name, now, |stream, sink| stream.found(epoch, i, now, sink));
    }

    /// Something that a holder says of a stream, which is no sign of life.
    fn of_holder(
        &mut self,
        name: &StreamName,
        now: u64,
        step: impl FnOnce(&mut Stream, &mut Sink),
    ) {
        let Some(stream) = self.streams.get(name) else { return };
        let last_seen = stream.last_seen;
        self.with_stream(name, now, |stream, sink| {
            stream.last_seen = last_seen;
            step(stream, sink);
        });
    }

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
        if now >= self.looked.saturating_add(LOOK_MS) {
            self.looked = now;
            let before = sink.needs.len();
            for stream in streams.values_mut() {
                stream.look(now, sink);
            }
            sink.needs[before..].sort_by(|a, b| a.stream.cmp(&b.stream));
        }
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

    /// Whether what does not come of a stream by itself can be fetched, as far as is known.
    pub fn can_repair(&self, name: &StreamName) -> bool {
        self.keepers_of(name) != Keepers::Nobody
    }

    fn keepers_of(&self, name: &StreamName) -> Keepers {
        let keepers = self.keepers.as_ref().and_then(|keepers| keepers(name));
        keepers.unwrap_or(Keepers::Nobody)
    }

    /// The epoch of a stream that is followed, and the number that comes next. Nothing before it has a base,
    /// and of one that contradicts itself.
    pub fn position(&self, name: &StreamName) -> Option<(Epoch, u64)> {
        self.streams.get(name).and_then(Stream::position)
    }

    /// Whether there may be something of a stream to read before what comes next.
    pub fn has_past(&self, name: &StreamName) -> bool {
        self.can_repair(name) && self.beginning(name) != Begin::Live
    }

    /// Whether it is still looked for where a stream is to be taken up.
    pub fn is_beginning(&self, name: &StreamName) -> bool {
        self.streams.get(name).is_some_and(Stream::is_beginning)
    }

    /// Where a stream is taken up when it is new here.
    pub fn beginning(&self, name: &StreamName) -> Begin {
        self.beginning.as_ref().map_or(Begin::Live, |beginning| beginning(name))
    }

    fn with_stream(
        &mut self,
        name: &StreamName,
        now: u64,
        step: impl FnOnce(&mut Stream, &mut Sink),
    ) {
        if !self.streams.contains_key(name) {
            self.make_room();
            let keepers = self.keepers_of(name);
            let stream = Stream::new(name.clone(), keepers, self.beginning(name));
            self.streams.insert(name.clone(), stream);
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
        seen.select_nth_unstable(count);
        for (_, name) in seen.into_iter().take(count) {
            self.waiting.remove(&name);
            if let Some(stream) = self.streams.remove(&name) {
                stream.forget(&mut self.sink);
            }
        }
    }
}

impl fmt::Debug for Sequencer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sequencer({} streams, {} waiting)", self.streams.len(), self.waiting.len())
    }
}
