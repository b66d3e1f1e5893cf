//! `fedmsg bench`: the figures of this machine, against bare libzmq or the bare disk in the same run.

mod bus;
mod children;
mod figures;
mod holding;
mod local;
mod past;
mod place;
mod progress;
mod relays;
mod repair;
mod replay;
mod roles;
mod tail;
mod tally;

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fedmsg_tool::{Code, CommonOptions, Fault};
use serde_json::json;

/// Options of `fedmsg bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// What to measure
    #[arg(value_enum, default_value_t = Which::All)]
    which: Which,
    /// Messages of a figure that goes as fast as it can
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    messages: u64,
    /// Bytes of a body
    #[arg(long, default_value_t = 1_024)]
    size: usize,
    /// How long a paced figure takes
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Where figures that need a disk write, instead of the state folder: never on a tmpfs
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// One JSON object for each figure
    #[arg(long)]
    json: bool,
    /// What this process is to do for another one
    #[arg(long, hide = true)]
    role: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// One publisher process to one subscriber process, as fast as it goes
    Throughput,
    /// The same with 100 streams of 10 processes
    Streams,
    /// The delay at 50,000 messages a second, and with 100 publishers of 300
    Paced,
    /// The delay at 1,000 messages a second
    Latency,
    /// 64 messages in one tree, against a signature for each
    Seal,
    /// What others receive while one subscriber is stopped
    Stopped,
    /// Memory of a tail on 100 endpoints
    Memory,
    /// Lines and memory of `fedmsg tail --json`, with five times as many messages
    Tail,
    /// Publishing at level `local`, 64 at a time and one by one, against the disk alone
    Local,
    /// Catching up by replay from one holder, with five times as many messages
    Replay,
    /// Lines and memory of `fedmsg tail --all` over 100 streams, with five times as many messages
    Past,
    /// Time until everything is back after the path was cut: for a twentieth of the messages, and for the last one
    /// of a stream
    Repair,
    /// What a relay stores of 100 producers, against the disk alone
    Put,
    /// From a producer through a relay to a subscriber, against a publisher that is connected to
    Hop,
    /// Memory of a relay that carries a twentieth as many streams as messages: 10,000
    Carried,
    /// `fedmsg publish` until a relay has stored it, as a process, against a shell that syncs a line
    Command,
    /// All of these
    All,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A process or a file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The baseline.
    #[error("libzmq: {0}")]
    Zmq(#[from] zmq::Error),
    /// Anything of the library.
    #[error("{0}")]
    Other(String),
}

impl Error {
    fn other(error: impl std::fmt::Display) -> Error {
        Error::Other(error.to_string())
    }
}

impl Fault for Error {}

/// What must hold.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// One measured figure.
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    bound: Bound,
    /// Nothing was lost, came twice, or was refused.
    whole: bool,
    lost: u64,
    duplicates: u64,
    detail: String,
}

impl Figure {
    fn passes(&self) -> bool {
        self.whole
            && match self.bound {
                Bound::AtLeast(least) => self.value >= least,
                Bound::AtMost(most) => self.value <= most,
            }
    }

    fn print(&self, as_json: bool) {
        let (sign, bound) = match self.bound {
            Bound::AtLeast(least) => (">=", least),
            Bound::AtMost(most) => ("<=", most),
        };
        let Figure { name, value, unit, lost, duplicates, detail, .. } = self;
        let verdict = if self.passes() { "pass" } else { "short" };
        if as_json {
            let line = json!({
                "figure": name, "value": value, "unit": unit, "sign": sign, "bound": bound,
                "verdict": verdict, "lost": lost, "duplicates": duplicates, "detail": detail,
            });
            println!("{line}");
        } else {
            println!(
                "{verdict:5}  {name:14} {value:>10.2} {unit} ({sign} {bound}), {lost} lost, {duplicates} twice; {detail}"
            );
        }
    }
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    if let Some(role) = &options.role {
        roles::play(serde_json::from_str(role).map_err(Error::other)?, common)?;
        return Ok(Code::Ok);
    }
    let all = Which::value_variants().iter().copied().filter(|which| *which != Which::All);
    let chosen: Vec<Which> = match options.which {
        Which::All => all.collect(),
        one => vec![one],
    };
    let mut code = Code::Ok;
    for which in chosen {
        if io::stderr().is_terminal() {
            eprintln!("measuring {which:?} …");
        }
        for figure in figures::measure(which, options, common)? {
            figure.print(options.json);
            if !figure.passes() {
                code = Code::General;
            }
        }
    }
    Ok(code)
}
