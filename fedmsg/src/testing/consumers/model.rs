//! What a store of consumers is, as plainly as it can be said.

use std::collections::BTreeMap;

use crate::consumer::{
    Advance, Bounds, ConsumerName, Cursor, DeadLetter, Failure, Fence, Lease, Position, Refusal,
    Refused, Retry, Start, StoreError, Summary, check,
};
use crate::identity::StreamName;
use crate::limits::{FAILURES_PAGE_BYTES_MAX, FAILURES_PAGE_MAX};
use crate::timestamp::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) broken: bool,
    pub(super) fence: u64,
    pub(super) consumers: BTreeMap<ConsumerName, Consumer>,
}

#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) created: Timestamp,
    pub(super) start: Start,
    pub(super) lease: Option<Lease>,
    pub(super) lease_ms: u64,
    pub(super) fence: u64,
    pub(super) cursors: BTreeMap<StreamName, Cursor>,
    pub(super) refusals: BTreeMap<Position, Refusal>,
    pub(super) refusals_dropped: u64,
    pub(super) retries: BTreeMap<Position, Retry>,
    pub(super) letters: BTreeMap<u64, DeadLetter>,
    pub(super) letter_ids: u64,
    pub(super) letters_dropped: u64,
}

impl Shared {
    pub(super) fn known(&mut self, name: &ConsumerName) -> Result<&mut Consumer, StoreError> {
        self.consumers.get_mut(name).ok_or_else(|| StoreError::NoConsumer(name.clone()))
    }

    pub(super) fn hold(&mut self, fence: &Fence) -> Result<&mut Consumer, StoreError> {
        let held = self.consumers.get_mut(fence.consumer());
        held.filter(|held| held.fence == fence.number() && held.lease.is_some())
            .ok_or_else(|| fenced(fence))
    }

    pub(super) fn next_fence(&mut self) -> u64 {
        self.fence += 1;
        self.fence
    }

    pub(super) fn take_from_nobody(
        &mut self,
        name: &ConsumerName,
        now: Timestamp,
    ) -> Result<&mut Consumer, StoreError> {
        self.known(name)?.free_for(name, "", now)?;
        self.fence_off(name)
    }

    pub(super) fn fence_off(&mut self, name: &ConsumerName) -> Result<&mut Consumer, StoreError> {
        self.known(name)?;
        let fence = self.next_fence();
        let consumer = self.known(name)?;
        (consumer.fence, consumer.lease) = (fence, None);
        Ok(consumer)
    }
}

pub(super) fn fenced(fence: &Fence) -> StoreError {
    StoreError::Fenced { consumer: fence.consumer().clone(), fence: fence.number() }
}

fn bytes<'a>(failures: impl Iterator<Item = &'a Failure>) -> u64 {
    failures.map(|failure| failure.envelope.len() as u64).sum()
}

/// As much of a list as is handed out at once.
pub(super) fn page<T>(all: impl Iterator<Item = T>, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    for one in all.take(FAILURES_PAGE_MAX) {
        bytes += size(&one);
        if bytes > FAILURES_PAGE_BYTES_MAX && !taken.is_empty() {
            break;
        }
        taken.push(one);
    }
    taken
}

impl Consumer {
    pub(super) fn new(start: Start, now: Timestamp) -> Consumer {
        Consumer {
            created: now,
            start,
            lease: None,
            lease_ms: 0,
            fence: 0,
            cursors: BTreeMap::new(),
            refusals: BTreeMap::new(),
            refusals_dropped: 0,
            retries: BTreeMap::new(),
            letters: BTreeMap::new(),
            letter_ids: 0,
            letters_dropped: 0,
        }
    }

    pub(super) fn free_for(
        &self,
        name: &ConsumerName,
        owner: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match &self.lease {
            Some(lease) if lease.owner != owner && lease.until > now => {
                let (consumer, owner) = (name.clone(), lease.owner.clone());
                Err(StoreError::Held { consumer, owner, until: lease.until })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn forget(&mut self, stream: &StreamName, unmoved_since: Timestamp) -> bool {
        let is_old = |cursor: &Cursor| cursor.updated < unmoved_since;
        let waits = self.refusals.keys().chain(self.retries.keys()).any(|at| at.stream == *stream);
        let forgets = !waits && self.cursors.get(stream).is_some_and(is_old);
        forgets && self.cursors.remove(stream).is_some()
    }

    pub(super) fn place(&mut self, cursor: Cursor, bounds: &Bounds) -> Result<(), StoreError> {
        let stream = cursor.position.stream.clone();
        if !self.cursors.contains_key(&stream) && self.cursors.len() as u64 >= bounds.streams {
            return Err(StoreError::Full { what: "streams of a consumer", bound: bounds.streams });
        }
        self.cursors.insert(stream, cursor);
        Ok(())
    }

    pub(super) fn advance(
        &mut self,
        to: &Advance,
        now: Timestamp,
        bounds: &Bounds,
    ) -> Result<bool, StoreError> {
        let Advance { position, leaf } = to;
        if let Some(known) = self.cursors.get_mut(&position.stream)
            && known.position.epoch == position.epoch
            && known.position.i >= position.i
        {
            if known.position.i == position.i {
                known.leaf = known.leaf.or(*leaf);
            }
            return Ok(false);
        }
        self.place(Cursor { position: position.clone(), leaf: *leaf, updated: now }, bounds)?;
        Ok(true)
    }

    pub(super) fn refuse(&mut self, refused: &Refused, now: Timestamp, bounds: &Bounds) -> bool {
        if let Some(known) = self.refusals.get_mut(&refused.position) {
            let leaf = refused.leaf.or(known.refused.leaf);
            known.refused = Refused { leaf, ..refused.clone() };
            known.count += 1;
            return true;
        }
        let stream = &refused.position.stream;
        let of_stream = self.refusals.keys().filter(|position| position.stream == *stream).count();
        if self.refusals.len() as u64 >= bounds.refusals
            || of_stream as u64 >= bounds.refusals_of_stream
        {
            self.refusals_dropped += 1;
            return false;
        }
        let refusal = Refusal { refused: refused.clone(), first_seen: now, count: 1 };
        self.refusals.insert(refused.position.clone(), refusal);
        true
    }

    pub(super) fn wait(&mut self, mut retry: Retry, bounds: &Bounds) -> Result<(), StoreError> {
        retry.failure.error = check::error_text(&retry.failure.error);
        self.retries.insert(retry.failure.position.clone(), retry);
        if self.retries.len() as u64 > bounds.retries {
            let what = "messages to be tried again";
            return Err(StoreError::Full { what, bound: bounds.retries });
        }
        if bytes(self.retries.values().map(|retry| &retry.failure)) > bounds.retry_bytes {
            let what = "bytes of messages to be tried again";
            return Err(StoreError::Full { what, bound: bounds.retry_bytes });
        }
        Ok(())
    }

    pub(super) fn dead(&mut self, failure: &Failure, now: Timestamp, bounds: &Bounds) -> u64 {
        let waited = self.retries.remove(&failure.position).map(|retry| retry.first_failed);
        let before =
            self.letters.values().find(|letter| letter.failure.position == failure.position);
        let before = before.map(|letter| (letter.id, letter.first_failed));
        let id = before.map_or(self.letter_ids + 1, |(id, _)| id);
        self.letter_ids = self.letter_ids.max(id);
        let mut failure = failure.clone();
        failure.error = check::error_text(&failure.error);
        let first_failed = before.map(|(_, first)| first).or(waited).unwrap_or(now);
        self.letters.insert(id, DeadLetter { id, failure, first_failed, died: now });
        while self.letters.len() as u64 > bounds.letters
            || bytes(self.letters.values().map(|letter| &letter.failure)) > bounds.letter_bytes
        {
            let Some(oldest) = self.letters.keys().copied().find(|oldest| *oldest != id) else {
                break;
            };
            self.letters.remove(&oldest);
            self.letters_dropped += 1;
        }
        id
    }

    pub(super) fn summary(&self, name: &ConsumerName) -> Summary {
        Summary {
            consumer: name.clone(),
            created: self.created,
            start: self.start,
            lease: self.lease.clone(),
            streams: self.cursors.len() as u64,
            moved: self.cursors.values().map(|cursor| cursor.updated).max(),
            refusals: self.refusals.len() as u64,
            refusals_dropped: self.refusals_dropped,
            retries: self.retries.len() as u64,
            letters: self.letters.len() as u64,
            letters_dropped: self.letters_dropped,
        }
    }
}
