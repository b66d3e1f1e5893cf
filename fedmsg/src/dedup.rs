//! Identifiers that callers gave, so that publishing one again is harmless. Pure and bounded.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

use crate::envelope::Epoch;
use crate::limits::{MSG_ID_MS_MAX, MSG_IDS_MAX};
use crate::seal::Checked;

/// The last 100,000 identifiers of 24 hours, and what was published under them. Times are milliseconds of a
/// clock that never goes back; what was published before it started has a time below 0.
#[derive(Debug, Default)]
pub(crate) struct MsgIds {
    known: HashMap<String, Entry>,
    order: VecDeque<(String, i64)>,
}

#[derive(Debug)]
struct Entry {
    digest: [u8; 32],
    epoch: Epoch,
    i: u64,
}

/// What is known of an identifier.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    New,
    /// The same message, published under this number of this epoch.
    Same(Epoch, u64),
    /// Another message.
    Other,
}

impl MsgIds {
    /// What is known of this message's identifier, at this time.
    pub(crate) fn look_up(&mut self, message: &Checked, now: i64) -> Known {
        while let Some((_, at)) = self.order.front()
            && (now.saturating_sub(*at) > MSG_ID_MS_MAX as i64 || self.order.len() > MSG_IDS_MAX)
        {
            self.drop_oldest();
        }
        match self.known.get(&message.msg_id) {
            None => Known::New,
            Some(entry) if entry.digest == digest(message.topic.as_str(), &message.msg) => {
                Known::Same(entry.epoch, entry.i)
            }
            Some(_) => Known::Other,
        }
    }

    /// What was to be published under this identifier was not: a retry is a new message.
    #[cfg(feature = "net")]
    pub(crate) fn forget(&mut self, msg_id: &str) {
        if self.known.remove(msg_id).is_some() {
            self.order.retain(|(known, _)| known != msg_id);
        }
    }

    /// What was to be published behind this number of this epoch was not.
    pub(crate) fn forget_behind(&mut self, epoch: Epoch, last: u64) {
        self.known.retain(|_, entry| entry.epoch != epoch || entry.i <= last);
        let known = &self.known;
        self.order.retain(|(id, _)| known.contains_key(id));
    }

    /// This message got this number.
    pub(crate) fn remember(&mut self, message: &Checked, (epoch, i): (Epoch, u64), now: i64) {
        let digest = digest(message.topic.as_str(), &message.msg);
        self.insert(message.msg_id.clone(), Entry { digest, epoch, i }, now);
    }

    /// A message of this topic and body, its text to the byte, was published at this time, and so later than
    /// all that is known. Of two messages of one identifier the first counts.
    pub(crate) fn recall(
        &mut self,
        msg_id: &str,
        (topic, msg): (&str, &str),
        (epoch, i): (Epoch, u64),
        at: i64,
    ) {
        if !self.known.contains_key(msg_id) {
            self.insert(msg_id.into(), Entry { digest: digest(topic, msg), epoch, i }, at);
            if self.order.len() > MSG_IDS_MAX {
                self.drop_oldest();
            }
        }
    }

    fn insert(&mut self, msg_id: String, entry: Entry, at: i64) {
        if self.known.insert(msg_id.clone(), entry).is_none() {
            self.order.push_back((msg_id, at));
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((oldest, _)) = self.order.pop_front() {
            self.known.remove(&oldest);
        }
    }
}

/// What must be the same for a message to be the same: topic and body.
fn digest(topic: &str, msg: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(topic);
    hash.update([0]);
    hash.update(msg);
    hash.finalize().into()
}
