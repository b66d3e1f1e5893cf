//! What days of a fleet came to.

use std::fmt;
use std::ops::Add;

#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub days: u64,
    /// Files that reached a machine.
    pub changes: u64,
    /// Kills of publishers, of consumers, of relays and archives.
    pub workers: u64,
    pub readers: u64,
    pub keepers: u64,
    /// Processes of publishers.
    pub lives: u64,
    pub acknowledged: u64,
    /// Acknowledged at positions that were taken.
    pub taken: u64,
    /// What all consumers together have done, and in how many lives.
    pub done: u64,
    pub reader_lives: u64,
    pub doubles: u64,
    pub lates: u64,
    pub forks: u64,
}

impl Add for Figures {
    type Output = Figures;
    fn add(self, other: Figures) -> Figures {
        Figures {
            days: self.days + other.days,
            changes: self.changes + other.changes,
            workers: self.workers + other.workers,
            readers: self.readers + other.readers,
            keepers: self.keepers + other.keepers,
            lives: self.lives + other.lives,
            acknowledged: self.acknowledged + other.acknowledged,
            taken: self.taken + other.taken,
            done: self.done + other.done,
            reader_lives: self.reader_lives + other.reader_lives,
            doubles: self.doubles + other.doubles,
            lates: self.lates + other.lates,
            forks: self.forks + other.forks,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { changes, workers, readers, keepers, lives, acknowledged, .. } = self;
        let Figures { taken, done, reader_lives, doubles, lates, forks, .. } = self;
        write!(
            f,
            "{changes} files rolled out; {} kills ({workers} of publishers, {readers} of consumers, {keepers} of relays \
             and archives); {acknowledged} acknowledged by {lives} processes, 0 lost; {done} done by 6 consumers in \
             {reader_lives} lives, {doubles} doubles, {lates} late; {taken} acknowledged at positions that were taken, \
             {forks} forks said",
            workers + readers + keepers,
        )
    }
}
