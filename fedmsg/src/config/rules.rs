//! `[[publish]]`, `[[read]]` and `[[deny]]`: the rules of the policy, in any file.

use super::document::{Table, Value};
use super::problem::ProblemKind;
use super::reader::{Field, Findings, Text, field};
use crate::policy::{Action, Rule, Subject};
use crate::topic::{Naming, Pattern, TopicError};

/// The keys of rules at the top of a file, and what they do.
pub(super) const ACTIONS: [(&str, Action); 3] =
    [("publish", Action::Publish), ("read", Action::Read), ("deny", Action::Deny)];

/// Reads all rules of a file or of all files.
pub(super) fn read(root: &Table, naming: &Naming, findings: &mut Findings) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (name, action) in ACTIONS {
        let Some(field) = field(root, "", name) else { continue };
        for (place, table) in field.tables(findings) {
            rules.extend(read_rule(action, &place, table, naming, findings));
        }
    }
    rules
}

/// The `[[deny]]` rules alone, as far as they can be understood.
pub(super) fn read_denies(root: &Table, naming: &Naming) -> Vec<Rule> {
    let denies = root.iter().filter(|(name, _)| *name == "deny");
    let denies: Table = denies.map(|(name, entry)| (name.clone(), entry.clone())).collect();
    read(&denies, naming, &mut Findings::default())
}

fn read_rule(
    action: Action,
    at: &Field<'_>,
    table: &Table,
    naming: &Naming,
    findings: &mut Findings,
) -> Option<Rule> {
    let known: &[&str] = match action {
        Action::Deny => &["service", "identity", "topics", "except"],
        Action::Publish | Action::Read => &["service", "identity", "topics"],
    };
    findings.unknown_keys(table, &at.key, known, true);
    let subject = read_subject(at, table, findings);
    let except = field(table, &at.key, "except").map(|list| list.texts(findings));
    let except = except.unwrap_or_default();
    let except: Vec<_> = except.iter().map(|text| identities(text, findings)).collect();
    let topics = read_topics(at, table, naming, findings);
    let mut rule = Rule::new(action, subject?, &topics?, naming, at.node.place.origin()).ok()?;
    // An exception that cannot be read must not make a deny weaker: it counts as nobody.
    rule.except = except.into_iter().flatten().map(Subject::Identity).collect();
    Some(rule)
}

fn read_subject(at: &Field<'_>, table: &Table, findings: &mut Findings) -> Option<Subject> {
    let service = field(table, &at.key, "service");
    let identity = field(table, &at.key, "identity");
    match (service, identity) {
        (Some(service), None) => {
            let text = service.text(findings)?;
            findings.check(text.place, &text.key, Subject::service(&text.text))
        }
        (None, Some(identity)) => {
            let text = identity.text(findings)?;
            identities(&text, findings).map(Subject::Identity)
        }
        _ => {
            at.problem(ProblemKind::OneSubject, findings);
            None
        }
    }
}

/// The good topics of a rule; the texts, because a rule expands them itself.
fn read_topics(
    at: &Field<'_>,
    table: &Table,
    naming: &Naming,
    findings: &mut Findings,
) -> Option<Vec<String>> {
    let Some(list) = field(table, &at.key, "topics") else {
        at.problem(ProblemKind::Missing("topics"), findings);
        return None;
    };
    let texts = list.texts(findings);
    if matches!(&list.node.value, Value::List(list) if list.is_empty()) {
        list.problem(ProblemKind::Empty, findings);
    }
    let good = |text: &Text<'_>| {
        let expanded = naming.expand(&text.text);
        let pattern = match expanded.starts_with('_') {
            true => Err(TopicError::Reserved { text: expanded }),
            false => Pattern::policy(&expanded),
        };
        findings.check(text.place, &text.key, pattern).map(|_| text.text.clone())
    };
    let topics: Vec<String> = texts.iter().filter_map(good).collect();
    (!topics.is_empty()).then_some(topics)
}

/// Reads a pattern over identities: `bodhi.*`, `relay.>`. One that no identity could match is refused.
pub(super) fn identities(text: &Text<'_>, findings: &mut Findings) -> Option<Pattern> {
    let pattern = findings.check(text.place, &text.key, Pattern::policy(&text.text))?;
    let tokens: Vec<&str> = text.text.split('.').collect();
    let why = match tokens.as_slice() {
        ["*"] => Some("an identity has two tokens or more; `>` is everybody"),
        [one] if *one != ">" => Some("an identity has two tokens or more: SERVICE.INSTANCE"),
        tokens => tokens.iter().find_map(|token| bad_token(token)),
    };
    let Some(why) = why else { return Some(pattern) };
    let pattern = text.text.clone();
    findings.problem(text.place, &text.key, ProblemKind::NoIdentity { pattern, why });
    None
}

fn bad_token(token: &str) -> Option<&'static str> {
    match token {
        "{service}" => Some("`{service}` stands for something in topics alone"),
        token if token.bytes().any(|c| c.is_ascii_uppercase()) => {
            Some("identities have no capital letters")
        }
        _ => None,
    }
}
