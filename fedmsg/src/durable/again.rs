//! Failed messages whose time has come: they are opened once more, and handed out again.

use std::sync::Arc;

use super::DurableEvent;
use super::keeper::Keeper;
use crate::clock::Clock;
use crate::consumer::{Curable, Refused, Retry, StoreError};
use crate::envelope::Wire;
use crate::event::{Event, Message, Rejected};
use crate::limits::DUE_AGAIN_MS;
use crate::open::{Refused as NotOpened, Verified};
use crate::queue::PushError;
use crate::timestamp::Timestamp;

/// Shortest time between two looks at what may be due, in milliseconds.
const DUE_SOON_MS: u64 = 50;
/// A failed message whose key is not trusted now is looked at again after this time, in milliseconds.
const KEYLESS_MS: i64 = 60_000;

impl Keeper {
    /// Hands out failed messages whose time has come.
    pub(super) fn try_again(&mut self, now: u64) -> Result<(), StoreError> {
        let wall = Clock::wall();
        let due = self.store.due(&self.shared.name, wall)?;
        for retry in due.retries {
            self.retry(retry)?;
        }
        let wait = due.next_at.map(|next_at| next_at.millis_since(wall).max(0).unsigned_abs());
        let wait = wait.unwrap_or(DUE_AGAIN_MS).clamp(DUE_SOON_MS, DUE_AGAIN_MS);
        self.due_at = now + wait;
        Ok(())
    }

    /// Opens a failed message once more, with the keys and rules of today.
    fn retry(&mut self, retry: Retry) -> Result<(), StoreError> {
        let trust = Arc::clone(&self.subscriber.config().trust);
        if !Arc::ptr_eq(self.opener.trust(), &trust) {
            self.opener.set_trust(trust);
        }
        let failure = &retry.failure;
        let topic = failure.topic.as_str().to_owned().into();
        let wire = Wire { topic, envelope: failure.envelope.clone() };
        match self.opener.open(&wire) {
            Ok(verified) => self.hand_out_again(verified, &retry),
            Err(refused) if Curable::of(refused.reason) == Some(Curable::UnknownKey) => {
                // Its stream has passed it, so it stays here until its key comes back.
                let wall = Clock::wall();
                let later = Timestamp::from_millis(wall.as_millis() + KEYLESS_MS);
                self.store.failed(&self.fence, failure, later, wall)?;
            }
            Err(refused) => self.refused_again(*refused, &retry),
        }
        Ok(())
    }

    fn hand_out_again(&self, verified: Verified, retry: &Retry) {
        let endpoint = verified.signer().clone();
        let message = Message { replayed: true, ..Message::new(verified, endpoint, Clock::wall()) };
        let (position, bytes) = (&retry.failure.position, message.wire().len());
        let ticket = self.shared.with(|progress| progress.again(position, bytes)).flatten();
        let Some(ticket) = ticket else { return };
        let attempt = retry.failure.attempts.saturating_add(1);
        let delivery = self.shared.delivery(message, attempt, false, ticket);
        let pushed = self.shared.out.try_push(DurableEvent::Delivery(delivery), bytes);
        if let Err(PushError::Full(event) | PushError::Closed(event)) = pushed {
            self.shared.take_back(event);
        }
    }

    fn refused_again(&self, refused: NotOpened, retry: &Retry) {
        let position = retry.failure.position.clone();
        let curable = Curable::of(refused.reason).zip(refused.key);
        let curable = curable.map(|(reason, key)| {
            let leaf = refused.place.map(|place| place.leaf);
            Refused { position: position.clone(), leaf, reason, key }
        });
        self.shared.with(|progress| progress.void(&position, curable));
        let endpoint = position.stream.identity().clone();
        let rejected = Event::Rejected(Rejected::new(refused, endpoint));
        tracing::warn!(consumer = %self.shared.name, "not tried again: {rejected:?}");
        let _ = self.shared.out.try_push(DurableEvent::Bus(rejected), 0);
    }
}
