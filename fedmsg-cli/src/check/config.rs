//! `fedmsg check config`: the files, the keys, and who sees other files.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use fedmsg::config::{Config, ConfigError};
use fedmsg::keys::TrustedKey;
use fedmsg::timestamp::Timestamp;
use fedmsg::{Identity, StreamName};
use fedmsg_tool::{CommonOptions, duration};

use super::finding::{Check, Grade, Report};
use super::subject::host_of;
use super::thresholds::grade;
use crate::streams::{Life, View, age};

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg check config
  fedmsg check config --warn 60d --crit 14d     keys that expire
  fedmsg --config-dir ./new check config        a folder that is not in force yet

The files have to load (`fedmsg config check` says more); the last key of each identity must not expire soon; publishers
that are up have to see the same keys, rules and endpoints as this host, which the digest in their heartbeats shows; and
everybody of [endpoints] has to answer, or to be heard, unless he ended cleanly.";

#[derive(Args)]
pub(super) struct Options {
    /// A last key that expires within this time is a warning
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration::parse)]
    warn: Duration,

    /// A last key that expires within this time is critical
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration::parse)]
    crit: Duration,
}

impl Default for Options {
    fn default() -> Options {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Options { warn: days(30), crit: days(7) }
    }
}

/// Whether the files can be used; what is wrong with them is said.
pub(super) fn loads(common: &CommonOptions, report: &mut Report) -> bool {
    let mut strict = common.load_options();
    strict.strict = true;
    let Err(error) = Config::load(&strict) else { return true };
    // What only a strict reading refuses is in force.
    let (grade, todo) = match Config::load(&common.load_options()) {
        Ok(_) => (Grade::Warning, "correct it, or remove it"),
        Err(_) => (
            Grade::Critical,
            "correct it: programs go on with the last good files, and do not start anew",
        ),
    };
    problems(&error, grade, todo, report);
    grade == Grade::Warning
}

fn problems(error: &ConfigError, grade: Grade, todo: &str, report: &mut Report) {
    for problem in error.problems() {
        report.add(Check::Config, grade, "configuration", problem.to_string()).todo(todo);
    }
}

pub(super) fn check(options: &Options, view: &View, report: &mut Report) {
    let config = &view.config;
    for warning in &config.warnings {
        report
            .add(Check::Config, Grade::Warning, "configuration", warning.to_string())
            .todo("see whether that is meant");
    }
    expiring(options, config, view.now, report);
    let differing = differing(view);
    for (identity, seen) in &differing {
        let text = format!(
            "sees another configuration than this host: {} in its heartbeat of {} ago, here it is {}",
            seen.digest,
            age(view.now.millis_since(seen.at)),
            config.digest
        );
        let finding = report.add(Check::Config, Grade::Warning, identity, text);
        finding.on(Some(host_of(config, identity))).todo(
            "see whether the files reached that host, or this one, and `fedmsg config check` there; a change takes a while to be everywhere",
        );
    }
    let text = format!("the files load, digest {}", config.digest);
    report.add(Check::Config, Grade::Ok, "configuration", text);
    report.figure("config_differing", differing.len() as u64, "");
}

/// Another configuration, as a publisher sees it.
struct Other {
    digest: String,
    at: Timestamp,
}

/// Those who are up and see something else; of each the newest heartbeat.
fn differing(view: &View) -> BTreeMap<&Identity, Other> {
    let mut others = BTreeMap::<&Identity, Other>::new();
    let is_up = |stream: &StreamName, seen: &crate::streams::Seen| {
        seen.life(stream.identity(), view.now) == Life::Up
    };
    for (stream, seen) in view.streams.iter().filter(|(stream, seen)| is_up(stream, seen)) {
        let Some(newest) = seen.newest().filter(|newest| newest.beat.config != view.config.digest)
        else {
            continue;
        };
        let other = Other { digest: newest.beat.config.clone(), at: newest.at };
        let known = others.get(stream.identity());
        if known.is_none_or(|known| known.at < other.at) {
            others.insert(stream.identity(), other);
        }
    }
    others
}

/// Identities whose last key has expired, or does so soon.
fn expiring(options: &Options, config: &Config, now: Timestamp, report: &mut Report) {
    let mut last = BTreeMap::<&Identity, &TrustedKey>::new();
    for key in config.trust.keys.iter().filter(|key| !key.revoked) {
        let is_later = |known: &&TrustedKey| match (known.not_after, key.not_after) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(known), Some(end)) => end > known,
        };
        if last.get(&key.identity).is_none_or(is_later) {
            last.insert(&key.identity, key);
        }
    }
    for (identity, key) in last {
        let Some(end) = key.not_after else { continue };
        let left = end.millis_since(now);
        let within = |time: Duration| i128::from(left) <= time.as_millis() as i128;
        let grade = grade(within(options.warn), within(options.crit));
        if grade == Grade::Ok {
            continue;
        }
        let id = key.public.id();
        let text = match left < 0 {
            true => format!(
                "its last key {id} expired at {end}: what it publishes since then is refused"
            ),
            false => format!("its last key {id} expires at {end}, in {}", age(left)),
        };
        let finding = report.add(Check::Config, grade, identity, text);
        finding.on(Some(host_of(config, identity))).todo(format!(
            "`fedmsg keys new {identity}` makes another one; give it to every host before this one ends"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedmsg::keys::SecretKey;

    fn config_with(keys: &[(u8, Option<&str>)]) -> Config {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("keys.d")).expect("made");
        let mut text = "identity = \"app.one\"\n".to_owned();
        for (seed, not_after) in keys {
            let key = SecretKey::from_seed(&[*seed; 32]).expect("a key");
            text += &format!("[[key]]\ned25519 = {:?}\n", key.public().to_text());
            text += &not_after.map(|end| format!("not_after = {end}\n")).unwrap_or_default();
        }
        std::fs::write(folder.path().join("keys.d/app.one.toml"), text).expect("written");
        let load = fedmsg::config::LoadOptions {
            folder: Some(folder.path().into()),
            ..Default::default()
        };
        Config::load(&load).expect("a configuration")
    }

    #[test]
    fn the_last_key_of_an_identity_counts() {
        let day = 86_400_000;
        let june = Timestamp::from_millis(1_780_272_000_000);
        let end = Some("2026-06-01T00:00:00Z");
        let later = Some("2027-06-01T00:00:00Z");
        for (keys, before, grade) in [
            (&[(1, end)][..], 40 * day, None),
            (&[(1, end)], 20 * day, Some(Grade::Warning)),
            (&[(1, end)], 3 * day, Some(Grade::Critical)),
            (&[(1, end)], -day, Some(Grade::Critical)),
            (&[(1, end), (2, later)], 3 * day, None),
            (&[(2, None), (1, end)], -day, None),
            (&[(2, None)], 0, None),
        ] {
            let now = Timestamp::from_millis(june.as_millis() - before);
            let mut report = Report::new(Check::Config);
            expiring(&Options::default(), &config_with(keys), now, &mut report);
            let found: Vec<Grade> = report.findings.iter().map(|one| one.grade).collect();
            assert_eq!(found, grade.into_iter().collect::<Vec<_>>(), "{keys:?} {before}");
        }
    }
}
