//! `fedmsg bench`.

use clap::Args;
use fedmsg_tool::{Code, CommonOptions, Fault};

/// Options of `fedmsg bench`.
#[derive(Args)]
pub(crate) struct Options {}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {}

impl Fault for Error {}

pub(crate) fn run(_options: &Options, _common: &CommonOptions) -> Result<Code, Error> {
    Ok(Code::Ok)
}
