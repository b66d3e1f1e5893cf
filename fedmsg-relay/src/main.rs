//! `fedmsg-relay`: carries what producers behind firewalls send.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = fedmsg_relay::Cli::parse();
    fedmsg_tool::main(|| fedmsg_relay::run(&cli.options, &cli.common))
}
