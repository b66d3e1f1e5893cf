//! `fedmsg-tail`: the verified messages of a bus, in a terminal or as lines for other programs.

use std::process::ExitCode;

use clap::Parser;
use fedmsg_tail::Options;
use fedmsg_tool::CommonOptions;

/// Show the verified messages of a fedmsg bus
#[derive(Parser)]
#[command(name = "fedmsg-tail", version = fedmsg_tool::version())]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    common: CommonOptions,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    fedmsg_tool::main(|| fedmsg_tail::run(cli.options, &cli.common))
}
