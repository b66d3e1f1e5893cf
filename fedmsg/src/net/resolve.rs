//! Names become numbers on threads of their own: 0mq resolves in its one I/O thread, where a slow name
//! server stalls everybody.

use std::collections::HashSet;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::endpoint::Endpoint;
use crate::transport::Wake;

/// Most lookups at one time; a name that has to wait is asked for again later.
const LOOKUPS_MAX: usize = 16;

/// What a name resolved to: 0mq addresses in numbers, in the system's order; or why not.
pub(super) type Numbers = Result<Vec<String>, String>;

/// Looks names up without making anybody wait.
pub(super) struct Resolver {
    running: HashSet<Endpoint>,
    answers: Receiver<(Endpoint, Numbers)>,
    sender: Sender<(Endpoint, Numbers)>,
    waker: Arc<dyn Wake>,
}

impl Resolver {
    /// A resolver that wakes its owner when an answer is there.
    pub(super) fn new(waker: Arc<dyn Wake>) -> Resolver {
        let (sender, answers) = channel();
        Resolver { running: HashSet::new(), answers, sender, waker }
    }

    /// The address in numbers if it is in numbers already; otherwise a lookup is started, unless it runs
    /// already or too many do.
    pub(super) fn resolve(&mut self, address: &Endpoint) -> Option<Numbers> {
        let (Some(host), Some(port)) = (address.host(), address.port()) else {
            return Some(Ok(vec![address.to_string()]));
        };
        if host.parse::<IpAddr>().is_ok() {
            return Some(Ok(vec![address.to_string()]));
        }
        if self.running.len() < LOOKUPS_MAX && self.running.insert(address.clone()) {
            self.start(address.clone(), host.to_owned(), port);
        }
        None
    }

    fn start(&self, address: Endpoint, host: String, port: u16) {
        let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
        let lookup = move || {
            let found = (host.as_str(), port).to_socket_addrs();
            let numbers = found.map_err(|error| format!("{host} does not resolve: {error}"));
            let numbers = numbers.map(|found| found.map(|at| format!("tcp://{at}")).collect());
            // The asker may be gone; then nobody needs the answer.
            if sender.send((address, numbers)).is_ok() {
                waker.wake();
            }
        };
        let thread = std::thread::Builder::new().name("fedmsg-resolve".into());
        if let Err(error) = thread.spawn(lookup) {
            tracing::warn!(%error, "starting a thread to resolve a name");
        }
    }

    /// Whether a lookup runs.
    #[cfg(test)]
    pub(super) fn is_asked(&self, address: &Endpoint) -> bool {
        self.running.contains(address)
    }

    /// A lookup is over, whatever its thread says.
    #[cfg(test)]
    pub(super) fn forget(&mut self, address: &Endpoint) {
        self.running.remove(address);
    }

    /// The answers that came in.
    pub(super) fn answers(&mut self) -> Vec<(Endpoint, Numbers)> {
        let answers: Vec<_> = self.answers.try_iter().collect();
        for (address, _) in &answers {
            self.running.remove(address);
        }
        answers
    }
}
