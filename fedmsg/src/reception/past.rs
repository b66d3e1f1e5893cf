//! Reading the past.

use super::Reception;
use crate::config::EndpointEntry;
use crate::event::{CaughtUp, Event};
use crate::history::Order;
use crate::limits::GET_MESSAGES_MAX;

impl Reception {
    /// Sees how far the reading of the past is, and hands out what is in order.
    pub(super) fn follow_history(&mut self, now: u64) {
        self.collect();
        let Some(history) = &mut self.history else { return };
        let services: Vec<_> = self.followed.entries().map(|entry| &entry.replay[..]).collect();
        let services: Vec<_> = services.into_iter().filter(|holders| !holders.is_empty()).collect();
        history.look_whether_listed(&services, now);
        let portion = history.portion();
        self.repair.set_portion(portion);
        if !history.is_listed() {
            return;
        }
        for stream in history.due_streams(now) {
            let position = self.sequencer.position(&stream);
            let moves = position.is_some() || self.sequencer.is_beginning(&stream);
            if !history.reached(&stream, position) {
                if !moves {
                    history.is_stuck(&stream);
                }
            } else if history.order == Order::Time {
                // What it says from here on comes after the past of all others.
                self.repair.pause(&stream);
            }
        }
        while let Some((stream, event)) = history.merge.pop() {
            self.events.push(event);
            let is_short = (history.merge.waiting(&stream) as u64) < portion;
            if is_short && history.is_reading(&stream) {
                self.repair.resume(&stream, now);
            }
        }
        if history.is_over() {
            self.end_history(now);
        }
    }

    fn end_history(&mut self, now: u64) {
        let Some(history) = self.history.take() else { return };
        let silent = |entry: &&EndpointEntry| {
            !entry.replay.is_empty() && !entry.replay.iter().any(|h| history.has_listed(h))
        };
        let unreachable = self.followed.entries().filter(silent).map(|e| e.identity.clone());
        let unreachable = unreachable.collect();
        let caught_up = CaughtUp::new(history.outcome(), unreachable);
        self.events.push(Event::CaughtUp(caught_up));
        self.repair.set_portion(GET_MESSAGES_MAX);
        self.repair.resume_all(now);
    }
}
