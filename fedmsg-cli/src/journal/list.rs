//! `fedmsg journal list`.

use clap::Args;
use fedmsg::StreamName;
use fedmsg::escape::escape_json;
use fedmsg::journal::{Survey, survey};
use fedmsg_tool::{Code, CommonOptions};
use serde_json::json;

use super::Error;
use super::places::{Several, disk};
use crate::config::{load, print};
use crate::streams::table;

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg journal list
  fedmsg journal list --json | jq -r 'select(.bytes > 1e9).stream'

One line for each epoch: its first and last number that are there. Of a whole journal: segments, bytes, when
its oldest segment was begun and its last record appended, and damage as far as headers and the newest segment
show it; `fedmsg journal check` reads everything.

Exit codes: 0 success · 1 failure · 2 wrong command line";

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Several,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let config = load(common)?;
    let mut journals = Vec::new();
    for place in options.which.places(&config.state_dir)? {
        journals.push((place.stream, survey(&disk(), &place.folder)?));
    }
    print(match options.json {
        true => journals.iter().map(|(stream, seen)| object(stream, seen)).collect(),
        false => table(&rows(&journals)),
    })?;
    Ok(Code::Ok)
}

fn rows(journals: &[(StreamName, Survey)]) -> Vec<Vec<String>> {
    let heads =
        ["STREAM", "EPOCH", "FIRST", "LAST", "SEGMENTS", "BYTES", "OLDEST", "NEWEST", "DAMAGE"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    for (stream, seen) in journals {
        let time = |time: Option<fedmsg::timestamp::Timestamp>| {
            time.map_or_else(|| "-".into(), |time| time.to_string())
        };
        let whole = [
            seen.segments.to_string(),
            seen.bytes.to_string(),
            time(seen.oldest),
            time(seen.newest),
            damage(seen),
        ];
        let mut epochs = seen.ranges.iter().map(|range| {
            [range.epoch.to_string(), range.first.to_string(), range.last.to_string()]
        });
        let first = epochs.next().unwrap_or(["-", "-", "-"].map(String::from));
        rows.push([vec![stream.to_string()], first.to_vec(), whole.to_vec()].concat());
        rows.extend(epochs.map(|epoch| [vec![String::new()], epoch.to_vec()].concat()));
    }
    rows
}

fn damage(seen: &Survey) -> String {
    let numbers: u64 = seen.damage.iter().map(|hole| hole.to - hole.from + 1).sum();
    match (numbers, seen.unreadable_headers) {
        (0, 0) => "-".into(),
        (0, headers) => format!("{headers} headers"),
        (numbers, 0) => format!("{numbers} records"),
        (numbers, headers) => format!("{numbers} records, {headers} headers"),
    }
}

fn object(stream: &StreamName, seen: &Survey) -> String {
    let text = |time: Option<fedmsg::timestamp::Timestamp>| time.map(|time| time.to_string());
    let epochs: Vec<_> = seen
        .ranges
        .iter()
        .map(|range| json!({ "epoch": range.epoch.to_string(), "first": range.first, "last": range.last }))
        .collect();
    let damage: Vec<_> = seen
        .damage
        .iter()
        .map(|hole| json!({ "epoch": hole.epoch.to_string(), "from": hole.from, "to": hole.to, "path": hole.path }))
        .collect();
    let object = json!({
        "stream": stream.as_str(),
        "epochs": epochs,
        "segments": seen.segments,
        "bytes": seen.bytes,
        "oldest": text(seen.oldest),
        "newest": text(seen.newest),
        "damage": damage,
        "unreadable_headers": seen.unreadable_headers,
    });
    escape_json(&object.to_string()).into_owned()
}
