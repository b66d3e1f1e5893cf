//! What `fedmsg publish --wait stored` takes as a whole process, against a shell that writes a line and syncs it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::super::bus::Bus;
use super::super::place::Place;
use super::super::progress::Progress;
use super::super::tally::quantile;
use super::super::{Bound, Error, Figure};
use super::relay::Relay;
use super::whole;

/// How often each is run, in turns.
const TURNS: u64 = 30;
/// Times the shell that a command may take.
const MOST: f64 = 3.0;

/// The figure.
pub(in super::super) fn measure(place: &Place) -> Result<Figure, Error> {
    let bus = Bus::relayed(1, place.path())?;
    let _relay = Relay::start(&bus.config_dir())?;
    let file = place.path().join("line");
    // The first ones pay for a new outbox, and for programs that are not in memory yet.
    publish(&bus)?;
    shell(&file)?;
    let progress = Progress::new("command", TURNS);
    let (mut ours, mut shells) = (Vec::new(), Vec::new());
    for turn in 1..=TURNS {
        ours.push(publish(&bus)?.as_secs_f64() * 1e3);
        shells.push(shell(&file)?.as_secs_f64() * 1e3);
        progress.at(turn);
    }
    let [p50, shell] = [&ours, &shells].map(|times| quantile(times, 0.5));
    let detail = format!(
        "fedmsg publish --wait stored p50 {p50:.1} ms, p90 {:.1}, sh -c 'echo x > FILE; sync FILE' {shell:.1} and {:.1}, {TURNS} turns; {}",
        quantile(&ours, 0.9),
        quantile(&shells, 0.9),
        place.name(),
    );
    Ok(whole("command", p50 / shell, "times a shell's sync", Bound::AtMost(MOST), detail))
}

/// One message, until it is on the disk of this host and on the relay's.
fn publish(bus: &Bus) -> Result<Duration, Error> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["publish", "bench.message", "{}", "--wait", "stored", "--identity"]);
    command.arg(&bus.identities[0]).arg("--config-dir").arg(bus.config_dir());
    time(command)
}

/// One line, until it is on the disk.
fn shell(file: &Path) -> Result<Duration, Error> {
    let mut command = Command::new("sh");
    command.args(["-c", "echo x > \"$1\"; sync \"$1\"", "sh"]).arg(file);
    time(command)
}

fn time(mut command: Command) -> Result<Duration, Error> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.spawn()?.wait_with_output()?;
    let took = start.elapsed();
    match output.status.success() {
        true => Ok(took),
        false => {
            let (status, said) = (output.status, String::from_utf8_lossy(&output.stderr));
            Err(Error::Other(format!("{:?}: {status}: {said}", command.get_program())))
        }
    }
}
