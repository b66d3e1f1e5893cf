//! The sections of single settings: `[bus]`, `[publisher]`, `[subscribe]`, `[relay]`. `[journal]` and
//! `[consumer]` have files of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::document::{Entry, Node, Table, Value};
use super::endpoints::EndpointEntry;
use super::environment::Environment;
use super::problem::{Place, ProblemKind, Source, nearest};
use super::promises::{self, OnUnreachable};
use super::reader::{Field, Findings, Text, field};
use super::rules::identities;
use crate::identity::Identity;
use crate::limits;
use crate::record::Level;
use crate::topic::{Naming, Pattern};

/// All endpoint entries.
pub(super) type Endpoints = BTreeMap<Identity, EndpointEntry>;

/// `[publisher]`: how processes publish.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherSection {
    /// Who the process is, unless FEDMSG_IDENTITY says otherwise.
    pub identity: Option<Identity>,
    /// Relays for whoever has no endpoint entry, or finds no free slot, in order of preference.
    pub relays: Vec<Identity>,
    /// What a receipt promises, unless `levels` says otherwise.
    pub level: Level,
    /// What receipts of these identities and services promise.
    pub levels: BTreeMap<String, Level>,
    /// Who is to hold copies; where nobody is named, the archives, and where there are none, the relays.
    pub copies: Vec<Identity>,
    /// How long a receipt waits for copies, in milliseconds.
    pub copies_wait_ms: u64,
    /// What whoever publishes is told then.
    pub on_unreachable: OnUnreachable,
    /// Longest wait for slow subscribers in one message, in milliseconds; then it is sent without them. For level
    /// `memory` alone: at any other one nobody is waited for.
    pub slow_subscriber_wait_ms: u64,
    /// Smallest time between the signatures of trees that are not full, in microseconds.
    pub seal_interval_us: u64,
    /// Most messages that wait to be published.
    pub queue_messages: usize,
    /// Most bytes of messages that wait to be published.
    pub queue_bytes: usize,
    /// Most bytes of one stream that no relay has, for whoever publishes through relays.
    pub outbox_bytes: u64,
}

impl Default for PublisherSection {
    fn default() -> PublisherSection {
        PublisherSection {
            identity: None,
            relays: Vec::new(),
            level: Level::Local,
            levels: BTreeMap::new(),
            copies: Vec::new(),
            copies_wait_ms: limits::COPIES_WAIT_MS,
            on_unreachable: OnUnreachable::default(),
            slow_subscriber_wait_ms: limits::SLOW_SUBSCRIBER_WAIT_MS_MAX,
            seal_interval_us: limits::SEAL_INTERVAL_US,
            queue_messages: limits::QUEUE_MESSAGES,
            queue_bytes: limits::QUEUE_BYTES,
            outbox_bytes: limits::OUTBOX_BYTES,
        }
    }
}

/// `[subscribe]`: whom processes listen to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscribeSection {
    /// Patterns over identities; `>` is everybody.
    pub from: Vec<Pattern>,
}

impl Default for SubscribeSection {
    fn default() -> SubscribeSection {
        SubscribeSection { from: vec![everybody()] }
    }
}

impl SubscribeSection {
    /// Whether the endpoints of this identity are to be connected to.
    pub fn includes(&self, identity: &Identity) -> bool {
        self.from.iter().any(|pattern| pattern.matches(identity.as_str()))
    }
}

/// `[relay]`: settings of a relay process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelaySection {
    /// Which endpoint entry the relay is.
    pub identity: Option<Identity>,
    /// Relays that it follows: what they publish it stores, and publishes as far as it carries it.
    pub follow: Vec<Identity>,
    /// Most bytes of its log; beyond, the oldest messages are given up.
    pub keep_bytes: u64,
    /// How long its log keeps messages, in milliseconds.
    pub keep_ms: u64,
}

impl Default for RelaySection {
    fn default() -> RelaySection {
        let (keep_bytes, keep_ms) = (limits::RELAY_KEEP_BYTES, limits::RELAY_KEEP_MS);
        RelaySection { identity: None, follow: Vec::new(), keep_bytes, keep_ms }
    }
}

/// The sections that the environment and flags can set, with their keys.
pub(super) const SECTIONS: [(&str, &[&str]); 6] = [
    ("bus", &["topic_prefix", "environment", "state_dir"]),
    (
        "publisher",
        &[
            "identity",
            "relays",
            "level",
            "levels",
            "copies",
            "copies_wait_ms",
            "on_unreachable",
            "slow_subscriber_wait_ms",
            "seal_interval_us",
            "queue_messages",
            "queue_bytes",
            "outbox_bytes",
        ],
    ),
    (
        "journal",
        &["segment_bytes", "segment_ms", "keep_bytes", "keep_ms", "host_bytes", "hold_for"],
    ),
    ("subscribe", &["from"]),
    ("relay", &["identity", "follow", "keep_bytes", "keep_ms"]),
    ("consumer", &["store"]),
];

/// The table of a section, its unknown keys reported.
pub(super) fn section<'a>(
    root: &'a Table,
    name: &str,
    findings: &mut Findings,
) -> Option<&'a Table> {
    let table = field(root, "", name)?.table(findings)?;
    let known = SECTIONS.iter().find(|(section, _)| *section == name)?.1;
    findings.unknown_keys(table, name, known, false);
    Some(table)
}

/// Reads prefix and environment. Where they are wrong the default stands in, so that what comes after is
/// checked as well.
pub(super) fn naming(root: &Table, findings: &mut Findings) -> Naming {
    let default = Naming::default();
    let Some(table) = section(root, "bus", findings) else { return default };
    let mut part = |key, naming: &dyn Fn(&str) -> Result<Naming, _>| {
        let text = field(table, "bus", key)?.text(findings)?;
        findings.check(text.place, &text.key, naming(&text.text)).map(|_| text.text)
    };
    let prefix = part("topic_prefix", &|text| Naming::new(text, default.environment()));
    let environment = part("environment", &|text| Naming::new(default.prefix(), text));
    let prefix = prefix.as_deref().unwrap_or(default.prefix());
    let environment = environment.as_deref().unwrap_or(default.environment());
    Naming::new(prefix, environment).unwrap_or(default)
}

/// Where journals, locks and epochs are kept, and what said so.
pub(super) fn state_dir(
    root: &Table,
    environment: Environment<'_>,
    findings: &mut Findings,
) -> (PathBuf, Option<String>) {
    let table = field(root, "", "bus").and_then(|bus| match &bus.node.value {
        Value::Table(table) => Some(table),
        _ => None,
    });
    let configured = table.and_then(|table| field(table, "bus", "state_dir"));
    if let Some(text) = configured.and_then(|state_dir| state_dir.text(findings)) {
        let path = PathBuf::from(&text.text);
        if path.is_relative() {
            findings.problem(text.place, &text.key, ProblemKind::RelativePath(text.text));
        }
        return (path, None);
    }
    let variable = "FEDMSG_STATE_DIR";
    if let Some(text) = environment.get(variable) {
        let path = PathBuf::from(text);
        if path.is_relative() {
            let place = Place::whole(Source::Environment(variable.into()));
            findings.problem(&place, "", ProblemKind::RelativePath(text.into()));
        }
        return (path, Some(format!("environment {variable}")));
    }
    (default_state_dir(environment), None)
}

fn default_state_dir(environment: Environment<'_>) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/var/lib/fedmsg".into();
    }
    let home = || environment.path("HOME").map(|home| home.join(".local/state"));
    let state = environment.path("XDG_STATE_HOME").or_else(home);
    state.map_or_else(|| "/var/lib/fedmsg".into(), |state| state.join("fedmsg"))
}

/// Reads `[publisher]`.
pub(super) fn publisher(
    root: &Table,
    endpoints: &Endpoints,
    findings: &mut Findings,
) -> PublisherSection {
    let mut settings = PublisherSection::default();
    let Some(table) = section(root, "publisher", findings) else { return settings };
    let of = |key| field(table, "publisher", key);
    settings.identity = of("identity").and_then(|field| identity(&field, findings));
    let relays = of("relays").map(|relays| relays.texts(findings)).unwrap_or_default();
    let relays = relays.iter().filter_map(|text| relay_of(text, endpoints, findings));
    settings.relays = relays.collect();
    promises::read(table, endpoints, &mut settings, findings);
    let mut number = |key, min, max, default| {
        of(key).and_then(|field| field.integer(min, max, findings)).unwrap_or(default)
    };
    let wait_max = limits::SLOW_SUBSCRIBER_WAIT_MS_MAX;
    let wait = number("slow_subscriber_wait_ms", 0, wait_max, settings.slow_subscriber_wait_ms);
    let interval_max = limits::SEAL_INTERVAL_US_MAX;
    let interval = number("seal_interval_us", 0, interval_max, settings.seal_interval_us);
    let messages = number("queue_messages", 1, 1 << 30, settings.queue_messages as u64);
    let least = limits::ENVELOPE_BYTES_MAX as u64;
    let bytes = number("queue_bytes", least, 1 << 40, settings.queue_bytes as u64);
    let least = limits::OUTBOX_BYTES_MIN;
    settings.outbox_bytes = number("outbox_bytes", least, 1 << 50, settings.outbox_bytes);
    let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
    settings.slow_subscriber_wait_ms = wait;
    settings.seal_interval_us = interval;
    settings.queue_messages = size(messages);
    settings.queue_bytes = size(bytes);
    settings
}

/// Reads `[subscribe]`.
pub(super) fn subscribe(
    root: &Table,
    endpoints: &Endpoints,
    findings: &mut Findings,
) -> SubscribeSection {
    let table = section(root, "subscribe", findings);
    let Some(field) = table.and_then(|table| field(table, "subscribe", "from")) else {
        return SubscribeSection::default();
    };
    let texts = field.texts(findings);
    let from = texts.iter().filter_map(|text| match text.text.as_str() {
        // Identities have several tokens, but whoever writes a star alone means everybody.
        "*" => Some(everybody()),
        _ => {
            let pattern = identities(text, findings)?;
            if !endpoints.keys().any(|identity| pattern.matches(identity.as_str())) {
                let kind = ProblemKind::MatchesNoEndpoint(text.text.clone());
                findings.warning(text.place, &text.key, kind);
            }
            Some(pattern)
        }
    });
    SubscribeSection { from: from.collect() }
}

/// Reads `[relay]`.
pub(super) fn relay(root: &Table, endpoints: &Endpoints, findings: &mut Findings) -> RelaySection {
    let mut settings = RelaySection::default();
    let Some(table) = section(root, "relay", findings) else { return settings };
    let of = |key| field(table, "relay", key);
    let text = of("identity").and_then(|field| field.text(findings));
    settings.identity = text.and_then(|text| relay_of(&text, endpoints, findings));
    let follow = of("follow").map(|follow| follow.texts(findings)).unwrap_or_default();
    let follow = follow.iter().filter_map(|text| relay_of(text, endpoints, findings));
    settings.follow = follow.collect();
    let mut number = |key, min, max, default| {
        of(key).and_then(|field| field.integer(min, max, findings)).unwrap_or(default)
    };
    let (least, most) = (limits::JOURNAL_SEGMENT_BYTES_MIN, limits::JOURNAL_KEEP_BYTES_MAX);
    settings.keep_bytes = number("keep_bytes", least, most, settings.keep_bytes);
    let (least, most) = (limits::JOURNAL_SEGMENT_MS_MIN, limits::JOURNAL_KEEP_MS_MAX);
    settings.keep_ms = number("keep_ms", least, most, settings.keep_ms);
    settings
}

/// The identity of an endpoint entry that takes messages.
pub(super) fn relay_of(
    text: &Text<'_>,
    endpoints: &Endpoints,
    findings: &mut Findings,
) -> Option<Identity> {
    let identity = findings.check(text.place, &text.key, Identity::parse(&text.text))?;
    let name = text.text.clone();
    match endpoints.get(&identity) {
        Some(entry) if entry.submit.is_empty() => {
            findings.problem(text.place, &text.key, ProblemKind::NotARelay(name));
        }
        Some(_) => return Some(identity),
        None => {
            let did_you_mean = nearest(&name, endpoints.keys().map(Identity::as_str));
            let kind = ProblemKind::NoSuchEndpoint { name, did_you_mean };
            findings.problem(text.place, &text.key, kind);
        }
    }
    None
}

fn identity(field: &Field<'_>, findings: &mut Findings) -> Option<Identity> {
    let text = field.text(findings)?;
    findings.check(text.place, &text.key, Identity::parse(&text.text))
}

fn everybody() -> Pattern {
    Pattern::policy(">").expect("`>` is a pattern")
}

/// Puts one setting of the environment or a flag over what the files say.
pub(super) fn set(
    root: &mut Table,
    source: Source,
    section: &str,
    key: &str,
    value: &str,
    findings: &mut Findings,
) {
    let place = Place::whole(source);
    let path = format!("{section}.{key}");
    let sections = SECTIONS.iter().map(|(section, _)| *section);
    let Some((_, keys)) = SECTIONS.iter().find(|(known, _)| *known == section) else {
        let kind = match nearest(section, sections) {
            None => ProblemKind::NotHere(
                "[bus], [publisher], [journal], [subscribe], [relay] and [consumer]",
            ),
            did_you_mean => ProblemKind::UnknownKey { did_you_mean },
        };
        return match findings.strict || matches!(place.source, Source::Flag(_)) {
            true => findings.problem(&place, &path, kind),
            false => findings.warning(&place, &path, kind),
        };
    };
    if !keys.contains(&key) {
        let flag = matches!(place.source, Source::Flag(_));
        return findings.unknown_key(&place, &path, key, keys, flag);
    }
    let node = Node { value: Value::Raw(value.into()), place: place.clone() };
    let empty = || Node { value: Value::Table(Table::new()), place: place.clone() };
    let entry =
        root.entry(section.into()).or_insert_with(|| Entry { place: place.clone(), node: empty() });
    if let Value::Table(table) = &mut entry.node.value {
        table.insert(key.into(), Entry { place, node });
    }
}
