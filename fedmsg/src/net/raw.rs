//! The one place with `unsafe`: options and a descriptor that the zmq crate does not wrap.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::transport::NetError;

/// An integer option of an XPUB socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum XpubOption {
    /// `ZMQ_XPUB_NODROP`: a full subscriber makes `send` fail with `EAGAIN` instead of dropping.
    NoDrop,
    /// `ZMQ_XPUB_VERBOSER`: every subscription and cancellation is handed up, repeated ones too.
    Verboser,
}

/// Sets an option of an XPUB socket.
pub(super) fn set(
    socket: &mut zmq::Socket,
    option: XpubOption,
    value: bool,
) -> Result<(), NetError> {
    let option = match option {
        XpubOption::NoDrop => zmq_sys::ZMQ_XPUB_NODROP,
        XpubOption::Verboser => zmq_sys::ZMQ_XPUB_VERBOSER,
    };
    let value = libc::c_int::from(value);
    // SAFETY: the pointer is the live socket that `socket` owns, borrowed exclusively for the call. The
    // option takes an int; its address and size are those of a local int that outlives the call.
    #[expect(unsafe_code, reason = "the zmq crate does not wrap these options")]
    let result = unsafe {
        zmq_sys::zmq_setsockopt(
            socket.as_mut_ptr(),
            option as libc::c_int,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(NetError::Socket(format!(
            "setting an XPUB option: {}",
            std::io::Error::last_os_error()
        ))),
    }
}

/// The descriptor that signals a socket's events (`ZMQ_FD`), for as long as the socket is borrowed.
pub(super) fn descriptor(socket: &zmq::Socket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor belongs to the socket and stays open until the socket is closed, which cannot
    // happen while it is borrowed. Nobody reads from it or closes it through this borrow: it is polled.
    #[expect(unsafe_code, reason = "the zmq crate gives out a raw descriptor")]
    unsafe {
        BorrowedFd::borrow_raw(socket.as_raw_fd())
    }
}
