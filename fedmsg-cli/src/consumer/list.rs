//! `fedmsg consumer list`.

use clap::Args;
use fedmsg::config::Config;
use fedmsg::consumer::{Cursor, CursorStore, Summary};
use fedmsg::escape::{escape, escape_json};
use fedmsg::timestamp::Timestamp;
use fedmsg_tool::Code;
use serde_json::{Value, json};

use super::lag::{Asking, Total, lags};
use super::{Error, now, running};
use crate::config::print;
use crate::streams::table;

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg consumer list
  fedmsg consumer list --json | jq -r 'select(.letters > 0).consumer'
  fedmsg consumer list --offline                        only what the store says

Columns: the consumer, streams in which it has a cursor, how many messages it is behind in these and since when the
next one waits, when a cursor was moved last, refused messages that may be cured, failed ones that wait for another
try, dead letters, and who runs it until when at least. How far streams are is read from the journals of this host,
or said by their holders; a stream of which nobody says it is `unknown`. All messages of a stream count, also those
that the consumer does not want.

Exit codes: 0 success · 1 failure · 2 wrong command line";

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    asking: Asking,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    options: &Options,
    store: &mut dyn CursorStore,
    config: &Config,
) -> Result<Code, Error> {
    let (consumers, now) = (store.consumers()?, now());
    let mut cursors = Vec::new();
    for summary in &consumers {
        cursors.push(store.load(&summary.consumer)?);
    }
    let lags = lags(&options.asking, config, cursors.iter().flatten())?;
    let total = |cursors: &Vec<Cursor>| lags.as_ref().map(|lags| Total::of(lags, cursors));
    let consumers: Vec<(Summary, Option<Total>)> =
        consumers.into_iter().zip(cursors.iter().map(total)).collect();
    print(match options.json {
        true => {
            consumers.iter().map(|(summary, total)| line(&whole(summary, *total, now))).collect()
        }
        false => table(&rows(&consumers, now)),
    })?;
    Ok(Code::Ok)
}

fn whole(summary: &Summary, total: Option<Total>, now: Timestamp) -> Value {
    let mut object = object(summary, now);
    if let Some(total) = total {
        total.describe(&mut object);
    }
    object
}

pub(super) fn line(object: &Value) -> String {
    escape_json(&object.to_string()).into_owned()
}

fn rows(consumers: &[(Summary, Option<Total>)], now: Timestamp) -> Vec<Vec<String>> {
    let heads = [
        "CONSUMER", "STREAMS", "BEHIND", "WAITS", "MOVED", "REFUSED", "RETRIES", "DEAD", "RUN BY",
        "UNTIL",
    ];
    let mut rows = vec![heads.map(String::from).to_vec()];
    rows.extend(consumers.iter().map(|(summary, total)| {
        let [behind, waits] =
            total.map_or_else(|| ["-".into(), "-".into()], |total| total.cells(now));
        let (owner, until) = match running(summary.lease.as_ref(), now) {
            Some(lease) => (escape(&lease.owner).to_string(), lease.until.to_string()),
            None => ("-".into(), "-".into()),
        };
        vec![
            summary.consumer.to_string(),
            summary.streams.to_string(),
            behind,
            waits,
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
        let consumers: Vec<_> = consumers.into_iter().map(|summary| (summary, None)).collect();
        let lines = table(&rows(&consumers, at(9_999)));
        assert!(lines[1].contains(r"host\u{202e}1  1970-01-01T00:00:10.000Z"), "{}", lines[1]);
        let lines = table(&rows(&consumers, at(10_000)));
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>(),
            ["badges", "0", "-", "-", "-", "0", "0", "0", "-", "-"]
        );
        let object = object(&consumers[0].0, at(1));
        assert_eq!(
            (&object["run_by"], &object["start"]),
            (&"host\u{202e}1".into(), &"earliest".into())
        );
    }
}
