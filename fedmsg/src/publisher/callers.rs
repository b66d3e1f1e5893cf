//! Those who published something and wait for their receipts, of one append to the journal.

use std::sync::PoisonError;

use super::writer::{Outgoing, Retry, Writer};
use super::{Answer, PublishError};
use crate::journal::{JournalError, JournalMetrics};
use crate::seal::Sealed;

/// The callers whose messages are in one append, and those who repeat what was published before.
pub(super) struct Callers<'a> {
    pub(super) writer: &'a Writer,
    waiting: Vec<(u64, String, Answer)>,
    retries: Vec<Retry>,
}

impl<'a> Callers<'a> {
    /// What is to be appended, and those who wait for it.
    pub(super) fn of(
        writer: &'a Writer,
        outgoing: Vec<Outgoing>,
        retries: Vec<Retry>,
    ) -> (Vec<Sealed>, Callers<'a>) {
        let parts = outgoing.into_iter().map(|Outgoing { sealed, msg_id, answer }| {
            let waits = (sealed.i, msg_id, answer);
            (sealed, waits)
        });
        let (records, waiting) = parts.unzip();
        (records, Callers { writer, waiting, retries })
    }

    /// Nobody waits: they were told before that the disk had failed.
    pub(super) fn nobody(writer: &'a Writer) -> Callers<'a> {
        Callers { writer, waiting: Vec::new(), retries: Vec::new() }
    }

    /// The journal was given records.
    pub(super) fn stored(&self, metrics: JournalMetrics) {
        let journal = &self.writer.shared.journal;
        *journal.lock().unwrap_or_else(PoisonError::into_inner) = Some(metrics);
    }

    /// One message more is published.
    pub(super) fn shown(&self) {
        self.writer.count_published(1);
    }

    /// Tells them what became of it. A retry is answered like the message that it repeats, which was stored before or
    /// beside it.
    pub(super) fn answer(&mut self, published: Result<(), &JournalError>) {
        let (writer, epoch) = (self.writer, self.writer.sealer.epoch());
        if let Err(error) = published {
            let stream = writer.sealer.stream();
            tracing::error!(%stream, %error, "the journal takes nothing: messages are refused until it does");
        }
        let again = self.retries.drain(..).map(|retry| (true, retry));
        let waiting = self.waiting.drain(..);
        let waiting =
            waiting.map(|(i, msg_id, answer)| (false, Retry { epoch, i, msg_id, answer }));
        let all = waiting.chain(again);
        match (published, &writer.shared.copying) {
            (Ok(()), Some(copying)) => copying.wait(all),
            (Ok(()), None) => all.for_each(|(_, Retry { epoch, i, msg_id, answer })| {
                let receipt = writer.shared.receipt(epoch, i, msg_id, None);
                writer.shared.answer(answer, Ok(receipt));
            }),
            (Err(error), _) => all.for_each(|(_, retry)| {
                writer.shared.answer(retry.answer, Err(PublishError::NotStored(error.to_string())));
            }),
        }
    }
}

/// What whoever publishes is told while the disk owes an answer.
pub(super) fn degraded() -> PublishError {
    PublishError::NotStored("the journal's disk has failed, and is tried again every second".into())
}
