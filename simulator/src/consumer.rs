//! A durable consumer without its threads: the library's account of what is done, a store that outlives it, and
//! hands in which messages stay for a while before they are handled.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use fedmsg::consumer::{
    ConsumerName, Curable, Cursor, CursorStore, Fence, Position, RefusalFilter, Refused, Start,
    StoreError,
};
use fedmsg::event::{Event, Message, Rejected};
use fedmsg::identity::StreamName;
use fedmsg::progress::{Progress, Ticket};
use fedmsg::sequence::Begin;
use fedmsg::testing::MemoryStore;
use fedmsg::timestamp::Timestamp;
use fedmsg::trust::Trust;

use crate::plan::chance;

/// A store is held for so long, in milliseconds; whoever crashed is known to be gone.
const LEASE_MS: u64 = 600_000;
/// Longest time from a message's being handed out to its being handled, in milliseconds.
const HANDLING_MS: u64 = 400;

/// What outlives a consumer.
pub struct Kept {
    name: ConsumerName,
    store: MemoryStore,
}

/// A running consumer.
pub struct Consumer {
    name: ConsumerName,
    store: MemoryStore,
    fence: Fence,
    progress: Arc<Mutex<Progress>>,
    /// What is in its hands: since when each is done, in order.
    hands: VecDeque<(u64, Ticket, Message)>,
    trust_changed: bool,
}

impl Kept {
    pub fn new(reader: usize) -> Kept {
        let name = ConsumerName::parse(&format!("reader{reader}")).expect("a name");
        Kept { name, store: MemoryStore::new() }
    }

    /// The cursors that are written down.
    pub fn cursors(&mut self) -> Vec<Cursor> {
        self.store.load(&self.name).unwrap_or_default()
    }

    /// Begins another life of the consumer.
    pub fn start(&mut self, life: u64, wall: Timestamp) -> Consumer {
        let (name, mut store) = (self.name.clone(), self.store.clone());
        if life > 1 {
            store.evict(&name).expect("who held it is gone");
        }
        let owner = format!("simulator-{life}");
        let claimed = store.claim(&name, &owner, Start::Earliest, wall, LEASE_MS);
        let claimed = claimed.expect("nobody holds it");
        let cursors = store.load(&name).expect("the cursors");
        let progress = Progress::new(claimed.created, claimed.start, &cursors);
        let (progress, hands) = (Arc::new(Mutex::new(progress)), VecDeque::new());
        Consumer { name, store, fence: claimed.fence, progress, hands, trust_changed: true }
    }
}

impl Consumer {
    /// Where a stream is to be taken up, whenever it comes.
    pub fn beginning(&self) -> impl Fn(&StreamName) -> Begin + Send + 'static {
        let progress = Arc::clone(&self.progress);
        move |stream| progress.lock().unwrap_or_else(PoisonError::into_inner).begin(stream)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keys or rules are other ones.
    pub fn trust_changed(&mut self) {
        self.trust_changed = true;
    }

    /// Takes what the reader says.
    pub fn take(&mut self, event: &Event, now: u64, random: &mut Rng) {
        let mut handed = None;
        let mut progress = self.progress();
        match event {
            Event::Message(message) => {
                let bytes = Some(message.wire().len());
                let ticket = progress.message(message.stream(), message.place(), bytes);
                handed = ticket.map(|ticket| (ticket, message));
            }
            Event::Late(message) => {
                let ticket = progress.late(&position_of(message), Some(message.wire().len()));
                handed = ticket.map(|ticket| (ticket, message));
            }
            Event::Lost(lost) => progress.lost(&lost.stream, lost.epoch, lost.to),
            Event::Epoch(change) => progress.epoch(change),
            Event::Unfetched(one) => {
                let (stream, epoch, i) = (one.stream.clone(), one.epoch, one.i);
                progress.unfetched(&Position { stream, epoch, i });
            }
            Event::Rejected(rejected) => refused(&mut progress, rejected),
            _ => {}
        }
        drop(progress);
        if let Some((ticket, message)) = handed {
            let last = self.hands.back().map_or(now, |(at, ..)| *at);
            let at = last.max(now) + random.u64(0..HANDLING_MS) * u64::from(random.u8(0..4) == 0);
            self.hands.push_back((at, ticket, message.clone()));
        }
    }

    /// When the next message will be handled.
    pub fn due(&self) -> Option<u64> {
        self.hands.front().map(|(at, ..)| *at)
    }

    /// Handles what is due, and writes down what was done; gives back what was handled.
    pub fn work(
        &mut self,
        now: u64,
        wall: Timestamp,
        trust: &Trust,
        random: &mut Rng,
    ) -> Vec<Message> {
        let mut handled = Vec::new();
        while self.due().is_some_and(|at| at <= now)
            && let Some((_, ticket, message)) = self.hands.pop_front()
        {
            handled.push(message);
            self.progress().acked(ticket);
        }
        let writes = self.trust_changed || chance(random, 500);
        if writes && self.progress().has_writes(now) && self.write(now, wall, random).is_err() {
            // It is tried again, before anything else.
            return handled;
        }
        if std::mem::take(&mut self.trust_changed) {
            let refusals = self.store.refusals(&self.name, &RefusalFilter::default());
            let knows = |refused: &Refused| trust.keys.get(&refused.key).is_some();
            self.progress().curable(refusals.unwrap_or_default(), knows);
        }
        handled
    }

    fn write(&mut self, now: u64, wall: Timestamp, random: &mut Rng) -> Result<(), StoreError> {
        let mut round = self.progress().round();
        loop {
            let write = self.progress().next_write(&mut round, now);
            let Some(write) = write else { break };
            self.store.set_broken(chance(random, 30));
            let made = write.make(&mut self.store, &self.fence, wall);
            self.store.set_broken(false);
            let mut progress = self.progress();
            match made {
                Ok(_) => progress.done(write),
                Err(error) => {
                    progress.undone(write);
                    progress.round_failed(round);
                    return Err(error);
                }
            }
        }
        self.progress().round_done(&round);
        Ok(())
    }

    /// What is to be fetched that was refused before.
    pub fn fetches(&mut self, now: u64) -> Vec<Position> {
        self.progress().fetches(now)
    }
}

fn refused(progress: &mut Progress, rejected: &Rejected) {
    let place = rejected.stream.clone().zip(rejected.position);
    let Some((stream, (epoch, i))) = place else { return };
    let position = Position { stream, epoch, i };
    let reason = Curable::of(rejected.reason).zip(rejected.key);
    let curable =
        reason.map(|(reason, key)| Refused { position: position.clone(), leaf: None, reason, key });
    progress.refused(&position, curable);
}

fn position_of(message: &Message) -> Position {
    Position { stream: message.stream().clone(), epoch: message.epoch(), i: message.i() }
}
