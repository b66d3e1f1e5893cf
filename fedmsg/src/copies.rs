//! Which messages wait until holders on other machines have them, and what becomes of those who wait. Pure: time is an
//! argument, and so is the word of a holder, which is believed only after its signature was verified for these very
//! records ([`stored`](crate::stored)).

#[cfg(all(test, feature = "net"))]
mod history;
mod learning;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use crate::delivered::Point;
use crate::envelope::Epoch;
use crate::identity::Identity;
use crate::limits::COPY_PROOF_MS;

/// How many copies are waited for, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// So many different holders.
    pub(crate) needed: usize,
    /// So long, in milliseconds; then those who wait are told what was reached.
    pub(crate) wait_ms: u64,
    /// Most messages that are followed.
    pub(crate) most: usize,
}

/// The messages that lack copies, with those who wait for them.
#[derive(Debug)]
pub(crate) struct Copies<C> {
    waiting: Waiting,
    holders: Vec<Holder>,
    messages: BTreeMap<Point, Lacking<C>>,
    /// When somebody has waited long enough, in order: everybody waits for the same time.
    deadlines: VecDeque<(u64, Point)>,
    due: Vec<Due<C>>,
    callers: usize,
    short: usize,
}

/// One whose word counts.
#[derive(Debug)]
struct Holder {
    identity: Identity,
    /// Why it did not store what it was given last.
    trouble: Option<String>,
    /// When it may be asked again for what it had without a good receipt, in milliseconds.
    proof_at: u64,
    /// How often that was in vain.
    vain: u32,
}

/// A message that lacks copies.
#[derive(Debug)]
struct Lacking<C> {
    callers: Vec<(u64, C)>,
    /// Holders that have it, by their number.
    stored: BTreeSet<usize>,
    /// Holders that never take it, and why.
    refused: BTreeMap<usize, String>,
    /// Somebody was told that copies are missing.
    is_short: bool,
}

/// What somebody who waits is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due<C> {
    pub(crate) point: Point,
    pub(crate) caller: C,
    /// Who has the message.
    pub(crate) holders: Vec<Identity>,
    /// Who does not, and why, where these are too few.
    pub(crate) missing: Option<Vec<(Identity, String)>>,
}

impl<C> Copies<C> {
    /// The word of these holders counts, each once.
    pub(crate) fn new(waiting: Waiting, holders: impl IntoIterator<Item = Identity>) -> Copies<C> {
        let holders: BTreeSet<Identity> = holders.into_iter().collect();
        let holder = |identity| Holder { identity, trouble: None, proof_at: 0, vain: 0 };
        Copies {
            waiting,
            holders: holders.into_iter().map(holder).collect(),
            messages: BTreeMap::new(),
            deadlines: VecDeque::new(),
            due: Vec::new(),
            callers: 0,
            short: 0,
        }
    }

    /// Somebody waits for the copies of a message. `is_again`: holders may have had it before, so they are asked for
    /// their word at once.
    pub(crate) fn wait(&mut self, point: Point, caller: C, is_again: bool, now: u64) {
        let deadline = now.saturating_add(self.waiting.wait_ms);
        let message = self.messages.entry(point).or_insert_with(Lacking::new);
        message.callers.push((deadline, caller));
        self.callers += 1;
        self.deadlines.push_back((deadline, point));
        if is_again {
            self.holders.iter_mut().for_each(|holder| holder.proof_at = now);
        }
        self.judge(point);
        self.make_room();
    }

    /// A holder has these messages, by its own signature.
    pub(crate) fn stored(&mut self, by: &Identity, epoch: Epoch, numbers: &[u64]) -> bool {
        let Some(at) = self.number_of(by) else { return false };
        let holder = &mut self.holders[at];
        (holder.trouble, holder.vain) = (None, 0);
        for i in numbers {
            let point = Point { epoch, i: *i };
            if let Some(message) = self.messages.get_mut(&point) {
                message.stored.insert(at);
                message.refused.remove(&at);
                self.judge(point);
            }
        }
        true
    }

    /// A holder never takes what it lacks of these messages.
    pub(crate) fn refused(&mut self, by: &Identity, points: RangeInclusive<Point>, why: &str) {
        let Some(at) = self.number_of(by).filter(|_| !points.is_empty()) else { return };
        let points: Vec<Point> = self.messages.range(points).map(|(point, _)| *point).collect();
        for point in points {
            let message = self.messages.get_mut(&point);
            if let Some(message) = message.filter(|message| !message.stored.contains(&at)) {
                message.refused.insert(at, why.into());
                self.judge(point);
            }
        }
    }

    /// A holder does not store what it is given, or does not prove it.
    /// `true` when that is news.
    pub(crate) fn failed(&mut self, by: &Identity, why: &str) -> bool {
        let Some(at) = self.number_of(by) else { return false };
        let trouble = &mut self.holders[at].trouble;
        let is_news = trouble.as_deref() != Some(why);
        *trouble = Some(why.into());
        is_news
    }

    /// The first message that a holder has been given, and of which it gave no good receipt: it is asked for its word
    /// again now and then. `upto` is what it was given.
    pub(crate) fn unproven(
        &mut self,
        holder: &Identity,
        upto: Option<Point>,
        now: u64,
    ) -> Option<Point> {
        let at = self.number_of(holder)?;
        let upto = upto.filter(|_| self.holders[at].proof_at <= now)?;
        let mut given = self.messages.range(..=upto);
        let lacks = |message: &Lacking<C>| {
            !message.stored.contains(&at) && !message.refused.contains_key(&at)
        };
        let found = given.find(|(_, message)| lacks(message)).map(|(point, _)| *point);
        let holder = &mut self.holders[at];
        // Until the answer has come nothing is known; a longer silence is a failure of the request itself.
        holder.proof_at = now + (COPY_PROOF_MS << holder.vain.min(5));
        holder.vain += u32::from(found.is_some());
        found
    }

    /// Everything that is known by now: what is due is told in this order.
    pub(crate) fn due(&mut self, now: u64) -> Vec<Due<C>> {
        while let Some((_, point)) = self.deadlines.front().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.pop_front();
            let Some(message) = self.messages.get_mut(&point) else { continue };
            let late = |(deadline, _): &mut (u64, C)| *deadline <= now;
            let late: Vec<_> = message.callers.extract_if(.., late).collect();
            self.tell(point, late, true);
        }
        std::mem::take(&mut self.due)
    }

    /// Nobody is waited for any more: those who wait are told what was reached.
    pub(crate) fn give_up(&mut self) -> Vec<Due<C>> {
        self.due(u64::MAX)
    }

    /// When something is due, in milliseconds.
    pub(crate) fn next_at(&self) -> Option<u64> {
        match self.due.is_empty() {
            true => self.deadlines.front().map(|(deadline, _)| *deadline),
            false => Some(0),
        }
    }

    /// How many wait.
    pub(crate) fn callers(&self) -> usize {
        self.callers
    }

    /// Whether copies are missing, and somebody was told so.
    pub(crate) fn is_short(&self) -> bool {
        self.short > 0
    }

    /// Whether a message is known to lack copies.
    pub(crate) fn lacks(&self, point: Point) -> bool {
        self.messages.contains_key(&point)
    }

    /// How many messages are known to lack copies.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    fn number_of(&self, identity: &Identity) -> Option<usize> {
        self.holders.binary_search_by(|holder| holder.identity.cmp(identity)).ok()
    }

    /// Whether a message has what it needs, or never will.
    fn judge(&mut self, point: Point) {
        let Some(message) = self.messages.get_mut(&point) else { return };
        let refused = message.refused.len();
        let is_copied = message.stored.len() >= self.waiting.needed;
        if !is_copied && self.holders.len() - refused >= self.waiting.needed {
            return;
        }
        let callers = std::mem::take(&mut message.callers);
        self.tell(point, callers, !is_copied);
        if let Some(message) = self.messages.remove(&point) {
            self.short -= usize::from(message.is_short);
        }
    }

    /// These do not wait any longer.
    fn tell(&mut self, point: Point, callers: Vec<(u64, C)>, is_short: bool) {
        let Some(message) = self.messages.get_mut(&point) else { return };
        self.callers -= callers.len();
        if is_short && !callers.is_empty() && !std::mem::replace(&mut message.is_short, true) {
            self.short += 1;
        }
        let named = |at: &usize| self.holders[*at].identity.clone();
        for (_, caller) in callers {
            let holders = message.stored.iter().map(named).collect();
            let missing = is_short.then(|| missing(&self.holders, message));
            self.due.push(Due { point, caller, holders, missing });
        }
    }

    /// What nobody waits for any more is followed as long as there is room, so that it is known when it is copied.
    fn make_room(&mut self) {
        while self.messages.len() > self.waiting.most {
            let idle = |(_, message): &(&Point, &Lacking<C>)| message.callers.is_empty();
            let Some(point) = self.messages.iter().find(idle).map(|(point, _)| *point) else {
                return;
            };
            if let Some(message) = self.messages.remove(&point) {
                self.short -= usize::from(message.is_short);
            }
        }
    }
}

impl<C> Lacking<C> {
    fn new() -> Lacking<C> {
        let (stored, refused) = (BTreeSet::new(), BTreeMap::new());
        Lacking { callers: Vec::new(), stored, refused, is_short: false }
    }
}

fn missing<C>(holders: &[Holder], message: &Lacking<C>) -> Vec<(Identity, String)> {
    let without = holders.iter().enumerate().filter(|(at, _)| !message.stored.contains(at));
    let why = |(at, holder): (usize, &Holder)| {
        let refused = message.refused.get(&at).map(|why| format!("it refuses the message: {why}"));
        let trouble = refused.or_else(|| holder.trouble.clone());
        (holder.identity.clone(), trouble.unwrap_or_else(|| "no answer".into()))
    };
    without.map(why).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> Identity {
        Identity::parse(&format!("relay.n{n}")).expect("an identity")
    }

    fn at(i: u64) -> Point {
        Point { epoch: epoch(), i }
    }

    fn epoch() -> Epoch {
        Epoch::new(uuid::Uuid::from_u128(1))
    }

    fn copies(needed: usize, holders: usize) -> Copies<u64> {
        let waiting = Waiting { needed, wait_ms: 1_000, most: 4 };
        Copies::new(waiting, (0..holders).map(name))
    }

    /// Who is told what: the caller, who has it, and whether that is enough.
    fn told(due: Vec<Due<u64>>) -> Vec<(u64, Vec<Identity>, bool)> {
        due.into_iter().map(|due| (due.caller, due.holders, due.missing.is_none())).collect()
    }

    #[test]
    fn a_receipt_comes_with_the_nth_holder_and_one_holder_counts_once() {
        let mut copies = copies(2, 3);
        copies.wait(at(1), 1, false, 0);
        copies.wait(at(2), 2, false, 0);
        assert!(copies.stored(&name(1), epoch(), &[1, 2]));
        assert!(copies.stored(&name(1), epoch(), &[1, 2]));
        assert_eq!(told(copies.due(999)), [], "one holder, however often it says so, is one copy");
        assert!(!copies.stored(&name(7), epoch(), &[1, 2]), "its word does not count");
        assert_eq!(told(copies.due(999)), []);
        copies.stored(&name(2), epoch(), &[2]);
        assert_eq!(told(copies.due(999)), [(2, vec![name(1), name(2)], true)]);
        assert_eq!((copies.callers(), copies.is_short()), (1, false));
        assert_eq!(copies.next_at(), Some(1_000));
        assert_eq!(told(copies.due(1_000)), [(1, vec![name(1)], false)]);
        assert!(copies.is_short(), "it is known that a copy is missing");
        copies.stored(&name(0), epoch(), &[1]);
        assert_eq!((told(copies.due(9_999)), copies.is_short(), copies.len()), (vec![], false, 0));
    }

    #[test]
    fn who_was_told_too_early_is_told_better_when_he_asks_again() {
        let mut copies = copies(1, 1);
        copies.wait(at(1), 1, false, 0);
        assert!(copies.failed(&name(0), "busy") && !copies.failed(&name(0), "busy"));
        let due = copies.due(1_000).pop().expect("time is over");
        assert_eq!(due.missing, Some(vec![(name(0), "busy".into())]));
        copies.wait(at(1), 2, true, 1_500);
        assert_eq!(copies.unproven(&name(0), None, 1_500), None, "it was not given it yet");
        assert_eq!(copies.unproven(&name(0), Some(at(1)), 1_500), Some(at(1)));
        assert_eq!(copies.unproven(&name(0), Some(at(1)), 1_500), None, "not again at once");
        let later = 1_500 + COPY_PROOF_MS;
        assert_eq!(copies.unproven(&name(0), Some(at(1)), later), Some(at(1)));
        copies.stored(&name(0), epoch(), &[1]);
        assert_eq!(told(copies.due(later)), [(2, vec![name(0)], true)]);
        assert_eq!(copies.unproven(&name(0), Some(at(1)), 99_999), None);
    }

    #[test]
    fn what_too_many_holders_refuse_is_not_waited_for() {
        let mut copies = copies(2, 3);
        copies.wait(at(1), 1, false, 0);
        copies.refused(&name(0), at(1)..=at(1), "policy");
        assert_eq!(told(copies.due(1)), []);
        copies.stored(&name(1), epoch(), &[1]);
        copies.refused(&name(1), at(1)..=at(1), "what it has is not refused");
        copies.refused(&name(2), at(0)..=at(5), "fork");
        let due = copies.due(1).pop().expect("two of three will not have it");
        let why = |n, why: &str| (name(n), format!("it refuses the message: {why}"));
        assert_eq!(due.missing, Some(vec![why(0, "policy"), why(2, "fork")]));
        assert_eq!((due.holders, copies.callers(), copies.len()), (vec![name(1)], 0, 0));
    }

    #[test]
    fn only_so_many_are_followed_and_nobody_who_waits_is_forgotten() {
        let mut copies = copies(1, 1);
        (1..=4).for_each(|i| copies.wait(at(i), i, false, 0));
        assert_eq!(copies.due(1_000).len(), 4);
        (5..=7).for_each(|i| copies.wait(at(i), i, false, 1_000));
        assert_eq!((copies.len(), copies.callers(), copies.lacks(at(1))), (4, 3, false));
        assert!(copies.lacks(at(4)) && copies.is_short());
        let given_up = copies.give_up();
        assert_eq!(given_up.iter().map(|due| due.caller).collect::<Vec<_>>(), [5, 6, 7]);
        assert_eq!(given_up[0].missing, Some(vec![(name(0), "no answer".into())]));
    }
}
