//! `fedmsg tail --all --no-follow --json | wc -l`: the past of a hundred streams by time, and how much memory that
//! takes.

use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::bus::Bus;
use super::children::Running;
use super::place::Place;
use super::roles::Role;
use super::tail::{MEGABYTES_MAX, count_lines, megabytes_max};
use super::{Bound, Error, Figure};

/// The million of the figure, when `--messages` is at its default.
const TIMES: u64 = 5;
/// Streams, and how many of them one process writes and answers for.
const STREAMS: usize = 100;
const EACH: usize = 10;
/// How often it is looked how much memory there is, until the tail ends.
const LOOK: Duration = Duration::from_millis(50);

/// The figure: the highest resident memory, and the lines that are missing.
pub(super) fn measure(place: &Place, messages: u64, size: usize) -> Result<Figure, Error> {
    let each = (messages * TIMES).div_ceil(STREAMS as u64);
    let bus = Bus::kept(STREAMS, place.path())?;
    let hold = |names: &[String]| {
        let role = Role::Hold { identities: names.to_vec(), messages: each, size };
        Running::start(&role, Some(&bus.config_dir()))
    };
    let mut holders = bus.identities.chunks(EACH).map(hold).collect::<Result<Vec<_>, _>>()?;
    holders.iter_mut().try_for_each(|holder| holder.line().map(drop))?;

    let mut command = Command::new(std::env::current_exe()?);
    command.args(["tail", "--all", "--no-follow", "--json", "--strict", "--config-dir"]);
    command.arg(bus.config_dir()).stdin(Stdio::null()).stdout(Stdio::piped());
    let start = Instant::now();
    let mut tail = command.stderr(Stdio::null()).spawn()?;
    let stdout = tail.stdout.take().ok_or_else(|| Error::other("a tail without stdout"))?;
    let (sender, counts) = channel();
    std::thread::spawn(move || count_lines(stdout, &sender));
    let (mut lines, mut megabytes, mut looked) = (0, 0.0, start);
    // The channel ends with the tail.
    while let Ok(count) = counts.recv() {
        lines += count;
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            // It has ended when it does not say.
            megabytes = megabytes_max(tail.id()).unwrap_or(megabytes);
        }
    }
    let took = start.elapsed();
    let code = tail.wait()?;
    let messages = each * STREAMS as u64;
    let (lost, duplicates) = (messages.saturating_sub(lines), lines.saturating_sub(messages));
    Ok(Figure {
        name: "past",
        value: megabytes,
        unit: "MB at most",
        bound: Bound::AtMost(MEGABYTES_MAX),
        whole: code.success() && lost == 0 && duplicates == 0,
        lost,
        duplicates,
        detail: format!(
            "{lines} lines of fedmsg tail --all --no-follow --json from {STREAMS} streams, {:.0}/s, {code}; {}",
            lines as f64 / took.as_secs_f64(),
            place.name(),
        ),
    })
}
