//! What replay frames are made of: identifiers, words, positions, verdicts' spans, and errors.

use std::fmt;

use bytes::Bytes;

use crate::envelope::Epoch;
use crate::frames::{Answer, Reply};
use crate::identity::StreamName;
use crate::limits;

/// What one asker calls one of its requests: 1 to 16 bytes of its own choice, repeated in every answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub(crate) Bytes);

impl RequestId {
    /// What an `ERR` carries when the request had no readable id.
    pub const NONE: RequestId = RequestId(Bytes::new());

    /// An id of 1 to 16 bytes.
    pub fn new(id: &[u8]) -> Option<RequestId> {
        let fits = (1..=limits::REQUEST_ID_BYTES_MAX).contains(&id.len());
        fits.then(|| RequestId(Bytes::copy_from_slice(id)))
    }

    /// The id in frames that could not be parsed, so that the asker learns of it all the same.
    pub fn of(frames: &[impl AsRef<[u8]>]) -> RequestId {
        let id = frames.get(2).and_then(|frame| RequestId::new(frame.as_ref()));
        id.unwrap_or(RequestId::NONE)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A name in a frame, such as a consumer's or a reason's: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Word(Box<str>);

impl Word {
    /// Reads a word.
    pub fn parse(text: &str) -> Option<Word> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=limits::WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| Word(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a holder keeps everything of a stream, or what some patterns match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Completeness {
    /// Everything within its ranges.
    Complete,
    /// Some topics only.
    Partial,
}

/// One epoch of a stream, as a holder has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The epoch.
    pub epoch: Epoch,
    /// The first number that can be fetched; `last` + 1 when none can.
    pub first: u64,
    /// The last number that the holder knows of.
    pub last: u64,
}

/// Where a record stands: in which stream, which epoch, at which number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The stream.
    pub stream: StreamName,
    /// The epoch.
    pub epoch: Epoch,
    /// The number.
    pub i: u64,
}

/// A named consumer is done with a stream up to here, as it said to the holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The consumer.
    pub consumer: Word,
    /// The epoch.
    pub epoch: Epoch,
    /// The last number that it is done with.
    pub upto: u64,
    /// For how long, in milliseconds, it has said nothing more. One that is at work says something in each minute.
    pub age_ms: u64,
}

/// Messages of a `PUT` that share a verdict: their places in it, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first one.
    pub at: u64,
    /// How many, 1 or more.
    pub count: u64,
}

macro_rules! words {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[doc = $doc])+ $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The word in the frame.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// Why a request was not answered as it was asked.
    ErrorCode {
        /// The holder has nothing of this stream.
        UnknownStream = "unknown-stream",
        /// The holder has nothing of this epoch.
        UnknownEpoch = "unknown-epoch",
        /// The first number that was asked for is gone by retention.
        Trimmed = "trimmed",
        /// The asker may not.
        Denied = "denied",
        /// Not now: ask again later, or another holder, which may have what is damaged here.
        Busy = "busy",
        /// More than the bounds allow.
        TooLarge = "too-large",
        /// A signature in the request does not fit.
        BadSignature = "bad-signature",
        /// The holder's disk or budget is full.
        Full = "full",
        /// No request of this version.
        Malformed = "malformed",
    }
}

impl Completeness {
    /// The word in the frame.
    pub const fn name(self) -> &'static str {
        match self {
            Completeness::Complete => "complete",
            Completeness::Partial => "partial",
        }
    }
}

/// Why frames are no request, or no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The first frame is not `R1`.
    #[error("not version R1")]
    Version,
    /// A verb that is not known.
    #[error("unknown verb")]
    Verb,
    /// A frame is missing.
    #[error("the frame `{0}` is missing")]
    Missing(&'static str),
    /// There are more frames than the verb has.
    #[error("frames behind the last one")]
    Surplus,
    /// A frame is not of the form that it must have.
    #[error("the frame `{0}` is malformed")]
    Malformed(&'static str),
    /// A frame is longer, a number higher, or a list longer than it may be.
    #[error("`{0}` is beyond its bound")]
    TooLarge(&'static str),
}

impl FrameError {
    /// How it is called in an `ERR`.
    pub fn code(&self) -> ErrorCode {
        match self {
            FrameError::TooLarge(_) => ErrorCode::TooLarge,
            _ => ErrorCode::Malformed,
        }
    }

    /// The `ERR` for frames that gave this error.
    pub fn answer(&self, frames: &[impl AsRef<[u8]>]) -> Answer {
        let reply = Reply::Err { code: self.code(), text: self.to_string() };
        Answer { id: RequestId::of(frames), reply }
    }
}
