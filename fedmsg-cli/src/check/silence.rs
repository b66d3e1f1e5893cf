//! `fedmsg check silence`: since when somebody has said nothing, and whether its publisher is up.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fedmsg::timestamp::Timestamp;
use fedmsg::{Identity, Pattern, StreamName};
use fedmsg_tool::duration;

use super::finding::{Check, Grade, Report};
use super::subject::{Subject, host_of};
use super::thresholds::grade;
use super::topics::{Last, Search};
use super::{Error, World};
use crate::config::counted;
use crate::streams::{Life, Seen, View, age};

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg check silence                                 every publisher of [endpoints]: 1h, critical after a day
  fedmsg check silence bodhi --by service --crit 10m   the service, whichever of its hosts speaks
  fedmsg check silence --topic koji.build --topic bodhi.update --warn 30m --crit 2h
  fedmsg check silence --format nagios

The time is that of the last message, as its publisher signed it; holders and the journals of this host are asked for
it. Silence is counted for each identity, or with --by for each service or stream; with --topic for each pattern, over
all streams or those that are named. A publisher that is down, and did not say that it ends, is named in any case.
Who keeps nothing and has no holder cannot be asked when it spoke last: that is `unknown`.";

#[derive(Args)]
pub(super) struct Options {
    /// Services, identities or streams [default: every publisher of [endpoints], and who else has streams that go on]
    #[arg(value_parser = Subject::parse, value_name = "WHAT")]
    what: Vec<Subject>,

    /// Topics of which the last message counts, whole or without prefix and environment; may be given several times
    #[arg(long, value_name = "PATTERN")]
    topic: Vec<String>,

    /// Who has to say something
    #[arg(long, value_enum, default_value = "identity", conflicts_with = "topic")]
    by: By,

    /// Silence that is a warning
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    warn: Duration,

    /// Silence that is critical
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration::parse)]
    crit: Duration,
}

impl Default for Options {
    fn default() -> Options {
        let (warn, crit) = (Duration::from_secs(3_600), Duration::from_secs(86_400));
        Options { what: Vec::new(), topic: Vec::new(), by: By::Identity, warn, crit }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Each service, whichever of its hosts speaks
    Service,
    /// Each identity: a service on one host
    Identity,
    /// Each stream: a process of it
    Stream,
}

pub(super) fn check(
    options: &Options,
    view: &View,
    world: &World<'_>,
    report: &mut Report,
) -> Result<(), Error> {
    if options.topic.is_empty() {
        let groups = groups(options, view, report);
        for (subject, group) in &groups {
            group.judge(subject, options, view, report);
        }
        report.figure("silence_watched", groups.len() as u64, "");
    } else {
        let wanted = |stream: &StreamName| {
            options.what.is_empty() || options.what.iter().any(|what| what.includes(stream))
        };
        let naming = &view.config.trust.naming;
        let patterns = options.topic.iter().map(|text| naming.pattern(text));
        let patterns = patterns.collect::<Result<Vec<Pattern>, _>>().map_err(Error::Pattern)?;
        let search = Search { view, world, oldest: ago(view.now, options.crit) };
        for (pattern, last) in search.run(&patterns, wanted)? {
            of_topic(&pattern, last, options, view, report);
        }
    }
    down(options, view, report);
    Ok(())
}

/// The streams that speak for one subject.
#[derive(Default)]
struct Group<'a> {
    streams: Vec<(&'a StreamName, &'a Seen)>,
    /// Somebody of it is in [endpoints], or was named: it should say something.
    is_expected: bool,
    host: Option<String>,
}

fn groups<'a>(
    options: &Options,
    view: &'a View,
    report: &mut Report,
) -> BTreeMap<String, Group<'a>> {
    let mut groups = BTreeMap::<String, Group<'a>>::new();
    let name_of = |identity: &Identity| match options.by {
        By::Service => identity.service().to_owned(),
        By::Identity | By::Stream => identity.to_string(),
    };
    let host = |identity: &Identity| match options.by {
        By::Service => None,
        By::Identity | By::Stream => Some(host_of(&view.config, identity)),
    };
    for (stream, seen) in &view.streams {
        let identity = stream.identity();
        if view.is_relay(identity) || !is_wanted(options, stream) {
            continue;
        }
        let name = match options.by {
            By::Stream => stream.to_string(),
            _ => name_of(identity),
        };
        let group = groups.entry(name).or_default();
        group.streams.push((stream, seen));
        group.host = host(identity);
        group.is_expected |= !options.what.is_empty();
    }
    for identity in view.publishers() {
        let is_named = options.what.iter().any(|what| match what {
            Subject::Service(service) => identity.service() == service,
            Subject::Identity(one) => *one == identity,
            Subject::Stream(_) => false,
        });
        if (options.what.is_empty() || is_named) && options.by != By::Stream {
            let group = groups.entry(name_of(&identity)).or_default();
            group.is_expected = true;
            group.host = host(&identity);
        }
    }
    for what in &options.what {
        let names = groups.values().flat_map(|group| &group.streams);
        let is_known = names.clone().any(|(stream, _)| what.includes(stream))
            || groups.contains_key(&what.to_string())
            || matches!(what, Subject::Service(service) if view.publishers().iter().any(|one| one.service() == service));
        if !is_known {
            let text = "nobody knows it: nothing is heard, and no holder has it";
            let finding = report.add(Check::Silence, Grade::Unknown, what, text);
            finding.todo("`fedmsg streams` shows which streams there are");
        }
    }
    groups
}

fn is_wanted(options: &Options, stream: &StreamName) -> bool {
    options.what.is_empty() || options.what.iter().any(|what| what.includes(stream))
}

impl Group<'_> {
    fn judge(&self, subject: &str, options: &Options, view: &View, report: &mut Report) {
        let life = self.life(view.now);
        // Who ended, and is not expected to be there, has a right to say nothing.
        if life == Life::Ended && !self.is_expected {
            return;
        }
        let add = |report: &mut Report, grade, text: String, todo: &str| {
            let finding = report.add(Check::Silence, grade, subject, text);
            finding.on(self.host.clone());
            if grade > Grade::Ok {
                finding.todo(todo);
            }
        };
        let todo = match life {
            Life::Up => {
                "look at the service itself: its process runs, and the bus takes what it publishes"
            }
            Life::Ended => "start it, if it is to run",
            Life::Down | Life::Unknown => "start it, and see why it ended without a word",
        };
        if self.streams.is_empty() {
            let text = "nothing is heard from it, and nobody keeps anything of it".into();
            return add(report, Grade::Unknown, text, "start it, or take it out of [endpoints]");
        }
        let Some((since, has_spoken)) = self.since() else {
            let text = format!(
                "when it spoke last is not known: {}; {}",
                self.why_unknown(),
                self.state(life, view)
            );
            let todo = "a service with level `local` and a `replay` address can be asked; otherwise more time with --timeout may help";
            return add(report, Grade::Unknown, text, todo);
        };
        let silent = view.now.millis_since(since);
        let passed = |bound: Duration| i128::from(silent) > bound.as_millis() as i128;
        let mut grade = grade(passed(options.warn), passed(options.crit));
        // One that is up may have said something since then that nobody keeps.
        if grade > Grade::Ok && self.has_secrets(view.now) {
            grade = Grade::Unknown;
        }
        let what = match (has_spoken, grade) {
            (true, Grade::Ok) => format!("its last message is {} old", age(silent)),
            (true, _) => format!("no messages since {since} ({} ago)", age(silent)),
            (false, _) => {
                format!("not one message since it began at {since} ({} ago)", age(silent))
            }
        };
        add(report, grade, format!("{what}; {}", self.state(life, view)), todo);
    }

    /// Since when nothing was said, and whether there ever was a message; nothing where that is not known.
    fn since(&self) -> Option<(Timestamp, bool)> {
        let said = self.streams.iter().filter_map(|(_, seen)| Some(seen.last.as_ref()?.at));
        if let Some(last) = said.max() {
            return Some((last, true));
        }
        let is_new = |seen: &Seen| seen.end().is_none_or(|(_, last)| last == 0);
        let spoke_before = |seen: &Seen| seen.epochs().iter().any(|range| range.last > 0);
        if !self.streams.iter().all(|(_, seen)| is_new(seen) && !spoke_before(seen)) {
            return None;
        }
        // The name of an epoch says when it began.
        let began = self.streams.iter().filter_map(|(_, seen)| began(seen.end()?.0.uuid()));
        Some((began.max()?, false))
    }

    /// Whether a process of it is up, and nobody could say when that one spoke last.
    fn has_secrets(&self, now: Timestamp) -> bool {
        let mut streams = self.streams.iter();
        streams.any(|(stream, seen)| {
            let has_spoken = seen.end().is_some_and(|(_, last)| last > 0);
            let is_up = seen.life(stream.identity(), now) == Life::Up;
            has_spoken && seen.last.is_none() && is_up
        })
    }

    /// Why nobody could say when it spoke last.
    fn why_unknown(&self) -> &'static str {
        match self.streams.iter().any(|(_, seen)| seen.last_place().is_some()) {
            true => "who keeps its last message did not give it in time, or one that is good",
            false => "nobody who answers keeps what it says",
        }
    }

    /// That of the group: one that is up is enough.
    fn life(&self, now: Timestamp) -> Life {
        let lives = self.streams.iter().map(|(stream, seen)| seen.life(stream.identity(), now));
        let lives: Vec<Life> = lives.collect();
        let order = [Life::Up, Life::Down, Life::Ended];
        order.into_iter().find(|life| lives.contains(life)).unwrap_or(Life::Unknown)
    }

    /// Whether its publisher is there, in words.
    fn state(&self, life: Life, view: &View) -> String {
        let beats = self.streams.iter().filter_map(|(_, seen)| seen.newest());
        let newest = beats.max_by_key(|newest| newest.at);
        let ago = newest.map(|newest| age(view.now.millis_since(newest.at)));
        let Some(ago) = ago else {
            return match life {
                Life::Down => "its publisher is down, and left no heartbeat".into(),
                _ => "its publisher was never heard".into(),
            };
        };
        match life {
            Life::Up => format!("its publisher is up (heartbeat {ago} ago)"),
            Life::Ended => format!("its publisher ended cleanly {ago} ago"),
            Life::Down => format!("its publisher is down (last heartbeat {ago} ago)"),
            Life::Unknown => "its publisher was never heard".into(),
        }
    }
}

/// The time in a UUID of version 7.
fn began(epoch: uuid::Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = epoch.get_timestamp()?.to_unix();
    let millis = seconds.checked_mul(1_000)?.checked_add(u64::from(nanos) / 1_000_000)?;
    i64::try_from(millis).ok().map(Timestamp::from_millis)
}

fn ago(now: Timestamp, time: Duration) -> Timestamp {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}

fn of_topic(pattern: &Pattern, last: Last, options: &Options, view: &View, report: &mut Report) {
    let add = |report: &mut Report, grade, text: String, host| {
        let finding = report.add(Check::Silence, grade, pattern.as_str(), text);
        finding.on(host);
        if grade > Grade::Ok {
            finding.todo(
                "see whether whoever publishes it runs: `fedmsg policy explain` says who may",
            );
        }
    };
    let Last { said, is_sure, streams } = last;
    let Some(said) = said else {
        let crit = age(i64::try_from(options.crit.as_millis()).unwrap_or(i64::MAX));
        return match is_sure {
            true => {
                let text =
                    format!("no messages in the last {crit}, in {}", counted(streams, "stream"));
                add(report, Grade::Critical, text, None);
            }
            false => {
                let text =
                    format!("none was found, and not all of {streams} streams could be searched");
                add(report, Grade::Unknown, text, None);
            }
        };
    };
    let silent = view.now.millis_since(said.at);
    let passed = |bound: Duration| i128::from(silent) > bound.as_millis() as i128;
    let mut grade = grade(passed(options.warn), passed(options.crit));
    // There may be a newer one where nobody could look.
    if !is_sure && grade > Grade::Ok {
        grade = Grade::Unknown;
    }
    let stream = &said.position.stream;
    let text = format!("the last message is {} old ({}), of {stream}", age(silent), said.at);
    add(report, grade, text, Some(host_of(&view.config, stream.identity())));
}

/// Streams that should go on, and whose process is gone without a word.
fn down(options: &Options, view: &View, report: &mut Report) {
    let mut count = 0;
    for (stream, seen) in &view.streams {
        let identity = stream.identity();
        let is_expected =
            view.config.endpoints.contains_key(identity) && is_wanted(options, stream);
        if !is_expected || seen.life(identity, view.now) != Life::Down {
            continue;
        }
        count += 1;
        let last = seen
            .newest()
            .map(|newest| format!("last heartbeat {} ago", age(view.now.millis_since(newest.at))));
        let last = last.unwrap_or_else(|| "it left no heartbeat".into());
        let text = format!("its process is gone, and did not say that it ends: {last}");
        let finding = report.add(Check::Silence, Grade::Warning, stream, text);
        finding.on(Some(host_of(&view.config, identity))).todo(format!(
            "start it; if it does not come back, `fedmsg stream retire {stream}` on its host"
        ));
    }
    report.figure("silence_down", count, "");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;
    use crate::streams::Said;
    use crate::streams::hearing_samples::heard;
    use fedmsg::consumer::Position;
    use std::sync::Arc;

    const NOW: i64 = 10_000_000;

    fn view(streams: Vec<(&str, Seen)>) -> View {
        let config =
            config(&[("bus.toml", "[endpoints.\"app.one\"]\npublish = \"tcp://web01:1\"\n")]);
        let streams = streams.into_iter();
        let streams =
            streams.map(|(name, seen)| (StreamName::parse(name).expect("a stream"), seen));
        View {
            config: Arc::new(config),
            now: Timestamp::from_millis(NOW),
            streams: streams.collect(),
            holders: BTreeMap::new(),
            unasked: Default::default(),
            waits: BTreeMap::new(),
        }
    }

    /// A stream that spoke so long ago, and whose heartbeat is so old.
    fn seen(name: &str, spoke: Option<i64>, beat: i64) -> Seen {
        let stream = StreamName::parse(name).expect("a stream");
        let beat = heard(1, u64::from(spoke.is_some()), NOW - beat, "relay.x", "mine");
        let last = spoke.map(|spoke| Said {
            position: Position { stream, epoch: beat.epoch, i: 1 },
            at: Timestamp::from_millis(NOW - spoke),
            topic: "org.example.dev.app.n".into(),
        });
        Seen { heard: Some(beat), last, ..Seen::default() }
    }

    fn found(options: &Options, view: &View) -> Vec<(Grade, String, String)> {
        let mut report = Report::new(Check::Silence);
        for (subject, group) in groups(options, view, &mut report) {
            group.judge(&subject, options, view, &mut report);
        }
        down(options, view, &mut report);
        let findings = report.findings.into_iter();
        findings.map(|one| (one.grade, one.subject, one.text)).collect()
    }

    #[test]
    fn who_is_up_and_says_nothing_is_told_from_who_is_down() {
        let options = Options::default();
        let up = view(vec![("app.one/0", seen("app.one/0", Some(7_200_000), 1_000))]);
        let all = found(&options, &up);
        assert_eq!((all.len(), all[0].0), (1, Grade::Warning), "{all:?}");
        assert!(all[0].2.contains("its publisher is up (heartbeat 1.0s ago)"), "{all:?}");
        let down = view(vec![("app.one/0", seen("app.one/0", Some(7_200_000), 3_600_000))]);
        let all = found(&options, &down);
        assert_eq!((all.len(), all[0].0, all[1].0), (2, Grade::Warning, Grade::Warning), "{all:?}");
        assert!(all[0].2.contains("its publisher is down"), "{all:?}");
        assert!(all[1].1 == "app.one/0" && all[1].2.contains("last heartbeat 60m ago"), "{all:?}");
        let silent = view(vec![("app.one/0", seen("app.one/0", None, 1_000))]);
        assert_eq!(found(&options, &silent)[0].0, Grade::Warning, "since its epoch began");
    }

    #[test]
    fn one_worker_or_one_host_that_speaks_is_enough_unless_each_has_to() {
        let two = || {
            view(vec![
                ("app.one/0", seen("app.one/0", Some(7_200_000), 1_000)),
                ("app.one/1", seen("app.one/1", Some(1_000), 1_000)),
                ("app.two/0", seen("app.two/0", Some(7_200_000), 1_000)),
            ])
        };
        let of = |by, what: &[&str]| {
            let what = what.iter().map(|text| Subject::parse(text).expect("a subject")).collect();
            let all = found(&Options { by, what, ..Options::default() }, &two());
            all.into_iter().map(|(grade, subject, _)| (subject, grade)).collect::<Vec<_>>()
        };
        let (ok, warning) = (Grade::Ok, Grade::Warning);
        assert_eq!(of(By::Service, &[]), [("app".into(), ok)]);
        assert_eq!(of(By::Identity, &[]), [("app.one".into(), ok), ("app.two".into(), warning)]);
        assert_eq!(
            of(By::Stream, &["app.one"]),
            [("app.one/0".into(), warning), ("app.one/1".into(), ok)]
        );
        assert_eq!(of(By::Identity, &["web"]), [("web".into(), Grade::Unknown)]);
        let mut secret = two();
        let stream = StreamName::parse("app.two/1").expect("a stream");
        let mut one = seen("app.two/1", Some(1), 1_000);
        one.last = None;
        secret.streams.insert(stream, one);
        let all = found(&Options::default(), &secret);
        assert_eq!((all[1].0, all[1].1.as_str()), (Grade::Unknown, "app.two"), "{all:?}");
    }
}
