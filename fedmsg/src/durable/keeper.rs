//! The thread that owns the store: it claims the consumer, writes down what was answered, renews the lease, and
//! hands out what is to be tried again.

use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::build::Plan;
use super::claim::{Claim, claim};
use super::forget::Forgetting;
use super::intake::Intake;
use super::shared::Shared;
use super::{DurableError, DurableEvent, Trouble};
use crate::clock::Clock;
use crate::consumer::{CursorStore, Fence, RefusalFilter, Refused, StoreError};
use crate::frames::Word;
use crate::identity::StreamName;
use crate::limits::STORE_AGAIN_MS_MAX;
use crate::open::Opener;
use crate::progress::{Moves, Progress, Write};
use crate::subscriber::{Guide, SubscribeError, Subscriber};

/// Longest time between two looks at what is due, in milliseconds; an answer wakes the thread at once.
const LOOK_MS: u64 = 1_000;
/// First wait after the store has failed, in milliseconds; each further one is twice as long.
const STORE_AGAIN_MS: u64 = 100;
/// While the store has no room for failed messages it is tried this often, in milliseconds.
const FULL_MS: u64 = 200;
/// Claims the consumer and runs it to its end; says when it runs, or waits, or why it does not.
pub(super) fn run(shared: &Arc<Shared>, mut plan: Plan, ready: &Sender<Result<(), DurableError>>) {
    let _end = CloseAtEnd(shared);
    // Who asked may have given up waiting.
    let tell = |outcome| {
        let _ = ready.send(outcome);
    };
    let mut store = match plan.store.take().map_or_else(|| plan.config.open_store(), Ok) {
        Ok(store) => store,
        Err(error) => return tell(Err(error.into())),
    };
    let mut waited = false;
    let claimed = claim(shared, &plan, &mut *store, || {
        waited = true;
        tell(Ok(()));
    });
    let started = claimed.map_err(DurableError::Store).and_then(|claimed| match claimed {
        Some(claim) => Keeper::start(shared, plan, store, claim).map(Some),
        None => Ok(None),
    });
    match started {
        Ok(None) => {}
        Ok(Some(mut keeper)) => {
            if !waited {
                tell(Ok(()));
            }
            keeper.run();
            keeper.finish();
        }
        Err(error) if waited => {
            tracing::error!(consumer = %shared.name, %error, "a standby cannot take over");
            shared.end(error);
        }
        Err(error) => tell(Err(error)),
    }
}

/// Whatever becomes of the thread, nobody waits for it for ever.
struct CloseAtEnd<'a>(&'a Shared);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop(false);
    }
}

/// Begins to read where the cursors are.
fn read(
    shared: &Arc<Shared>,
    plan: Plan,
    store: &mut dyn CursorStore,
    Claim { claimed, until }: Claim,
) -> Result<(Arc<Subscriber>, JoinHandle<()>), DurableError> {
    let cursors = store.load(&shared.name)?;
    let progress = Progress::new(claimed.created, claimed.start, &cursors);
    let mut state = shared.lock();
    state.progress = Some(progress.with(plan.room, plan.retrying));
    state.lease_until = until;
    drop(state);
    let guided = Arc::clone(shared);
    let begin = move |stream: &StreamName| {
        guided.with(|progress| progress.begin(stream)).unwrap_or_default()
    };
    let subscriber = Arc::new(plan.reader.guide(Guide(Arc::new(begin))).build()?);
    shared.lock().subscriber = Some(Arc::clone(&subscriber));
    // The first event, before anything that is read.
    let _ = shared.out.try_push(DurableEvent::Claimed(claimed.created), 0);
    let intake = Intake {
        shared: Arc::clone(shared),
        subscriber: Arc::clone(&subscriber),
        patterns: plan.patterns,
    };
    let thread = std::thread::Builder::new().name("fedmsg-durable".into());
    let intake = thread.spawn(move || intake.run()).map_err(SubscribeError::Thread)?;
    Ok((subscriber, intake))
}

pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Box<dyn CursorStore>,
    pub(super) fence: Fence,
    lease_ms: u64,
    /// The name as publishers are told it.
    word: Option<Word>,
    pub(super) subscriber: Arc<Subscriber>,
    intake: Option<JoinHandle<()>>,
    pub(super) opener: Opener,
    renew_at: u64,
    pub(super) due_at: u64,
    pub(super) forgetting: Forgetting,
    /// When the store is tried again after it has failed, or had no room.
    again_at: u64,
    pause_ms: u64,
    /// What was said and still holds.
    said: bool,
    said_full: bool,
    said_dropped: bool,
    ended: bool,
}

impl Keeper {
    fn start(
        shared: &Arc<Shared>,
        plan: Plan,
        mut store: Box<dyn CursorStore>,
        claim: Claim,
    ) -> Result<Keeper, DurableError> {
        let (lease_ms, fence) = (plan.lease_ms, claim.claimed.fence.clone());
        let forget_after_ms = plan.forget_after_ms;
        let (subscriber, intake) = match read(shared, plan, &mut *store, claim) {
            Ok(reading) => reading,
            Err(error) => {
                // Nobody else has to wait for what did not begin.
                let _ = store.release(&fence);
                return Err(error);
            }
        };
        let opener = Opener::new(Arc::clone(&subscriber.config().trust));
        Ok(Keeper {
            shared: Arc::clone(shared),
            store,
            fence,
            lease_ms,
            word: Word::parse(shared.name.as_str()),
            subscriber,
            intake: Some(intake),
            opener,
            renew_at: 0,
            due_at: 0,
            forgetting: Forgetting::new(forget_after_ms, shared.clock.millis()),
            again_at: 0,
            pause_ms: STORE_AGAIN_MS,
            said: false,
            said_full: false,
            said_dropped: false,
            ended: false,
        })
    }

    fn run(&mut self) {
        while !self.shared.lock().closing && !self.ended {
            let now = self.shared.clock.millis();
            if now >= self.again_at {
                match self.step(now) {
                    Ok(()) => self.works(),
                    Err(error) => self.fails(error, now),
                }
            }
            self.wait();
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) {
        let now = self.shared.clock.millis();
        let next = self.renew_at.min(self.due_at).max(self.again_at).min(now + LOOK_MS);
        let idle = |state: &mut super::shared::State| {
            let writes = state.progress.as_ref().is_some_and(|progress| progress.has_writes(now));
            let soon = (writes || state.trust_changed) && now >= self.again_at;
            !state.closing && !soon
        };
        let wait = Duration::from_millis(next.saturating_sub(now).max(1));
        let state = self.shared.lock();
        let waited = self.shared.work.wait_timeout_while(state, wait, idle);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Does what is due.
    fn step(&mut self, now: u64) -> Result<(), StoreError> {
        if now >= self.renew_at {
            self.store.renew(&self.fence, Clock::wall())?;
            self.renew_at = now + self.lease_ms / 3;
            self.shared.lock().lease_until = now + self.lease_ms;
            self.shared.wake();
        }
        self.write(now)?;
        if now >= self.due_at {
            self.try_again(now)?;
        }
        self.forget(now)?;
        if std::mem::take(&mut self.shared.lock().trust_changed) {
            self.reread_refusals().inspect_err(|_| self.shared.lock().trust_changed = true)?;
        }
        let fetches = self.shared.with(|progress| progress.fetches(now)).unwrap_or_default();
        if !fetches.is_empty() {
            self.subscriber.fetch(fetches);
        }
        let tells = self.shared.with(|progress| progress.tells(now)).unwrap_or_default();
        if let Some(consumer) = self.word.as_ref().filter(|_| !tells.is_empty()) {
            self.subscriber.tell(tells, consumer);
        }
        Ok(())
    }

    /// Writes down what was answered so far.
    fn write(&mut self, now: u64) -> Result<(), StoreError> {
        let begun = self.shared.with(|progress| progress.has_writes(now).then(|| progress.round()));
        let Some(mut round) = begun.flatten() else { return Ok(()) };
        let mut full = None;
        let next = |keeper: &Keeper, round: &mut _| {
            keeper.shared.with(|progress| progress.next_write(round, now)).flatten()
        };
        while let Some(write) = next(self, &mut round) {
            match self.make(write) {
                Ok(no_room) => full = no_room.or(full),
                Err(error) => {
                    self.shared.with(|progress| progress.round_failed(round));
                    return Err(error);
                }
            }
        }
        self.shared.with(|progress| progress.round_done(&round));
        self.shared.wake();
        if full.is_some() {
            self.again_at = now + FULL_MS;
        }
        match full {
            Some(error) if !self.said_full => {
                let consumer = self.shared.name.clone();
                self.say(Trouble::Full { consumer, error });
                self.said_full = true;
            }
            full => self.said_full = full.is_some(),
        }
        Ok(())
    }

    /// Makes one call to the store; gives back that it has no room for a failed message.
    fn make(&mut self, write: Write) -> Result<Option<StoreError>, StoreError> {
        let write = match write {
            Write::Advance(moves) => return self.advance(moves).map(|()| None),
            write => write,
        };
        let made = write.make(&mut *self.store, &self.fence, Clock::wall());
        let is_fail = matches!(write, Write::Fail { .. });
        match made {
            Ok(dropped) => {
                if let Write::Fail { next_at: Some(next_at), .. } = &write {
                    let wait = next_at.millis_since(Clock::wall()).max(0).unsigned_abs();
                    self.due_at = self.due_at.min(self.shared.clock.millis() + wait);
                }
                let is_refuse = matches!(write, Write::Refuse(_));
                self.shared.with(|progress| {
                    progress.done(write);
                    progress.no_room_for_refusals(dropped);
                });
                if is_refuse {
                    self.dropped(dropped);
                }
                Ok(None)
            }
            Err(error @ StoreError::Full { .. }) if is_fail => {
                self.shared.with(|progress| {
                    progress.undone(write);
                    progress.store_is_full();
                });
                Ok(Some(error))
            }
            Err(error) => {
                self.shared.with(|progress| progress.undone(write));
                Err(error)
            }
        }
    }

    /// Moves cursors. Where there is no room for those of new streams, the others are moved all the same.
    fn advance(&mut self, moves: Moves) -> Result<(), StoreError> {
        let mut left = vec![moves];
        while let Some(moves) = left.pop() {
            match self.store.advance(&self.fence, &moves.cursors, Clock::wall()) {
                Ok(_) => {
                    self.shared.with(|progress| progress.done(Write::Advance(moves)));
                }
                Err(error @ StoreError::Full { .. }) => match moves.halves() {
                    Ok(halves) => left.extend(halves),
                    Err(one) => self.no_cursor(&one, error),
                },
                Err(error) => {
                    left.push(moves);
                    self.shared.with(|progress| {
                        left.into_iter().for_each(|moves| progress.undone(Write::Advance(moves)));
                    });
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn no_cursor(&mut self, moves: &Moves, error: StoreError) {
        self.shared.with(|progress| progress.no_room_for_cursor(moves));
        for cursor in &moves.cursors {
            let (stream, error) = (cursor.position.stream.clone(), error.clone());
            self.say(Trouble::NoCursor { stream, error });
        }
    }

    fn dropped(&mut self, count: usize) {
        if count > 0 && !self.said_dropped {
            let consumer = self.shared.name.clone();
            self.say(Trouble::RefusalsDropped { consumer, count });
        }
        self.said_dropped = count > 0;
    }

    /// Looks which refused messages may be accepted by now.
    fn reread_refusals(&mut self) -> Result<(), StoreError> {
        let refusals = self.store.refusals(&self.shared.name, &RefusalFilter::default())?;
        let trust = Arc::clone(&self.subscriber.config().trust);
        let knows = |refused: &Refused| trust.keys.get(&refused.key).is_some();
        self.shared.with(|progress| progress.curable(refusals, knows));
        Ok(())
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.said) {
            tracing::info!(consumer = %self.shared.name, "the store works again");
        }
        self.pause_ms = STORE_AGAIN_MS;
    }

    fn fails(&mut self, error: StoreError, now: u64) {
        if matches!(error, StoreError::Fenced { .. } | StoreError::NoConsumer(_)) {
            tracing::error!(consumer = %self.shared.name, %error, "the consumer ends here");
            self.ended = true;
            self.shared.end(error.into());
            return;
        }
        self.shared.lock().store_failures += 1;
        self.again_at = now + self.pause_ms;
        self.pause_ms = (2 * self.pause_ms).min(STORE_AGAIN_MS_MAX);
        if !std::mem::replace(&mut self.said, true) {
            let consumer = self.shared.name.clone();
            self.say(Trouble::Store { consumer, error });
        }
    }

    /// Says it to the log, and to the consumer if it has room for it.
    fn say(&self, trouble: Trouble) {
        tracing::error!("{trouble}");
        let _ = self.shared.out.try_push(DurableEvent::Trouble(trouble), 0);
    }

    /// Stops reading, writes down what is left, and gives the consumer back.
    fn finish(mut self) {
        self.shared.stop(true);
        self.subscriber.closer().close();
        if self.intake.take().is_some_and(|intake| intake.join().is_err()) {
            tracing::error!(consumer = %self.shared.name, "the thread of a durable consumer panicked");
        }
        self.shared.lock().subscriber = None;
        if self.ended {
            return;
        }
        self.shared.with(Progress::settle_idle);
        let now = self.shared.clock.millis();
        let written = self.write(now).and_then(|()| self.store.release(&self.fence));
        if let Err(error) = written {
            tracing::error!(consumer = %self.shared.name, %error, "the last answers are not written down");
        }
    }
}
