//! Configuration: the drop-in files of one folder, the environment and flags, read into one immutable
//! snapshot.
//!
//! [`Config::load`] reads everything once and reports every error with file, line, column and key.
//! [`Watch`] follows the files while a process runs. The files themselves are described in
//! `docs/configuration.md`.
//!
//! The layout, in the order in which a setting travels: `environment` and `files` read, `document` parses
//! and merges, `settings`, `endpoints`, `rules` and `trusted_keys` say what each section means, `build` puts
//! the snapshot together. `profile` stands in where there are no files.

mod build;
mod consumer_section;
mod document;
mod endpoints;
mod environment;
mod files;
mod in_memory;
mod journal_section;
mod key_files;
mod origins;
mod problem;
mod profile;
mod promises;
mod reader;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod tighten;
mod trusted_keys;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use consumer_section::ConsumerSection;
pub use endpoints::EndpointEntry;
pub use journal_section::JournalSection;
pub use key_files::{
    KeyFileError, create_key, load_credential, load_secret, public_text, secret_path,
};
pub use origins::Origin;
pub use problem::{ConfigError, ConfigWarning, Place, Problem, ProblemKind, Source};
pub use promises::OnUnreachable;
pub use settings::{PublisherSection, RelaySection, SubscribeSection};
pub use trusted_keys::{LastGood, Revocation};
pub use watch::{ConfigUpdate, OnUpdate, Reloaded, Reloader, Watch, WatchOptions};

use crate::identity::Identity;
use crate::keys::{KeyId, SecretKey};
use crate::trust::Trust;

/// The folder that is read when nobody names another one.
pub const DEFAULT_FOLDER: &str = "/etc/fedmsg.d";

/// What to load, as data: a test needs neither the process's environment nor `/etc`.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The folder that the user named, by a flag; before FEDMSG_CONFIG_DIR. Missing or unreadable is an
    /// error.
    pub folder: Option<PathBuf>,
    /// The folder where nobody named one; it may be missing.
    pub default_folder: PathBuf,
    /// Variables of the environment.
    pub environment: Vec<(String, String)>,
    /// Settings of the command line, by dotted key, such as `bus.environment`. They come last.
    pub overrides: Vec<(String, String)>,
    /// An unknown key is an error, not a warning.
    pub strict: bool,
}

impl Default for LoadOptions {
    /// The default folder, and nothing of the environment.
    fn default() -> LoadOptions {
        LoadOptions {
            folder: None,
            default_folder: DEFAULT_FOLDER.into(),
            environment: Vec::new(),
            overrides: Vec::new(),
            strict: false,
        }
    }
}

impl LoadOptions {
    /// The default folder, and the variables of this process that configuration takes into account.
    pub fn from_process_environment() -> LoadOptions {
        LoadOptions { environment: environment::of_process(), ..LoadOptions::default() }
    }

    /// The folder to read, and whether somebody named it.
    fn folder(&self) -> (PathBuf, bool) {
        let variable = environment::Environment(&self.environment).get("FEDMSG_CONFIG_DIR");
        let named = self.folder.clone().or_else(|| variable.map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| self.default_folder.clone());
        // A relative path that a user typed stays what it was when the process changes its folder.
        (std::path::absolute(&path).unwrap_or(path), named.is_some())
    }
}

/// What all files, the environment and flags say, at one moment. Never changed in place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The folder that was read; `None` is zero configuration.
    pub folder: Option<PathBuf>,
    /// Names, keys and policy.
    pub trust: Arc<Trust>,
    /// Where each identity publishes, answers and takes messages.
    pub endpoints: BTreeMap<Identity, EndpointEntry>,
    /// `[publisher]`.
    pub publisher: PublisherSection,
    /// `[journal]`.
    pub journal: JournalSection,
    /// `[subscribe]`.
    pub subscribe: SubscribeSection,
    /// `[relay]`.
    pub relay: RelaySection,
    /// `[consumer]`.
    pub consumer: ConsumerSection,
    /// Where journals, locks and epochs are kept.
    pub state_dir: PathBuf,
    /// Where secret keys are kept.
    pub private_dir: PathBuf,
    /// The keys that are void, with what is still good of them.
    pub revocations: BTreeMap<KeyId, Revocation>,
    /// A digest of names, keys, policy and endpoints: heartbeats carry it, so that drift shows.
    pub digest: String,
    /// What is odd, but does not keep the configuration from being used.
    pub warnings: Vec<ConfigWarning>,
    origins: Vec<Origin>,
    /// FEDMSG_IDENTITY.
    process_identity: Option<Identity>,
    /// The folder of systemd's credentials.
    credentials_dir: Option<PathBuf>,
    /// What was read: tells whether another reading is the same.
    fingerprint: [u8; 32],
}

impl Config {
    /// Reads everything; all errors at once.
    pub fn load(options: &LoadOptions) -> Result<Config, ConfigError> {
        let (path, named) = options.folder();
        let folder = files::Folder::read(&path, named);
        Config::from_folder(options, path, named, folder)
    }

    fn from_folder(
        options: &LoadOptions,
        path: PathBuf,
        named: bool,
        folder: files::Folder,
    ) -> Result<Config, ConfigError> {
        match folder.is_empty() && !named {
            true => build::zero_configuration(options),
            false => build::build(options, path, folder),
        }
    }

    /// Who this process is: FEDMSG_IDENTITY, else `identity` of `[publisher]`.
    pub fn identity(&self) -> Result<Identity, ConfigError> {
        let identity = self.process_identity.as_ref().or(self.publisher.identity.as_ref());
        identity.cloned().ok_or_else(|| {
            let folder = self.folder.as_deref().unwrap_or(Path::new(DEFAULT_FOLDER));
            let place = Place::whole(Source::File(folder.into()));
            ConfigError::one(place, "publisher.identity", ProblemKind::NoProcessIdentity)
        })
    }

    /// The secret key of an identity: out of systemd's credentials when it is there, else out of
    /// `private_dir`.
    pub fn secret_key(&self, identity: &Identity) -> Result<SecretKey, KeyFileError> {
        if let Some(folder) = &self.credentials_dir {
            match load_credential(&secret_path(folder, identity)) {
                Err(error) if error.is_missing() => {}
                loaded => return loaded,
            }
        }
        load_secret(&secret_path(&self.private_dir, identity))
    }

    /// Every setting with its value and where that comes from, in the order of the keys.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The digest of what is in force, the endpoints included.
    fn compute_digest(&self) -> String {
        let lines: Vec<String> = self.endpoints.values().map(|entry| entry.digest_line()).collect();
        self.trust.digest(&lines)
    }
}
