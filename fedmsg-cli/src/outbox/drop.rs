//! `fedmsg outbox drop`.

use clap::Args;
use fedmsg::outbox::{give_up, look};
use fedmsg::{Config, StreamName};
use fedmsg_tool::{Code, CommonOptions};

use super::{Error, disk};
use crate::consumer::tell;

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg outbox drop log.web01/0199aaaa-0000-7000-8000-000000000001 --yes
  fedmsg outbox drop log.web01/0199aaaa-0000-7000-8000-000000000001 --messages 17

What no relay has of the stream is never delivered, and a new epoch begins, so that readers do not wait for it. It stays
in the journal until retention passes it (`fedmsg journal cat`). The publisher of the stream must not run.

Exit codes: 0 given up, or there was nothing · 1 failure · 2 not confirmed, or another number · 75 somebody is at
work on the stream";

#[derive(Args)]
pub(super) struct Options {
    /// The stream, IDENTITY/SLOT
    #[arg(value_parser = StreamName::parse)]
    stream: StreamName,

    /// Give up whatever waits
    #[arg(long, conflicts_with = "messages")]
    yes: bool,

    /// Give it up if it is so many messages
    #[arg(long, value_name = "N")]
    messages: Option<u64>,
}

pub(super) fn run(
    options: &Options,
    config: &Config,
    common: &CommonOptions,
) -> Result<Code, Error> {
    let stream = &options.stream;
    let waiting = super::all(config, Some(stream.identity()))?;
    if !waiting.iter().any(|waiting| waiting.stream == *stream) {
        return Err(Error::NotHere(stream.clone()));
    }
    let messages = look(&disk(), &config.state_dir, stream.clone())?.messages;
    if options.messages.is_none() && !options.yes && messages > 0 {
        return Err(Error::NotSure { stream: stream.clone(), messages });
    }
    if messages == 0 && options.messages.is_none() {
        tell(common, &format!("relays have everything of {stream}"));
        return Ok(Code::Ok);
    }
    let before = give_up(config, &disk(), stream, options.messages)?;
    let from = before.delivered.floor().map_or_else(|| "the beginning".into(), |at| at.to_string());
    let end = before.end.map_or_else(|| "the end".into(), |at| at.to_string());
    let count = before.messages;
    tell(
        common,
        &format!("{count} messages of {stream} were given up: from behind {from} to {end}"),
    );
    Ok(Code::Ok)
}
