//! What still counts of a configuration that cannot be used as a whole: its denies and revocations.

use std::sync::Arc;

use super::Config;
use super::document::{Table, parse};
use super::files::{Folder, SourceText};
use super::reader::Findings;
use super::rules;
use super::trusted_keys::read_revoked;
use crate::policy::Rule;

impl Config {
    /// This configuration with the `[[deny]]` rules and `[[revoked]]` keys of every file that parses put on
    /// top; `None` when they are in force already. It only ever takes rights away.
    pub(super) fn tightened(&self, files: &Folder) -> Option<Config> {
        let mut trust = (*self.trust).clone();
        let mut revocations = self.revocations.clone();
        let mut changed = false;
        for table in files.settings.iter().chain(&files.policy).filter_map(table) {
            for rule in rules::read_denies(&table, &trust.naming) {
                if !trust.policy.rules().iter().any(|known| same(known, &rule)) {
                    trust.policy.add(rule);
                    changed = true;
                }
            }
        }
        for table in files.keys.iter().filter_map(table) {
            for revocation in read_revoked(&table, &mut Findings::default()) {
                let known = revocations.contains_key(&revocation.id);
                trust.keys.revoke(&revocation.id);
                revocations.entry(revocation.id).or_insert(revocation);
                changed |= !known;
            }
        }
        changed.then(|| {
            let mut config = Config { trust: Arc::new(trust), revocations, ..self.clone() };
            config.digest = config.compute_digest();
            config
        })
    }
}

fn table(file: &SourceText) -> Option<Table> {
    parse(&file.source, &file.text).ok()
}

/// Whether two rules say the same; where they stand does not matter.
fn same(a: &Rule, b: &Rule) -> bool {
    let says = |rule: &Rule| (rule.action, rule.subject.clone(), rule.except.clone());
    says(a) == says(b) && a.topics() == b.topics()
}
