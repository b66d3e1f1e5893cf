//! `fedmsg keys`: makes keys, and shows the public halves that are trusted.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fedmsg::config::{self as configuration, Config, ConfigError, DEFAULT_FOLDER, KeyFileError};
use fedmsg::escape::{escape, escape_json};
use fedmsg::identity::Identity;
use fedmsg::keys::TrustedKey;
use fedmsg_tool::{Code, CommonOptions, Fault, logging};
use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::config::{load, print};
use crate::streams::table;

const EXAMPLES: &str = "\
Examples:
  fedmsg keys new bodhi.backend01       a key for this identity, in the configuration folder
  fedmsg keys show bodhi.backend01      its public half, and whether it is valid
  fedmsg keys list                      whom this host trusts

Secret keys are never printed.";

const NEW_EXAMPLES: &str = "\
Examples:
  fedmsg keys new bodhi.backend01
  fedmsg keys new bodhi.backend01 --private-dir ./secret --keys-dir ./new/keys.d

The secret half becomes IDENTITY.key, which its owner alone can read; the public half becomes IDENTITY.toml,
which every host of the bus needs in its keys.d. Nothing is ever overwritten.

Exit codes: 0 success · 1 a file is there already, or cannot be made · 2 wrong command line";

const SHOW_EXAMPLES: &str = "\
Examples:
  fedmsg keys show bodhi.backend01
  fedmsg keys show bodhi.backend01 | grep ed25519

Exit codes: 0 success · 1 no key of this identity is trusted · 2 wrong command line";

const LIST_EXAMPLES: &str = "\
Examples:
  fedmsg keys list
  fedmsg keys list --json | jq -r 'select(.revoked).identity'

Exit codes: 0 success · 1 the configuration is wrong · 2 wrong command line";

/// Options of `fedmsg keys`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key
    #[command(after_long_help = NEW_EXAMPLES)]
    New(New),
    /// Show the public keys of an identity
    #[command(after_long_help = SHOW_EXAMPLES)]
    Show {
        /// Whose keys, SERVICE.INSTANCE
        #[arg(value_parser = Identity::parse)]
        identity: Identity,
    },
    /// List all trusted keys
    #[command(after_long_help = LIST_EXAMPLES)]
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct New {
    /// Whom the key speaks for, SERVICE.INSTANCE
    #[arg(value_parser = Identity::parse)]
    identity: Identity,

    /// Where the secret half goes [default: `private` in the configuration folder]
    #[arg(long, value_name = "DIR")]
    private_dir: Option<PathBuf>,

    /// Where the public half goes [default: `keys.d` in the configuration folder]
    #[arg(long, value_name = "DIR")]
    keys_dir: Option<PathBuf>,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A key cannot be made.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody of this name is trusted.
    #[error("no key of {0} is trusted here; `fedmsg keys list` shows whose are")]
    Unknown(Identity),
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[from] io::Error),
}

impl Fault for Error {}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    match &options.command {
        Command::New(options) => print(new(options, common.config_dir.as_deref())?)?,
        Command::Show { identity } => {
            let config = load(common)?;
            let keys = sorted(&config, Some(identity));
            if keys.is_empty() {
                return Err(Error::Unknown(identity.clone()));
            }
            print(keys.iter().enumerate().flat_map(|(at, key)| block(at, key, &config)))?;
        }
        Command::List { json } => {
            let config = load(common)?;
            print(list(&sorted(&config, None), *json))?;
        }
    }
    Ok(Code::Ok)
}

/// Makes a key; gives the lines to print.
fn new(options: &New, folder: Option<&Path>) -> Result<[String; 3], KeyFileError> {
    let New { identity, private_dir, keys_dir } = options;
    let folder = folder.unwrap_or(Path::new(DEFAULT_FOLDER));
    let private_dir = private_dir.clone().unwrap_or_else(|| folder.join("private"));
    let keys_dir = keys_dir.clone().unwrap_or_else(|| folder.join("keys.d"));
    let key = configuration::create_key(&private_dir, &keys_dir, identity)?;
    let secret_path = configuration::secret_path(&private_dir, identity);
    let public_path = keys_dir.join(format!("{identity}.toml"));
    Ok([
        format!("id      {}", key.public().id()),
        format!("secret  {}", escape(&secret_path.to_string_lossy())),
        format!("public  {}", escape(&public_path.to_string_lossy())),
    ])
}

/// The trusted keys, of one identity or of all, in a lasting order.
fn sorted<'a>(config: &'a Config, identity: Option<&Identity>) -> Vec<&'a TrustedKey> {
    let is_wanted = |key: &&TrustedKey| identity.is_none_or(|identity| key.identity == *identity);
    let mut keys: Vec<_> = config.trust.keys.iter().filter(is_wanted).collect();
    keys.sort_by_key(|key| (key.identity.as_str(), key.not_before, key.public.id().to_string()));
    keys
}

/// When a key is valid, in words.
fn validity(key: &TrustedKey) -> String {
    match (key.not_before, key.not_after) {
        (None, None) => "always".into(),
        (Some(from), None) => format!("from {from}"),
        (None, Some(to)) => format!("until {to}"),
        (Some(from), Some(to)) => format!("from {from} until {to}"),
    }
}

/// Why and since when a key is void.
fn revocation(key: &TrustedKey, config: &Config) -> String {
    let mut text = String::from(if key.revoked { "yes" } else { "no" });
    let known = config.revocations.get(&key.public.id()).filter(|_| key.revoked);
    if let Some(at) = known.and_then(|known| known.at) {
        text.push_str(&format!(", since {at}"));
    }
    if let Some(reason) = known.and_then(|known| known.reason.as_deref()) {
        text.push_str(&format!(": {}", escape(reason)));
    }
    text
}

/// What `show` prints of a key; an empty line goes before all but the first one.
fn block(at: usize, key: &TrustedKey, config: &Config) -> Vec<String> {
    let mut lines = vec![String::new(); at.min(1)];
    lines.push(format!("identity  {}", key.identity));
    lines.push(format!("id        {}", key.public.id()));
    lines.push(format!("ed25519   {}", key.public.to_text()));
    lines.push(format!("valid     {}", validity(key)));
    lines.push(format!("revoked   {}", revocation(key, config)));
    lines
}

fn list(keys: &[&TrustedKey], as_json: bool) -> Vec<String> {
    if as_json {
        return keys.iter().map(|key| object(key)).collect();
    }
    let mut rows = vec![["IDENTITY", "ID", "VALID", "REVOKED"].map(String::from).to_vec()];
    rows.extend(keys.iter().map(|key| {
        let revoked = if key.revoked { "yes" } else { "no" };
        vec![key.identity.to_string(), key.public.id().to_string(), validity(key), revoked.into()]
    }));
    table(&rows)
}

fn object(key: &TrustedKey) -> String {
    let object = json!({
        "identity": key.identity.as_str(),
        "id": key.public.id().as_str(),
        "ed25519": key.public.to_text(),
        "not_before": key.not_before.map(|time| time.to_string()),
        "not_after": key.not_after.map(|time| time.to_string()),
        "revoked": key.revoked,
    });
    escape_json(&object.to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;
    use fedmsg::keys::SecretKey;

    fn identity() -> Identity {
        Identity::parse("bodhi.backend01").expect("identity")
    }

    #[test]
    fn a_key_is_made_once_and_its_secret_is_not_printed() {
        let folder = tempfile::tempdir().expect("folder");
        let options = New { identity: identity(), private_dir: None, keys_dir: None };
        let lines = new(&options, Some(folder.path())).expect("made");
        let path = folder.path().join("private/bodhi.backend01.key");
        let secret = configuration::load_secret(&path).expect("secret");
        assert_eq!(lines[0], format!("id      {}", secret.public().id()));
        assert_eq!(lines[1], format!("secret  {}", path.display()));
        assert!(lines[2].ends_with("keys.d/bodhi.backend01.toml"), "{}", lines[2]);
        assert!(!lines.concat().contains(secret.to_text().as_str()));
        let again = new(&options, Some(folder.path())).expect_err("again");
        assert!(matches!(again, KeyFileError::Exists { .. }), "{again}");
    }

    #[test]
    fn keys_are_listed_and_shown_with_validity_and_revocation() {
        let key = SecretKey::from_seed(&[7; 32]).expect("key");
        let (id, public) = (key.public().id(), key.public().to_text());
        let text = format!(
            "identity = \"bodhi.backend01\"\n[[key]]\nid = \"{id}\"\ned25519 = \"{public}\"\n\
             not_after = 2027-01-01T00:00:00Z\n[[revoked]]\nid = \"{id}\"\nreason = \"lost\\u001b\"\n"
        );
        let config = config(&[
            ("bus.toml", "[bus]\nenvironment = \"prod\"\n"),
            ("keys.d/bodhi.backend01.toml", &text),
        ]);
        let keys = sorted(&config, Some(&identity()));
        let shown = block(0, keys[0], &config);
        assert_eq!(shown[1], format!("id        {id}"));
        assert_eq!(shown[2], format!("ed25519   {public}"));
        assert_eq!(shown[3], "valid     until 2027-01-01T00:00:00.000Z");
        assert_eq!(shown[4], r"revoked   yes: lost\u{1b}");
        assert_eq!(block(1, keys[0], &config)[0], "");
        let lines = list(&keys, false);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].ends_with("until 2027-01-01T00:00:00.000Z  yes"), "{}", lines[1]);
        let object: serde_json::Value =
            serde_json::from_str(&list(&keys, true)[0]).expect("object");
        assert_eq!(object["revoked"], true);
        assert_eq!(object["not_before"], serde_json::Value::Null);
        let nobody = Identity::parse("koji.hub").expect("identity");
        assert!(sorted(&config, Some(&nobody)).is_empty());
    }
}
