//! `fedmsg refused`: messages that a durable consumer was not given because of a key or a rule that was not
//! there, and giving them to it later.

use std::collections::HashMap;

use clap::{Args, Subcommand};
use fedmsg::config::Config;
use fedmsg::consumer::{
    ConsumerName, Curable, CursorStore, Failure, Fence, Refusal, RefusalFilter,
};
use fedmsg::escape::escape_json;
use fedmsg::journal::{Body, Reader};
use fedmsg::open::{Opener, Verified};
use fedmsg::{KeyId, StreamName};
use fedmsg_tool::{Code, CommonOptions, logging};
use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::config::{counted, load, print};
use crate::consumer::{Error, now, open, tell};
use crate::journal::reader_of;
use crate::streams::table;

/// How long nobody else gets the consumer while it is changed here, in milliseconds.
const LEASE_MS: u64 = 60_000;

const EXAMPLES: &str = "\
Examples:
  fedmsg refused list badges
  fedmsg refused list badges --reason unknown_key --json | jq -r .key | sort -u
  fedmsg refused retry badges --stream bodhi.backend01/0

A message whose key is not trusted yet, or whose topic no rule allows yet, is written down: `unknown_key`,
`no_rule`, `not_yet_valid`. `unknown_key` is noted once for a stream, with number 0: when the key is there the
consumer reads the stream from where it stands. `retry` looks for the others in the journals of this host. What the
configuration accepts by now is put among what the consumer tries next; everything else stays as it is.

Exit codes: 0 success · 1 failure, or messages that no journal of this host has · 2 wrong command line ·
5 messages that are still refused · 75 somebody runs the consumer, or the store is busy";

/// Options of `fedmsg refused`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the refused messages of a consumer
    #[command(after_long_help = EXAMPLES)]
    List {
        #[command(flatten)]
        which: Which,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Give the consumer those that are accepted by now
    #[command(after_long_help = EXAMPLES)]
    Retry {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Args)]
struct Which {
    /// Which consumer
    #[arg(value_parser = ConsumerName::parse)]
    name: ConsumerName,

    /// Of this stream, IDENTITY/SLOT
    #[arg(long, value_parser = StreamName::parse)]
    stream: Option<StreamName>,

    /// For this reason: unknown_key, no_rule, not_yet_valid
    #[arg(long, value_parser = reason)]
    reason: Option<Curable>,

    /// Naming this key
    #[arg(long, value_name = "ID", value_parser = KeyId::parse)]
    key: Option<KeyId>,
}

fn reason(text: &str) -> Result<Curable, String> {
    let names: Vec<&str> = Curable::ALL.iter().map(|reason| reason.name()).collect();
    Curable::parse(text).ok_or_else(|| format!("one of {} is expected", names.join(", ")))
}

impl Which {
    fn filter(&self) -> RefusalFilter {
        let Which { stream, reason, key, .. } = self;
        RefusalFilter { stream: stream.clone(), reason: *reason, key: *key }
    }
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    let config = load(common)?;
    let mut store = open(&config)?;
    match &options.command {
        Command::List { which, json } => {
            store.show(&which.name)?;
            let refusals = store.refusals(&which.name, &which.filter())?;
            print(match json {
                true => refusals.iter().map(object).collect(),
                false => table(&rows(&refusals)),
            })?;
            Ok(Code::Ok)
        }
        Command::Retry { which } => {
            let done = retry(which, &mut *store, &config)?;
            tell(common, &format!("{}: {done}", which.name));
            Ok(done.code())
        }
    }
}

fn rows(refusals: &[Refusal]) -> Vec<Vec<String>> {
    let heads = ["STREAM", "EPOCH", "NUMBER", "REASON", "KEY", "SINCE", "TIMES"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    rows.extend(refusals.iter().map(|refusal| {
        let (refused, at) = (&refusal.refused, &refusal.refused.position);
        vec![
            at.stream.to_string(),
            at.epoch.to_string(),
            at.i.to_string(),
            refused.reason.name().into(),
            refused.key.to_string(),
            refusal.first_seen.to_string(),
            refusal.count.to_string(),
        ]
    }));
    rows
}

fn object(refusal: &Refusal) -> String {
    let (refused, at) = (&refusal.refused, &refusal.refused.position);
    let object = json!({
        "stream": at.stream.as_str(),
        "epoch": at.epoch.to_string(),
        "i": at.i,
        "leaf": refused.leaf,
        "reason": refused.reason.name(),
        "key": refused.key.as_str(),
        "first_seen": refusal.first_seen.to_string(),
        "count": refusal.count,
    });
    escape_json(&object.to_string()).into_owned()
}

/// What became of refused messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Done {
    /// Put among what the consumer tries next.
    given: usize,
    /// Streams whose key has come: the consumer reads them by itself.
    streams: usize,
    /// Still refused by the configuration.
    refused: usize,
    /// In no journal of this host.
    missing: usize,
}

impl Done {
    fn code(self) -> Code {
        match self {
            Done { missing: 1.., .. } => Code::General,
            Done { refused: 1.., .. } => Code::RefusedSignature,
            _ => Code::Ok,
        }
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Done { given, streams, refused, missing } = self;
        write!(f, "{} to be tried next", counted(*given, "message"))?;
        if *streams > 0 {
            write!(f, ", {} to be read because the key is there", counted(*streams, "stream"))?;
        }
        if *refused > 0 {
            write!(f, ", {refused} still refused")?;
        }
        if *missing > 0 {
            write!(f, ", {missing} in no journal of this host")?;
        }
        Ok(())
    }
}

fn retry(which: &Which, store: &mut dyn CursorStore, config: &Config) -> Result<Done, Error> {
    // To claim a consumer that is not there would make one.
    let start = store.show(&which.name)?.start;
    let owner = format!("fedmsg refused retry, process {}", std::process::id());
    let fence = store.claim(&which.name, &owner, start, now(), LEASE_MS)?.fence;
    let done = give_all(which, store, config, &fence);
    let released = store.release(&fence);
    let done = done?;
    released?;
    Ok(done)
}

fn give_all(
    which: &Which,
    store: &mut dyn CursorStore,
    config: &Config,
    fence: &Fence,
) -> Result<Done, Error> {
    let mut done = Done::default();
    let mut opener = Opener::new(config.trust.clone());
    let mut journals: HashMap<StreamName, Option<Reader>> = HashMap::new();
    for refusal in store.refusals(&which.name, &which.filter())? {
        let stream = &refusal.refused.position.stream;
        if refusal.refused.position.i == 0 {
            // A note of a whole stream.
            match config.trust.keys.get(&refusal.refused.key) {
                Some(_) => {
                    done.streams +=
                        store.cured(fence, std::slice::from_ref(&refusal.refused.position))?;
                }
                None => done.refused += 1,
            }
            continue;
        }
        let journal =
            journals.entry(stream.clone()).or_insert_with(|| reader_of(&config.state_dir, stream));
        let Some(body) = journal.as_mut().and_then(|journal| body(journal, &refusal)) else {
            done.missing += 1;
            continue;
        };
        let Body::Record(wire) = body else {
            done.missing += 1;
            continue;
        };
        match opener.open(&wire) {
            Ok(record) if fits(&record, &refusal) => {
                give(store, fence, &refusal, &record)?;
                done.given += 1;
            }
            _ => done.refused += 1,
        }
    }
    Ok(done)
}

/// What the journal has at this position, if it has something.
fn body(journal: &mut Reader, refusal: &Refusal) -> Option<Body> {
    let at = &refusal.refused.position;
    let batch = journal.read(at.epoch, at.i, at.i, 1, 0).ok()?;
    batch.entries.into_iter().find(|entry| entry.i == at.i).map(|entry| entry.body)
}

/// Whether this is the message that was refused, and no other one at its place.
fn fits(record: &Verified, refusal: &Refusal) -> bool {
    let (refused, at) = (&refusal.refused, &refusal.refused.position);
    let place = (record.stream(), record.epoch(), record.i());
    let same = refused.leaf.is_none_or(|leaf| leaf == record.place().leaf);
    same && place == (&at.stream, at.epoch, at.i)
}

/// Kept to be tried first, and struck out after that: a crash between the two gives it twice, not never.
fn give(
    store: &mut dyn CursorStore,
    fence: &Fence,
    refusal: &Refusal,
    record: &Verified,
) -> Result<(), Error> {
    let refused = &refusal.refused;
    let failure = Failure {
        position: refused.position.clone(),
        topic: record.topic().clone(),
        envelope: record.wire().envelope.clone(),
        error: format!("was refused: {}", refused.reason.name()),
        attempts: 0,
    };
    store.failed(fence, &failure, now(), now())?;
    store.cured(fence, std::slice::from_ref(&refused.position))?;
    // Many of them take their time.
    store.renew(fence, now())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_them_is_told_by_words_and_code() {
        for (given, streams, refused, missing, said, code) in [
            (1, 0, 0, 0, "1 message to be tried next", Code::Ok),
            (
                0,
                2,
                0,
                0,
                "0 messages to be tried next, 2 streams to be read because the key is there",
                Code::Ok,
            ),
            (2, 0, 3, 0, "2 messages to be tried next, 3 still refused", Code::RefusedSignature),
            (
                0,
                0,
                1,
                4,
                "0 messages to be tried next, 1 still refused, 4 in no journal of this host",
                Code::General,
            ),
        ] {
            let done = Done { given, streams, refused, missing };
            assert_eq!((done.to_string().as_str(), done.code()), (said, code));
        }
        assert!(reason("bad").is_err_and(|error| error.contains("no_rule")));
    }
}
