//! What a publisher that was set back is shown: the newest record of its stream that is known here.

use crate::envelope::Wire;
use crate::limits::{NEED_MS, PROOF_BYTES_MAX};

/// The newest short record of an epoch, as it was signed, and when it was shown to its publisher.
#[derive(Debug, Default)]
pub(super) struct Proof {
    record: Option<Wire>,
    shown: Option<u64>,
}

impl Proof {
    /// This one is newer. Long ones are not kept.
    pub(super) fn by(&mut self, wire: &Wire) {
        if wire.len() <= PROOF_BYTES_MAX {
            self.record = Some(wire.clone());
        }
    }

    /// The record, if it is time to show it: not twice within [`NEED_MS`].
    pub(super) fn due(&mut self, now: u64) -> Option<Wire> {
        let record = self.record.as_ref()?;
        let due = self.shown.is_none_or(|at| now >= at.saturating_add(NEED_MS));
        due.then(|| {
            self.shown = Some(now);
            record.clone()
        })
    }
}
