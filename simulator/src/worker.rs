//! A process that publishes, without its threads: the library's writer, journal, heartbeats and answers. One without
//! an endpoint hands its journal to relays.

mod desk;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::frames::{Answer, Request};
use fedmsg::holder::Holder;
use fedmsg::identity::{Identity, StreamName};
use fedmsg::journal::{Disk, Journal, JournalError, JournalMetrics, Mark, Settings};
use fedmsg::keys::SecretKey;
use fedmsg::limits::{HEARTBEAT_AFTER_BURST_MS, HEARTBEAT_IDLE_MS, JOURNAL_BATCH_RECORDS_MAX};
use fedmsg::merkle::Leaf;
use fedmsg::open::Opener;
use fedmsg::outbox::post::Post;
use fedmsg::publisher::core::{Before, Core, Opened, Outside, Reaction};
use fedmsg::publisher::last_epoch;
use fedmsg::publisher::witness::Shown;
use fedmsg::record::{Level, State};
use fedmsg::replay::{Live, Shelf, save_heartbeat};
use fedmsg::seal::{Checked, Sealed, Sealer};
use fedmsg::testing::MemoryDisk;
use fedmsg::timestamp::Timestamp;

use desk::Desk;

use crate::cast::{Cast, HOSTS, Known};

/// Where a process lives, and what it is told.
pub struct Place {
    pub disk: MemoryDisk,
    pub stream: StreamName,
    pub key: Arc<SecretKey>,
    pub journal: Settings,
    /// The relays that it is handed to, where it has no endpoint.
    pub relays: Vec<Identity>,
    /// The virtual clock.
    pub clock: Arc<AtomicU64>,
}

/// A running process.
pub struct Worker {
    place: Place,
    sealer: Sealer,
    core: Core,
    /// What hands the journal to relays.
    post: Option<Post>,
    shelf: Arc<Shelf>,
    _live: Live,
    newest: Arc<Mutex<Option<Wire>>>,
    holder: Holder,
    mark: Mark,
    opener: Opener,
    /// What somebody has shown of this stream that is not known here.
    shown: Option<Shown>,
    /// A relay knows another record of a number.
    is_contradicted: bool,
    waiting: Vec<Checked>,
    sealed: Vec<Sealed>,
    burst: Option<u64>,
    beat: u64,
    announcing: bool,
}

/// What a process did that others can notice, in order.
pub enum Deed {
    /// It numbered a message, which nobody knows of yet.
    Sealed(Sealed),
    /// It sent a message to its readers.
    Shown(Sealed),
    /// It said that the stream goes up to here.
    Said { last: u64, head: Leaf },
    /// It sent these frames, whatever they are.
    Sent(Wire),
    /// It asks one of its relays to take messages.
    Put { relay: usize, frames: Vec<Bytes> },
    /// It told somebody that this message is stored.
    Acknowledged(Sealed),
    /// It told so many that their message was not stored.
    Refused(u64),
    /// It was shown that it was set back, and will begin a new epoch.
    Renews,
}

/// The folder of a stream.
pub fn slot_folder(stream: &StreamName) -> PathBuf {
    let folder = PathBuf::from("/state/streams").join(stream.identity().as_str());
    folder.join(stream.slot().to_string())
}

impl Worker {
    /// Starts a process: it opens its journal, and begins an epoch where that is needed.
    pub fn start(
        place: Place,
        wall: Timestamp,
        now: u64,
        random: &mut fastrand::Rng,
    ) -> Result<Worker, String> {
        let disk: Arc<dyn Disk> = Arc::new(place.disk.clone());
        let slot = slot_folder(&place.stream);
        let say = |error: JournalError| error.to_string();
        let journal =
            Journal::open(Arc::clone(&disk), &slot.join("journal"), &place.stream, place.journal);
        let known = last_epoch::before(&*disk, &slot);
        let before = Before { known, is_renewal_wanted: false };
        let (mut name, key) = ([0; 10], Arc::clone(&place.key));
        random.fill(&mut name);
        let opened = Core::open(journal.map_err(say)?, before, key, Level::Local, wall, name);
        let Opened { sealer, mut core } = opened.map_err(say)?;
        last_epoch::begin(&*disk, &slot, sealer.epoch()).map_err(|error| error.to_string())?;
        let Place { stream, relays, .. } = &place;
        let post = (!relays.is_empty())
            .then(|| Post::open(Arc::clone(&disk), slot, &mut core, stream, relays));
        let clock = Arc::clone(&place.clock);
        let now_of = move || clock.load(Ordering::Relaxed);
        let shelf = Arc::new(Shelf::timed(disk, "/state".as_ref(), now_of));
        let newest = Arc::default();
        let mark = core.mark().ok_or("a publisher without a journal")?;
        let live = shelf.live(place.stream.clone(), mark.clone(), Arc::clone(&newest));
        let mut life = [0; 16];
        random.fill(&mut life);
        Ok(Worker {
            place,
            sealer,
            core,
            post,
            shelf,
            _live: live,
            newest,
            holder: Holder::new(life),
            mark,
            opener: Opener::new(Cast::get().trust(&[Known::ALL; HOSTS])),
            shown: None,
            is_contradicted: false,
            waiting: Vec::new(),
            sealed: Vec::new(),
            burst: None,
            beat: now,
            announcing: true,
        })
    }

    pub fn epoch(&self) -> Epoch {
        self.sealer.epoch()
    }

    pub fn genesis(&self) -> &Wire {
        self.core.genesis()
    }

    /// Somebody wants to publish.
    pub fn give(&mut self, messages: impl IntoIterator<Item = Checked>) {
        self.waiting.extend(messages);
    }

    /// A reader has come.
    pub fn announce(&mut self) {
        self.announcing = true;
    }

    /// Does what is due, like the writer's thread; it is killed when it has shown so many things, if that is
    /// said, or when the power goes. Says whether it lives.
    pub fn step(
        &mut self,
        wall: Timestamp,
        now: u64,
        shows_left: Option<u64>,
        random: &mut fastrand::Rng,
        deeds: &mut Vec<Deed>,
    ) -> bool {
        self.look_at_what_was_shown(now, deeds);
        let lives = self.publish(wall, now, shows_left, random, deeds);
        if let Some(post) = self.post.as_mut().filter(|_| lives) {
            post.grown(&self.core);
        }
        lives && self.rest(wall, now, deeds) && self.deliver(now, shows_left, random, deeds)
    }

    fn publish(
        &mut self,
        wall: Timestamp,
        now: u64,
        shows_left: Option<u64>,
        random: &mut fastrand::Rng,
        deeds: &mut Vec<Deed>,
    ) -> bool {
        if self.core.is_renewing() {
            self.renew(wall, now, random, deeds);
            return !self.place.disk.is_down();
        }
        if self.goes_on(wall, now, random, deeds) {
            return !self.place.disk.is_down();
        }
        let (disk, is_posted) = (self.place.disk.clone(), self.post.is_some());
        let batch = Vec::new();
        let mut crowd = Crowd { disk, is_posted, shows_left, batch, deeds, sealed: &self.sealed };
        if self.core.retry_at().is_some() {
            let recovered = self.core.recover(wall, now, &mut crowd);
            self.announcing |= matches!(recovered, Some(Ok(())));
            let refused = self.waiting.drain(..).count() as u64;
            if refused > 0 && matches!(recovered, None | Some(Err(_))) {
                crowd.refuse(refused);
            }
        } else if !self.waiting.is_empty() {
            self.waiting.truncate(JOURNAL_BATCH_RECORDS_MAX);
            let batch = self.sealer.seal(&std::mem::take(&mut self.waiting), wall);
            crowd.deeds.extend(batch.iter().cloned().map(Deed::Sealed));
            let both = [&self.sealed[..], &batch].concat();
            crowd.sealed = &both;
            crowd.batch.clone_from(&batch);
            self.core.publish(batch, wall, now, &mut crowd);
            self.burst = Some(now);
            let alive = crowd.is_alive();
            self.sealed = both;
            return alive;
        }
        crowd.is_alive()
    }

    /// Gives relays what they need next.
    fn deliver(
        &mut self,
        now: u64,
        mut shows_left: Option<u64>,
        random: &mut fastrand::Rng,
        deeds: &mut Vec<Deed>,
    ) -> bool {
        let Some(post) = &mut self.post else { return true };
        // What cannot be read now is read later.
        let asks = post.asks(now, || random.u64(..)).unwrap_or_default();
        for (relay, frames) in asks {
            if shows_left == Some(0) {
                return false;
            }
            shows_left = shows_left.map(|left| left - 1);
            deeds.push(Deed::Put { relay, frames });
        }
        post.save(now);
        !self.place.disk.is_down()
    }

    /// A relay answered what was put.
    pub fn put_answered(&mut self, relay: usize, frames: &[Bytes], now: u64, chance: u64) {
        let Some(post) = &mut self.post else { return };
        let Ok(answer) = Answer::parse(frames) else { return };
        if post.answered(relay, answer, now, chance) && !self.core.is_renewing() {
            self.core.want_renewal(None);
            self.is_contradicted = true;
        }
    }

    /// A relay cannot be reached.
    pub fn put_unsent(&mut self, relay: usize, now: u64) {
        if let Some(post) = &mut self.post {
            post.not_sent(relay, now);
        }
    }

    /// A relay can be reached again.
    pub fn relay_is_back(&mut self, now: u64) {
        if let Some(post) = &mut self.post {
            post.look_again(now);
        }
    }

    /// Begins a new epoch, where a relay lacks what is gone. Says whether it did.
    fn goes_on(
        &mut self,
        wall: Timestamp,
        now: u64,
        random: &mut fastrand::Rng,
        deeds: &mut Vec<Deed>,
    ) -> bool {
        let Some(post) = &mut self.post else { return false };
        let mut name = [0; 10];
        random.fill(&mut name);
        match post.go_on(&mut self.core, &self.sealer, wall, now, name) {
            Some(Ok(sealer)) => {
                self.begun(sealer, deeds);
                true
            }
            Some(Err(_)) => true,
            None => false,
        }
    }

    fn look_at_what_was_shown(&mut self, now: u64, deeds: &mut Vec<Deed>) {
        if std::mem::take(&mut self.is_contradicted) {
            deeds.push(Deed::Renews);
        }
        let Some(shown) = self.shown.take() else { return };
        if self.core.shown(shown, self.sealer.epoch(), now) == Reaction::Renewal {
            deeds.push(Deed::Renews);
        }
    }

    /// Goes on in a new epoch, once the disk takes it.
    fn renew(
        &mut self,
        wall: Timestamp,
        now: u64,
        random: &mut fastrand::Rng,
        deeds: &mut Vec<Deed>,
    ) {
        let mut name = [0; 10];
        random.fill(&mut name);
        match self.core.renew(&self.sealer, wall, now, name) {
            Some(Ok((sealer, _))) => self.begun(sealer, deeds),
            _ => deeds.push(Deed::Refused(self.waiting.drain(..).count() as u64)),
        }
    }

    fn begun(&mut self, sealer: Sealer, deeds: &mut Vec<Deed>) {
        let slot = slot_folder(&self.place.stream);
        // As in the publisher, the journal counts where this cannot be written.
        last_epoch::begin(&self.place.disk, &slot, sealer.epoch()).ok();
        self.sealer = sealer;
        self.sealed.clear();
        self.announcing = true;
        deeds.push(Deed::Sent(self.core.genesis().clone()));
    }

    fn rest(&mut self, wall: Timestamp, now: u64, deeds: &mut Vec<Deed>) -> bool {
        if self.due() <= now {
            self.say(None, wall, now, deeds);
        }
        self.core.trim(&mut self.sealer, wall, now);
        !self.place.disk.is_down()
    }

    /// Sends a heartbeat, and to new readers the genesis record.
    fn say(&mut self, state: Option<State>, wall: Timestamp, now: u64, deeds: &mut Vec<Deed>) {
        let (end, usual) = self.core.stand(&self.sealer);
        let beat = self.sealer.heartbeat_at(end, state.unwrap_or(usual), "", wall);
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(beat.wire.clone());
        if let Some(post) = &mut self.post {
            post.beaten(beat.wire.clone());
        }
        deeds.push(Deed::Said { last: end.0, head: end.1 });
        deeds.push(Deed::Sent(beat.wire));
        if std::mem::take(&mut self.announcing) {
            deeds.push(Deed::Sent(self.core.genesis().clone()));
        }
        (self.beat, self.burst) = (now, None);
    }

    /// When the next heartbeat is due.
    fn due(&self) -> u64 {
        let latest = self.beat + HEARTBEAT_IDLE_MS;
        let after = self.burst.map_or(latest, |burst| burst + HEARTBEAT_AFTER_BURST_MS);
        if self.announcing { 0 } else { after.min(latest) }
    }

    /// When there is something to do.
    pub fn pause_until(&self, now: u64) -> u64 {
        if self.shown.is_some() || self.is_contradicted {
            return 0;
        }
        let due = self.post.as_ref().map_or(u64::MAX, |post| post.due(now)).min(self.due());
        self.core.retry_at().map_or(due, |at| at.min(due))
    }

    /// Ends cleanly.
    pub fn stop(mut self, wall: Timestamp, now: u64, deeds: &mut Vec<Deed>) -> Result<(), String> {
        let disk = self.place.disk.clone();
        let mut crowd = Crowd {
            disk: disk.clone(),
            is_posted: self.post.is_some(),
            shows_left: None,
            batch: Vec::new(),
            deeds,
            sealed: &self.sealed,
        };
        self.core.recover(wall, u64::MAX, &mut crowd);
        if disk.is_down() {
            return Ok(());
        }
        self.say(Some(State::Closed), wall, now, deeds);
        let slot = slot_folder(&self.place.stream);
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(beat) = newest {
            save_heartbeat(&disk, &slot, &beat).map_err(|error| error.to_string())?;
        }
        if let Some(post) = &mut self.post {
            post.save_now();
        }
        let ((last, leaf), _) = self.core.stand(&self.sealer);
        last_epoch::end(&disk, &slot, self.sealer.epoch(), last, leaf)
            .map_err(|error| error.to_string())?;
        self.core.close().map_err(|error| error.to_string())
    }

    /// The answers to a request.
    pub fn answer(&mut self, peer: &Bytes, frames: &[Bytes], now: u64) -> Vec<Answer> {
        let Ok(request) = Request::parse(frames) else { return Vec::new() };
        let Worker { shelf, place, mark, opener, shown, .. } = self;
        let mut desk = Desk { shelf, stream: &place.stream, mark, opener, shown };
        let replies = self.holder.answer(peer, &request, now, &mut desk);
        replies.into_iter().map(|reply| Answer { id: request.id.clone(), reply }).collect()
    }
}

/// Readers and callers, as long as the process lives.
struct Crowd<'a> {
    disk: MemoryDisk,
    /// Nobody is shown anything here: relays are given what is read from the journal.
    is_posted: bool,
    shows_left: Option<u64>,
    batch: Vec<Sealed>,
    deeds: &'a mut Vec<Deed>,
    sealed: &'a [Sealed],
}

impl Crowd<'_> {
    fn is_alive(&self) -> bool {
        self.shows_left != Some(0) && !self.disk.is_down()
    }

    fn refuse(&mut self, count: u64) {
        self.deeds.push(Deed::Refused(count));
    }
}

impl Outside for Crowd<'_> {
    fn stored(&mut self, _metrics: JournalMetrics) {}

    fn show(&mut self, wire: &Wire) {
        if !self.is_alive() || self.is_posted {
            return;
        }
        if let Some(left) = &mut self.shows_left {
            *left -= 1;
        }
        let shown = self.sealed.iter().rev().find(|sealed| sealed.wire.envelope == wire.envelope);
        let shown = shown.expect("only what was sealed here is shown").clone();
        self.deeds.push(Deed::Shown(shown));
    }

    fn answer(&mut self, published: Result<(), &JournalError>) {
        if !self.is_alive() {
            return;
        }
        match published {
            Ok(()) => self.deeds.extend(self.batch.drain(..).map(Deed::Acknowledged)),
            Err(_) => self.refuse(self.batch.len() as u64),
        }
    }
}
