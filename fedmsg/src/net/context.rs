//! The 0mq contexts that all publishers and subscribers of a process share: one I/O thread each, and a further one
//! only where one has no room for more sockets.

use std::sync::{Mutex, PoisonError, Weak};

use std::sync::Arc;

static SHARED: Mutex<Option<(u32, Weak<Shared>)>> = Mutex::new(None);
/// 0mq allows 1,023 sockets in a context, so these have room for more than a process has descriptors.
const CONTEXTS_MAX: usize = 64;

/// A handle of the 0mq contexts. When the last one of a process is dropped, the contexts end, and wait for
/// what their sockets still have to send, as long as each socket's linger allows.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
}

struct Shared {
    /// At least one.
    contexts: Mutex<Vec<zmq::Context>>,
}

impl Context {
    /// The contexts of this process; a new one when there is none, or after a fork, where the parent's have
    /// no threads.
    pub fn shared() -> Context {
        let pid = std::process::id();
        let mut known = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((owner, weak)) = known.as_ref()
            && *owner == pid
            && let Some(shared) = weak.upgrade()
        {
            return Context { shared };
        }
        let shared = Arc::new(Shared { contexts: Mutex::new(vec![zmq::Context::new()]) });
        *known = Some((pid, Arc::downgrade(&shared)));
        Context { shared }
    }

    /// Makes a socket where there is room for one. `EMFILE` is left where the process may have no more descriptors.
    pub(super) fn socket(&self, kind: zmq::SocketType) -> Result<zmq::Socket, zmq::Error> {
        let mut contexts = self.shared.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        // The newest one first: the others were full.
        for context in contexts.iter().rev() {
            match context.socket(kind) {
                Err(zmq::Error::EMFILE) => {}
                made => return made,
            }
        }
        if contexts.len() == CONTEXTS_MAX {
            return Err(zmq::Error::EMFILE);
        }
        let context = zmq::Context::new();
        let socket = context.socket(kind)?;
        contexts.push(context);
        Ok(socket)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    #[test]
    fn there_is_room_for_more_sockets_than_one_context_has() {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("raised");
        let context = Context::shared();
        let sockets: Vec<_> = (0..1_100).map(|_| context.socket(zmq::PAIR)).collect();
        assert!(sockets.iter().all(Result::is_ok));
        let contexts = context.shared.contexts.lock().expect("no panic").len();
        assert!((2..=4).contains(&contexts), "{contexts}: other tests have sockets, too");
    }
}
