//! A durable consumer for tests: `consumer CONFIG_DIR NAME FILE OPTION…`. What it does with a message is to append a
//! line to FILE and to sync it; then it answers. A kill -9 at any moment shows what it has done and what not.
//!
//! ```text
//! begin
//! done STREAM EPOCH I ATTEMPT order|late CHECK TAG N      handled, to be acknowledged now
//! fail STREAM EPOCH I ATTEMPT order|late CHECK TAG N      could not be handled, to be said now
//! flushed                                                 every answer to the lines above is in the store
//! fork STREAM TEXT                                        a fork, where it is expected
//! wrong TEXT                                              a loss, a fork, or what else may not be
//! ```
//!
//! CHECK is from a hash of the body. The same lines go to stdout, after the answers. At the end of stdin it ends in order.
//!
//! Options: `fail` has it fail some messages once and some always; `late` takes refusals that a key or a rule can cure
//! for nothing wrong, because keys and rules come late; `forks` says forks on lines of their own; `ack-first`
//! acknowledges before it does anything, which is the bug that must be found.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use fedmsg::config::LoadOptions;
use fedmsg::consumer::{Curable, Start};
use fedmsg::durable::{DurableEvent, Retrying};
use fedmsg::{Delivery, Durable, Event, Subscriber};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Messages of which the lines are synced together.
const TOGETHER: usize = 32;
/// After so many groups it waits until the store has all answers, and says so.
const FLUSHED_EVERY: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(20);
/// Of these one fails once, and one always.
const ONCE_IN: u64 = 7;
const ALWAYS_IN: u64 = 41;

#[derive(Deserialize)]
struct Body {
    tag: String,
    n: u64,
}

#[derive(Clone, Copy, Default)]
struct Options {
    fail: bool,
    late: bool,
    forks: bool,
    ack_first: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().collect();
    let [_, folder, name, file, words @ ..] = &words[..] else {
        return Err("CONFIG_DIR NAME FILE OPTION…".into());
    };
    let mut options = Options::default();
    for word in words {
        match word.as_str() {
            "fail" => options.fail = true,
            "late" => options.late = true,
            "forks" => options.forks = true,
            "ack-first" => options.ack_first = true,
            _ => return Err(format!("{word} is no option").into()),
        }
    }
    let mut effects = Effects::open(file)?;
    let load = LoadOptions { folder: Some(folder.into()), ..LoadOptions::default() };
    let (base, max) = (Duration::from_millis(20), Duration::from_millis(40));
    let consumer = Subscriber::durable(name.as_str()).load(load).start(Start::Earliest);
    let consumer = consumer.in_flight(256).retrying(Retrying::new(3, base, max)).build()?;
    effects.line("begin".into())?;
    let closer = consumer.closer();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        closer.close();
    });
    let mut groups = 0;
    while let Some(event) = consumer.recv(None) {
        let group = group(&consumer, event);
        if !handle(group, options, &mut effects)? {
            continue;
        }
        groups += 1;
        if groups % FLUSHED_EVERY == 0 && consumer.flush(PATIENCE) {
            effects.line("flushed".into())?;
        }
    }
    drop(consumer);
    effects.line("flushed".into())
}

/// This one, and what waits behind it.
fn group(consumer: &Durable, first: DurableEvent) -> Vec<DurableEvent> {
    let mut group = vec![first];
    while group.len() < TOGETHER
        && let Some(event) = consumer.recv(Some(Duration::ZERO))
    {
        group.push(event);
    }
    group
}

/// Does what is to be done for each, and answers; whether there was a message.
fn handle(
    group: Vec<DurableEvent>,
    options: Options,
    effects: &mut Effects,
) -> Result<bool, Box<dyn Error>> {
    let (mut deliveries, mut lines) = (Vec::new(), Vec::new());
    for event in group {
        match event {
            DurableEvent::Delivery(delivery) => {
                let (line, is_good) = line_of(&delivery, options)?;
                lines.push(line);
                deliveries.push((delivery, is_good));
            }
            DurableEvent::Bus(Event::Fork(fork)) if options.forks => {
                lines.push(format!("fork {} {}", fork.stream, fork.kind));
            }
            event => lines.extend(wrong(&event, options).map(|text| format!("wrong {text}"))),
        }
    }
    let there_are = !deliveries.is_empty();
    if options.ack_first {
        deliveries.drain(..).for_each(|(delivery, _)| delivery.ack());
        for line in lines {
            effects.line(line)?;
        }
        return Ok(there_are);
    }
    effects.write(&lines)?;
    for (delivery, is_good) in deliveries {
        match is_good {
            true => delivery.ack(),
            false => delivery.fail("it is said to fail"),
        }
    }
    effects.say(&lines)?;
    Ok(there_are)
}

/// What is to be written of a message, and whether it can be handled.
fn line_of(delivery: &Delivery, options: Options) -> Result<(String, bool), Box<dyn Error>> {
    let Body { tag, n } = delivery.body()?;
    let always = n % ALWAYS_IN == 0;
    let once = n % ONCE_IN == 0 && delivery.attempt() == 1;
    let is_good = !options.fail || !(always || once);
    let hash = Sha256::digest(delivery.msg().as_bytes());
    let check = data_encoding::HEXLOWER.encode(&hash[..8]);
    let line = format!(
        "{} {} {} {} {} {} {check} {tag} {n}",
        if is_good { "done" } else { "fail" },
        delivery.stream(),
        delivery.epoch(),
        delivery.i(),
        delivery.attempt(),
        if delivery.is_late() { "late" } else { "order" },
    );
    Ok((line, is_good))
}

/// What may not be, in words.
fn wrong(event: &DurableEvent, options: Options) -> Option<String> {
    match event {
        DurableEvent::Bus(Event::Rejected(rejected)) => {
            let is_cured_later = options.late && Curable::of(rejected.reason).is_some();
            (!is_cured_later).then(|| format!("rejected: {rejected}"))
        }
        DurableEvent::Bus(Event::Lost(lost)) => Some(format!("lost: {lost}")),
        DurableEvent::Bus(Event::Fork(fork)) => Some(format!("fork: {fork}")),
        DurableEvent::Bus(Event::Unfetched(one)) => Some(format!("unfetched: {one}")),
        DurableEvent::Trouble(trouble) => Some(format!("trouble: {trouble}")),
        DurableEvent::Ended(error) => Some(format!("ended: {error}")),
        _ => None,
    }
}

/// The file that shows what was done.
struct Effects(File);

impl Effects {
    /// A line that a kill cut off was not synced, and not answered: it is void.
    fn open(path: &str) -> Result<Effects, Box<dyn Error>> {
        let options = OpenOptions::new().read(true).append(true).create(true).to_owned();
        let mut file = options.open(path)?;
        let mut text = Vec::new();
        // The last line alone can be cut off, and none is longer.
        let length = file.seek(SeekFrom::End(0))?;
        let from = length.saturating_sub(64 << 10);
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
        file.set_len(from + whole)?;
        Ok(Effects(file))
    }

    fn write(&mut self, lines: &[String]) -> Result<(), Box<dyn Error>> {
        if lines.is_empty() {
            return Ok(());
        }
        self.0.write_all(text(lines).as_bytes())?;
        Ok(self.0.sync_data()?)
    }

    fn say(&self, lines: &[String]) -> Result<(), Box<dyn Error>> {
        let mut out = std::io::stdout().lock();
        out.write_all(text(lines).as_bytes())?;
        Ok(out.flush()?)
    }

    fn line(&mut self, line: String) -> Result<(), Box<dyn Error>> {
        let lines = [line];
        self.write(&lines)?;
        self.say(&lines)
    }
}

fn text(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}
