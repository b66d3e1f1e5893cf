//! What of this host no relay has: looked at by a thread of its own, since the disk may be slow, and nothing else may
//! wait for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, SystemTime};

use fedmsg::journal::{Disk, OsDisk};
use fedmsg::outbox::list;
use fedmsg::timestamp::Timestamp;
use serde_json::{Value, json};

use super::board::{Board, lock};
use crate::metrics::{Metrics, Source};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(15);

/// What waits for a relay, of all streams of this host together.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    messages: u64,
    bytes: u64,
    oldest: Option<Timestamp>,
    error: Option<String>,
}

/// Looks until it is dropped.
#[derive(Debug)]
pub(super) struct OutboxLooks(#[expect(dead_code, reason = "its end tells the thread")] Sender<()>);

impl OutboxLooks {
    pub(super) fn start(board: Arc<Board>, state_dir: PathBuf) -> std::io::Result<OutboxLooks> {
        let (stop, stopped) = channel();
        let thread = Builder::new().name("fedmsg-outbox".into());
        thread.spawn(move || {
            let disk: Arc<dyn Disk> = Arc::new(OsDisk);
            loop {
                let seen = look(&disk, &state_dir);
                *lock(&board.outbox) = seen;
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(OutboxLooks(stop))
    }
}

fn look(disk: &Arc<dyn Disk>, state_dir: &Path) -> Outbox {
    match list(disk, state_dir, None) {
        Ok(all) => Outbox {
            messages: all.iter().map(|waiting| waiting.messages).sum(),
            bytes: all.iter().map(|waiting| waiting.bytes).sum(),
            oldest: all.iter().filter_map(|waiting| waiting.oldest).min(),
            error: None,
        },
        Err(error) => Outbox { error: Some(error.to_string()), ..Outbox::default() },
    }
}

impl Outbox {
    pub(super) fn value(&self) -> Value {
        let Outbox { messages, bytes, oldest, error } = self;
        let oldest = oldest.map(|oldest| oldest.to_string());
        json!({ "messages": messages, "bytes": bytes, "oldest": oldest, "error": error })
    }
}

impl Source for Outbox {
    fn put(&self, to: &mut Metrics) {
        let now = Timestamp::from(SystemTime::now());
        let age = self.oldest.map_or(0, |oldest| now.millis_since(oldest).max(0));
        to.gauge(
            "fedmsg_outbox_messages",
            "Messages of this host that no relay has",
            self.messages,
        );
        to.gauge("fedmsg_outbox_bytes", "Their bytes, in whole segments", self.bytes);
        to.seconds(
            "fedmsg_outbox_oldest_seconds",
            "The age of the oldest of them; 0 when there is none",
            age as f64 / 1e3,
        );
        to.flag(
            "fedmsg_outbox_unreadable",
            "1 when the outbox of this host cannot be looked at",
            self.error.is_some(),
        );
    }
}
