//! How far a consumer is behind: messages, and since when the next one waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use fedmsg::StreamName;
use fedmsg::config::Config;
use fedmsg::consumer::{Cursor, Position};
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::frames::{Ask, Completeness, Range, Reply};
use fedmsg::net::Zmq;
use fedmsg::open::Opener;
use fedmsg::replay::Shelf;
use fedmsg::timestamp::Timestamp;
use fedmsg::transport::Transport;
use fedmsg_tool::duration;
use serde_json::{Value, json};

use super::Error;
use crate::holders::{Answers, Question, ask, holders_of};
use crate::journal::read_one;
use crate::streams::age;

/// Whether and how long holders are asked.
#[derive(Args)]
pub(super) struct Asking {
    /// How long to wait for holders of streams
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration::parse)]
    timeout: Duration,

    /// Ask nobody: only what the store says
    #[arg(long, conflicts_with = "timeout")]
    offline: bool,
}

/// How far a consumer is behind in one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lag {
    Known {
        messages: u64,
        /// When the next message was published; nothing when there is none, or nobody gave it.
        since: Option<Timestamp>,
    },
    /// Why it is not known.
    Unknown(String),
}

/// How far consumers are behind in each of these positions.
pub(super) type Lags = BTreeMap<Position, Lag>;

/// All streams of a consumer together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    messages: u64,
    since: Option<Timestamp>,
    /// Streams of which nothing is known.
    unknown: usize,
}

/// Asks for the lags of these cursors; nothing if nobody is to be asked.
pub(super) fn lags<'a>(
    asking: &Asking,
    config: &Config,
    cursors: impl IntoIterator<Item = &'a Cursor>,
) -> Result<Option<Lags>, Error> {
    if asking.offline {
        return Ok(None);
    }
    let cursors: BTreeSet<&Position> = cursors.into_iter().map(|cursor| &cursor.position).collect();
    let streams: BTreeSet<&StreamName> = cursors.iter().map(|at| &at.stream).collect();
    let heads = heads(asking, config, &streams)?;
    let mut next = BTreeMap::new();
    let mut lags: Lags = cursors
        .into_iter()
        .map(|at| {
            let lag = match &heads[&at.stream] {
                Err(why) => Lag::Unknown(why.clone()),
                Ok(epochs) => {
                    let (messages, first) = behind(at.epoch, at.i, epochs);
                    if let Some((epoch, i)) = first {
                        next.insert(at.clone(), Position { stream: at.stream.clone(), epoch, i });
                    }
                    Lag::Known { messages, since: None }
                }
            };
            (at.clone(), lag)
        })
        .collect();
    let times = times(asking, config, &next.values().collect())?;
    for (at, first) in &next {
        if let Some(Lag::Known { since, .. }) = lags.get_mut(at) {
            *since = times.get(first).copied();
        }
    }
    Ok(Some(lags))
}

/// How many messages of these epochs are behind a position, and the first of them that is kept.
pub(crate) fn behind(epoch: Epoch, i: u64, epochs: &[Range]) -> (u64, Option<(Epoch, u64)>) {
    let (mut messages, mut first) = (0, None);
    for range in epochs.iter().filter(|range| range.epoch >= epoch) {
        let done = if range.epoch == epoch { i } else { 0 };
        if range.last > done {
            messages += range.last - done;
            first = first.or(Some((range.epoch, range.first.max(done + 1))));
        }
    }
    (messages, first)
}

/// The epochs of each stream as whoever keeps it says, oldest first; or why they are not known.
fn heads<'a>(
    asking: &Asking,
    config: &Config,
    streams: &BTreeSet<&'a StreamName>,
) -> Result<BTreeMap<&'a StreamName, Result<Vec<Range>, String>>, Error> {
    let shelf = Shelf::new(&config.state_dir);
    let mut heads = BTreeMap::new();
    let (mut asked, mut questions) = (Vec::new(), Vec::new());
    for stream in streams.iter().copied() {
        match shelf.stand(stream) {
            Ok(stand) => drop(heads.insert(stream, Ok(stand.epochs))),
            Err(_) => {
                let holders = holders_of(config, stream);
                questions.push(Question { ask: Ask::Head { stream: stream.clone() }, holders });
                asked.push(stream);
            }
        }
    }
    let is_whole = |reply: &Reply| {
        matches!(reply, Reply::Info { completeness: Completeness::Complete, epochs, .. }
            if !epochs.is_empty())
    };
    let answers = match questions.is_empty() {
        true => Vec::new(),
        false => ask(&mut *Zmq::new().asker()?, &questions, asking.timeout, is_whole),
    };
    for (stream, (question, answers)) in asked.into_iter().zip(questions.iter().zip(answers)) {
        heads.insert(stream, head(question, answers));
    }
    Ok(heads)
}

/// What is known by these answers: the one that knows most counts.
fn head(question: &Question, answers: Answers) -> Result<Vec<Range>, String> {
    if question.holders.is_empty() {
        return Err("no replay address, and no journal on this host".into());
    }
    let count = answers.len();
    let known = answers.into_values().flatten().filter_map(|reply| match reply {
        Reply::Info { epochs, .. } => Some(epochs),
        _ => None,
    });
    let newest = |epochs: &Vec<Range>| epochs.last().map(|range| (range.epoch, range.last));
    match known.filter(|epochs| !epochs.is_empty()).max_by_key(newest) {
        Some(epochs) => Ok(epochs),
        None if count == question.holders.len() => Err("no holder has it".into()),
        None => Err("no answer".into()),
    }
}

/// When these messages were published, of those that can be had here or from a holder, and are good.
fn times(
    asking: &Asking,
    config: &Config,
    positions: &BTreeSet<&Position>,
) -> Result<BTreeMap<Position, Timestamp>, Error> {
    let mut opener = Opener::new(Arc::clone(&config.trust));
    let mut times = BTreeMap::new();
    let mut take = |at: &Position, wire: &Wire| {
        let Ok(record) = opener.open(wire) else { return };
        if (record.stream(), record.epoch(), record.i()) == (&at.stream, at.epoch, at.i) {
            times.insert(at.clone(), record.timestamp());
        }
    };
    let (mut asked, mut questions) = (Vec::new(), Vec::new());
    for at in positions.iter().copied() {
        if let Some(wire) = read_one(&config.state_dir, at) {
            take(at, &wire);
            continue;
        }
        let Position { stream, epoch, i } = at.clone();
        let holders = holders_of(config, &stream);
        let ask = Ask::Get { stream, epoch, from: i, to: i, max: 1, filters: Vec::new() };
        questions.push(Question { ask, holders });
        asked.push(at);
    }
    let is_message = |reply: &Reply| matches!(reply, Reply::Msg { .. });
    let answers = match questions.is_empty() {
        true => Vec::new(),
        false => ask(&mut *Zmq::new().asker()?, &questions, asking.timeout, is_message),
    };
    for (at, answers) in asked.into_iter().zip(answers) {
        for reply in answers.values().flatten() {
            if let Reply::Msg { wire, .. } = reply {
                take(at, wire);
            }
        }
    }
    Ok(times)
}

/// The two columns of a stream: messages, and since how long the next one waits.
pub(super) fn cells(lag: Option<&Lag>, now: Timestamp) -> [String; 2] {
    match lag {
        None => ["-".into(), "-".into()],
        Some(Lag::Unknown(why)) => ["unknown".into(), why.clone()],
        Some(Lag::Known { messages, since }) => [messages.to_string(), waits(*since, now)],
    }
}

fn waits(since: Option<Timestamp>, now: Timestamp) -> String {
    since.map_or_else(|| "-".into(), |since| age(now.millis_since(since)))
}

/// Puts the lag of a stream into its object.
pub(super) fn describe(lag: Option<&Lag>, object: &mut Value) {
    match lag {
        None => {}
        Some(Lag::Unknown(why)) => {
            (object["behind"], object["behind_unknown"]) = (Value::Null, why.as_str().into());
        }
        Some(Lag::Known { messages, since }) => {
            object["behind"] = (*messages).into();
            object["behind_since"] = json!(since.map(|since| since.to_string()));
        }
    }
}

impl Total {
    /// Of these cursors.
    pub(super) fn of<'a>(lags: &Lags, cursors: impl IntoIterator<Item = &'a Cursor>) -> Total {
        let mut total = Total::default();
        for cursor in cursors {
            match lags.get(&cursor.position) {
                Some(Lag::Known { messages, since }) => {
                    total.messages += messages;
                    total.since = [total.since, *since].into_iter().flatten().min();
                }
                _ => total.unknown += 1,
            }
        }
        total
    }

    pub(super) fn cells(&self, now: Timestamp) -> [String; 2] {
        let messages = match self.unknown {
            0 => self.messages.to_string(),
            unknown => format!("{} ({unknown} unknown)", self.messages),
        };
        [messages, waits(self.since, now)]
    }

    pub(super) fn describe(&self, object: &mut Value) {
        object["behind"] = self.messages.into();
        object["behind_since"] = json!(self.since.map(|since| since.to_string()));
        object["streams_unknown"] = self.unknown.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedmsg::endpoint::Endpoint;
    use fedmsg::frames::ErrorCode;

    fn epoch(n: u8) -> Epoch {
        Epoch::parse(&format!("00000000-0000-7000-8000-0000000000{n:02x}")).expect("an epoch")
    }

    fn at(n: u8, i: u64) -> Position {
        Position { stream: StreamName::parse("app.one/0").expect("a stream"), epoch: epoch(n), i }
    }

    #[test]
    fn all_epochs_from_that_of_the_cursor_on_count() {
        let range = |n, first, last| Range { epoch: epoch(n), first, last };
        let epochs = [range(1, 0, 9), range(2, 0, 4), range(3, 2, 7)];
        for (cursor, messages, first) in [
            (at(1, 7), 2 + 4 + 7, Some((epoch(1), 8))),
            (at(1, 9), 4 + 7, Some((epoch(2), 1))),
            (at(2, 4), 7, Some((epoch(3), 2))),
            (at(3, 7), 0, None),
            (at(3, 9), 0, None),
            (at(4, 0), 0, None),
            (at(0, 3), 9 + 4 + 7, Some((epoch(1), 1))),
        ] {
            let found = behind(cursor.epoch, cursor.i, &epochs);
            assert_eq!(found, (messages, first), "{cursor:?}");
        }
    }

    #[test]
    fn who_does_not_answer_is_not_taken_for_somebody_without_messages() {
        let holder = |port: u16| Endpoint::parse(&format!("tcp://h:{port}")).expect("an address");
        let question = Question {
            ask: Ask::Head { stream: at(1, 0).stream },
            holders: vec![holder(1), holder(2)],
        };
        let no = Reply::Err { code: ErrorCode::UnknownStream, text: String::new() };
        let info = |last| Reply::Info {
            heartbeat: None,
            completeness: Completeness::Partial,
            epochs: vec![Range { epoch: epoch(1), first: 0, last }],
        };
        let said = |replies: &[(u16, &Reply)]| {
            let one = |(port, reply): &(u16, &Reply)| (holder(*port), vec![(*reply).clone()]);
            head(&question, replies.iter().map(one).collect())
        };
        assert_eq!(said(&[]), Err("no answer".into()));
        assert_eq!(said(&[(1, &no)]), Err("no answer".into()));
        assert_eq!(said(&[(1, &no), (2, &no)]), Err("no holder has it".into()));
        let epochs = said(&[(1, &info(3)), (2, &info(5))]).expect("known");
        assert_eq!(epochs[0].last, 5, "whoever knows more");
        let none = Question { holders: Vec::new(), ..question };
        assert!(head(&none, Answers::new()).is_err_and(|why| why.contains("no replay address")));
    }

    #[test]
    fn what_is_not_known_is_no_zero() {
        let now = Timestamp::from_millis(60_000);
        let since = Some(Timestamp::from_millis(30_000));
        let known = Lag::Known { messages: 3, since };
        let unknown = Lag::Unknown("no answer".into());
        assert_eq!(cells(Some(&known), now), ["3", "30s"]);
        assert_eq!(cells(Some(&unknown), now), ["unknown", "no answer"]);
        let cursor = |i| Cursor { position: at(1, i), leaf: None, updated: now };
        let cursors = [cursor(1), cursor(2)];
        let lags = Lags::from([(at(1, 1), known), (at(1, 2), unknown)]);
        let total = Total::of(&lags, &cursors);
        assert_eq!(total.cells(now), ["3 (1 unknown)", "30s"]);
        let mut object = json!({});
        total.describe(&mut object);
        assert_eq!((&object["behind"], &object["streams_unknown"]), (&3.into(), &1.into()));
        describe(lags.get(&at(1, 2)), &mut object);
        assert_eq!(
            (&object["behind"], &object["behind_unknown"]),
            (&Value::Null, &"no answer".into())
        );
    }
}
