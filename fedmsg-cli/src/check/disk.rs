//! `fedmsg check disk`: what this host keeps, and whether there is room for more.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use fedmsg::StreamName;
use fedmsg::config::Config;
use fedmsg::consumer::StoreAddress;
use fedmsg::followed::Followed;
use fedmsg::frames::Ask;
use fedmsg::journal::{Survey, survey};
use fedmsg::net::Zmq;
use fedmsg::open::Opener;
use fedmsg::outbox::{self, Waiting};
use fedmsg::record::State;
use fedmsg::repair::Holders;
use fedmsg::replay::Shelf;
use fedmsg::timestamp::Timestamp;
use fedmsg::transport::Transport;
use fedmsg_tool::duration;
use fedmsg_tool::exit::chain;

use super::finding::{Check, Grade, Report};
use super::thresholds::{Space, grade};
use super::{Error, World};
use crate::config::counted;
use crate::consumer::now;
use crate::holders::{Question, Until, ask_until};
use crate::journal::{Place, all, disk};
use crate::stream::{Beat, Stand, here, stand_of};
use crate::streams::age;

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg check disk                            a tenth of the file system has to be free, critical a twentieth
  fedmsg check disk --warn 50GiB --crit 5GiB
  fedmsg check disk --cover 1d                 each full journal has to go back so far

Looked at are the file systems with the state folder, with journals and relay logs, and with the store of consumers; every
journal (its budget, how far it goes back, damage in headers and in the newest segment, whether its publisher is degraded,
and whether bytes are set aside for its last words); what no relay has yet, which is a warning after 10m and critical after
1h, or when `outbox_bytes` is nearly or all used; and the logs of relays. It asks nobody but publishers of this host.";

/// What waits for relays for longer is a warning, in milliseconds.
const WAITING_WARN: i64 = 10 * 60_000;
/// And this is critical.
const WAITING_CRIT: i64 = 3_600_000;
/// An outbox or a budget is nearly used from this part on, in percent.
const NEARLY: u64 = 80;
/// How long publishers of this host are waited for.
const ASKING: Duration = Duration::from_secs(2);

#[derive(Args)]
pub(super) struct Options {
    /// Less free space is a warning: a part, or bytes
    #[arg(long, value_name = "SPACE", default_value = "10%", value_parser = Space::parse)]
    warn: Space,

    /// Less free space is critical
    #[arg(long, value_name = "SPACE", default_value = "5%", value_parser = Space::parse)]
    crit: Space,

    /// A journal that gave something up has to go back so far, or it is a warning
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    cover: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options { warn: Space::Percent(10), crit: Space::Percent(5), cover: None }
    }
}

pub(super) fn check(
    options: &Options,
    world: &World<'_>,
    report: &mut Report,
) -> Result<(), Error> {
    let config = world.config;
    space(options, config, report);
    let journals = journals(config, report);
    let now = now();
    for (place, seen) in &journals {
        journal(options, place, seen, now, report);
    }
    let bytes: u64 = journals.iter().map(|(_, seen)| seen.bytes).sum();
    of_all(&journals, bytes, config, now, report);
    let streams: Vec<StreamName> = journals.iter().map(|(place, _)| place.stream.clone()).collect();
    states(&streams, &journals, world, report)?;
    outboxes(config, now, report);
    relays(config, now, report);
    report.figure("disk_journals", bytes, "B");
    Ok(())
}

/// The file systems that something is kept on.
fn space(options: &Options, config: &Config, report: &mut Report) {
    let state = &config.state_dir;
    let mut paths = vec![state.clone(), state.join("streams"), state.join("relay")];
    if let StoreAddress::Sqlite(path) = config.store_address() {
        paths.extend(path.parent().map(Path::to_owned));
    }
    let mut devices = BTreeSet::new();
    for path in paths.iter().filter_map(|path| existing(path)) {
        let Ok(metadata) = path.metadata() else { continue };
        if !devices.insert(metadata.dev()) {
            continue;
        }
        let name = path.display().to_string();
        let (free, all) = match rustix::fs::statvfs(&path) {
            Ok(found) => (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize),
            Err(error) => {
                let text = format!("how much is free cannot be told: {error}");
                report.add(Check::Disk, Grade::Unknown, name, text);
                continue;
            }
        };
        let percent = if all == 0 { 0 } else { u128::from(free) * 100 / u128::from(all) };
        let grade = grade(options.warn.is_missing(free, all), options.crit.is_missing(free, all));
        let text = format!("{} of {} are free ({percent}%)", size(free), size(all));
        let finding = report.add(Check::Disk, grade, name, text);
        if grade > Grade::Ok {
            finding.todo("make room; `keep_bytes` and `host_bytes` of [journal] say what journals may have, `keep_bytes` of [relay] what a relay may");
        }
        if devices.len() == 1 {
            report.figure("disk_free", percent as u64, "%");
        }
    }
}

/// The folder, or the first one above it that is there.
fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|path| path.exists()).map(Path::to_owned)
}

fn journals(config: &Config, report: &mut Report) -> Vec<(Place, Survey)> {
    let places = all(&config.state_dir).unwrap_or_else(|error| {
        unreadable("journals of this host", &chain(&error), report);
        Vec::new()
    });
    let seen = places.into_iter().filter_map(|place| match survey(&disk(), &place.folder) {
        Ok(seen) => Some((place, seen)),
        Err(error) => {
            unreadable(place.stream.as_str(), &chain(&error), report);
            None
        }
    });
    seen.collect()
}

fn unreadable(subject: &str, why: &str, report: &mut Report) {
    let finding = report.add(Check::Disk, Grade::Unknown, subject, why);
    finding
        .todo("run this as a user who may read it: root, or a member of the group of the folder");
}

fn journal(options: &Options, place: &Place, seen: &Survey, now: Timestamp, report: &mut Report) {
    let stream = &place.stream;
    if !seen.damage.is_empty() || seen.unreadable_headers > 0 {
        let numbers: u64 = seen.damage.iter().map(|hole| hole.to - hole.from + 1).sum();
        let text = format!(
            "{numbers} records and {} headers in {} cannot be read",
            seen.unreadable_headers,
            place.folder.display()
        );
        report.add(Check::Disk, Grade::Warning, stream, text).todo(format!(
            "`fedmsg journal check {stream}` says what; `fedmsg check gaps --read` whether somebody else has it"
        ));
    }
    let Some((cover, covers)) = options.cover.zip(covers(seen, now)) else { return };
    let gave_up = seen.ranges.first().is_some_and(|range| range.first > 1) || seen.ranges.len() > 1;
    if gave_up && covers < i64::try_from(cover.as_millis()).unwrap_or(i64::MAX) {
        let text = format!("its journal goes back {} only", age(covers));
        report
            .add(Check::Disk, Grade::Warning, stream, text)
            .todo("raise `keep_bytes`, `keep_ms` or `host_bytes` of [journal]");
    }
}

/// How far back a journal goes, in milliseconds.
fn covers(seen: &Survey, now: Timestamp) -> Option<i64> {
    seen.oldest.map(|oldest| now.millis_since(oldest))
}

fn of_all(
    journals: &[(Place, Survey)],
    bytes: u64,
    config: &Config,
    now: Timestamp,
    report: &mut Report,
) {
    if journals.is_empty() {
        return;
    }
    let shortest =
        journals.iter().filter_map(|(place, seen)| Some((covers(seen, now)?, &place.stream)));
    let shortest = shortest
        .min()
        .map(|(covers, stream)| format!("; the shortest goes back {} ({stream})", age(covers)));
    let budget = config.journal.host_bytes;
    let text = format!(
        "{} with {} of {} for the host{}",
        counted(journals.len(), "journal"),
        size(bytes),
        size(budget),
        shortest.unwrap_or_default()
    );
    let is_over = bytes > budget;
    let grade = grade(is_over, false);
    let finding = report.add(Check::Disk, grade, config.state_dir.join("streams").display(), text);
    if is_over {
        finding.todo("journals with more than their share give up what is old; raise `host_bytes` of [journal], or see which one grows: `fedmsg journal list`");
    }
}

/// Whether publishers of this host are degraded, as they say themselves, and whether they can still say last words.
fn states(
    streams: &[StreamName],
    journals: &[(Place, Survey)],
    world: &World<'_>,
    report: &mut Report,
) -> Result<(), Error> {
    let config = world.config;
    let followed = Followed::new(config.endpoints.values().cloned());
    let question = |stream: &StreamName| Question {
        ask: Ask::Head { stream: stream.clone() },
        holders: followed.of(stream).iter().take(1).cloned().collect(),
    };
    let questions: Vec<Question> = streams.iter().map(question).collect();
    let end = Instant::now() + ASKING;
    let until = Until { end, is_stopped: world.is_stopped, tell: &|_, _| {} };
    let answers = ask_until(&mut *Zmq::new().asker()?, &questions, until, |_| false);
    let mut opener = Opener::new(Arc::clone(&config.trust));
    let shelf = Shelf::new(&config.state_dir);
    for ((place, seen), answers) in journals.iter().zip(answers) {
        let stream = &place.stream;
        let said =
            answers.into_values().flatten().map(|reply| stand_of(&reply, stream, &mut opener));
        let mut stands: Vec<Stand> = said.collect();
        stands.extend(here(&shelf, stream, &mut opener));
        if let Some(heard) = world.view.and_then(|view| view.streams.get(stream)?.newest()) {
            degraded(stream, heard.beat.state, report);
        } else {
            let newest = stands.iter().filter_map(beat_of).max_by_key(|(at, _)| *at);
            newest.into_iter().for_each(|(_, state)| degraded(stream, state, report));
        }
        let is_open = stands.iter().filter_map(beat_of).max_by_key(|(at, _)| *at);
        if !seen.reserve && is_open.is_some_and(|(_, state)| state != State::Closed) {
            let text = "nothing is set aside for its last words: the disk was full, and there was no room since then";
            report
                .add(Check::Disk, Grade::Warning, stream, text)
                .todo("make room: the next retention sets it aside again");
        }
    }
    Ok(())
}

fn beat_of(stand: &Stand) -> Option<(Timestamp, State)> {
    match stand {
        Stand::Has { beat: Beat::Good(verified, beat), .. } => {
            Some((verified.timestamp(), beat.state))
        }
        _ => None,
    }
}

fn degraded(stream: &StreamName, state: State, report: &mut Report) {
    if state != State::Degraded {
        return;
    }
    let text = "its publisher is degraded: it cannot keep what it promises, and refuses messages";
    report.add(Check::Disk, Grade::Critical, stream, text).todo(
        "look at its log and at the disk under its journal; it goes on by itself when the disk takes something again",
    );
}

/// What no relay has yet.
fn outboxes(config: &Config, now: Timestamp, report: &mut Report) {
    let waiting = match outbox::list(&disk(), &config.state_dir, None) {
        Ok(waiting) => waiting,
        Err(error) => return unreadable("the outbox of this host", &chain(&error), report),
    };
    let messages: u64 = waiting.iter().map(|one| one.messages).sum();
    report.figure("disk_waiting", messages, "");
    for one in &waiting {
        outbox(one, config, now, report);
    }
}

fn outbox(one: &Waiting, config: &Config, now: Timestamp, report: &mut Report) {
    let stream = &one.stream;
    let refused = one.delivered.refusals().len();
    if refused > 0 {
        let text = format!("relays refused messages of it: {}", counted(refused, "refusal"));
        report
            .add(Check::Disk, Grade::Warning, stream, text)
            .todo("`fedmsg outbox list --json` says which, and why");
    }
    if one.messages == 0 {
        return;
    }
    let waits = one.oldest.map_or(0, |oldest| now.millis_since(oldest));
    let most = config.publisher.outbox_bytes;
    let is_nearly = one.bytes.saturating_mul(100) >= most.saturating_mul(NEARLY);
    let grade = grade(waits > WAITING_WARN || is_nearly, waits > WAITING_CRIT || one.bytes >= most);
    let text = format!(
        "{} that no relay has, the oldest for {}; {} of {}",
        counted(one.messages as usize, "message"),
        age(waits),
        size(one.bytes),
        size(most)
    );
    let finding = report.add(Check::Disk, grade, stream, text);
    if grade > Grade::Ok {
        finding.todo("see whether the relays of `relays` in [publisher] can be reached; `fedmsg outbox flush` hands it over now");
    }
}

/// The logs of relays of this host.
fn relays(config: &Config, now: Timestamp, report: &mut Report) {
    let folder = config.state_dir.join("relay");
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    for slot in names(&folder).iter().flat_map(|identity| names(identity)) {
        if !slot.is_dir() {
            continue;
        }
        let name = slot.strip_prefix(&folder).unwrap_or(&slot).display().to_string();
        match fedmsg::log::survey(&disk(), &slot) {
            Ok(seen) => {
                let back = seen
                    .oldest
                    .map(|oldest| format!(", and goes back {}", age(now.millis_since(oldest))));
                let (bytes, most) = (size(seen.bytes), size(config.relay.keep_bytes));
                let text = format!("its log has {bytes} of {most}{}", back.unwrap_or_default());
                report.add(Check::Disk, Grade::Ok, format!("relay {name}"), text);
            }
            Err(error) => unreadable(&format!("relay {name}"), &chain(&error), report),
        }
    }
}

/// `3.2 GiB`.
fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, bits)| bytes >> bits > 0) {
        None => format!("{bytes} B"),
        Some((unit, bits)) => {
            let tenths = (u128::from(bytes) * 10) >> bits;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_on_the_file_system_above_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a/b/c");
        assert_eq!(existing(&deep).as_deref(), Some(folder.path()));
    }
}
