//! Durable consumers in memory: the same as the stores on disk, as plainly as it can be said.

mod model;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::model::{Consumer, Shared, fenced, page};
use crate::consumer::{
    Advance, Bounds, Claimed, ConsumerName, Cursor, CursorStore, DeadLetter, Due, Failure, Fence,
    Lease, LetterFilter, Page, Position, Refusal, RefusalFilter, Refused, Retry, Start, StoreError,
    Summary, check,
};
use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::timestamp::Timestamp;

/// A store of consumers in memory. Clones are the same store, as files and servers are for processes; it
/// outlives the consumers of a test that crash.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    bounds: Bounds,
    shared: Arc<Mutex<Shared>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// The same store with other bounds on what it keeps. They hold for what is written through this one.
    pub fn with_bounds(mut self, bounds: Bounds) -> MemoryStore {
        self.bounds = bounds;
        self
    }

    /// From now on every call fails as if the store could not be reached, or works again.
    pub fn set_broken(&self, broken: bool) {
        self.lock().broken = broken;
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self) -> Result<MutexGuard<'_, Shared>, StoreError> {
        let shared = self.lock();
        if shared.broken {
            let (place, detail) = ("memory".into(), "broken by the test".into());
            return Err(StoreError::Unavailable { place, detail });
        }
        Ok(shared)
    }
}

impl MemoryStore {
    /// One transaction: what fails changes nothing.
    fn write<T>(
        &self,
        name: &ConsumerName,
        work: impl FnOnce(&mut Shared) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut shared = self.reach()?;
        let before = (shared.fence, shared.consumers.get(name).cloned());
        let done = work(&mut shared);
        if done.is_err() {
            shared.fence = before.0;
            match before.1 {
                Some(consumer) => shared.consumers.insert(name.clone(), consumer),
                None => shared.consumers.remove(name),
            };
        }
        done
    }
}

impl CursorStore for MemoryStore {
    fn claim(
        &mut self,
        consumer: &ConsumerName,
        owner: &str,
        start: Start,
        now: Timestamp,
        lease_ms: u64,
    ) -> Result<Claimed, StoreError> {
        check::claim(owner, lease_ms)?;
        self.write(consumer, |shared| {
            let there = shared.consumers.len() as u64;
            if !shared.consumers.contains_key(consumer) && there >= self.bounds.consumers {
                return Err(StoreError::Full { what: "consumers", bound: self.bounds.consumers });
            }
            let new = || Consumer::new(start, now);
            shared.consumers.entry(consumer.clone()).or_insert_with(new);
            shared.known(consumer)?.free_for(consumer, owner, now)?;
            let number = shared.next_fence();
            let known = shared.known(consumer)?;
            let until = check::lease_end(now, lease_ms);
            known.lease = Some(Lease { owner: owner.into(), until });
            (known.lease_ms, known.fence) = (lease_ms, number);
            let (created, start) = (known.created, known.start);
            Ok(Claimed { created, start, fence: Fence::new(consumer.clone(), number) })
        })
    }

    fn renew(&mut self, fence: &Fence, now: Timestamp) -> Result<Timestamp, StoreError> {
        self.write(fence.consumer(), |shared| {
            let held = shared.hold(fence)?;
            let until = check::lease_end(now, held.lease_ms);
            held.lease = held.lease.take().map(|lease| Lease { until, ..lease });
            Ok(until)
        })
    }

    fn release(&mut self, fence: &Fence) -> Result<(), StoreError> {
        self.write(fence.consumer(), |shared| match shared.consumers.get_mut(fence.consumer()) {
            Some(known) if known.fence == fence.number() => {
                known.lease = None;
                Ok(())
            }
            _ => Err(fenced(fence)),
        })
    }

    fn load(&mut self, consumer: &ConsumerName) -> Result<Vec<Cursor>, StoreError> {
        Ok(self.reach()?.known(consumer)?.cursors.values().cloned().collect())
    }

    fn advance(
        &mut self,
        fence: &Fence,
        cursors: &[Advance],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        check::positions(cursors.iter().map(|cursor| &cursor.position))?;
        self.write(fence.consumer(), |shared| {
            let held = shared.hold(fence)?;
            let mut moved = 0;
            for cursor in cursors {
                moved += usize::from(held.advance(cursor, now, &self.bounds)?);
            }
            Ok(moved)
        })
    }

    fn forget(
        &mut self,
        fence: &Fence,
        streams: &[StreamName],
        unmoved_since: Timestamp,
    ) -> Result<Vec<StreamName>, StoreError> {
        check::batch(streams.len())?;
        self.write(fence.consumer(), |shared| {
            let held = shared.hold(fence)?;
            let forgotten = streams.iter().filter(|stream| held.forget(stream, unmoved_since));
            Ok(forgotten.cloned().collect())
        })
    }

    fn refuse(
        &mut self,
        fence: &Fence,
        refused: &[Refused],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        check::positions(refused.iter().map(|refused| &refused.position))?;
        self.write(fence.consumer(), |shared| {
            let held = shared.hold(fence)?;
            Ok(refused.iter().filter(|one| !held.refuse(one, now, &self.bounds)).count())
        })
    }

    fn refusals(
        &mut self,
        consumer: &ConsumerName,
        filter: &RefusalFilter,
    ) -> Result<Vec<Refusal>, StoreError> {
        let mut shared = self.reach()?;
        let all = shared.known(consumer)?.refusals.values();
        Ok(all.filter(|refusal| filter.matches(&refusal.refused)).cloned().collect())
    }

    fn cured(&mut self, fence: &Fence, positions: &[Position]) -> Result<usize, StoreError> {
        check::positions(positions.iter())?;
        self.write(fence.consumer(), |shared| {
            let held = shared.hold(fence)?;
            Ok(positions.iter().filter(|position| held.refusals.remove(position).is_some()).count())
        })
    }

    fn failed(
        &mut self,
        fence: &Fence,
        failure: &Failure,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        check::failure(failure)?;
        self.write(fence.consumer(), |shared| {
            let held = shared.hold(fence)?;
            let before = held.retries.get(&failure.position).map(|retry| retry.first_failed);
            let first_failed = before.unwrap_or(now);
            held.wait(Retry { failure: failure.clone(), first_failed, next_at }, &self.bounds)
        })
    }

    fn due(&mut self, consumer: &ConsumerName, now: Timestamp) -> Result<Due, StoreError> {
        let mut shared = self.reach()?;
        let mut all: Vec<&Retry> = shared.known(consumer)?.retries.values().collect();
        all.sort_by_key(|retry| (retry.next_at, &retry.failure.position));
        let due = all.iter().take_while(|retry| retry.next_at <= now);
        let retries = page(due, |retry| retry.failure.envelope.len());
        let next_at = all.get(retries.len()).map(|retry| retry.next_at);
        Ok(Due { retries: retries.into_iter().copied().cloned().collect(), next_at })
    }

    fn succeeded(&mut self, fence: &Fence, positions: &[Position]) -> Result<usize, StoreError> {
        check::positions(positions.iter())?;
        self.write(fence.consumer(), |shared| {
            let held = shared.hold(fence)?;
            Ok(positions.iter().filter(|position| held.retries.remove(position).is_some()).count())
        })
    }

    fn dead(
        &mut self,
        fence: &Fence,
        failure: &Failure,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        check::failure(failure)?;
        self.write(fence.consumer(), |shared| {
            Ok(shared.hold(fence)?.dead(failure, now, &self.bounds))
        })
    }

    fn dead_letters(
        &mut self,
        consumer: &ConsumerName,
        filter: &LetterFilter,
        wanted: Page,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let mut shared = self.reach()?;
        let letters = &shared.known(consumer)?.letters;
        let fits = |letter: &&DeadLetter| {
            let Failure { position, topic, .. } = &letter.failure;
            letter.id > wanted.after && filter.matches(&position.stream, topic)
        };
        let fitting = letters.values().filter(fits).take(wanted.limit);
        Ok(page(fitting, |letter| letter.failure.envelope.len()).into_iter().cloned().collect())
    }

    fn retry(
        &mut self,
        consumer: &ConsumerName,
        letters: &[u64],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        check::batch(letters.len())?;
        self.write(consumer, |shared| {
            let known = shared.known(consumer)?;
            let mut found = 0;
            for id in letters {
                let Some(letter) = known.letters.remove(id) else { continue };
                let failure = Failure { attempts: 0, ..letter.failure };
                let retry = Retry { failure, first_failed: letter.first_failed, next_at: now };
                known.wait(retry, &self.bounds)?;
                found += 1;
            }
            Ok(found)
        })
    }

    fn discard(&mut self, consumer: &ConsumerName, letters: &[u64]) -> Result<usize, StoreError> {
        check::batch(letters.len())?;
        self.write(consumer, |shared| {
            let known = shared.known(consumer)?;
            Ok(letters.iter().filter(|id| known.letters.remove(id).is_some()).count())
        })
    }

    fn consumers(&mut self) -> Result<Vec<Summary>, StoreError> {
        let shared = self.reach()?;
        Ok(shared.consumers.iter().map(|(name, known)| known.summary(name)).collect())
    }

    fn show(&mut self, consumer: &ConsumerName) -> Result<Summary, StoreError> {
        Ok(self.reach()?.known(consumer)?.summary(consumer))
    }

    fn seek(
        &mut self,
        consumer: &ConsumerName,
        stream: &StreamName,
        epoch: Epoch,
        i: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        check::number(i)?;
        self.write(consumer, |shared| {
            let position = Position { stream: stream.clone(), epoch, i };
            let cursor = Cursor { position, leaf: None, updated: now };
            shared.take_from_nobody(consumer, now)?.place(cursor, &self.bounds)
        })
    }

    fn skip(
        &mut self,
        consumer: &ConsumerName,
        stream: &StreamName,
        count: u64,
        now: Timestamp,
    ) -> Result<Cursor, StoreError> {
        self.write(consumer, |shared| {
            let known = shared.take_from_nobody(consumer, now)?;
            let cursor = known.cursors.get_mut(stream).ok_or_else(|| {
                let (consumer, stream) = (consumer.clone(), stream.clone());
                StoreError::NoCursor { consumer, stream }
            })?;
            cursor.position.i = cursor.position.i.saturating_add(count);
            check::number(cursor.position.i)?;
            (cursor.leaf, cursor.updated) = (None, now);
            Ok(cursor.clone())
        })
    }

    fn delete(&mut self, consumer: &ConsumerName, now: Timestamp) -> Result<(), StoreError> {
        self.write(consumer, |shared| {
            shared.take_from_nobody(consumer, now)?;
            shared.consumers.remove(consumer);
            Ok(())
        })
    }

    fn evict(&mut self, consumer: &ConsumerName) -> Result<Option<Lease>, StoreError> {
        self.write(consumer, |shared| {
            let lease = shared.known(consumer)?.lease.clone();
            shared.fence_off(consumer)?;
            Ok(lease)
        })
    }
}
