//! `keys.d/<identity>.toml`: who holds which public key, and which ones are void.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use uuid::Uuid;

use super::document::{Table, Value};
use super::problem::{Place, ProblemKind, Source};
use super::reader::{Field, Findings, Text, field};
use crate::identity::{Identity, StreamName};
use crate::keys::{KeyError, KeyId, KeyRing, PublicKey, TrustedKey};
use crate::limits::NUMBER_MAX;
use crate::timestamp::Timestamp;

/// Why and since when a key is void.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revocation {
    /// The key.
    pub id: KeyId,
    /// When it was revoked.
    pub at: Option<Timestamp>,
    /// Why, for people.
    pub reason: Option<String>,
    /// The last messages of its streams that are still good, with everything before them.
    pub last_good: Vec<LastGood>,
}

/// The last good message of a stream of a revoked key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastGood {
    /// The stream.
    pub stream: StreamName,
    /// Its epoch.
    pub epoch: Uuid,
    /// The message's number.
    pub i: u64,
    /// The message's leaf.
    pub leaf: [u8; 32],
}

/// All key files.
#[derive(Debug, Default)]
pub(super) struct KeyFiles {
    pub ring: KeyRing,
    pub revocations: BTreeMap<KeyId, Revocation>,
}

impl KeyFiles {
    /// Takes in one file.
    pub fn read(&mut self, source: &Source, table: &Table, findings: &mut Findings) {
        let whole = Place::whole(source.clone());
        findings.unknown_keys(table, "", &["identity", "key", "revoked"], true);
        if let Some(identity) = read_identity(&whole, table, findings) {
            let keys = field(table, "", "key").map(|keys| keys.tables(findings));
            let mut seen = Vec::new();
            for (at, table) in keys.unwrap_or_default() {
                let Some(key) = read_key(&at, table, &identity, findings) else { continue };
                if seen.contains(&key.public.id()) {
                    at.problem(ProblemKind::KeyTwice(key.public.id().to_string()), findings);
                }
                seen.push(key.public.id());
                let added = self.ring.add(key);
                findings.check(&at.node.place, &at.key, added);
            }
        }
        for revocation in read_revoked(table, findings) {
            self.revocations.insert(revocation.id, revocation);
        }
    }

    /// The keys, with the revocations in force.
    pub fn finish(mut self) -> (KeyRing, BTreeMap<KeyId, Revocation>) {
        for id in self.revocations.keys() {
            self.ring.revoke(id);
        }
        (self.ring, self.revocations)
    }
}

/// The `[[revoked]]` keys of a file, as far as they can be understood: an id is enough.
pub(super) fn read_revoked(table: &Table, findings: &mut Findings) -> Vec<Revocation> {
    let revoked = field(table, "", "revoked").map(|revoked| revoked.tables(findings));
    let tables = revoked.unwrap_or_default();
    tables.iter().filter_map(|(at, table)| read_revocation(at, table, findings)).collect()
}

fn read_identity(whole: &Place, table: &Table, findings: &mut Findings) -> Option<Identity> {
    let Some(field) = field(table, "", "identity") else {
        findings.problem(whole, "", ProblemKind::Missing("identity"));
        return None;
    };
    let text = field.text(findings)?;
    let identity = findings.check(text.place, &text.key, Identity::parse(&text.text))?;
    let name = match &whole.source {
        Source::File(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
        _ => "",
    };
    // The name is the identity, so one identity is in one file.
    if name != format!("{identity}.toml") {
        field.problem(ProblemKind::FileName { identity: identity.to_string() }, findings);
        return None;
    }
    Some(identity)
}

fn read_key(
    at: &Field<'_>,
    table: &Table,
    identity: &Identity,
    findings: &mut Findings,
) -> Option<TrustedKey> {
    findings.unknown_keys(table, &at.key, &["id", "ed25519", "not_before", "not_after"], true);
    let Some(text) = field(table, &at.key, "ed25519") else {
        at.problem(ProblemKind::Missing("ed25519"), findings);
        return None;
    };
    let text = text.text(findings)?;
    let public = findings.check(text.place, &text.key, PublicKey::parse(&text.text))?;
    if let Some(written) = read_id(at, table, findings)
        && written != public.id()
    {
        let real = public.id();
        at.problem(ProblemKind::Key(KeyError::WrongId { written, real }), findings);
        return None;
    }
    let mut key = TrustedKey::new(public, identity.clone());
    key.not_before = read_time(at, table, "not_before", findings)?;
    key.not_after = read_time(at, table, "not_after", findings)?;
    if matches!((key.not_before, key.not_after), (Some(from), Some(to)) if to < from) {
        at.problem(ProblemKind::NeverValid, findings);
    }
    Some(key)
}

fn read_id(at: &Field<'_>, table: &Table, findings: &mut Findings) -> Option<KeyId> {
    let text = field(table, &at.key, "id")?.text(findings)?;
    findings.check(text.place, &text.key, KeyId::parse(&text.text))
}

/// `Some(None)` when the time is not there; `None` when it is wrong.
fn read_time(
    at: &Field<'_>,
    table: &Table,
    key: &str,
    findings: &mut Findings,
) -> Option<Option<Timestamp>> {
    let Some(field) = field(table, &at.key, key) else { return Some(None) };
    let time = match &field.node.value {
        Value::Time(time) => timestamp(time),
        _ => None,
    };
    if time.is_none() {
        field.problem(ProblemKind::BadTime, findings);
    }
    time.map(Some)
}

fn timestamp(time: &toml::value::Datetime) -> Option<Timestamp> {
    let (date, of_day, offset) = (time.date?, time.time?, time.offset?);
    let minutes = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let seconds = i64::from(of_day.second.unwrap_or(0))
        + 60 * (i64::from(of_day.minute) + 60 * i64::from(of_day.hour) - minutes);
    let millis = seconds * 1000 + i64::from(of_day.nanosecond.unwrap_or(0) / 1_000_000);
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    Some(Timestamp::from_date(year, month, day, millis))
}

fn read_revocation(at: &Field<'_>, table: &Table, findings: &mut Findings) -> Option<Revocation> {
    findings.unknown_keys(table, &at.key, &["id", "at", "reason", "last_good"], true);
    if !table.contains_key("id") {
        at.problem(ProblemKind::Missing("id"), findings);
    }
    let id = read_id(at, table, findings)?;
    let reason = field(table, &at.key, "reason").and_then(|reason| reason.text(findings));
    let time = read_time(at, table, "at", findings).flatten();
    let last_good = field(table, &at.key, "last_good");
    // An empty list of good messages is fine, and no array of tables.
    let last_good = last_good.map(|list| list.tables(findings)).unwrap_or_default();
    let last_good =
        last_good.iter().filter_map(|(at, table)| read_last_good(at, table, findings)).collect();
    Some(Revocation { id, at: time, reason: reason.map(|reason| reason.text), last_good })
}

fn read_last_good(at: &Field<'_>, table: &Table, findings: &mut Findings) -> Option<LastGood> {
    findings.unknown_keys(table, &at.key, &["stream", "epoch", "i", "leaf"], true);
    let mut required = |key: &'static str| {
        let found = field(table, &at.key, key);
        if found.is_none() {
            at.problem(ProblemKind::Missing(key), findings);
        }
        found
    };
    let (stream, epoch) = (required("stream"), required("epoch"));
    let (i, leaf) = (required("i"), required("leaf"));
    let stream = stream?.text(findings)?;
    let stream = findings.check(stream.place, &stream.key, StreamName::parse(&stream.text));
    let epoch = epoch?.text(findings)?;
    let epoch = position(&epoch, "a UUID", Uuid::try_parse(&epoch.text).ok(), findings);
    let i = i?.integer(0, NUMBER_MAX, findings);
    let leaf = leaf?.text(findings)?;
    let bytes = BASE64URL_NOPAD.decode(leaf.text.as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    let leaf = position(&leaf, "a leaf: 43 characters of base64url", bytes, findings);
    Some(LastGood { stream: stream?, epoch: epoch?, i: i?, leaf: leaf? })
}

fn position<T>(
    text: &Text<'_>,
    expected: &'static str,
    read: Option<T>,
    findings: &mut Findings,
) -> Option<T> {
    let bad = || ProblemKind::BadPosition(text.text.clone(), expected);
    findings.check(text.place, &text.key, read.ok_or_else(bad))
}
