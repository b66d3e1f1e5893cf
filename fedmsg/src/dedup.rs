//! Identifiers that callers gave, so that publishing one again is harmless. Pure and bounded.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

use crate::limits::{MSG_ID_MS_MAX, MSG_IDS_MAX};
use crate::seal::Checked;

/// The last 100,000 identifiers of 24 hours, and what was published under them.
#[derive(Debug, Default)]
pub(crate) struct MsgIds {
    known: HashMap<String, Entry>,
    order: VecDeque<(String, u64)>,
}

#[derive(Debug)]
struct Entry {
    digest: [u8; 32],
    i: u64,
}

/// What is known of an identifier.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    New,
    /// The same message, published under this number.
    Same(u64),
    /// Another message.
    Other,
}

impl MsgIds {
    /// What is known of this message's identifier, at this time in milliseconds.
    pub(crate) fn look_up(&mut self, message: &Checked, now: u64) -> Known {
        while let Some((_, at)) = self.order.front()
            && (now.saturating_sub(*at) > MSG_ID_MS_MAX || self.order.len() > MSG_IDS_MAX)
        {
            if let Some((oldest, _)) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        match self.known.get(&message.msg_id) {
            None => Known::New,
            Some(entry) if entry.digest == digest(message) => Known::Same(entry.i),
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

    /// This message got this number.
    pub(crate) fn remember(&mut self, message: &Checked, i: u64, now: u64) {
        let entry = Entry { digest: digest(message), i };
        if self.known.insert(message.msg_id.clone(), entry).is_none() {
            self.order.push_back((message.msg_id.clone(), now));
        }
    }
}

/// What must be the same for a message to be the same: topic and body.
fn digest(message: &Checked) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(message.topic.as_str());
    hash.update([0]);
    hash.update(&message.msg);
    hash.finalize().into()
}
