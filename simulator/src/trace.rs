//! What happened, as a number that is the same whenever the same happened, and as text for people.

use std::io::Write;

/// The hash of everything that was noted: FNV-1a of 64 bits.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    prints: bool,
}

impl Trace {
    /// One that writes each note to stdout, or none.
    pub fn new(prints: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, prints }
    }

    /// Takes note of something that happened at a time. The text is made only where it is printed.
    pub fn note(&mut self, now: u64, numbers: &[u64], text: impl FnOnce() -> String) {
        for number in [now].iter().chain(numbers) {
            for byte in number.to_le_bytes() {
                self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        if self.prints {
            // Whoever reads this may be gone.
            writeln!(std::io::stdout(), "{:>9.3} {}", now as f64 / 1_000.0, text()).ok();
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }
}
