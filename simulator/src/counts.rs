//! What happened in runs: so that one sees that they do something.

use std::fmt;

use fedmsg::event::Event;

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// How often what happened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[doc = $doc])+ pub $name: u64,)+ }

        impl Counts {
            /// Adds those of another run.
            pub fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)+
            }

            /// Each with its name.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

counts! {
    /// Messages that publishers acknowledged.
    acknowledged,
    /// Messages that publishers could not store, and said so.
    refused,
    /// Messages that were handed to consumers, each time counted.
    delivered,
    /// Messages that durable consumers were done with.
    handled,
    /// Those that were handed out after they had been fetched from a holder.
    repaired,
    /// Messages that were fetched once a rule had come.
    late,
    /// Messages of which consumers were told that they are lost.
    lost,
    /// Hosts that lost their power.
    power_cuts,
    /// Processes that were killed.
    kills,
    /// Processes that were ended cleanly.
    stops,
    /// Times that a journal could not be opened.
    failed_starts,
    /// Errors of disks.
    disk_errors,
    /// Disks that were full for a while.
    full_disks,
    /// Ways that were cut.
    partitions,
    /// Messages that got lost on their way.
    dropped,
    /// Consumers that were killed.
    reader_kills,
    /// Clocks that jumped.
    clock_jumps,
    /// Segments that were damaged.
    damages,
    /// Disks that were emptied.
    wipes,
    /// Disks that were put back to an earlier state.
    restores,
    /// Epochs that were begun because a publisher was shown that it was set back.
    renewals,
    /// Processes that went for good.
    retired,
    /// Keys that were changed.
    rotations,
    /// Holders that lied for a while.
    liars,
    /// Forged or repeated messages.
    attacks,
    /// Configuration that came late.
    late_configurations,
    /// Messages that readers rejected.
    rejected,
    /// Epochs that readers were told of.
    epochs,
    /// Contradictions that readers found.
    forks,
    /// Messages that were shown as stale.
    stale,
    /// Times that a stream was said to stand still.
    stalled,
    /// Times that relays were asked to take messages.
    puts,
    /// Messages of which a relay said that it has stored them.
    stored,
    /// Messages that relays published.
    relayed,
    /// Messages that relays refused.
    put_refused,
    /// Times that a relay asked for something before what it was given.
    expected,
    /// Messages that relays got from those whom they follow.
    followed,
    /// Relays that went for good.
    relays_gone,
    /// Messages that were put to relays, and that nobody may publish.
    rogues,
}

impl Counts {
    /// A reader was told something.
    pub fn told(&mut self, event: &Event) {
        match event {
            Event::Message(message) => {
                self.delivered += 1;
                self.repaired += u64::from(message.replayed);
            }
            Event::Late(_) => self.late += 1,
            Event::Lost(lost) => self.lost += lost.count(),
            Event::Epoch(_) => self.epochs += 1,
            Event::Fork(_) => self.forks += 1,
            Event::Stale(_) => self.stale += 1,
            Event::Stalled(_) => self.stalled += 1,
            Event::Rejected(_) => self.rejected += 1,
            _ => {}
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.named().into_iter().filter(|(_, count)| *count > 0);
        for (at, (name, count)) in named.enumerate() {
            let between = if at == 0 { "" } else { ", " };
            write!(f, "{between}{count} {}", name.replace('_', " "))?;
        }
        Ok(())
    }
}
