//! The loop of a relay: one thread, one XPUB socket, one ROUTER socket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedmsg::config::{Config, ConfigUpdate, EndpointEntry, Watch};
use fedmsg::frames::{Answer, Ask, ErrorCode, Reply, Request};
use fedmsg::net::rpc::{Asked, RelaySockets};
use fedmsg::publisher::OwnStream;
use fedmsg::transport::OutletSettings;
use fedmsg_tool::{Code, CommonOptions, logging, signals};
use tracing::level_filters::LevelFilter;

use crate::core::{Counts, RelayCore};
use crate::settings::{Options, RelayError, own_entry};

/// How often it is told what was carried, if anything was.
const REPORT: Duration = Duration::from_secs(60);
/// New readers of one such time share their announcements.
const ANNOUNCE: Duration = Duration::from_millis(20);
/// Refused messages that one producer may send in a second before it is asked to wait.
const REFUSALS_PER_SECOND: u32 = 1_000;
/// Producers whose refusals are counted.
const PRODUCERS_MAX: usize = 10_000;

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
    let (own, sockets) = take_slot(&config, &entry)?;

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
    let _watch = Watch::start(load, Arc::clone(&config), Box::new(follow))?;

    let addresses: Vec<String> = entry.submit.iter().map(ToString::to_string).collect();
    tracing::info!(identity = %entry.identity, stream = %own.stream(), submit = addresses.join(" "), "ready");
    let core = RelayCore::new(entry.identity.clone(), entry.carries, Arc::clone(&config.trust));
    let relay = Relay {
        core,
        own,
        sockets,
        config,
        identity: entry.identity,
        refusals: HashMap::new(),
        second: Instant::now(),
        announce_at: None,
        start: Instant::now(),
        reported: (Instant::now(), Counts::default()),
    };
    relay.serve(&stopping, &update);
    Ok(Code::Ok)
}

/// The first slot that nobody holds, and the address of the same index.
fn take_slot(
    config: &Config,
    entry: &EndpointEntry,
) -> Result<(OwnStream, RelaySockets), RelayError> {
    let mut held = Vec::new();
    for (index, address) in entry.publish.iter().enumerate() {
        let key = config.secret_key(&entry.identity)?;
        let trusted = config.trust.keys.get(&key.public().id());
        if trusted.is_none_or(|trusted| trusted.identity != entry.identity || trusted.revoked) {
            return Err(RelayError::UntrustedKey(entry.identity.clone()));
        }
        let slot = u16::try_from(index).unwrap_or(u16::MAX);
        match OwnStream::open(config, &entry.identity, key, slot)? {
            Ok(own) => {
                let settings = OutletSettings {
                    slow_subscriber_wait: Duration::from_millis(
                        config.publisher.slow_subscriber_wait_ms,
                    ),
                    ..OutletSettings::default()
                };
                return Ok((own, RelaySockets::bind(address, &entry.submit, settings)?));
            }
            Err(pid) => held.push(format!("slot {index} is held by process {pid}")),
        }
    }
    Err(RelayError::Running { identity: entry.identity.clone(), held: held.join(", ") })
}

struct Relay {
    core: RelayCore,
    own: OwnStream,
    sockets: RelaySockets,
    config: Arc<Config>,
    identity: fedmsg::Identity,
    /// Refused messages of this second, by producer.
    refusals: HashMap<Bytes, u32>,
    second: Instant,
    announce_at: Option<Instant>,
    start: Instant,
    reported: (Instant, Counts),
}

impl Relay {
    fn serve(mut self, stopping: &AtomicBool, update: &Mutex<Option<ConfigUpdate>>) {
        let (mut asked, mut stopped) = (Vec::new(), None);
        loop {
            let stop = stopping.load(Ordering::SeqCst);
            if let Some(update) = update.lock().unwrap_or_else(PoisonError::into_inner).take() {
                self.reconfigure(update);
            }
            let pause = if stop { Duration::ZERO } else { self.pause() };
            let subscribers = self.sockets.wait(pause, &mut asked);
            if stop {
                let since = *stopped.get_or_insert_with(Instant::now);
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
            self.on_time();
        }
        self.report(true);
        let last = self.own.close(&self.config.digest);
        self.sockets.publish(&last);
        tracing::info!("ended");
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
            self.own.announce();
            for wire in self.core.announcements() {
                self.sockets.publish(wire);
            }
        }
        for wire in self.own.due(&self.config.digest) {
            self.sockets.publish(&wire);
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
        let error = |code, text: &str| vec![Reply::Err { code, text: text.into() }];
        let replies = match request.ask {
            Ask::Put { messages } => match self.refusals.get(peer) {
                Some(count) if *count >= REFUSALS_PER_SECOND => {
                    error(ErrorCode::Busy, "too many refused messages: wait a second")
                }
                _ => self.put(peer, &messages),
            },
            Ask::Head { stream } => match self.core.head(&stream) {
                Some(info) => vec![info],
                None => error(ErrorCode::UnknownStream, "not carried since this relay started"),
            },
            _ => error(ErrorCode::Denied, "this relay keeps no journal"),
        };
        for reply in replies {
            let answer = Answer { id: request.id.clone(), reply };
            if !self.sockets.answer(peer, &answer.encode()) {
                tracing::debug!("a producer is gone before its answer");
                return;
            }
        }
    }

    fn put(&mut self, peer: &Bytes, messages: &[fedmsg::envelope::Wire]) -> Vec<Reply> {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let taken = self.core.put(messages, now);
        for wire in &taken.publish {
            if !self.sockets.publish(wire) {
                tracing::warn!("a subscriber is too slow: messages are sent without it");
            }
        }
        if !taken.refusals.is_empty() && self.refusals.len() < PRODUCERS_MAX {
            *self.refusals.entry(peer.clone()).or_default() += taken.refusals.len() as u32;
        }
        for (reason, stream) in &taken.refusals {
            match stream {
                Some(stream) => tracing::warn!(%reason, %stream, "refused a message"),
                None => tracing::warn!(%reason, "refused a message"),
            }
        }
        taken.replies
    }

    fn reconfigure(&mut self, update: ConfigUpdate) {
        match &update.error {
            Some(error) => {
                tracing::error!(%error, "the configuration is broken; the last good one stays");
            }
            None => tracing::info!(digest = update.config.digest, "configuration in force"),
        }
        self.config = update.config;
        match self.config.endpoints.get(&self.identity) {
            Some(entry) => {
                self.core.set_config(entry.carries.clone(), Arc::clone(&self.config.trust));
            }
            None => {
                tracing::error!(identity = %self.identity, "this relay is no longer in [endpoints]: it carries nothing");
                self.core.set_config(Vec::new(), Arc::clone(&self.config.trust));
            }
        }
    }

    fn report(&mut self, last: bool) {
        let (at, before) = self.reported;
        let counts = self.core.counts;
        if counts != before && (last || at.elapsed() >= REPORT) {
            self.reported = (Instant::now(), counts);
            let Counts { carried, duplicates, refused, early } = counts;
            let streams = self.core.stream_count();
            tracing::info!(carried, duplicates, refused, early, streams, "in all");
        }
    }
}
