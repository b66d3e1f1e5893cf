//! What receipts promise: the keys of `[publisher]` about levels and copies.

use super::document::{Table, dotted};
use super::problem::{ProblemKind, Source};
use super::reader::{Field, Findings, field};
use super::settings::{Endpoints, PublisherSection, relay_of};
use crate::identity::Identity;
use crate::limits;
use crate::record::Level;

/// What whoever publishes is told when there are fewer copies than he was promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnreachable {
    /// An error, which says what was reached.
    #[default]
    Fail,
    /// A receipt, which says what was reached.
    Local,
}

impl OnUnreachable {
    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            OnUnreachable::Fail => "fail",
            OnUnreachable::Local => "local",
        }
    }
}

impl PublisherSection {
    /// What receipts of an identity promise: what `levels` says of it, else of its service, else `level`.
    pub fn level_of(&self, identity: &Identity) -> Level {
        let of = |name: &str| self.levels.get(name).copied();
        of(identity.as_str()).or_else(|| of(identity.service())).unwrap_or(self.level)
    }
}

/// Reads these keys.
pub(super) fn read(
    table: &Table,
    endpoints: &Endpoints,
    settings: &mut PublisherSection,
    findings: &mut Findings,
) {
    let of = |key| field(table, "publisher", key);
    let general = of("level");
    // Whoever says it for one process alone means that process, whatever files say of its service.
    let is_of_process = general.as_ref().is_some_and(|field| {
        matches!(field.node.place.source, Source::Environment(_) | Source::Flag(_))
    });
    settings.level = general.and_then(|field| level(&field, findings)).unwrap_or(settings.level);
    if let Some(levels) = of("levels").and_then(|levels| levels.table(findings)) {
        for (name, entry) in levels {
            let field = Field { key: dotted("publisher.levels", name), node: &entry.node };
            if !is_service(name) && Identity::parse(name).is_err() {
                findings.problem(&entry.place, &field.key, ProblemKind::NobodysLevel(name.clone()));
            }
            let read = level(&field, findings).filter(|_| !is_of_process);
            settings.levels.extend(read.map(|level| (name.clone(), level)));
        }
    }
    let copies = of("copies").map(|copies| copies.texts(findings)).unwrap_or_default();
    let copies = copies.iter().filter_map(|text| relay_of(text, endpoints, findings));
    settings.copies = copies.collect();
    let (least, most) = (limits::COPIES_WAIT_MS_MIN, limits::COPIES_WAIT_MS_MAX);
    let wait = of("copies_wait_ms").and_then(|field| field.integer(least, most, findings));
    settings.copies_wait_ms = wait.unwrap_or(settings.copies_wait_ms);
    let choice = of("on_unreachable").and_then(|field| on_unreachable(&field, findings));
    settings.on_unreachable = choice.unwrap_or_default();
}

fn is_service(name: &str) -> bool {
    !name.contains('.') && Identity::parse(&format!("{name}.x")).is_ok()
}

fn level(field: &Field<'_>, findings: &mut Findings) -> Option<Level> {
    let text = field.text(findings)?;
    let read = Level::parse(&text.text).ok_or(ProblemKind::NoLevel(text.text));
    findings.check(text.place, &text.key, read)
}

fn on_unreachable(field: &Field<'_>, findings: &mut Findings) -> Option<OnUnreachable> {
    let text = field.text(findings)?;
    let choices = [OnUnreachable::Fail, OnUnreachable::Local];
    let read = choices.into_iter().find(|choice| choice.as_str() == text.text);
    findings.check(text.place, &text.key, read.ok_or(ProblemKind::NoChoice(text.text)))
}
