//! The outbox that all commands of an identity share: one stream, whose lock each holds for a moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::sender::Sender;
use super::turn::{self, Turn};
use crate::clock::Clock;
use crate::config::Config;
use crate::dedup::{Known, MsgIds};
use crate::delivered::{Delivered, Fate, Point};
use crate::delivery::Outcome;
use crate::envelope::Wire;
use crate::identity::{Identity, StreamName};
use crate::journal::{Disk, JournalError, JournalMetrics};
use crate::keys::SecretKey;
use crate::net::rpc::Lines;
use crate::publisher::core::{Core, Opened, Outside};
use crate::publisher::opening::{relays, trusted};
use crate::publisher::past::Past;
use crate::publisher::slot::{SlotError, SlotLock, commands_slot};
use crate::publisher::{BuildError, Floor, PublishError, Receipt};
use crate::record::Level;
use crate::seal::{Checked, Draft, SealError, Sealer, check};

/// How often it is looked whether another command has delivered the message, in milliseconds.
const LOOK_MS: u64 = 3;
/// Relays that are being asked when the first one has the message are waited for so long.
const OTHERS: Duration = Duration::from_millis(30);

/// The outbox of an identity's commands.
///
/// A message is kept first ([`keep`](Outbox::keep)), and is then safe here; to hand it to relays
/// ([`deliver`](Outbox::deliver)) may fail, and is done by the next command, or by [`flush`](super::flush).
pub struct Outbox {
    config: Arc<Config>,
    identity: Identity,
    key: Arc<SecretKey>,
    stream: StreamName,
    disk: Arc<dyn Disk>,
    /// Connections, which are made while the message is written.
    lines: Option<Lines>,
    sender: Option<Sender>,
    beat: Option<Wire>,
}

impl Outbox {
    /// The outbox of this identity, by default the configured one. It connects to the relays of the
    /// configuration; that there are none is an error.
    pub fn open(
        config: Arc<Config>,
        identity: Option<Identity>,
        disk: Arc<dyn Disk>,
    ) -> Result<Outbox, BuildError> {
        let identity = match identity {
            Some(identity) => identity,
            None => config.identity()?,
        };
        let key = trusted(&config, &identity, config.secret_key(&identity)?)?;
        let relays = relays(&config);
        if relays.is_empty() {
            let tried = "a command has no endpoint of its own".into();
            return Err(BuildError::NoWay { identity, tried });
        }
        let slot = commands_slot(&config.state_dir, &identity).map_err(|error| match error {
            SlotError::Io(path, error) => {
                BuildError::Io { what: path.display().to_string(), error }
            }
            _ => BuildError::TooManySlots(identity.clone()),
        })?;
        let stream = StreamName::new(identity.clone(), slot);
        let lines = Some(Lines::connect(&relays)?);
        let (sender, beat) = (None, None);
        Ok(Outbox { config, identity, key, stream, disk, lines, sender, beat })
    }

    /// The stream that the commands share.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// Numbers, signs and stores a message. When this returns well, it survives kill -9 and a power cut. Waits
    /// for other commands at most so long; each holds the outbox for a few syncs of the disk.
    pub fn keep(&mut self, draft: Draft, patience: Duration) -> Result<Receipt, PublishError> {
        let fresh_id = || format!("{}-{}", Clock::wall().year(), Uuid::new_v4());
        let checked = check(draft, &self.identity, &self.config.trust, fresh_id)?;
        let slot = self.lock(patience)?;
        let turn = Turn { config: &self.config, key: &self.key, disk: &self.disk };
        let not_stored = |error: &dyn std::fmt::Display| PublishError::NotStored(error.to_string());
        let opened = turn.open(&slot, &self.stream).map_err(|error| not_stored(&error))?;
        let Opened { mut sealer, mut core } = opened;
        let delivered = super::marks::load(&*self.disk, slot.folder());
        self.check_room(&core, &delivered)?;
        let known = recognise(&core, &sealer, &checked)?;
        let (epoch, i) = match known {
            Some(known) => known,
            None => {
                let before = segments(&core);
                let i = store(&mut core, &mut sealer, &checked)?;
                if segments(&core) > before {
                    turn.trim(&mut core, &mut sealer, &delivered);
                }
                (sealer.epoch(), i)
            }
        };
        self.beat = Some(turn.last_words(&slot, &mut sealer));
        self.start(&core, &slot);
        let (stream, msg_id) = (self.stream.clone(), checked.msg_id);
        Ok(Receipt {
            stream,
            epoch,
            i,
            msg_id,
            level: Level::Local,
            relay: None,
            copies: Vec::new(),
        })
    }

    fn lock(&self, patience: Duration) -> Result<SlotLock, PublishError> {
        match turn::wait(&self.config.state_dir, &self.stream, patience) {
            Ok(slot) => Ok(slot),
            Err(SlotError::Held(pid)) => {
                Err(PublishError::OutboxHeld { stream: self.stream.clone(), pid, waited: patience })
            }
            Err(SlotError::Io(path, error)) => {
                Err(PublishError::NotStored(format!("{}: {error}", path.display())))
            }
            Err(SlotError::TooMany) => unreachable!("a slot that has a name is taken"),
        }
    }

    fn check_room(&self, core: &Core, delivered: &Delivered) -> Result<(), PublishError> {
        let most = self.config.publisher.outbox_bytes;
        let floor = delivered.floor().map(|floor| (floor.epoch, floor.i));
        match core.bytes_after(floor) >= most {
            true => Err(PublishError::OutboxFull { stream: self.stream.clone(), most }),
            false => Ok(()),
        }
    }

    /// From here on the journal is read as far as it was when this process wrote it.
    fn start(&mut self, core: &Core, slot: &SlotLock) {
        let Some(reader) = core.reader() else { return };
        match (&mut self.sender, self.lines.take()) {
            (Some(sender), _) => sender.read_from(reader),
            (none, Some(lines)) => {
                let (disk, floor) = (Arc::clone(&self.disk), Floor::default());
                let mut sender = Sender::new(disk, slot.folder(), reader, lines, floor);
                sender.hurry(LOOK_MS);
                *none = Some(sender);
            }
            (None, None) => {}
        }
    }

    /// Hands everything that is kept to relays, until one has this message, or the time is over. What became of
    /// the message; an error of the journal leaves that open.
    pub fn deliver(&mut self, receipt: &Receipt, patience: Duration) -> Result<Fate, JournalError> {
        let deadline = Instant::now() + patience;
        let mine = Point { epoch: receipt.epoch, i: receipt.i };
        let Some(mut sender) = self.sender.take() else { return Ok(Fate::Pending) };
        sender.look()?;
        self.beat.clone().into_iter().for_each(|beat| sender.beaten(beat));
        let fate = self.deliver_by(&mut sender, mine, deadline);
        sender.save();
        self.sender = Some(sender);
        fate
    }

    fn deliver_by(
        &self,
        sender: &mut Sender,
        mine: Point,
        deadline: Instant,
    ) -> Result<Fate, JournalError> {
        let mut until = deadline;
        let mut taken = false;
        loop {
            sender.send()?;
            if !sender.is_sender() {
                sender.look_what_others_did();
            }
            let fate = sender.delivered().fate(mine);
            let now = Instant::now();
            match fate {
                Fate::Pending => {}
                // Others deliver it, or have.
                _ if !sender.is_sender() => return Ok(fate),
                Fate::Taken { .. } if !taken => {
                    (taken, until) = (true, deadline.min(now + OTHERS));
                }
                _ => {}
            }
            let answered = fate != Fate::Pending && !sender.is_asking();
            if answered || now >= until {
                return Ok(fate);
            }
            for (relay, outcome) in sender.receive(until.saturating_duration_since(now)) {
                self.learn(sender, &relay, outcome)?;
            }
        }
    }

    fn learn(
        &self,
        sender: &mut Sender,
        relay: &Identity,
        outcome: Outcome,
    ) -> Result<(), JournalError> {
        let turn = Turn { config: &self.config, key: &self.key, disk: &self.disk };
        turn.learn(sender, &self.stream, relay, outcome)
    }
}

fn segments(core: &Core) -> u64 {
    core.metrics(Clock::wall()).map_or(0, |metrics| metrics.segments)
}

/// The position of a message that was published under the same identifier before.
fn recognise(
    core: &Core,
    sealer: &Sealer,
    checked: &Checked,
) -> Result<Option<(crate::envelope::Epoch, u64)>, PublishError> {
    let reader = core.reader().filter(|_| checked.idempotent && sealer.last().0 > 0);
    let Some(reader) = reader else { return Ok(None) };
    let mut ids = MsgIds::default();
    Past(reader).recall(&mut ids, 0, Clock::wall());
    match ids.look_up(checked, 0) {
        Known::New => Ok(None),
        Known::Same(epoch, i) => Ok(Some((epoch, i))),
        Known::Other => Err(SealError::MsgIdReused(checked.msg_id.clone()).into()),
    }
}

/// Stores one message; its number.
fn store(core: &mut Core, sealer: &mut Sealer, checked: &Checked) -> Result<u64, PublishError> {
    struct Answered(Result<(), String>);
    impl Outside for Answered {
        fn stored(&mut self, _: JournalMetrics) {}
        fn show(&mut self, _: &Wire) {}
        fn answer(&mut self, published: Result<(), &JournalError>) {
            self.0 = published.map_err(ToString::to_string);
        }
    }
    let wall = Clock::wall();
    let sealed = sealer.seal(std::slice::from_ref(checked), wall);
    let mut answered = Answered(Err("it was not tried".into()));
    core.publish(sealed, wall, 0, &mut answered);
    answered.0.map_err(PublishError::NotStored)?;
    Ok(sealer.last().0)
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outbox({})", self.stream)
    }
}
