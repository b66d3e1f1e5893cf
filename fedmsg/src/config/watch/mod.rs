//! Follows the files of a configuration while a process runs.

mod points;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecommendedWatcher, Watcher};

use super::files::Folder;
use super::problem::{Place, ProblemKind, Source};
use super::{Config, ConfigError, LoadOptions};
use points::Points;

/// The files are quiet for this long before they are read: an editor or an installer writes several.
const QUIET: Duration = Duration::from_millis(100);
/// Files that never get quiet are read after this time, so that a change is in force within a second.
const RESTLESS: Duration = Duration::from_millis(500);

/// How a configuration is followed.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// What is loaded.
    pub load: LoadOptions,
    /// How often the files are read even though the system reported no change.
    pub poll: Duration,
}

impl From<LoadOptions> for WatchOptions {
    /// With a poll every 60 seconds.
    fn from(load: LoadOptions) -> WatchOptions {
        WatchOptions { load, poll: Duration::from_secs(60) }
    }
}

/// What is in force now.
#[derive(Clone, Debug)]
pub struct ConfigUpdate {
    /// The configuration. With an error: the last good one, together with the denies and revocations of
    /// every file that can be read.
    pub config: Arc<Config>,
    /// Why the files as they are now cannot be used; one problem a line.
    pub error: Option<String>,
}

/// Takes updates, on the thread of the watch.
pub type OnUpdate = Box<dyn Fn(ConfigUpdate) + Send>;

/// A thread that follows the files. It ends when this is dropped, and the drop waits for it: no update comes
/// afterwards.
#[derive(Debug)]
pub struct Watch {
    latest: Arc<Mutex<ConfigUpdate>>,
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

enum Wake {
    /// Files may have changed.
    Changed,
    /// Somebody wants them to be read now, and to be told what came of it.
    Reload(Sender<Reloaded>),
    Stop,
}

/// Has the files of a [`Watch`] read now, for whoever is told to (by SIGHUP) and wants to know what came of it.
#[derive(Clone, Debug)]
pub struct Reloader {
    wake: Sender<Wake>,
}

/// What came of reading the files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// They were others than before, and the callback of the watch has been called.
    pub changed: bool,
    /// Why they cannot be used, if so; the last good configuration stays in force.
    pub error: Option<String>,
}

impl Reloader {
    /// Reads the files and waits for that; nothing when the watch has ended.
    pub fn reload(&self) -> Option<Reloaded> {
        let (answer, answered) = channel();
        self.wake.send(Wake::Reload(answer)).ok()?;
        answered.recv().ok()
    }
}

impl Watch {
    /// Follows the files that `initial` was loaded from. `on_update` is called for every change, and for
    /// every new state of files that cannot be used; never twice for the same contents.
    pub fn start(
        options: impl Into<WatchOptions>,
        initial: Arc<Config>,
        on_update: OnUpdate,
    ) -> std::io::Result<Watch> {
        let options = options.into();
        let (wake, woken) = channel();
        let latest = ConfigUpdate { config: initial.clone(), error: None };
        let latest = Arc::new(Mutex::new(latest));
        let events = wake.clone();
        let shared = latest.clone();
        let run = move || {
            let files = Files::watch(&options, events);
            let seen = initial.fingerprint;
            let config = initial;
            let state = State { options, config, seen, error: None, latest: shared, on_update };
            state.follow(files, &woken);
        };
        let thread = std::thread::Builder::new().name("fedmsg-config".into()).spawn(run)?;
        Ok(Watch { latest, wake, thread: Some(thread) })
    }

    /// What is in force now.
    pub fn latest(&self) -> ConfigUpdate {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something that has the files read now, without waiting for a change to be reported.
    pub fn reloader(&self) -> Reloader {
        Reloader { wake: self.wake.clone() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.wake.send(Wake::Stop);
        let Some(thread) = self.thread.take() else { return };
        // A callback that drops its own watch cannot be waited for.
        if thread.thread().id() != std::thread::current().id() {
            let _ = thread.join();
        }
    }
}

/// The system's reports about the files.
struct Files {
    points: Arc<Mutex<Points>>,
    watcher: Option<RecommendedWatcher>,
}

impl Files {
    fn watch(options: &WatchOptions, wake: Sender<Wake>) -> Files {
        let points = Arc::new(Mutex::new(Points::default()));
        let relevant = points.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // We read the files ourselves: an event about that would never let us rest.
            let wakes = event.as_ref().map_or(true, |event| {
                let points = relevant.lock().unwrap_or_else(PoisonError::into_inner);
                !is_reading(&event.kind) && points.concern(&event.paths)
            });
            if wakes {
                let _ = wake.send(Wake::Changed);
            }
        });
        let warn = |error| tracing::warn!(%error, "configuration is polled: it cannot be watched");
        let mut files = Files { points, watcher: watcher.map_err(warn).ok() };
        files.follow_links(options);
        files
    }

    /// Watches what leads to the files now: a link that was swapped leads somewhere else.
    fn follow_links(&mut self, options: &WatchOptions) {
        let Some(watcher) = &mut self.watcher else { return };
        let new = Points::of_folder(&options.load.folder().0);
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *points, new);
        let folders: Vec<_> = points.folders().cloned().collect();
        // Not while the watcher's own thread may wait for the points.
        drop(points);
        for gone in old.folders().filter(|folder| !folders.contains(folder)) {
            let _ = watcher.unwatch(gone);
        }
        for folder in &folders {
            // Again each time: a folder may be another one under the same name.
            if old.folders().any(|known| known == folder) {
                let _ = watcher.unwatch(folder);
            }
            if let Err(error) = watcher.watch(folder, notify::RecursiveMode::NonRecursive) {
                tracing::debug!(%error, folder = %folder.display(), "is polled: cannot be watched");
            }
        }
    }
}

fn is_reading(kind: &EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    let written = AccessKind::Close(AccessMode::Write);
    matches!(kind, EventKind::Access(access) if *access != written)
}

/// What the thread knows.
struct State {
    options: WatchOptions,
    /// In force.
    config: Arc<Config>,
    /// What was read last, good or bad.
    seen: [u8; 32],
    /// What is wrong with what was read last.
    error: Option<String>,
    latest: Arc<Mutex<ConfigUpdate>>,
    on_update: OnUpdate,
}

impl State {
    fn follow(mut self, mut files: Files, woken: &Receiver<Wake>) {
        let mut answers: Vec<Sender<Reloaded>> = Vec::new();
        loop {
            // Watched first, read then: what changes in between is seen one way or the other.
            let changed = self.reload();
            for answer in answers.drain(..) {
                let error = self.error.clone();
                // Who asked may be gone.
                let _ = answer.send(Reloaded { changed, error });
            }
            match woken.recv_timeout(self.options.poll) {
                Ok(Wake::Changed) => match wait_for_quiet(woken) {
                    Some(asked) => answers = asked,
                    None => return,
                },
                Ok(Wake::Reload(answer)) => answers.push(answer),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            files.follow_links(&self.options);
        }
    }

    /// Reads the files, and swaps the configuration when they changed and can be used. Says whether they changed.
    fn reload(&mut self) -> bool {
        let (path, named) = self.options.load.folder();
        let folder = Folder::read(&path, named);
        let fingerprint = folder.fingerprint();
        if std::mem::replace(&mut self.seen, fingerprint) == fingerprint {
            return false;
        }
        let tightened = self.config.tightened(&folder);
        let loaded = if folder.is_empty() && self.config.folder.is_some() {
            // Real configuration never falls back to the profile of a developer's machine.
            let place = Place::whole(Source::File(path.into()));
            Err(ConfigError::one(place, "", ProblemKind::Gone))
        } else {
            Config::from_folder(&self.options.load, path, named, folder)
        };
        self.error = match loaded {
            Ok(config) => {
                self.config = Arc::new(config);
                None
            }
            Err(error) => {
                self.config = tightened.map_or_else(|| self.config.clone(), Arc::new);
                Some(error.to_string())
            }
        };
        self.publish(ConfigUpdate { config: self.config.clone(), error: self.error.clone() });
        true
    }

    fn publish(&self, update: ConfigUpdate) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = update.clone();
        (self.on_update)(update);
    }
}

/// Waits until nothing has changed for a moment; `None` when the watch is dropped meanwhile. Gives those who want to
/// be told: nobody who asks waits for quiet.
fn wait_for_quiet(woken: &Receiver<Wake>) -> Option<Vec<Sender<Reloaded>>> {
    let started = Instant::now();
    while started.elapsed() < RESTLESS {
        match woken.recv_timeout(QUIET) {
            Ok(Wake::Changed) => {}
            Ok(Wake::Reload(answer)) => return Some(vec![answer]),
            Err(RecvTimeoutError::Timeout) => break,
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    Some(Vec::new())
}
