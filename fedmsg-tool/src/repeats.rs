//! What says the same again and again is said once, and then counted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a thing is not said again.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Different things that are remembered; beyond that, everything is said.
const KEYS_MAX: usize = 256;

/// What is known of things said lately. The time is an argument.
#[derive(Debug, Default)]
pub struct Repeats {
    said: HashMap<String, Said>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    text: String,
    held_back: u64,
}

/// Something that was held back, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// What was said the first time.
    pub text: String,
    /// How often it was held back since.
    pub count: u64,
}

impl Repeats {
    /// Whether to say this now. Things of one `key` are the same; the first one's `text` stands for them.
    pub fn admit(&mut self, key: &str, text: &str, now: Instant) -> bool {
        if let Some(said) = self.said.get_mut(key) {
            if now.duration_since(said.at) < WINDOW {
                said.held_back += 1;
                return false;
            }
            // Its count was told by `due`, or is 0.
            *said = Said { at: now, text: text.into(), held_back: said.held_back };
            return true;
        }
        if self.said.len() < KEYS_MAX {
            let said = Said { at: now, text: text.into(), held_back: 0 };
            self.said.insert(key.into(), said);
        }
        true
    }

    /// What was held back in windows that are over: to be told before anything else. Looks at most once a
    /// second.
    pub fn due(&mut self, now: Instant) -> Vec<HeldBack> {
        let lately = |at: Instant| now.duration_since(at) < Duration::from_secs(1);
        if self.swept.is_some_and(lately) {
            return Vec::new();
        }
        self.swept = Some(now);
        self.take(|said| now.duration_since(said.at) >= WINDOW)
    }

    /// All that was held back and not told: at the end.
    pub fn rest(&mut self) -> Vec<HeldBack> {
        self.take(|_| true)
    }

    fn take(&mut self, is_over: impl Fn(&Said) -> bool) -> Vec<HeldBack> {
        let mut held_back = Vec::new();
        self.said.retain(|_, said| {
            let over = is_over(said);
            if over && said.held_back > 0 {
                let text = std::mem::take(&mut said.text);
                held_back.push(HeldBack { text, count: said.held_back });
            }
            !over
        });
        held_back.sort_by(|a, b| a.text.cmp(&b.text));
        held_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_in_a_window_and_counted() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(repeats.admit("a", "a is down", at(0)));
        assert!(repeats.admit("b", "b is down", at(0)));
        assert!(!repeats.admit("a", "a is down again", at(1)));
        assert!(!repeats.admit("a", "a is down again", at(9)));
        assert!(repeats.due(at(9)).is_empty());
        let told = HeldBack { text: "a is down".into(), count: 2 };
        assert_eq!(repeats.due(at(10)), [told]);
        assert!(repeats.admit("a", "a is down", at(10)));
        assert!(repeats.due(at(25)).is_empty());
    }

    #[test]
    fn the_end_tells_what_is_left() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        repeats.admit("a", "text", now);
        repeats.admit("a", "text", now);
        assert_eq!(repeats.rest(), [HeldBack { text: "text".into(), count: 1 }]);
        assert!(repeats.rest().is_empty());
    }

    #[test]
    fn memory_is_bounded_and_nothing_new_is_swallowed() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        for i in 0..10 * KEYS_MAX {
            assert!(repeats.admit(&i.to_string(), "", now));
        }
        assert_eq!(repeats.said.len(), KEYS_MAX);
    }
}
