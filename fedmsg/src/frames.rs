//! The frames of replay: what is asked of a holder of streams, and what it answers.
//!
//! A request or an answer is one ZeroMQ message of several frames: `R1`, a verb, the asker's request id,
//! and what the verb needs. Integers are frames of 8 bytes, big-endian. `docs/wire-format.md` has the table.
//! Every bound is checked before anything is copied, so that a stranger's frames cost nothing.

use bytes::Bytes;

use crate::envelope::{Epoch, Wire};
pub use crate::frame_fields::Frame;
use crate::frame_fields::{Fields, Writer};
pub use crate::frame_parts::{
    Acknowledged, Completeness, ErrorCode, FrameError, Range, RequestId, Span, Spot, Word,
};
use crate::identity::StreamName;
use crate::limits;
use crate::merkle::Leaf;
use crate::timestamp::Timestamp;
use crate::topic::Pattern;

/// The first frame of every request and answer.
pub const VERSION: &[u8] = b"R1";

/// What is asked of a holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The asker's name for it.
    pub id: RequestId,
    /// The question.
    pub ask: Ask,
}

/// The questions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ask {
    /// `HEAD`: how far the stream is. Answer: [`Reply::Info`].
    Head {
        /// The stream.
        stream: StreamName,
    },
    /// `LIST`: which streams changed. Answer: [`Reply::Page`].
    List {
        /// The `next` of an earlier answer, or nothing for all streams.
        token: Bytes,
    },
    /// `FIND`: where to begin for everything since a time. Answer: [`Reply::Found`].
    Find {
        /// The stream.
        stream: StreamName,
        /// The time.
        time: Timestamp,
    },
    /// `GET`: records, the genesis record being number 0. Answers: [`Reply::Msg`] and [`Reply::Gone`] in
    /// the order of their numbers, then one [`Reply::End`].
    Get {
        /// The stream.
        stream: StreamName,
        /// The epoch.
        epoch: Epoch,
        /// The first number.
        from: u64,
        /// The last number.
        to: u64,
        /// The most records that the asker wants; the holder has bounds of its own.
        max: u64,
        /// Only what one of these matches; all when there are none.
        filters: Vec<Pattern>,
    },
    /// `PUT`: messages to be kept and published. Answers: [`Reply::Accepted`], [`Reply::Stored`],
    /// [`Reply::Refused`] and [`Reply::Expect`], which together name every message exactly once.
    Put {
        /// 1 to 100 messages, at most 4 MiB, contiguous in each stream. They are not checked here, so
        /// that one bad message is refused alone.
        messages: Vec<Wire>,
    },
    /// `ACK`: a named consumer is done with everything up to here. Answer: [`Reply::Ok`].
    Ack {
        /// The stream.
        stream: StreamName,
        /// The epoch.
        epoch: Epoch,
        /// The last number that the consumer is done with.
        upto: u64,
        /// The consumer.
        consumer: Word,
    },
    /// `FLOORS`: what named consumers said by `ACK`. Answer: [`Reply::Floors`]. Holders from before this
    /// question call it `malformed`, which says nothing about consumers.
    Floors {
        /// The stream.
        stream: StreamName,
    },
}

impl Request {
    /// Reads the frames of a request. An error can be answered: [`FrameError::answer`].
    pub fn parse(frames: &[impl Frame]) -> Result<Request, FrameError> {
        let (verb, id, mut fields) = Fields::open(frames)?;
        let ask = match verb {
            b"HEAD" => Ask::Head { stream: fields.stream()? },
            b"LIST" => Ask::List { token: fields.bytes("token", limits::TOKEN_BYTES_MAX)? },
            b"FIND" => Ask::Find { stream: fields.stream()?, time: fields.time()? },
            b"GET" => Ask::get(&mut fields)?,
            b"PUT" => Ask::Put { messages: fields.messages()? },
            b"ACK" => Ask::Ack {
                stream: fields.stream()?,
                epoch: fields.epoch()?,
                upto: fields.i("upto")?,
                consumer: fields.word("consumer")?,
            },
            b"FLOORS" => Ask::Floors { stream: fields.stream()? },
            _ => return Err(FrameError::Verb),
        };
        fields.end()?;
        Ok(Request { id: id?, ask })
    }

    /// The frames.
    pub fn encode(&self) -> Vec<Bytes> {
        match &self.ask {
            Ask::Head { stream } => Writer::new("HEAD", &self.id).text(stream.as_str()),
            Ask::List { token } => Writer::new("LIST", &self.id).bytes(token),
            Ask::Find { stream, time } => {
                let millis = time.as_millis().max(0).unsigned_abs();
                Writer::new("FIND", &self.id).text(stream.as_str()).number(millis)
            }
            Ask::Get { stream, epoch, from, to, max, filters } => {
                let start = Writer::new("GET", &self.id).text(stream.as_str()).epoch(*epoch);
                let start = start.number(*from).number(*to).number(*max);
                filters.iter().fold(start, |out, filter| out.text(filter.as_str()))
            }
            Ask::Put { messages } => {
                messages.iter().fold(Writer::new("PUT", &self.id), Writer::wire)
            }
            Ask::Ack { stream, epoch, upto, consumer } => {
                let start = Writer::new("ACK", &self.id).text(stream.as_str()).epoch(*epoch);
                start.number(*upto).text(consumer.as_str())
            }
            Ask::Floors { stream } => Writer::new("FLOORS", &self.id).text(stream.as_str()),
        }
        .done()
    }
}

impl Ask {
    fn get<F: Frame>(fields: &mut Fields<'_, F>) -> Result<Ask, FrameError> {
        let (stream, epoch) = (fields.stream()?, fields.epoch()?);
        let (from, to, max) = (fields.i("from")?, fields.i("to")?, fields.number("max")?);
        if from > to {
            return Err(FrameError::Malformed("to"));
        }
        if max == 0 {
            return Err(FrameError::Malformed("max"));
        }
        let filters = fields.filters()?;
        Ok(Ask::Get { stream, epoch, from, to, max, filters })
    }
}

/// What a holder answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request that it answers.
    pub id: RequestId,
    /// The answer.
    pub reply: Reply,
}

/// The answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// `INFO`, to `HEAD`.
    Info {
        /// The newest heartbeat as it was signed, where the holder has one.
        heartbeat: Option<Wire>,
        /// Whether the holder keeps everything.
        completeness: Completeness,
        /// The newest epochs, oldest first.
        epochs: Vec<Range>,
    },
    /// `PAGE`, to `LIST`.
    Page {
        /// The token to ask with for what changes after this page.
        next: Bytes,
        /// There is more already.
        more: bool,
        /// The streams, each with its newest epoch and last number.
        streams: Vec<Spot>,
    },
    /// `FOUND`, to `FIND`: the first message at or after the time, or the number that the next one will have.
    Found {
        /// Its epoch.
        epoch: Epoch,
        /// Its number.
        i: u64,
    },
    /// `MSG`, to `GET`: one record as it was signed.
    Msg {
        /// Its number.
        i: u64,
        /// The record.
        wire: Wire,
    },
    /// `GONE`, to `GET`: a record that the holder refused or lost. Its leaf lets the chain go on, since the
    /// next record's `prev` names it.
    Gone {
        /// Its number.
        i: u64,
        /// Its leaf.
        leaf: Leaf,
        /// Why.
        reason: Word,
    },
    /// `END`, to `GET`: the last answer.
    End {
        /// Everything that was asked for up to this number was answered or filtered out.
        upto: u64,
        /// There is more behind it.
        more: bool,
    },
    /// `ACCEPTED`, to `PUT`: taken and published, but on no disk.
    Accepted {
        /// Which ones.
        span: Span,
    },
    /// `STORED`, to `PUT`: on the holder's disk.
    Stored {
        /// Which ones.
        span: Span,
        /// A record signed by the holder that says so; empty where there is none.
        receipt: Bytes,
    },
    /// `REFUSED`, to `PUT`: never taken.
    Refused {
        /// Which ones.
        span: Span,
        /// The name of a `Rejection`, or of an [`ErrorCode`].
        reason: Word,
        /// For people.
        text: String,
        /// Where the first one stands, if that could be read and its signature was good.
        spot: Option<Spot>,
    },
    /// `EXPECT`, to `PUT`: not taken, because something before it is missing here.
    Expect {
        /// Which ones.
        span: Span,
        /// What must come first.
        spot: Spot,
    },
    /// `OK`, to `ACK`.
    Ok,
    /// `FLOORS`, to `FLOORS`.
    Floors {
        /// How far each named consumer is with the stream, as it said itself; in order of the names.
        floors: Vec<Acknowledged>,
    },
    /// `ERR`, to anything.
    Err {
        /// What is wrong.
        code: ErrorCode,
        /// For people.
        text: String,
    },
}

impl Answer {
    /// Reads the frames of an answer.
    pub fn parse(frames: &[impl Frame]) -> Result<Answer, FrameError> {
        let (verb, id, mut fields) = Fields::open(frames)?;
        // An `ERR` alone may be without an id: the holder could not read one.
        let id = match frames[2].as_ref() {
            b"" if verb == b"ERR" => RequestId::NONE,
            _ => id?,
        };
        let reply = Reply::read(verb, &mut fields)?;
        fields.end()?;
        Ok(Answer { id, reply })
    }

    /// The frames. A text that is too long for its frame is cut.
    pub fn encode(&self) -> Vec<Bytes> {
        let verb = |verb| Writer::new(verb, &self.id);
        match &self.reply {
            Reply::Info { heartbeat, completeness, epochs } => {
                let start = match heartbeat {
                    Some(heartbeat) => verb("INFO").wire(heartbeat),
                    None => verb("INFO").text("").text(""),
                };
                let start = start.text(completeness.name());
                epochs.iter().fold(start, |out, range| {
                    out.epoch(range.epoch).number(range.first).number(range.last)
                })
            }
            Reply::Page { next, more, streams } => {
                let start = verb("PAGE").bytes(next).number(u64::from(*more));
                streams.iter().fold(start, Writer::spot)
            }
            Reply::Found { epoch, i } => verb("FOUND").epoch(*epoch).number(*i),
            Reply::Msg { i, wire } => verb("MSG").number(*i).wire(wire),
            Reply::Gone { i, leaf, reason } => {
                verb("GONE").number(*i).bytes(&leaf.0).text(reason.as_str())
            }
            Reply::End { upto, more } => verb("END").number(*upto).number(u64::from(*more)),
            Reply::Accepted { span } => verb("ACCEPTED").span(*span),
            Reply::Stored { span, receipt } => verb("STORED").span(*span).bytes(receipt),
            Reply::Refused { span, reason, text, spot } => {
                let start = verb("REFUSED").span(*span).text(reason.as_str()).cut_text(text);
                spot.iter().fold(start, Writer::spot)
            }
            Reply::Expect { span, spot } => verb("EXPECT").span(*span).spot(spot),
            Reply::Ok => verb("OK"),
            Reply::Floors { floors } => floors.iter().fold(verb("FLOORS"), Writer::acknowledged),
            Reply::Err { code, text } => verb("ERR").text(code.name()).cut_text(text),
        }
        .done()
    }
}

impl Reply {
    fn read<F: Frame>(verb: &[u8], fields: &mut Fields<'_, F>) -> Result<Reply, FrameError> {
        Ok(match verb {
            b"INFO" => Reply::Info {
                heartbeat: fields.optional_wire()?,
                completeness: fields.completeness()?,
                epochs: fields.ranges()?,
            },
            b"PAGE" => Reply::Page {
                next: fields.bytes("next", limits::TOKEN_BYTES_MAX)?,
                more: fields.flag("more")?,
                streams: fields.spots()?,
            },
            b"FOUND" => Reply::Found { epoch: fields.epoch()?, i: fields.i("i")? },
            b"MSG" => Reply::Msg { i: fields.i("i")?, wire: fields.wire()? },
            b"GONE" => Reply::Gone {
                i: fields.i("i")?,
                leaf: fields.leaf()?,
                reason: fields.word("reason")?,
            },
            b"END" => Reply::End { upto: fields.i("upto")?, more: fields.flag("more")? },
            b"ACCEPTED" => Reply::Accepted { span: fields.span()? },
            b"STORED" => Reply::Stored {
                span: fields.span()?,
                receipt: fields.bytes("receipt", limits::RECEIPT_BYTES_MAX)?,
            },
            b"REFUSED" => Reply::Refused {
                span: fields.span()?,
                reason: fields.word("reason")?,
                text: fields.text()?,
                spot: fields.optional_spot()?,
            },
            b"EXPECT" => Reply::Expect { span: fields.span()?, spot: fields.spot()? },
            b"OK" => Reply::Ok,
            b"FLOORS" => Reply::Floors { floors: fields.floors()? },
            b"ERR" => Reply::Err { code: fields.code()?, text: fields.text()? },
            _ => return Err(FrameError::Verb),
        })
    }
}
