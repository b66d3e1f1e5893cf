//! The store itself: checks what it is given, and runs each call in one transaction.

use super::{Access, Database, cursors, failures, leases, people, refusals};
use crate::consumer::{
    Advance, Bounds, Claimed, ConsumerName, Cursor, CursorStore, DeadLetter, Due, Failure, Fence,
    Lease, LetterFilter, Page, Position, Refusal, RefusalFilter, Refused, Start, StoreError,
    Summary, check,
};
use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::timestamp::Timestamp;

/// A store of consumers in a database: `SqliteStore` or `PostgresStore`.
#[derive(Debug)]
pub struct SqlStore<D: Database> {
    pub(super) database: D,
    bounds: Bounds,
}

impl<D: Database> SqlStore<D> {
    pub(super) fn over(database: D) -> SqlStore<D> {
        SqlStore { database, bounds: Bounds::default() }
    }

    /// The same store with other bounds on what it keeps. They hold for what is written through this one.
    pub fn with_bounds(mut self, bounds: Bounds) -> SqlStore<D> {
        self.bounds = bounds;
        self
    }
}

impl<D: Database> CursorStore for SqlStore<D> {
    fn claim(
        &mut self,
        consumer: &ConsumerName,
        owner: &str,
        start: Start,
        now: Timestamp,
        lease_ms: u64,
    ) -> Result<Claimed, StoreError> {
        check::claim(owner, lease_ms)?;
        let bounds = self.bounds;
        self.database.transaction(Access::Write(consumer), |to| {
            leases::claim(to, consumer, owner, start, now, lease_ms, &bounds)
        })
    }

    fn renew(&mut self, fence: &Fence, now: Timestamp) -> Result<Timestamp, StoreError> {
        self.database
            .transaction(Access::Write(&fence.consumer), |to| leases::renew(to, fence, now))
    }

    fn release(&mut self, fence: &Fence) -> Result<(), StoreError> {
        self.database.transaction(Access::Write(&fence.consumer), |to| leases::release(to, fence))
    }

    fn load(&mut self, consumer: &ConsumerName) -> Result<Vec<Cursor>, StoreError> {
        self.database.transaction(Access::Read, |to| cursors::load(to, consumer))
    }

    fn advance(
        &mut self,
        fence: &Fence,
        to_these: &[Advance],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        check::positions(to_these.iter().map(|advance| &advance.position))?;
        let bounds = self.bounds;
        self.database.transaction(Access::Write(&fence.consumer), |to| {
            cursors::advance(to, fence, to_these, now, &bounds)
        })
    }

    fn forget(
        &mut self,
        fence: &Fence,
        streams: &[StreamName],
        unmoved_since: Timestamp,
    ) -> Result<Vec<StreamName>, StoreError> {
        check::batch(streams.len())?;
        self.database.transaction(Access::Write(&fence.consumer), |to| {
            cursors::forget(to, fence, streams, unmoved_since)
        })
    }

    fn refuse(
        &mut self,
        fence: &Fence,
        refused: &[Refused],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        check::positions(refused.iter().map(|refused| &refused.position))?;
        let bounds = self.bounds;
        self.database.transaction(Access::Write(&fence.consumer), |to| {
            refusals::refuse(to, fence, refused, now, &bounds)
        })
    }

    fn refusals(
        &mut self,
        consumer: &ConsumerName,
        filter: &RefusalFilter,
    ) -> Result<Vec<Refusal>, StoreError> {
        self.database.transaction(Access::Read, |to| refusals::list(to, consumer, filter))
    }

    fn cured(&mut self, fence: &Fence, positions: &[Position]) -> Result<usize, StoreError> {
        check::positions(positions.iter())?;
        self.database
            .transaction(Access::Write(&fence.consumer), |to| refusals::cured(to, fence, positions))
    }

    fn failed(
        &mut self,
        fence: &Fence,
        failure: &Failure,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        check::failure(failure)?;
        let bounds = self.bounds;
        self.database.transaction(Access::Write(&fence.consumer), |to| {
            failures::failed(to, fence, failure, next_at, now, &bounds)
        })
    }

    fn due(&mut self, consumer: &ConsumerName, now: Timestamp) -> Result<Due, StoreError> {
        self.database.transaction(Access::Read, |to| failures::due(to, consumer, now))
    }

    fn succeeded(&mut self, fence: &Fence, positions: &[Position]) -> Result<usize, StoreError> {
        check::positions(positions.iter())?;
        self.database.transaction(Access::Write(&fence.consumer), |to| {
            failures::succeeded(to, fence, positions)
        })
    }

    fn dead(
        &mut self,
        fence: &Fence,
        failure: &Failure,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        check::failure(failure)?;
        let bounds = self.bounds;
        self.database.transaction(Access::Write(&fence.consumer), |to| {
            failures::dead(to, fence, failure, now, &bounds)
        })
    }

    fn dead_letters(
        &mut self,
        consumer: &ConsumerName,
        filter: &LetterFilter,
        page: Page,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.database
            .transaction(Access::Read, |to| failures::dead_letters(to, consumer, filter, page))
    }

    fn retry(
        &mut self,
        consumer: &ConsumerName,
        letters: &[u64],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        check::batch(letters.len())?;
        let bounds = self.bounds;
        self.database.transaction(Access::Write(consumer), |to| {
            failures::retry(to, consumer, letters, now, &bounds)
        })
    }

    fn discard(&mut self, consumer: &ConsumerName, letters: &[u64]) -> Result<usize, StoreError> {
        check::batch(letters.len())?;
        self.database
            .transaction(Access::Write(consumer), |to| failures::discard(to, consumer, letters))
    }

    fn consumers(&mut self) -> Result<Vec<Summary>, StoreError> {
        self.database.transaction(Access::Read, people::consumers)
    }

    fn show(&mut self, consumer: &ConsumerName) -> Result<Summary, StoreError> {
        self.database.transaction(Access::Read, |to| people::show(to, consumer))
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
        let bounds = self.bounds;
        self.database.transaction(Access::Write(consumer), |to| {
            cursors::seek(to, consumer, stream, epoch, i, now, &bounds)
        })
    }

    fn skip(
        &mut self,
        consumer: &ConsumerName,
        stream: &StreamName,
        count: u64,
        now: Timestamp,
    ) -> Result<Cursor, StoreError> {
        let bounds = self.bounds;
        self.database.transaction(Access::Write(consumer), |to| {
            cursors::skip(to, consumer, stream, count, now, &bounds)
        })
    }

    fn delete(&mut self, consumer: &ConsumerName, now: Timestamp) -> Result<(), StoreError> {
        self.database.transaction(Access::Write(consumer), |to| people::delete(to, consumer, now))
    }

    fn evict(&mut self, consumer: &ConsumerName) -> Result<Option<Lease>, StoreError> {
        self.database.transaction(Access::Write(consumer), |to| leases::evict(to, consumer))
    }
}
