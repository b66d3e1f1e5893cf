//! What a durable consumer has done, as its file shows it after any number of kills, and whether that may be so.
//! The lines are those of `programs/consumer.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use fedmsg::StreamName;
use fedmsg::consumer::Position;
use fedmsg::envelope::Epoch;
use sha2::{Digest, Sha256};

/// So many answers at most may be given and not known to be in the store when a consumer is killed: after four groups
/// of 32 it waits for that.
const UNSETTLED_MAX: usize = 4 * 32;
/// A message that failed so often is given up.
pub const TRIES: u32 = 3;

/// The body of a message, as the publishers of the tests make it.
pub fn body(tag: &str, n: u64, bytes: usize) -> String {
    format!("{{\"tag\":\"{tag}\",\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(bytes))
}

/// What was done with one message.
#[derive(Clone, Debug, Default)]
pub struct Done {
    pub tag: String,
    pub n: u64,
    /// It was handled.
    pub is_handled: bool,
    /// The highest number of a try that failed.
    pub failed: u32,
    /// The last answer to the message in its place is in the store, as the consumer has said.
    settled: Option<Answer>,
    /// It failed, and the consumer was killed when that was perhaps in the store and its cursor was not: it may come
    /// in its place and for another try, both.
    is_split: bool,
}

/// Handled, or failed at this try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Handled,
    Failed(u32),
}

/// A message, and whether it came late.
type Way = (Position, bool);

/// What may be of a stream that may not be of others.
#[derive(Clone, Copy)]
pub struct Allowed {
    /// Keys and rules come late: then there are gaps, which are filled later.
    pub late: fn(&StreamName) -> bool,
    /// It was set back, so that forks of it are said.
    pub forks: fn(&StreamName) -> bool,
}

/// What the file shows so far.
pub struct Effects {
    path: PathBuf,
    read: u64,
    bytes: usize,
    allowed: Allowed,
    pub all: BTreeMap<Position, Done>,
    /// The last position of each stream that came in its order for the first time, and in this life.
    last: BTreeMap<StreamName, (Epoch, u64)>,
    last_now: BTreeMap<StreamName, (Epoch, u64)>,
    /// What was answered in this life and may not be in the store, and everything that came in it.
    unsettled: BTreeMap<Way, Answer>,
    came: BTreeSet<(Way, u32)>,
    pub lives: u64,
    /// Messages that came again because their answer was not in the store, and those that came late.
    pub doubles: u64,
    pub lates: u64,
    /// Forks that were said.
    pub forks: u64,
    pub unsettled_max: usize,
}

struct Line<'a> {
    is_good: bool,
    position: Position,
    attempt: u32,
    is_late: bool,
    check: &'a str,
    tag: &'a str,
    n: u64,
}

impl Effects {
    /// Of bodies with so many bytes of padding; whether keys and rules come late.
    pub fn of(path: PathBuf, bytes: usize, late: bool) -> Effects {
        let late: fn(&StreamName) -> bool = if late { |_| true } else { |_| false };
        Effects::allowing(path, bytes, Allowed { late, forks: |_| false })
    }

    /// The same, where that depends on the stream.
    pub fn allowing(path: PathBuf, bytes: usize, allowed: Allowed) -> Effects {
        Effects {
            path,
            read: 0,
            bytes,
            allowed,
            all: BTreeMap::new(),
            last: BTreeMap::new(),
            last_now: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            came: BTreeSet::new(),
            lives: 0,
            doubles: 0,
            lates: 0,
            forks: 0,
            unsettled_max: 0,
        }
    }

    /// Reads on, up to the last whole line; what may not be, in words.
    pub fn read(&mut self) -> Result<(), String> {
        let mut text = String::new();
        let Ok(mut file) = File::open(&self.path) else { return Ok(()) };
        file.seek(SeekFrom::Start(self.read)).expect("a file");
        file.read_to_string(&mut text).expect("text");
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        for line in text[..whole].lines() {
            self.take(line).map_err(|what| format!("life {}: {what}: {line}", self.lives))?;
        }
        Ok(())
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        match line {
            "begin" => {
                self.unsettled_max = self.unsettled_max.max(self.unsettled.len());
                if self.unsettled.len() > UNSETTLED_MAX {
                    return Err(format!("{} answers were not in the store", self.unsettled.len()));
                }
                for ((position, _), answer) in std::mem::take(&mut self.unsettled) {
                    let done = self.all.entry(position).or_default();
                    done.is_split |= matches!(answer, Answer::Failed(_));
                }
                self.came.clear();
                self.last_now.clear();
                self.lives += 1;
            }
            "flushed" => {
                for ((position, is_late), answer) in std::mem::take(&mut self.unsettled) {
                    let done = self.all.entry(position).or_default();
                    if !is_late {
                        done.settled = Some(answer);
                    }
                }
            }
            line if line.starts_with("wrong ") => return Err("that may not be".into()),
            line if line.starts_with("fork ") => {
                let stream = line.split(' ').nth(1).and_then(|name| StreamName::parse(name).ok());
                if !stream.is_some_and(|stream| (self.allowed.forks)(&stream)) {
                    return Err("there is nobody who could have made a fork of it".into());
                }
                self.forks += 1;
            }
            line => self.message(parse(line).ok_or("not understood")?)?,
        }
        Ok(())
    }

    fn message(&mut self, line: Line<'_>) -> Result<(), String> {
        let hash = Sha256::digest(body(line.tag, line.n, self.bytes));
        if data_encoding::HEXLOWER.encode(&hash[..8]) != line.check {
            return Err("the body is another one".into());
        }
        let Line { position, attempt, is_late, .. } = line;
        // A kill between the note of a refusal and the cursor leaves two ways open: it comes late, and in its place,
        // where it may be refused and noted once more.
        let is_split = is_late || self.all.get(&position).is_some_and(|done| done.is_split);
        if !self.came.insert(((position.clone(), is_late), attempt)) && !is_split {
            return Err("handed out twice in one life".into());
        }
        if is_late && !(self.allowed.late)(&position.stream) {
            return Err("it comes late, and nothing was late".into());
        }
        if attempt == 1 && !is_late {
            self.in_order(&position)?;
        }
        self.lates += u64::from(is_late);
        let done = self.all.entry(position.clone()).or_default();
        match done.settled.filter(|_| !is_split) {
            Some(Answer::Handled) => return Err("it was handled, and that was in the store".into()),
            Some(Answer::Failed(before)) if attempt <= before => {
                return Err(format!("try {before} failed, and that was in the store"));
            }
            _ => {}
        }
        if attempt > TRIES || attempt > 1 && done.failed < attempt - 1 {
            return Err(format!("try {} never came", attempt - 1));
        }
        self.doubles += u64::from(done.is_handled || done.failed >= attempt);
        (done.tag, done.n) = (line.tag.into(), line.n);
        let answer = if line.is_good { Answer::Handled } else { Answer::Failed(attempt) };
        match answer {
            Answer::Handled => done.is_handled = true,
            Answer::Failed(attempt) => done.failed = done.failed.max(attempt),
        }
        self.unsettled.insert((position, is_late), answer);
        Ok(())
    }

    /// A message that comes in its place: behind everything of this life, and without a gap the first time.
    fn in_order(&mut self, position: &Position) -> Result<(), String> {
        let Position { stream, epoch, i } = position;
        let place = (*epoch, *i);
        let before = self.last_now.insert(stream.clone(), place);
        if before.is_some_and(|before| before >= place) {
            return Err(format!("behind number {}", before.map_or(0, |(_, i)| i)));
        }
        let last = self.last.get(stream).copied();
        if last.is_some_and(|last| last >= place) {
            return Ok(());
        }
        let next = last.filter(|last| last.0 == *epoch).map_or(1, |(_, i)| i + 1);
        if *i != next && !(self.allowed.late)(stream) {
            return Err(format!("number {next} has not come"));
        }
        self.last.insert(stream.clone(), place);
        Ok(())
    }
}

fn parse(line: &str) -> Option<Line<'_>> {
    let words: Vec<&str> = line.split(' ').collect();
    let [what, stream, epoch, i, attempt, way, check, tag, n] = words[..] else { return None };
    let position = Position {
        stream: StreamName::parse(stream).ok()?,
        epoch: Epoch::parse(epoch)?,
        i: i.parse().ok()?,
    };
    Some(Line {
        is_good: what == "done",
        position,
        attempt: attempt.parse().ok()?,
        is_late: way == "late",
        check,
        tag,
        n: n.parse().ok()?,
    })
}
