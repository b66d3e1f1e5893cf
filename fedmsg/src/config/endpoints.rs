//! `[endpoints]`: where each identity publishes, answers and takes messages.

use std::collections::{BTreeMap, HashMap};

use super::document::{Entry, Table, Value, dotted};
use super::problem::{Place, ProblemKind};
use super::reader::{Field, Findings, Text, field};
use crate::endpoint::Endpoint;
use crate::identity::Identity;
use crate::limits::ENDPOINT_RANGE_MAX;
use crate::topic::{Naming, Pattern};

/// The addresses of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointEntry {
    /// Whose they are.
    pub identity: Identity,
    /// Where it publishes: one address for each slot.
    pub publish: Vec<Endpoint>,
    /// Where it answers replay requests, one address for each slot; may be empty.
    pub replay: Vec<Endpoint>,
    /// Where it takes messages of others; empty for all but relays.
    pub submit: Vec<Endpoint>,
    /// Topics of foreign streams that are accepted from it; empty for all but relays.
    pub carries: Vec<Pattern>,
    /// Whether it keeps the streams of everybody, whoever publishes them: a relay that follows all others.
    pub archive: bool,
    /// File and line, for people.
    pub origin: String,
}

impl EndpointEntry {
    /// All addresses, with the key that they stand under.
    fn addresses(&self) -> impl Iterator<Item = (&'static str, &Endpoint)> {
        let publish = self.publish.iter().map(|address| ("publish", address));
        let replay = self.replay.iter().map(|address| ("replay", address));
        let submit = self.submit.iter().map(|address| ("submit", address));
        publish.chain(replay).chain(submit)
    }

    /// One line that says everything but the origin, for the digest of a configuration.
    pub(super) fn digest_line(&self) -> String {
        let EndpointEntry { identity, publish, replay, submit, carries, archive, origin: _ } = self;
        format!(
            "{identity} publish {publish:?} replay {replay:?} submit {submit:?} carries {carries:?} archive {archive}"
        )
    }
}

const KEYS: [&str; 5] = ["publish", "replay", "submit", "carries", "archive"];

/// Reads the whole section.
pub(super) fn read(
    root: &Table,
    naming: &Naming,
    findings: &mut Findings,
) -> BTreeMap<Identity, EndpointEntry> {
    let section = field(root, "", "endpoints");
    let Some(table) = section.and_then(|section| section.table(findings)) else {
        return BTreeMap::new();
    };
    let mut entries = BTreeMap::new();
    let mut seen = Seen::default();
    for (name, Entry { place, node }) in table {
        let key = dotted("endpoints", name);
        let field = Field { key, node };
        let Some(identity) = read_name(name, place, &field, findings) else { continue };
        let entry = read_entry(identity, place, &field, naming, findings);
        for (purpose, address) in entry.addresses() {
            seen.add(address, place, &dotted(&field.key, purpose), findings);
        }
        entries.insert(entry.identity.clone(), entry);
    }
    entries
}

fn read_name(
    name: &str,
    place: &Place,
    field: &Field<'_>,
    findings: &mut Findings,
) -> Option<Identity> {
    // `bodhi.backend01 = …` without quotes is a table in a table.
    let nested = matches!(&field.node.value, Value::Table(table)
        if !table.is_empty() && !KEYS.iter().any(|key| table.contains_key(*key)));
    if nested && !name.contains('.') {
        findings.problem(place, &field.key, ProblemKind::Unquoted(name.into()));
        return None;
    }
    findings.check(place, &field.key, Identity::parse(name))
}

fn read_entry(
    identity: Identity,
    place: &Place,
    at: &Field<'_>,
    naming: &Naming,
    findings: &mut Findings,
) -> EndpointEntry {
    let origin = place.origin();
    let mut entry = EndpointEntry {
        identity,
        publish: Vec::new(),
        replay: Vec::new(),
        submit: Vec::new(),
        carries: Vec::new(),
        archive: false,
        origin,
    };
    if matches!(at.node.value, Value::List(_)) {
        entry.publish = addresses(Some(at.clone()), findings);
        return entry;
    }
    let Some(table) = at.table(findings) else { return entry };
    findings.unknown_keys(table, &at.key, &KEYS, false);
    let of = |key| field(table, &at.key, key);
    entry.publish = addresses(of("publish"), findings);
    entry.replay = addresses(of("replay"), findings);
    entry.submit = addresses(of("submit"), findings);
    let carries = of("carries").map(|carries| carries.one_or_more(findings)).unwrap_or_default();
    let patterns = carries.iter().filter_map(|text| topics(text, naming, findings));
    entry.carries = patterns.collect();
    if let Some(archive) = of("archive") {
        entry.archive = archive.boolean(findings).unwrap_or(false);
        let missing = [("replay", &entry.replay), ("submit", &entry.submit)];
        for (key, _) in
            missing.iter().filter(|(_, addresses)| entry.archive && addresses.is_empty())
        {
            archive.problem(ProblemKind::ArchiveWithout(key), findings);
        }
    }
    entry
}

fn topics(text: &Text<'_>, naming: &Naming, findings: &mut Findings) -> Option<Pattern> {
    // `{service}` has no meaning here: left in place, its braces are refused by name.
    let topics = naming.expand(&text.text).replace("{service}", "{service }");
    findings.check(text.place, &text.key, Pattern::policy(&topics))
}

fn addresses(field: Option<Field<'_>>, findings: &mut Findings) -> Vec<Endpoint> {
    let Some(field) = field else { return Vec::new() };
    let texts = field.one_or_more(findings);
    if matches!(&field.node.value, Value::List(list) if list.is_empty()) {
        field.problem(ProblemKind::Empty, findings);
    }
    let mut all = Vec::new();
    for text in texts {
        let range = findings.check(text.place, &text.key, Endpoint::parse_range(&text.text));
        let range = range.unwrap_or_default();
        if range.iter().any(|address| address.port() == Some(0)) {
            findings.problem(text.place, &text.key, ProblemKind::NoPort(text.text.clone()));
        }
        all.extend(range);
    }
    if all.len() > ENDPOINT_RANGE_MAX {
        field.problem(ProblemKind::TooManyAddresses(all.len()), findings);
        all.truncate(ENDPOINT_RANGE_MAX);
    }
    all
}

/// The addresses so far: one socket, one purpose.
#[derive(Default)]
struct Seen(HashMap<Endpoint, String>);

impl Seen {
    fn add(&mut self, address: &Endpoint, place: &Place, key: &str, findings: &mut Findings) {
        let here = format!("{key} ({})", place.origin());
        let Some(first) = self.0.insert(address.clone(), here) else { return };
        let address = address.to_string();
        findings.problem(place, key, ProblemKind::DuplicateAddress { address, first });
    }
}
