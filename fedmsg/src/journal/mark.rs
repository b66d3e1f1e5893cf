//! How far a journal is durable, for readers in the same process.

use std::sync::{Arc, Mutex, PoisonError};

use crate::envelope::Epoch;

/// The newest epoch of a journal and its last durable number. Cheap to clone; all clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct Mark(Arc<Mutex<Option<(Epoch, u64)>>>);

impl Mark {
    /// The newest epoch and its last durable number; nothing before the first epoch.
    pub fn get(&self) -> Option<(Epoch, u64)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, epoch: Epoch, last: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((epoch, last));
    }
}
