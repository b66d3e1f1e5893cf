//! The 0mq context that all publishers and subscribers of a process share: one I/O thread for all.

use std::sync::{Mutex, PoisonError, Weak};

use std::sync::Arc;

static SHARED: Mutex<Option<(u32, Weak<Shared>)>> = Mutex::new(None);

/// A handle of a 0mq context. When the last one of a process is dropped, the context ends, and waits for
/// what its sockets still have to send, as long as each socket's linger allows.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
}

struct Shared {
    context: zmq::Context,
}

impl Context {
    /// The context of this process; a new one when there is none, or after a fork, where the parent's has
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
        let shared = Arc::new(Shared { context: zmq::Context::new() });
        *known = Some((pid, Arc::downgrade(&shared)));
        Context { shared }
    }

    /// A context of its own: 0mq allows 1,023 sockets in one.
    pub(super) fn separate() -> Context {
        Context { shared: Arc::new(Shared { context: zmq::Context::new() }) }
    }

    pub(super) fn socket(&self, kind: zmq::SocketType) -> Result<zmq::Socket, zmq::Error> {
        self.shared.context.socket(kind)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}
