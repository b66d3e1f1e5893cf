//! What the child processes of a benchmark do: publish and read, through the library or bare libzmq.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fedmsg::config::Config;
use fedmsg::{Draft, Event, Identity, Publisher, Subscriber};
use fedmsg_tool::CommonOptions;
use serde::{Deserialize, Serialize};

use super::Error;
use super::holding;
use super::relays;
use super::repair;
use super::tally::Tally;

/// The work of one child, as JSON on its command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Role {
    Publish { identities: Vec<String>, first: usize, load: Load },
    Read { publishers: usize, messages: u64 },
    BarePublish { addresses: Vec<String>, first: usize, load: Load, topic: usize },
    BareRead { addresses: Vec<String>, messages: u64 },
    Hold { identities: Vec<String>, messages: u64, size: usize },
    CatchUp { messages: u64 },
    Told { identity: String, size: usize },
    ToldWithout { identity: String, size: usize },
    BareHold { address: String, topic: usize, envelope: usize },
    BareCatchUp { address: String, messages: u64 },
}

/// How much each publisher of a process publishes, and how fast.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) messages: u64,
    pub(super) size: usize,
    /// Messages a second from each publisher; nothing is as fast as it goes.
    pub(super) rate: Option<u64>,
    /// Subscribers to wait for.
    pub(super) readers: usize,
    /// Each message waits for its receipt.
    pub(super) wait: bool,
}

/// What a message says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Body<'a> {
    /// Which publisher, and which of its messages.
    pub(super) s: usize,
    pub(super) n: u64,
    /// Nanoseconds since 1970 when it was given to the publisher.
    pub(super) t: u64,
    #[serde(default)]
    pub(super) pad: &'a str,
}

/// Longest silence before a reader gives up.
pub(super) const SILENCE: Duration = Duration::from_secs(4);
/// From this many messages a second on, what is due within the next millisecond is sent at once: a sleep for
/// each message would cost more than the message.
const BURSTS_FROM: u64 = 2_000;
const BURST: Duration = Duration::from_millis(1);
pub(super) const START: Duration = Duration::from_secs(60);

pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn play(role: Role, common: &CommonOptions) -> Result<(), Error> {
    match role {
        Role::Publish { identities, first, load } => publish(&identities, first, load, common),
        Role::Read { publishers, messages } => read(publishers, messages, common),
        Role::BarePublish { addresses, first, load, topic } => {
            bare_publish(&addresses, first, load, topic)
        }
        Role::BareRead { addresses, messages } => bare_read(&addresses, messages),
        Role::Hold { identities, messages, size } => {
            holding::hold(&identities, messages, size, common)
        }
        Role::CatchUp { messages } => holding::catch_up(messages, common),
        Role::Told { identity, size } => repair::publish_as_told(&identity, size, common),
        Role::ToldWithout { identity, size } => relays::publish_as_told(&identity, size, common),
        Role::BareHold { address, topic, envelope } => {
            holding::bare_hold(&address, topic, envelope)
        }
        Role::BareCatchUp { address, messages } => holding::bare_catch_up(&address, messages),
    }
}

pub(super) fn config(common: &CommonOptions) -> Result<Arc<Config>, Error> {
    Ok(Arc::new(Config::load(&common.load_options()).map_err(Error::other)?))
}

/// Says that all is ready, and waits for the start.
pub(super) fn ready() -> Result<(), Error> {
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Calls `send` for each message of each publisher, at the pace of the load.
fn pace(
    publishers: usize,
    load: Load,
    mut send: impl FnMut(usize, u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let rate = load.rate.map(|rate| rate * publishers as u64);
    let ahead = if rate.is_some_and(|rate| rate >= BURSTS_FROM) { BURST } else { Duration::ZERO };
    let start = Instant::now();
    for n in 0..load.messages {
        for at in 0..publishers {
            if let Some(rate) = rate {
                let count = n * publishers as u64 + at as u64;
                let due = Duration::from_secs(1).mul_f64(count as f64 / rate as f64);
                let early = due.saturating_sub(start.elapsed());
                if early > ahead {
                    sleep(early);
                }
            }
            send(at, n)?;
        }
    }
    Ok(())
}

fn publish(
    names: &[String],
    first: usize,
    load: Load,
    common: &CommonOptions,
) -> Result<(), Error> {
    let config = config(common)?;
    let open = |name: &String| {
        let identity = Identity::parse(name).map_err(Error::other)?;
        let builder = Publisher::builder().config(Arc::clone(&config)).identity(identity);
        builder.build().map_err(Error::other)
    };
    let publishers = names.iter().map(open).collect::<Result<Vec<_>, Error>>()?;
    for publisher in &publishers {
        if !publisher.wait_for_subscribers(load.readers, START) {
            return Err(Error::other("no subscriber came"));
        }
    }
    ready()?;
    let pad = "x".repeat(load.size.saturating_sub(60));
    pace(publishers.len(), load, |at, n| {
        let body = Body { s: first + at, n, t: now(), pad: &pad };
        let draft = Draft::new("bench.message").body(&body);
        match load.wait {
            true => publishers[at].publish(draft).wait().map(drop),
            false => publishers[at].enqueue(draft).map(drop),
        }
        .map_err(Error::other)
    })?;
    publishers.iter().for_each(Publisher::close);
    Ok(())
}

fn read(publishers: usize, messages: u64, common: &CommonOptions) -> Result<(), Error> {
    let builder = Subscriber::builder().config(config(common)?).pattern("bench.message");
    let subscriber = builder.build().map_err(Error::other)?;
    let mut tally = Tally::new(publishers, messages);
    let mut deadline = Instant::now() + START;
    while !tally.is_complete() && Instant::now() < deadline {
        match subscriber.recv(Some(Duration::from_millis(250))) {
            Some(Event::Message(message)) => {
                let body: Body<'_> = serde_json::from_str(message.msg()).map_err(Error::other)?;
                let wire = message.wire();
                tally.count(body.s, body.n, body.t, (wire.topic.len(), wire.envelope.len()));
                if tally.received % 1_024 == 1 {
                    deadline = Instant::now() + SILENCE;
                }
            }
            Some(Event::Rejected(_)) => tally.rejected += 1,
            Some(_) => {}
            None if tally.received > 0 => {}
            None => continue,
        }
    }
    tell(&tally)
}

fn bare_publish(addresses: &[String], first: usize, load: Load, topic: usize) -> Result<(), Error> {
    let context = zmq::Context::new();
    let mut sockets = Vec::new();
    for address in addresses {
        let socket = context.socket(zmq::XPUB)?;
        socket.set_sndhwm(0)?;
        socket.bind(address)?;
        sockets.push(socket);
    }
    for socket in &sockets {
        for _ in 0..load.readers {
            socket.recv_bytes(0)?;
        }
    }
    ready()?;
    let topic = "t".repeat(topic);
    let mut frame = vec![b'x'; load.size.max(24)];
    pace(sockets.len(), load, |at, n| {
        let numbers = [(first + at) as u64, n, now()];
        for (place, number) in frame.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        sockets[at].send(&topic, zmq::SNDMORE)?;
        sockets[at].send(&frame[..], 0)?;
        Ok(())
    })
}

fn bare_read(addresses: &[String], messages: u64) -> Result<(), Error> {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::SUB)?;
    socket.set_rcvhwm(0)?;
    socket.set_subscribe(b"")?;
    socket.set_rcvtimeo(i32::try_from(SILENCE.as_millis()).unwrap_or(i32::MAX))?;
    addresses.iter().try_for_each(|address| socket.connect(address))?;
    let mut tally = Tally::new(addresses.len(), messages);
    let start = Instant::now();
    while !tally.is_complete() {
        let topic = match socket.recv_bytes(0) {
            Ok(topic) => topic,
            Err(zmq::Error::EAGAIN) if tally.received == 0 && start.elapsed() < START => continue,
            Err(zmq::Error::EAGAIN) => break,
            Err(error) => return Err(error.into()),
        };
        let frame = socket.recv_bytes(0)?;
        let mut numbers = frame.chunks_exact(8).map(|chunk| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(chunk);
            u64::from_le_bytes(bytes)
        });
        let mut number = || numbers.next().unwrap_or_default();
        let (s, n, t) = (number() as usize, number(), number());
        tally.count(s, n, t, (topic.len(), frame.len()));
    }
    tell(&tally)
}

pub(super) fn tell(tally: &Tally) -> Result<(), Error> {
    println!("{}", serde_json::to_string(&tally.result()).map_err(Error::other)?);
    Ok(())
}
