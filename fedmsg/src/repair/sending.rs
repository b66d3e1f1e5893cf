//! Which request goes out next, and to whom.

use std::collections::VecDeque;
use std::sync::Arc;

use super::flight::{Flight, Purpose};
use super::task::Task;
use super::{Found, Repair};
use crate::endpoint::Endpoint;
use crate::frames::{Ask, Request, RequestId};
use crate::identity::StreamName;
use crate::limits::{
    ASK_MS_MAX, BEHIND_MS_MAX, FLIGHTS_MAX, FLIGHTS_OF_HOLDER_MAX, STALL_MS, STREAMS_MAX,
};
use crate::planted::bug;

impl Repair {
    /// Asks holders for their streams, where that is due.
    pub(super) fn list(&mut self, now: u64) {
        if !self.discovers {
            return;
        }
        while let Some((holder, token)) = self.listings.next(now) {
            if self.moods.allows(&holder, now) {
                self.send(holder, Purpose::List, Ask::List { token }, 0, now);
            } else {
                let at = self.moods.until(&holder).unwrap_or(now).max(now + 1);
                self.listings.again(&holder, token, at);
            }
        }
    }

    pub(super) fn make_ready(&mut self, stream: &StreamName) {
        let Some(tasks) = self.streams.get(stream) else { return };
        let Some(task) = tasks.front() else {
            self.streams.remove(stream);
            return;
        };
        if !task.is_flying && !task.is_ready {
            if let Some(task) = self.streams.get_mut(stream).and_then(VecDeque::front_mut) {
                task.is_ready = true;
            }
            self.ready.push_back(stream.clone());
        }
    }

    /// Whether one more request may be on its way. Those for lists are not counted: holders that are slow to say
    /// which streams they have do not keep others from being asked for what is missing.
    pub(super) fn has_room(&self) -> bool {
        self.flights.len().saturating_sub(self.listings.flying()) < FLIGHTS_MAX
    }

    /// Sends what can be sent.
    pub(super) fn fly(&mut self, now: u64) {
        for _ in 0..self.ready.len() {
            let Some(stream) = self.ready.pop_front() else { return };
            if !self.has_room() {
                self.ready.push_front(stream);
                return;
            }
            self.start(stream, now);
        }
    }

    /// Sends the next request of a stream, or sets a time for it.
    pub(super) fn start(&mut self, stream: StreamName, now: u64) {
        let holders = Arc::clone(&self.holders);
        let holders = holders.of(&stream);
        let portion = self.portion;
        let Some(tasks) = self.streams.get_mut(&stream) else { return };
        // What nobody can answer now does not stand in the way of what somebody can.
        if let Some(front) = tasks.front_mut().filter(|front| !front.is_flying) {
            front.is_ready = false;
            let can_answer = |task: &Task| {
                let is_open = |holder: &Endpoint| !task.has_answer_of(holder);
                task.is_due(now)
                    && holders
                        .iter()
                        .any(|holder| is_open(holder) && self.moods.allows(holder, now))
            };
            let next = tasks.iter().position(can_answer).unwrap_or(0);
            tasks.rotate_left(next);
        }
        let Some(task) = tasks.front_mut() else { return };
        task.is_ready = false;
        if task.is_flying || self.paused.contains(&stream) {
            return;
        }
        if !task.is_due(now) {
            self.timers.insert((task.due(), stream));
            return;
        }
        if holders.is_empty() {
            // Nobody is configured to have it now: that says nothing about whether somebody has it.
            return;
        }
        let one_is_enough =
            bug("one-word-is-enough") && holders.iter().any(|holder| task.has_answer_of(holder));
        if one_is_enough || holders.iter().all(|holder| task.has_answer_of(holder)) {
            if !one_is_enough && self.waits_for_copies(&stream, now) {
                return self.make_ready(&stream);
            }
            let Some(tasks) = self.streams.get_mut(&stream) else { return };
            tasks.pop_front().into_iter().for_each(|task| task.close(&stream, &mut self.found));
            return self.make_ready(&stream);
        }
        let open = |holder: &&Endpoint| !task.has_answer_of(holder);
        // Where a holder has begun to answer, it goes on.
        let now_open = |holder: &&Endpoint| open(holder) && self.moods.allows(holder, now);
        let last = holders.iter().filter(now_open).find(|holder| task.is_with(holder));
        let Some(holder) = last.or_else(|| holders.iter().find(now_open)) else {
            if task.may_close_without_all(now) {
                tasks.pop_front().into_iter().for_each(|task| task.close(&stream, &mut self.found));
                return self.make_ready(&stream);
            }
            let at =
                holders.iter().filter(open).filter_map(|holder| self.moods.until(holder)).min();
            let at = at.unwrap_or(now + ASK_MS_MAX).clamp(now + 1, now + ASK_MS_MAX);
            self.timers.insert((at, stream));
            return;
        };
        if self.flying.get(holder).is_some_and(|flying| *flying >= FLIGHTS_OF_HOLDER_MAX) {
            task.is_ready = true;
            self.parked.entry(holder.clone()).or_default().push_back(stream);
            return;
        }
        let (ask, from) = task.next_ask(&stream, holder, portion);
        task.is_flying = true;
        self.send(holder.clone(), Purpose::Stream(stream), ask, from, now);
    }

    /// Every holder has answered what the first task of a stream needs. Has those asked again which get what they have
    /// from others, and lack what is missing: it may be on its way to them, and "not yet" is no denial. One that
    /// stays behind is waited for once. Says whether it is waited.
    fn waits_for_copies(&mut self, stream: &StreamName, now: u64) -> bool {
        let holders = Arc::clone(&self.holders);
        let Some(task) = self.streams.get_mut(stream).and_then(VecDeque::front_mut) else {
            return false;
        };
        let copies = task.behind().iter().filter(|holder| holders.is_copy(stream, holder));
        let copies: Vec<_> = copies.cloned().collect();
        if copies.is_empty() || bug("behind-is-a-denial") {
            return false;
        }
        if self.behind.len() >= STREAMS_MAX && !self.behind.contains_key(stream) {
            self.behind.clear();
        }
        let (since, waited_for) =
            self.behind.entry(stream.clone()).or_insert_with(|| (now, copies.clone()));
        if now.saturating_sub(*since) >= BEHIND_MS_MAX {
            return false;
        }
        for copy in &copies {
            if !waited_for.contains(copy) {
                waited_for.push(copy.clone());
            }
        }
        task.ask_again(&copies, now);
        if now.saturating_sub(task.since) >= STALL_MS && !task.is_told {
            task.is_told = true;
            let why = "those who have copies do not have what is missing yet".into();
            self.found.push(Found::Stuck { stream: stream.clone(), why });
        }
        true
    }

    pub(super) fn send(
        &mut self,
        holder: Endpoint,
        purpose: Purpose,
        ask: Ask,
        next: u64,
        now: u64,
    ) {
        self.last_id += 1;
        self.counts.requests += 1;
        let id = RequestId::new(&self.last_id.to_be_bytes()).expect("eight bytes are an id");
        let frames = Request { id, ask }.encode();
        let (records, gone, has_holes) = (Vec::new(), Vec::new(), false);
        let holder_of = holder.clone();
        let flight =
            Flight { holder: holder_of, purpose, since: now, next, records, gone, has_holes };
        self.flights.insert(self.last_id, flight);
        *self.flying.entry(holder.clone()).or_default() += 1;
        self.asks.push((holder, frames));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::need::{Need, What};
    use crate::repair::Holders;

    /// Many holders; the last one has all streams.
    struct Many(Vec<Endpoint>);

    impl Holders for Many {
        fn of(&self, _: &StreamName) -> &[Endpoint] {
            &self.0[self.0.len() - 1..]
        }

        fn all(&self) -> Vec<Endpoint> {
            self.0.clone()
        }
    }

    fn verbs(repair: &mut Repair) -> Vec<String> {
        let verb = |frames: &[bytes::Bytes]| String::from_utf8_lossy(&frames[1]).into_owned();
        repair.asks().map(|(_, frames)| verb(&frames)).collect()
    }

    #[test]
    fn holders_that_do_not_list_their_streams_keep_nobody_from_being_asked() {
        let address = |n| Endpoint::parse(&format!("tcp://h:{n}")).expect("an endpoint");
        let count = 3 * FLIGHTS_MAX;
        let holders: Vec<_> = (1..=count).map(address).collect();
        let mut repair = Repair::new(Arc::new(Many(holders.clone())), 7);
        repair.discover(0);
        assert_eq!(verbs(&mut repair), vec!["LIST"; count], "each of them at once");
        let stream = StreamName::parse("app.one/0").expect("a stream");
        repair.need(Need { stream, what: What::Head }, 0);
        assert_eq!(verbs(&mut repair), ["HEAD"]);
        // None of them answers: they are left alone, and one that shows that it lives is asked at once.
        repair.tick(ASK_MS_MAX);
        assert_eq!(verbs(&mut repair), Vec::<String>::new());
        repair.awake(&holders[..1], ASK_MS_MAX);
        assert_eq!(verbs(&mut repair), ["LIST"]);
    }
}
