//! Durable consumers of everything, for tests: `many_readers CONFIG_DIR FOLDER FIRST COUNT STREAMS NEXT`. Consumer
//! number K keeps its cursors in `FOLDER/reader-K.db`; each stream's first message here must be number NEXT, and each
//! further one the next number. It says `ready`, and for each line of stdin:
//!
//! - `expect TO`: `caught MILLISECONDS` when every consumer has every message of every stream up to this number.
//! - `flush`: `flushed` when everything is written down.
//! - `seen`: an object with what was said beside messages, how often, and the first that was wrong.

#[path = "load/descriptors.rs"]
mod descriptors;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fedmsg::config::{Config, LoadOptions};
use fedmsg::consumer::{SqliteStore, Start};
use fedmsg::durable::DurableEvent;
use fedmsg::{Durable, Event, StreamName, Subscriber};
use serde::{Deserialize, Serialize};

/// How long it is waited for one thing.
const PATIENCE: Duration = Duration::from_secs(200);

#[derive(Deserialize)]
struct Body {
    n: u64,
}

/// What came, of all consumers.
#[derive(Default, Serialize)]
struct Seen {
    /// Messages of each consumer.
    messages: Vec<u64>,
    /// Everything else, by what it is.
    others: BTreeMap<&'static str, u64>,
    /// The first thing that may not be.
    wrong: Option<String>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    descriptors::many()?;
    let start = Instant::now();
    let words: Vec<String> = std::env::args().collect();
    let [_, folder, stores, first, count, streams, next] = &words[..] else {
        return Err("CONFIG_DIR FOLDER FIRST COUNT STREAMS NEXT".into());
    };
    let load = LoadOptions { folder: Some(PathBuf::from(folder)), ..LoadOptions::default() };
    let config = Arc::new(Config::load(&load)?);
    let (first, count): (usize, usize) = (first.parse()?, count.parse()?);
    let (streams, next): (u64, u64) = (streams.parse()?, next.parse()?);
    let shared = Arc::new(Shared::default());
    shared.lock().messages = vec![0; count];
    let mut readers = Vec::new();
    for at in 0..count {
        let reader = Arc::new(reader(&config, Path::new(stores), first + at)?);
        readers.push(Arc::clone(&reader));
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || read(&reader, at, next, &shared));
    }
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["expect", to] => {
                let to: u64 = to.parse()?;
                wait_for(&shared, streams * (to + 1 - next))?;
                println!("caught {}", start.elapsed().as_millis());
            }
            ["flush"] => {
                let all = readers.iter().all(|reader| reader.flush(PATIENCE));
                println!("{}", if all { "flushed" } else { "failed: the store does not take it" });
            }
            ["seen"] => println!("{}", serde_json::to_string(&*shared.lock())?),
            _ => return Err(line.into()),
        }
    }
    Ok(())
}

fn reader(config: &Arc<Config>, stores: &Path, number: usize) -> Result<Durable, Box<dyn Error>> {
    let name = format!("reader-{number}");
    let store = SqliteStore::open(&stores.join(format!("{name}.db")))?;
    let durable = Subscriber::durable(name).config(Arc::clone(config)).start(Start::Earliest);
    Ok(durable.store(Box::new(store)).build()?)
}

/// Waits until each consumer has so many messages.
fn wait_for(shared: &Shared, messages: u64) -> Result<(), String> {
    let is_short = |seen: &mut Seen| {
        seen.wrong.is_none() && seen.messages.iter().any(|count| *count < messages)
    };
    let waited = shared.changed.wait_timeout_while(shared.lock(), PATIENCE, is_short);
    let (seen, waited) = waited.unwrap_or_else(PoisonError::into_inner);
    match &seen.wrong {
        Some(wrong) => Err(wrong.clone()),
        None if waited.timed_out() => Err(format!(
            "{messages} are waited for: {}",
            serde_json::to_string(&*seen).unwrap_or_default()
        )),
        None => Ok(()),
    }
}

/// Takes what one consumer is given, and looks that it is what comes next.
fn read(reader: &Durable, at: usize, first: u64, shared: &Shared) {
    let mut streams: HashMap<StreamName, u64> = HashMap::new();
    for event in reader.events() {
        let delivery = match event {
            DurableEvent::Delivery(delivery) => delivery,
            event => {
                let (what, is_wrong) = name(&event);
                let mut seen = shared.lock();
                *seen.others.entry(what).or_default() += 1;
                if is_wrong {
                    seen.wrong.get_or_insert_with(|| format!("{}: {event:?}", reader.name()));
                    shared.changed.notify_all();
                }
                continue;
            }
        };
        let n = delivery.body::<Body>().map_or(0, |body| body.n);
        let expected = streams.get(delivery.stream()).map_or(first, |last| last + 1);
        streams.insert(delivery.stream().clone(), n);
        let mut seen = shared.lock();
        seen.messages[at] += 1;
        if n != expected {
            let (name, stream) = (reader.name(), delivery.stream());
            let wrong = || format!("{name}: {n} of {stream} instead of {expected}");
            seen.wrong.get_or_insert_with(wrong);
        }
        drop(seen);
        shared.changed.notify_all();
        delivery.ack();
    }
}

/// What an event is, and whether there may be none of it.
fn name(event: &DurableEvent) -> (&'static str, bool) {
    match event {
        DurableEvent::Claimed(_) => ("claimed", false),
        DurableEvent::Bus(Event::Endpoint(_)) => ("endpoint", false),
        DurableEvent::Bus(Event::Epoch(_)) => ("epoch", false),
        DurableEvent::Bus(Event::Stalled(_)) => ("stalled", false),
        _ => ("else", true),
    }
}
