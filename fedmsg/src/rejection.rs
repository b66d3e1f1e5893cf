//! Why a message was refused, and how often.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! rejections {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $text:literal;)+) => {
        /// Why a message was refused. None of them stops a reader, each has its own counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rejection { $($(#[doc = $doc])+ $variant,)+ }

        impl Rejection {
            /// All of them.
            pub const ALL: &'static [Rejection] = &[$(Rejection::$variant,)+];

            /// The name in metrics, logs and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Rejection::$variant => $name,)+ }
            }
        }

        impl fmt::Display for Rejection {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Rejection::$variant => $text,)+ })
            }
        }
    };
}

rejections! {
    /// Not two frames.
    FrameCount = "frame_count", "not two frames";
    /// The second frame has more than 1 MiB.
    TooLarge = "too_large", "larger than 1 MiB";
    /// The first frame is no topic.
    BadTopic = "bad_topic", "the first frame is no topic";
    /// Not UTF-8.
    BadUtf8 = "bad_utf8", "not UTF-8";
    /// Not the fixed form of an envelope, or not the JSON that it must be.
    Malformed = "malformed", "malformed";
    /// The end is missing.
    Truncated = "truncated", "cut off";
    /// No signature.
    Unsigned = "unsigned", "not signed";
    /// A version of the format that this one does not know.
    Version = "version", "a version of the format that is not known here";
    /// Another algorithm than Ed25519: the key decides, never the message.
    Algorithm = "algorithm", "another algorithm than Ed25519";
    /// A signature member of the wrong length, tree size, index, path or encoding.
    SignatureForm = "signature_form", "the signature has a wrong form";
    /// No trusted key of this id.
    UnknownKey = "unknown_key", "no trusted key of this id";
    /// The key is revoked.
    RevokedKey = "revoked_key", "the key is revoked";
    /// The message is older than its key.
    KeyNotYetValid = "key_not_yet_valid", "earlier than the key is valid";
    /// The message is later than the end of its key.
    KeyExpired = "key_expired", "later than the key is valid";
    /// The stream belongs to another identity than the key.
    ForeignStream = "foreign_stream", "the stream is not the key holder's";
    /// The endpoint may not carry streams of others (`carries`), or not this topic.
    NotCarried = "not_carried", "the endpoint may not carry this";
    /// The signature does not fit the bytes.
    BadSignature = "bad_signature", "the signature does not fit";
    /// Nested deeper than 64.
    TooDeep = "too_deep", "nested too deep";
    /// A member appears twice.
    DuplicateMember = "duplicate_member", "a member appears twice";
    /// A member that this version does not know.
    UnknownMember = "unknown_member", "a member that is not known here";
    /// A number or a length beyond its bound.
    OutOfBounds = "out_of_bounds", "a member is beyond its bound";
    /// The first frame is not the signed topic.
    TopicMismatch = "topic_mismatch", "the first frame is not the signed topic";
    /// The policy does not let this identity publish this topic.
    Policy = "policy", "the policy does not allow it";
    /// The stream's history contradicts itself: it is not handed on until a new epoch begins.
    Fork = "fork", "the stream has forked";
    /// Of an epoch that was followed by another one, or from before the reader's base.
    Stale = "stale", "from before the reader's position";
}

/// How often each [`Rejection`] happened. Counting needs no lock.
#[derive(Debug)]
pub struct RejectionCounters([AtomicU64; Rejection::ALL.len()]);

impl Default for RejectionCounters {
    fn default() -> Self {
        RejectionCounters([const { AtomicU64::new(0) }; Rejection::ALL.len()])
    }
}

impl RejectionCounters {
    /// Counts one.
    pub fn count(&self, reason: Rejection) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often this one happened.
    pub fn get(&self, reason: Rejection) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Those that happened.
    pub fn iter(&self) -> impl Iterator<Item = (Rejection, u64)> {
        let all = Rejection::ALL.iter().map(|reason| (*reason, self.get(*reason)));
        all.filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter_and_name() {
        let counters = RejectionCounters::default();
        for (at, reason) in Rejection::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
            counters.count(*reason);
        }
        assert!(Rejection::ALL.iter().all(|reason| counters.get(*reason) == 1));
        let names: std::collections::HashSet<_> = Rejection::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Rejection::ALL.len());
    }
}
