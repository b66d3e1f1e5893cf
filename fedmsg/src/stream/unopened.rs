//! An epoch that somebody has, and whose genesis record nobody can show.

use super::{Sink, Stream};
use crate::envelope::Epoch;
use crate::need::{Need, What};

impl Stream {
    /// No holder has the record that opens this epoch.
    pub(crate) fn no_genesis(&mut self, epoch: Epoch, now: u64, sink: &mut Sink) {
        match self.pending.get_mut(&epoch) {
            Some(pending) => pending.no_genesis(),
            // Its first record may be damaged wherever it is kept, and the others be there.
            None if self.unopened != Some(epoch) => {
                self.unopened = Some(epoch);
                let what = What::Rest { epoch, from: 1 };
                sink.needs.push(Need { stream: self.name.clone(), what });
            }
            None => self.pass_over(epoch, now),
        }
        self.settle(now, sink);
    }

    /// Somebody said that there was such an epoch, and nobody can show it.
    pub(super) fn pass_over(&mut self, epoch: Epoch, now: u64) {
        if let Some(pending) = self.pending.values_mut().next() {
            pending.no_genesis_of(epoch);
            pending.nothing_before(now);
        }
    }
}
