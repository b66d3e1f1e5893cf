//! From the texts of all files to the snapshot.

use std::path::PathBuf;
use std::sync::Arc;

use super::document::{Table, merge, parse};
use super::environment::Environment;
use super::files::{Folder, PRIVATE, SourceText};
use super::problem::{Place, ProblemKind, Source};
use super::profile::{self, Profile};
use super::reader::Findings;
use super::trusted_keys::KeyFiles;
use super::{
    Config, ConfigError, LoadOptions, consumer_section, endpoints, journal_section, origins, rules,
    settings,
};
use crate::identity::Identity;
use crate::keys::TrustedKey;
use crate::policy::Policy;
use crate::trust::Trust;

/// The keys at the top of a file.
const TOP: [&str; 10] = [
    "bus",
    "endpoints",
    "publisher",
    "journal",
    "subscribe",
    "relay",
    "consumer",
    "publish",
    "read",
    "deny",
];
/// The keys at the top of a file of policy.d.
const POLICY_TOP: [&str; 3] = ["publish", "read", "deny"];

/// What a snapshot is made of, apart from the options.
struct Sources {
    folder: Option<PathBuf>,
    private_dir: PathBuf,
    files: Folder,
    /// The keys of the profile.
    keys: Vec<TrustedKey>,
}

/// The snapshot of a configuration folder.
pub(super) fn build(
    options: &LoadOptions,
    path: PathBuf,
    files: Folder,
) -> Result<Config, ConfigError> {
    let private_dir = path.join(PRIVATE);
    assemble(options, Sources { folder: Some(path), private_dir, files, keys: Vec::new() })
}

/// The snapshot that is in force without any files.
pub(super) fn zero_configuration(options: &LoadOptions) -> Result<Config, ConfigError> {
    let environment = Environment(&options.environment);
    let mut findings = Findings { strict: options.strict, ..Findings::default() };
    let mut root = Table::new();
    overlay(&mut root, options, &mut findings);
    let (state_dir, _) = settings::state_dir(&root, environment, &mut findings);
    if !findings.problems.is_empty() {
        return Err(ConfigError::new(findings.problems));
    }
    let prepared = profile::prepare(&state_dir, environment);
    let Profile { settings, keys, private_dir } = prepared.map_err(|error| {
        let place = Place::whole(Source::ZeroConfiguration);
        ConfigError::one(place, "", ProblemKind::Profile(error.to_string()))
    })?;
    let files = Folder { settings: vec![settings], ..Folder::default() };
    let mut config = assemble(options, Sources { folder: None, private_dir, files, keys })?;
    // What was read is an empty folder: that is what another reading is compared with.
    config.fingerprint = Folder::default().fingerprint();
    Ok(config)
}

fn assemble(options: &LoadOptions, sources: Sources) -> Result<Config, ConfigError> {
    let Sources { folder, private_dir, files, keys } = sources;
    let environment = Environment(&options.environment);
    let fingerprint = files.fingerprint();
    let mut findings = Findings { strict: options.strict, ..Findings::default() };
    findings.problems.extend(files.problems.iter().cloned());
    note_emptiness(&folder, &files, &mut findings);

    let mut root = merge_files(&files, &mut findings);
    overlay(&mut root, options, &mut findings);
    findings.unknown_keys(&root, "", &TOP, false);

    let naming = settings::naming(&root, &mut findings);
    let (state_dir, state_origin) = settings::state_dir(&root, environment, &mut findings);
    let endpoints = endpoints::read(&root, &naming, &mut findings);
    let publisher = settings::publisher(&root, &endpoints, &mut findings);
    let journal = journal_section::journal(&root, &mut findings);
    let subscribe = settings::subscribe(&root, &endpoints, &mut findings);
    let relay = settings::relay(&root, &endpoints, &mut findings);
    let consumer = consumer_section::consumer(&root, &mut findings);
    let policy = Policy::new(rules::read(&root, &naming, &mut findings));
    let (keys, revocations) = read_keys(&files.keys, keys, &mut findings).finish();
    let process_identity = process_identity(environment, &mut findings);
    if !findings.problems.is_empty() {
        return Err(ConfigError::new(findings.problems));
    }
    let trust = Arc::new(Trust { naming, keys, policy });
    let origins =
        origins::list(&root, &trust, &publisher, &journal, &relay, &state_dir, state_origin);
    let mut config = Config {
        folder,
        trust,
        endpoints,
        publisher,
        journal,
        subscribe,
        relay,
        consumer,
        state_dir,
        private_dir,
        revocations,
        digest: String::new(),
        warnings: findings.warnings,
        origins,
        process_identity,
        credentials_dir: environment.path("CREDENTIALS_DIRECTORY"),
        fingerprint,
    };
    config.digest = config.compute_digest();
    Ok(config)
}

fn note_emptiness(folder: &Option<PathBuf>, files: &Folder, findings: &mut Findings) {
    if let Some(path) = folder
        && files.is_empty()
    {
        let place = Place::whole(Source::File(path.as_path().into()));
        findings.warning(&place, "", ProblemKind::NothingThere);
    }
}

/// One tree of all settings and rules, the later file over the earlier one.
fn merge_files(files: &Folder, findings: &mut Findings) -> Table {
    let mut root = Table::new();
    for file in &files.settings {
        merge_file(&mut root, file, findings, |_, _| {});
    }
    for file in &files.policy {
        merge_file(&mut root, file, findings, |table, findings| {
            findings.unknown_keys(table, "", &POLICY_TOP, true);
            table.retain(|key, _| POLICY_TOP.contains(&key.as_str()));
        });
    }
    root
}

fn merge_file(
    root: &mut Table,
    file: &SourceText,
    findings: &mut Findings,
    check: impl Fn(&mut Table, &mut Findings),
) {
    let mut table = match parse(&file.source, &file.text) {
        Ok(table) => table,
        Err(problems) => return findings.problems.extend(problems),
    };
    check(&mut table, findings);
    // Something else under the name of rules would replace the rules of earlier files: it is taken out here.
    for key in POLICY_TOP {
        let Some(entry) = table.get(key) else { continue };
        let value = &entry.node.value;
        if !value.is_tables() {
            let (expected, found) = ("an array of tables, [[…]],", value.type_name());
            findings.problem(&entry.place, key, ProblemKind::WrongType { expected, found });
            table.remove(key);
        }
    }
    merge(root, table);
}

/// Puts the environment and then the flags over the files.
fn overlay(root: &mut Table, options: &LoadOptions, findings: &mut Findings) {
    for (name, section, key, value) in Environment(&options.environment).settings() {
        let source = Source::Environment(name.into());
        settings::set(root, source, &section, &key, value, findings);
    }
    for (path, value) in &options.overrides {
        let (section, key) = path.split_once('.').unwrap_or((path, ""));
        let source = Source::Flag(path.as_str().into());
        settings::set(root, source, section, key, value, findings);
    }
}

fn read_keys(files: &[SourceText], keys: Vec<TrustedKey>, findings: &mut Findings) -> KeyFiles {
    let mut all = KeyFiles::default();
    for key in keys {
        let place = Place::whole(Source::ZeroConfiguration);
        findings.check(&place, "", all.ring.add(key));
    }
    for file in files {
        match parse(&file.source, &file.text) {
            Ok(table) => all.read(&file.source, &table, findings),
            Err(problems) => findings.problems.extend(problems),
        }
    }
    all
}

fn process_identity(environment: Environment<'_>, findings: &mut Findings) -> Option<Identity> {
    let variable = "FEDMSG_IDENTITY";
    let text = environment.get(variable)?;
    let place = Place::whole(Source::Environment(variable.into()));
    findings.check(&place, "", Identity::parse(text))
}
