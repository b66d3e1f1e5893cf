//! How fast the log of a relay takes records, against plain writes of the same size with an fdatasync each, in
//! the same folder and the same run: `cargo run --release -p fedmsg --example relay_log -- FOLDER`.
//!
//! Then, when asked (`-- FOLDER MILLIONS STREAMS`), how much memory so many millions of records of so many
//! streams take, how long an open takes, and how fast one stream of many is read.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::holder::Part;
use fedmsg::identity::StreamName;
use fedmsg::journal::OsDisk;
use fedmsg::log::{Item, Keep, Log, Settings};
use fedmsg::merkle::Leaf;
use fedmsg::timestamp::Timestamp;
use uuid::Uuid;

const BATCH: usize = 64;
const LARGE_BATCH: usize = 1_024;
const SECONDS: f64 = 2.0;
const ROUNDS: usize = 3;
const BYTES: usize = 1_024;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let millions: Option<usize> = arguments.next().map(|text| text.parse()).transpose()?;
    let streams: usize = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    fs::create_dir_all(&folder)?;
    match millions {
        None => compare(&folder)?,
        Some(millions) => fill(&folder.join("many"), millions * 1_000_000, streams)?,
    }
    Ok(())
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// Streams that go on by one record at a time.
struct Source {
    names: Vec<StreamName>,
    wire: Wire,
    genesis: Wire,
    turn: u64,
}

impl Source {
    fn new(streams: usize) -> Outcome<Source> {
        let name = |n| StreamName::parse(&format!("service{}.host{n:05}/0", n % 60));
        let names = (0..streams).map(name).collect::<Result<_, _>>()?;
        let wire = |topic: &'static str, bytes| Wire {
            topic: topic.into(),
            envelope: vec![b'x'; bytes].into(),
        };
        let topic = "org.example.prod.service.object.event";
        let genesis = wire("_genesis.service.host.0", 700);
        Ok(Source { names, wire: wire(topic, BYTES), genesis, turn: 0 })
    }

    fn batch(&mut self, size: usize) -> Vec<Item<'_>> {
        let epoch = Epoch::new(Uuid::from_u128(1 << 100));
        let first = self.turn;
        self.turn += size as u64;
        let streams = self.names.len() as u64;
        let item = |turn: u64| {
            let i = turn / streams;
            let wire = if i == 0 { &self.genesis } else { &self.wire };
            let keep = Keep::Record { wire, leaf: Leaf::NONE };
            Item { stream: &self.names[(turn % streams) as usize], epoch, i, keep }
        };
        (first..self.turn).map(item).collect()
    }
}

/// Plain writes and the log by turns, so that both meet the same disk.
fn compare(folder: &Path) -> Outcome<()> {
    let (mut plain, mut kept) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        plain.push(plain_writes(&folder.join("plain"))?);
        kept.push(log_writes(&folder.join(format!("log{round}")))?);
    }
    plain.sort_by(f64::total_cmp);
    kept.sort_by(f64::total_cmp);
    let (plain, kept) = (plain[ROUNDS / 2], kept[ROUNDS / 2]);
    println!("write + fdatasync: {plain:.0} records/s; log: {kept:.0}; ratio {:.2}", kept / plain);
    Ok(())
}

fn plain_writes(path: &Path) -> Outcome<f64> {
    let mut file = File::create(path)?;
    let bytes = vec![b'x'; BATCH * (BYTES + 140)];
    let (start, mut batches) = (Instant::now(), 0);
    while start.elapsed().as_secs_f64() < SECONDS {
        file.write_all(&bytes)?;
        file.sync_data()?;
        batches += 1;
    }
    let rate = (batches * BATCH) as f64 / start.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

fn log_writes(folder: &Path) -> Outcome<f64> {
    let mut log = Log::open(Arc::new(OsDisk), folder, Settings::default())?;
    let mut source = Source::new(100)?;
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < SECONDS {
        log.append(&source.batch(BATCH), now())?;
    }
    let rate = source.turn as f64 / start.elapsed().as_secs_f64();
    drop(log);
    fs::remove_dir_all(folder)?;
    Ok(rate)
}

fn fill(folder: &Path, records: usize, streams: usize) -> Outcome<()> {
    let settings = Settings::default();
    if !folder.exists() {
        let mut log = Log::open(Arc::new(OsDisk), folder, settings)?;
        let mut source = Source::new(streams)?;
        let start = Instant::now();
        while (source.turn as usize) < records {
            log.append(&source.batch(LARGE_BATCH), now())?;
        }
        println!("{} records in {:.1} s", source.turn, start.elapsed().as_secs_f64());
        println!("written: {:?}, {} MB resident", log.metrics(now()), resident()?);
        return Ok(());
    }
    println!("before: {} MB resident", resident()?);
    let start = Instant::now();
    let log = Log::open(Arc::new(OsDisk), folder, settings)?;
    println!("opened in {:.2} s, {} MB resident", start.elapsed().as_secs_f64(), resident()?);
    println!("{:?}", log.metrics(now()));
    let (reader, mut read) = (log.reader(), 0);
    let start = Instant::now();
    for spot in reader.heads().iter().take(200) {
        let part = Part { epoch: spot.epoch, from: 1, to: spot.i };
        read += reader.read(&spot.stream, part, 1_000, 1 << 20)?.entries.len();
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{read} records of 200 streams read in {seconds:.2} s, {} MB resident", resident()?);
    let start = Instant::now();
    log.close()?;
    println!("closed in {:.2} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn resident() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).ok_or("no VmHWM")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kilobytes / 1_024)
}
