//! When the newest record of a stream was made: what tells a late heartbeat from a publisher that was set back.

use super::is_fresh;
use crate::event::Message;
use crate::limits::FRESH_MS_MAX;
use crate::timestamp::Timestamp;

/// So far the time of a heartbeat may run ahead of that of a message that was sealed after it, in milliseconds: each
/// of several heartbeats of one millisecond has a time of its own.
const BEATS_AHEAD_MS: i64 = 50;

/// The newest record that said how far the stream is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest {
    /// The time of the newest one whose time is known.
    time: Timestamp,
    /// Where that is not the newest one, because that was had before or refused: when it was there at the latest.
    untimed: Option<u64>,
    /// The time of a heartbeat since then that showed less.
    behind: Option<Timestamp>,
}

impl Newest {
    /// A record of this time; the earliest of all times stands for one that is not known.
    pub(super) fn new(time: Timestamp, now: u64) -> Newest {
        let is_known = time > Timestamp::from_millis(i64::MIN);
        Newest { time, untimed: (!is_known).then_some(now), behind: None }
    }

    /// One came whose time is not known.
    pub(super) fn came(&mut self, at: u64) {
        (self.untimed, self.behind) = (Some(at), None);
    }

    /// It is this one.
    pub(super) fn is(&mut self, message: &Message) {
        (self.time, self.untimed) = (self.time.max(message.timestamp()), None);
        self.behind = None;
    }

    /// Whether it was surely made before this heartbeat. Where its time is not known, it has to be older by more
    /// than clocks may differ.
    pub(super) fn is_before(&self, heartbeat: &Message, now: u64) -> bool {
        let since = |at| is_fresh(heartbeat) && now.saturating_sub(at) >= 2 * FRESH_MS_MAX;
        let later = heartbeat.timestamp().millis_since(self.time) > BEATS_AHEAD_MS;
        later && self.untimed.is_none_or(since)
    }

    /// Whether a heartbeat that shows less shows that the publisher was set back: the second one does, when nothing
    /// newer came between them. A single one may have been overtaken by messages that were fetched meanwhile, and
    /// its time says little when the publisher's clock was set back just then.
    pub(super) fn is_sure(&mut self, heartbeat: &Message) -> bool {
        let before = self.behind.replace(heartbeat.timestamp());
        before.is_some_and(|before| heartbeat.timestamp() > before)
    }
}
