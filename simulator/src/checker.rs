//! The judge: it knows everything that was sealed, shown and acknowledged, and sees everything that readers
//! are told.

mod account;
mod relays;

use std::collections::BTreeMap;

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::event::{Event, Fork, LostReason, Message};
use fedmsg::frames::Reply;
use fedmsg::merkle::Leaf;
use fedmsg::open::{Opener, Record};
use fedmsg::rejection::Rejection;

use crate::cast::{Cast, HOSTS, Known, WRITERS};
use crate::counts::Counts;
use account::{Account, Last};
use relays::Ledger;
pub use relays::RelayFate;

/// A position: process, epoch, number.
pub type Position = (usize, Epoch, u64);

/// What can be read on disks, whatever state hosts and processes are in.
pub trait Disks {
    /// What somebody has at a position whom readers are to ask.
    fn readable(&mut self, position: Position) -> Option<Leaf>;
    /// What its publisher has there.
    fn own(&self, position: Position) -> Option<Leaf>;
}

/// What has happened to the journal of a stream that nobody can make good.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    /// It was put back to an earlier state, or to none.
    pub set_back: bool,
    /// Some of it may be unreadable: damage, or retention.
    pub destroyed: bool,
    /// Nobody answers for it.
    pub unheld: bool,
    /// Its own journal answers nobody.
    pub silent: bool,
    /// Relays that had some of it were put back to an earlier state, and are given it again.
    pub comes_again: bool,
}

/// What a run may contain without being wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// Bytes that nobody signed are sent.
    pub forgeries: bool,
    /// Some reader lacks a key for a while.
    pub late_keys: bool,
    /// Some reader lacks a rule for a while.
    pub late_rules: bool,
}

/// All that is known.
pub struct Checker {
    allowed: Allowed,
    pub fates: [Fate; WRITERS],
    ledger: Ledger,
    sealed: BTreeMap<Position, Vec<Leaf>>,
    shown: BTreeMap<Position, Leaf>,
    acknowledged: Vec<(Position, Leaf)>,
    readers: Vec<Account>,
}

type Verdict = Result<(), String>;

impl Checker {
    pub fn new(allowed: Allowed, durable: impl IntoIterator<Item = bool>) -> Checker {
        Checker {
            allowed,
            fates: [Fate::default(); WRITERS],
            ledger: Ledger::new(),
            sealed: BTreeMap::new(),
            shown: BTreeMap::new(),
            acknowledged: Vec::new(),
            readers: durable.into_iter().map(Account::new).collect(),
        }
    }

    pub fn sealed(&mut self, position: Position, wire: &Wire, leaf: Leaf) {
        self.sealed.entry(position).or_default().push(leaf);
        self.ledger.sealed(position, wire, leaf);
    }

    /// Somebody has signed a genesis record or a heartbeat.
    pub fn said(&mut self, wire: &Wire) {
        self.ledger.said(wire);
    }

    /// Something is put to a relay: it has left its process.
    pub fn put(&mut self, wire: &Wire) -> Verdict {
        match self.ledger.place_of(wire) {
            Some(place) => place.map_or(Ok(()), |(position, leaf)| self.shown(position, leaf)),
            // An attempt to begin an epoch that failed may be on the disk all the same, and is handed over from there.
            None if is_true_genesis(wire) => {
                self.ledger.said(wire);
                Ok(())
            }
            None => Err("somebody puts what nobody signed".into()),
        }
    }

    /// A relay begins another life, with what this finds in its log.
    pub fn relay_began(
        &mut self,
        relay: usize,
        has: &mut dyn FnMut(Position) -> Option<Leaf>,
    ) -> Verdict {
        self.ledger.began(relay);
        self.ledger.holds(relay, has)
    }

    /// A relay has shown something to its readers.
    pub fn published(&mut self, relay: usize, wire: &Wire) -> Verdict {
        self.ledger.published(relay, wire)
    }

    /// A relay has answered a producer.
    pub fn put_answered(&mut self, relay: usize, messages: &[Wire], reply: &Reply) -> Verdict {
        self.ledger.answered(relay, messages, reply)
    }

    /// What has happened to the log of a relay.
    pub fn relay_fate(&mut self, relay: usize) -> &mut RelayFate {
        &mut self.ledger.fates[relay]
    }

    /// Whether a relay that is to have these streams has everything of them that was acknowledged, and all that it has
    /// promised.
    pub fn is_stored(
        &self,
        relay: usize,
        streams: &[usize],
        has: &mut dyn FnMut(Position) -> Option<Leaf>,
    ) -> Verdict {
        self.ledger.holds(relay, has)?;
        let RelayFate { set_back, destroyed } = self.ledger.fates[relay];
        if set_back || destroyed {
            return Ok(());
        }
        for (position, leaf) in &self.acknowledged {
            let fate = self.fates[position.0];
            let is_safe = !fate.set_back && !fate.destroyed && !fate.unheld;
            if is_safe && streams.contains(&position.0) && has(*position) != Some(*leaf) {
                return Err(format!("relay {relay} never got {}", name(*position)));
            }
        }
        Ok(())
    }

    /// A record, or its leaf in a heartbeat, has left its process.
    pub fn shown(&mut self, position: Position, leaf: Leaf) -> Verdict {
        let known = *self.shown.entry(position).or_insert(leaf);
        if known == leaf || self.fates[position.0].set_back {
            return Ok(());
        }
        Err(format!("{} was used for two records", name(position)))
    }

    pub fn acknowledged(&mut self, position: Position, leaf: Leaf) -> Verdict {
        self.acknowledged.push((position, leaf));
        self.shown(position, leaf)
    }

    /// A publisher was convinced that it was set back.
    pub fn renews(&self, worker: usize) -> Verdict {
        match self.fates[worker] {
            Fate { set_back: true, .. } | Fate { destroyed: true, .. } => Ok(()),
            _ => Err(format!("{} renews, and was not set back", Cast::get().stream(worker))),
        }
    }

    /// A reader begins another life, with these cursors.
    pub fn started(&mut self, reader: usize, cursors: [Option<(Epoch, u64)>; WRITERS]) {
        self.readers[reader].begin_life(cursors);
    }

    /// A durable consumer is done with a message.
    pub fn handled(&mut self, reader: usize, message: &Message) {
        let Some(worker) = Cast::get().worker_of(message.stream()) else { return };
        let position = (worker, message.epoch(), message.i());
        self.readers[reader].handled(position, message.place().leaf);
    }

    /// A reader was told something.
    pub fn told(
        &mut self,
        reader: usize,
        event: &Event,
        disks: &mut dyn Disks,
        counts: &mut Counts,
    ) -> Verdict {
        let worker = event.stream().and_then(|stream| Cast::get().worker_of(stream));
        counts.told(event);
        let verdict = match (event, worker) {
            (Event::Message(message), Some(worker)) => self.message(reader, worker, message),
            (Event::Late(message), Some(worker)) => {
                let position = (worker, message.epoch(), message.i());
                self.is_sealed(position, message.place().leaf)
            }
            (Event::Unfetched(gone), Some(worker)) => {
                self.unfetched(reader, (worker, gone.epoch, gone.i), disks)
            }
            (Event::Lost(lost), Some(worker)) => {
                let (epoch, span) = (lost.epoch, (lost.from, lost.to));
                let honest = self.is_lost(worker, epoch, span, lost.reason, disks);
                honest.and_then(|()| self.readers[reader].lost(worker, epoch, span))
            }
            (Event::Epoch(change), Some(worker)) => self.readers[reader].epoch(worker, change),
            (Event::Fork(fork), Some(worker)) => self.forked(reader, worker, fork),
            (Event::Stale(message), Some(worker)) => {
                self.readers[reader].stale((worker, message.epoch(), message.i()));
                Ok(())
            }
            (Event::Rejected(rejected), worker) => {
                let position = worker.zip(rejected.position);
                let position = position.map(|(worker, (epoch, i))| (worker, epoch, i));
                position.into_iter().for_each(|at| self.readers[reader].rejected(at));
                self.may_reject(rejected.reason, position)
            }
            _ => Ok(()),
        };
        verdict.map_err(|why| format!("reader {reader}: {why}"))
    }

    fn message(&mut self, reader: usize, worker: usize, message: &Message) -> Verdict {
        let place = message.place();
        let position = (worker, place.epoch, place.i);
        self.is_sealed(position, place.leaf)?;
        self.readers[reader].message(position, place.leaf, place.prev)
    }

    fn unfetched(&mut self, reader: usize, position: Position, disks: &mut dyn Disks) -> Verdict {
        let fate = self.fates[position.0];
        let was_there = fate.set_back || fate.comes_again;
        if !fate.unheld && !was_there && disks.readable(position).is_some() {
            return Err(format!("{} is to be had", name(position)));
        }
        self.readers[reader].unfetched(position);
        Ok(())
    }

    fn forked(&mut self, reader: usize, worker: usize, fork: &Fork) -> Verdict {
        if !self.fates[worker].set_back {
            let at = name((worker, fork.epoch, fork.i));
            return Err(format!("{at} is said to be forked ({})", fork.kind));
        }
        self.readers[reader].forked(worker, fork.epoch);
        Ok(())
    }

    fn is_sealed(&self, position: Position, leaf: Leaf) -> Verdict {
        match self.sealed.get(&position).is_some_and(|leaves| leaves.contains(&leaf)) {
            true => Ok(()),
            false => Err(format!("{} was delivered, and nobody sealed it", name(position))),
        }
    }

    /// Whether these numbers are gone from every disk.
    fn is_lost(
        &self,
        worker: usize,
        epoch: Epoch,
        (from, to): (u64, u64),
        reason: LostReason,
        disks: &mut dyn Disks,
    ) -> Verdict {
        let fate = self.fates[worker];
        if to.saturating_sub(from) > 1_000_000 {
            return Err(format!("{} messages are said to be lost", to - from + 1));
        }
        for i in from..=to {
            let position = (worker, epoch, i);
            let unheld = reason == LostReason::NoHolder && fate.unheld;
            // What was put back to an earlier state may have been gone when it was asked for.
            let was_there = fate.set_back || fate.comes_again;
            if !unheld && !was_there && disks.readable(position).is_some() {
                return Err(format!("{} is said to be lost ({reason})", name(position)));
            }
            // What a crash left on the disk of what was never shown counts from the restart on, and is there.
            let was = match fate.destroyed || fate.unheld || fate.silent {
                true => self.sealed.contains_key(&position),
                false => self.shown.contains_key(&position),
            };
            if !was && !fate.set_back {
                return Err(format!("{} is said to be lost, and never was", name(position)));
            }
        }
        Ok(())
    }

    fn may_reject(&self, reason: Rejection, position: Option<Position>) -> Verdict {
        let allowed = match (reason, position) {
            (Rejection::Policy, Some(_)) => self.allowed.late_rules,
            (_, Some(_)) => false,
            (Rejection::UnknownKey, None) => self.allowed.late_keys || self.allowed.forgeries,
            (_, None) => self.allowed.forgeries,
        };
        let of = position.map_or_else(|| "something".to_owned(), name);
        if allowed { Ok(()) } else { Err(format!("{of} was rejected: {reason}")) }
    }

    /// Whether every reader has everything that was acknowledged, or was told what it does not have.
    pub fn is_complete(&mut self, disks: &mut dyn Disks) -> Verdict {
        for (number, reader) in self.readers.iter_mut().enumerate() {
            let missing = reader.missing(&self.acknowledged, &self.fates, disks);
            if let Some(position) = missing {
                return Err(format!("reader {number} was never told of {}", name(position)));
            }
        }
        Ok(())
    }

    /// How much was acknowledged.
    pub fn acknowledged_count(&self) -> u64 {
        self.acknowledged.len() as u64
    }
}

/// Whether somebody has signed this as the beginning of an epoch.
fn is_true_genesis(wire: &Wire) -> bool {
    let opened = Opener::new(Cast::get().trust(&[Known::ALL; HOSTS])).open(wire);
    opened.is_ok_and(|verified| matches!(verified.record(), Record::Genesis(_)))
}

/// A position in words.
pub fn name((worker, epoch, i): Position) -> String {
    format!("number {i} of epoch {epoch} of {}", Cast::get().stream(worker))
}

impl Last {
    fn name(&self, worker: usize) -> String {
        name((worker, self.epoch, self.i))
    }
}
