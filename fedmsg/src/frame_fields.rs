//! One frame after the other: each kind of field, read with its bound and written again.

use bytes::Bytes;

use crate::envelope::{Epoch, Wire};
use crate::frame_parts::{
    Acknowledged, Completeness, ErrorCode, FrameError, Range, RequestId, Span, Spot, Word,
};
use crate::frames::VERSION;
use crate::identity::StreamName;
use crate::limits;
use crate::merkle::Leaf;
use crate::timestamp::Timestamp;
use crate::topic::Pattern;

/// Longest stream name: an identity, a slash, and a UUID.
const STREAM_BYTES_MAX: usize = limits::IDENTITY_BYTES_MAX + 37;

/// One frame of a request or an answer.
pub trait Frame: AsRef<[u8]> {
    /// Its bytes for longer than it is there itself: the same ones where they can be shared, and a copy otherwise.
    fn share(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_ref())
    }
}

impl Frame for Bytes {
    fn share(&self) -> Bytes {
        self.clone()
    }
}

impl Frame for Vec<u8> {}
impl Frame for &[u8] {}

/// The frames that were not read yet.
pub(crate) struct Fields<'a, F> {
    frames: &'a [F],
}

/// The verb, the request id, and what follows.
type Opened<'a, F> = (&'a [u8], Result<RequestId, FrameError>, Fields<'a, F>);

impl<'a, F: Frame> Fields<'a, F> {
    pub(crate) fn open(frames: &'a [F]) -> Result<Opened<'a, F>, FrameError> {
        let mut fields = Fields { frames };
        if fields.next("version")? != VERSION {
            return Err(FrameError::Version);
        }
        let verb = fields.next("verb")?;
        let id = RequestId::new(fields.next("req")?).ok_or(FrameError::Malformed("req"));
        Ok((verb, id, fields))
    }

    pub(crate) fn end(&self) -> Result<(), FrameError> {
        if self.frames.is_empty() { Ok(()) } else { Err(FrameError::Surplus) }
    }

    fn next(&mut self, name: &'static str) -> Result<&'a [u8], FrameError> {
        self.next_frame(name).map(AsRef::as_ref)
    }

    fn next_frame(&mut self, name: &'static str) -> Result<&'a F, FrameError> {
        let (first, rest) = self.frames.split_first().ok_or(FrameError::Missing(name))?;
        self.frames = rest;
        Ok(first)
    }

    fn at_most(&mut self, name: &'static str, most: usize) -> Result<&'a [u8], FrameError> {
        let frame = self.next(name)?;
        if frame.len() > most { Err(FrameError::TooLarge(name)) } else { Ok(frame) }
    }

    fn str(&mut self, name: &'static str, most: usize) -> Result<&'a str, FrameError> {
        let frame = self.at_most(name, most)?;
        std::str::from_utf8(frame).map_err(|_| FrameError::Malformed(name))
    }

    /// How many items are left, of so many frames each.
    fn items(&self, name: &'static str, size: usize, most: usize) -> Result<usize, FrameError> {
        let items = self.frames.len() / size;
        match items {
            _ if items > most => Err(FrameError::TooLarge(name)),
            _ if !self.frames.len().is_multiple_of(size) => Err(FrameError::Missing(name)),
            _ => Ok(items),
        }
    }

    pub(crate) fn bytes(&mut self, name: &'static str, most: usize) -> Result<Bytes, FrameError> {
        let frame = self.next_frame(name)?;
        if frame.as_ref().len() > most {
            Err(FrameError::TooLarge(name))
        } else {
            Ok(frame.share())
        }
    }

    pub(crate) fn number(&mut self, name: &'static str) -> Result<u64, FrameError> {
        let frame = self.next(name)?.try_into().map_err(|_| FrameError::Malformed(name))?;
        Ok(u64::from_be_bytes(frame))
    }

    fn number_to(&mut self, name: &'static str, most: u64) -> Result<u64, FrameError> {
        let number = self.number(name)?;
        if number > most { Err(FrameError::TooLarge(name)) } else { Ok(number) }
    }

    /// A number of a message.
    pub(crate) fn i(&mut self, name: &'static str) -> Result<u64, FrameError> {
        self.number_to(name, limits::NUMBER_MAX)
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> Result<bool, FrameError> {
        Ok(self.number_to(name, 1)? == 1)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, FrameError> {
        let millis = self.number_to("time", limits::TIME_MS_MAX)?;
        Ok(Timestamp::from_millis(millis.cast_signed()))
    }

    pub(crate) fn stream(&mut self) -> Result<StreamName, FrameError> {
        let text = self.str("stream", STREAM_BYTES_MAX)?;
        StreamName::parse(text).map_err(|_| FrameError::Malformed("stream"))
    }

    pub(crate) fn epoch(&mut self) -> Result<Epoch, FrameError> {
        let text = self.str("epoch", 36)?;
        Epoch::parse(text).ok_or(FrameError::Malformed("epoch"))
    }

    pub(crate) fn word(&mut self, name: &'static str) -> Result<Word, FrameError> {
        let text = self.str(name, limits::WORD_BYTES_MAX)?;
        Word::parse(text).ok_or(FrameError::Malformed(name))
    }

    pub(crate) fn text(&mut self) -> Result<String, FrameError> {
        self.str("text", limits::TEXT_BYTES_MAX).map(Into::into)
    }

    pub(crate) fn code(&mut self) -> Result<ErrorCode, FrameError> {
        let text = self.str("code", limits::WORD_BYTES_MAX)?;
        let code = ErrorCode::ALL.iter().find(|code| code.name() == text);
        code.copied().ok_or(FrameError::Malformed("code"))
    }

    pub(crate) fn completeness(&mut self) -> Result<Completeness, FrameError> {
        let text = self.str("completeness", limits::WORD_BYTES_MAX)?;
        let both = [Completeness::Complete, Completeness::Partial];
        let named = both.into_iter().find(|completeness| completeness.name() == text);
        named.ok_or(FrameError::Malformed("completeness"))
    }

    pub(crate) fn leaf(&mut self) -> Result<Leaf, FrameError> {
        let leaf = self.next("leaf")?.try_into();
        leaf.map(Leaf).map_err(|_| FrameError::Malformed("leaf"))
    }

    pub(crate) fn span(&mut self) -> Result<Span, FrameError> {
        let most = limits::PUT_MESSAGES_MAX as u64;
        let (at, count) = (self.number_to("at", most - 1)?, self.number_to("count", most)?);
        match at + count {
            _ if count == 0 => Err(FrameError::Malformed("count")),
            end if end > most => Err(FrameError::TooLarge("count")),
            _ => Ok(Span { at, count }),
        }
    }

    pub(crate) fn spot(&mut self) -> Result<Spot, FrameError> {
        Ok(Spot { stream: self.stream()?, epoch: self.epoch()?, i: self.i("i")? })
    }

    pub(crate) fn optional_spot(&mut self) -> Result<Option<Spot>, FrameError> {
        if self.frames.is_empty() { Ok(None) } else { self.spot().map(Some) }
    }

    pub(crate) fn spots(&mut self) -> Result<Vec<Spot>, FrameError> {
        let items = self.items("streams", 3, limits::PAGE_STREAMS_MAX)?;
        (0..items).map(|_| self.spot()).collect()
    }

    pub(crate) fn ranges(&mut self) -> Result<Vec<Range>, FrameError> {
        let items = self.items("epochs", 3, limits::EPOCHS_MAX)?;
        (0..items).map(|_| self.range()).collect()
    }

    fn range(&mut self) -> Result<Range, FrameError> {
        let epoch = self.epoch()?;
        let (first, last) = (self.number("first")?, self.i("last")?);
        if first > last + 1 {
            return Err(FrameError::TooLarge("first"));
        }
        Ok(Range { epoch, first, last })
    }

    pub(crate) fn floors(&mut self) -> Result<Vec<Acknowledged>, FrameError> {
        let items = self.items("floors", 4, limits::FLOORS_OF_STREAM_MAX)?;
        (0..items).map(|_| self.acknowledged()).collect()
    }

    fn acknowledged(&mut self) -> Result<Acknowledged, FrameError> {
        let (consumer, epoch, upto) = (self.word("consumer")?, self.epoch()?, self.i("upto")?);
        let age_ms = self.number_to("age", limits::TIME_MS_MAX)?;
        Ok(Acknowledged { consumer, epoch, upto, age_ms })
    }

    pub(crate) fn filters(&mut self) -> Result<Vec<Pattern>, FrameError> {
        let items = self.items("filter", 1, limits::FILTERS_MAX)?;
        (0..items).map(|_| self.filter()).collect()
    }

    fn filter(&mut self) -> Result<Pattern, FrameError> {
        let text = self.str("filter", limits::TOPIC_BYTES_MAX)?;
        Pattern::subscription(text).map_err(|_| FrameError::Malformed("filter"))
    }

    pub(crate) fn wire(&mut self) -> Result<Wire, FrameError> {
        Ok(Wire {
            topic: self.bytes("topic", limits::TOPIC_BYTES_MAX)?,
            envelope: self.bytes("envelope", limits::ENVELOPE_BYTES_MAX)?,
        })
    }

    pub(crate) fn optional_wire(&mut self) -> Result<Option<Wire>, FrameError> {
        let wire = self.wire()?;
        Ok(if wire.is_empty() { None } else { Some(wire) })
    }

    /// The messages of a `PUT`: bounded together, checked one by one by whoever opens them.
    pub(crate) fn messages(&mut self) -> Result<Vec<Wire>, FrameError> {
        let items = self.items("messages", 2, limits::PUT_MESSAGES_MAX)?;
        if items == 0 {
            return Err(FrameError::Missing("messages"));
        }
        let bytes: usize = self.frames.iter().map(|frame| frame.as_ref().len()).sum();
        if bytes > limits::PUT_BYTES_MAX {
            return Err(FrameError::TooLarge("messages"));
        }
        let pairs = std::mem::take(&mut self.frames).chunks_exact(2);
        let wire = |pair: &[F]| Wire { topic: pair[0].share(), envelope: pair[1].share() };
        Ok(pairs.map(wire).collect())
    }
}

/// Frames that are being written.
pub(crate) struct Writer(Vec<Bytes>);

impl Writer {
    pub(crate) fn new(verb: &'static str, id: &RequestId) -> Writer {
        let (version, verb) = (Bytes::from_static(VERSION), Bytes::from_static(verb.as_bytes()));
        Writer(vec![version, verb, id.0.clone()])
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Writer {
        self.0.push(Bytes::copy_from_slice(bytes));
        self
    }

    pub(crate) fn text(self, text: &str) -> Writer {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn cut_text(self, text: &str) -> Writer {
        let fits = |end: &usize| text.is_char_boundary(*end);
        let end = (0..=text.len().min(limits::TEXT_BYTES_MAX)).rev().find(fits);
        self.text(&text[..end.unwrap_or(0)])
    }

    pub(crate) fn number(self, number: u64) -> Writer {
        self.bytes(&number.to_be_bytes())
    }

    pub(crate) fn epoch(self, epoch: Epoch) -> Writer {
        self.text(&epoch.to_string())
    }

    pub(crate) fn wire(mut self, wire: &Wire) -> Writer {
        self.0.extend([wire.topic.clone(), wire.envelope.clone()]);
        self
    }

    pub(crate) fn spot(self, spot: &Spot) -> Writer {
        self.text(spot.stream.as_str()).epoch(spot.epoch).number(spot.i)
    }

    pub(crate) fn acknowledged(self, one: &Acknowledged) -> Writer {
        let start = self.text(one.consumer.as_str()).epoch(one.epoch);
        start.number(one.upto).number(one.age_ms.min(limits::TIME_MS_MAX))
    }

    pub(crate) fn span(self, span: Span) -> Writer {
        self.number(span.at).number(span.count)
    }

    pub(crate) fn done(self) -> Vec<Bytes> {
        self.0
    }
}
