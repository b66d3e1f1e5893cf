//! Who does not answer. What he keeps was not looked at, so nobody takes the rest for everything.

use std::collections::{BTreeMap, BTreeSet};

use fedmsg::Identity;

use super::finding::{Check, Grade, Report};
use super::subject::host_of;
use crate::config::counted;
use crate::streams::{Life, View};

/// An identity as far as it can be reached.
struct Reached {
    answers: bool,
    is_heard: bool,
    /// Its streams have ended cleanly.
    has_ended: bool,
    /// It has an address to be asked at.
    is_asked: bool,
}

/// Says who cannot be reached: hosts of which nobody answers, and services of others; and what there was no time for.
pub(super) fn check(view: &View, check: Check, report: &mut Report) {
    if let Some(stream) = view.unasked.first() {
        let streams = counted(view.unasked.len(), "stream");
        let text = format!("not everybody answered in time about {streams}, such as {stream}");
        let finding = report.add(check, Grade::Unknown, "holders", text);
        finding.todo("give it more time with --timeout");
    }
    let mut hosts = BTreeMap::<String, BTreeMap<Identity, Reached>>::new();
    for entry in view.config.endpoints.values() {
        let identity = &entry.identity;
        if !view.config.subscribe.includes(identity) {
            continue;
        }
        let reached = reached(view, identity);
        hosts.entry(host_of(&view.config, identity)).or_default().insert(identity.clone(), reached);
    }
    // For the check of the configuration this is what it is about; for others it is what they could not see.
    let is_own = matches!(check, Check::Config | Check::All);
    let check = if is_own { Check::Config } else { check };
    let grade = |grade: Grade| if is_own { grade } else { Grade::Unknown };
    for (host, identities) in &hosts {
        let is_gone = |one: &&Reached| !one.answers && !one.is_heard && !one.has_ended;
        let gone = identities.values().filter(is_gone).count();
        if gone == identities.len() {
            let names: BTreeSet<&str> = identities.keys().map(Identity::as_str).collect();
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            let text = format!("nobody answers there, and nothing is heard: {names}");
            let finding = report.add(check, grade(Grade::Critical), format!("host {host}"), text);
            finding.on(Some(host.clone())).todo(
                "see whether the host, its network and its services run; what is gone for good is taken out of [endpoints]",
            );
            continue;
        }
        for (identity, one) in identities {
            let text = match one {
                _ if one.has_ended || (one.answers && one.is_heard) => continue,
                Reached { is_asked: false, is_heard: true, .. } => continue,
                Reached { answers: true, .. } => continue,
                Reached { is_heard: true, .. } => "is heard, and does not answer at `replay`",
                Reached { is_asked: true, .. } => "does not answer, and nothing is heard from it",
                Reached { .. } => "nothing is heard from it",
            };
            let finding = report.add(check, grade(Grade::Warning), identity, text);
            finding.on(Some(host.clone())).todo(
                "start it; if it has gone for good, take it out of [endpoints], because readers wait for who could have a message",
            );
        }
    }
}

fn reached(view: &View, identity: &Identity) -> Reached {
    let entry = view.config.endpoints.get(identity);
    let replay = entry.map(|entry| &entry.replay[..]).unwrap_or_default();
    let answers = replay.iter().any(|address| view.holders.get(address) == Some(&true));
    let own = view.streams.iter().filter(|(stream, _)| stream.identity() == identity);
    let lives: Vec<Life> = own.map(|(_, seen)| seen.life(identity, view.now)).collect();
    let is_ended = |life: &Life| *life == Life::Ended;
    Reached {
        answers,
        is_heard: lives.contains(&Life::Up),
        has_ended: !lives.is_empty() && lives.iter().all(is_ended),
        is_asked: !replay.is_empty(),
    }
}
