//! Binding: names become numbers before 0mq sees them, and nobody takes an ipc path from its owner.

use std::fs::{File, TryLockError};
use std::net::ToSocketAddrs;
use std::path::PathBuf;

use crate::endpoint::Endpoint;
use crate::transport::NetError;

/// What holds an address: for an ipc path a lock file beside it, since 0mq would take the path over from a
/// living owner without a word.
#[derive(Debug)]
pub struct Binding {
    _lock: Option<File>,
}

/// Binds a socket to an address.
pub(super) fn bind(socket: &zmq::Socket, address: &Endpoint) -> Result<Binding, NetError> {
    let lock = address.ipc_path().map(|path| lock_path(path, address)).transpose()?;
    let mut last = None;
    for numeric in numeric(address)? {
        match socket.bind(&numeric) {
            Ok(()) => return Ok(Binding { _lock: lock }),
            Err(zmq::Error::EADDRINUSE) => {
                return Err(NetError::InUse { address: address.to_string() });
            }
            Err(error) => last = Some(error),
        }
    }
    let why = match last {
        Some(zmq::Error::ENODEV) | Some(zmq::Error::EADDRNOTAVAIL) => {
            "the name resolves to an address that is not this machine's".into()
        }
        Some(error) => error.to_string(),
        None => "the name has no address".into(),
    };
    Err(NetError::Bind { address: address.to_string(), why })
}

fn lock_path(path: &std::path::Path, address: &Endpoint) -> Result<File, NetError> {
    let mut lock_path = PathBuf::from(path).into_os_string();
    lock_path.push(".lock");
    let io = |error| NetError::Io { what: format!("opening {}", lock_path.display()), error };
    let file = File::options().create(true).append(true).open(&lock_path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(NetError::InUse { address: address.to_string() }),
        Err(TryLockError::Error(error)) => {
            Err(NetError::Io { what: format!("locking {}", lock_path.display()), error })
        }
    }
}

/// The address in numbers, as 0mq wants it for binding: it cannot bind to names.
fn numeric(address: &Endpoint) -> Result<Vec<String>, NetError> {
    let (Some(host), Some(port)) = (address.host(), address.port()) else {
        return Ok(vec![address.to_string()]);
    };
    if host == "*" {
        return Ok(vec![format!("tcp://*:{port}")]);
    }
    let found = (host, port).to_socket_addrs();
    let found = found.map_err(|error| NetError::Bind {
        address: address.to_string(),
        why: format!("{host} does not resolve: {error}"),
    })?;
    Ok(found.map(|socket_address| format!("tcp://{socket_address}")).collect())
}
