//! What a relay does with what others have shown.

use fedmsg::envelope::{Kind, Wire};
use fedmsg::rejection::Rejection;

use super::{Head, Kept, RelayCore, Taken, Unreadable, order};

impl RelayCore {
    /// Takes a record that another relay or a publisher has shown, in the order of its stream, and maybe of the
    /// past: there may be holes before it, and newer epochs are no reason not to keep it.
    pub fn follow(&mut self, wire: &Wire, now: u64, kept: &impl Kept, taken: &mut Taken) {
        let verified = match self.opener.open(wire) {
            Ok(verified) => verified,
            Err(refused) => {
                self.counts.refused += 1;
                return taken.refusals.push((refused.reason, refused.stream));
            }
        };
        let (stream, place) = (verified.stream(), *verified.place());
        let is_carried = self.is_carried(&verified, place.kind);
        if *stream.identity() == self.identity || !(is_carried || self.is_archive) {
            return;
        }
        if place.kind == Kind::Heartbeat {
            let carried = self.carried(stream, now, kept);
            let is_known = |head: Head| (head.epoch, head.last) <= (place.epoch, place.i);
            // One that comes back, from whoever follows this relay or from itself, is not shown again: it would go
            // round for ever.
            let is_news = carried.newest < Some(order(&verified));
            if carried.head.is_some_and(is_known) && is_news {
                taken.publish.extend(is_carried.then(|| wire.clone()));
                self.beat(&verified, now, kept, taken);
            }
            return;
        }
        match self.at(stream, place.epoch, place.i, kept) {
            Ok(Some(stored)) if stored.leaf != place.leaf => {
                self.counts.refused += 1;
                taken.refusals.push((Rejection::Fork, Some(stream.clone())));
            }
            // What was refused before stays refused, and what cannot be read is here already.
            Ok(Some(_)) | Err(Unreadable) => self.counts.duplicates += 1,
            Ok(None) => self.take(&verified, is_carried, now, kept, taken),
        }
    }
}
