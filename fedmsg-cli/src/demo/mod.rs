//! `fedmsg demo`: a whole bus of real processes on this machine, with real input.
//!
//! Two services publish: the commits of a git repository on a socket of their own, the files of a folder
//! through a relay. A tail shows them. Then the counts are compared, and the folder is followed live.

mod bus;
mod chaos;
mod children;
mod source;

use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fedmsg_tool::{Code, CommonOptions, Fault, signals};

use bus::Bus;
use children::{Child, Lines};

/// How long anything in the demo may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Each source publishes one message about what it looks at, and then what it finds there.
const SOURCES: u64 = 2;

/// Options of `fedmsg demo`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    /// Publish the commits of this git repository; where there is none, the files of the folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,

    /// Publish the files of this folder, and then what changes in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    watch: PathBuf,

    /// End after the summary; exit 0 only when every count agrees
    #[arg(long)]
    once: bool,

    /// At most so many commits, and so many files
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,

    /// Kill publishers, relay and tail at random (-9), start them again, and see that nothing is lost
    #[arg(long)]
    chaos: bool,

    /// How often something is killed
    #[arg(long, value_name = "N", default_value_t = 20, requires = "chaos", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rounds: u64,

    /// Who is killed after what; the same seed makes the same choices [default: another one each time]
    #[arg(long, value_name = "N", requires = "chaos")]
    seed: Option<u64>,

    /// What a process of the demo is
    #[arg(long, value_enum, hide = true)]
    role: Option<Role>,
}

const EXAMPLES: &str = "\
Examples:
  fedmsg demo                         commits and files of this folder, then its changes until Ctrl-C
  fedmsg demo --once                  end after the summary
  fedmsg demo --repo ~/src/linux --watch /tmp
  fedmsg demo --chaos                 kill -9, again and again: published = received, lost 0
  fedmsg demo --chaos --rounds 100 --seed 7

Everything runs on loopback, with keys that are made for it and thrown away.";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Publishes commits.
    Git,
    /// Publishes the files of a folder, and its changes.
    Files,
    /// Publishes what it is told.
    Told,
}

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    #[error(transparent)]
    Key(#[from] fedmsg::config::KeyFileError),
    #[error(transparent)]
    Build(#[from] fedmsg::publisher::BuildError),
    #[error(transparent)]
    Publish(#[from] fedmsg::PublishError),
    #[error("watching the folder: {0}")]
    Watch(#[from] notify::Error),
    #[error("{who} did not {what} within {PATIENCE:?}; the last that it said:\n{said}")]
    Stuck { who: String, what: String, said: String },
    #[error("no subscriber came")]
    NoSubscriber,
    #[error("{option} {path}: there is no such folder", path = fedmsg::escape::escape(&.path.to_string_lossy()))]
    NoFolder { option: &'static str, path: PathBuf },
}

impl Fault for Error {}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |error| Error::Io(what, error)
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    match options.role {
        Some(role) => source::run(role, options, common),
        None if options.chaos => chaos::run(options),
        None => demo(options),
    }
}

/// What the summary compares.
struct Counts {
    direct: u64,
    relayed: u64,
    received: u64,
    verified: u64,
    rejected: u64,
    lost: u64,
}

impl Counts {
    fn agree(&self) -> bool {
        let published = self.direct + self.relayed;
        published > 0
            && self.received == published
            && self.verified == published
            && self.rejected == 0
            && self.lost == 0
    }
}

/// The folders have to be there.
fn check(options: &Options) -> Result<(), Error> {
    for (option, path) in [("--repo", &options.repo), ("--watch", &options.watch)] {
        if !path.is_dir() {
            return Err(Error::NoFolder { option, path: path.clone() });
        }
    }
    Ok(())
}

fn demo(options: &Options) -> Result<Code, Error> {
    check(options)?;
    let bus = Bus::new(&options.repo)?;
    let (stop, stopped) = channel::<()>();
    let signal = signals::on_stop(move || drop(stop)).map_err(io("signals"))?;

    let mut relay = Child::start("relay", bus.command(&["relay", "--log-format", "json"]))?;
    relay.wait_for_line(Lines::Stderr, "be ready", |line| line.contains("ready"))?;
    let mut tail = start_tail(&bus)?;
    let mut direct =
        Child::start(bus.direct_name(), bus.source(bus.direct_role(), bus.direct_name(), options))?;
    let mut relayed = Child::start("fs.demo", bus.source(Role::Files, "fs.demo", options))?;
    let direct_count = published(&mut direct)?;
    let relayed_count = published(&mut relayed)?;
    let all = (direct_count + relayed_count) as usize;
    tail.wait_for_lines(Lines::Stdout, all, PATIENCE);
    let counts = summary(tail, direct_count, relayed_count)?;
    tell(&bus, &counts);
    if counts.direct + counts.relayed <= SOURCES {
        eprintln!("there are no commits and no files here: --repo DIR and --watch DIR show others");
    }
    if options.once || signal.code().is_some() {
        return Ok(if counts.agree() { Code::Ok } else { Code::General });
    }

    let _tail = start_tail(&bus)?;
    relayed.say("live")?;
    eprintln!("following {}; Ctrl-C ends", options.watch.display());
    // Nobody sends: this returns when the signal handler drops its end.
    let _ = stopped.recv();
    Ok(Code::Ok)
}

fn start_tail(bus: &Bus) -> Result<Child, Error> {
    let mut command = bus.command(&["tail", "-v", "--summary", "--log-format", "json"]);
    command.arg("--color").arg(if bus.color() { "always" } else { "never" });
    let mut tail = Child::start_shown("tail", command)?;
    tail.wait_for_line(Lines::Stderr, "hear the relay", |line| {
        line.contains("relay.demo/0 is live")
    })?;
    Ok(tail)
}

/// What a source says that it published.
fn published(source: &mut Child) -> Result<u64, Error> {
    let line = source.wait_for_line(Lines::Stdout, "publish", |line| line.starts_with('{'))?;
    let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
    Ok(value["published"].as_u64().unwrap_or(0))
}

/// Ends the tail, which then says what it saw.
fn summary(mut tail: Child, direct: u64, relayed: u64) -> Result<Counts, Error> {
    tail.terminate();
    let is_summary = |line: &str| line.starts_with("{\"received\"");
    let line = tail.wait_for_line(Lines::Stderr, "sum up", is_summary)?;
    let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
    let count = |name: &str| value[name].as_u64().unwrap_or(u64::MAX);
    Ok(Counts {
        direct,
        relayed,
        received: count("received"),
        verified: count("verified"),
        rejected: count("rejected"),
        lost: count("lost"),
    })
}

fn tell(bus: &Bus, counts: &Counts) {
    let published = counts.direct + counts.relayed;
    let mut err = std::io::stderr().lock();
    // When stderr is closed, there is nobody left to tell.
    let _ = writeln!(
        err,
        "\npublished {published}  ({} by {} on its own socket, {} by fs.demo through relay.demo)\n\
         received  {}\nverified  {}\nrejected  {}\nlost      {}\n{}",
        counts.direct,
        bus.direct_name(),
        counts.relayed,
        counts.received,
        counts.verified,
        counts.rejected,
        counts.lost,
        if counts.agree() { "every count agrees" } else { "the counts do NOT agree" },
    );
}
