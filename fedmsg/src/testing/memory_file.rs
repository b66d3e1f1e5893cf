//! A file in memory: what is there, what is durable, and what a crash makes of the difference.

use fastrand::Rng;

/// A disk keeps or loses whole pieces of this size.
const PIECE_BYTES: u64 = 512;

/// A file.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryFile {
    /// What reads see.
    pub(super) live: Vec<u8>,
    /// What survives a crash for certain.
    durable: Vec<u8>,
    /// What was written since, oldest first.
    unsynced: Vec<Write>,
}

#[derive(Clone, Debug)]
struct Write {
    at: u64,
    bytes: Vec<u8>,
    /// A sync failed with this write outstanding. The system holds it for clean from then on, and no later
    /// sync brings it to the disk.
    dropped: bool,
}

impl MemoryFile {
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        put(&mut self.live, at, bytes);
        self.unsynced.push(Write { at, bytes: bytes.to_vec(), dropped: false });
    }

    pub(super) fn sync(&mut self) {
        let durable = &mut self.durable;
        self.unsynced.retain(|write| {
            if !write.dropped {
                put(durable, write.at, &write.bytes);
            }
            write.dropped
        });
    }

    pub(super) fn fail_sync(&mut self) {
        self.unsynced.iter_mut().for_each(|write| write.dropped = true);
    }

    /// The power is cut: of what was not synced, any pieces survive, and what lies between them is what was
    /// there before, zeros, or garbage.
    pub(super) fn crash(&mut self, random: &mut Rng) {
        let keep = [0, 10, 50, 90, 100][random.usize(0..5)];
        let mut after = self.durable.clone();
        for write in std::mem::take(&mut self.unsynced) {
            let end = write.at + write.bytes.len() as u64;
            let mut at = write.at;
            while at < end {
                let next = ((at / PIECE_BYTES + 1) * PIECE_BYTES).min(end);
                if random.u8(0..100) < keep {
                    let piece = (at - write.at) as usize..(next - write.at) as usize;
                    put(&mut after, at, &write.bytes[piece]);
                }
                at = next;
            }
        }
        // The length is kept on its own: a file may be longer than what was kept of it.
        if after.len() < self.live.len() && random.bool() {
            let garbage = random.bool();
            let fill = || if garbage { random.u8(..) } else { 0 };
            after.resize_with(self.live.len(), fill);
        }
        self.set(after);
    }

    /// Puts something else there, durably.
    pub(super) fn set(&mut self, content: Vec<u8>) {
        self.live.clone_from(&content);
        self.durable = content;
        self.unsynced.clear();
    }
}

fn put(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let (from, to) = (at as usize, at as usize + bytes.len());
    if content.len() < to {
        content.resize(to, 0);
    }
    content[from..to].copy_from_slice(bytes);
}
