//! `fedmsg consumer list`.

use clap::Args;
use fedmsg::consumer::{CursorStore, Summary};
use fedmsg::escape::{escape, escape_json};
use fedmsg::timestamp::Timestamp;
use fedmsg_tool::Code;
use serde_json::{Value, json};

use super::{Error, now, running};
use crate::config::print;
use crate::streams::table;

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg consumer list
  fedmsg consumer list --json | jq -r 'select(.letters > 0).consumer'

Columns: the consumer, streams in which it has a cursor, when one was moved last, refused messages that may be
cured, failed ones that wait for another try, dead letters, and who runs it until when at least.

Exit codes: 0 success · 1 failure · 2 wrong command line";

#[derive(Args)]
pub(super) struct Options {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, store: &mut dyn CursorStore) -> Result<Code, Error> {
    let (consumers, now) = (store.consumers()?, now());
    print(match options.json {
        true => consumers.iter().map(|summary| line(&object(summary, now))).collect(),
        false => table(&rows(&consumers, now)),
    })?;
    Ok(Code::Ok)
}

pub(super) fn line(object: &Value) -> String {
    escape_json(&object.to_string()).into_owned()
}

fn rows(consumers: &[Summary], now: Timestamp) -> Vec<Vec<String>> {
    let heads = ["CONSUMER", "STREAMS", "MOVED", "REFUSED", "RETRIES", "DEAD", "RUN BY", "UNTIL"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    rows.extend(consumers.iter().map(|summary| {
        let (owner, until) = match running(summary.lease.as_ref(), now) {
            Some(lease) => (escape(&lease.owner).to_string(), lease.until.to_string()),
            None => ("-".into(), "-".into()),
        };
        vec![
            summary.consumer.to_string(),
            summary.streams.to_string(),
            summary.moved.map_or_else(|| "-".into(), |moved| moved.to_string()),
            summary.refusals.to_string(),
            summary.retries.to_string(),
            summary.letters.to_string(),
            owner,
            until,
        ]
    }));
    rows
}

pub(super) fn object(summary: &Summary, now: Timestamp) -> Value {
    let lease = running(summary.lease.as_ref(), now);
    json!({
        "consumer": summary.consumer.as_str(),
        "created": summary.created.to_string(),
        "start": summary.start.to_string(),
        "run_by": lease.map(|lease| &lease.owner),
        "until": lease.map(|lease| lease.until.to_string()),
        "streams": summary.streams,
        "moved": summary.moved.map(|moved| moved.to_string()),
        "refusals": summary.refusals,
        "refusals_dropped": summary.refusals_dropped,
        "retries": summary.retries,
        "letters": summary.letters,
        "letters_dropped": summary.letters_dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedmsg::consumer::{ConsumerName, Start};
    use fedmsg::testing::MemoryStore;

    #[test]
    fn who_runs_a_consumer_is_shown_as_long_as_the_lease_lasts() {
        let mut store = MemoryStore::new();
        let badges = ConsumerName::parse("badges").expect("a name");
        let at = Timestamp::from_millis;
        store.claim(&badges, "host\u{202e}1", Start::Earliest, at(0), 10_000).expect("claimed");
        let consumers = store.consumers().expect("one");
        let lines = table(&rows(&consumers, at(9_999)));
        assert!(lines[1].contains(r"host\u{202e}1  1970-01-01T00:00:10.000Z"), "{}", lines[1]);
        let lines = table(&rows(&consumers, at(10_000)));
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>(),
            ["badges", "0", "-", "0", "0", "0", "-", "-"]
        );
        let object = object(&consumers[0], at(1));
        assert_eq!(
            (&object["run_by"], &object["start"]),
            (&"host\u{202e}1".into(), &"earliest".into())
        );
    }
}
