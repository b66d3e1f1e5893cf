//! Forgetting the cursors of streams that have ended: pods and hosts with new names make new ones for ever.

use std::sync::mpsc::{Receiver, TryRecvError};

use super::keeper::Keeper;
use crate::clock::Clock;
use crate::consumer::StoreError;
use crate::identity::StreamName;
use crate::limits::{FORGET_FULL_MS, FORGET_LOOK_MS, STORE_BATCH_MAX};
use crate::progress::Progress;
use crate::timestamp::Timestamp;

/// When cursors are forgotten.
pub(super) struct Forgetting {
    /// When they were not moved for so long.
    after_ms: u64,
    /// When it is looked for such cursors.
    due_at: u64,
    /// The reader was asked of which streams it knows that nobody has them; and since when they were not moved.
    asked: Option<(Receiver<Vec<StreamName>>, Timestamp)>,
}

impl Forgetting {
    pub(super) fn new(after_ms: u64, now: u64) -> Forgetting {
        let mut forgetting = Forgetting { after_ms, due_at: 0, asked: None };
        forgetting.put_off(now);
        forgetting
    }

    fn put_off(&mut self, now: u64) {
        self.due_at = now + self.after_ms.clamp(1, FORGET_LOOK_MS);
    }
}

impl Keeper {
    /// Forgets cursors that were not moved for a long time, of streams that were not heard since the consumer began,
    /// and of which all who could have them say that they do not: nobody could hand their messages out again.
    pub(super) fn forget(&mut self, now: u64) -> Result<(), StoreError> {
        if let Some((answer, since)) = &self.forgetting.asked {
            let (answer, since) = (answer.try_recv(), *since);
            if answer == Err(TryRecvError::Empty) {
                return Ok(());
            }
            self.forgetting.asked = None;
            self.strike_out(answer.unwrap_or_default(), since)?;
        }
        if now < self.forgetting.due_at {
            return Ok(());
        }
        self.forgetting.put_off(now);
        let is_full = self.shared.with(|progress| progress.lacks_room()).unwrap_or(false);
        let after = if is_full { FORGET_FULL_MS } else { u64::MAX }.min(self.forgetting.after_ms);
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let since = Timestamp::from_millis(Clock::wall().as_millis().saturating_sub(after));
        let silent = self.shared.with(|progress| progress.silent(since)).unwrap_or_default();
        if !silent.is_empty() {
            self.forgetting.asked = Some((self.subscriber.kept_by_nobody(silent), since));
        }
        Ok(())
    }

    fn strike_out(
        &mut self,
        mut gone: Vec<StreamName>,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        // Further ones have their turn another time.
        gone.truncate(STORE_BATCH_MAX);
        if gone.is_empty() {
            return Ok(());
        }
        let gone = self.store.forget(&self.fence, &gone, since)?;
        let forgotten = self.shared.with(|progress: &mut Progress| progress.forgotten(&gone));
        for at in forgotten.unwrap_or_default() {
            let (consumer, stream) = (&self.shared.name, &at.stream);
            tracing::info!(
                %consumer, %stream, epoch = %at.epoch, i = at.i,
                "forgot the cursor of a stream that is silent and that nobody has; should it come back, it is new"
            );
        }
        Ok(())
    }
}
