//! `fedmsg stream show`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use fedmsg::StreamName;
use fedmsg::envelope::Wire;
use fedmsg::escape::{escape, escape_json};
use fedmsg::frames::{Ask, Completeness, Range, Reply};
use fedmsg::net::Zmq;
use fedmsg::open::{Opener, Record, Verified};
use fedmsg::record::Heartbeat;
use fedmsg::replay::Shelf;
use fedmsg::timestamp::Timestamp;
use fedmsg::transport::Transport;
use fedmsg_tool::{Code, CommonOptions, duration};
use serde_json::json;

use super::Error;
use crate::config::{counted, load, print};
use crate::holders::{Question, ask, holders_of};
use crate::streams::{age, table};

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg stream show bodhi.backend01/0
  fedmsg stream show bodhi.backend01/0 --json | jq -r 'select(.heartbeat.state == \"closed\").holder'

Asked are the `replay` addresses of the stream's identity, those of endpoints that carry other streams, and the
journals of this host. One line for each epoch that a holder has: its first and last number there. Of the newest
heartbeat that a holder has: the last number that it names, what receipts promise, whether the stream goes on, and
the age. `closed` are last words. A heartbeat is verified here; one that is not the stream's own is shown as
`refused`.

Exit codes: 0 success · 1 failure · 2 wrong command line · 4 nobody knows the stream";

#[derive(Args)]
pub(super) struct Options {
    /// Which stream, IDENTITY/SLOT
    #[arg(value_parser = StreamName::parse)]
    stream: StreamName,

    /// How long to wait for holders
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration::parse)]
    timeout: Duration,

    /// One JSON object a line, for each holder one
    #[arg(long)]
    json: bool,
}

/// What one holder says.
#[derive(Debug)]
struct Seen {
    /// Its address, or `here`.
    holder: String,
    stand: Stand,
}

/// What a holder says of a stream.
#[derive(Debug)]
pub(crate) enum Stand {
    Has {
        completeness: Completeness,
        epochs: Vec<Range>,
        beat: Beat,
    },
    /// It was asked, and has nothing; why, in its words.
    Nothing(String),
    /// It did not answer.
    Silent,
}

/// The newest heartbeat that a holder has.
#[derive(Debug)]
pub(crate) enum Beat {
    None,
    Refused(String),
    Good(Box<Verified>, Heartbeat),
}

pub(super) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let config = load(common)?;
    let stream = &options.stream;
    let mut opener = Opener::new(Arc::clone(&config.trust));
    let holders = holders_of(&config, stream);
    let asked = counted(holders.len(), "holder");
    let mut seen = Vec::new();
    if let Some(stand) = here(&Shelf::new(&config.state_dir), stream, &mut opener) {
        seen.push(Seen { holder: "here".into(), stand });
    }
    let question = Question { ask: Ask::Head { stream: stream.clone() }, holders: holders.clone() };
    let mut answers =
        ask(&mut *Zmq::new().asker()?, &[question], options.timeout, |_| false).remove(0);
    for holder in holders {
        let stand = match answers.remove(&holder).and_then(|replies| replies.into_iter().next()) {
            Some(reply) => stand_of(&reply, stream, &mut opener),
            None => Stand::Silent,
        };
        seen.push(Seen { holder: holder.to_string(), stand });
    }
    let now = now();
    let is_known = seen.iter().any(|seen| matches!(seen.stand, Stand::Has { .. }));
    print(match options.json {
        true => seen.iter().map(|seen| object(seen, now)).collect(),
        false if is_known => table(&rows(&seen, now)),
        false => Vec::new(),
    })?;
    match is_known {
        true => Ok(Code::Ok),
        false => {
            let asked = format!("{asked}, and the journals of this host");
            Err(Error::Unknown { stream: stream.clone(), asked })
        }
    }
}

/// What the journals of this host have.
pub(crate) fn here(shelf: &Shelf, stream: &StreamName, opener: &mut Opener) -> Option<Stand> {
    let stand = shelf.stand(stream).ok()?;
    let beat = beat_of(stand.heartbeat, stream, opener);
    Some(Stand::Has { completeness: stand.completeness, epochs: stand.epochs, beat })
}

/// What a holder's answer says.
pub(crate) fn stand_of(reply: &Reply, stream: &StreamName, opener: &mut Opener) -> Stand {
    match reply {
        Reply::Info { epochs, .. } if epochs.is_empty() => Stand::Nothing("it has no epoch".into()),
        Reply::Info { heartbeat, completeness, epochs } => {
            let beat = beat_of(heartbeat.clone(), stream, opener);
            Stand::Has { completeness: *completeness, epochs: epochs.clone(), beat }
        }
        Reply::Err { code, text } if text.is_empty() => Stand::Nothing(code.name().into()),
        Reply::Err { code, text } => Stand::Nothing(format!("{}: {text}", code.name())),
        _ => Stand::Nothing("it gave an answer to another question".into()),
    }
}

fn beat_of(heartbeat: Option<Wire>, stream: &StreamName, opener: &mut Opener) -> Beat {
    let Some(wire) = heartbeat else { return Beat::None };
    match opener.open(&wire) {
        Err(refused) => Beat::Refused(refused.reason.to_string()),
        Ok(verified) => match verified.record() {
            Record::Heartbeat(beat) if verified.stream() == stream => {
                let beat = beat.clone();
                Beat::Good(Box::new(verified), beat)
            }
            _ => Beat::Refused("it is another record".into()),
        },
    }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now().max(UNIX_EPOCH))
}

fn rows(seen: &[Seen], now: Timestamp) -> Vec<Vec<String>> {
    let heads = ["HOLDER", "EPOCH", "FIRST", "LAST", "KEEPS", "HEARTBEAT", "LEVEL", "STATE", "AGE"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    for Seen { holder, stand } in seen {
        let (completeness, epochs, beat) = match stand {
            Stand::Has { completeness, epochs, beat } => (completeness, epochs, beat),
            Stand::Nothing(why) => {
                rows.push(vec![holder.clone(), escape(why).to_string()]);
                continue;
            }
            Stand::Silent => {
                rows.push(vec![holder.clone(), "no answer".into()]);
                continue;
            }
        };
        for (at, range) in epochs.iter().enumerate() {
            let holder = if at == 0 { holder.clone() } else { String::new() };
            let (first, last) = (range.first.to_string(), range.last.to_string());
            let keeps = completeness.name().to_owned();
            let mut row = vec![holder, range.epoch.to_string(), first, last, keeps];
            if at + 1 == epochs.len() {
                row.extend(of_beat(beat, now));
            }
            rows.push(row);
        }
    }
    rows
}

fn of_beat(beat: &Beat, now: Timestamp) -> Vec<String> {
    match beat {
        Beat::None => vec!["-".into()],
        Beat::Refused(why) => vec![format!("refused: {}", escape(why))],
        Beat::Good(verified, beat) => vec![
            beat.last.to_string(),
            beat.level.to_string(),
            beat.state.to_string(),
            age(now.millis_since(verified.timestamp())),
        ],
    }
}

fn object(seen: &Seen, now: Timestamp) -> String {
    let mut object = json!({ "holder": seen.holder });
    match &seen.stand {
        Stand::Silent => object["answer"] = "none".into(),
        Stand::Nothing(why) => {
            (object["answer"], object["error"]) = ("error".into(), why.as_str().into());
        }
        Stand::Has { completeness, epochs, beat } => {
            let epoch = |range: &Range| json!({ "epoch": range.epoch.to_string(), "first": range.first, "last": range.last });
            object["answer"] = "info".into();
            object["completeness"] = completeness.name().into();
            object["epochs"] = epochs.iter().map(epoch).collect();
            object["heartbeat"] = match beat {
                Beat::None => serde_json::Value::Null,
                Beat::Refused(why) => json!({ "refused": why }),
                Beat::Good(verified, beat) => json!({
                    "epoch": verified.epoch().to_string(),
                    "first": beat.first,
                    "last": beat.last,
                    "level": beat.level,
                    "state": beat.state,
                    "age_ms": now.millis_since(verified.timestamp()),
                    "config": beat.config,
                }),
            };
        }
    }
    escape_json(&object.to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_without_the_stream_has_a_line_of_its_own_and_its_words_are_escaped() {
        let epoch = fedmsg::envelope::Epoch::parse("00000000-0000-7000-8000-000000000001");
        let range = Range { epoch: epoch.expect("an epoch"), first: 3, last: 9 };
        let beat = Beat::Refused("foreign_stream".into());
        let has = Stand::Has { completeness: Completeness::Complete, epochs: vec![range], beat };
        let seen = [
            Seen { holder: "here".into(), stand: has },
            Seen { holder: "tcp://a:1".into(), stand: Stand::Silent },
            Seen { holder: "tcp://a:2".into(), stand: Stand::Nothing("busy\u{1b}".into()) },
        ];
        let lines = table(&rows(&seen, now()));
        assert!(lines[1].contains("  3      9     complete  refused: foreign_stream"), "{lines:?}");
        assert_eq!(lines[2], "tcp://a:1  no answer");
        assert!(lines[3].ends_with(r"busy\u{1b}"), "{}", lines[3]);
        let of =
            |seen| serde_json::from_str::<serde_json::Value>(&object(seen, now())).expect("JSON");
        assert_eq!(of(&seen[0])["epochs"][0]["last"], 9);
        assert_eq!(of(&seen[1])["answer"], "none");
        assert_eq!(of(&seen[2])["error"], "busy\u{1b}");
    }
}
