//! `fedmsg outbox list`.

use clap::Args;
use fedmsg::delivered::At;
use fedmsg::escape::{escape, escape_json};
use fedmsg::outbox::Waiting;
use fedmsg::timestamp::Timestamp;
use fedmsg::{Config, Identity};
use fedmsg_tool::Code;
use serde_json::json;

use super::{Error, all, disk};
use crate::config::print;
use crate::consumer::now;
use crate::streams::{age, table};

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg outbox list
  fedmsg outbox list --json | jq -r 'select(.messages > 0) | [.stream, .messages, .oldest] | @tsv'

Of each stream: messages that no relay has, the age of the oldest, their bytes (in whole segments of the journal), who
publishes it and who delivers it now, and for each relay how many messages it lacks, and whether what it has is on its
disk (stored) or was handed on only (accepted).

Exit codes: 0 success · 1 failure · 2 wrong command line";

#[derive(Args)]
pub(super) struct Options {
    /// Streams of this identity alone
    #[arg(long, value_name = "IDENTITY")]
    identity: Option<Identity>,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// How far one relay is.
struct Far {
    relay: String,
    at: At,
    lacks: u64,
}

pub(super) fn run(options: &Options, config: &Config) -> Result<Code, Error> {
    let mut streams = Vec::new();
    for waiting in all(config, options.identity.as_ref())? {
        let mut relays = Vec::new();
        for (relay, at) in waiting.delivered.relays() {
            let Ok(identity) = Identity::parse(relay) else { continue };
            let lacks = waiting.lacks(&disk(), &identity)?;
            relays.push(Far { relay: relay.into(), at: *at, lacks });
        }
        streams.push((waiting, relays));
    }
    print(match options.json {
        true => streams.iter().map(|(waiting, relays)| object(waiting, relays)).collect(),
        false => table(&rows(&streams, now())),
    })?;
    Ok(Code::Ok)
}

fn rows(streams: &[(Waiting, Vec<Far>)], now: Timestamp) -> Vec<Vec<String>> {
    let heads = ["STREAM", "OF", "PENDING", "OLDEST", "BYTES", "DELIVERED BY", "RELAYS"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    rows.extend(streams.iter().map(|(waiting, relays)| {
        let of = match (&waiting.publisher, waiting.is_commands) {
            (_, true) => "commands".into(),
            (Some(pid), false) => format!("process {}", escape(pid)),
            (None, false) => "-".into(),
        };
        let oldest = waiting.oldest.map(|oldest| age(now.millis_since(oldest)));
        let sender = waiting.sender.as_ref().map(|pid| format!("process {}", escape(pid)));
        let relays: Vec<String> = relays.iter().map(far).collect();
        vec![
            waiting.stream.to_string(),
            of,
            waiting.messages.to_string(),
            oldest.unwrap_or_else(|| "-".into()),
            waiting.bytes.to_string(),
            sender.unwrap_or_else(|| "-".into()),
            if relays.is_empty() { "-".into() } else { relays.join(", ") },
        ]
    }));
    rows
}

fn far(far: &Far) -> String {
    let relay = escape(&far.relay);
    let refused = match far.at.refused {
        0 => String::new(),
        count => format!(", {count} refused"),
    };
    let has = match (far.at.upto, far.at.stored) {
        (None, _) => "nothing yet",
        (_, true) => "stored",
        (_, false) => "accepted",
    };
    match far.lacks {
        0 => format!("{relay} ({has}{refused})"),
        lacks => format!("{relay} ({has}, lacks {lacks}{refused})"),
    }
}

fn object(waiting: &Waiting, relays: &[Far]) -> String {
    let relays = relays.iter().map(|far| {
        json!({
            "relay": far.relay,
            "lacks": far.lacks,
            "epoch": far.at.upto.map(|upto| upto.epoch.to_string()),
            "i": far.at.upto.map(|upto| upto.i),
            "stored": far.at.stored,
            "refused": far.at.refused,
        })
    });
    let refusals = waiting.delivered.refusals().iter().map(|refusal| {
        json!({
            "relay": refusal.relay,
            "epoch": refusal.from.epoch.to_string(),
            "from": refusal.from.i,
            "to": refusal.to,
            "reason": refusal.reason,
            "text": refusal.text,
        })
    });
    let object = json!({
        "stream": waiting.stream.as_str(),
        "commands": waiting.is_commands,
        "messages": waiting.messages,
        "bytes": waiting.bytes,
        "oldest": waiting.oldest.map(|oldest| oldest.to_string()),
        "publisher": waiting.publisher,
        "sender": waiting.sender,
        "relays": relays.collect::<Vec<_>>(),
        "refusals": refusals.collect::<Vec<_>>(),
    });
    escape_json(&object.to_string()).into_owned()
}
