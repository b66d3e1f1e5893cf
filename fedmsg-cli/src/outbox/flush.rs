//! `fedmsg outbox flush`.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use fedmsg::outbox::{FlushError, Waiting, flush};
use fedmsg::{Config, Identity};
use fedmsg_tool::{Code, CommonOptions, duration};

use super::{Error, all, disk};
use crate::consumer::tell;

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg outbox flush
  fedmsg outbox flush --timeout 10m -q              in a timer: 75 says that something is left

Delivers every stream of this host that goes through relays, in order, except those that a process delivers already:
publishers that run do so by themselves. A relay that was down gets what it lacks, also where another one has it.

Exit codes: 0 relays have everything · 1 failure · 2 wrong command line · 75 something is left";

#[derive(Args)]
pub(super) struct Options {
    /// Streams of this identity alone
    #[arg(long, value_name = "IDENTITY")]
    identity: Option<Identity>,

    /// Stop after this time, although relays still answer
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration::parse)]
    timeout: Duration,
}

pub(super) fn run(
    options: &Options,
    config: &Config,
    common: &CommonOptions,
) -> Result<Code, Error> {
    let deadline = Instant::now() + options.timeout;
    let (mut delivered, mut left, mut held) = (0, 0, 0);
    for waiting in all(config, options.identity.as_ref())? {
        if is_done(config, &waiting)? {
            continue;
        }
        let patience = deadline.saturating_duration_since(Instant::now());
        match flush(config, &disk(), &waiting, patience, |_| show(common, &waiting)) {
            Ok(after) => {
                delivered += waiting.messages.saturating_sub(after.messages);
                left += after.messages;
            }
            Err(FlushError::Held { .. }) => held += waiting.messages,
            Err(error) => return Err(error.into()),
        }
    }
    let rest = match (left, held) {
        (0, 0) => String::new(),
        (left, 0) => format!(", {left} left"),
        (left, held) => format!(", {left} left, {held} that others are delivering"),
    };
    tell(common, &format!("{delivered} delivered{rest}"));
    Ok(if left > 0 { Code::RetryLater } else { Code::Ok })
}

/// Whether every relay that is configured has everything.
fn is_done(config: &Config, waiting: &Waiting) -> Result<bool, Error> {
    if waiting.messages > 0 {
        return Ok(false);
    }
    for relay in &config.publisher.relays {
        if waiting.lacks(&disk(), relay)? > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Says on a terminal that something happens.
fn show(common: &CommonOptions, waiting: &Waiting) {
    if common.quiet == 0 && io::stderr().is_terminal() {
        // When stderr is closed, there is nobody left to tell.
        let _ = write!(io::stderr().lock(), "\r{}: {} …\x1b[K\r", waiting.stream, waiting.messages);
    }
}
