//! `fedmsg-relay`: carries what producers behind firewalls send.

use std::process::ExitCode;

use clap::Parser;
use fedmsg_relay::Options;
use fedmsg_tool::CommonOptions;

/// Take messages from producers that nobody can connect to, and publish them
#[derive(Parser)]
#[command(name = "fedmsg-relay", version = fedmsg_tool::version())]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    common: CommonOptions,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    fedmsg_tool::main(|| fedmsg_relay::run(&cli.options, &cli.common))
}
