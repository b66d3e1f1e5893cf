//! What was published while the path between a publisher and a reader was cut: how long after the path is back it is
//! there, in order. Many messages, and the last one of a stream that is silent afterwards.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedmsg::config::{Config, LoadOptions};
use fedmsg::{Draft, Event, Identity, Publisher, Subscriber};
use fedmsg_badnet::{Mode, Proxy, Way};
use fedmsg_tool::CommonOptions;

use super::bus::Bus;
use super::children::Running;
use super::holding::{WAITING, publisher_takes};
use super::place::Place;
use super::progress::Progress;
use super::roles::{Body, Role, START, config, now};
use super::{Bound, Error, Figure};

/// Part of the messages that is missing: 10,000 when `--messages` is at its default.
const PART: u64 = 20;
/// Seconds until many messages, and until the last one, must be back.
const MANY_SECONDS_MAX: f64 = 5.0;
const LAST_SECONDS_MAX: f64 = 10.0;
/// After so long without a message, what has not come counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// A network that answers with resets, and one that is silent, as a cable that was pulled is.
const CUTS: [(Mode, &str); 2] = [(Mode::Reset, "resets"), (Mode::Stall, "silence")];

/// Both figures: the longest times of all kinds of cuts.
pub(super) fn measure(place: &Place, messages: u64, size: usize) -> Result<Vec<Figure>, Error> {
    let missing = messages.div_ceil(PART);
    let mut scene = Scene::new(place, size)?;
    let (mut many, mut last) = (Vec::new(), Vec::new());
    let progress = Progress::new("repair", 2 * CUTS.len() as u64);
    for (mode, _) in CUTS {
        many.push(scene.without_path(mode, missing)?);
        progress.at((many.len() + last.len()) as u64);
        last.push(scene.without_path(mode, 1)?);
        progress.at((many.len() + last.len()) as u64);
    }
    drop(progress);
    Ok(vec![
        figure("repair", MANY_SECONDS_MAX, &many, &format!("{missing} messages"), place),
        figure("repair last", LAST_SECONDS_MAX, &last, "the last message", place),
    ])
}

fn figure(name: &'static str, most: f64, times: &[Back], what: &str, place: &Place) -> Figure {
    let each = CUTS.iter().zip(times).map(|((_, cut), back)| {
        let (seconds, fetched) = (back.took.as_secs_f64(), back.fetched as f64 / 1_024.0);
        format!("{seconds:.2} s after {cut} ({fetched:.1} KiB by replay)")
    });
    let each = each.collect::<Vec<_>>().join(", ");
    let sum = |of: fn(&Back) -> u64| times.iter().map(of).sum();
    let (lost, duplicates) = (sum(|back| back.lost), sum(|back| back.duplicates));
    Figure {
        name,
        value: times.iter().map(|back| back.took.as_secs_f64()).fold(0.0, f64::max),
        unit: "s at most",
        bound: Bound::AtMost(most),
        whole: lost == 0 && duplicates == 0,
        lost,
        duplicates,
        detail: format!("{what} back in order: {each}; {}", place.name()),
    }
}

/// What became of the messages of one cut.
#[derive(Default)]
struct Back {
    took: Duration,
    /// Bytes that came from where the publisher answers for what it keeps.
    fetched: u64,
    /// Messages that did not come, or not in their turn.
    lost: u64,
    duplicates: u64,
}

/// A publisher in a process of its own, and a reader that reaches it through two proxies.
struct Scene {
    publisher: Running,
    subscriber: Subscriber,
    publish: Proxy,
    replay: Proxy,
    /// The last number that was published.
    last: u64,
    size: usize,
    _bus: Bus,
}

impl Scene {
    fn new(place: &Place, size: usize) -> Result<Scene, Error> {
        let bus = Bus::kept(1, place.path())?;
        let [publish, replay] = bus.addresses(0);
        let (publish, replay) = (Proxy::to(publish)?, Proxy::to(replay)?);
        let folder = bus.reader_dir(0, [publish.address(), replay.address()])?;
        let identity = bus.identities[0].clone();
        let mut publisher =
            Running::start(&Role::Told { identity, size }, Some(&bus.config_dir()))?;
        let options = LoadOptions { folder: Some(folder), ..LoadOptions::default() };
        let config = Arc::new(Config::load(&options).map_err(Error::other)?);
        let builder = Subscriber::builder().config(config).pattern("bench.message");
        let subscriber = builder.build().map_err(Error::other)?;
        publisher.line()?;
        let mut scene = Scene { publisher, subscriber, publish, replay, last: 0, size, _bus: bus };
        // From here on the reader knows the stream.
        scene.publish(1)?;
        match scene.back(1, Instant::now())? {
            Back { lost: 0, .. } => Ok(scene),
            _ => Err(Error::other("the first message did not come")),
        }
    }

    fn proxies(&self) -> [&Proxy; 2] {
        [&self.publish, &self.replay]
    }

    /// Publishes so many messages, and waits until they are stored.
    fn publish(&mut self, count: u64) -> Result<(), Error> {
        self.last += count;
        self.publisher.tell(&count.to_string())?;
        self.publisher.line().map(drop)
    }

    /// Cuts the path until the reader has given its connection up, publishes so many messages, heals the path, and
    /// waits for them.
    fn without_path(&mut self, mode: Mode, count: u64) -> Result<Back, Error> {
        let made = self.publish.accepted();
        self.proxies().into_iter().for_each(|proxy| proxy.set_both(mode));
        self.publish.wait_accepted(made + 1)?;
        let first = self.last + 1;
        self.publish(count)?;
        let before = self.replay.passed(Way::Down);
        self.proxies().into_iter().for_each(Proxy::heal);
        let back = self.back(first, Instant::now())?;
        if back.lost == 0 {
            // What came without being asked for was not missing, and says nothing about repair.
            self.replay.wait_passed(Way::Down, before + count * self.size as u64)?;
        }
        Ok(Back { fetched: self.replay.passed(Way::Down) - before, ..back })
    }

    /// Waits for the messages from this number to the last one, in their order.
    fn back(&mut self, first: u64, healed: Instant) -> Result<Back, Error> {
        let (mut back, mut next, mut came) = (Back::default(), first, healed);
        while next <= self.last {
            let left = PATIENCE.saturating_sub(came.elapsed());
            match self.subscriber.recv(Some(left)) {
                Some(Event::Message(message)) => {
                    let i = message.i();
                    if i < next {
                        back.duplicates += 1;
                        continue;
                    }
                    back.lost += i - next;
                    (next, came) = (i + 1, Instant::now());
                }
                Some(_) if !left.is_zero() => {}
                _ => {
                    back.lost += self.last + 1 - next;
                    break;
                }
            }
        }
        back.took = healed.elapsed();
        Ok(back)
    }
}

/// Publishes so many messages at level `local` as each line of stdin says, and says when they are stored.
pub(super) fn publish_as_told(
    identity: &str,
    size: usize,
    common: &CommonOptions,
) -> Result<(), Error> {
    let identity = Identity::parse(identity).map_err(Error::other)?;
    let builder = Publisher::builder().config(config(common)?).identity(identity);
    let publisher = builder.build().map_err(Error::other)?;
    if !publisher.wait_for_subscribers(1, START) {
        return Err(Error::other("no subscriber came"));
    }
    let pad = "x".repeat(size.saturating_sub(60));
    let mut waiting = VecDeque::with_capacity(WAITING);
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        for n in 0..line?.parse().map_err(Error::other)? {
            if waiting.len() == WAITING {
                publisher_takes(waiting.pop_front())?;
            }
            let body = Body { s: 0, n, t: now(), pad: &pad };
            let draft = Draft::new("bench.message").body(&body);
            waiting.push_back(publisher.enqueue(draft).map_err(Error::other)?);
        }
        waiting.drain(..).try_for_each(|ticket| publisher_takes(Some(ticket)))?;
        say("stored")?;
    }
    Ok(())
}

fn say(line: &str) -> Result<(), Error> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}
