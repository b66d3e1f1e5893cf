//! `fedmsg journal cat`.

use std::time::Duration;

use clap::Args;
use fedmsg::config::Config;
use fedmsg::envelope::Epoch;
use fedmsg::escape::{escape, escape_json};
use fedmsg::event::{Message, Rejected};
use fedmsg::journal::{Body, Damage, Entry, Range, Reader};
use fedmsg::open::Opener;
use fedmsg_tail::item::Item;
use fedmsg_tail::options::ModeOptions;
use fedmsg_tail::render::{COLUMNS, Look, Renderer};
use fedmsg_tool::color::ColorEnv;
use fedmsg_tool::output::Data;
use fedmsg_tool::{Code, CommonOptions, terminal};
use serde_json::json;

use super::Error;
use super::places::{One, Place, disk};
use super::walk::{Found, Part, walk};
use crate::config::load;

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg journal cat bodhi.backend01/0
  fedmsg journal cat bodhi.backend01/0 --from 1000 --to 1010
  fedmsg journal cat bodhi.backend01/0 --json | jq -r 'select(.verdict == \"rejected\").reason'
  fedmsg journal cat --folder /backup/journal --raw

One line for each record: its number, then what `fedmsg tail` shows, in UTC. A record that the configuration of
this host refuses is marked REJECTED. With --json the objects of `fedmsg tail`, with the time of its being
appended as `received`; with --raw the second frames, byte for byte.

Exit codes: 0 success · 1 failure · 2 wrong command line · 3 something of it cannot be read";

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: One,

    #[command(flatten)]
    part: Part,

    /// One JSON object a line
    #[arg(long)]
    json: bool,

    /// The second frames as they were published
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

pub(super) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let config = load(common)?;
    let place = options.which.place(&config.state_dir)?;
    let mut reader = Reader::new(disk(), &place.folder);
    let ranges = options.part.of(&reader.ranges()?)?;
    let mut cat = Cat::new(options, &config, place, common)?;
    let is_terminal = terminal::stdout_is_terminal();
    let mut data = Data::stdout(is_terminal);
    let mut is_gone = false;
    for range in ranges {
        walk(&mut reader, &range, |found| {
            let record = cat.record(&range, found)?;
            is_gone = data.record(&record)?.is_gone();
            Ok::<bool, Error>(!is_gone)
        })?;
        if is_gone {
            break;
        }
    }
    let _reader = data.flush()?;
    Ok(if cat.unreadable > 0 { Code::Trouble } else { Code::Ok })
}

/// From what a journal has to the bytes of one line.
struct Cat {
    opener: Opener,
    place: Place,
    renderer: Renderer,
    mode: Mode,
    unreadable: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Line,
    Json,
    Raw,
}

impl Cat {
    fn new(
        options: &Options,
        config: &Config,
        place: Place,
        common: &CommonOptions,
    ) -> Result<Cat, Error> {
        let mode = match (options.json, options.raw) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Raw,
            (false, false) => Mode::Line,
        };
        let shown = ModeOptions {
            json: mode == Mode::Json,
            raw: mode == Mode::Raw,
            ..ModeOptions::default()
        };
        let is_terminal = terminal::stdout_is_terminal();
        let look = Look {
            columns: terminal::stdout_columns().unwrap_or(COLUMNS).saturating_sub(9),
            color: common.color.decide(ColorEnv::read(), is_terminal),
            is_terminal,
            zone: None,
        };
        let shown = fedmsg_tail::Options { mode: shown, ..fedmsg_tail::Options::default() };
        let renderer = Renderer::new(&shown, look)?;
        let opener = Opener::new(config.trust.clone());
        Ok(Cat { opener, place, renderer, mode, unreadable: 0 })
    }

    fn record(&mut self, range: &Range, found: Found) -> Result<Vec<u8>, Error> {
        match found {
            Found::Entry(entry) => self.entry(range.epoch, entry),
            Found::Hole(hole) => Ok(self.hole(&hole)),
        }
    }

    fn entry(&mut self, epoch: Epoch, entry: Entry) -> Result<Vec<u8>, Error> {
        let Entry { i, time, body } = entry;
        let wire = match body {
            Body::Record(wire) => wire,
            Body::Gone { leaf, reason } => {
                let object = json!({
                    "verdict": "gone", "stream": self.place.stream.as_str(),
                    "epoch": epoch.to_string(), "i": i, "leaf": leaf, "reason": reason,
                });
                let line = format!("{time} GONE {}", escape(&reason));
                return Ok(self.own(i, &line, &object));
            }
        };
        if self.mode == Mode::Raw {
            return Ok([&wire.envelope[..], b"\n"].concat());
        }
        let mut out = match self.mode {
            Mode::Line => format!("{i:>8} ").into_bytes(),
            _ => Vec::new(),
        };
        let endpoint = self.place.stream.identity().clone();
        let shown = match self.opener.open(&wire) {
            Ok(verified) => {
                let message = Message::new(verified, endpoint, time);
                self.renderer.render(&Item::Verified(&message), Duration::ZERO, &mut out)
            }
            Err(refused) => {
                let rejected = Rejected::new(*refused, endpoint);
                self.renderer.render(&Item::Rejected(&rejected), Duration::ZERO, &mut out)
            }
        };
        // No program of jq is asked for, and nothing else fails.
        shown.map_err(|error| Error::Write(std::io::Error::other(error)))?;
        Ok(out)
    }

    fn hole(&mut self, hole: &Damage) -> Vec<u8> {
        let Damage { epoch, from, to, path } = hole;
        self.unreadable += to - from + 1;
        tracing::error!(
            "numbers {from} to {to} of epoch {epoch} cannot be read in {}",
            path.display()
        );
        let object = json!({
            "verdict": "unreadable", "stream": self.place.stream.as_str(),
            "epoch": epoch.to_string(), "from": from, "to": to,
        });
        self.own(*from, &format!("UNREADABLE up to {to}"), &object)
    }

    /// What is no record: nothing of it goes among raw ones.
    fn own(&self, i: u64, line: &str, object: &serde_json::Value) -> Vec<u8> {
        match self.mode {
            Mode::Line => format!("{i:>8} {line}\n").into_bytes(),
            Mode::Json => format!("{}\n", escape_json(&object.to_string())).into_bytes(),
            Mode::Raw => Vec::new(),
        }
    }
}
