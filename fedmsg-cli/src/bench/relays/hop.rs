//! From a producer through a relay to a subscriber, which verifies what the relay has verified before it, against a
//! publisher that the same subscriber is connected to: both keep nothing, in turns.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use fedmsg::{Draft, Event, Identity, Publisher, StreamName, Subscriber};
use fedmsg_tool::CommonOptions;

use super::super::bus::Bus;
use super::super::children::Running;
use super::super::holding::{WAITING, publisher_takes};
use super::super::place::Place;
use super::super::progress::Progress;
use super::super::roles::{Body, Role, SILENCE, START, config, now};
use super::super::tally::quantile;
use super::super::{Bound, Error, Figure};
use super::load;
use super::relay::Relay;

/// How often each publishes its part of the messages.
const TURNS: u64 = 4;
/// Part of the rate of one hop that two must reach.
const LEAST: f64 = 0.5;
/// How long one message is waited for before another one is published, until the first has come.
const TRIAL: Duration = Duration::from_millis(100);

/// The figure.
pub(in super::super) fn measure(
    place: &Place,
    messages: u64,
    size: usize,
) -> Result<Figure, Error> {
    let bus = Bus::both_ways(place.path())?;
    let folder = bus.config_dir();
    let _relay = Relay::start(&folder)?;
    let builder = Subscriber::builder().config(load(&folder)?).pattern("bench.message");
    let subscriber = builder.build().map_err(Error::other)?;
    let mut ways = Vec::new();
    for identity in &bus.identities {
        let role = Role::ToldWithout { identity: identity.clone(), size };
        let mut publisher = Running::start(&role, Some(&folder))?;
        let stream = StreamName::parse(publisher.line()?.trim_end()).map_err(Error::other)?;
        ways.push(Way { publisher, stream, last: 0, lost: 0, duplicates: 0 });
    }
    ways.iter_mut().try_for_each(|way| way.open(&subscriber))?;
    let each = messages.div_ceil(TURNS);
    let progress = Progress::new("hop", 2 * each * TURNS);
    let (mut ratios, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
    for turn in 1..=TURNS {
        for (way, rates) in ways.iter_mut().zip(&mut rates) {
            rates.push(each as f64 / way.carry(each, &subscriber)?.as_secs_f64());
        }
        let [relayed, direct] = [0, 1].map(|way| rates[way].last().copied().unwrap_or_default());
        ratios.push(relayed / direct);
        progress.at(2 * each * turn);
    }
    let sum = |of: fn(&Way) -> u64| ways.iter().map(of).sum::<u64>();
    let (lost, duplicates) = (sum(|way| way.lost), sum(|way| way.duplicates));
    let [low, middle, high] = [0.0, 0.5, 1.0].map(|part| quantile(&ratios, part));
    let [relayed, direct] = rates.map(|rates| quantile(&rates, 0.5));
    Ok(Figure {
        name: "hop",
        value: middle,
        unit: "of one hop",
        bound: Bound::AtLeast(LEAST),
        whole: lost == 0 && duplicates == 0,
        lost,
        duplicates,
        detail: format!(
            "{relayed:.0}/s through a relay that stores them, {direct:.0}/s without; {low:.2} to {high:.2} in {TURNS} turns; {}",
            place.name(),
        ),
    })
}

/// One publisher, and what has come of it.
struct Way {
    publisher: Running,
    stream: StreamName,
    /// The last number that has come.
    last: u64,
    lost: u64,
    duplicates: u64,
}

impl Way {
    /// Publishes single messages until one comes: from then on the subscriber misses none.
    fn open(&mut self, subscriber: &Subscriber) -> Result<(), Error> {
        let (start, mut published) = (Instant::now(), 0);
        while start.elapsed() < START {
            self.publisher.tell("1")?;
            self.publisher.line()?;
            published += 1;
            while let Some(event) = subscriber.recv(Some(TRIAL)) {
                match event {
                    Event::Message(message) if *message.stream() == self.stream => {
                        self.last = message.i();
                    }
                    _ => {}
                }
                if self.last == published {
                    return Ok(());
                }
            }
        }
        Err(Error::Other(format!("nothing of {} comes", self.stream)))
    }

    /// Publishes so many messages; the time until the last one has come.
    fn carry(&mut self, count: u64, subscriber: &Subscriber) -> Result<Duration, Error> {
        let until = self.last + count;
        self.publisher.tell(&count.to_string())?;
        let (start, mut came) = (Instant::now(), Instant::now());
        while self.last < until {
            let left = SILENCE.saturating_sub(came.elapsed());
            match subscriber.recv(Some(left)) {
                Some(Event::Message(message)) if *message.stream() == self.stream => {
                    if message.i() <= self.last {
                        self.duplicates += 1;
                        continue;
                    }
                    self.lost += message.i() - self.last - 1;
                    (self.last, came) = (message.i(), Instant::now());
                }
                Some(_) if !left.is_zero() => {}
                _ => {
                    self.lost += until - self.last;
                    self.last = until;
                }
            }
        }
        let took = start.elapsed();
        self.publisher.line()?;
        Ok(took)
    }
}

/// Says its stream, publishes so many messages as each line of stdin says, and says when all have their receipts. It
/// waits for no subscriber: a relay's are not known here.
pub(in super::super) fn publish_as_told(
    identity: &str,
    size: usize,
    common: &CommonOptions,
) -> Result<(), Error> {
    let identity = Identity::parse(identity).map_err(Error::other)?;
    let builder = Publisher::builder().config(config(common)?).identity(identity);
    let publisher = builder.build().map_err(Error::other)?;
    let pad = "x".repeat(size.saturating_sub(60));
    let mut waiting = VecDeque::with_capacity(WAITING);
    say(publisher.stream().as_str())?;
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
        say("published")?;
    }
    Ok(())
}

fn say(line: &str) -> Result<(), Error> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}
