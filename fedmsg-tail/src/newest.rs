//! `--last`: the newest records of the past, kept until all of it was read.

use std::collections::VecDeque;
use std::collections::vec_deque::Drain;

/// The newest records, at most so many, and at most so many bytes.
#[derive(Debug)]
pub struct Newest {
    records: VecDeque<Box<[u8]>>,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
    /// How many there were in all.
    taken: u64,
}

impl Newest {
    /// Room for this many records and bytes.
    pub fn new(count_max: usize, bytes_max: usize) -> Newest {
        let records = VecDeque::new();
        Newest { records, bytes: 0, count_max, bytes_max, taken: 0 }
    }

    /// Takes a newer one; the oldest makes room for it.
    pub fn push(&mut self, record: &[u8]) {
        self.taken += 1;
        self.bytes += record.len();
        self.records.push_back(record.into());
        while self.records.len() > self.count_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.records.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }

    /// How many more were asked for and there, and found no room.
    pub fn left_out(&self) -> u64 {
        self.taken.min(self.count_max as u64) - self.records.len() as u64
    }

    /// What is kept, oldest first.
    pub fn drain(&mut self) -> Drain<'_, Box<[u8]>> {
        self.bytes = 0;
        self.records.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(mut newest: Newest) -> String {
        let records: Vec<_> = newest.drain().collect();
        String::from_utf8(records.concat()).expect("text")
    }

    #[test]
    fn the_newest_stay() {
        let mut newest = Newest::new(3, 1_000);
        (0..9).for_each(|n| newest.push(n.to_string().as_bytes()));
        assert_eq!(newest.left_out(), 0);
        assert_eq!(kept(newest), "678");
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut newest = Newest::new(3, 4);
        ["aa", "bb"].iter().for_each(|text| newest.push(text.as_bytes()));
        assert_eq!(newest.left_out(), 0);
        newest.push(b"cc");
        assert_eq!(newest.left_out(), 1, "three were asked for, and two fit");
        newest.push(b"d");
        newest.push(b"e");
        assert_eq!(newest.left_out(), 0, "three fit again");
        assert_eq!(kept(newest), "ccde");
        let mut large = Newest::new(3, 4);
        large.push(b"too large");
        assert_eq!((large.left_out(), kept(large).as_str()), (1, ""));
    }
}
