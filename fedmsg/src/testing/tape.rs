//! What was published on a bus, as a test sees it: everything, at once, past all faults.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::config::Config;
use crate::event::Message;
use crate::open::{Opener, Record};
use crate::transport::Inlet;

/// Opens what comes; nothing is put into order, since nothing gets lost.
pub(super) struct Tape {
    inlet: Box<dyn Inlet>,
    opener: Opener,
    messages: Vec<Message>,
}

impl Tape {
    pub(super) fn new(inlet: Box<dyn Inlet>, config: &Config) -> Tape {
        Tape { inlet, opener: Opener::new(Arc::clone(&config.trust)), messages: Vec::new() }
    }

    pub(super) fn follow(&mut self, config: &Config) {
        self.read(Duration::ZERO);
        self.opener.set_trust(Arc::clone(&config.trust));
        let entries: Vec<_> = config.endpoints.values().cloned().collect();
        self.inlet.follow(&entries);
    }

    /// Everything so far. What a publisher has a receipt for is there.
    pub(super) fn messages(&mut self) -> &[Message] {
        while self.read(Duration::ZERO) {}
        &self.messages
    }

    /// Waits for a message of which this is true.
    pub(super) fn find(
        &mut self,
        timeout: Duration,
        wanted: impl Fn(&Message) -> bool,
    ) -> Option<Message> {
        let (deadline, mut seen) = (Instant::now() + timeout, 0);
        loop {
            while self.read(Duration::ZERO) {}
            if let Some(found) = self.messages[seen..].iter().find(|message| wanted(message)) {
                return Some(found.clone());
            }
            seen = self.messages.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.read(left);
        }
    }

    /// Reads what is there; says whether there was something.
    fn read(&mut self, timeout: Duration) -> bool {
        let mut arrivals = Vec::new();
        self.inlet.receive(timeout, &mut arrivals);
        self.inlet.changes();
        let something = !arrivals.is_empty();
        for arrival in arrivals {
            let opened = arrival.frames.ok().and_then(|wire| self.opener.open(&wire).ok());
            let message = opened.filter(|opened| matches!(opened.record(), Record::Message));
            let message = message.map(|it| Message::new(it, arrival.endpoint, Clock::wall()));
            self.messages.extend(message);
        }
        something
    }
}
