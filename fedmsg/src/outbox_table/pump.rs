//! The thread of an outbox table: reads what waits, offers it to the publisher, and writes down what became of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Access, Connection, run};
use super::error::OutboxTableError;
use super::journals;
use super::shared::Shared;
use super::statements::{self, Settled, Waiting};
use super::{OutboxTableMetrics, Step};
use crate::clock::Clock;
use crate::limits::{
    OUTBOX_TABLE_COUNT_MS, OUTBOX_TABLE_RECEIPT_MS, STANDBY_MS, STORE_AGAIN_MS_MAX,
};
use crate::publisher::{PublishError, Publisher, Ticket};

/// First wait after something has failed, in milliseconds; each further one is twice as long.
const AGAIN_MS: u64 = 100;

pub(super) struct Pump {
    shared: Arc<Shared>,
    connection: Box<dyn Connection>,
    publisher: Publisher,
    poll: Duration,
    step: Box<dyn Fn(Step) + Send>,
    /// What became of rows, and is not written down yet.
    settled: Settled,
    is_owner: bool,
    /// Nothing was offered since the thread was started.
    is_new: bool,
    again_ms: u64,
    clock: Clock,
    count_at: u64,
}

/// What is to be done after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another one at once.
    More,
    /// Nothing until somebody commits something.
    Idle,
    /// Another process publishes.
    Standby,
}

impl Pump {
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: Box<dyn Connection>,
        publisher: Publisher,
        poll: Duration,
        step: Box<dyn Fn(Step) + Send>,
    ) -> Pump {
        let clock = Clock::start();
        Pump {
            shared,
            connection,
            publisher,
            poll,
            step,
            settled: Settled::default(),
            is_owner: false,
            is_new: true,
            again_ms: AGAIN_MS,
            clock,
            count_at: 0,
        }
    }

    pub(super) fn run(mut self) {
        let _end = OverAtEnd(Arc::clone(&self.shared));
        while !self.shared.lock().closing {
            match self.round() {
                Ok(next) => {
                    self.works();
                    match next {
                        Next::More => {}
                        Next::Idle => self.shared.pause(self.poll, true),
                        Next::Standby => self.shared.pause(Duration::from_millis(STANDBY_MS), true),
                    }
                }
                Err(error) => {
                    let pause = self.fails(&error);
                    self.shared.pause(pause, false);
                }
            }
        }
        if let Err(error) = self.write_settled() {
            tracing::error!(%error,
                "what was published last could not be removed from the outbox table: whoever takes over finds it in the journal");
        }
        self.connection.unlock();
    }

    /// Writes down what became of the last batch, and offers the next one.
    fn round(&mut self) -> Result<Next, OutboxTableError> {
        let asked = self.shared.lock().asked;
        let is_owner = self.connection.try_lock();
        let is_owner = is_owner.inspect_err(|_| self.owns(false))?;
        if !is_owner {
            self.owns(false);
            // It is true whoever publishes now.
            self.write_settled()?;
            self.count()?;
            return Ok(Next::Standby);
        }
        if !self.is_owner {
            self.take_over()?;
            self.owns(true);
        }
        // To look keeps nobody waiting, as a transaction does that may write.
        if self.settled.is_empty() && !self.is_any_waiting()? {
            self.count()?;
            self.shared.answer(asked);
            return Ok(Next::Idle);
        }
        let rows = self.turn()?;
        if !rows.is_empty() {
            (self.step)(Step::Offered);
            self.publish(rows)?;
            (self.step)(Step::Published);
        }
        self.count()?;
        Ok(Next::More)
    }

    fn is_any_waiting(&mut self) -> Result<bool, OutboxTableError> {
        run(&mut *self.connection, Access::Read, |to, _| statements::is_any_waiting(to))
    }

    /// One transaction between two batches: its sync is all that a batch costs.
    fn turn(&mut self) -> Result<Vec<Waiting>, OutboxTableError> {
        let (now, stream) = (Clock::wall(), self.publisher.stream());
        let settled = &self.settled;
        let (rows, aside) = run(&mut *self.connection, Access::Write, |to, dialect| {
            statements::settle(to, dialect, settled, now)?;
            let (rows, aside) = statements::next(to, dialect)?;
            statements::offer(to, dialect, &rows, (stream.as_str(), now))?;
            Ok((rows, aside))
        })?;
        self.is_settled();
        self.refuse(aside);
        Ok(rows)
    }

    fn write_settled(&mut self) -> Result<(), OutboxTableError> {
        if self.settled.is_empty() {
            return Ok(());
        }
        let (settled, now) = (&self.settled, Clock::wall());
        run(&mut *self.connection, Access::Write, |to, dialect| {
            statements::settle(to, dialect, settled, now)
        })?;
        self.is_settled();
        Ok(())
    }

    fn is_settled(&mut self) {
        if !self.settled.is_empty() {
            self.settled = Settled::default();
            (self.step)(Step::Settled);
        }
    }

    /// Gives rows to the publisher, all at once, so that one sync of its journal is enough, and waits for what
    /// becomes of each.
    fn publish(&mut self, rows: Vec<Waiting>) -> Result<(), OutboxTableError> {
        self.is_new = false;
        let mut tickets: Vec<(i64, String, Ticket)> = Vec::with_capacity(rows.len());
        let mut stopped = None;
        for Waiting { id, message } in rows {
            let message = match message {
                Ok(message) => message,
                Err(why) => {
                    self.refuse([(id, why)]);
                    continue;
                }
            };
            let msg_id = message.msg_id.clone();
            match self.publisher.enqueue(message.draft()) {
                Ok(ticket) => tickets.push((id, msg_id, ticket)),
                Err(error) if is_final(&error) => self.refuse([(id, error.to_string())]),
                Err(error) => {
                    // Those behind it must not overtake it.
                    stopped = Some(error);
                    break;
                }
            }
        }
        let deadline = Instant::now() + Duration::from_millis(OUTBOX_TABLE_RECEIPT_MS);
        for (id, msg_id, ticket) in tickets {
            match ticket.wait_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {
                    self.settled.done.push((id, msg_id));
                    self.shared.lock().metrics.published += 1;
                }
                Err(error) if is_final(&error) => self.refuse([(id, error.to_string())]),
                Err(error) => stopped = stopped.or(Some(error)),
            }
        }
        stopped.map_or(Ok(()), |error| Err(error.into()))
    }

    fn refuse(&mut self, rows: impl IntoIterator<Item = (i64, String)>) {
        for (id, why) in rows {
            tracing::error!(
                row = id,
                why,
                "a row of the outbox table cannot be published, and is set aside"
            );
            self.settled.aside.push((id, why));
            self.shared.lock().metrics.refused += 1;
        }
    }

    /// Finds out what became of rows that were offered to somebody who did not say so.
    fn take_over(&mut self) -> Result<(), OutboxTableError> {
        loop {
            let offered = run(&mut *self.connection, Access::Read, statements::offered)?;
            if offered.is_empty() {
                return Ok(());
            }
            let verdicts = journals::look(&self.publisher, offered, self.is_new);
            let again = [&verdicts.open[..], &verdicts.unknown[..]].concat();
            let settled = Settled { done: verdicts.published, aside: Vec::new() };
            let now = Clock::wall();
            run(&mut *self.connection, Access::Write, |to, dialect| {
                statements::settle(to, dialect, &settled, now)?;
                statements::take_back(to, dialect, &again)
            })?;
            let mut state = self.shared.lock();
            state.metrics.found += settled.done.len() as u64;
            state.metrics.doubtful += verdicts.unknown.len() as u64;
        }
    }

    fn owns(&mut self, is_owner: bool) {
        self.is_owner = is_owner;
        self.shared.lock().metrics.is_owner = is_owner;
    }

    /// Counts what is in the table, if it is time.
    fn count(&mut self) -> Result<(), OutboxTableError> {
        let now = self.clock.millis();
        if now < self.count_at {
            return Ok(());
        }
        self.count_at = now + OUTBOX_TABLE_COUNT_MS;
        let counts = run(&mut *self.connection, Access::Read, |to, _| statements::counts(to))?;
        let mut state = self.shared.lock();
        let metrics = &mut state.metrics;
        (metrics.waiting, metrics.oldest, metrics.set_aside) =
            (counts.waiting, counts.oldest, counts.aside);
        Ok(())
    }

    fn works(&mut self) {
        if self.shared.lock().metrics.failing.take().is_some() {
            tracing::info!("the outbox table works again");
        }
        self.again_ms = AGAIN_MS;
    }

    /// Says what is wrong, once, and how long to wait before it is tried again.
    fn fails(&mut self, error: &OutboxTableError) -> Duration {
        let mut state = self.shared.lock();
        let OutboxTableMetrics { failures, failing, .. } = &mut state.metrics;
        *failures += 1;
        if failing.replace(error.to_string()).is_none() {
            tracing::error!(%error, "the outbox table stands still, and is tried again");
        }
        let pause = Duration::from_millis(self.again_ms);
        self.again_ms = (2 * self.again_ms).min(STORE_AGAIN_MS_MAX);
        pause
    }
}

/// Whether a message can never be published as it is.
fn is_final(error: &PublishError) -> bool {
    matches!(error, PublishError::Seal(_) | PublishError::Refused { .. })
}

/// Whatever becomes of the thread, nobody waits for it for ever.
struct OverAtEnd(Arc<Shared>);

impl Drop for OverAtEnd {
    fn drop(&mut self) {
        self.0.over();
    }
}
