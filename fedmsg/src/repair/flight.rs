//! One request on its way.

use crate::endpoint::Endpoint;
use crate::envelope::Wire;
use crate::frames::Reply;
use crate::holder::DAMAGED;
use crate::identity::StreamName;
use crate::limits::GET_MESSAGES_MAX;

/// What a request is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// The first task of this stream.
    Stream(StreamName),
    /// Which streams the holder has.
    List,
    /// To tell a publisher something; nothing follows from the answer.
    Tell,
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) holder: Endpoint,
    pub(super) purpose: Purpose,
    /// When something of its answer came the last time.
    pub(super) since: u64,
    /// The number that its answer has to go on with, and what came so far.
    pub(super) next: u64,
    pub(super) records: Vec<(u64, Wire)>,
    pub(super) gone: Vec<u64>,
    /// Some of those are not there because they are damaged, or never came; nobody has refused them.
    pub(super) has_holes: bool,
}

impl Flight {
    /// Takes a part of the answer; gives anything else back.
    pub(super) fn take(&mut self, reply: Reply) -> Option<Reply> {
        let has_room = self.records.len() + self.gone.len() < GET_MESSAGES_MAX as usize;
        match reply {
            Reply::Msg { i, wire } if i == self.next && has_room => self.records.push((i, wire)),
            Reply::Gone { i, reason, .. } if i == self.next && has_room => {
                self.has_holes |= reason.as_str() == DAMAGED;
                self.gone.push(i);
            }
            other => return Some(other),
        }
        self.next += 1;
        None
    }
}
