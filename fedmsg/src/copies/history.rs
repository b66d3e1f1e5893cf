//! Random histories of a publisher and holders that are honest, slow, down, or lie: nobody is given a receipt without
//! the copies, and whoever asks again is given one in the end. `FEDMSG_COPIES_SEEDS` makes more of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;

use super::*;
use crate::delivered::Delivered;
use crate::delivery::{Backlog, Delivery, has};
use crate::envelope::Wire;
use crate::frames::{Ask, Reply, Request, RequestId, Span, Spot};
use crate::identity::StreamName;
use crate::journal::{JournalError, Range};
use crate::keys::{KeyRing, SecretKey, TrustedKey};
use crate::merkle::Leaf;
use crate::policy::{Action, Policy, Rule, Subject};
use crate::record::{After, Level};
use crate::seal::{Draft, Sealer, check};
use crate::stored;
use crate::timestamp::Timestamp;
use crate::topic::Naming;
use crate::trust::Trust;

const NEEDED: usize = 2;
const WAIT_MS: u64 = 3_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Honest,
    /// Stores nothing, and signs something else than what it was given.
    OtherRecords,
    /// Stores nothing, and gives bytes that are no signature, or none of its key.
    Forger,
    /// Stores everything, with a key that nobody trusts.
    Stranger,
    /// Stores everything, and signs with the key of the first holder.
    Borrower,
    /// Stores everything, and answers when nobody waits any more.
    Slow,
}

struct Far {
    nature: Nature,
    key: SecretKey,
    has: Vec<Leaf>,
    is_down: bool,
    late: Vec<(u64, RequestId, Reply)>,
}

/// The records of one epoch, the genesis record first.
#[derive(Default)]
struct Journal(Vec<(Wire, Leaf)>);

impl Backlog for Journal {
    fn ranges(&mut self) -> Result<Vec<Range>, JournalError> {
        Ok(vec![Range { epoch: epoch(), first: 0, last: self.0.len() as u64 - 1 }])
    }

    fn read(
        &mut self,
        from: Point,
        records: usize,
        _: usize,
    ) -> Result<Vec<(u64, Wire)>, JournalError> {
        let numbered = (0..).zip(&self.0).skip(from.i as usize).take(records);
        Ok(numbered.map(|(i, (wire, _))| (i, wire.clone())).collect())
    }
}

fn epoch() -> Epoch {
    Epoch::new(uuid::Uuid::from_u128(1))
}

fn name(n: usize) -> Identity {
    Identity::parse(&format!("relay.n{n}")).expect("an identity")
}

fn point(i: u64) -> Point {
    Point { epoch: epoch(), i }
}

struct World {
    random: Rng,
    now: u64,
    sealer: Sealer,
    journal: Journal,
    delivery: Delivery,
    copies: Copies<u64>,
    holders: Vec<Far>,
    keys: KeyRing,
    trust: Trust,
    /// Numbers with a receipt, and those whose callers were told that copies are missing.
    receipts: BTreeSet<u64>,
    short: BTreeSet<u64>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Rng::with_seed(seed);
        let publisher = Arc::new(SecretKey::from_seed(&[77; 32]).expect("a key"));
        let stream = StreamName::parse("app.one/0").expect("a stream");
        let (before, level) = ((After::Nothing, Leaf::NONE), Level::Replicated(NEEDED as u8));
        let now = Timestamp::from_millis(0);
        let (sealer, genesis) = Sealer::open_epoch(publisher, stream, epoch(), before, level, now);
        let natures = [
            Nature::Honest,
            Nature::Honest,
            Nature::OtherRecords,
            Nature::Forger,
            Nature::Stranger,
            Nature::Borrower,
            Nature::Slow,
        ];
        let (mut holders, mut keys) = (Vec::new(), KeyRing::default());
        for (n, nature) in natures.into_iter().enumerate() {
            // The first two are honest, the others what chance makes of them.
            let nature = if n < 2 { nature } else { natures[random.usize(2..natures.len())] };
            let key = SecretKey::from_seed(&[n as u8 + 1; 32]).expect("a key");
            if nature != Nature::Stranger {
                keys.add(TrustedKey::new(key.public().clone(), name(n))).expect("new");
            }
            let (has, late) = (Vec::new(), Vec::new());
            holders.push(Far { nature, key, has, is_down: random.bool(), late });
        }
        let names = || (0..natures.len()).map(name);
        let waiting = Waiting { needed: NEEDED, wait_ms: WAIT_MS, most: 50 };
        let mut delivery = Delivery::new(names(), Delivered::default());
        delivery.grown(Some(point(0)));
        World {
            random,
            now: 0,
            sealer,
            journal: Journal(vec![(genesis.wire, genesis.leaf)]),
            delivery,
            copies: Copies::new(waiting, names()),
            holders,
            keys,
            trust: trust(),
            receipts: BTreeSet::new(),
            short: BTreeSet::new(),
        }
    }

    fn publish(&mut self) {
        let identity = Identity::parse("app.one").expect("an identity");
        let draft = Draft::new("app.n").raw_body("{}");
        let draft = check(draft, &identity, &self.trust, || "id".into()).expect("a good draft");
        for sealed in self.sealer.seal(&[draft], Timestamp::from_millis(0)) {
            self.journal.0.push((sealed.wire, sealed.leaf));
            self.delivery.grown(Some(point(sealed.i)));
            self.copies.wait(point(sealed.i), sealed.i, false, self.now);
        }
    }

    fn turn(&mut self) {
        for at in 0..self.holders.len() {
            if !self.delivery.is_asked(at) {
                let upto = self.delivery.delivered().of(&name(at));
                let from = self.copies.unproven(&name(at), upto, self.now);
                from.into_iter().for_each(|from| self.delivery.prove(at, from));
            }
            let chance = self.random.u64(..);
            let asked = self.delivery.ask(at, &mut self.journal, self.now, chance);
            if let Some(request) = asked.expect("readable") {
                self.asked(at, request);
            }
            let late = std::mem::take(&mut self.holders[at].late);
            let (due, later) = late.into_iter().partition(|(when, ..)| *when <= self.now);
            self.holders[at].late = later;
            let due: Vec<(u64, RequestId, Reply)> = due;
            due.into_iter().for_each(|(_, id, reply)| self.answered(at, &id, reply));
        }
        self.judge();
    }

    fn asked(&mut self, at: usize, request: Request) {
        let Request { id, ask: Ask::Put { messages } } = request else { panic!("a PUT") };
        if self.holders[at].is_down {
            return self.delivery.not_sent(at, self.now);
        }
        let leaves: Vec<(u64, Leaf)> = messages.iter().map(|wire| self.place(wire)).collect();
        let reply = self.reply(at, &leaves);
        match (self.holders[at].nature, self.random.u8(..)) {
            (Nature::Slow, _) => self.holders[at].late.push((self.now + 2_500, id, reply)),
            // An answer that is lost.
            (_, 0..16) => {}
            _ => self.answered(at, &id, reply),
        }
    }

    fn place(&self, wire: &Wire) -> (u64, Leaf) {
        let known = (0..).zip(&self.journal.0).find(|(_, (known, _))| known == wire);
        known.map(|(i, (_, leaf))| (i, *leaf)).expect("it is in the journal")
    }

    fn reply(&mut self, at: usize, records: &[(u64, Leaf)]) -> Reply {
        let first_key = SecretKey::from_seed(&[1; 32]).expect("a key");
        let (holder, random) = (&mut self.holders[at], &mut self.random);
        let (first, leaves) = (records[0].0, records.iter().map(|(_, leaf)| *leaf));
        let leaves: Vec<Leaf> = leaves.collect();
        let span = Span { at: 0, count: leaves.len() as u64 };
        let receipt = match holder.nature {
            Nature::OtherRecords => stored::sign(&holder.key, &vec![leaves[0]; leaves.len() + 1]),
            Nature::Forger if random.bool() => Bytes::new(),
            Nature::Forger => {
                let mut receipt = stored::sign(&holder.key, &leaves).to_vec();
                receipt[40] ^= 1;
                receipt.into()
            }
            _ if first > holder.has.len() as u64 => {
                let stream = self.sealer.stream().clone();
                let i = holder.has.len() as u64;
                return Reply::Expect { span, spot: Spot { stream, epoch: epoch(), i } };
            }
            nature => {
                let known = holder.has.len() - first as usize;
                holder.has.extend(leaves.iter().skip(known));
                let key = if nature == Nature::Borrower { &first_key } else { &holder.key };
                stored::sign(key, &leaves)
            }
        };
        Reply::Stored { span, receipt }
    }

    fn answered(&mut self, at: usize, id: &RequestId, reply: Reply) {
        let ranges = self.journal.ranges().expect("readable");
        let known = |point| has(&ranges, point);
        let times = (self.now, self.random.u64(..));
        let outcome = self.delivery.answered(at, id, reply, known, times);
        self.copies.learn(&name(at), &outcome, self.delivery.end(), &self.keys);
    }

    /// Nobody is given a receipt unless so many holders whose word it is have the message.
    fn judge(&mut self) {
        for Due { point, caller, holders, missing } in self.copies.due(self.now) {
            assert_eq!(point.i, caller);
            let different: BTreeSet<&Identity> = holders.iter().collect();
            assert_eq!(different.len(), holders.len(), "each counts once");
            for holder in &holders {
                let leaf = self.journal.0[point.i as usize].1;
                let speaks = |(n, far): (usize, &Far)| {
                    let is_first = *holder == name(0) && far.nature == Nature::Borrower;
                    (*holder == name(n) || is_first) && far.has.contains(&leaf)
                };
                let is_true = self.holders.iter().enumerate().any(speaks);
                assert!(is_true, "{holder} does not have number {}", point.i);
            }
            match missing {
                None => {
                    assert!(holders.len() >= NEEDED, "{holders:?}");
                    self.receipts.insert(caller);
                    self.short.remove(&caller);
                }
                Some(missing) => {
                    assert!(holders.len() < NEEDED && !missing.is_empty());
                    self.short.insert(caller);
                }
            }
        }
    }

    /// Asks again for what was told to be short.
    fn retry(&mut self) {
        let asked = std::mem::take(&mut self.short);
        asked.into_iter().for_each(|i| self.copies.wait(point(i), i, true, self.now));
    }
}

/// Every service may publish what is its own.
fn trust() -> Trust {
    let naming = Naming::default();
    let (own, all) = (["{prefix}.{env}.{service}.>"], Subject::Service(None));
    let rule = Rule::new(Action::Publish, all, &own, &naming, "a history").expect("a rule");
    Trust { naming, keys: KeyRing::default(), policy: Policy::new(vec![rule]) }
}

fn history(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..60 {
        match world.random.u8(0..6) {
            0..3 => (0..world.random.usize(1..9)).for_each(|_| world.publish()),
            3 => {
                let at = world.random.usize(0..world.holders.len());
                world.holders[at].is_down = world.random.bool();
            }
            4 => world.retry(),
            _ => {}
        }
        world.now += world.random.u64(1..800);
        world.turn();
    }
    // All is well from here on: whoever asks again is given a receipt.
    world.holders.iter_mut().for_each(|holder| holder.is_down = false);
    let count = world.sealer.last().0;
    for _ in 0..2_000 {
        world.now += 100;
        world.turn();
        world.retry();
    }
    let all: BTreeSet<u64> = (1..=count).collect();
    assert_eq!(world.receipts, all, "two holders are honest");
    assert_eq!((world.copies.callers(), world.copies.is_short()), (0, false));
}

#[test]
fn no_receipt_without_copies_and_every_receipt_in_the_end() {
    let seeds = std::env::var("FEDMSG_COPIES_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(40) {
        let ran = std::panic::catch_unwind(|| history(seed));
        assert!(ran.is_ok(), "seed {seed}");
    }
}
