//! Publishing on an own endpoint.

use super::slot::SlotLock;
use super::writer::Writer;
use crate::record::State;
use crate::seal::Sealed;
use crate::transport::Outlet;

/// The writer thread of a publisher that has an endpoint. Ends when the publisher is closed and everything
/// was sent.
pub(super) fn run(
    mut writer: Writer,
    mut outlet: Box<dyn Outlet>,
    slot: Option<SlotLock>,
    genesis: Sealed,
) {
    send(&writer, &mut *outlet, &genesis);
    writer.announce();
    while !writer.fill() {
        let (outgoing, retries) = writer.seal_due();
        for message in outgoing {
            send(&writer, &mut *outlet, &message.sealed);
            let epoch = writer.sealer.epoch();
            let receipt = writer.shared.receipt(epoch, message.sealed.i, message.msg_id, None);
            writer.shared.answer(message.answer, Ok(receipt));
        }
        for retry in retries {
            let receipt = writer.shared.receipt(writer.sealer.epoch(), retry.i, retry.msg_id, None);
            writer.shared.answer(retry.answer, Ok(receipt));
        }
        if let Some(beat) = writer.heartbeat_due() {
            // The heartbeat first: a new reader's base is the last message, not the first.
            send(&writer, &mut *outlet, &beat);
            if writer.announcing() {
                send(&writer, &mut *outlet, &genesis);
            }
        }
        let pause = writer.pause();
        let subscribers = outlet.wait(pause);
        if subscribers.joined + subscribers.left > 0 {
            writer.shared.subscribers_changed(subscribers.joined, subscribers.left);
        }
        if subscribers.joined > 0 {
            writer.announce();
        }
    }
    let beat = writer.heartbeat(State::Closed);
    send(&writer, &mut *outlet, &beat);
    let (last, leaf) = writer.sealer.last();
    if let Some(slot) = slot
        && let Err(error) = slot.end(writer.sealer.epoch(), last, leaf)
    {
        tracing::warn!(%error, stream = %writer.sealer.stream(), "saving how the epoch ended");
    }
}

fn send(writer: &Writer, outlet: &mut dyn Outlet, sealed: &Sealed) {
    if !outlet.send(&sealed.wire) {
        let left_out = &writer.shared.counts.left_out;
        if left_out.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            tracing::warn!(
                stream = %writer.sealer.stream(),
                "a subscriber is too slow: messages are sent without it, and it will see a gap"
            );
        }
    }
}
