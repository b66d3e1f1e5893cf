//! Asking holders which streams they have: each one anew from time to time, in the order in which that is due, so
//! that nothing is looked at that is not due where there are thousands.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::endpoint::Endpoint;

/// What holders said the last time, and when each is to be asked again.
#[derive(Debug, Default)]
pub(super) struct Listings {
    tokens: BTreeMap<Endpoint, Listing>,
    /// When each is due that is not being asked.
    queue: BTreeSet<(u64, Endpoint)>,
    flying: usize,
}

#[derive(Debug, Default)]
struct Listing {
    token: Bytes,
    /// When it is due; nothing while it is being asked.
    due: Option<u64>,
}

impl Listings {
    /// These are the holders; those that are new are asked at once, and nobody is being asked any more.
    pub(super) fn set_holders(&mut self, holders: Vec<Endpoint>, now: u64) {
        let mut before = std::mem::take(&mut self.tokens);
        self.queue.clear();
        self.flying = 0;
        for holder in holders {
            let mut listing = before.remove(&holder).unwrap_or_default();
            let due = *listing.due.get_or_insert(now);
            self.queue.insert((due, holder.clone()));
            self.tokens.insert(holder, listing);
        }
    }

    /// Takes the next one that is due: it is being asked, with this token, until it is [due again](Self::again).
    pub(super) fn next(&mut self, now: u64) -> Option<(Endpoint, Bytes)> {
        let (_, holder) = self.queue.first().filter(|(due, _)| *due <= now)?.clone();
        self.queue.pop_first();
        let listing = self.tokens.get_mut(&holder)?;
        listing.due = None;
        self.flying += 1;
        Some((holder, listing.token.clone()))
    }

    /// One that was taken is due then, with this token.
    pub(super) fn again(&mut self, holder: &Endpoint, token: Bytes, due: u64) {
        let Some(listing) = self.tokens.get_mut(holder).filter(|listing| listing.due.is_none())
        else {
            return;
        };
        *listing = Listing { token, due: Some(due) };
        self.flying -= 1;
        self.queue.insert((due, holder.clone()));
    }

    /// One that is not being asked is due now.
    pub(super) fn hurry(&mut self, holder: &Endpoint, now: u64) {
        let Some(listing) = self.tokens.get_mut(holder) else { return };
        if let Some(due) = listing.due.as_mut().filter(|due| **due > now) {
            self.queue.remove(&(*due, holder.clone()));
            *due = now;
            self.queue.insert((now, holder.clone()));
        }
    }

    /// How many are being asked.
    pub(super) fn flying(&self) -> usize {
        self.flying
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Option<u64> {
        self.queue.first().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holder_is_asked_when_it_is_due_and_once_at_a_time() {
        let holder = |n: u16| Endpoint::parse(&format!("tcp://h:{n}")).expect("an endpoint");
        let mut listings = Listings::default();
        listings.set_holders(vec![holder(1), holder(2)], 5);
        assert_eq!(listings.next(4), None);
        assert_eq!(listings.next(5), Some((holder(1), Bytes::new())));
        assert_eq!(listings.next(5), Some((holder(2), Bytes::new())));
        assert_eq!((listings.next(u64::MAX), listings.due(), listings.flying()), (None, None, 2));
        listings.again(&holder(2), Bytes::from_static(b"t"), 9);
        listings.again(&holder(2), Bytes::new(), 7);
        assert_eq!((listings.due(), listings.flying()), (Some(9), 1), "it is answered once");
        // Other holders: what was on its way is given up, and a token stays where it was.
        listings.set_holders(vec![holder(2), holder(3)], 8);
        listings.again(&holder(1), Bytes::new(), 8);
        assert_eq!(listings.next(8), Some((holder(3), Bytes::new())));
        assert_eq!(listings.next(8), None);
        listings.hurry(&holder(3), 8);
        assert_eq!(listings.next(8), None, "it is being asked");
        listings.hurry(&holder(2), 8);
        assert_eq!(listings.next(8), Some((holder(2), Bytes::from_static(b"t"))));
        assert_eq!(listings.flying(), 2);
    }
}
