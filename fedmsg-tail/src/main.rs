//! `fedmsg-tail`: the verified messages of a bus, in a terminal or as lines for other programs.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = fedmsg_tail::Cli::parse();
    fedmsg_tool::main(|| fedmsg_tail::run(cli.options, &cli.common))
}
