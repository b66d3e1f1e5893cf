//! What the child processes of the replay figure do: keep and answer, ask and catch up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedmsg::envelope::Wire;
use fedmsg::frames::{Answer, Reply, RequestId};
use fedmsg::limits::{GET_BYTES_MAX, GET_MESSAGES_MAX};
use fedmsg::sequence::Begin;
use fedmsg::{Draft, Event, Identity, Publisher, Subscriber};
use fedmsg_tool::CommonOptions;

use super::Error;
use super::progress::Progress;
use super::roles::{Body, SILENCE, START, config, now, ready, tell};
use super::tally::Tally;

/// Messages that wait for their receipts while the journal is filled.
pub(super) const WAITING: usize = 1_000;

/// Publishes so many messages of each at level `local`, and answers for them until it is ended.
pub(super) fn hold(
    identities: &[String],
    messages: u64,
    size: usize,
    common: &CommonOptions,
) -> Result<(), Error> {
    let config = config(common)?;
    let open = |name: &String| {
        let identity = Identity::parse(name).map_err(Error::other)?;
        let builder = Publisher::builder().config(Arc::clone(&config)).identity(identity);
        builder.build().map_err(Error::other)
    };
    let publishers = identities.iter().map(open).collect::<Result<Vec<_>, Error>>()?;
    let pad = "x".repeat(size.saturating_sub(60));
    let progress = Progress::new("filling journals", messages * publishers.len() as u64);
    let mut waiting = VecDeque::with_capacity(WAITING);
    for n in 0..messages {
        for (s, publisher) in publishers.iter().enumerate() {
            if waiting.len() == WAITING {
                publisher_takes(waiting.pop_front())?;
                progress.at(n * publishers.len() as u64);
            }
            let body = Body { s, n, t: now(), pad: &pad };
            let draft = Draft::new("bench.message").body(&body);
            waiting.push_back(publisher.enqueue(draft).map_err(Error::other)?);
        }
    }
    waiting.into_iter().try_for_each(|ticket| publisher_takes(Some(ticket)))?;
    drop(progress);
    // The holder is there until whoever started it ends it.
    ready()
}

pub(super) fn publisher_takes(ticket: Option<fedmsg::publisher::Ticket>) -> Result<(), Error> {
    ticket.map_or(Ok(()), |ticket| ticket.wait().map(drop).map_err(Error::other))
}

/// Reads a stream from its beginning.
pub(super) fn catch_up(messages: u64, common: &CommonOptions) -> Result<(), Error> {
    let builder = Subscriber::builder().config(config(common)?).pattern("bench.message");
    let subscriber = builder.begin(Begin::Earliest).build().map_err(Error::other)?;
    let mut tally = Tally::new(1, messages);
    let progress = Progress::new("catching up", messages);
    let mut deadline = Instant::now() + START;
    while !tally.is_complete() && Instant::now() < deadline {
        match subscriber.recv(Some(Duration::from_millis(250))) {
            Some(Event::Message(message)) => {
                let body: Body<'_> = serde_json::from_str(message.msg()).map_err(Error::other)?;
                if message.i() != body.n + 1 || body.n != tally.received {
                    let (i, received) = (message.i(), tally.received);
                    return Err(Error::Other(format!("number {i} came after {received}")));
                }
                let wire = message.wire();
                tally.count(0, body.n, body.t, (wire.topic.len(), wire.envelope.len()));
                if tally.received % 1_024 == 1 {
                    deadline = Instant::now() + SILENCE;
                    progress.at(tally.received);
                }
            }
            Some(Event::Rejected(_)) => tally.rejected += 1,
            _ => {}
        }
    }
    drop(progress);
    tell(&tally)
}

/// How many messages of these lengths one answer brings.
fn portion(topic: usize, envelope: usize) -> u64 {
    let fitting = GET_BYTES_MAX / (topic + envelope).max(1);
    GET_MESSAGES_MAX.min(fitting.max(1) as u64)
}

/// Answers each request with a portion of frames as they are in a real answer.
pub(super) fn bare_hold(address: &str, topic: usize, envelope: usize) -> Result<(), Error> {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::ROUTER)?;
    socket.set_sndhwm(0)?;
    socket.bind(address)?;
    println!("ready");
    let id = RequestId::new(b"1").ok_or_else(|| Error::other("an id"))?;
    let bytes = |length| Bytes::from(vec![b'x'; length]);
    let wire = Wire { topic: bytes(topic), envelope: bytes(envelope) };
    let message = Answer { id: id.clone(), reply: Reply::Msg { i: 1, wire } }.encode();
    let end = Answer { id, reply: Reply::End { upto: 1, more: true } }.encode();
    loop {
        let asked = socket.recv_multipart(0)?;
        let peer = asked.first().ok_or_else(|| Error::other("a request of no frames"))?;
        for frames in std::iter::repeat_n(&message, portion(topic, envelope) as usize).chain([&end])
        {
            socket.send(&peer[..], zmq::SNDMORE)?;
            let (last, before) = frames.split_last().ok_or_else(|| Error::other("no frames"))?;
            before.iter().try_for_each(|frame| socket.send(&frame[..], zmq::SNDMORE))?;
            socket.send(&last[..], 0)?;
        }
    }
}

/// Asks for one portion after the other.
pub(super) fn bare_catch_up(address: &str, messages: u64) -> Result<(), Error> {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::DEALER)?;
    socket.set_rcvhwm(0)?;
    socket.set_rcvtimeo(i32::try_from(SILENCE.as_millis()).unwrap_or(i32::MAX))?;
    socket.connect(address)?;
    let mut tally = Tally::new(1, messages);
    while !tally.is_complete() {
        socket.send("more", 0)?;
        loop {
            // The frames of a message are read one by one, as the library does.
            let (mut frames, mut lengths) = (0, [0; 2]);
            loop {
                let frame = socket.recv_msg(0)?;
                (frames, lengths) = (frames + 1, [lengths[1], frame.len()]);
                if !frame.get_more() {
                    break;
                }
            }
            // An answer ends with a message that has a frame less.
            if frames < MESSAGE_FRAMES {
                break;
            }
            tally.count(0, tally.received, now(), (lengths[0], lengths[1]));
        }
    }
    tell(&tally)
}

/// Frames of one message in an answer: protocol, verb, request, number, topic, envelope.
const MESSAGE_FRAMES: usize = 6;
