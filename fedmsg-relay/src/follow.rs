//! Following others: a thread that reads streams as any subscriber does, in order and from where the log has them,
//! and gives their records to the relay's loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fedmsg::config::LoadOptions;
use fedmsg::envelope::Wire;
use fedmsg::identity::{Identity, StreamName};
use fedmsg::sequence::Begin;
use fedmsg::subscriber::{Subscriber, SubscriberMetrics};
use fedmsg::transport::Wake;
use fedmsg::trust::Trust;

use crate::core::Head;
use crate::keeping::Keeping;
use crate::records::Records;
use crate::settings::RelayError;

/// How long it is waited for the next record before it is looked whether the end has come.
const LOOK: Duration = Duration::from_millis(500);
/// Records that are handed over together.
const PART: usize = 256;
/// Bytes after which a part is handed over: it must fit one append, with what waits there.
const PART_BYTES: usize = 4 << 20;
/// Parts that wait for the loop; then the subscriber waits, and its publishers' journals keep what it lacks.
const PARTS_MAX: usize = 8;

/// After the disk failed, or nobody could be followed, it is tried again so much later.
const AGAIN: Duration = Duration::from_secs(1);

/// Whom a relay follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Everybody that can be reached: it is an archive.
    Everybody,
    /// These relays, outwards: nobody has to be able to connect to this one.
    Relays(Vec<Identity>),
}

/// Whom a relay follows, from where its log is.
pub(crate) struct Followed {
    /// Who follows.
    own: Identity,
    whom: Whom,
    load: LoadOptions,
    following: Option<Following>,
    /// The disk did not take what came: it is asked for again from where the log is, at this time.
    begin_at: Option<Instant>,
}

impl Followed {
    pub(crate) fn new(own: Identity, whom: Whom, load: LoadOptions) -> Followed {
        Followed { own, whom, load, following: None, begin_at: None }
    }

    /// Begins where the log has each stream, those that are new here with the earliest message that is left. `waker`
    /// wakes the loop when there is something to [`take`](Followed::take).
    pub(crate) fn begin(
        &mut self,
        keeping: &Keeping,
        trust: &Arc<Trust>,
        waker: Arc<dyn Wake>,
    ) -> Result<(), RelayError> {
        self.begin_at = Some(Instant::now() + AGAIN);
        let begins = keeping.begins(trust).into_iter();
        self.following =
            Some(Following::start((&self.own, &self.whom), self.load.clone(), begins, waker)?);
        self.begin_at = None;
        Ok(())
    }

    /// What came could not be stored: all of it has to come again.
    pub(crate) fn failed(&mut self) {
        self.following = None;
        self.begin_at = Some(Instant::now() + AGAIN);
    }

    /// Whether it is time to begin again.
    pub(crate) fn is_to_begin(&self) -> bool {
        self.begin_at.is_some_and(|at| Instant::now() >= at)
    }

    /// What its reader counts; nothing while nobody is followed.
    pub(crate) fn metrics(&self) -> Option<SubscriberMetrics> {
        Some(self.following.as_ref()?.subscriber.metrics())
    }

    /// The next records, if there are any.
    pub(crate) fn take(&self) -> Option<Vec<Wire>> {
        self.following.as_ref()?.take()
    }
}

/// The thread that follows. Ends when it is dropped.
struct Following {
    subscriber: Arc<Subscriber>,
    stop: Arc<AtomicBool>,
    parts: Option<Receiver<Vec<Wire>>>,
    thread: Option<JoinHandle<()>>,
}

impl Following {
    fn start(
        (own, whom): (&Identity, &Whom),
        mut load: LoadOptions,
        heads: impl Iterator<Item = (StreamName, Head)>,
        waker: Arc<dyn Wake>,
    ) -> Result<Following, RelayError> {
        if let Whom::Relays(relays) = whom {
            let relays: Vec<&str> = relays.iter().map(Identity::as_str).collect();
            load.overrides.push(("subscribe.from".into(), relays.join(",")));
        }
        let mut builder = Subscriber::builder().load(load).internal(true).begin(Begin::Earliest);
        builder = builder.without(own.clone());
        for (stream, Head { epoch, last, leaf }) in heads {
            builder = builder.begin_stream(stream, Begin::At { epoch, next: last + 1, leaf });
        }
        let subscriber = Arc::new(builder.build()?);
        let (sender, parts) = sync_channel(PARTS_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, reader) = (Arc::clone(&stop), Arc::clone(&subscriber));
        let thread = std::thread::Builder::new().name("fedmsg-follow".into());
        let thread = thread.spawn(move || run(&reader, &sender, &flag, &*waker))?;
        Ok(Following { subscriber, stop, parts: Some(parts), thread: Some(thread) })
    }

    fn take(&self) -> Option<Vec<Wire>> {
        self.parts.as_ref()?.try_recv().ok()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // A thread that waits for room sees that nobody takes anything any more.
        self.parts = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that follows others has panicked");
        }
    }
}

fn run(
    subscriber: &Subscriber,
    sender: &SyncSender<Vec<Wire>>,
    stop: &AtomicBool,
    waker: &dyn Wake,
) {
    let mut records = Records::default();
    while !stop.load(Ordering::SeqCst) {
        let Some(first) = subscriber.recv(Some(LOOK)) else { continue };
        let (mut part, mut bytes) = (Vec::new(), 0);
        let more = std::iter::from_fn(|| subscriber.recv(Some(Duration::ZERO)));
        let events = std::iter::once(first).chain(more.take(PART - 1));
        for wire in events.flat_map(|event| records.take(event)) {
            bytes += wire.len();
            part.push(wire);
            if bytes >= PART_BYTES {
                break;
            }
        }
        if part.is_empty() {
            continue;
        }
        if sender.send(part).is_err() {
            return;
        }
        waker.wake();
    }
}
