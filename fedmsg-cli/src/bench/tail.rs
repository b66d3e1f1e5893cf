//! `fedmsg tail --json | wc -l`: what it carries, whether it loses anything, and how much memory it takes.

use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::bus::Bus;
use super::children::Running;
use super::roles::{Load, Role};
use super::{Bound, Error, Figure};

/// The million of the figure, when `--messages` is at its default.
const TIMES: u64 = 5;
/// Part of the messages that is sent as fast as it goes first, to see what the tail can carry.
const TRIAL: u64 = 20;
/// The pace, as a part of what it can carry.
const PACE: f64 = 0.75;
/// Longest silence before a line counts as lost.
const SILENCE: Duration = Duration::from_secs(5);
/// Memory that must do, in megabytes.
pub(super) const MEGABYTES_MAX: f64 = 200.0;

/// The figure: the highest resident memory, and the lines that are missing.
pub(super) fn measure(load: Load) -> Result<Figure, Error> {
    let bus = Bus::new(1)?;
    let load = Load { messages: load.messages * TIMES, readers: 1, ..load };
    let mut tail = Tail::start(&bus.config_dir())?;
    let trial = Load { messages: load.messages.div_ceil(TRIAL), rate: None, ..load };
    let (_, took) = tail.count(&bus, trial)?;
    let rate = (trial.messages as f64 / took.as_secs_f64() * PACE) as u64;
    let (lines, took) = tail.count(&bus, Load { rate: Some(rate.max(1)), ..load })?;
    let megabytes = megabytes_max(tail.child.id())?;
    let (lost, duplicates) =
        (load.messages.saturating_sub(lines), lines.saturating_sub(load.messages));
    Ok(Figure {
        name: "tail",
        value: megabytes,
        unit: "MB at most",
        bound: Bound::AtMost(MEGABYTES_MAX),
        whole: lost == 0 && duplicates == 0,
        lost,
        duplicates,
        detail: format!(
            "{lines} lines of fedmsg tail --json, {:.0}/s",
            lines as f64 / took.as_secs_f64()
        ),
    })
}

/// A tail, and the counts of the lines that it writes, as they come; it is ended when this is dropped.
struct Tail {
    child: Child,
    lines: Receiver<u64>,
}

impl Tail {
    fn start(folder: &Path) -> Result<Tail, Error> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["tail", "--json"]).arg("--config-dir").arg(folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| Error::other("a tail without stdout"))?;
        let (sender, lines) = channel();
        std::thread::spawn(move || count_lines(stdout, &sender));
        Ok(Tail { child, lines })
    }

    /// Publishes a load, and counts what comes of it: how many lines, and the time until the last one.
    fn count(&mut self, bus: &Bus, load: Load) -> Result<(u64, Duration), Error> {
        let role = Role::Publish { identities: bus.identities.clone(), first: 0, load };
        let mut publisher = Running::start(&role, Some(&bus.config_dir()))?;
        publisher.line()?;
        publisher.go()?;
        let start = Instant::now();
        let (mut seen, mut took) = (0, Duration::ZERO);
        while seen < load.messages
            && let Ok(lines) = self.lines.recv_timeout(SILENCE)
        {
            (seen, took) = (seen + lines, start.elapsed());
        }
        // What comes twice comes close behind.
        seen += self.lines.recv_timeout(Duration::from_millis(500)).unwrap_or(0);
        if seen == 0 {
            return Err(Error::other("the tail wrote nothing"));
        }
        Ok((seen, took))
    }
}

/// The highest resident memory of a process so far.
pub(super) fn megabytes_max(process: u32) -> Result<f64, Error> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = kilobytes.and_then(|text| text.split_whitespace().next()?.parse().ok());
    let kilobytes: f64 = kilobytes.ok_or_else(|| Error::other("the tail has ended"))?;
    Ok(kilobytes / 1_024.0)
}

impl Drop for Tail {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As `wc -l` does: bytes in, line ends counted.
pub(super) fn count_lines(mut stdout: ChildStdout, counts: &Sender<u64>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = stdout.read(&mut bytes) {
        let lines = bytes[..length].iter().filter(|byte| **byte == b'\n').count();
        if counts.send(lines as u64).is_err() {
            return;
        }
    }
}
