//! Messages of several frames, whole or not at all.

use bytes::{Bytes, BytesMut};

/// Bytes of a buffer that frames which came together share.
const ROOM_BYTES: usize = 64 << 10;

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
    receive_by(socket, most, Bytes::copy_from_slice)
}

/// The same for whoever lets go of all frames soon: those that come together lie in one buffer, which is there until
/// the last of them is let go.
pub(super) fn receive_together(
    socket: &zmq::Socket,
    most: usize,
    room: &mut Room,
) -> Option<Vec<Bytes>> {
    receive_by(socket, most, |frame| room.copy(frame))
}

/// Where frames are put one behind the other.
#[derive(Debug, Default)]
pub(super) struct Room(BytesMut);

impl Room {
    fn copy(&mut self, frame: &[u8]) -> Bytes {
        if frame.len() > ROOM_BYTES / 4 {
            return Bytes::copy_from_slice(frame);
        }
        if self.0.capacity() < frame.len() {
            self.0 = BytesMut::with_capacity(ROOM_BYTES);
        }
        self.0.extend_from_slice(frame);
        self.0.split().freeze()
    }
}

fn receive_by(
    socket: &zmq::Socket,
    most: usize,
    mut copy: impl FnMut(&[u8]) -> Bytes,
) -> Option<Vec<Bytes>> {
    let mut frame = zmq::Message::new();
    let mut frames = Vec::new();
    loop {
        socket.recv(&mut frame, zmq::DONTWAIT).ok()?;
        if frames.len() <= most {
            frames.push(copy(&frame));
        }
        if !frame.get_more() {
            return Some(frames);
        }
    }
}
