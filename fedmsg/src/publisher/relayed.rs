//! Publishing through relays: the same stream is put to every relay, and the first that accepts a message
//! answers for it. What a relay has already is a duplicate there; any number of relays may carry a stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::opening::random_bytes;
use super::writer::{Retry, Writer};
use super::{Answer, PublishError};
use crate::clock::Clock;
use crate::envelope::{Epoch, Wire};
use crate::frames::{Answer as Frames, Ask, Reply, Request, RequestId, Span};
use crate::identity::Identity;
use crate::keys::SecretKey;
use crate::limits::{
    PUT_BYTES_MAX, PUT_MESSAGES_MAX, QUEUE_BYTES, QUEUE_MESSAGES, TREE_LEAVES_MAX,
};
use crate::net::rpc::Lines;
use crate::record::{After, Level, State};
use crate::seal::{Sealed, Sealer};

/// An answer that takes longer is not waited for: the request is sent again.
const ANSWER_MS_MAX: u64 = 2_000;
/// Pauses after failures grow from the first to the last of these, each with full jitter.
const PAUSE_MS: (u64, u64) = (100, 30_000);
/// A publisher that is closed waits so long for relays that do not answer.
const CLOSING_MS_MAX: u64 = 5_000;

pub(super) struct Relayed {
    writer: Writer,
    lines: Lines,
    key: Arc<SecretKey>,
    relays: Vec<Relay>,
    log: VecDeque<Entry>,
    /// The place in the whole log of its first entry that is kept.
    first: u64,
    log_bytes: usize,
    beat: Option<Wire>,
    requests: u64,
}

/// A genesis record or a message, until every relay that answers has it.
struct Entry {
    wire: Wire,
    epoch: Epoch,
    i: u64,
    msg_id: String,
    waiting: Vec<Answer>,
    accepted: Option<Identity>,
    refused: Option<(Identity, String)>,
}

/// How far one relay is.
struct Relay {
    identity: Identity,
    /// The place in the log of the next entry that it needs.
    next: u64,
    asked: Option<Asked>,
    /// Not before this time.
    pause_until: u64,
    failures: u32,
    up: bool,
    beat_sent: bool,
}

struct Asked {
    id: RequestId,
    at: u64,
    first: u64,
    entries: usize,
    messages: usize,
    answered: usize,
}

/// The writer thread of a publisher without an endpoint of its own.
pub(super) fn run(mut relayed: Relayed) {
    let mut closing = None;
    loop {
        let done = relayed.writer.fill();
        relayed.seal();
        relayed.beat();
        let now = relayed.writer.clock.millis();
        if done {
            let since = *closing.get_or_insert_with(|| {
                relayed.beat = Some(relayed.writer.heartbeat(State::Closed).wire);
                relayed.relays.iter_mut().for_each(|relay| relay.beat_sent = false);
                now
            });
            if relayed.is_done() || now.saturating_sub(since) > CLOSING_MS_MAX {
                return relayed.give_up();
            }
        }
        (0..relayed.relays.len()).for_each(|at| relayed.ask(at, now));
        let pause = relayed.pause(now);
        for (at, frames) in relayed.lines.receive(pause) {
            relayed.answered(at, &frames);
        }
        relayed.forget();
    }
}

impl Relayed {
    pub(super) fn new(
        writer: Writer,
        lines: Lines,
        key: Arc<SecretKey>,
        genesis: Sealed,
    ) -> Relayed {
        let relays = lines.relays().cloned().map(Relay::new).collect();
        let mut relayed = Relayed {
            writer,
            lines,
            key,
            relays,
            log: VecDeque::new(),
            first: 0,
            log_bytes: 0,
            beat: None,
            requests: 0,
        };
        relayed.append(genesis, String::new(), None);
        relayed
    }

    /// Seals what is due. Nothing is sealed while too much waits for relays: then the queue fills up, and
    /// callers wait or fail.
    fn seal(&mut self) {
        if self.is_full() {
            self.drop_for_the_slowest();
            if self.is_full() {
                return;
            }
        }
        let (outgoing, retries) = self.writer.seal_due(TREE_LEAVES_MAX);
        self.writer.count_published(outgoing.len());
        for message in outgoing {
            self.append(message.sealed, message.msg_id, Some(message.answer));
        }
        for retry in retries {
            let entry = self.log.iter_mut().find(|entry| entry.msg_id == retry.msg_id);
            match entry.filter(|entry| entry.accepted.is_none()) {
                Some(entry) => entry.waiting.push(retry.answer),
                None => {
                    let Retry { epoch, i, msg_id, answer } = retry;
                    let receipt = self.writer.shared.receipt(epoch, i, msg_id, None);
                    self.writer.shared.answer(answer, Ok(receipt));
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.log.len() >= QUEUE_MESSAGES || self.log_bytes >= QUEUE_BYTES
    }

    fn append(&mut self, sealed: Sealed, msg_id: String, answer: Option<Answer>) {
        self.log_bytes += sealed.wire.len();
        self.log.push_back(Entry {
            wire: sealed.wire,
            epoch: self.writer.sealer.epoch(),
            i: sealed.i,
            msg_id,
            waiting: answer.into_iter().collect(),
            accepted: None,
            refused: None,
        });
    }

    fn beat(&mut self) {
        if let Some(beat) = self.writer.heartbeat_due() {
            self.beat = Some(beat.wire);
            self.relays.iter_mut().for_each(|relay| relay.beat_sent = false);
        }
    }

    /// Sends a relay the next entries that it needs, and the newest heartbeat behind the last of them.
    fn ask(&mut self, at: usize, now: u64) {
        let relay = &mut self.relays[at];
        if let Some(asked) = &relay.asked {
            if now.saturating_sub(asked.at) < ANSWER_MS_MAX {
                return;
            }
            relay.failed(now);
            return;
        }
        let end = self.first + self.log.len() as u64;
        let news = relay.next < end || (!relay.beat_sent && self.beat.is_some());
        if relay.pause_until > now || !news {
            return;
        }
        let mut bytes = 0;
        let from = (relay.next - self.first) as usize;
        let fits = self.log.iter().skip(from).take(PUT_MESSAGES_MAX - 1).take_while(|entry| {
            bytes += entry.wire.len();
            bytes <= PUT_BYTES_MAX || bytes == entry.wire.len()
        });
        let mut messages: Vec<Wire> = fits.map(|entry| entry.wire.clone()).collect();
        let entries = messages.len();
        if relay.next + entries as u64 == end
            && bytes <= PUT_BYTES_MAX / 2
            && let Some(beat) = &self.beat
        {
            messages.push(beat.clone());
            relay.beat_sent = true;
        }
        self.requests += 1;
        let Some(id) = RequestId::new(&self.requests.to_be_bytes()) else {
            return;
        };
        let (first, count) = (relay.next, messages.len());
        let request = Request { id: id.clone(), ask: Ask::Put { messages } };
        if self.lines.send(at, &request.encode()) {
            let asked = Asked { id, at: now, first, entries, messages: count, answered: 0 };
            self.relays[at].asked = Some(asked);
        } else {
            let relay = &mut self.relays[at];
            relay.beat_sent = false;
            // Not connected: looked at again soon, without growing pauses, since nothing was asked.
            (relay.up, relay.pause_until) = (false, now + 20);
        }
        self.count_relays();
    }

    fn answered(&mut self, at: usize, frames: &[Bytes]) {
        let answer = match Frames::parse(frames) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(relay = %self.relays[at].identity, %error, "a malformed answer");
                return;
            }
        };
        let relay = &mut self.relays[at];
        // An answer to a request that was given up on.
        if relay.asked.as_ref().is_none_or(|asked| asked.id != answer.id) {
            return;
        }
        let now = self.writer.clock.millis();
        relay.up = true;
        match answer.reply {
            Reply::Accepted { span } | Reply::Stored { span, .. } => self.accepted(at, span, None),
            Reply::Refused { span, reason, text, .. } => {
                let reason = if text.is_empty() { reason.as_str().into() } else { text };
                self.accepted(at, span, Some(reason));
            }
            Reply::Expect { span, spot } => self.expected(at, span, spot.epoch, spot.i),
            Reply::Err { code, text } => {
                tracing::warn!(relay = %self.relays[at].identity, ?code, text, "the relay does not take messages");
                self.relays[at].failed(now);
            }
            other => {
                tracing::warn!(relay = %self.relays[at].identity, ?other, "not an answer to PUT");
            }
        }
        self.count_relays();
    }

    /// A relay has taken, or refused for good, a part of what it was asked to take.
    fn accepted(&mut self, at: usize, span: Span, refused: Option<String>) {
        let relay = &mut self.relays[at];
        let Some(asked) = &mut relay.asked else { return };
        let (start, count) = (span.at as usize, span.count as usize);
        asked.answered += count;
        let entries = start..(start.saturating_add(count)).min(asked.entries);
        let first = asked.first;
        relay.next = relay.next.max(first + entries.end as u64);
        if asked.answered >= asked.messages {
            (relay.asked, relay.failures) = (None, 0);
        }
        let identity = relay.identity.clone();
        for place in entries {
            let Some(at) = (first + place as u64).checked_sub(self.first) else { continue };
            let Some(entry) = self.log.get_mut(at as usize) else { continue };
            match &refused {
                None => entry.accepted = Some(identity.clone()),
                Some(reason) => entry.refused = Some((identity.clone(), reason.clone())),
            }
            if let Some(relay) = entry.accepted.clone() {
                for answer in std::mem::take(&mut entry.waiting) {
                    let id = entry.msg_id.clone();
                    let receipt =
                        self.writer.shared.receipt(entry.epoch, entry.i, id, Some(relay.clone()));
                    self.writer.shared.answer(answer, Ok(receipt));
                }
            }
        }
    }

    /// A relay lacks something before what it was sent: it goes on there, or in a new epoch if that is gone.
    fn expected(&mut self, at: usize, span: Span, epoch: Epoch, i: u64) {
        let Some(asked) = &mut self.relays[at].asked else { return };
        asked.answered += span.count as usize;
        if asked.answered >= asked.messages {
            self.relays[at].asked = None;
        }
        let known = self.log.iter().position(|entry| entry.epoch == epoch && entry.i == i);
        match known {
            Some(place) => self.relays[at].next = self.first + place as u64,
            None => self.renew(),
        }
        self.relays[at].asked = None;
    }

    /// Opens a new epoch, tied to the end of this one: the only way on for a relay that lacks what nobody
    /// has any more.
    fn renew(&mut self) {
        let sealer = &self.writer.sealer;
        let (epoch, (last, leaf)) = (sealer.epoch(), sealer.last());
        let now = Clock::wall();
        let next = Epoch::next(now, random_bytes(), Some(epoch));
        tracing::warn!(stream = %sealer.stream(), "a relay lacks messages that are gone: a new epoch begins");
        let (sealer, genesis) = Sealer::open_epoch(
            Arc::clone(&self.key),
            sealer.stream().clone(),
            next,
            (After::Epoch { epoch, last }, leaf),
            Level::Memory,
            now,
        );
        // What no relay took is forgotten one by one, below.
        self.writer.go_on_in(sealer, last);
        // What no relay took of the ended epoch can no longer be put: it would follow what is gone.
        for entry in self.log.iter_mut().filter(|entry| entry.accepted.is_none()) {
            for answer in std::mem::take(&mut entry.waiting) {
                self.writer.shared.answer(answer, Err(PublishError::Indeterminate));
            }
            entry.refused = Some((self.writer.shared.identity.clone(), "a new epoch began".into()));
            self.writer.forget_msg_id(&entry.msg_id);
        }
        let place = self.first + self.log.len() as u64;
        self.append(genesis, String::new(), None);
        for relay in self.relays.iter_mut().filter(|relay| relay.asked.is_none()) {
            relay.next = place;
        }
        self.beat = None;
    }

    /// Lets go of entries that every relay has that answers, and tells those who wait for a message that
    /// all of them refused.
    fn forget(&mut self) {
        let needed = self.relays.iter().filter(|relay| relay.up).map(|relay| relay.next).min();
        while let Some(entry) = self.log.front()
            && needed.is_some_and(|needed| self.first < needed)
            && (entry.accepted.is_some() || entry.refused.is_some())
        {
            self.drop_first();
        }
    }

    /// The log is full: relays that do not answer lose their claim to its beginning.
    fn drop_for_the_slowest(&mut self) {
        while self.log.len() >= QUEUE_MESSAGES / 2
            && self.log.front().is_some_and(|entry| entry.waiting.is_empty())
        {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some(entry) = self.log.pop_front() else { return };
        self.log_bytes -= entry.wire.len();
        self.first += 1;
        for relay in &mut self.relays {
            relay.next = relay.next.max(self.first);
        }
        if let (None, Some((relay, reason))) = (entry.accepted, entry.refused) {
            self.writer.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
            self.writer.forget_msg_id(&entry.msg_id);
            for answer in entry.waiting {
                let error = PublishError::Refused { relay: relay.clone(), reason: reason.clone() };
                self.writer.shared.answer(answer, Err(error));
            }
        }
    }

    /// Whether the relays that answer have everything, the last heartbeat too.
    fn is_done(&self) -> bool {
        let end = self.first + self.log.len() as u64;
        let done = |relay: &Relay| relay.next == end && relay.beat_sent && relay.asked.is_none();
        match self.relays.iter().any(|relay| relay.up) {
            true => self.relays.iter().filter(|relay| relay.up).all(done),
            // With nothing but the genesis record there is nothing to wait for.
            false => self.writer.sealer.last().0 == 0,
        }
    }

    fn give_up(mut self) {
        for entry in std::mem::take(&mut self.log) {
            for answer in entry.waiting {
                self.writer.shared.answer(answer, Err(PublishError::Indeterminate));
            }
        }
        self.writer.fail_waiting();
    }

    fn pause(&self, now: u64) -> Duration {
        let due = self.relays.iter().map(|relay| match &relay.asked {
            Some(asked) => (asked.at + ANSWER_MS_MAX).saturating_sub(now).max(1),
            None if self.has_news(relay) => relay.pause_until.saturating_sub(now),
            None => u64::MAX,
        });
        let due = Duration::from_millis(due.min().unwrap_or(u64::MAX).min(1_000));
        // While there is no room, what waits to be sealed is no reason to hurry: only an answer helps.
        match self.is_full() {
            true => due.min(self.writer.heartbeat_pause()),
            false => due.min(self.writer.pause()),
        }
    }

    fn has_news(&self, relay: &Relay) -> bool {
        let end = self.first + self.log.len() as u64;
        relay.next < end || (!relay.beat_sent && self.beat.is_some())
    }

    fn count_relays(&self) {
        let up = self.relays.iter().filter(|relay| relay.up).count() as u64;
        self.writer.shared.counts.relays_up.store(up, Ordering::Relaxed);
    }
}

impl Relay {
    fn new(identity: Identity) -> Relay {
        Relay {
            identity,
            next: 0,
            asked: None,
            pause_until: 0,
            failures: 0,
            up: false,
            beat_sent: false,
        }
    }

    /// No answer, or one that says no: asked again after a pause that grows.
    fn failed(&mut self, now: u64) {
        let (shortest, longest) = PAUSE_MS;
        let most = shortest.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        (self.asked, self.up, self.beat_sent) = (None, false, false);
        self.pause_until = now + fastrand::u64(0..=most);
    }
}
