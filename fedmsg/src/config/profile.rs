//! What is in force without any configuration: one machine, one user, one publisher name and one relay.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::files::SourceText;
use super::key_files::{self, KeyFileError};
use super::problem::Source;
use crate::identity::{Identity, NameError};
use crate::keys::{PublicKey, SecretKey, TrustedKey};

/// The identities of the profile.
pub(super) const IDENTITIES: [&str; 2] = ["relay.local", "dev.local"];
/// How many processes can publish on sockets of their own before the relay is used.
const SLOTS: usize = 8;

/// The profile of a user.
#[derive(Debug)]
pub(super) struct Profile {
    /// Its settings, written as a file would be.
    pub settings: SourceText,
    /// Its keys: trusted here, and nowhere else.
    pub keys: Vec<TrustedKey>,
    /// Where the secret halves are.
    pub private_dir: PathBuf,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProfileError {
    #[error("no folder for sockets: {path}: {error}")]
    Runtime { path: PathBuf, error: io::Error },
    #[error(
        "{path} is not this user's alone (owner {owner}, mode {mode:04o}): remove it, or set XDG_RUNTIME_DIR"
    )]
    Exposed { path: PathBuf, owner: u32, mode: u32 },
    #[error(transparent)]
    Key(#[from] KeyFileError),
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Sets the profile up: the folder of sockets, and the keys at the first time.
pub(super) fn prepare(
    state_dir: &Path,
    environment: Environment<'_>,
) -> Result<Profile, ProfileError> {
    let runtime_dir = runtime_dir(environment);
    create_runtime_dir(&runtime_dir)?;
    let private_dir = state_dir.join("profile").join("private");
    let mut keys = Vec::new();
    for identity in IDENTITIES {
        let identity = Identity::parse(identity)?;
        let public = ensure_key(&private_dir, &identity)?;
        keys.push(TrustedKey::new(public, identity));
    }
    let text = settings(&runtime_dir);
    Ok(Profile {
        settings: SourceText { source: Source::ZeroConfiguration, text },
        keys,
        private_dir,
    })
}

fn runtime_dir(environment: Environment<'_>) -> PathBuf {
    if let Some(runtime) = environment.path("XDG_RUNTIME_DIR") {
        return runtime.join("fedmsg");
    }
    let temporary = environment.path("TMPDIR").unwrap_or_else(|| "/tmp".into());
    temporary.join(format!("fedmsg-{}", rustix::process::geteuid().as_raw()))
}

/// Makes the folder, or takes the one that is there when it is ours alone: in a shared folder such as /tmp
/// somebody else may have put one, or a link, under our name.
fn create_runtime_dir(path: &Path) -> Result<(), ProfileError> {
    let failed = |error| ProfileError::Runtime { path: path.into(), error };
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let metadata = path.symlink_metadata().map_err(failed)?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let ours = owner == rustix::process::geteuid().as_raw() && mode & 0o077 == 0;
    if metadata.is_dir() && ours {
        return Ok(());
    }
    Err(ProfileError::Exposed { path: path.into(), owner, mode })
}

/// The key of the identity, made at the first time. When two processes make it at once, one of them finds
/// the other's.
fn ensure_key(private_dir: &Path, identity: &Identity) -> Result<PublicKey, KeyFileError> {
    let path = key_files::secret_path(private_dir, identity);
    let load = || key_files::load_secret(&path);
    let key: SecretKey = match load() {
        Err(error) if error.is_missing() => match key_files::create_secret(private_dir, identity) {
            Err(KeyFileError::Exists { .. }) => load()?,
            created => created?,
        },
        loaded => loaded?,
    };
    Ok(key.public().clone())
}

fn settings(runtime_dir: &Path) -> String {
    let address = |name: &str| {
        let path = format!("ipc://{}/{name}", runtime_dir.display());
        toml::Value::from(path).to_string()
    };
    let slots: Vec<String> = (0..SLOTS).map(|slot| address(&format!("dev-{slot}.sock"))).collect();
    format!(
        r#"
[bus]
topic_prefix = "org.example"
environment = "dev"
[endpoints."relay.local"]
publish = {relay}
replay = {replay}
submit = {submit}
carries = [">"]
[endpoints."dev.local"]
publish = [{slots}]
[publisher]
identity = "dev.local"
relays = ["relay.local"]
[relay]
identity = "relay.local"
[[publish]]
identity = "relay.local"
topics = ["{{prefix}}.{{env}}.>"]
[[publish]]
identity = "dev.local"
topics = ["{{prefix}}.{{env}}.>"]
"#,
        relay = address("relay.sock"),
        replay = address("replay.sock"),
        submit = address("submit.sock"),
        slots = slots.join(", "),
    )
}
