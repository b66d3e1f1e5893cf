//! Messages of several frames, whole or not at all.

use bytes::Bytes;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way.
    Yes,
    /// There is no room now, or no connection.
    Full,
    /// There is no such peer (any more).
    Gone,
}

/// Sends all frames, or none. Never waits.
pub(super) fn send<'a>(
    socket: &zmq::Socket,
    frames: impl IntoIterator<Item = &'a Bytes, IntoIter: ExactSizeIterator>,
) -> Sent {
    let frames = frames.into_iter();
    let count = frames.len();
    for (at, frame) in frames.enumerate() {
        let more = if at + 1 < count { zmq::SNDMORE } else { 0 };
        match socket.send(&frame[..], zmq::DONTWAIT | more) {
            Ok(()) => {}
            // 0mq takes a whole message or none: once the first frame is in, the others are too.
            Err(zmq::Error::EAGAIN) if at == 0 => return Sent::Full,
            Err(zmq::Error::EHOSTUNREACH) if at == 0 => return Sent::Gone,
            Err(error) => {
                tracing::debug!(%error, frame = at, "sending a message of several frames");
                return Sent::Gone;
            }
        }
    }
    Sent::Yes
}

/// All frames of the next message, if there is one; of one with more than `most`, one more than that, so that
/// it shows.
pub(super) fn receive(socket: &zmq::Socket, most: usize) -> Option<Vec<Bytes>> {
    let mut frame = zmq::Message::new();
    let mut frames = Vec::new();
    loop {
        socket.recv(&mut frame, zmq::DONTWAIT).ok()?;
        if frames.len() <= most {
            frames.push(Bytes::copy_from_slice(&frame));
        }
        if !frame.get_more() {
            return Some(frames);
        }
    }
}
