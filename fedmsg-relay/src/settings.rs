//! What a relay is started with: options, and which endpoint entry it is.

use clap::{Args, Parser};
use fedmsg::config::{Config, EndpointEntry};
use fedmsg::identity::Identity;
use fedmsg::publisher::BuildError;
use fedmsg::transport::NetError;
use fedmsg_tool::status::StatusError;
use fedmsg_tool::{Code, CommonOptions, Fault, StatusOptions};

/// Take messages from producers that nobody can connect to, and publish them
#[derive(Parser)]
#[command(name = "fedmsg-relay", version = fedmsg_tool::version())]
pub struct Cli {
    /// What it is to do.
    #[command(flatten)]
    pub options: Options,
    /// What all programs of a bus are told.
    #[command(flatten)]
    pub common: CommonOptions,
}

/// Options of the relay.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = EXAMPLES)]
pub struct Options {
    /// Which endpoint entry this relay is [default: `[relay] identity`, or the only entry with `submit`]
    #[arg(long, value_name = "IDENTITY")]
    pub identity: Option<Identity>,

    /// How it shows how it is.
    #[command(flatten)]
    pub status: StatusOptions,
}

const EXAMPLES: &str = "\
Examples:
  fedmsg-relay                               without any configuration: for this user, on this machine
  fedmsg-relay --identity relay.proxy01      as that entry of [endpoints] in /etc/fedmsg.d
  fedmsg-relay --log-format json             log lines for a machine to read
  fedmsg-relay --status 9462                 and http://127.0.0.1:9462/metrics, /live, /ready and /status

/ready and the watchdog of systemd go by progress: 503, and no sign of life, when the disk does not answer.

SIGTERM and SIGINT: what was received is answered and published, then the relay ends with 0.
SIGHUP: the configuration is read at once; it is followed anyway.";

/// Why a relay does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] fedmsg::config::ConfigError),
    /// The private key cannot be used.
    #[error(transparent)]
    Key(#[from] fedmsg::config::KeyFileError),
    /// No endpoint entry is this relay's.
    #[error("which relay is this? {0}; name one with --identity or `[relay] identity`")]
    WhichOne(String),
    /// The entry is not one of a relay.
    #[error("{0} has no `submit` address in [endpoints]: it is no relay")]
    NoSubmit(Identity),
    /// Every slot of the relay is taken.
    #[error("{identity} runs already: {held}")]
    Running {
        /// Which relay.
        identity: Identity,
        /// Who holds it.
        held: String,
    },
    /// The key is not trusted.
    #[error(
        "the private key of {0} is not trusted for it here: put its public half into keys.d/{0}.toml"
    )]
    UntrustedKey(Identity),
    /// State cannot be kept.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The log cannot be opened or written.
    #[error("the log: {0}")]
    Log(#[from] fedmsg::log::LogError),
    /// Nobody can be followed.
    #[error("following others: {0}")]
    Follow(#[from] fedmsg::subscriber::SubscribeError),
    /// Sockets cannot be made.
    #[error(transparent)]
    Net(#[from] NetError),
    /// How it is cannot be shown.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// Signals or threads.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Fault for RelayError {
    fn code(&self) -> Code {
        Code::General
    }
}

/// The endpoint entry that this relay is.
pub(crate) fn own_entry(options: &Options, config: &Config) -> Result<EndpointEntry, RelayError> {
    let named = options.identity.as_ref().or(config.relay.identity.as_ref());
    let mut relays = config.endpoints.values().filter(|entry| !entry.submit.is_empty());
    match named {
        Some(identity) => {
            let entry = config.endpoints.get(identity).ok_or_else(|| {
                RelayError::WhichOne(format!("there is no entry {identity} in [endpoints]"))
            })?;
            match entry.submit.is_empty() {
                true => Err(RelayError::NoSubmit(identity.clone())),
                false => Ok(entry.clone()),
            }
        }
        None => match (relays.next(), relays.next()) {
            (Some(only), None) => Ok(only.clone()),
            (None, _) => Err(RelayError::WhichOne("no entry in [endpoints] has `submit`".into())),
            (Some(first), Some(second)) => {
                let (first, second) = (&first.identity, &second.identity);
                Err(RelayError::WhichOne(format!("{first} and {second} are both relays")))
            }
        },
    }
}
