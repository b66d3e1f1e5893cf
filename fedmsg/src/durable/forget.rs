//! Forgetting the cursors of streams that have ended: pods and hosts with new names make new ones for ever.

use super::keeper::Keeper;
use crate::clock::Clock;
use crate::consumer::StoreError;
use crate::identity::StreamName;
use crate::limits::{FORGET_FULL_MS, FORGET_LOOK_MS};
use crate::progress::Progress;
use crate::timestamp::Timestamp;

impl Keeper {
    /// Forgets cursors that were not moved for a long time, of streams that were not heard since the consumer began
    /// and that nobody in the configuration keeps: there is nobody who could hand their messages out again.
    pub(super) fn forget(&mut self, now: u64) -> Result<(), StoreError> {
        let is_full = self.shared.with(|progress| progress.lacks_room()).unwrap_or(false);
        let after = if is_full { FORGET_FULL_MS } else { u64::MAX }.min(self.forget_after_ms);
        let wall = Clock::wall().as_millis();
        let since = wall.saturating_sub(i64::try_from(after).unwrap_or(i64::MAX));
        let since = Timestamp::from_millis(since);
        let config = self.subscriber.config();
        let is_kept = |stream: &StreamName| {
            let entry = config.endpoints.get(stream.identity());
            entry.is_some_and(|entry| !entry.replay.is_empty())
        };
        let silent = self.shared.with(|progress| progress.silent(since, is_kept));
        let silent = silent.unwrap_or_default();
        if !silent.is_empty() {
            let forgotten = self.store.forget(&self.fence, &silent, since)?;
            self.forgot(&forgotten);
        }
        self.forget_at = now + self.forget_after_ms.clamp(1, FORGET_LOOK_MS);
        Ok(())
    }

    fn forgot(&self, streams: &[StreamName]) {
        let gone = self.shared.with(|progress: &mut Progress| progress.forgotten(streams));
        for at in gone.unwrap_or_default() {
            let (consumer, stream) = (&self.shared.name, &at.stream);
            tracing::info!(
                %consumer, %stream, epoch = %at.epoch, i = at.i,
                "forgot the cursor of a stream that is silent and that nobody keeps; should it come back, it is new"
            );
        }
    }
}
