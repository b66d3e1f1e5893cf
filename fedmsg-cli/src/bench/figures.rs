//! The figures: how each is measured, and what must hold.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedmsg::envelope::Epoch;
use fedmsg::merkle::Leaf;
use fedmsg::record::{After, Level};
use fedmsg::seal::{Checked, Sealer, check};
use fedmsg::timestamp::Timestamp;
use fedmsg::{Config, Draft, Identity, StreamName};
use fedmsg_tool::CommonOptions;

use super::bus::{Bus, free_addresses};
use super::children::Running;
use super::local;
use super::past;
use super::place::Place;
use super::relays;
use super::repair;
use super::replay;
use super::roles::{Load, Role};
use super::tail;
use super::tally::Counted;
use super::{Bound, Error, Figure, Options, Which};

/// How the publishers are spread over processes.
#[derive(Clone, Copy)]
struct Shape {
    processes: usize,
    each: usize,
}

const ONE: Shape = Shape { processes: 1, each: 1 };
const HUNDRED: Shape = Shape { processes: 10, each: 10 };

pub(super) fn measure(
    which: Which,
    options: &Options,
    common: &CommonOptions,
) -> Result<Vec<Figure>, Error> {
    let (messages, size) = (options.messages, options.size);
    let load = Load { messages, size, rate: None, readers: 1, wait: false };
    let at_rate = |rate| Load { rate: Some(rate), messages: rate * options.seconds, ..load };
    match which {
        Which::Throughput => ratio("throughput", ONE, load, 0.25),
        Which::Streams => {
            ratio("streams", HUNDRED, Load { messages: messages.div_ceil(100), ..load }, 0.15)
        }
        Which::Paced => Ok(vec![
            paced("paced one", ONE, at_rate(50_000), 5_000.0)?,
            paced("paced hundred", HUNDRED, at_rate(300), 20_000.0)?,
        ]),
        Which::Latency => latency(Load { wait: true, ..at_rate(1_000) }),
        Which::Seal => Ok(vec![seal(size)?]),
        Which::Stopped => Ok(vec![stopped(Load { readers: 3, ..load })?]),
        Which::Memory => Ok(vec![memory(load)?]),
        Which::Tail => Ok(vec![tail::measure(load)?]),
        Which::Local => local::measure(&Place::new(options, common)?, messages, size),
        Which::Past => Ok(vec![past::measure(&Place::new(options, common)?, messages, size)?]),
        Which::Replay => Ok(vec![replay::measure(&Place::new(options, common)?, messages, size)?]),
        Which::Repair => repair::measure(&Place::new(options, common)?, messages, size),
        Which::Put => Ok(vec![relays::put(&Place::new(options, common)?, messages, size)?]),
        Which::Hop => Ok(vec![relays::hop(&Place::new(options, common)?, messages, size)?]),
        Which::Carried => relays::carried(&Place::new(options, common)?, messages),
        Which::Command => Ok(vec![relays::command(&Place::new(options, common)?)?]),
        Which::All => unreachable_all(),
    }
}

fn unreachable_all() -> Result<Vec<Figure>, Error> {
    Err(Error::other("`all` is measured one by one"))
}

/// Publishers and readers through the library; what each reader counted. The first `frozen` readers are stopped.
fn through(shape: Shape, load: Load, frozen: usize) -> Result<Vec<Counted>, Error> {
    let bus = Bus::new(shape.processes * shape.each)?;
    let folder = bus.config_dir();
    let read = Role::Read { publishers: bus.identities.len(), messages: load.messages };
    let readers: Result<Vec<_>, _> =
        (0..load.readers).map(|_| Running::start(&read, Some(&folder))).collect();
    let publish = bus.identities.chunks(shape.each).enumerate().map(|(at, names)| {
        let role = Role::Publish { identities: names.to_vec(), first: at * shape.each, load };
        Running::start(&role, Some(&folder))
    });
    let publishers = publish.collect::<Result<Vec<_>, _>>()?;
    finish(publishers, readers?, frozen)
}

/// The same through bare libzmq, with frames of these lengths.
fn bare(shape: Shape, load: Load, like: &Counted) -> Result<Counted, Error> {
    let addresses = free_addresses(shape.processes * shape.each)?;
    let load = Load { size: like.envelope, ..load };
    let read = Role::BareRead { addresses: addresses.clone(), messages: load.messages };
    let reader = Running::start(&read, None)?;
    let publish = addresses.chunks(shape.each).enumerate().map(|(at, part)| {
        let (addresses, first) = (part.to_vec(), at * shape.each);
        Running::start(&Role::BarePublish { addresses, first, load, topic: like.topic }, None)
    });
    let publishers = publish.collect::<Result<Vec<_>, _>>()?;
    let counted = finish(publishers, vec![reader], 0)?;
    counted.into_iter().next().ok_or_else(|| Error::other("no reader"))
}

fn finish(
    mut publishers: Vec<Running>,
    mut readers: Vec<Running>,
    frozen: usize,
) -> Result<Vec<Counted>, Error> {
    for publisher in &mut publishers {
        publisher.line()?;
    }
    readers.iter().take(frozen).try_for_each(Running::freeze)?;
    publishers.iter_mut().try_for_each(Running::go)?;
    let awake = readers.iter_mut().skip(frozen);
    awake.map(|reader| serde_json::from_str(&reader.line()?).map_err(Error::other)).collect()
}

fn single(shape: Shape, load: Load) -> Result<Counted, Error> {
    through(shape, load, 0)?.into_iter().next().ok_or_else(|| Error::other("no reader"))
}

fn figure(
    name: &'static str,
    value: f64,
    unit: &'static str,
    bound: Bound,
    of: &Counted,
) -> Figure {
    Figure {
        name,
        value,
        unit,
        bound,
        whole: of.lost == 0 && of.duplicates == 0 && of.rejected == 0,
        lost: of.lost,
        duplicates: of.duplicates,
        detail: String::new(),
    }
}

fn ratio(name: &'static str, shape: Shape, load: Load, least: f64) -> Result<Vec<Figure>, Error> {
    let ours = single(shape, load)?;
    let bare = bare(shape, load, &ours)?;
    let mut figure = figure(name, ours.rate / bare.rate, "of bare", Bound::AtLeast(least), &ours);
    figure.detail = format!("{:.0}/s, bare libzmq {:.0}/s", ours.rate, bare.rate);
    Ok(vec![figure])
}

fn paced(name: &'static str, shape: Shape, load: Load, most: f64) -> Result<Figure, Error> {
    let ours = single(shape, load)?;
    let mut figure = figure(name, ours.p99, "us p99", Bound::AtMost(most), &ours);
    figure.detail = format!(
        "p50 {:.0} us, p99 of the first third {:.0}, of the last {:.0}, {:.0}/s",
        ours.p50, ours.p99_first, ours.p99_last, ours.rate
    );
    Ok(figure)
}

fn latency(load: Load) -> Result<Vec<Figure>, Error> {
    let ours = single(ONE, load)?;
    let bare = bare(ONE, load, &ours)?;
    let over = ours.p50 - bare.p50;
    let mut figure = figure("latency", over, "us p50 over bare", Bound::AtMost(100.0), &ours);
    figure.detail = format!("p50 {:.0} us, bare libzmq {:.0} us", ours.p50, bare.p50);
    Ok(vec![figure])
}

fn stopped(load: Load) -> Result<Figure, Error> {
    let counted = through(ONE, load, 1)?;
    let worst = counted.iter().max_by_key(|counted| counted.lost);
    let worst = worst.ok_or_else(|| Error::other("no reader"))?;
    let least = Bound::AtLeast(load.messages as f64);
    let mut figure = figure("stopped", worst.received as f64, "received", least, worst);
    figure.detail = format!("{} readers beside a stopped one", counted.len());
    Ok(figure)
}

/// 64 waiting drafts, checked and sealed in one tree, against a signature for each.
fn seal(size: usize) -> Result<Figure, Error> {
    let bus = Bus::new(1)?;
    let folder = Some(bus.config_dir());
    let options = fedmsg::config::LoadOptions { folder, ..Default::default() };
    let config = Config::load(&options).map_err(Error::other)?;
    let identity = Identity::parse(&bus.identities[0]).map_err(Error::other)?;
    let key = Arc::new(config.secret_key(&identity).map_err(Error::other)?);
    let stream = StreamName::parse(&format!("{identity}/0")).map_err(Error::other)?;
    let epoch = Epoch::parse("01997530-0000-7000-8000-000000000001");
    let epoch = epoch.ok_or_else(|| Error::other("an epoch"))?;
    let time = Timestamp::from_millis(1_790_000_000_123);
    let before = (After::Nothing, Leaf::NONE);
    let (mut sealer, _) = Sealer::open_epoch(key, stream, epoch, before, Level::Memory, time);
    let body = serde_json::json!({ "n": 1, "pad": "x".repeat(size.saturating_sub(20)) });
    let drafts = || -> Result<Vec<Checked>, Error> {
        let draft = |_| Draft::new("bench.message").body(&body);
        let checked = |draft| check(draft, &identity, &config.trust, || "2026-bench".into());
        (0..64).map(draft).map(checked).collect::<Result<_, _>>().map_err(Error::other)
    };
    let rounds = 200;
    let mut took = [Duration::ZERO; 2];
    for _ in 0..rounds {
        let start = Instant::now();
        std::hint::black_box(sealer.seal(&drafts()?, time));
        took[0] += start.elapsed();
        let start = Instant::now();
        for one in drafts()? {
            std::hint::black_box(sealer.seal(&[one], time));
        }
        took[1] += start.elapsed();
    }
    let ratio = took[1].as_secs_f64() / took[0].as_secs_f64();
    let none = Counted::default();
    let mut figure = figure("seal", ratio, "times faster", Bound::AtLeast(3.0), &none);
    let each = |took: Duration| took.as_secs_f64() * 1e6 / f64::from(rounds * 64);
    figure.detail = format!(
        "{:.2} us a message in a tree, {:.2} us signed alone",
        each(took[0]),
        each(took[1])
    );
    Ok(figure)
}

/// Resident memory of a tail that follows 100 idle endpoints.
fn memory(load: Load) -> Result<Figure, Error> {
    let bus = Bus::new(100)?;
    let folder = bus.config_dir();
    let load = Load { messages: 0, ..load };
    let publish = bus.identities.chunks(10).map(|names| {
        Running::start(&Role::Publish { identities: names.to_vec(), first: 0, load }, Some(&folder))
    });
    let mut publishers = publish.collect::<Result<Vec<_>, _>>()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("tail").arg("--config-dir").arg(&folder).stdin(Stdio::null());
    let mut tail = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let ready = publishers.iter_mut().try_for_each(|publisher| publisher.line().map(drop));
    std::thread::sleep(Duration::from_secs(2));
    let status = std::fs::read_to_string(format!("/proc/{}/status", tail.id()));
    tail.kill()?;
    tail.wait()?;
    ready?;
    let status = status?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = kilobytes.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    let megabytes = kilobytes.ok_or_else(|| Error::other("the tail has ended"))? / 1_024.0;
    let none = Counted::default();
    let mut figure = figure("memory", megabytes, "MB", Bound::AtMost(25.0), &none);
    figure.detail = "fedmsg tail on 100 idle endpoints".into();
    Ok(figure)
}
