//! How a durable consumer comes to be run by this process alone.

use std::sync::PoisonError;
use std::time::Duration;

use super::build::Plan;
use super::shared::Shared;
use super::{DurableEvent, owner};
use crate::clock::Clock;
use crate::consumer::{Claimed, CursorStore, StoreError};
use crate::limits::STANDBY_MS;

/// A consumer that is run here.
pub(super) struct Claim {
    pub(super) claimed: Claimed,
    /// The end of the lease, by the clock that never goes back.
    pub(super) until: u64,
}

/// Takes the consumer, or waits until it is free if the plan says so: `waits` is called when that begins. Nothing
/// when the end came first.
pub(super) fn claim(
    shared: &Shared,
    plan: &Plan,
    store: &mut dyn CursorStore,
    mut waits: impl FnMut(),
) -> Result<Option<Claim>, StoreError> {
    let owner = owner::name();
    let mut said = false;
    loop {
        match take(shared, plan, store, &owner) {
            Ok(claim) => return Ok(Some(claim)),
            Err(error) if !plan.standby => return Err(error),
            Err(StoreError::Held { .. }) if said => {}
            Err(error @ StoreError::Held { .. }) => {
                tracing::info!(consumer = %shared.name, %error, "waiting as a standby");
                said = true;
                waits();
                let _ = shared.out.try_push(DurableEvent::Standby(error), 0);
            }
            // Who waits takes over from somebody else: a store that fails meanwhile is waited for, too.
            Err(error) if said => {
                tracing::warn!(consumer = %shared.name, %error, "a standby cannot ask the store");
            }
            Err(error) => return Err(error),
        }
        if !pause(shared) {
            return Ok(None);
        }
    }
}

/// Takes it once; also from a process that is known to be gone, whose lease has not ended.
fn take(
    shared: &Shared,
    plan: &Plan,
    store: &mut dyn CursorStore,
    owner: &str,
) -> Result<Claim, StoreError> {
    let began = shared.clock.millis();
    let once = |store: &mut dyn CursorStore| {
        let now = Clock::wall();
        let claimed = store.claim(&shared.name, owner, plan.start, now, plan.lease_ms)?;
        Ok(Claim { claimed, until: began + plan.lease_ms })
    };
    match once(store) {
        Err(StoreError::Held { owner: other, .. }) if owner::is_gone(&other) => {
            tracing::info!(consumer = %shared.name, %other, "who ran the consumer is gone");
            store.evict(&shared.name)?;
            once(store)
        }
        taken => taken,
    }
}

/// Waits a while; `false` at the end.
fn pause(shared: &Shared) -> bool {
    let state = shared.lock();
    let wait = Duration::from_millis(STANDBY_MS);
    let waited = shared.work.wait_timeout_while(state, wait, |state| !state.stopped);
    !waited.unwrap_or_else(PoisonError::into_inner).0.stopped
}
