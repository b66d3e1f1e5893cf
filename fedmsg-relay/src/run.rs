//! The loop of a relay: one XPUB socket, one ROUTER socket, one log, which another thread writes. What producers put
//! together is stored with one sync, and only then published and answered; meanwhile the next messages are opened.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedmsg::config::{Config, ConfigUpdate, EndpointEntry, Watch};
use fedmsg::endpoint::Endpoint;
use fedmsg::envelope::Wire;
use fedmsg::frames::{Answer, Ask, ErrorCode, Reply, Request, RequestId};
use fedmsg::keys::SecretKey;
use fedmsg::net::Zmq;
use fedmsg::net::rpc::{Asked, RelaySockets};
use fedmsg::publisher::OwnStream;
use fedmsg::replay::{ReplayServer, Shelf};
use fedmsg::transport::OutletSettings;
use fedmsg_tool::{Code, CommonOptions, logging, signals};
use tracing::level_filters::LevelFilter;

use crate::core::{Counts, RelayCore, Taken};
use crate::desk::Desk;
use crate::follow::{Followed, Whom};
use crate::keeping::{Keeping, OnDisk};
use crate::settings::{Options, RelayError, own_entry};
use crate::standing::{Seen, Standing};
use crate::waiting::{Batch, Outside, Waiting};
use crate::writer::Writer;

/// How often it is told what was carried, if anything was.
const REPORT: Duration = Duration::from_secs(60);
/// New readers of one such time share their announcements.
const ANNOUNCE: Duration = Duration::from_millis(20);
/// Streams that have said nothing for longer, in milliseconds, are not announced to new readers, which would not
/// believe a heartbeat of that age.
const LIVELY_MS: u64 = 300_000;
/// Refused messages that one producer may send in a second before it is asked to wait.
const REFUSALS_PER_SECOND: u32 = 1_000;
/// Producers whose refusals are counted.
const PRODUCERS_MAX: usize = 10_000;
/// How often retention is looked at.
const TRIM: Duration = Duration::from_secs(10);

/// A relay that is told to end takes what has arrived, at most for so long: many busy producers would keep
/// it for ever. What it does not answer, they put to another relay.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Runs a relay until a signal ends it.
pub fn run(options: &Options, common: &CommonOptions) -> Result<Code, RelayError> {
    let _log = logging::init(common, LevelFilter::INFO);
    let load = common.load_options();
    let config = Arc::new(Config::load(&load)?);
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let entry = own_entry(options, &config)?;
    let key = own_key(&config, &entry)?;
    let mut standing = Standing::start(options, &config)?;
    let (own, sockets, replay) = take_slot(&config, &entry, &key)?;
    let mut keeping = Keeping::open(&config, own.stream())?;
    keeping.keep_own(own.stream(), own.epoch(), own.genesis())?;
    let mut following = whom(&config, &entry).map(|whom| Followed::new(whom, load.clone()));
    if let Some(following) = &mut following {
        following.begin(&keeping, &config.trust, sockets.waker())?;
    }
    let serving = replay.map(|address| serve(&config, &keeping, &address)).transpose()?;
    standing.watch(serving, following.is_some(), keeping.reader());

    let (stopping, update) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let (waker, flag) = (sockets.waker(), Arc::clone(&stopping));
    signals::on_stop(move || {
        flag.store(true, Ordering::SeqCst);
        waker.wake();
    })?;
    let (waker, place) = (sockets.waker(), Arc::clone(&update));
    let follow = move |new| {
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
        waker.wake();
    };
    let watch = Watch::start(load.clone(), Arc::clone(&config), Box::new(follow))?;
    standing.follow_hangups(watch.reloader(), sockets.waker())?;

    let addresses: Vec<String> = entry.submit.iter().map(ToString::to_string).collect();
    tracing::info!(identity = %entry.identity, stream = %own.stream(), submit = addresses.join(" "), "ready");
    let (identity, trust) = (entry.identity.clone(), Arc::clone(&config.trust));
    let mut core = RelayCore::new(identity, entry.carries, entry.archive, trust);
    for (stream, head, said) in keeping.streams().filter(|(stream, ..)| stream != own.stream()) {
        core.remember(stream, head, said, 0);
    }
    let relay = Relay {
        core,
        own,
        key,
        on_disk: keeping.on_disk(),
        writer: Writer::start(keeping, sockets.waker())?,
        sockets,
        waiting: Waiting::default(),
        following,
        trim_at: Instant::now(),
        config,
        broken: None,
        identity: entry.identity,
        refusals: HashMap::new(),
        second: Instant::now(),
        announce_at: None,
        start: Instant::now(),
        reported: (Instant::now(), Counts::default()),
    };
    relay.serve(&stopping, &update, &mut standing);
    // Whoever asks is answered until the last words are there to be asked for.
    drop(standing);
    tracing::info!("ended");
    Ok(Code::Ok)
}

/// The relay's key, which others must trust.
fn own_key(config: &Config, entry: &EndpointEntry) -> Result<Arc<SecretKey>, RelayError> {
    let key = config.secret_key(&entry.identity)?;
    let trusted = config.trust.keys.get(&key.public().id());
    if trusted.is_none_or(|trusted| trusted.identity != entry.identity || trusted.revoked) {
        return Err(RelayError::UntrustedKey(entry.identity.clone()));
    }
    Ok(Arc::new(key))
}

/// Whom the relay follows, if anybody.
fn whom(config: &Config, entry: &EndpointEntry) -> Option<Whom> {
    match (entry.archive, config.relay.follow.is_empty()) {
        (true, _) => Some(Whom::Everybody),
        (false, false) => Some(Whom::Relays(config.relay.follow.clone())),
        (false, true) => None,
    }
}

/// Answers requests for what is in the log and in the journals of the host.
fn serve(
    config: &Config,
    keeping: &Keeping,
    address: &Endpoint,
) -> Result<ReplayServer, RelayError> {
    let desk = Desk::new(keeping.reader(), Shelf::new(&config.state_dir));
    Ok(ReplayServer::start(&Zmq::new(), address, desk)?)
}

/// The first slot that nobody holds, and the address of the same index.
fn take_slot(
    config: &Config,
    entry: &EndpointEntry,
    key: &Arc<SecretKey>,
) -> Result<(OwnStream, RelaySockets, Option<Endpoint>), RelayError> {
    let mut held = Vec::new();
    for (index, address) in entry.publish.iter().enumerate() {
        let slot = u16::try_from(index).unwrap_or(u16::MAX);
        match OwnStream::open(config, &entry.identity, Arc::clone(key), slot)? {
            Ok(own) => {
                let replay = entry.replay.get(index).cloned();
                let slow_subscriber_wait = match &replay {
                    // What a slow one misses it fetches: nobody else waits for it.
                    Some(_) => Duration::ZERO,
                    None => Duration::from_millis(config.publisher.slow_subscriber_wait_ms),
                };
                let settings = OutletSettings { slow_subscriber_wait, ..OutletSettings::default() };
                let sockets = RelaySockets::bind(address, &entry.submit, settings)?;
                return Ok((own, sockets, replay));
            }
            Err(pid) => held.push(format!("slot {index} is held by process {pid}")),
        }
    }
    Err(RelayError::Running { identity: entry.identity.clone(), held: held.join(", ") })
}

struct Relay {
    core: RelayCore,
    own: OwnStream,
    key: Arc<SecretKey>,
    sockets: RelaySockets,
    on_disk: OnDisk,
    writer: Writer<(Bytes, RequestId)>,
    waiting: Waiting<(Bytes, RequestId)>,
    following: Option<Followed>,
    trim_at: Instant,
    config: Arc<Config>,
    /// Why the files as they are now cannot be used.
    broken: Option<String>,
    identity: fedmsg::Identity,
    /// Refused messages of this second, by producer.
    refusals: HashMap<Bytes, u32>,
    second: Instant,
    announce_at: Option<Instant>,
    start: Instant,
    reported: (Instant, Counts),
}

impl Relay {
    fn serve(
        mut self,
        stopping: &AtomicBool,
        update: &Mutex<Option<ConfigUpdate>>,
        standing: &mut Standing,
    ) {
        let (mut asked, mut stopped) = (Vec::new(), None);
        standing.ready(self.seen());
        loop {
            let stop = stopping.load(Ordering::SeqCst);
            // Looked at first: what a reload brought is behind it.
            let is_reloaded = standing.is_reloaded();
            if let Some(update) = update.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // What was opened under the old one is done before the new one is in force.
                self.store_all();
                self.reconfigure(update);
            }
            if is_reloaded {
                standing.ready(self.seen());
            }
            let pause = if stop { Duration::ZERO } else { self.pause().min(standing.pause()) };
            let subscribers = self.sockets.wait(pause, &mut asked);
            if stop {
                let since = *stopped.get_or_insert_with(|| standing.stopping());
                if asked.is_empty() || since.elapsed() >= DRAIN_MAX {
                    break;
                }
            }
            if subscribers.joined > 0 {
                self.announce_at.get_or_insert_with(|| Instant::now() + ANNOUNCE);
            }
            for question in asked.drain(..) {
                self.answer(&question);
            }
            self.follow();
            self.settle();
            self.store();
            self.on_time();
            standing.turn(subscribers, || self.seen());
        }
        self.store_all();
        self.report(true);
        let stream = self.own.stream().clone();
        let last = self.own.close(&self.config.digest);
        self.sockets.publish(&last.wire);
        if let Some(keeping) = self.writer.end() {
            keeping.close(&stream, &last.wire);
        }
    }

    /// What is shown of it.
    fn seen(&self) -> Seen {
        let keeping = self.writer.keeping();
        Seen {
            identity: self.identity.clone(),
            digest: self.config.digest.clone(),
            broken: self.broken.clone(),
            is_configured: self.config.endpoints.contains_key(&self.identity),
            failing: keeping.failing().map(str::to_owned),
            counts: self.core.counts,
            streams: self.core.stream_count() as u64,
            log: keeping.metrics(),
            follower: self.following.as_ref().map(Followed::metrics),
        }
    }

    fn pause(&self) -> Duration {
        let announce = self.announce_at.map(|at| at.saturating_duration_since(Instant::now()));
        self.own.pause().min(announce.unwrap_or(Duration::MAX)).min(Duration::from_secs(1))
    }

    /// Heartbeats, announcements and reports that are due.
    fn on_time(&mut self) {
        let now = Instant::now();
        if self.announce_at.is_some_and(|at| at <= now) {
            self.announce_at = None;
            // What is announced of streams may be about what is not on disk yet.
            self.store_all();
            self.own.announce();
            for wire in self.core.announcements(self.millis(), LIVELY_MS) {
                self.sockets.publish(wire);
            }
        }
        let due = self.own.due(&self.config.digest);
        if let Some(beat) = due.first() {
            self.writer.keeping().probe(self.own.stream(), self.own.epoch(), beat);
        }
        for wire in due {
            self.writer.keeping().beaten(self.own.stream(), &wire);
            self.sockets.publish(&wire);
        }
        if now >= self.trim_at {
            self.trim_at = now + TRIM;
            self.writer.keeping().trim();
        }
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.refusals.clear();
        }
        self.report(false);
    }

    fn answer(&mut self, question: &Asked) {
        let Asked { peer, frames } = question;
        let request = match Request::parse(frames) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(%error, "a request that cannot be read");
                self.sockets.answer(peer, &error.answer(frames).encode());
                return;
            }
        };
        match request.ask {
            Ask::Put { messages } => match self.refusals.get(peer) {
                Some(count) if *count >= REFUSALS_PER_SECOND => {
                    let text = "too many refused messages: wait a second";
                    self.send(peer, &request.id, vec![error(ErrorCode::Busy, text)]);
                }
                _ => self.put(peer, request.id, &messages),
            },
            _ => {
                let text = "messages are put here; ask at the `replay` address of this relay";
                self.send(peer, &request.id, vec![error(ErrorCode::Denied, text)]);
            }
        }
    }

    /// Takes messages, which wait for the next sync with those of others.
    fn put(&mut self, peer: &Bytes, id: RequestId, messages: &[Wire]) {
        let taken = self.core.put(messages, self.millis(), &self.on_disk);
        if !taken.refusals.is_empty() && self.refusals.len() < PRODUCERS_MAX {
            *self.refusals.entry(peer.clone()).or_default() += taken.refusals.len() as u32;
        }
        for (reason, stream) in &taken.refusals {
            match stream {
                Some(stream) => tracing::warn!(%reason, %stream, "refused a message"),
                None => tracing::warn!(%reason, "refused a message"),
            }
        }
        self.wait_for_sync(Some((peer.clone(), id)), taken);
    }

    /// Takes what others have shown.
    fn follow(&mut self) {
        if let Some(following) = &mut self.following
            && following.is_to_begin()
            && let Err(error) =
                following.begin(&self.writer.keeping(), &self.config.trust, self.sockets.waker())
        {
            tracing::error!(%error, "nobody is followed now");
        }
        while let Some(part) = self.following.as_ref().and_then(Followed::take) {
            let (now, mut taken) = (self.millis(), Taken::default());
            for wire in &part {
                self.core.follow(wire, now, &self.on_disk, &mut taken);
            }
            for (reason, stream) in &taken.refusals {
                tracing::warn!(%reason, ?stream, "not kept: what another one has shown");
            }
            self.wait_for_sync(None, taken);
        }
    }

    /// Everything that waits is stored with the next sync. When it is much, the one before is waited for, so that what
    /// waits has a bound.
    fn wait_for_sync(&mut self, from: Option<(Bytes, RequestId)>, taken: Taken) {
        let is_much = self.waiting.add(from, taken);
        let written = if is_much { self.writer.wait() } else { self.writer.written() };
        let is_free = written.is_some();
        if let Some((batch, stored)) = written {
            self.settled(&batch, &stored);
        }
        if is_much || is_free {
            self.store();
        }
    }

    /// Hands over what waits, unless the disk works: then it is handed over behind that.
    fn store(&mut self) {
        if !self.writer.is_busy()
            && let Some(batch) = self.waiting.hand_over(&mut self.core)
        {
            self.writer.begin(batch);
        }
    }

    /// Publishes and answers what the disk has taken meanwhile.
    fn settle(&mut self) {
        if let Some((batch, stored)) = self.writer.written() {
            self.settled(&batch, &stored);
        }
    }

    /// Waits until everything that was put is stored, published and answered.
    fn store_all(&mut self) {
        loop {
            if let Some((batch, stored)) = self.writer.wait() {
                self.settled(&batch, &stored);
            }
            self.store();
            if !self.writer.is_busy() {
                return;
            }
        }
    }

    fn settled(&mut self, batch: &Batch<(Bytes, RequestId)>, stored: &Result<(), String>) {
        let Relay { waiting, core, on_disk, key, sockets, .. } = self;
        waiting.settle(batch, stored, (core, on_disk), key, &mut Crowd(sockets));
        if let (Err(_), Some(following)) = (stored, &mut self.following) {
            following.failed();
        }
    }

    fn send(&mut self, peer: &Bytes, id: &RequestId, replies: Vec<Reply>) {
        Crowd(&mut self.sockets).send(peer, id, replies);
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn reconfigure(&mut self, update: ConfigUpdate) {
        match &update.error {
            Some(error) => {
                tracing::error!(%error, "the configuration is broken; the last good one stays");
            }
            None => tracing::info!(digest = update.config.digest, "configuration in force"),
        }
        (self.config, self.broken) = (update.config, update.error);
        match self.config.endpoints.get(&self.identity) {
            Some(entry) => {
                let trust = Arc::clone(&self.config.trust);
                self.core.set_config(entry.carries.clone(), entry.archive, trust);
            }
            None => {
                tracing::error!(identity = %self.identity, "this relay is no longer in [endpoints]: it carries nothing");
                self.core.set_config(Vec::new(), false, Arc::clone(&self.config.trust));
            }
        }
    }

    fn report(&mut self, last: bool) {
        let (at, before) = self.reported;
        let counts = self.core.counts;
        if counts != before && (last || at.elapsed() >= REPORT) {
            self.reported = (Instant::now(), counts);
            let Counts { carried, duplicates, refused, early, unstored } = counts;
            let streams = self.core.stream_count();
            tracing::info!(carried, duplicates, refused, early, unstored, streams, "in all");
        }
    }
}

/// Readers and producers.
struct Crowd<'a>(&'a mut RelaySockets);

impl Crowd<'_> {
    fn send(&mut self, peer: &Bytes, id: &RequestId, replies: Vec<Reply>) {
        for reply in replies {
            let answer = Answer { id: id.clone(), reply };
            if !self.0.answer(peer, &answer.encode()) {
                tracing::debug!("a producer is gone before its answer");
                return;
            }
        }
    }
}

impl Outside<(Bytes, RequestId)> for Crowd<'_> {
    fn publish(&mut self, wire: &Wire) {
        if !self.0.publish(wire) {
            tracing::debug!("a subscriber is too slow: it has to fetch messages");
        }
    }

    fn answer(&mut self, (peer, id): &(Bytes, RequestId), replies: Vec<Reply>) {
        self.send(peer, id, replies);
    }
}

fn error(code: ErrorCode, text: &str) -> Reply {
    Reply::Err { code, text: text.into() }
}
