//! `fedmsg check lag`: durable consumers that are behind, or could not handle something.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use fedmsg::StreamName;
use fedmsg::config::Config;
use fedmsg::consumer::{ConsumerName, Cursor, Position, Summary};
use fedmsg::limits::TELL_AGAIN_MS;
use fedmsg::timestamp::Timestamp;
use fedmsg_tool::exit::chain;

use super::finding::{Check, Grade, Report};
use super::thresholds::{LagBound, grade};
use crate::config::counted;
use crate::consumer::{self, behind};
use crate::streams::{Seen, View, age};

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg check lag                              10m, critical after 1h
  fedmsg check lag --warn 1000 --crit 10000     by messages
  fedmsg check lag --warn 1000,5m --crit 1h     by messages or time, whichever comes first
  fedmsg check lag --consumer badges --format nagios

Consumers are those of the store of this host (`store` in [consumer]), and those who told holders how far they are, on
whatever host they run. Of each the messages of all its streams count, also those that it does not want, and since when
the first of them waits. Dead letters and refused messages that wait for a key or a rule are a warning.";

#[derive(Args)]
pub(super) struct Options {
    /// These consumers alone
    #[arg(long, value_name = "NAME", value_parser = ConsumerName::parse)]
    consumer: Vec<ConsumerName>,

    /// Lag that is a warning: messages, a time, or both
    #[arg(long, value_name = "LAG", default_value = "10m", value_parser = LagBound::parse)]
    warn: LagBound,

    /// Lag that is critical
    #[arg(long, value_name = "LAG", default_value = "1h", value_parser = LagBound::parse)]
    crit: LagBound,
}

impl Default for Options {
    fn default() -> Options {
        let bound = |text| LagBound::parse(text).expect("a bound");
        Options { consumer: Vec::new(), warn: bound("10m"), crit: bound("1h") }
    }
}

/// A consumer of the store of this host.
pub(super) struct Stored {
    summary: Summary,
    cursors: Vec<Cursor>,
}

/// The consumers of the store, where there is one.
pub(super) fn stored(config: &Config, report: &mut Report) -> Vec<Stored> {
    let read = || {
        let mut store = match consumer::open(config) {
            Err(consumer::Error::NoStore(_)) => return Ok(Vec::new()),
            store => store?,
        };
        let all = store.consumers()?.into_iter().map(|summary| {
            let cursors = store.load(&summary.consumer)?;
            Ok(Stored { summary, cursors })
        });
        all.collect::<Result<Vec<_>, consumer::Error>>()
    };
    read().unwrap_or_else(|error| {
        let finding =
            report.add(Check::Lag, Grade::Unknown, "the store of this host", chain(&error));
        finding.todo("`fedmsg consumer list` says more");
        Vec::new()
    })
}

/// Where they are.
pub(super) fn cursors(stored: &[Stored]) -> Vec<Position> {
    stored.iter().flat_map(|one| &one.cursors).map(|cursor| cursor.position.clone()).collect()
}

/// How far a consumer is, all its streams together.
#[derive(Default)]
struct Total {
    messages: u64,
    /// The first message that waits: since when, and in which stream.
    waits: Option<(Timestamp, StreamName)>,
    /// Streams with messages that it is not done with.
    streams: u64,
    /// Messages that were given up before it was done with them.
    lost: u64,
    /// Streams of which nobody who answered says how far they are.
    unknown: BTreeSet<StreamName>,
    /// Who runs it, or when it last said something; in words.
    state: String,
}

pub(super) fn check(options: &Options, view: &View, stored: &[Stored], report: &mut Report) {
    let is_wanted = |name: &str| {
        options.consumer.is_empty() || options.consumer.iter().any(|one| one.as_str() == name)
    };
    let mut totals = BTreeMap::<String, Total>::new();
    for one in stored.iter().filter(|one| is_wanted(one.summary.consumer.as_str())) {
        let total = totals.entry(one.summary.consumer.to_string()).or_default();
        total.add_stored(one, view);
        left(&one.summary, report);
    }
    let names: BTreeSet<String> =
        stored.iter().map(|one| one.summary.consumer.to_string()).collect();
    for (stream, seen) in &view.streams {
        for lagging in seen.floors.values() {
            let name = lagging.said.consumer.as_str();
            // The store knows better, and knows of every stream.
            if is_wanted(name) && !names.contains(name) {
                totals.entry(name.to_owned()).or_default().add_told(stream, seen, name);
            }
        }
    }
    for name in options.consumer.iter().filter(|name| !totals.contains_key(name.as_str())) {
        let text = "it is not in the store of this host, and told no holder how far it is";
        report
            .add(Check::Lag, Grade::Unknown, name, text)
            .todo("see whether it runs, and how it is called");
    }
    for (name, total) in &totals {
        total.judge(name, options, view.now, report);
    }
    report.figure("lag_consumers", totals.len() as u64, "");
    report.figure("lag_messages", totals.values().map(|total| total.messages).sum(), "");
    let oldest =
        totals.values().filter_map(|total| total.waits.as_ref()).map(|(since, _)| *since).min();
    let waits =
        oldest.map_or(0, |since| view.now.millis_since(since).max(0).unsigned_abs() / 1_000);
    report.figure("lag_waits", waits, "s");
}

/// What it could not handle.
fn left(summary: &Summary, report: &mut Report) {
    let name = &summary.consumer;
    if summary.letters > 0 {
        let text =
            format!("{} that could not be handled", counted(summary.letters as usize, "message"));
        report.add(Check::Lag, Grade::Warning, name, text).todo(format!(
            "`fedmsg consumer show {name} --letters` says why; `fedmsg consumer retry {name} --all` has them tried again"
        ));
    }
    if summary.refusals > 0 {
        let text = format!(
            "{} refused for want of a key or a rule",
            counted(summary.refusals as usize, "message")
        );
        report.add(Check::Lag, Grade::Warning, name, text).todo(format!(
            "`fedmsg refused list {name}` says which; they come by themselves when the key or the rule does"
        ));
    }
    if summary.refusals_dropped + summary.letters_dropped > 0 {
        let text = format!(
            "{} refusals and {} dead letters found no room, and are not kept",
            summary.refusals_dropped, summary.letters_dropped
        );
        report
            .add(Check::Lag, Grade::Warning, name, text)
            .todo("see what is wrong with the others first");
    }
}

impl Total {
    fn add_stored(&mut self, one: &Stored, view: &View) {
        let lease = one.summary.lease.as_ref().filter(|lease| lease.until > view.now);
        self.state = match lease {
            Some(lease) => format!("run by {}", lease.owner),
            None => "nobody runs it".into(),
        };
        for cursor in &one.cursors {
            let at = &cursor.position;
            let seen = view.streams.get(&at.stream);
            let Some(seen) = seen.filter(|seen| !seen.epochs().is_empty()) else {
                // Nobody has it: it has ended, or who has it does not answer.
                if seen.is_some_and(|seen| seen.may_be_elsewhere())
                    || view.unasked.contains(&at.stream)
                {
                    self.unknown.insert(at.stream.clone());
                }
                continue;
            };
            let (messages, _) = behind(at.epoch, at.i, &seen.epochs());
            let since = view.waits.get(at).copied();
            self.add(at, messages, since, seen);
        }
    }

    fn add_told(&mut self, stream: &StreamName, seen: &Seen, name: &str) {
        let Some(lagging) = seen.floors.values().find(|one| one.said.consumer.as_str() == name)
        else {
            return;
        };
        let said = &lagging.said;
        let at = Position { stream: stream.clone(), epoch: said.epoch, i: said.upto };
        self.add(&at, lagging.behind, lagging.since, seen);
        // One that runs says something in each minute, of each stream.
        let silent = i64::try_from(said.age_ms).unwrap_or(i64::MAX);
        if lagging.behind > 0 || self.state.is_empty() {
            self.state = match said.age_ms > 3 * TELL_AGAIN_MS {
                true => format!(
                    "it has told holders nothing for {}: it does not run, or has no way to them",
                    age(silent)
                ),
                false => format!("it runs, and told holders so {} ago", age(silent)),
            };
        }
    }

    fn add(&mut self, at: &Position, messages: u64, since: Option<Timestamp>, seen: &Seen) {
        self.messages += messages;
        self.streams += u64::from(messages > 0);
        let first = seen.next_of(at.epoch, at.i);
        if let Some((epoch, i)) = first.filter(|(epoch, i)| *epoch == at.epoch && *i > at.i + 1) {
            debug_assert_eq!(epoch, at.epoch);
            self.lost += i - at.i - 1;
        }
        if let Some(since) = since
            && self.waits.as_ref().is_none_or(|(known, _)| since < *known)
        {
            self.waits = Some((since, at.stream.clone()));
        }
    }

    fn judge(&self, name: &str, options: &Options, now: Timestamp, report: &mut Report) {
        if self.lost > 0 {
            let text = format!(
                "{} were given up by retention before it was done with them",
                counted(self.lost as usize, "message")
            );
            report.add(Check::Lag, Grade::Critical, name, text).todo("start it; name it in `hold_for` of [journal], or keep more, so that it does not happen again");
        }
        if !self.unknown.is_empty() {
            let streams: Vec<&str> = self.unknown.iter().take(3).map(StreamName::as_str).collect();
            let text = format!(
                "how far it is behind is not known in {}: no holder answers ({}{})",
                counted(self.unknown.len(), "stream"),
                streams.join(", "),
                if self.unknown.len() > 3 { ", …" } else { "" }
            );
            report
                .add(Check::Lag, Grade::Unknown, name, text)
                .todo("start the holders of these streams");
        }
        let waits =
            self.waits.as_ref().map(|(since, _)| now.millis_since(*since).max(0).unsigned_abs());
        let passed =
            |bound: &LagBound| bound.is_passed(self.messages, waits.map(Duration::from_millis));
        let grade = grade(passed(&options.warn), passed(&options.crit));
        let waiting = self.waits.as_ref().map(|(since, stream)| {
            format!(", the first of them for {}, in {stream}", age(now.millis_since(*since)))
        });
        let text = match self.messages {
            // What is not known may be something.
            0 if !self.unknown.is_empty() => return,
            0 => format!("it has everything; {}", self.state),
            messages => format!(
                "{} behind in {}{}; {}",
                counted(messages as usize, "message"),
                counted(self.streams as usize, "stream"),
                waiting.unwrap_or_default(),
                self.state
            ),
        };
        let finding = report.add(Check::Lag, grade, name, text);
        if grade > Grade::Ok {
            finding.todo(format!(
                "start it, or see why it is slow; `fedmsg consumer show {name}` on its host, `fedmsg streams` from any"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;
    use crate::streams::samples::{epoch, has, range};
    use fedmsg::frames::{Acknowledged, Completeness, Word};
    use std::sync::Arc;

    /// A view with one stream of 20 messages, of which number 5 is the oldest that is left.
    fn view(floor: u64, age_ms: u64, since: Option<i64>) -> View {
        let mut seen = Seen::default();
        let holder = fedmsg::Endpoint::parse("tcp://h:1").expect("an address");
        seen.stands.insert(holder, has(Completeness::Complete, &[range(1, 5, 20)]));
        let consumer = Word::parse("badges").expect("a word");
        seen.add_floors(&[Acknowledged {
            consumer: consumer.clone(),
            epoch: epoch(1),
            upto: floor,
            age_ms,
        }]);
        if let Some(lagging) = seen.floors.get_mut(&consumer) {
            lagging.since = since.map(Timestamp::from_millis);
        }
        let stream = StreamName::parse("app.one/0").expect("a stream");
        View {
            config: Arc::new(config(&[])),
            now: Timestamp::from_millis(10_000_000),
            streams: [(stream, seen)].into(),
            holders: BTreeMap::new(),
            unasked: BTreeSet::new(),
            waits: BTreeMap::new(),
        }
    }

    fn found(options: &Options, view: &View) -> Vec<(Grade, String)> {
        let mut report = Report::new(Check::Lag);
        check(options, view, &[], &mut report);
        report.findings.into_iter().map(|one| (one.grade, one.text)).collect()
    }

    #[test]
    fn who_told_a_holder_is_judged_by_messages_and_time() {
        let options = Options::default();
        let of = |view: &View| found(&options, view).remove(0);
        assert_eq!(of(&view(20, 500, None)).0, Grade::Ok);
        assert_eq!(of(&view(18, 500, Some(9_500_000))).0, Grade::Ok);
        assert_eq!(of(&view(18, 500, Some(9_399_999))).0, Grade::Warning);
        let (grade, text) = of(&view(18, 9_000_000, Some(1_000_000)));
        assert_eq!(grade, Grade::Critical);
        assert!(
            text.starts_with(
                "2 messages behind in 1 stream, the first of them for 2h, in app.one/0"
            ),
            "{text}"
        );
        assert!(text.contains("told holders nothing for 2h"), "{text}");
        let by_messages =
            Options { warn: LagBound::parse("1").expect("a bound"), ..Options::default() };
        assert_eq!(found(&by_messages, &view(18, 500, None))[0].0, Grade::Warning);
    }

    #[test]
    fn what_retention_took_before_it_was_read_is_critical_and_nobody_known_is_unknown() {
        let options = Options::default();
        let all = found(&options, &view(2, 500, Some(9_900_000)));
        assert!(
            all[0].0 == Grade::Critical && all[0].1.starts_with("2 messages were given up"),
            "{all:?}"
        );
        let mail = ConsumerName::parse("mail").expect("a name");
        let all =
            found(&Options { consumer: vec![mail], ..Options::default() }, &view(20, 500, None));
        assert_eq!((all.len(), all[0].0), (1, Grade::Unknown), "{all:?}");
    }
}
