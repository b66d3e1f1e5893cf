//! What a tail saw, in numbers.

use fedmsg::event::Event;

/// What a tail saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages, whatever came of them.
    pub received: u64,
    /// Of these, verified ones.
    pub verified: u64,
    /// Of these, refused ones.
    pub rejected: u64,
    /// Of these, verified ones that may be old traffic.
    pub stale: u64,
    /// Messages that did not come.
    pub lost: u64,
    /// Streams that contradicted themselves.
    pub forks: u64,
    /// Items that were printed.
    pub printed: u64,
    /// Failures of jq programs.
    pub jq_failures: u64,
}

impl Counts {
    /// Counts an event.
    pub(crate) fn count(&mut self, event: &Event) {
        match event {
            Event::Message(_) => self.verified += 1,
            Event::Stale(_) => self.stale += 1,
            Event::Rejected(_) => self.rejected += 1,
            Event::Lost(lost) => self.lost += lost.count(),
            Event::Fork(_) => self.forks += 1,
            _ => {}
        }
        self.received = self.verified + self.stale + self.rejected;
    }

    /// Whether `--strict` has something to tell.
    pub fn is_trouble(&self) -> bool {
        self.lost > 0 || self.forks > 0 || self.rejected > 0
    }

    /// The one line of `--summary`.
    pub fn line(&self) -> String {
        let Counts { received, verified, rejected, lost, stale, .. } = self;
        format!(
            "received {received} verified {verified} rejected {rejected} lost {lost} stale {stale}"
        )
    }

    /// The one line of `--summary` for machines.
    pub fn json(&self) -> String {
        let Counts { received, verified, rejected, lost, stale, forks, printed, jq_failures } =
            self;
        format!(
            r#"{{"received":{received},"verified":{verified},"rejected":{rejected},"lost":{lost},"stale":{stale},"forks":{forks},"printed":{printed},"jq_failures":{jq_failures}}}"#
        )
    }
}
